//! Reading one pack from front to back.
//!
//! **For:** [`Store::check`], which has several packs looked through at once.
//!
//! **May touch:** the pack's files, reading only, and the index.
//!
//! **Must hold:**
//! - every byte that an entry names is read, and compared with the check and with the item's id;
//! - what is damaged is noted in the index, and what is found good after all is cleared;
//! - what the disk does not give is reported, and not noted as damaged.

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;

use super::finding::{Finding, Problem};
use super::forward::Forward;
use super::records::{PIECE_ENTRIES, Records, is_being_written};
use crate::codec::{Codec, Decoder};
use crate::hash::{FileHash, PackHash};
use crate::item::{ItemId, ItemKind};
use crate::manifest::Manifest;
use crate::pack_format::{Domain, Entry, LOG_HEADER_LEN, LOG_RECORD_LEN, StoredCheck};
use crate::store::error::{StoreError, is_exhausted};
use crate::store::index::PackRow;
use crate::store::layout::{OpenName, is_absent};
use crate::store::{PackProblem, Store, lock};

/// Most entries at the end of an open pack that wait for being called torn.
const TORN_MAX: usize = 64 * 1024;
/// Bytes after which it is told how far a look is.
const TELL_STEP: u64 = 4 * 1024 * 1024;

/// A pack to be looked through.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub hash: Option<PackHash>,
    pub name: Option<OpenName>,
    /// What the index has of it.
    pub row: Option<PackRow>,
}

/// What was found in one pack, beside the findings.
#[derive(Debug, Default)]
pub(super) struct Looked {
    pub no: Option<i64>,
    pub entries: u64,
    pub damaged: u64,
    pub cleared: u64,
    /// Entries of which the index has a row, and those of which it has none.
    pub indexed: u64,
    pub lacking: u64,
    /// Rows of manifests that are as they should be.
    pub listed: u64,
    /// Rows of which that cannot be told, since what they speak of is damaged.
    pub unsure: u64,
}

/// What a thread that looks through packs says.
pub(super) enum Message {
    Finding(Finding),
    /// So many bytes were read.
    Read(u64),
    Pack(Looked),
    Failed(StoreError),
}

/// Looks through packs, one after the other.
pub(super) struct Looker<'a> {
    store: &'a Store,
    is_ours: &'a (dyn Fn(Domain) -> bool + Sync),
    sender: SyncSender<Message>,
    decoder: Decoder,
    plain: Vec<u8>,
    buffer: Vec<u8>,
    /// Bytes that were read and not told of yet.
    untold: u64,
}

/// A pack that is being looked through.
struct Open<'a> {
    path: PathBuf,
    file: &'a File,
    records: Records<'a>,
    row: Option<PackRow>,
    noted: HashSet<u32>,
    /// Bad entries behind the last good one of an open pack.
    torn: Vec<(u32, Option<ItemId>, Problem)>,
    looked: Looked,
}

impl<'a> Looker<'a> {
    pub fn new(
        store: &'a Store,
        is_ours: &'a (dyn Fn(Domain) -> bool + Sync),
        sender: SyncSender<Message>,
    ) -> Looker<'a> {
        Looker { store, is_ours, sender, decoder: Decoder::new(), plain: Vec::new(), buffer: Vec::new(), untold: 0 }
    }

    /// Looks through a pack, and says what it found. One that is gone meanwhile is passed over.
    pub fn look(&mut self, subject: &Subject) -> Result<(), StoreError> {
        let layout = &self.store.layout;
        if let Some(hash) = subject.hash
            && let Some(file) = self.open(&layout.sealed_pack(&hash))?
        {
            return self.sealed(&hash, &file, subject.row.clone());
        }
        if let Some(name) = subject.name {
            if let Some(log) = self.open(&layout.open_log(&name))?
                && let Some(file) = self.open(&layout.open_pack(&name))?
            {
                return self.growing(&name, &file, &log, subject.row.clone());
            }
            // It may have been sealed since.
            let row = lock(&self.store.known).with_index(layout, |index| index.pack_named(&name))?;
            if let Some(row) = row
                && let Some(hash) = row.hash
                && let Some(file) = self.open(&layout.sealed_pack(&hash))?
            {
                return self.sealed(&hash, &file, Some(row));
            }
        }
        Ok(())
    }

    /// Opens a file; `None` if it is gone, or if that was told.
    fn open(&self, path: &Path) -> Result<Option<File>, StoreError> {
        match File::open(path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) if is_exhausted(&error) => Err(StoreError::io(path, error)),
            Err(error) => {
                self.tell(path, None, None, Problem::of_read(PackProblem::of(&error), Problem::NotAPack));
                Ok(None)
            }
        }
    }

    fn sealed(&mut self, hash: &PackHash, file: &File, row: Option<PackRow>) -> Result<(), StoreError> {
        let path = self.store.layout.sealed_pack(hash);
        match Records::of_sealed(file, hash) {
            Ok(records) => self.records(path, file, records, row),
            Err(problem) => {
                self.tell(&path, None, None, problem);
                Ok(())
            }
        }
    }

    fn growing(&mut self, name: &OpenName, file: &File, log: &File, row: Option<PackRow>) -> Result<(), StoreError> {
        let layout = &self.store.layout;
        let path = layout.open_pack(name);
        if layout.doubt(name).exists() {
            self.tell(&path, None, None, Problem::InDoubt);
        }
        match Records::of_open(log, name) {
            Ok(records) => self.records(path, file, records, row),
            Err(problem) => {
                self.tell(&layout.open_log(name), None, None, problem);
                Ok(())
            }
        }
    }

    fn records(
        &mut self,
        path: PathBuf,
        file: &File,
        records: Records<'_>,
        row: Option<PackRow>,
    ) -> Result<(), StoreError> {
        if !(self.is_ours)(records.domain()) {
            self.tell(&path, None, None, Problem::OtherDomain(records.domain()));
        }
        let noted = match &row {
            Some(row) => lock(&self.store.known).with_index(&self.store.layout, |index| index.damaged_of(row.no))?,
            None => HashSet::new(),
        };
        let looked = Looked { no: row.as_ref().map(|row| row.no), ..Looked::default() };
        let mut pack = Open { path, file, records, row, noted, torn: Vec::new(), looked };
        let end = pack.payload_end();
        let mut forward = Forward::new(file, end, std::mem::take(&mut self.buffer));
        let (count, mut from, mut at) = (pack.records.count(), 0, 0);
        let mut bytes = Vec::new();
        while from < count {
            let to = count.min(from + PIECE_ENTRIES);
            match pack.records.entries(from, to, &mut bytes) {
                Ok(entries) => {
                    at = self.piece(&mut pack, &mut forward, from, &entries, at)?;
                }
                Err(problem) => {
                    self.tell(&pack.path, Some(from), None, Problem::of_read(problem, Problem::Record));
                    break;
                }
            }
            from = to;
        }
        self.buffer = forward.into_buffer();
        self.tell_read();
        self.finish(pack, at);
        Ok(())
    }

    /// Looks at some entries of a pack; returns where the last good one ends.
    fn piece(
        &mut self,
        pack: &mut Open<'_>,
        forward: &mut Forward<'_>,
        from: u32,
        entries: &[Option<Entry>],
        mut end: u64,
    ) -> Result<u64, StoreError> {
        let mut known = Vec::with_capacity(entries.len());
        let (mut damaged, mut good) = (Vec::new(), Vec::new());
        for (entry, entry_no) in entries.iter().zip(from..) {
            let Some(entry) = entry else {
                // It may have been an item, and a manifest.
                pack.looked.unsure += 2;
                self.bad(pack, entry_no, None, Problem::Record);
                continue;
            };
            pack.looked.entries += 1;
            if pack.is_indexed(entry_no) {
                known.push((entry_no, entry.id));
            }
            match self.item(forward, entry) {
                Ok(oid) => {
                    self.flush_torn(pack);
                    end = end.max(entry.end());
                    if self.is_listed(pack, entry_no, oid)? && pack.noted.contains(&entry_no) {
                        good.push(entry_no);
                    }
                }
                Err(problem) => {
                    pack.looked.unsure += u64::from(entry.id.kind == ItemKind::Manifest);
                    if !matches!(problem, Problem::NotRead(_)) && !pack.noted.contains(&entry_no) {
                        damaged.push(entry_no);
                    }
                    self.bad(pack, entry_no, Some(entry.id), problem);
                }
            }
            self.read(entry.stored_len.into());
        }
        if let Some(row) = &pack.row {
            let mut index = lock(&self.store.known);
            let lacking = index.with_index(&self.store.layout, |index| index.count_lacking(row.no, &known))?;
            pack.looked.lacking += lacking;
            pack.looked.indexed += known.len() as u64 - lacking;
            if !damaged.is_empty() || !good.is_empty() {
                // Where nothing can be written the next reader finds out for itself.
                let _ = index.with_index(&self.store.layout, |index| index.note_found(row.no, &damaged, &good));
            }
        }
        pack.looked.cleared += good.len() as u64;
        Ok(end)
    }

    /// Checks the bytes of an entry; returns the file that a manifest is about.
    fn item(&mut self, forward: &mut Forward<'_>, entry: &Entry) -> Result<Option<FileHash>, Problem> {
        let stored = forward.get(entry.place, entry.stored_len as usize);
        let stored = stored.map_err(|problem| Problem::of_read(problem, Problem::Bytes))?;
        let kind = entry.id.kind;
        let plain = match entry.codec {
            // One hash is the check and the name.
            Codec::Raw if kind != ItemKind::Page => {
                let hash = blake3::hash(stored);
                if StoredCheck::of_raw(hash.as_bytes()) != entry.check {
                    return Err(Problem::Bytes);
                }
                if *hash.as_bytes() != entry.id.hash {
                    return Err(Problem::Content);
                }
                stored
            }
            codec => {
                if StoredCheck::of(stored) != entry.check {
                    return Err(Problem::Bytes);
                }
                let decoded = self.decoder.decode(codec, stored, entry.plain_len as usize, &mut self.plain);
                if decoded.is_err() || !entry.id.names(&self.plain) {
                    return Err(Problem::Content);
                }
                &self.plain
            }
        };
        match kind {
            ItemKind::Manifest => match Manifest::decode(plain) {
                Ok(manifest) => Ok(Some(manifest.pointer().oid)),
                Err(_) => Err(Problem::Content),
            },
            _ => Ok(None),
        }
    }

    /// Returns false for a manifest that was found not to lead to its file: it has no row, and counts as
    /// damaged, whatever its bytes say. One that has no row without that is counted as lacking.
    fn is_listed(&self, pack: &mut Open<'_>, entry_no: u32, oid: Option<FileHash>) -> Result<bool, StoreError> {
        let (Some(oid), Some(row)) = (oid, &pack.row) else { return Ok(true) };
        if !pack.is_indexed(entry_no) {
            return Ok(true);
        }
        let is_listed = lock(&self.store.known)
            .with_index(&self.store.layout, |index| index.lists_manifest(row.no, entry_no, &oid))?;
        match is_listed {
            true => pack.looked.listed += 1,
            false => pack.looked.lacking += u64::from(!pack.noted.contains(&entry_no)),
        }
        Ok(is_listed)
    }

    /// A bad entry is damage, unless it is of an open pack, nobody vouches for it, and nothing good stands behind.
    fn bad(&self, pack: &mut Open<'_>, entry_no: u32, item: Option<ItemId>, problem: Problem) {
        let vouched = pack.row.as_ref().map_or(0, |row| row.vouched);
        let may_be_torn = matches!(pack.records, Records::Log { .. })
            && entry_no >= vouched
            && matches!(problem, Problem::Record | Problem::Bytes)
            && pack.torn.len() < TORN_MAX;
        match may_be_torn {
            true => pack.torn.push((entry_no, item, problem)),
            false => {
                self.flush_torn(pack);
                pack.looked.damaged += 1;
                self.tell(&pack.path, Some(entry_no), item, problem);
            }
        }
    }

    /// Something good stands behind what could have been torn.
    fn flush_torn(&self, pack: &mut Open<'_>) {
        for (entry_no, item, problem) in std::mem::take(&mut pack.torn) {
            pack.looked.damaged += 1;
            self.tell(&pack.path, Some(entry_no), item, problem);
        }
    }

    fn finish(&self, pack: Open<'_>, end: u64) {
        if let Records::Log { log, count, .. } = &pack.records {
            let log_path = pack.path.with_extension("log");
            let whole = LOG_HEADER_LEN as u64 + u64::from(*count) * LOG_RECORD_LEN as u64;
            let has_more = log.metadata().is_ok_and(|log| log.len() > whole)
                || pack.file.metadata().is_ok_and(|file| file.len() > end);
            if (has_more || !pack.torn.is_empty()) && !is_being_written(&log_path) {
                self.tell(&pack.path, None, None, Problem::Torn);
            }
        }
        self.send(Message::Pack(pack.looked));
    }

    fn read(&mut self, len: u64) {
        self.untold += len;
        if self.untold >= TELL_STEP {
            self.tell_read();
        }
    }

    fn tell_read(&mut self) {
        let len = std::mem::take(&mut self.untold);
        self.send(Message::Read(len));
    }

    fn tell(&self, path: &Path, entry_no: Option<u32>, item: Option<ItemId>, problem: Problem) {
        self.send(Message::Finding(Finding { path: path.to_owned(), entry_no, item, problem }));
    }

    fn send(&self, message: Message) {
        // Who listens hangs up only when another thread failed.
        let _ = self.sender.send(message);
    }
}

impl Open<'_> {
    fn payload_end(&self) -> u64 {
        match &self.records {
            Records::Table { trailer, .. } => trailer.payload_len,
            Records::Log { .. } => self.file.metadata().map_or(0, |metadata| metadata.len()),
        }
    }

    /// Returns true if the index says that it knows the entry.
    fn is_indexed(&self, entry_no: u32) -> bool {
        let is_sealed = matches!(self.records, Records::Table { .. });
        self.row.as_ref().is_some_and(|row| is_sealed || entry_no < row.known)
    }
}
