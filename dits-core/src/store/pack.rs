//! One pack, opened for reading.
//!
//! **For:** entries and stored bytes of a pack, whether it is sealed or still grows.
//!
//! **May touch:** that pack's files, reading only.
//!
//! **Must hold:**
//! - a sealed pack whose length or table is not what was sealed is never opened. The table is read
//!   once, and again only after the file changed;
//! - a file that the disk does not give is a problem of its pack, and of no other;
//! - the number of an entry does not change when its pack is sealed, so a pack that was
//!   opened before goes on being read through the same handle.
//!
//! **Format:** `docs/formats/pack-v1.md`.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use super::error::{PackProblem, StoreError, is_exhausted};
use super::layout::{Layout, OpenName, is_absent};
use crate::hash::PackHash;
use crate::pack_format::{
    Domain, ENTRY_LEN, Entry, LOG_HEADER_LEN, LOG_RECORD_LEN, LogHeader, StoredCheck, TRAILER_LEN, Trailer,
};

/// Why a pack cannot be opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// Its file is gone: sealed, joined or swept by another process.
    Gone,
    /// It is not what was sealed, cannot be read, or is not of a version that is known.
    Unusable(PackProblem),
    /// This process can open nothing more.
    Store(StoreError),
}

/// A pack that can be read.
#[derive(Debug)]
pub(super) struct Pack {
    pub path: PathBuf,
    pub domain: Domain,
    /// What spares the next opening of a sealed pack its check.
    pub checked: Option<Checked>,
    file: File,
    entries: Entries,
}

/// A sealed pack as it was when its whole table was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checked {
    state: FileState,
    trailer: Trailer,
}

#[cfg(test)]
impl Checked {
    /// This file, as if it were that pack.
    pub fn with_domain_of(self, other: Checked) -> Checked {
        Checked { state: self.state, trailer: other.trailer }
    }
}

/// What changes with a file that is changed or put in the place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileState {
    device: u64,
    inode: u64,
    len: u64,
    changed: (i64, i64),
}

impl FileState {
    fn of(file: &File) -> Result<FileState, PackProblem> {
        let metadata = file.metadata().map_err(|error| PackProblem::of(&error))?;
        if metadata.is_dir() {
            // Its length would say nothing: a folder has a different one on every file system.
            return Err(PackProblem::NotRead(rustix::io::Errno::ISDIR.raw_os_error()));
        }
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        Ok(FileState { device: metadata.dev(), inode: metadata.ino(), len: metadata.len(), changed })
    }
}

#[derive(Debug)]
enum Entries {
    /// The table at the end of a sealed pack.
    Table { start: u64, entry_count: u32 },
    /// The side log of an open pack.
    Log {
        log: File,
        header: LogHeader,
        /// How many of the first records name bytes that are known to be there.
        vouched: AtomicU32,
        /// Records beyond those whose bytes were checked.
        checked: Mutex<HashSet<u32>>,
    },
}

impl Pack {
    /// Returns true if the pack has no name any more: it takes room until it is closed.
    pub fn is_removed(&self) -> bool {
        self.file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
    }

    /// Opens a sealed pack, and checks its whole table unless it is as it was when it was `checked`.
    pub fn open_sealed(layout: &Layout, hash: &PackHash, checked: Option<Checked>) -> Result<Pack, OpenError> {
        let path = layout.sealed_pack(hash);
        let file = open(&path)?;
        let state = FileState::of(&file).map_err(OpenError::Unusable)?;
        let trailer = match checked.filter(|checked| checked.state == state) {
            Some(checked) => checked.trailer,
            None => check(&file, state.len, hash).map_err(OpenError::Unusable)?,
        };
        Ok(Pack {
            domain: trailer.domain,
            entries: Entries::Table { start: trailer.payload_len, entry_count: trailer.entry_count },
            checked: Some(Checked { state, trailer }),
            path,
            file,
        })
    }

    /// Opens an open pack, of which the first `vouched` records are known to be good.
    pub fn open_growing(layout: &Layout, name: &OpenName, vouched: u32) -> Result<Pack, OpenError> {
        let log_path = layout.open_log(name);
        let log = open(&log_path)?;
        let path = layout.open_pack(name);
        let file = open(&path)?;
        let mut bytes = [0; LOG_HEADER_LEN];
        log.read_exact_at(&mut bytes, 0).map_err(|error| OpenError::Unusable(PackProblem::of(&error)))?;
        let header = LogHeader::decode(&bytes).map_err(|error| OpenError::Unusable(error.into()))?;
        if header.name != *name {
            return Err(OpenError::Unusable(PackProblem::Damaged));
        }
        let entries = Entries::Log { log, header, vouched: vouched.into(), checked: Mutex::default() };
        Ok(Pack { domain: header.domain, checked: None, path, file, entries })
    }

    /// How many entries there are by now.
    ///
    /// The last records of a side log may be torn; [`Pack::entry`] says so.
    pub fn entry_count(&self) -> Result<u32, PackProblem> {
        match &self.entries {
            Entries::Table { entry_count, .. } => Ok(*entry_count),
            Entries::Log { log, .. } => {
                let metadata = log.metadata().map_err(|error| PackProblem::of(&error))?;
                Ok(Pack::record_count(metadata.len()))
            }
        }
    }

    /// How many whole records a side log of `log_len` bytes has room for.
    pub fn record_count(log_len: u64) -> u32 {
        (log_len.saturating_sub(LOG_HEADER_LEN as u64) / LOG_RECORD_LEN as u64).try_into().unwrap_or(u32::MAX)
    }

    /// Reads entries `from..to`; `None` for each that cannot be trusted or is not there.
    pub fn entries(&self, from: u32, to: u32) -> Result<Vec<Option<Entry>>, PackProblem> {
        if let Entries::Table { start, entry_count } = self.entries {
            let to = to.min(entry_count);
            let mut table = vec![0; (to.saturating_sub(from) as usize) * ENTRY_LEN];
            if !read_at(&self.file, &mut table, start + u64::from(from) * ENTRY_LEN as u64)? {
                return Err(PackProblem::Damaged);
            }
            let (entries, _) = table.as_chunks();
            return Ok(entries.iter().zip(from as usize..).map(|(bytes, no)| Entry::read(bytes, no).ok()).collect());
        }
        let mut entries = Vec::with_capacity(to.saturating_sub(from).min(1 << 16) as usize);
        for entry_no in from..to {
            entries.push(self.entry(entry_no)?);
        }
        Ok(entries)
    }

    /// Reads one entry; `None` if it cannot be trusted or is not there.
    pub fn entry(&self, entry_no: u32) -> Result<Option<Entry>, PackProblem> {
        match &self.entries {
            Entries::Table { entry_count, .. } if entry_no >= *entry_count => Ok(None),
            Entries::Table { start, .. } => {
                let mut bytes = [0; ENTRY_LEN];
                let whole = read_at(&self.file, &mut bytes, start + u64::from(entry_no) * ENTRY_LEN as u64)?;
                Ok(Entry::read(&bytes, entry_no as usize).ok().filter(|_| whole))
            }
            Entries::Log { log, header, .. } => {
                let mut bytes = [0; LOG_RECORD_LEN];
                let place = LOG_HEADER_LEN as u64 + u64::from(entry_no) * LOG_RECORD_LEN as u64;
                let whole = read_at(log, &mut bytes, place)?;
                Ok(header.read_record(&bytes, entry_no).filter(|_| whole))
            }
        }
    }

    /// Returns true if this is a sealed pack, and not one that was open when it was opened.
    pub fn is_sealed(&self) -> bool {
        matches!(self.entries, Entries::Table { .. })
    }

    /// When the pack was written to last, and how long its file is.
    pub fn written(&self) -> io::Result<(SystemTime, u64)> {
        let metadata = self.file.metadata()?;
        Ok((metadata.modified()?, metadata.len()))
    }

    /// Puts the stored bytes of `entry` into `stored`; says why where they are not all there, or the disk
    /// does not give them: another copy may be good.
    pub fn read_stored(&self, entry: &Entry, stored: &mut Vec<u8>) -> Result<(), PackProblem> {
        stored.clear();
        stored.resize(entry.stored_len as usize, 0);
        self.file.read_exact_at(stored, entry.place).map_err(|error| PackProblem::of(&error))
    }

    /// Has `to` share all blocks of the pack's file; returns false where that has fewer than `len` bytes, or the file
    /// system cannot.
    pub fn share_blocks(&self, len: u64, to: &File) -> bool {
        #[cfg(target_os = "linux")]
        return self.file.metadata().is_ok_and(|meta| meta.len() >= len)
            && rustix::fs::ioctl_ficlone(to, &self.file).is_ok();
        #[cfg(not(target_os = "linux"))]
        false
    }

    /// As [`Pack::read_stored`], and checks the bytes.
    pub fn read_checked(&self, entry: &Entry, stored: &mut Vec<u8>) -> Result<(), PackProblem> {
        self.read_stored(entry, stored)?;
        match StoredCheck::of(stored) == entry.check {
            true => Ok(()),
            false => Err(PackProblem::Damaged),
        }
    }

    /// Returns true if the pack may say that it has `entry` without its bytes being looked at,
    /// or if a look finds them whole.
    ///
    /// After a power loss a side log may name bytes that never reached the disk. So records
    /// that nobody vouches for are checked, once, before they keep anyone from storing again.
    pub fn really_has(&self, entry_no: u32, entry: &Entry) -> bool {
        let Entries::Log { vouched, checked, .. } = &self.entries else {
            return true;
        };
        if entry_no < vouched.load(Ordering::Acquire) || lock(checked).contains(&entry_no) {
            return true;
        }
        let mut stored = Vec::new();
        let whole = self.read_checked(entry, &mut stored).is_ok();
        if whole {
            lock(checked).insert(entry_no);
        }
        whole
    }

    /// Notes that the bytes of the first `entry_count` records are there.
    pub fn vouch(&self, entry_count: u32) {
        if let Entries::Log { vouched, checked, .. } = &self.entries {
            vouched.fetch_max(entry_count, Ordering::AcqRel);
            lock(checked).clear();
        }
    }

    /// Returns true if the pack's path still is this file: a pack that was sealed or written
    /// again since has another handle.
    pub fn has_its_path(&self) -> bool {
        match (self.file.metadata(), std::fs::metadata(&self.path)) {
            (Ok(own), Ok(named)) => own.ino() == named.ino() && own.dev() == named.dev(),
            _ => false,
        }
    }
}

fn open(path: &Path) -> Result<File, OpenError> {
    File::open(path).map_err(|source| match source {
        _ if is_absent(&source) => OpenError::Gone,
        _ if is_exhausted(&source) => OpenError::Store(StoreError::io(path, source)),
        _ => OpenError::Unusable(PackProblem::of(&source)),
    })
}

/// Returns false where the file ends before.
fn read_at(file: &File, bytes: &mut [u8], place: u64) -> Result<bool, PackProblem> {
    match file.read_exact_at(bytes, place) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(PackProblem::of(&error)),
    }
}

/// Reads the trailer and the whole table of a sealed pack, and checks both.
fn check(file: &File, len: u64, hash: &PackHash) -> Result<Trailer, PackProblem> {
    let start = len.checked_sub(TRAILER_LEN as u64).ok_or(PackProblem::Damaged)?;
    let mut bytes = [0; TRAILER_LEN];
    file.read_exact_at(&mut bytes, start).map_err(|error| PackProblem::of(&error))?;
    let trailer = Trailer::decode(&bytes, len)?;
    // The trailer's counts fit the file's own length, so this is no more than is there.
    let mut table = vec![0; trailer.table_len() as usize];
    let is_whole = trailer.hash == *hash && read_at(file, &mut table, trailer.payload_len)?;
    match is_whole && trailer.check_table(&table).is_ok() {
        true => Ok(trailer),
        false => Err(PackProblem::Damaged),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
