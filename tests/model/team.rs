//! A team: a remote and the clones of three people, and what they rely on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use dits_core::hash::FileHash;
use dits_core::operations::hydrate;
use dits_core::pointer::Pointer;
use dits_core::repo::environment::Environment;
use dits_core::repo::stores::on_a_share;
use dits_core::store::{Sharing, Sources, Store, StoreOptions};
use dits_tests::small_disk::SmallDisk;
use dits_tests::{Repo, Server, World, needs};

/// How many people there are, each with a clone.
pub const PEOPLE: usize = 3;
/// Room of the team's disk, in bytes.
const DISK_LEN: u64 = 1 << 30;

/// The remote that everybody pushes to.
pub enum Place {
    Share(PathBuf),
    Server(Server),
}

pub struct Team {
    // Dropped before the world, which it lies in.
    pub place: Place,
    pub disk: Option<SmallDisk>,
    pub world: World,
    dir: PathBuf,
    /// What each person saved.
    saved: BTreeSet<(usize, Pointer)>,
    /// What somebody's clone relied on the remote for, when its last branch there was deleted.
    given_up: BTreeSet<(usize, Pointer)>,
}

impl Team {
    /// Makes a remote, with one commit, and the clones. Whether it is a share or a server is the seed's to say.
    pub fn new(seed: u64) -> Result<Team, String> {
        let world = World::new();
        let dir = world.path("disk");
        let disk = match needs::needs_root() {
            true => SmallDisk::mount(&dir, DISK_LEN),
            false => None,
        };
        fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
        let place = match seed.is_multiple_of(2) {
            true => Place::Share(dir.join("film.git")),
            false => Place::Server(Server::start(&world, &dir.join("server"), &[])),
        };
        let team = Team { place, disk, world, dir, saved: BTreeSet::new(), given_up: BTreeSet::new() };
        let start = team.world.call("git").args(["init", "-q", "person-0"]).dir(&team.dir).run();
        start.ok();
        let first = team.repo(0);
        first.git(&["dits", "track", "*.bin"]).ok();
        first.commit("media are tracked");
        first.push_to(&team.url());
        for person in 1..PEOPLE {
            let clone = ["clone", "-q", &team.url(), &format!("person-{person}")];
            team.world.call("git").args(clone).dir(&team.dir).run().ok();
        }
        Ok(team)
    }

    /// The address of the remote.
    pub fn url(&self) -> String {
        match &self.place {
            Place::Share(path) => format!("dits::{}", path.display()),
            Place::Server(server) => server.url("film"),
        }
    }

    /// A person's clone.
    pub fn repo(&self, person: usize) -> Repo<'_> {
        Repo::at(&self.world, self.dir.join(format!("person-{person}")))
    }

    /// The remote's bare repository.
    pub fn bare(&self) -> PathBuf {
        match &self.place {
            Place::Share(path) => path.clone(),
            Place::Server(server) => server.bare("film"),
        }
    }

    /// Every store there is: those of the clones, and the remote's.
    pub fn stores(&self) -> Vec<PathBuf> {
        let remote = match &self.place {
            Place::Share(path) => path.join("dits"),
            Place::Server(server) => server.root().join("store"),
        };
        (0..PEOPLE).map(|person| self.repo(person).store()).chain([remote]).collect()
    }

    /// A person saves a file.
    pub fn save(&mut self, person: usize, path: &str, content: &[u8]) {
        self.repo(person).write(path, content);
        let pointer = Pointer { oid: FileHash::of(content), size: content.len() as u64 };
        self.saved.insert((person, pointer));
        // Whoever saves it anew relies on nobody for it.
        self.given_up.remove(&(person, pointer));
    }

    /// Does something that takes refs away from the remote: what only the remote has then may go, once nothing names it.
    pub fn give_up_around(&mut self, body: impl FnOnce(&Team)) -> Result<(), String> {
        let mut relied_on = BTreeSet::new();
        for person in 0..PEOPLE {
            let own = self.own_store(person)?;
            let named = self.named_by(&self.repo(person).dir().join(".git"))?;
            relied_on.extend(named.into_iter().filter(|file| !is_whole(&own, file)).map(|file| (person, file)));
        }
        body(self);
        let kept = self.named_by(&self.bare())?;
        self.given_up.extend(relied_on.into_iter().filter(|(_, file)| !kept.contains(file)));
        Ok(())
    }

    /// Reads all that must be readable.
    pub fn check(&self) -> Result<(), String> {
        let remote = self.remote_store()?;
        let on_remote = self.named_by(&self.bare())?;
        for file in &on_remote {
            read(&remote, file).map_err(|why| format!("the remote names {} and lacks it: {why}", file.oid))?;
        }
        for person in 0..PEOPLE {
            let own = self.own_store(person)?;
            for file in self.named_by(&self.repo(person).dir().join(".git"))? {
                let is_owed = self.saved.contains(&(person, file)) && !self.given_up.contains(&(person, file));
                if let Err(why) = read(&own, &file)
                    && is_owed
                    && !on_remote.contains(&file)
                {
                    return Err(format!("person {person} saved {} and cannot read it: {why}", file.oid));
                }
            }
        }
        Ok(())
    }

    /// Clones the remote as somebody new would, and compares every file with its pointer.
    pub fn check_as_a_newcomer(&self) -> Result<(), String> {
        let dir = self.dir.join("newcomer");
        let cloned = self.world.call("git").args(["clone", "-q", &self.url(), "newcomer"]).dir(&self.dir).run();
        if !cloned.status.success() {
            return Err(format!("a newcomer cannot clone: {}", cloned.story()));
        }
        let repo = Repo::at(&self.world, dir);
        if !repo.git(&["rev-parse", "-q", "--verify", "HEAD"]).status.success() {
            // Somebody deleted the branch that a clone begins with.
            return Ok(());
        }
        for line in repo.git(&["ls-tree", "-r", "--name-only", "HEAD"]).ok().lines() {
            if !line.ends_with(".bin") {
                continue;
            }
            let Some(pointer) = Pointer::parse(&repo.blob(&format!("HEAD:{line}"))) else { continue };
            if FileHash::of(&repo.read(line)) != pointer.oid {
                return Err(format!("{line} of a new clone is not {}", pointer.oid));
            }
        }
        Ok(())
    }

    fn own_store(&self, person: usize) -> Result<Sources, String> {
        let dir = self.repo(person).store();
        let index = dir.join("index.sqlite");
        opened(StoreOptions { dir, index, sharing: Sharing::Machine })
    }

    fn remote_store(&self) -> Result<Sources, String> {
        match &self.place {
            Place::Share(path) => {
                let env = Environment::new([("HOME".into(), self.world.home().into())]);
                opened(on_a_share(path, &env).expect("there is a home"))
            }
            Place::Server(server) => {
                let dir = server.root().join("store");
                let index = dir.join("index.sqlite");
                opened(StoreOptions { dir, index, sharing: Sharing::Machine })
            }
        }
    }

    /// The files that refs, reflogs and indexes of a repository name, by git's own account.
    fn named_by(&self, git_dir: &Path) -> Result<BTreeSet<Pointer>, String> {
        let git = |args: &[&str], input: String| {
            let call = self.world.call("git").args(["--git-dir"]).args([git_dir]).args(args);
            let done = call.input(input).run();
            match done.status.success() {
                true => Ok(done.stdout),
                false => Err(done.story()),
            }
        };
        let listed = ["rev-list", "--objects", "--no-object-names", "--all", "--reflog", "--indexed-objects"];
        let ids = String::from_utf8_lossy(&git(&listed, String::new())?).into_owned();
        let short = git(&["cat-file", "--batch-check=%(objecttype) %(objectsize) %(objectname)"], ids)?;
        let mut blobs = String::new();
        for line in String::from_utf8_lossy(&short).lines() {
            let mut words = line.split(' ');
            if let (Some("blob"), Some(len), Some(id)) = (words.next(), words.next(), words.next())
                && len.parse().is_ok_and(|len: u64| len <= 200)
            {
                blobs += &format!("{id}\n");
            }
        }
        let contents = git(&["cat-file", "--batch=>"], blobs)?;
        Ok(contents.split(|byte| *byte == b'>').filter_map(|text| Pointer::parse(inner(text))).collect())
    }
}

/// What stands between the line ends that git puts around a content.
fn inner(text: &[u8]) -> &[u8] {
    let text = text.strip_prefix(b"\n").unwrap_or(text);
    text.strip_suffix(b"\n").unwrap_or(text)
}

fn opened(options: StoreOptions) -> Result<Sources, String> {
    let store = Store::open(options).map_err(|error| format!("{error:?}"))?;
    Ok(Sources::new(store, Vec::new()))
}

fn is_whole(sources: &Sources, file: &Pointer) -> bool {
    read(sources, file).is_ok()
}

fn read(sources: &Sources, file: &Pointer) -> Result<(), String> {
    hydrate::write_to(sources, file, &mut std::io::sink()).map_err(|error| format!("{error:?}"))
}

/// A person's files, by path and length.
pub fn files_of(repo: &Repo<'_>) -> BTreeMap<String, u64> {
    let entries = fs::read_dir(repo.dir()).map(|entries| entries.flatten().collect::<Vec<_>>()).unwrap_or_default();
    let media = entries.into_iter().filter_map(|entry| {
        let name = entry.file_name().into_string().ok().filter(|name| name.ends_with(".bin"))?;
        Some((name, entry.metadata().ok().filter(fs::Metadata::is_file)?.len()))
    });
    media.collect()
}
