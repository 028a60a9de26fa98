//! What remotes answer.
//!
//! **For:** code that pushes and fetches media, whatever the remote is.
//!
//! **May touch:** nothing.

use crate::hash::{FileHash, ManifestHash};
use crate::item::ItemId;

/// A remote's word that it held a file, content proven, at some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The file.
    pub oid: FileHash,
    /// How long it is, in bytes; 0 if the remote did not say.
    pub size: u64,
    /// The manifest that was proven.
    pub manifest: ManifestHash,
    /// When, in seconds since 1970 UTC.
    pub proven_at: u64,
    /// The server's seal over it; empty for a remote that is no server.
    pub mac: Vec<u8>,
}

/// Whether a remote holds a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holding {
    /// It does not.
    No,
    /// It does, content proven.
    Held(Receipt),
    /// What it holds under this oid has another length, in bytes: the pointer is wrong, since what was proven
    /// is not.
    OtherSize(u64),
}

impl Holding {
    /// The receipt, where the file is held.
    pub fn receipt(self) -> Option<Receipt> {
        match self {
            Holding::Held(receipt) => Some(receipt),
            Holding::No | Holding::OtherSize(_) => None,
        }
    }
}

/// What came of hashing the content of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProveOutcome {
    /// It hashes to its oid, and the remote holds it.
    Held(Receipt),
    /// The manifest, or what it names, is not there.
    Missing(Vec<ItemId>),
    /// It is refused for good, and why.
    Refused(String),
}
