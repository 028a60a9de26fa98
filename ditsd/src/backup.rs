//! A backup of a server root while it serves, and the way back.
//!
//! **For:** `ditsd backup` and `ditsd restore`.
//!
//! **May touch:** the backup's folder; the root, reading only, but for the lock of collections; the new root; git children.
//!
//! **Must hold:**
//! - refs are read first, then the database, then packs: what a snapshot's refs name is held in it, and what is held is there;
//! - nothing is removed from the root meanwhile, and from the backup nothing that a snapshot needs which stays;
//! - a copy of a pack that was whole is never replaced.
//!
//! **Format:** `docs/formats/backup-v1.md`.

mod folder;
mod list;
mod restore;
mod taking;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use dits_core::repo::git_program::GitError as ProgramError;
use dits_core::repo_path::RepoName;
use dits_core::store::StoreError;

pub use restore::{Restored, restore};
pub use taking::{Taken, take};

use crate::db::DbError;
use crate::git::GitError;
use crate::root::{RootError, files};
use list::ListError;

/// Certificate and key, below `tls` of a root and of a snapshot.
const TLS: [&str; 2] = ["cert.pem", "key.pem"];

/// Why there is no backup, or nothing was restored from one.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file or folder of the root or of the backup could not be used.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The database could not be copied or read.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The folders of packs could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The list of a snapshot cannot be used.
    #[error(transparent)]
    List(#[from] ListError),
    /// Git could not copy a repository.
    #[error("cannot copy the repository {name}")]
    Repository {
        /// The repository.
        name: String,
        /// What git said.
        source: ProgramError,
    },
    /// A repository could not be made.
    #[error(transparent)]
    Git(#[from] GitError),
    /// There is no git.
    #[error(transparent)]
    NoGit(ProgramError),
    /// The folder holds something else.
    #[error("{0} is neither empty nor a backup")]
    NotABackup(PathBuf),
    /// It was written by a later version.
    #[error("the backup {path} has format {format:?}, which this version of ditsd does not know")]
    UnknownFormat {
        /// The backup.
        path: PathBuf,
        /// What its `format` file says.
        format: String,
    },
    /// Another process writes to the backup, or restores from it.
    #[error("another ditsd uses the backup {0}")]
    Locked(PathBuf),
    /// One would be lost with the other.
    #[error("{inner} would be inside of {outer}")]
    Inside {
        /// What was to be made.
        inner: PathBuf,
        /// Where it must not be.
        outer: PathBuf,
    },
    /// There is no complete snapshot, or none of this number.
    #[error("the backup {0} has no such complete snapshot")]
    NoSnapshot(PathBuf),
    /// A file of the backup is not what was copied.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// How far a backup or a restore is.
#[derive(Debug, Clone, Copy)]
pub enum Progress<'a> {
    /// A repository is copied.
    Repository(&'a RepoName),
    /// Bytes of packs that were looked at, of so many.
    Packs {
        /// Looked at, and copied where they are new.
        done: u64,
        /// All there are, as far as is known.
        total: u64,
    },
}

/// What was opened; `None` if there is none.
fn absent_is_none<T>(opened: io::Result<T>) -> io::Result<Option<T>> {
    match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

/// BLAKE3 of a file, in hex.
fn hash_of(path: &Path) -> Result<String, RootError> {
    let mut hasher = blake3::Hasher::new();
    let read = File::open(path).and_then(|file| hasher.update_reader(file).map(drop));
    read.map_err(files::failed("read", path))?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Refuses to make `inner`, which need not be there, below `outer`.
fn check_apart(inner: &Path, outer: &Path) -> Result<(), BackupError> {
    let failed = files::failed("find", inner);
    let absolute = std::path::absolute(inner).map_err(failed)?;
    let real = absolute.ancestors().find_map(|dir| dir.canonicalize().ok());
    match real.is_some_and(|dir| dir.starts_with(outer)) {
        true => Err(BackupError::Inside { inner: inner.to_owned(), outer: outer.to_owned() }),
        false => Ok(()),
    }
}
