//! The list of a snapshot: what belongs to it.
//!
//! **For:** writing the list last, and restoring what it names.
//!
//! **May touch:** the file given.
//!
//! **Must hold:** a list that is not what was written, or of a later version, is refused.
//!
//! **Format:** `docs/formats/backup-v1.md`.

use std::fs;
use std::path::{Path, PathBuf};

use dits_core::hash::PackHash;
use serde::{Deserialize, Serialize};

use crate::root::{RootError, files};

/// The file's name in the folder of its snapshot.
pub const NAME: &str = "list.json";
const VERSION: u32 = 1;

/// What belongs to a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// In seconds since 1970 UTC.
    pub made_at: u64,
    /// Repositories, by name.
    pub repositories: Vec<Repository>,
    /// Sealed packs.
    pub packs: Vec<Pack>,
    /// Everything else: the database, configuration, certificate, open packs.
    pub files: Vec<Copied>,
}

/// A repository of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// Its id, in hex.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The ref that its HEAD names.
    pub head: Option<String>,
    /// What its objects are named by, as git calls it.
    pub object_format: String,
}

/// A sealed pack of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pack {
    /// Its name, in hex.
    pub name: String,
    /// Its length, in bytes.
    pub len: u64,
}

impl Pack {
    /// Its name; `None` where that is none.
    pub fn hash(&self) -> Option<PackHash> {
        self.name.parse().ok()
    }
}

/// A file in the folder of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// Its path below that folder.
    pub path: String,
    /// BLAKE3 of what was copied, in hex.
    pub blake3: String,
}

/// The file as it is written.
#[derive(Serialize, Deserialize)]
struct Sealed<L> {
    version: u32,
    /// Of `list`, written as JSON without spaces, in hex.
    blake3: String,
    list: L,
}

/// A list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// It cannot be read or written.
    #[error(transparent)]
    File(#[from] RootError),
    /// It is not what was written.
    #[error("{0} is damaged")]
    Damaged(PathBuf),
    /// It was written by a later version.
    #[error("{path} has version {version}, which this version of ditsd does not know")]
    UnknownVersion {
        /// The list.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
}

impl List {
    /// Writes it into the folder of its snapshot: whole and synced, or not at all.
    pub fn write(&self, snapshot: &Path) -> Result<(), ListError> {
        let sealed = Sealed { version: VERSION, blake3: self.hash(), list: self };
        let text = serde_json::to_vec_pretty(&sealed).expect("words and numbers are always JSON");
        Ok(files::replace(&snapshot.join(NAME), &text, 0o600)?)
    }

    /// Reads it.
    ///
    /// # Errors
    ///
    /// [`ListError`].
    pub fn read(snapshot: &Path) -> Result<List, ListError> {
        let path = snapshot.join(NAME);
        let bytes = fs::read(&path).map_err(files::failed("read", &path))?;
        let damaged = |_| ListError::Damaged(path.clone());
        let version = serde_json::from_slice::<Sealed<serde::de::IgnoredAny>>(&bytes).map_err(damaged)?.version;
        if version != VERSION {
            return Err(ListError::UnknownVersion { path, version });
        }
        let sealed: Sealed<List> = serde_json::from_slice(&bytes).map_err(damaged)?;
        match sealed.blake3 == sealed.list.hash() {
            true => Ok(sealed.list),
            false => Err(ListError::Damaged(path)),
        }
    }

    /// The hash of all of it, in hex.
    pub fn hash(&self) -> String {
        let text = serde_json::to_vec(self).expect("words and numbers are always JSON");
        blake3::hash(&text).to_hex().to_string()
    }
}
