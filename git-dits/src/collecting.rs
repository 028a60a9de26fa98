//! When the local store is swept by itself, and how that is started.
//!
//! **For:** the hooks before a commit and a push: `git status` and the programs that ask for it store content that nobody
//! keeps.
//!
//! **May touch:** the names and lengths of packs, and the note of the last collection; a child that outlives this process.
//!
//! **Must hold:**
//! - a hook spends a few milliseconds here, and waits for nothing;
//! - the sweep holds open nothing of git's: it waits for filter processes, which wait for the end of their input;
//! - nothing is said, and nothing stopped, if it does not work.
//!
//! **Format:** `docs/formats/collection-v1.md`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dits_core::repo::config::Settings;
use dits_core::repo::{Repository, stores};
use dits_core::store::{Sharing, StoreOptions};

/// What one sweep writes at most, in bytes, of what stays from packs that go.
pub const COPY_LEN_MAX: u64 = 512 * 1024 * 1024;
/// How long it waits for those who use the store.
pub const WAIT_MAX: Duration = Duration::from_secs(120);

/// A store is swept once it has grown by so many bytes,
const GROWTH_LEN_MIN: u64 = 1024 * 1024 * 1024;
/// and by one part in so many,
const GROWTH_PARTS: u64 = 10;
/// and not more often than this.
const EVERY: Duration = Duration::from_secs(24 * 3600);
/// One that could not wait to its end is gone on with after this time.
const AGAIN_AFTER: Duration = Duration::from_secs(3600);
/// Packs whose length is asked for; beyond, they count as usual ones.
const PACKS_MAX: usize = 2048;
/// Length of a usual pack, in bytes.
const PACK_LEN: u64 = dits_core::limits::PACK_PAYLOAD_TARGET;

/// The note of the last collection, in the store's folder.
const NOTE: &str = "collected";

/// When a store was collected last, and how long it was then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Last {
    secs: u64,
    len: u64,
}

impl Last {
    /// What to note of a collection that has just ended.
    pub fn now(store_dir: &Path) -> Last {
        Last { secs: now(), len: len_of(store_dir) }
    }

    /// What to note of one that came to nothing: it is tried again another day.
    pub fn tried(store_dir: &Path) -> Last {
        Last { secs: now(), len: Last::read(store_dir).map_or(0, |last| last.len) }
    }

    fn read(store_dir: &Path) -> Option<Last> {
        let text = fs::read_to_string(store_dir.join(NOTE)).ok()?;
        let (secs, len) = text.strip_prefix("dits collected 1\n")?.trim_end().split_once(' ')?;
        Some(Last { secs: secs.parse().ok()?, len: len.parse().ok()? })
    }

    /// Notes it in the store.
    pub fn write(&self, store_dir: &Path) -> io::Result<()> {
        let temporary = store_dir.join(format!("{NOTE}-{}", std::process::id()));
        let mut file = File::create(&temporary)?;
        write!(file, "dits collected 1\n{} {}\n", self.secs, self.len)?;
        fs::rename(&temporary, store_dir.join(NOTE))
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Returns true if the store has grown enough since it was collected last.
pub fn is_due(options: &StoreOptions) -> bool {
    // Whoever uses a share may be on another machine: it is collected by hand.
    if options.sharing == Sharing::Network {
        return false;
    }
    let (last, now) = (Last::read(&options.dir), now());
    let is_recent =
        |time: Duration| last.is_some_and(|last| (last.secs..last.secs.saturating_add(time.as_secs())).contains(&now));
    let has_begun = || fs::read_dir(options.dir.join("condemned")).is_ok_and(|mut marks| marks.next().is_some());
    !is_recent(EVERY) && has_grown(last.map_or(0, |last| last.len), len_of(&options.dir))
        || !is_recent(AGAIN_AFTER) && has_begun()
}

fn has_grown(before: u64, len: u64) -> bool {
    len.saturating_sub(before) >= GROWTH_LEN_MIN.max(before / GROWTH_PARTS)
}

/// About how long all packs are together.
fn len_of(store_dir: &Path) -> u64 {
    let packs = ["packs", "open"].iter().filter_map(|dir| fs::read_dir(store_dir.join(dir)).ok()).flatten().flatten();
    let len = |(number, entry): (usize, fs::DirEntry)| match number < PACKS_MAX {
        true => entry.metadata().map_or(0, |metadata| metadata.len()),
        false => PACK_LEN,
    };
    packs.enumerate().map(len).sum()
}

/// Starts a sweep that goes on by itself, if one is due.
pub fn start_if_due(repository: &Repository, settings: &Settings) {
    if !settings.collects || !is_due(&stores::store_options(repository, settings)) {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut sweep = Command::new(program);
    sweep.args(["gc", "--auto"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Away from the terminal: neither its Ctrl-C nor its end is meant for the sweep.
    std::os::unix::process::CommandExt::process_group(&mut sweep, 0);
    // git gives a hook its ends of the pipes to filters that still run. As long as another process has them open, a
    // filter does not end, and git waits for its end.
    close_fds::set_fds_cloexec(3, &[]);
    // Nobody waits for it. A hook ends in a moment, and the system takes over.
    drop(sweep.spawn());
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_store_is_swept_when_it_has_grown_by_much_and_by_a_good_part() {
        for (before, len, grown) in [
            (0, GIB - 1, false),
            (0, GIB, true),
            (4 * GIB, 5 * GIB - 1, false),
            (4 * GIB, 5 * GIB, true),
            (100 * GIB, 109 * GIB, false),
            (100 * GIB, 110 * GIB, true),
            (5 * GIB, GIB, false),
        ] {
            assert_eq!(has_grown(before, len), grown, "{before} {len}");
        }
    }

    #[test]
    fn a_store_is_swept_once_a_day() {
        let dir = tempfile::tempdir().expect("a folder");
        let options = |sharing| StoreOptions { dir: dir.path().into(), index: dir.path().join("index"), sharing };
        fs::create_dir(dir.path().join("packs")).expect("made");
        // As long as it says, with nothing in it.
        File::create(dir.path().join("packs/a")).expect("made").set_len(2 * GIB).expect("grown");
        assert!(is_due(&options(Sharing::Machine)) && !is_due(&options(Sharing::Network)));
        let day = EVERY.as_secs();
        for (age, is_wanted) in [(0, false), (day - 60, false), (day + 60, true)] {
            Last { secs: now() - age, len: 0 }.write(dir.path()).expect("written");
            assert_eq!(is_due(&options(Sharing::Machine)), is_wanted, "{age}");
        }
        // A clock that was ahead.
        Last { secs: now() + 10 * day, len: 0 }.write(dir.path()).expect("written");
        assert!(is_due(&options(Sharing::Machine)));
        Last { secs: now() - 2 * day, len: 2 * GIB }.write(dir.path()).expect("written");
        assert!(!is_due(&options(Sharing::Machine)));
        // What was begun is ended.
        fs::create_dir(dir.path().join("condemned")).expect("made");
        assert!(!is_due(&options(Sharing::Machine)));
        fs::write(dir.path().join("condemned/a"), "").expect("written");
        assert!(is_due(&options(Sharing::Machine)));
        Last { secs: now() - 60, len: 2 * GIB }.write(dir.path()).expect("written");
        assert!(!is_due(&options(Sharing::Machine)));
    }
}
