//! The packs of a store as files, for copies of it.
//!
//! **For:** a backup and the way back, which copy packs and never look at items.
//!
//! **May touch:** the paths it is given, reading only.
//!
//! **Must hold:** a copy is called whole only if every byte that its table names is as it was when it was sealed.
//!
//! **Format:** `docs/formats/pack-v1.md`.

use std::path::{Path, PathBuf};

pub use super::check::is_whole;
use super::error::StoreError;
use super::layout::{Layout, hex16};
use crate::hash::PackHash;

/// The folders of a store that hold packs.
#[derive(Debug, Clone)]
pub struct PackFiles(Layout);

/// The two files of an open pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenPackFiles {
    /// What both are named by.
    pub name: String,
    /// The side log.
    pub log: PathBuf,
    /// The payload.
    pub payload: PathBuf,
}

impl PackFiles {
    /// Those of the store at `dir`, which need not be there.
    pub fn of(dir: &Path) -> PackFiles {
        PackFiles(Layout { dir: dir.to_owned() })
    }

    /// Lists sealed packs.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the folder is there and cannot be read.
    pub fn sealed(&self) -> Result<Vec<PackHash>, StoreError> {
        self.0.list_sealed()
    }

    /// Where a sealed pack is, or would be.
    pub fn path(&self, pack: &PackHash) -> PathBuf {
        self.0.sealed_pack(pack)
    }

    /// The folder of open packs.
    pub fn open_dir(&self) -> PathBuf {
        self.0.open()
    }

    /// Lists packs that still grow.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the folder is there and cannot be read.
    pub fn open(&self) -> Result<Vec<OpenPackFiles>, StoreError> {
        let files =
            |name| OpenPackFiles { name: hex16(&name), log: self.0.open_log(&name), payload: self.0.open_pack(&name) };
        Ok(self.0.list_logs()?.into_iter().map(files).collect())
    }
}
