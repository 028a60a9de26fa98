//! Remotes: where media goes and comes from.
//!
//! **For:** asking a remote what it holds, and moving items to and from it.
//!
//! **May touch:** sockets, and other stores on disk. Never decides policy.
//!
//! **Must hold:** whatever the remote, an item that it hands out matches its name.

use std::path::PathBuf;

use crate::hash::{FileHash, ManifestHash};
use crate::item::ItemId;
use crate::manifest::ManifestError;
use crate::pointer::Pointer;
use crate::repo::git_program::{GitError, GitProgram};
use crate::repo::pointer_walk::WalkError;
use crate::store::{ReadError, StoreError, StoredItem, WriteError};

pub mod answers;
pub mod local;
pub mod proto;
pub mod receipts;
pub mod server;

pub use answers::{Holding, ProveOutcome, Receipt};
use local::LocalRemote;
use server::{ServerError, ServerRemote};

/// A place that media goes to and comes from.
pub enum Remote {
    /// A share on a disk or NAS.
    Local(Box<LocalRemote>),
    /// A repository on a server.
    Server(Box<ServerRemote>),
}

/// A remote that could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The share's store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An item cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// An item cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// What is stored under a manifest's or span's name is none.
    #[error("{id} cannot be used")]
    Manifest {
        /// The item.
        id: ItemId,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// What is to be known of a share cannot be written down there.
    #[error("cannot write {path}", path = .path.display())]
    Note {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The refs of a share cannot be listed.
    #[error("cannot list the refs of the share")]
    Refs(#[source] GitError),
    /// What they name cannot be found out.
    #[error("cannot look through what the refs of the share name")]
    Walk(#[source] WalkError),
    /// The server did not do what it was asked.
    #[error(transparent)]
    Server(Box<ServerError>),
    /// An item's bytes are not what its name says.
    #[error("the bytes sent as {id} are something else")]
    WrongContent {
        /// The item.
        id: ItemId,
    },
}

impl From<ServerError> for RemoteError {
    fn from(error: ServerError) -> RemoteError {
        RemoteError::Server(Box::new(error))
    }
}

impl Remote {
    /// Tells the remote from now on that the text of what it is asked about goes to another host: it cannot
    /// know then which media is needed, and keeps all of it for good.
    ///
    /// # Errors
    ///
    /// [`RemoteError::Note`] if a share cannot note it.
    pub fn note_text_elsewhere(&self) -> Result<(), RemoteError> {
        match self {
            Remote::Local(share) => share.note_text_elsewhere(),
            Remote::Server(server) => {
                server.note_text_elsewhere();
                Ok(())
            }
        }
    }

    /// Which files does the remote hold, content proven? One answer for each question.
    ///
    /// # Errors
    ///
    /// [`RemoteError`] when it cannot be asked.
    pub fn held(&self, files: &[Pointer]) -> Result<Vec<Holding>, RemoteError> {
        match self {
            Remote::Local(share) => share.held(files),
            Remote::Server(server) => Ok(server.held(files)?),
        }
    }

    /// Which files does the remote hold, and keep: what its refs name now? One answer for each question. `git` is
    /// for the share's own repository, where the remote is one.
    ///
    /// # Errors
    ///
    /// [`RemoteError`] when it cannot be asked.
    pub fn kept(&self, files: &[Pointer], git: &dyn Fn() -> GitProgram) -> Result<Vec<Holding>, RemoteError> {
        match self {
            Remote::Local(share) => share.kept(files, &git()),
            Remote::Server(server) => Ok(server.kept(files)?),
        }
    }

    /// Which items would have to be sent? One answer for each question; true is missing.
    ///
    /// # Errors
    ///
    /// [`RemoteError`] when it cannot be asked.
    pub fn missing(&self, items: &[ItemId]) -> Result<Vec<bool>, RemoteError> {
        match self {
            Remote::Local(share) => share.missing(items),
            Remote::Server(server) => Ok(server.missing(items)?),
        }
    }

    /// Sends items; when it returns they are durable there, but for those that it returns: their
    /// connection broke, and they have to be sent again. `progress` is told the stored bytes of
    /// each item that went out.
    ///
    /// # Errors
    ///
    /// [`RemoteError`]; what was sent before may be there.
    pub fn upload(
        &self,
        items: &mut dyn Iterator<Item = Result<StoredItem, ReadError>>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<ItemId>, RemoteError> {
        match self {
            Remote::Local(share) => share.upload(items, progress).map(|()| Vec::new()),
            Remote::Server(server) => Ok(server.upload(items, &mut |bytes| progress(bytes))?),
        }
    }

    /// Has manifests proven that were uploaded; beside each may stand an earlier version of
    /// its file. One answer for each question.
    ///
    /// # Errors
    ///
    /// [`RemoteError`] when it cannot be asked.
    pub fn prove(&self, manifests: &[(ManifestHash, Option<FileHash>)]) -> Result<Vec<ProveOutcome>, RemoteError> {
        match self {
            Remote::Local(share) => manifests.iter().map(|(manifest, _)| share.prove(manifest)).collect(),
            // The server says how far it is, but hashing is far quicker than sending was.
            Remote::Server(server) => Ok(server.prove(manifests, &mut |_| {})?),
        }
    }

    /// Which manifest describes each file? `None` where the file is not held.
    ///
    /// # Errors
    ///
    /// [`RemoteError`] when it cannot be asked.
    pub fn manifests(&self, oids: &[FileHash]) -> Result<Vec<Option<ManifestHash>>, RemoteError> {
        match self {
            Remote::Local(share) => share.manifests(oids),
            Remote::Server(server) => Ok(server.manifests(oids)?),
        }
    }

    /// Fetches items and hands each to `sink`, checked, in any order. Returns those that the
    /// remote does not have.
    ///
    /// # Errors
    ///
    /// [`RemoteError`] when it cannot be asked, or `sink` fails.
    pub fn download(
        &self,
        items: &[ItemId],
        sink: &mut dyn FnMut(StoredItem) -> Result<(), WriteError>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<ItemId>, RemoteError> {
        match self {
            Remote::Local(share) => share.download(items, sink, progress),
            Remote::Server(server) => Ok(server.download(items, sink, &mut |bytes| progress(bytes))?),
        }
    }
}
