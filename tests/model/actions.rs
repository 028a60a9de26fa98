//! What people do, and what happens to them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use dits_core::steps::Step;
use dits_tests::media::noise;
use rand::RngExt;
use rand::rngs::StdRng;

use crate::pick;
use crate::team::{PEOPLE, Place, Team, files_of};

/// One thing that one person does; all that is random about it is in here.
#[derive(Debug, Clone, Copy)]
pub struct Action {
    kind: Kind,
    person: usize,
    number: u64,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Save,
    Edit,
    Remove,
    Add,
    Commit,
    Amend,
    Branch,
    Switch,
    Merge,
    Stash,
    StashPop,
    ResetHard,
    ResetSoft,
    WorktreeAdd,
    WorktreeRemove,
    Status,
    Push,
    ForcePush,
    DeleteRemoteBranch,
    Fetch,
    Pull,
    Dehydrate,
    Hydrate,
    Prune,
    Collect,
    CollectRemote,
    GitCollect,
    ForgetReflog,
    /// A step of a write order at which the command is killed.
    KilledAdd,
    KilledCheckout,
    KilledPush,
    KilledFetch,
    KilledCollect,
    KilledCollectRemote,
    /// The power goes, for one command and all that it started.
    CutAdd,
    FullDisk,
    ClockForward,
    ClockBack,
    LoseIndex,
}

const KINDS: [(u32, Kind); 39] = [
    (14, Kind::Save),
    (10, Kind::Edit),
    (3, Kind::Remove),
    (10, Kind::Add),
    (14, Kind::Commit),
    (3, Kind::Amend),
    (4, Kind::Branch),
    (5, Kind::Switch),
    (3, Kind::Merge),
    (3, Kind::Stash),
    (3, Kind::StashPop),
    (2, Kind::ResetHard),
    (2, Kind::ResetSoft),
    (1, Kind::WorktreeAdd),
    (1, Kind::WorktreeRemove),
    (3, Kind::Status),
    (9, Kind::Push),
    (2, Kind::ForcePush),
    (2, Kind::DeleteRemoteBranch),
    (3, Kind::Fetch),
    (6, Kind::Pull),
    (2, Kind::Dehydrate),
    (2, Kind::Hydrate),
    (4, Kind::Prune),
    (6, Kind::Collect),
    (5, Kind::CollectRemote),
    (2, Kind::GitCollect),
    (2, Kind::ForgetReflog),
    (3, Kind::KilledAdd),
    (2, Kind::KilledCheckout),
    (3, Kind::KilledPush),
    (2, Kind::KilledFetch),
    (3, Kind::KilledCollect),
    (3, Kind::KilledCollectRemote),
    (1, Kind::CutAdd),
    (2, Kind::FullDisk),
    (2, Kind::ClockForward),
    (1, Kind::ClockBack),
    (1, Kind::LoseIndex),
];

/// Times of a server, as they look once its clock has jumped forward.
const SHIFTED: &str = "
    UPDATE held SET said_at = max(0, said_at - DAYS), proven_at = max(0, proven_at - DAYS);
    UPDATE leases SET expires = max(0, expires - DAYS);
";

/// Branches that people work on.
const BRANCHES: [&str; 4] = ["main", "cut", "grade", "sound"];

impl Action {
    /// Thinks of something.
    pub fn random(random: &mut StdRng) -> Action {
        let kind = pick(random, &KINDS);
        Action { kind, person: random.random_range(0..PEOPLE), number: random.random() }
    }

    /// Does it. That git or Dits refuse it is nothing unusual.
    pub fn play(&self, team: &mut Team) -> Result<(), String> {
        match self.kind {
            Kind::Save => self.save(team),
            Kind::Edit => self.edit(team),
            Kind::Remove => self.with_file(team, |path, _| drop(fs::remove_file(path))),
            Kind::ForcePush => {
                return team.give_up_around(|team| self.git(team, &["push", "-q", "--force", "origin", "HEAD"]));
            }
            Kind::DeleteRemoteBranch => {
                let branch = self.branch();
                return team.give_up_around(|team| self.git(team, &["push", "-q", "origin", "--delete", branch]));
            }
            Kind::KilledAdd => self.killed(team, &["add", "-A"]),
            Kind::KilledCheckout => self.killed(team, &["checkout", "-q", "-f", self.branch()]),
            Kind::KilledPush => self.killed(team, &["push", "-q", "origin", "HEAD"]),
            Kind::KilledFetch => self.killed(team, &["dits", "pull"]),
            Kind::KilledCollect => self.killed(team, &["dits", "gc", "--grace", "0"]),
            Kind::KilledCollectRemote => self.collect_remote(team, Some(self.step())),
            Kind::CollectRemote => self.collect_remote(team, None),
            Kind::CutAdd => {
                let call = team.repo(self.person).call(&["add", "-A"]).start();
                std::thread::sleep(Duration::from_millis(self.number % 40));
                call.kill();
            }
            Kind::FullDisk => self.full_disk(team),
            Kind::ClockForward => self.shift_clock(team, true),
            Kind::ClockBack => self.shift_clock(team, false),
            Kind::LoseIndex => {
                let store = team.repo(self.person).store();
                for name in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"] {
                    let _ = fs::remove_file(store.join(name));
                }
            }
            _ => self.command(team),
        }
        Ok(())
    }

    /// What is one plain command.
    fn command(&self, team: &Team) {
        let branch = self.branch();
        let worktree = format!("../worktree-{}-{branch}", self.person);
        let commands: &[&[&str]] = match self.kind {
            Kind::Add => &[&["add", "-A"]],
            Kind::Commit => &[&["add", "-A"], &["commit", "-q", "-m", "work"]],
            Kind::Amend => &[&["add", "-A"], &["commit", "-q", "--amend", "-m", "again"]],
            Kind::Branch => &[&["switch", "-q", "-c", branch]],
            Kind::Switch => &[&["switch", "-q", branch]],
            Kind::Merge => &[&["merge", "-q", "-X", "ours", "-m", "merged", branch], &["merge", "--abort"]],
            Kind::Stash => &[&["stash", "-q"]],
            Kind::StashPop => &[&["stash", "pop", "-q"]],
            Kind::ResetHard => &[&["reset", "-q", "--hard", "HEAD~1"]],
            Kind::ResetSoft => &[&["reset", "-q", "--soft", "HEAD~1"]],
            Kind::WorktreeAdd => &[&["worktree", "add", "-q", "--detach", &worktree]],
            Kind::WorktreeRemove => &[&["worktree", "remove", "--force", &worktree]],
            Kind::Status => &[&["status", "--porcelain"]],
            Kind::Push => &[&["push", "-q", "origin", "HEAD"]],
            Kind::Fetch => &[&["fetch", "-q"]],
            Kind::Pull => &[&["pull", "-q", "--no-rebase", "-X", "ours", "origin", branch], &["merge", "--abort"]],
            Kind::Dehydrate => &[&["dits", "dehydrate", "."]],
            Kind::Hydrate => &[&["dits", "pull"]],
            Kind::Prune => &[&["dits", "prune"]],
            Kind::Collect => &[&["dits", "gc", "--grace", "0"]],
            Kind::GitCollect => &[&["gc", "-q", "--prune=now"]],
            Kind::ForgetReflog => &[&["reflog", "expire", "--expire=now", "--all"]],
            _ => unreachable!("all others are more than a command"),
        };
        commands.iter().for_each(|args| self.git(team, args));
    }

    fn git(&self, team: &Team, args: &[&str]) {
        let done = team.repo(self.person).git(args);
        assert_ne!(done.status.code(), Some(255), "a bug: {}", done.story());
    }

    fn killed(&self, team: &Team, args: &[&str]) {
        team.repo(self.person).call(args).stop_at(self.step().name()).run();
    }

    fn step(&self) -> Step {
        Step::ALL[(self.number >> 8) as usize % Step::ALL.len()]
    }

    fn branch(&self) -> &'static str {
        BRANCHES[self.number as usize % BRANCHES.len()]
    }

    fn save(&self, team: &mut Team) {
        let len = match self.number % 8 {
            0 => 3 << 20,
            1 => 1,
            n => 40_000 * n as usize,
        };
        let path = format!("take-{}.bin", self.number % 5);
        team.save(self.person, &path, &noise(self.number, len));
    }

    /// Overwrites some bytes of a file, or puts some in.
    fn edit(&self, team: &mut Team) {
        let repo = team.repo(self.person);
        let Some((name, _)) = self.some_file(&files_of(&repo)) else { return };
        let mut content = repo.read(&name);
        if dits_core::pointer::Pointer::parse(&content).is_some() || content.is_empty() {
            return;
        }
        let at = (self.number >> 16) as usize % content.len();
        let new = noise(self.number, 1 + (self.number >> 40) as usize % 5_000);
        match self.number % 2 {
            0 => drop(content.splice(at..at, new)),
            _ => {
                let end = (at + new.len()).min(content.len());
                content[at..end].copy_from_slice(&new[..end - at]);
            }
        }
        team.save(self.person, &name, &content);
    }

    fn some_file<'f>(&self, files: &'f std::collections::BTreeMap<String, u64>) -> Option<(String, &'f u64)> {
        let at = (self.number >> 4) as usize % files.len().max(1);
        files.iter().nth(at).map(|(name, len)| (name.clone(), len))
    }

    fn with_file(&self, team: &Team, body: impl FnOnce(&Path, u64)) {
        let repo = team.repo(self.person);
        let files = files_of(&repo);
        if let Some((name, len)) = self.some_file(&files) {
            body(&repo.dir().join(name), *len);
        }
    }

    fn collect_remote(&self, team: &Team, stop_at: Option<Step>) {
        let call = match &team.place {
            Place::Share(path) => {
                // Else git has the pointers of what was deleted for good.
                team.world.call("git").args(["gc", "-q", "--prune=now"]).dir(path).run();
                team.repo(self.person).call(&["dits", "gc", "origin", "--grace", "0"])
            }
            Place::Server(server) => {
                let root = server.root().as_os_str();
                team.world.call("ditsd").args(["gc", "--grace", "1d", "--root"]).args([root])
            }
        };
        match stop_at {
            Some(step) => call.stop_at(step.name()).run(),
            None => call.run(),
        };
    }

    /// A command meets a disk with hardly any room, and then there is room again.
    fn full_disk(&self, team: &mut Team) {
        let Some(disk) = &team.disk else { return };
        let Ok(found) = rustix::fs::statvfs(disk.dir()) else { return };
        let (size, used) = (found.f_blocks * found.f_frsize, (found.f_blocks - found.f_bfree) * found.f_frsize);
        let left = (64 << 10) + (self.number >> 20) % (2 << 20);
        disk.resize((used + left).next_multiple_of(4096).min(size));
        let commands: [&[&str]; 4] =
            [&["add", "-A"], &["dits", "pull"], &["push", "-q", "origin", "HEAD"], &["dits", "gc", "--grace", "0"]];
        team.repo(self.person).git(commands[self.number as usize % commands.len()]);
        disk.resize(size);
    }

    /// What files say of when they were written jumps, as after a clock was set.
    fn shift_clock(&self, team: &Team, is_forward: bool) {
        let days = Duration::from_secs(40 * 24 * 60 * 60);
        for store in team.stores() {
            for file in ["packs", "open", "condemned"].iter().flat_map(|folder| files_in(&store.join(folder))) {
                let Ok(file) = File::options().append(true).open(&file) else { continue };
                let Ok(time) = file.metadata().and_then(|metadata| metadata.modified()) else { continue };
                // Seen from a clock that jumped forward, all was written long ago.
                let shifted = match is_forward {
                    true => time.checked_sub(days),
                    false => SystemTime::now().checked_add(days),
                };
                let _ = shifted.map(|time| file.set_modified(time));
            }
        }
        if let (Place::Server(server), true) = (&team.place, is_forward) {
            // What nothing names any more goes with the next collection, its pointers as well.
            let mut files = files_in(&team.bare().join("objects/pack"));
            files.extend(files_in(&team.bare().join("objects")).iter().flat_map(|folder| files_in(folder)));
            for file in files.iter().filter_map(|path| File::open(path).ok()) {
                let _ = file.set_modified(SystemTime::now() - days);
            }
            let db = rusqlite::Connection::open(server.root().join("meta.sqlite")).expect("the server has one");
            db.busy_timeout(Duration::from_secs(30)).expect("it is open");
            db.execute_batch(&SHIFTED.replace("DAYS", &days.as_secs().to_string())).expect("it is the server's own");
        }
    }
}

fn files_in(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).map(|entries| entries.flatten().map(|entry| entry.path()).collect()).unwrap_or_default()
}
