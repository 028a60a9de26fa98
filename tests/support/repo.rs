//! A clone on disk, and what people do in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::{Call, Done, World};

/// A work tree with its repository.
pub struct Repo<'w> {
    world: &'w World,
    dir: PathBuf,
}

impl<'w> Repo<'w> {
    /// Names a work tree that is there.
    pub fn at(world: &'w World, dir: PathBuf) -> Repo<'w> {
        Repo { world, dir }
    }

    /// The top of the work tree.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The world it is in.
    pub fn world(&self) -> &'w World {
        self.world
    }

    /// A call of git in this work tree, to be changed before it is run.
    pub fn call(&self, args: &[&str]) -> Call {
        self.world.call("git").args(args).dir(&self.dir)
    }

    /// Runs git.
    pub fn git(&self, args: &[&str]) -> Done {
        self.call(args).run()
    }

    /// Writes a file.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.dir.join(path);
        fs::create_dir_all(path.parent().expect("a file has a folder")).expect("the folder is ours");
        fs::write(path, content).expect("the folder is ours");
    }

    /// Reads a file of the work tree.
    pub fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.dir.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Asserts that a file of the work tree has this content, without printing megabytes.
    pub fn holds(&self, path: &str, content: &[u8]) {
        let actual = self.read(path);
        let start = String::from_utf8_lossy(&actual[..actual.len().min(90)]).into_owned();
        assert!(actual == content, "{path} has {} bytes, not the {} expected: {start:?}", actual.len(), content.len());
    }

    /// Stages and commits everything, and returns the commit.
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A"]).ok();
        self.git(&["commit", "-q", "-m", message]).ok();
        self.head()
    }

    /// The commit that is checked out.
    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"]).ok()
    }

    /// What `git status` calls changed.
    pub fn status(&self) -> String {
        self.git(&["status", "--porcelain"]).ok()
    }

    /// The text that git holds for a path: a pointer, for media.
    pub fn blob(&self, revision_and_path: &str) -> Vec<u8> {
        let done = self.git(&["cat-file", "blob", revision_and_path]);
        done.ok();
        done.stdout
    }

    /// The folder of its store.
    pub fn store(&self) -> PathBuf {
        self.dir.join(".git/dits")
    }

    /// Adds a remote and pushes the branch that is checked out to it.
    pub fn push_to(&self, url: &str) {
        self.git(&["remote", "add", "origin", url]).ok();
        self.git(&["push", "-q", "-u", "origin", "HEAD"]).ok();
    }
}

/// Has the packs of the store at `dir`, and their marks, look as if they had been written so many seconds ago.
pub fn age_packs(dir: &Path, secs: u64) {
    let time = SystemTime::now() - Duration::from_secs(secs);
    for path in ["packs", "open", "condemned"].iter().flat_map(|folder| fs::read_dir(dir.join(folder))).flatten() {
        let path = path.expect("listed").path();
        fs::File::options().append(true).open(path).expect("ours").set_modified(time).expect("dated");
    }
}

/// Sum of the lengths of all files below `dir`, in bytes.
pub fn bytes_below(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
