//! The list of a snapshot: what belongs to it.
//!
//! **For:** writing the list last, and restoring what it names.
//!
//! **May touch:** the file given.
//!
//! **Must hold:** a list of a later version is refused.
//!
//! **Format:** `docs/formats/backup-v1.md`.

use std::fs;
use std::path::Path;

use dits_core::hash::PackHash;
use serde::{Deserialize, Serialize};

use super::BackupError;
use crate::root::files;

/// The file's name in the folder of its snapshot.
pub const NAME: &str = "list.json";
const VERSION: u32 = 1;

/// What belongs to a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    version: u32,
    /// In seconds since 1970 UTC.
    pub made_at: u64,
    /// Of `meta.sqlite`, in hex.
    pub meta_blake3: String,
    /// Repositories, by name.
    pub repositories: Vec<Repository>,
    /// Sealed packs.
    pub packs: Vec<Pack>,
    /// Names of open packs.
    pub open: Vec<String>,
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
    /// It was not whole on the server when it was copied.
    pub damaged: bool,
}

impl Pack {
    /// Its name; `None` where that is none.
    pub fn hash(&self) -> Option<PackHash> {
        self.name.parse().ok()
    }
}

impl List {
    /// A list of what was copied, by this version.
    pub fn new(
        made_at: u64,
        meta_blake3: String,
        repositories: Vec<Repository>,
        packs: Vec<Pack>,
        open: Vec<String>,
    ) -> List {
        List { version: VERSION, made_at, meta_blake3, repositories, packs, open }
    }

    /// Writes it into the folder of its snapshot: whole and synced, or not at all.
    pub fn write(&self, snapshot: &Path) -> Result<(), BackupError> {
        let text = serde_json::to_vec_pretty(self).expect("words and numbers are always JSON");
        Ok(files::replace(&snapshot.join(NAME), &text, 0o600)?)
    }

    /// Reads it.
    ///
    /// # Errors
    ///
    /// [`BackupError`] for one that is damaged, or of a later version.
    pub fn read(snapshot: &Path) -> Result<List, BackupError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let path = snapshot.join(NAME);
        let bytes = fs::read(&path).map_err(files::failed("read", &path))?;
        let damaged = |source| BackupError::BadList { path: path.clone(), source };
        match serde_json::from_slice(&bytes).map_err(damaged)? {
            Version { version: VERSION } => serde_json::from_slice(&bytes).map_err(damaged),
            Version { version } => Err(BackupError::UnknownVersion { path: path.clone(), version }),
        }
    }
}
