//! Taking over, in a repository that git made.

use super::*;
use crate::hash::FileHash;
use crate::hydration_record::{Date, TemporaryName};
use crate::repo::environment::Environment;
use crate::repo::git_program::GitProgram;
use crate::repo::hydration_journal::entries;
use crate::repo::stores;
use std::collections::HashSet;
use std::fs::{self, File};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::sync::Mutex;
use std::thread;

/// Long enough for all threads.
const LEN: usize = 65 * 1024 * 1024;

struct Tree {
    dir: tempfile::TempDir,
    repository: Repository,
    sources: Sources,
}

impl Tree {
    fn new() -> Tree {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let vars = [("HOME".into(), dir.path().into()), ("PATH".into(), std::env::var_os("PATH").expect("it is set"))];
        let env = Environment::new(vars);
        let git = GitProgram::find(&env).expect("git is installed").in_dir(dir.path());
        git.run(["init", "--quiet", "tree"]).expect("made");
        let repository = Repository::discover(&dir.path().join("tree"), env).expect("a repository");
        let sources = stores::open_sources(&repository, &repository.settings().expect("none")).expect("a store");
        Tree { dir, repository, sources }
    }

    /// What a process leaves that has written a file and was killed before git's index knew.
    fn leave(&self, path: &str, content: &[u8]) -> RepoPath {
        let file = self.dir.path().join("tree").join(path);
        fs::write(&file, content).expect("written");
        let meta = File::open(&file).and_then(|file| file.metadata()).expect("it is there");
        let date = Date { secs: meta.mtime(), nanos: meta.mtime_nsec() as u32 };
        let path = RepoPath::new(path).expect("a path");
        let pointer = Pointer { oid: FileHash::of(content), size: content.len() as u64 };
        let journal = Journal::create(self.repository.git_dir()).expect("made");
        let written = Some(Written { inode: meta.ino(), date });
        let write = Record::Write { temporary: TemporaryName::new(1), written, path: path.clone() };
        journal.note(&[Record::Want { pointer, path: path.clone() }, write]).expect("noted");
        path
    }

    fn hydrate(&self, watch: Watch<'_>) -> Outcome {
        hydrate_tree(Hydration::of(&self.repository, &self.sources, Vec::new()), watch).expect("tried")
    }

    fn left(&self) -> usize {
        entries(self.repository.git_dir()).expect("read").len()
    }
}

#[test]
fn a_takeover_looks_into_a_long_file_on_all_cores_and_ends_when_it_is_to_end() {
    let tree = Tree::new();
    let path = tree.leave("a.bin", &vec![7; LEN]);
    // Not at once: in the middle of the file.
    let looks = Mutex::new((0, HashSet::new()));
    let watch = |_| {
        let mut looks = looks.lock().expect("nobody panics");
        looks.0 += 1;
        looks.1.insert(thread::current().id());
        match looks.0 > 20 {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    };
    let outcome = tree.hydrate(&watch);
    assert!(outcome.is_interrupted && outcome.unchecked == [path], "{outcome:?}");
    assert_eq!(tree.left(), 1, "whoever comes next goes on");

    let seen = Mutex::new(HashSet::new());
    let watch = |_| {
        seen.lock().expect("nobody panics").insert(thread::current().id());
        ControlFlow::Continue(())
    };
    let outcome = tree.hydrate(&watch);
    assert!(!outcome.is_interrupted && outcome.unchecked.is_empty(), "{outcome:?}");
    assert_eq!(tree.left(), 0);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    // This thread looks, too, before it waits for the others; the file is not long enough for many.
    assert!(seen.into_inner().expect("nobody panics").len() > cores.min(2), "not on all cores");
}

#[test]
fn nothing_is_hydrated_that_could_not_be_noted() {
    let tree = Tree::new();
    let pointer = Pointer { oid: FileHash::of(b"content"), size: 7 };
    let file = tree.dir.path().join("tree/a.bin");
    fs::write(&file, pointer.to_string()).expect("written");
    // More than a journal takes.
    let folder = ["a".repeat(200).as_str(); 19].join("/");
    let more = (0..crate::limits::JOURNAL_LEN_MAX as usize / folder.len()).map(|number| format!("{folder}/{number}"));
    let path = |text: &str| RepoPath::new(text).expect("a path");
    let wanted = more.chain(["a.bin".to_owned()]).map(|text| Wanted { path: path(&text), pointer }).collect();
    let watch = |_| ControlFlow::Continue(());
    let failed = hydrate_tree(Hydration::of(&tree.repository, &tree.sources, wanted), &watch);
    assert!(matches!(failed, Err(TreeError::Journal(JournalError::Full { .. }))), "{:?}", failed.map(|_| ()));
    assert_eq!(fs::read_to_string(&file).expect("there"), pointer.to_string());
    let journals = tree.repository.git_dir().join("dits/hydration");
    assert_eq!(fs::read_dir(journals).expect("there was one").count(), 0, "nothing was begun");
}
