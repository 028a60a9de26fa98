//! A work tree with one file, for tests.
//!
//! **For:** tests of what takes the place of a file, and of what a dead process left beside it.
//!
//! **May touch:** a temporary folder.
//!
//! **Must hold:** the file is older than anything that a test does: a clock may stand still between two writes.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use bstr::ByteSlice;

use super::Swap;
use crate::hash::FileHash;
use crate::hydration_record::Date;
use crate::pointer::Pointer;
use crate::repo::hydration_journal::{Entry, Journal, entries};
use crate::repo_path::RepoPath;

/// The date of what takes the file's place.
pub(in crate::repo) const DATE: Date = Date { secs: 1_700_000_000, nanos: 123_456_789 };

/// A work tree with `a/b.bin`, and the journal of a process that is at work there.
pub(in crate::repo) struct Tree {
    _dir: tempfile::TempDir,
    git_dir: PathBuf,
    pub(in crate::repo) top: PathBuf,
    pub(in crate::repo) path: RepoPath,
    pub(in crate::repo) pointer: Pointer,
    pub(in crate::repo) journal: Journal,
}

impl Tree {
    /// With the pointer as the file.
    pub(in crate::repo) fn new() -> Tree {
        Tree::with(pointer().to_string())
    }

    pub(in crate::repo) fn with(content: impl AsRef<[u8]>) -> Tree {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (top, git_dir) = (dir.path().join("tree"), dir.path().join("git"));
        fs::create_dir_all(top.join("a")).expect("made");
        let journal = Journal::create(&git_dir).expect("made");
        let tree = Tree { _dir: dir, git_dir, top, path: path(), pointer: pointer(), journal };
        tree.save(content);
        let old = File::options().append(true).open(tree.file()).expect("there");
        old.set_modified(UNIX_EPOCH).expect("dated");
        tree
    }

    pub(in crate::repo) fn file(&self) -> PathBuf {
        self.top.join("a/b.bin")
    }

    pub(in crate::repo) fn save(&self, content: impl AsRef<[u8]>) {
        fs::write(self.file(), content).expect("written");
    }

    /// Asserts that the file has this content.
    pub(in crate::repo) fn holds(&self, content: impl AsRef<[u8]>) {
        assert_eq!(fs::read(self.file()).expect("there").as_bstr(), content.as_ref().as_bstr());
    }

    /// How many names there are in the folder of the file.
    pub(in crate::repo) fn names(&self) -> usize {
        fs::read_dir(self.top.join("a")).expect("listed").count()
    }

    pub(in crate::repo) fn swap(&self) -> Swap<'_> {
        let Tree { top, path, pointer, journal, .. } = self;
        Swap { top, path, pointer, date: DATE, journal }
    }

    /// What the journal says of the file.
    pub(in crate::repo) fn noted(&self) -> Option<Entry> {
        entries(&self.git_dir).expect("read").remove(&self.path)
    }
}

pub(in crate::repo) fn path() -> RepoPath {
    RepoPath::new("a/b.bin").expect("a path")
}

pub(in crate::repo) fn pointer() -> Pointer {
    Pointer { oid: FileHash::of(b"content"), size: 7 }
}
