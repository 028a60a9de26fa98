//! The guard: who relies on what the store has, and the wait for all of them.
//!
//! **For:** a process that is told that an item is there, and only later writes down what needs it.
//!
//! **May touch:** the files `guard` and `guard-…` in the store's folder.
//!
//! **Must hold:**
//! - a wait ends only when everybody who took the guard before it has let go of it;
//! - those who take it later are not waited for.
//!
//! **Format:** `docs/formats/collection-v1.md`.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::super::error::StoreError;
use super::super::layout::{Layout, is_absent};
use super::super::{Sharing, Store, lock};

/// How often a guard that somebody holds is tried again.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Holds off the removal of what the store has, until it is dropped.
#[derive(Debug)]
#[must_use = "what is let go of at once guards nothing"]
pub struct Guard {
    /// Holds the lock until it is closed.
    _file: Option<File>,
}

impl Store {
    /// Takes the guard: held from before the store is asked what it has until what rests on the answer is
    /// written down where a collection looks for it.
    ///
    /// On a network file system, and where nobody ever took one and none can be made, there is none.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be taken.
    pub fn guard(&self) -> Result<Guard, StoreError> {
        if self.sharing == Sharing::Network {
            return Ok(Guard { _file: None });
        }
        let path = self.layout.guard();
        match take(&path) {
            Ok(file) => {
                // An index of this process alone knows what was condemned when it was last refreshed.
                if !lock(&self.known).is_on_disk() {
                    self.refresh()?;
                }
                Ok(Guard { _file: Some(file) })
            }
            // A collection leaves a guard behind, so there was none here.
            Err(error) if is_unwritable(&error) => Ok(Guard { _file: None }),
            Err(source) => Err(StoreError::io(&path, source)),
        }
    }
}

fn is_unwritable(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull)
}

fn take(path: &Path) -> io::Result<File> {
    loop {
        let file = match File::open(path) {
            Err(error) if is_absent(&error) => File::options().create(true).append(true).open(path)?,
            opened => opened?,
        };
        file.lock_shared()?;
        // A collection may have put it aside between the two lines above, and look no more whether it is held.
        if is_named(&file, path)? {
            return Ok(file);
        }
    }
}

fn is_named(file: &File, path: &Path) -> io::Result<bool> {
    let locked = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (locked.dev(), locked.ino())),
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The guards that were taken before some moment.
#[derive(Debug)]
pub(super) struct Earlier {
    held: Vec<PathBuf>,
}

impl Earlier {
    /// Puts the guard aside, so that whoever takes it from now on takes another one, which is made first: on a
    /// full disk nobody else could.
    pub fn put_aside(layout: &Layout) -> Result<Earlier, StoreError> {
        let (path, aside) = (layout.guard(), layout.left_guard(&rand::random()));
        let next = layout.left_guard(&rand::random());
        let failed = |source| StoreError::io(&path, source);
        File::create_new(&next).map_err(failed)?;
        let put = match fs::rename(&path, &aside) {
            Err(source) if !is_absent(&source) => Err(source),
            // Not over one that somebody has made and taken meanwhile.
            _ => match fs::hard_link(&next, &path) {
                Err(source) if source.kind() != io::ErrorKind::AlreadyExists => Err(source),
                _ => Ok(()),
            },
        };
        let removed = fs::remove_file(&next);
        put.and(removed).map_err(failed)?;
        // Those that a collection put aside which died count too.
        Ok(Earlier { held: layout.list_left_guards()? })
    }

    /// Waits until all of them are free, `wait_max` at most; returns false if they are not.
    pub fn wait(mut self, wait_max: Duration) -> Result<bool, StoreError> {
        let started = Instant::now();
        while let Some(path) = self.held.last() {
            match is_free(path).map_err(|source| StoreError::io(path, source))? {
                true => drop(self.held.pop()),
                false if started.elapsed() >= wait_max => return Ok(false),
                false => std::thread::sleep(TRY_AGAIN_AFTER),
            }
        }
        Ok(true)
    }
}

/// Removes a guard that was put aside, if nobody holds it.
fn is_free(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Err(error) if is_absent(&error) => return Ok(true),
        opened => opened?,
    };
    match file.try_lock() {
        Ok(()) => fs::remove_file(path).map(|()| true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOptions;

    fn open(dir: &Path, sharing: Sharing) -> Store {
        Store::open(StoreOptions { dir: dir.join("store"), index: dir.join("index"), sharing }).expect("a store")
    }

    #[test]
    fn a_wait_ends_with_those_who_took_the_guard_before_and_not_with_those_after() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = open(dir.path(), Sharing::Machine);
        let before = [store.guard().expect("taken"), store.guard().expect("taken")];
        let earlier = Earlier::put_aside(&store.layout).expect("put aside");
        let after = store.guard().expect("taken");
        assert!(!earlier.wait(Duration::ZERO).expect("looked"));
        let [first, second] = before;
        drop(first);
        // Another collection waits for those of the one that gave up.
        assert!(!Earlier::put_aside(&store.layout).expect("put aside").wait(Duration::ZERO).expect("looked"));
        drop((second, after));
        let earlier = Earlier::put_aside(&store.layout).expect("put aside");
        let later = store.guard().expect("taken");
        assert!(earlier.wait(Duration::ZERO).expect("looked"));
        assert!(store.layout.list_left_guards().expect("listed").is_empty());
        drop(later);
    }

    #[test]
    fn a_collection_leaves_a_guard_to_those_who_can_make_none() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = open(dir.path(), Sharing::Machine);
        let earlier = Earlier::put_aside(&store.layout).expect("put aside");
        assert!(store.layout.guard().exists(), "on a full disk nobody could make one");
        assert!(earlier.wait(Duration::ZERO).expect("looked"));
        assert!(store.layout.list_left_guards().expect("listed").is_empty());
        assert!(Store { is_writable: false, ..store }.guard().expect("taken")._file.is_some());
    }

    #[test]
    fn a_wait_goes_on_once_the_guard_is_let_go_of() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = open(dir.path(), Sharing::Machine);
        let guard = store.guard().expect("taken");
        let earlier = Earlier::put_aside(&store.layout).expect("put aside");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| earlier.wait(Duration::from_secs(60)).expect("waited"));
            std::thread::sleep(TRY_AGAIN_AFTER);
            assert!(!waiting.is_finished());
            drop(guard);
            assert!(waiting.join().expect("no panic"));
        });
    }

    #[test]
    fn a_share_has_no_guard() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = open(dir.path(), Sharing::Network);
        drop(store.guard().expect("nothing is taken"));
        assert!(!store.layout.guard().exists());
    }
}
