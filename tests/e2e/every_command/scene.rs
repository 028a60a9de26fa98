//! The film that each command is tried on, and what is asked after each.

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use dits_tests::media::noise;
use dits_tests::{Call, Done, Repo, Server, World};

/// A file that is too large to be answered inline, so that it is hydrated once git has ended.
pub const LARGE: &str = "shots/large.bin";
/// A file that git writes itself, from the filter's answer.
pub const SMALL: &str = "small.bin";
/// A file that Dits has nothing to do with.
pub const NOTES: &str = "notes.txt";
/// A large file that only the branch `side` has.
pub const SIDE: &str = "side.bin";

const LARGE_LEN: usize = 1_500_000;
const SMALL_LEN: usize = 100_000;

/// Files and their content.
pub type Files = Vec<(&'static str, Vec<u8>)>;

/// The film as it is in a take. No two takes have files of the same size, as takes have in life;
/// [`Scene::write`] makes the exceptions.
pub fn take(number: u64) -> Files {
    let more = usize::try_from(number).expect("takes are few") * 1000;
    vec![
        (LARGE, noise(100 + number, LARGE_LEN + more)),
        (SMALL, noise(200 + number, SMALL_LEN + more)),
        (NOTES, format!("take {number}\n").into_bytes()),
    ]
}

/// What the branch `side` has beside take 1.
pub fn side() -> Files {
    vec![(SIDE, noise(300, LARGE_LEN + 7)), ("side.txt", b"beside\n".to_vec())]
}

/// The media of the branch `clash`, which changes what take 2 changes; its notes are those of take 1.
pub fn clash() -> Files {
    let mut files = take(60);
    files.truncate(2);
    files
}

/// `files`, with those of `others` in the place of the same names or beside them.
pub fn with(mut files: Files, others: Files) -> Files {
    files.retain(|(name, _)| others.iter().all(|(other, _)| other != name));
    files.extend(others);
    files
}

/// One file of a take.
pub fn of(files: &Files, name: &str) -> Vec<u8> {
    let found = files.iter().find(|(path, _)| *path == name);
    found.unwrap_or_else(|| panic!("no {name} in it")).1.clone()
}

/// A clone of the film, and what was done in it last.
pub struct Scene<'w> {
    repo: Repo<'w>,
}

/// A command that has just ended.
pub struct After<'s, 'w> {
    scene: &'s Scene<'w>,
    done: Done,
}

impl<'w> Scene<'w> {
    /// Makes the film: takes 0 to 2 on `main`, tagged `take-0` to `take-2`; `side` and `clash` leave it at take 1.
    pub fn new(world: &'w World) -> Scene<'w> {
        Scene::set_in(world.repo("film"))
    }

    /// Makes the film in a repository in which media are tracked.
    pub fn set_in(repo: Repo<'w>) -> Scene<'w> {
        let scene = Scene { repo };
        for number in 0..3 {
            scene.write_all(&take(number));
            scene.repo.commit("a take");
            scene.git(&["tag", &format!("take-{number}")]);
        }
        for (branch, files) in [("side", side()), ("clash", clash())] {
            scene.git(&["switch", "-q", "-c", branch, "take-1"]);
            scene.write_all(&files);
            scene.repo.commit(branch);
        }
        scene.git(&["switch", "-q", "main"]);
        // The first look after the writes above is theirs.
        scene.repo.status();
        scene
    }

    /// Takes a clone that is there.
    pub fn at(repo: Repo<'w>) -> Scene<'w> {
        Scene { repo }
    }

    /// The clone.
    pub fn repo(&self) -> &Repo<'w> {
        &self.repo
    }

    /// Pushes all of it to a server as `name`.
    pub fn push_to(&self, server: &Server, name: &str) {
        self.git(&["remote", "add", "origin", &server.url(name)]);
        self.git(&["push", "-q", "origin", "--all"]);
        self.git(&["push", "-q", "origin", "--tags"]);
        self.git(&["branch", "-q", "--set-upstream-to=origin/main", "main"]);
    }

    /// Writes a file as somebody did a while ago: its date is before that of any index, and its own.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        self.repo.write(path, content);
        self.date(path);
    }

    /// Writes several files.
    pub fn write_all(&self, files: &Files) {
        files.iter().for_each(|(path, content)| self.write(path, content));
    }

    /// Gives a file a date of its own, a while ago.
    pub fn date(&self, path: &str) {
        static WRITES: AtomicU64 = AtomicU64::new(0);
        let ago = Duration::from_secs(1_000_000 - WRITES.fetch_add(1, Ordering::Relaxed));
        let file = File::options().append(true).open(self.repo.dir().join(path)).expect("it was written");
        file.set_modified(SystemTime::now() - ago).expect("it is ours");
    }

    /// Removes a file.
    pub fn remove(&self, path: &str) {
        std::fs::remove_file(self.repo.dir().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// Runs git, which succeeds, and returns what it printed.
    pub fn git(&self, args: &[&str]) -> String {
        self.repo.git(args).ok()
    }

    /// Runs git, which succeeds.
    pub fn after(&self, args: &[&str]) -> After<'_, 'w> {
        self.after_call(self.repo.call(args))
    }

    /// Runs a command, which succeeds.
    pub fn after_call(&self, call: Call) -> After<'_, 'w> {
        let done = call.run();
        done.ok();
        After { scene: self, done }
    }

    /// Runs git, which stops at a conflict.
    pub fn after_conflict(&self, args: &[&str]) -> After<'_, 'w> {
        let done = self.repo.git(args);
        assert!(done.fails().contains("error: ") || done.out().contains("CONFLICT"), "{}", done.story());
        After { scene: self, done }
    }

    /// What `git status` says, and how many filter processes it started to find that out.
    pub fn look(&self) -> (String, usize) {
        self.look_with(self.repo.call(&["status", "--porcelain"]))
    }

    /// The same for a `git status` of one's own.
    pub fn look_with(&self, status: Call) -> (String, usize) {
        let events = self.repo.world().path("events.json");
        let _ = std::fs::remove_file(&events);
        let said = status.env("GIT_TRACE2_EVENT", &events).run().ok();
        let events = std::fs::read_to_string(&events).expect("git wrote it");
        let starts = events.lines().filter(|line| line.contains(r#""event":"child_start""#));
        (said, starts.filter(|line| line.contains("git-dits-filter")).count())
    }
}

/// Asserts that a `git status` started no filter.
pub fn asks_nobody(asked: usize, story: &str) {
    assert!(asked == 0, "status started {asked} filters: {story}");
}

impl After<'_, '_> {
    /// Asserts what is in the work tree and what `git status` says, without asking the filter.
    pub fn shows(self, files: &Files, status: &str) {
        let asked = self.shows_what(files, status);
        asks_nobody(asked, &self.done.story());
    }

    /// Asserts the same where there is a `reason` why git asks the filter about a file, or may.
    pub fn shows_though(self, reason: &str, files: &Files, status: &str) {
        let asked = self.shows_what(files, status);
        assert!(asked <= 1, "status started {asked} filters, though only {reason}: {}", self.done.story());
    }

    fn shows_what(&self, files: &Files, status: &str) -> usize {
        let (said, asked) = self.scene.look();
        assert_eq!(said, status, "git status after {}", self.done.story());
        for (path, content) in files {
            let actual = std::fs::read(self.scene.repo.dir().join(path)).unwrap_or_default();
            let start = String::from_utf8_lossy(&actual[..actual.len().min(90)]);
            assert!(actual == *content, "{path} has {} bytes: {start:?} after {}", actual.len(), self.done.story());
        }
        asked
    }
}

#[test]
fn what_status_asks_the_filter_is_counted() {
    let world = World::new();
    let scene = Scene::at(world.repo("film"));
    scene.write(SMALL, of(&take(2), SMALL));
    scene.repo().commit("a take");
    assert_eq!(scene.look(), (String::new(), 0), "git knows this date");
    scene.date(SMALL);
    assert_eq!(scene.look(), (String::new(), 1), "a file of another date and the same size is asked about");
    assert_eq!(scene.look(), (String::new(), 0), "once");
}
