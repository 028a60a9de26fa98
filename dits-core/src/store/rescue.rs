//! Bringing to stable storage all that was committed, also what an earlier sync left in doubt.
//!
//! **For:** [`Store::sync`], and the writer whose sync fails.
//!
//! **May touch:** open packs and their marks; a new pack for what is brought to safety.
//!
//! **Must hold:**
//! - success means that every item that counts as there is on stable storage;
//! - a pack of which a sync failed is never synced again in the hope that it now holds: the system may
//!   have thrown away what it could not write, and says so only once. What can still be read of
//!   it is written to another pack;
//! - such a pack is removed only once all that it held is in other packs, and synced;
//! - what could not be saved is reported once, and counts as damaged from then on.
//!
//! **Format:** `docs/formats/store-v1.md`, "A sync that fails".

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use super::error::{StoreError, WriteError};
use super::index::Place;
use super::layout::{Layout, OpenName, is_absent, sync_dir};
use super::open_pack::OpenPack;
use super::pack::{OpenError, Pack};
use super::writer::NewItem;
use super::{Store, lock};
use crate::pack_format::Entry;
use crate::steps::{Step, attempt};

/// What the mark says of a pack from which nothing more can be saved.
const GIVEN_UP: &str = "given up\n";

/// Notes that a sync of an open pack failed.
///
/// Where not even that can be written down, the caller hears of the failure all the same.
pub(super) fn mark_doubt(layout: &Layout, name: &OpenName) {
    let _ = File::options().create(true).append(true).open(layout.doubt(name));
}

/// What became of an open pack that was in doubt.
struct Rescued {
    name: OpenName,
    /// So many entries are in other packs now; `None` if that is not all that it had.
    entry_count: Option<u32>,
}

impl Store {
    pub(super) fn sync_all(&self) -> Result<(), StoreError> {
        let doubts: HashSet<OpenName> = self.layout.list_doubts()?.into_iter().collect();
        let mut rescued = Vec::new();
        for name in &doubts {
            let path = self.layout.doubt(name);
            match fs::read(&path) {
                Ok(text) if text == GIVEN_UP.as_bytes() => {}
                Ok(_) => rescued.push(Rescued { name: *name, entry_count: self.rescue(name, &doubts)? }),
                Err(error) if is_absent(&error) => {}
                Err(source) => return Err(StoreError::io(&path, source)),
            }
        }
        self.sync_open_packs(&doubts)?;
        self.settle(&rescued)
    }

    fn sync_open_packs(&self, doubts: &HashSet<OpenName>) -> Result<(), StoreError> {
        for name in self.layout.list_logs()?.iter().filter(|name| !doubts.contains(*name)) {
            // The payload goes first, as for a writer. A pack that is sealed meanwhile loses
            // these names, and was synced before.
            let files = [
                (self.layout.open_pack(name), Step::PackPayloadSynced),
                (self.layout.open_log(name), Step::PackLogSynced),
            ];
            for (path, step) in files {
                match File::open(&path).and_then(|file| attempt(step, || file.sync_data())) {
                    Err(error) if is_absent(&error) => {}
                    Err(error) => {
                        mark_doubt(&self.layout, name);
                        return Err(StoreError::io(&path, error));
                    }
                    Ok(()) => {}
                }
            }
        }
        // Who made, or sealed, a pack may have died before its name was on stable storage.
        for dir in [self.layout.open(), self.layout.packs()] {
            match sync_dir(&dir) {
                Err(error) if !is_absent(&error) => return Err(StoreError::io(&dir, error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Copies into another pack what only the open pack `name` holds, and returns how many entries
    /// it has; `None` if some of it cannot be read any more.
    fn rescue(&self, name: &OpenName, doubts: &HashSet<OpenName>) -> Result<Option<u32>, StoreError> {
        // What a process that died had written may not be in the index yet.
        self.refresh()?;
        let pack = match Pack::open_growing(&self.layout, name, 0) {
            Ok(pack) => pack,
            Err(OpenError::Gone) => return Ok(Some(0)),
            Err(OpenError::Unusable(_)) => return Ok(None),
            Err(OpenError::Store(error)) => return Err(error),
        };
        let row = lock(&self.known).with_index(&self.layout, |index| index.pack_named(name))?;
        let doubted: HashSet<PathBuf> = doubts.iter().map(|name| self.layout.open_pack(name)).collect();
        let mut writer = self.writer(pack.domain);
        let mut stored = Vec::new();
        let mut is_whole = true;
        let Ok(entry_count) = pack.entry_count() else { return Ok(None) };
        for entry_no in 0..entry_count {
            let Ok(Some(entry)) = pack.entry(entry_no) else {
                is_whole = false;
                continue;
            };
            if self.has_beside(&entry, pack.domain, &doubted)? {
                continue;
            }
            let is_good = pack.read_checked(&entry, &mut stored).is_ok();
            let Entry { id, codec, plain_len, .. } = entry;
            let put = match is_good {
                true => writer.put(NewItem { id, codec, plain_len, stored: &stored }),
                false => Err(WriteError::Malformed(id)),
            };
            match put {
                Ok(()) => {}
                Err(WriteError::Malformed(_)) => {
                    is_whole = false;
                    let place = row.as_ref().map(|row| Place { pack_no: row.no, entry_no, is_damaged: false });
                    place.iter().for_each(|place| self.note_damage(place, true));
                }
                Err(error) => return Err(self.unwritten(error)),
            }
        }
        writer.sync().map_err(|error| self.unwritten(error))?;
        Ok(is_whole.then_some(entry_count))
    }

    /// Removes packs that are in doubt no more, and reports what could not be saved.
    fn settle(&self, rescued: &[Rescued]) -> Result<(), StoreError> {
        let mut lost = None;
        for Rescued { name, entry_count } in rescued {
            let mark = self.layout.doubt(name);
            let settled = match entry_count {
                Some(count) => match OpenPack::remove(&self.layout, name, *count) {
                    Ok(true) => fs::remove_file(&mark),
                    // It has a writer, or had one meanwhile: its next items are looked at again.
                    Ok(false) => Ok(()),
                    Err(error) => return Err(self.unwritten(error)),
                },
                None => {
                    lost = Some(self.layout.open_pack(name));
                    fs::write(&mark, GIVEN_UP)
                }
            };
            match settled {
                Err(source) if !is_absent(&source) => return Err(StoreError::io(&mark, source)),
                _ => {}
            }
        }
        if !rescued.is_empty() {
            lock(&self.handles).clear();
            self.refresh()?;
        }
        match lost {
            Some(path) => Err(StoreError::Lost { path }),
            None => Ok(()),
        }
    }

    /// Says what kept a copy from being written, as an error of the store.
    fn unwritten(&self, error: WriteError) -> StoreError {
        match error {
            WriteError::Full { path, source } => StoreError::Io { path, source },
            WriteError::Store(error) => error,
            other => StoreError::io(&self.layout.dir, io::Error::other(other)),
        }
    }
}
