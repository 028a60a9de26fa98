//! A pack that is written whole and renamed into place.
//!
//! **For:** stores on a network file system, where other machines write too and no lock can
//! be trusted.
//!
//! **May touch:** `<store>/packs`.
//!
//! **Must hold:** a name that ends in `.pack` only ever belongs to a whole, synced pack.
//!
//! **Format:** `docs/formats/pack-v1.md`.

use std::fs::{self, OpenOptions};
use std::path::PathBuf;

use super::error::WriteError;
use super::layout::{Layout, sync_dir};
use super::payload::Payload;
use crate::hash::PackHash;
use crate::pack_format::{Domain, ENTRY_LEN, Entry, Trailer};
use crate::steps::{Step, reached};

/// A pack under a temporary name, which is removed unless the pack is published.
#[derive(Debug)]
pub(super) struct WholePack {
    layout: Layout,
    path: PathBuf,
    domain: Domain,
    payload: Payload,
    entries: Vec<Entry>,
}

impl WholePack {
    /// Begins a pack.
    pub fn create(layout: &Layout, domain: Domain) -> Result<WholePack, WriteError> {
        let path = layout.temporary_pack(&rand::random());
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        let file = file.map_err(|source| WriteError::io(&path, source))?;
        let payload = Payload::new(file, path.clone(), 0);
        Ok(WholePack { layout: layout.clone(), path, domain, payload, entries: Vec::new() })
    }

    /// The entries so far.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Where the next item will start.
    pub fn end(&self) -> u64 {
        self.payload.end()
    }

    /// Appends an item. `entry.place` must be [`WholePack::end`].
    pub fn append(&mut self, entry: Entry, stored: &[u8]) -> Result<(), WriteError> {
        self.payload.append(stored)?;
        self.entries.push(entry);
        Ok(())
    }

    /// The table and the trailer that the pack would have if it were published now.
    pub fn table(&self) -> (Vec<u8>, Trailer) {
        let mut table = Vec::with_capacity((self.entries.len() + 2) * ENTRY_LEN);
        self.entries.iter().for_each(|entry| entry.write(&mut table));
        let trailer = Trailer::of(&table, self.domain, self.payload.end());
        (table, trailer)
    }

    /// Reads what was appended before.
    pub fn read_back(&mut self, place: u64, stored: &mut [u8]) -> Result<(), WriteError> {
        self.payload.read_back(place, stored)
    }

    /// Completes the pack and gives it its final name, which is returned.
    pub fn publish(mut self) -> Result<PackHash, WriteError> {
        let (mut table, trailer) = self.table();
        table.extend_from_slice(&trailer.encode());
        self.payload.append(&table)?;
        self.payload.flush()?;
        self.payload.trim()?;
        self.payload.sync().map_err(|source| WriteError::io(&self.path, source))?;
        reached(Step::WholePackWritten);
        let to = self.layout.sealed_pack(&trailer.hash);
        fs::rename(&self.path, &to).map_err(|source| WriteError::io(&to, source))?;
        reached(Step::WholePackRenamed);
        let dir = self.layout.packs();
        sync_dir(&dir).map_err(|source| WriteError::io(&dir, source))?;
        Ok(trailer.hash)
    }
}

impl Drop for WholePack {
    fn drop(&mut self) {
        // After publishing nothing has this name. A file that cannot be removed does no harm:
        // its name says that it is no pack.
        let _ = fs::remove_file(&self.path);
    }
}
