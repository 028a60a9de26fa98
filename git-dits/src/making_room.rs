//! A collection of a store as `git dits gc` and `git dits prune` run it.
//!
//! **For:** what both say while it goes on, and when it ends early.
//!
//! **May touch:** nothing but the progress bar.
//!
//! **Must hold:** whoever is refused is told what to do next.

use std::sync::Mutex;

use dits_core::operations::collect::{CollectError, CollectProgress, CollectionError};
use dits_core::repo::local_needs::LocalNeedsError;
use dits_core::repo::store_roots::StoreRootsError;

use crate::progress::Progress;
use crate::report::Failure;

/// Why a collection ended early.
#[derive(Debug)]
pub enum Stopped {
    /// Nobody can tell what this repository needs here.
    Needs(LocalNeedsError),
    /// Nobody can tell what a repository that uses the store needs.
    Roots(StoreRootsError),
    /// The store cannot be collected.
    Collect(CollectError),
}

impl From<LocalNeedsError> for Stopped {
    fn from(error: LocalNeedsError) -> Stopped {
        Stopped::Needs(error)
    }
}

impl From<StoreRootsError> for Stopped {
    fn from(error: StoreRootsError) -> Stopped {
        Stopped::Roots(error)
    }
}

impl From<CollectError> for Stopped {
    fn from(error: CollectError) -> Stopped {
        Stopped::Collect(error)
    }
}

impl From<Stopped> for Failure {
    fn from(stopped: Stopped) -> Failure {
        match stopped {
            Stopped::Needs(error) => error.into(),
            Stopped::Roots(StoreRootsError::Repository { git_dir, source }) => {
                Failure::refused(format!("cannot tell what the repository {} needs", git_dir.display()))
                    .because(source.as_ref())
                    .hint("make it readable again, and run the same command")
                    .hint(format!("if it is gone for good: `git dits gc --forget {}`", git_dir.display()))
            }
            Stopped::Roots(error) => error.into(),
            Stopped::Collect(CollectError::Collection(error @ CollectionError::Busy { .. })) => {
                Failure::refused(error.to_string()).hint("wait until it has ended")
            }
            Stopped::Collect(error @ (CollectError::Unread(_) | CollectError::Unreadable { .. })) => {
                Failure::from(error).hint("nothing was removed; `git dits fsck --repair` mends what can be mended")
            }
            Stopped::Collect(error) => error.into(),
        }
    }
}

/// Runs a collection, and shows how far it is.
pub fn shown<T>(collect: impl FnOnce(&(dyn Fn(CollectProgress) + Sync)) -> T) -> T {
    let progress = Mutex::new(Progress::of_bytes("making room", 0));
    collect(&|at| {
        let mut progress = progress.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match at {
            CollectProgress::Marking { .. } | CollectProgress::Removing { .. } => progress.advance(0),
            CollectProgress::Copying { done, total } => progress.set(done, total),
            CollectProgress::Waiting => progress.say("waiting for those who use the store"),
        }
    })
}
