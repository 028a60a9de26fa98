//! A pack that grows in place, with its side log.
//!
//! **For:** processes that live for one `git add` and together fill one pack.
//!
//! **May touch:** `<store>/open`, and `<store>/packs` to put the sealed pack there.
//!
//! **Must hold:**
//! - only the process that holds the lock on the side log changes the pack;
//! - a record is written behind the bytes it names, and nothing is cut off that a good
//!   record names;
//! - a pack is sealed only when it is whole on stable storage;
//! - after a sync that failed nobody goes on with the pack.
//!
//! **Format:** `docs/formats/pack-v1.md`.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::error::{WriteError, is_exhausted};
use super::layout::{Layout, OpenName, is_absent, sync_dir};
use super::pack::Pack;
use super::payload::Payload;
use super::rescue;
use crate::hash::PackHash;
use crate::pack_format::{Domain, Entry, LOG_HEADER_LEN, LOG_RECORD_LEN, LogHeader, StoredCheck, Tiling, Trailer};
use crate::steps::{Step, attempt, reached};

/// An open pack that this process may write to.
#[derive(Debug)]
pub(super) struct OpenPack {
    layout: Layout,
    /// Holds the owner's lock until it is closed.
    log: File,
    log_path: PathBuf,
    header: LogHeader,
    payload: Payload,
    entries: Vec<Entry>,
    /// How many of the entries the side log has.
    logged: usize,
    /// Set while the files' names may not be on stable storage.
    is_new: bool,
}

/// What was found of an open pack that another process left.
pub(super) enum Continued {
    /// It can be written to.
    Pack(Box<OpenPack>),
    /// It is damaged before its last good record: it stays as it is, to be read only.
    Damaged,
    /// Another process writes to it, it is of another domain, or there is nothing to continue.
    Unusable,
}

impl OpenPack {
    /// Makes a new open pack.
    pub fn create(layout: &Layout, domain: Domain) -> Result<OpenPack, WriteError> {
        loop {
            let name: OpenName = rand::random();
            let header = LogHeader { domain, name };
            let log_path = layout.open_log(&name);
            let log = open_new(&log_path).map_err(|source| WriteError::io(&log_path, source))?;
            // Between the two lines above another writer may have found a log without a pack,
            // and removed it as left over.
            if !lock_named(&log, &log_path)? {
                continue;
            }
            log.write_all_at(&header.encode(), 0).map_err(|source| WriteError::io(&log_path, source))?;
            let path = layout.open_pack(&name);
            let file = open_new(&path).map_err(|source| WriteError::io(&path, source))?;
            reached(Step::PackOpened);
            return Ok(OpenPack {
                layout: layout.clone(),
                log,
                log_path,
                header,
                payload: Payload::new(file, path, 0),
                entries: Vec::new(),
                logged: 0,
                is_new: true,
            });
        }
    }

    /// Takes over the open pack `name` if no process writes to it, and cuts off what a process
    /// that died left half written. Its first `vouched` records need no check.
    pub fn take_over(layout: &Layout, name: &OpenName, domain: Domain, vouched: u32) -> Result<Continued, WriteError> {
        let log_path = layout.open_log(name);
        let log = match OpenOptions::new().read(true).write(true).open(&log_path) {
            Ok(log) => log,
            Err(error) if is_absent(&error) => return Ok(Continued::Unusable),
            Err(source) => return not_taken(&log_path, source),
        };
        // Whose sync failed said so while it had the lock. A mark that cannot be looked for may be there.
        if !lock_named(&log, &log_path)? || layout.doubt(name).try_exists().unwrap_or(true) {
            return Ok(Continued::Unusable);
        }
        let path = layout.open_pack(name);
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if is_absent(&error) => {
                // Its pack was sealed, or never made: nothing points to this log any more.
                fs::remove_file(&log_path).map_err(|source| WriteError::io(&log_path, source))?;
                return Ok(Continued::Unusable);
            }
            Err(source) => return not_taken(&path, source),
        };
        let mut bytes = Vec::new();
        if let Err(source) = io::Read::read_to_end(&mut &log, &mut bytes) {
            return not_taken(&log_path, source);
        }
        let Some(header) = read_header(&bytes) else { return Ok(Continued::Unusable) };
        if header.domain != domain || header.name != *name {
            return Ok(Continued::Unusable);
        }
        let entries = match salvage(&file, &bytes, &header, vouched) {
            Ok(Some(entries)) => entries,
            Ok(None) => return Ok(Continued::Damaged),
            Err(source) => return not_taken(&path, source),
        };
        let end = entries.last().map_or(0, Entry::end);
        let log_len = (LOG_HEADER_LEN + entries.len() * LOG_RECORD_LEN) as u64;
        if log_len != bytes.len() as u64 {
            log.set_len(log_len).map_err(|source| WriteError::io(&log_path, source))?;
        }
        if file.metadata().map_err(|source| WriteError::io(&path, source))?.len() != end {
            file.set_len(end).map_err(|source| WriteError::io(&path, source))?;
        }
        Ok(Continued::Pack(Box::new(OpenPack {
            layout: layout.clone(),
            log,
            log_path,
            header,
            payload: Payload::new(file, path, end),
            logged: entries.len(),
            entries,
            // Who syncs a pack vouches for it. One that nobody did may have a name that is not
            // on stable storage.
            is_new: vouched == 0,
        })))
    }

    /// Removes the side log `name` if its pack was sealed and the process died before it could.
    pub fn remove_left_log(layout: &Layout, name: &OpenName) -> Result<(), WriteError> {
        if layout.open_pack(name).exists() {
            return Ok(());
        }
        let log_path = layout.open_log(name);
        match File::open(&log_path) {
            Ok(log) if lock_named(&log, &log_path)? && !layout.open_pack(name).exists() => {
                fs::remove_file(&log_path).map_err(|source| WriteError::io(&log_path, source))
            }
            Err(source) if is_exhausted(&source) => Err(WriteError::io(&log_path, source)),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Removes an open pack whose first `entry_count` items are all in other packs; returns false
    /// if another process has it, or it has more items.
    pub fn remove(layout: &Layout, name: &OpenName, entry_count: u32) -> Result<bool, WriteError> {
        let log_path = layout.open_log(name);
        let log = match File::open(&log_path) {
            Ok(log) => log,
            Err(error) if is_absent(&error) => return Ok(true),
            Err(source) => return Err(WriteError::io(&log_path, source)),
        };
        if !lock_named(&log, &log_path)? {
            return Ok(false);
        }
        let log_len = log.metadata().map_err(|source| WriteError::io(&log_path, source))?.len();
        if Pack::record_count(log_len) > entry_count && layout.open_pack(name).exists() {
            return Ok(false);
        }
        // A log without its pack is removed by whoever finds it, the other way round nobody would.
        for path in [layout.open_pack(name), log_path] {
            match fs::remove_file(&path) {
                Err(source) if !is_absent(&source) => return Err(WriteError::io(&path, source)),
                _ => {}
            }
        }
        Ok(true)
    }

    /// The pack's random name.
    pub fn name(&self) -> &OpenName {
        &self.header.name
    }

    /// The entries so far, whether or not the side log has them.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Where the next item will start.
    pub fn end(&self) -> u64 {
        self.payload.end()
    }

    /// Appends an item. `entry.place` must be [`OpenPack::end`].
    pub fn append(&mut self, entry: Entry, stored: &[u8]) -> Result<(), WriteError> {
        self.payload.append(stored)?;
        self.entries.push(entry);
        Ok(())
    }

    /// Writes everything appended, then the records that name it.
    pub fn flush(&mut self) -> Result<(), WriteError> {
        if self.logged == self.entries.len() {
            return Ok(());
        }
        self.payload.flush()?;
        reached(Step::PackPayloadWritten);
        let mut records = Vec::with_capacity((self.entries.len() - self.logged) * LOG_RECORD_LEN);
        for (entry, record_index) in self.entries[self.logged..].iter().zip(self.logged as u32..) {
            self.header.write_record(entry, record_index, &mut records);
        }
        let place = (LOG_HEADER_LEN + self.logged * LOG_RECORD_LEN) as u64;
        self.log.write_all_at(&records, place).map_err(|source| WriteError::io(&self.log_path, source))?;
        self.logged = self.entries.len();
        reached(Step::PackLogWritten);
        Ok(())
    }

    /// Waits until everything flushed is on stable storage.
    pub fn sync(&mut self) -> Result<(), WriteError> {
        let path = self.layout.open_pack(self.name());
        attempt(Step::PackPayloadSynced, || self.payload.sync()).map_err(|source| self.in_doubt(&path, source))?;
        reached(Step::PackPayloadSynced);
        attempt(Step::PackLogSynced, || self.log.sync_data())
            .map_err(|source| self.in_doubt(&self.log_path, source))?;
        if self.is_new {
            let dir = self.layout.open();
            sync_dir(&dir).map_err(|source| WriteError::io(&dir, source))?;
            self.is_new = false;
        }
        reached(Step::PackLogSynced);
        Ok(())
    }

    /// Notes, before the lock is let go of, that `path` could not be synced.
    fn in_doubt(&self, path: &Path, source: io::Error) -> WriteError {
        rescue::mark_doubt(&self.layout, self.name(), Some(&self.log));
        WriteError::io(path, source)
    }

    /// The table and the trailer that the pack would have if it were sealed now.
    pub fn table(&self) -> (Vec<u8>, Trailer) {
        let mut table = Vec::with_capacity((self.entries.len() + 2) * crate::pack_format::ENTRY_LEN);
        self.entries.iter().for_each(|entry| entry.write(&mut table));
        let trailer = Trailer::of(&table, self.header.domain, self.payload.end());
        (table, trailer)
    }

    /// Reads what was appended before.
    pub fn read_back(&mut self, place: u64, stored: &mut [u8]) -> Result<(), WriteError> {
        self.payload.read_back(place, stored)
    }

    /// Writes the table and the trailer behind the payload, and returns the pack's final name.
    /// What was written must be synced before the pack gets that name.
    pub fn write_table(&mut self) -> Result<PackHash, WriteError> {
        self.flush()?;
        let (mut table, trailer) = self.table();
        table.extend_from_slice(&trailer.encode());
        self.payload.append(&table)?;
        self.payload.flush()?;
        self.payload.trim()?;
        reached(Step::PackTableWritten);
        Ok(trailer.hash)
    }

    /// Another handle on the payload, for a thread that syncs it.
    pub fn payload_file(&self) -> Result<File, WriteError> {
        self.payload.another_handle()
    }

    /// Notes that it could not be synced.
    pub fn payload_in_doubt(&self, source: io::Error) -> WriteError {
        self.in_doubt(&self.layout.open_pack(self.name()), source)
    }

    /// Gives the pack, whole and synced, its final name, and removes the side log.
    pub fn rename(self, hash: &PackHash) -> Result<(), WriteError> {
        let from = self.layout.open_pack(self.name());
        let to = self.layout.sealed_pack(hash);
        fs::rename(&from, &to).map_err(|source| WriteError::io(&to, source))?;
        reached(Step::PackRenamed);
        let dir = self.layout.packs();
        sync_dir(&dir).map_err(|source| WriteError::io(&dir, source))?;
        fs::remove_file(&self.log_path).map_err(|source| WriteError::io(&self.log_path, source))?;
        reached(Step::PackLogRemoved);
        Ok(())
    }

    /// Gives back the room that was reserved and not used.
    pub fn trim(&mut self) -> Result<(), WriteError> {
        self.payload.trim()
    }
}

fn open_new(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).open(path)
}

/// Takes the owner's lock; returns false if another process has it, or if the file that
/// now is locked no longer has this name.
pub(super) fn lock_named(log: &File, path: &Path) -> Result<bool, WriteError> {
    match log.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(false),
        Err(TryLockError::Error(source)) => return Err(WriteError::io(path, source)),
    }
    let locked = log.metadata().map_err(|source| WriteError::io(path, source))?;
    match fs::metadata(path) {
        Ok(named) => Ok(named.ino() == locked.ino() && named.dev() == locked.dev()),
        Err(error) if is_absent(&error) => Ok(false),
        Err(source) => Err(WriteError::io(path, source)),
    }
}

/// Passes over an open pack of which a file cannot be used: others can, and a new one can be made.
fn not_taken(path: &Path, source: io::Error) -> Result<Continued, WriteError> {
    match source.kind() {
        _ if is_exhausted(&source) => Err(WriteError::io(path, source)),
        // Another user's, perhaps, who can.
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Ok(Continued::Unusable),
        _ => Ok(Continued::Damaged),
    }
}

fn read_header(log: &[u8]) -> Option<LogHeader> {
    LogHeader::decode(log.first_chunk()?).ok()
}

/// Returns the entries that can be kept; `None` if a good one stands behind a bad one.
fn salvage(file: &File, log: &[u8], header: &LogHeader, vouched: u32) -> io::Result<Option<Vec<Entry>>> {
    let file_len = file.metadata()?.len();
    let mut entries = Vec::new();
    let mut tiling = Tiling::default();
    let mut stored = Vec::new();
    let mut is_torn = false;
    let (records, _) = log[LOG_HEADER_LEN..].as_chunks();
    for (record, record_index) in records.iter().zip(0_u32..) {
        let Some(entry) = header.read_record(record, record_index) else {
            if record_index < vouched {
                return Ok(None);
            }
            is_torn = true;
            continue;
        };
        let is_there = entry.end() <= file_len
            && (record_index < vouched && !is_torn || is_whole(file, &entry, &mut stored)?)
            && (is_torn || tiling.push(&entry).is_ok());
        match (is_there, is_torn) {
            // What was once whole on stable storage is not torn: nothing of it is cut off.
            (false, false) if record_index < vouched => return Ok(None),
            (true, false) => entries.push(entry),
            (true, true) => return Ok(None),
            (false, _) => is_torn = true,
        }
    }
    Ok(Some(entries))
}

fn is_whole(file: &File, entry: &Entry, stored: &mut Vec<u8>) -> io::Result<bool> {
    stored.clear();
    stored.resize(entry.stored_len as usize, 0);
    file.read_exact_at(stored, entry.place)?;
    Ok(StoredCheck::of(stored) == entry.check)
}
