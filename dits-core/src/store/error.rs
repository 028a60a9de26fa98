//! What can go wrong in a store, by what was being done.
//!
//! **For:** callers that tell a full disk from a damaged pack and an item that is not there.
//!
//! **May touch:** nothing.
//!
//! **Must hold:** every error names the file or the item it is about.

use std::io;
use std::path::{Path, PathBuf};

use crate::item::ItemId;
use crate::pack_format::PackFormatError;

/// The store cannot be used, or not for this.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or folder of the store could not be used.
    #[error("cannot use {path}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The index could not be used.
    #[error("cannot use the index {path}")]
    Index {
        /// The index.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The folder holds something else.
    #[error("{path} is not a Dits store")]
    NotAStore {
        /// The folder.
        path: PathBuf,
    },
    /// The store was made by a later version.
    #[error("the store {path} has format {found:?}, which is not known to this version of Dits")]
    UnknownVersion {
        /// The folder.
        path: PathBuf,
        /// The first line of its format file.
        found: String,
    },
    /// A sync of a pack failed, and what it left unwritten cannot all be read any more.
    #[error("not all of {path} reached the disk, and some of it is lost")]
    Lost {
        /// The pack.
        path: PathBuf,
    },
}

impl StoreError {
    pub(crate) fn io(path: &Path, source: io::Error) -> StoreError {
        StoreError::Io { path: path.to_owned(), source }
    }
}

/// An item could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No pack holds it.
    #[error("{0} is not in this store")]
    Missing(ItemId),
    /// What a pack holds under its name is something else now.
    #[error("{id} is damaged in {path}")]
    Damaged {
        /// The item.
        id: ItemId,
        /// The pack.
        path: PathBuf,
    },
    /// No readable pack holds it, and this one cannot be read.
    #[error("{id} is not in this store, unless in the pack {path}, which {problem}")]
    Unreadable {
        /// The item.
        id: ItemId,
        /// The pack.
        path: PathBuf,
        /// Why it cannot be read.
        problem: PackProblem,
    },
    /// The store could not be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a whole pack cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PackProblem {
    /// Its table or length is not what was sealed.
    #[error("is damaged")]
    Damaged,
    /// It was written by a later version.
    #[error("has version {0}, which is not known to this version of Dits")]
    UnknownVersion(u16),
    /// The system does not give its bytes; why not, as the system numbers it.
    #[error("cannot be read: {}", io::Error::from_raw_os_error(*.0))]
    NotRead(i32),
}

impl PackProblem {
    /// What an error of reading one of a pack's files says of the pack.
    pub(super) fn of(error: &io::Error) -> PackProblem {
        // A file that ends too early has no number.
        error.raw_os_error().map_or(PackProblem::Damaged, PackProblem::NotRead)
    }

    /// Returns true if an item in such a pack has to be stored again: what a disk does not give now it
    /// may give later, and what a later version wrote is not lost.
    pub(super) fn is_loss(self) -> bool {
        self == PackProblem::Damaged
    }
}

/// Returns true if the error says nothing of the file, but that this process can open no more.
pub(super) fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::NOMEM].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

impl From<PackFormatError> for PackProblem {
    fn from(error: PackFormatError) -> PackProblem {
        match error {
            PackFormatError::UnknownVersion(version) => PackProblem::UnknownVersion(version),
            _ => PackProblem::Damaged,
        }
    }
}

/// Items could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The disk, or the user's part of it, is full.
    #[error("no space left to write {path}")]
    Full {
        /// The file that could not grow.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing can be written to this store.
    #[error("the store {dir} cannot be written to")]
    ReadOnly {
        /// The store's folder.
        dir: PathBuf,
    },
    /// The item's lengths do not fit its kind and codec, or a manifest cannot be decoded.
    #[error("{0} is not a well-formed item")]
    Malformed(ItemId),
    /// This writer failed before, and takes nothing more.
    #[error("an earlier write to the store {dir} failed")]
    FailedBefore {
        /// The store's folder.
        dir: PathBuf,
    },
    /// The store could not be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl WriteError {
    pub(crate) fn io(path: &Path, source: io::Error) -> WriteError {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                WriteError::Full { path: path.to_owned(), source }
            }
            _ => StoreError::io(path, source).into(),
        }
    }
}
