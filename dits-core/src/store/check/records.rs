//! The entries of a pack, read piece by piece.
//!
//! **For:** checking packs with millions of entries in little memory.
//!
//! **May touch:** the files it is given, reading only.
//!
//! **Must hold:** memory is one piece, whatever the counts of a pack say.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::finding::Problem;
use crate::hash::PackHash;
use crate::pack_format::{
    Domain, ENTRY_LEN, Entry, LOG_HEADER_LEN, LOG_RECORD_LEN, LogHeader, TRAILER_LEN, Tiling, Trailer,
};
use crate::store::PackProblem;
use crate::store::layout::OpenName;
use crate::store::pack::Pack;

/// Entries that are read at a time.
pub(super) const PIECE_ENTRIES: u32 = 2048;

/// Where the entries of a pack stand.
pub(super) enum Records<'a> {
    Table { file: &'a File, trailer: Trailer },
    Log { log: &'a File, header: LogHeader, count: u32 },
}

impl<'a> Records<'a> {
    /// Reads the trailer and the whole table of a sealed pack, and checks both.
    pub fn of_sealed(file: &'a File, name: &PackHash) -> Result<Records<'a>, Problem> {
        let trailer = read_trailer(file)?;
        let records = Records::Table { file, trailer };
        let mut hasher = blake3::Hasher::new();
        let mut tiling = Tiling::default();
        let mut tiles = true;
        let mut from = 0;
        let mut bytes = Vec::new();
        while from < trailer.entry_count {
            let to = trailer.entry_count.min(from + PIECE_ENTRIES);
            records.read(from, to, &mut bytes).map_err(|problem| Problem::of_read(problem, Problem::Table))?;
            hasher.update(&bytes);
            for (entry, entry_no) in bytes.as_chunks().0.iter().zip(from as usize..) {
                tiles &= Entry::read(entry, entry_no).and_then(|entry| tiling.push(&entry)).is_ok();
            }
            from = to;
        }
        match trailer.name_after(hasher) {
            own if own != trailer.hash || !tiles || tiling.end() != trailer.payload_len => Err(Problem::Table),
            own if own != *name => Err(Problem::OtherName(own)),
            _ => Ok(records),
        }
    }

    /// Reads the header of an open pack's side log.
    pub fn of_open(log: &'a File, name: &OpenName) -> Result<Records<'a>, Problem> {
        let failed = |error: &std::io::Error| Problem::of_read(PackProblem::of(error), Problem::NotAPack);
        let mut bytes = [0; LOG_HEADER_LEN];
        log.read_exact_at(&mut bytes, 0).map_err(|error| failed(&error))?;
        let header = LogHeader::decode(&bytes).map_err(Problem::of_format)?;
        let count = Pack::record_count(log.metadata().map_err(|error| failed(&error))?.len());
        match header.name == *name {
            true => Ok(Records::Log { log, header, count }),
            false => Err(Problem::NotAPack),
        }
    }

    pub fn domain(&self) -> Domain {
        match self {
            Records::Table { trailer, .. } => trailer.domain,
            Records::Log { header, .. } => header.domain,
        }
    }

    pub fn count(&self) -> u32 {
        match self {
            Records::Table { trailer, .. } => trailer.entry_count,
            Records::Log { count, .. } => *count,
        }
    }

    /// Reads the entries `from..to`; `None` for each that cannot be trusted.
    pub fn entries(&self, from: u32, to: u32, bytes: &mut Vec<u8>) -> Result<Vec<Option<Entry>>, PackProblem> {
        self.read(from, to, bytes)?;
        Ok(match self {
            Records::Table { .. } => {
                let each = bytes.as_chunks::<ENTRY_LEN>().0.iter().zip(from as usize..);
                each.map(|(entry, entry_no)| Entry::read(entry, entry_no).ok()).collect()
            }
            Records::Log { header, .. } => {
                let each = bytes.as_chunks::<LOG_RECORD_LEN>().0.iter().zip(from..);
                each.map(|(record, record_no)| header.read_record(record, record_no)).collect()
            }
        })
    }

    fn read(&self, from: u32, to: u32, bytes: &mut Vec<u8>) -> Result<(), PackProblem> {
        let (file, start, len) = match self {
            Records::Table { file, trailer } => (file, trailer.payload_len, ENTRY_LEN),
            Records::Log { log, .. } => (log, LOG_HEADER_LEN as u64, LOG_RECORD_LEN),
        };
        bytes.resize((to - from) as usize * len, 0);
        file.read_exact_at(bytes, start + u64::from(from) * len as u64).map_err(|error| PackProblem::of(&error))
    }
}

/// Reads the trailer of a sealed pack.
pub(super) fn read_trailer(file: &File) -> Result<Trailer, Problem> {
    let failed = |error: std::io::Error| Problem::of_read(PackProblem::of(&error), Problem::NotAPack);
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(Problem::NotRead(rustix::io::Errno::ISDIR.raw_os_error()));
    }
    let start = metadata.len().checked_sub(TRAILER_LEN as u64).ok_or(Problem::NotAPack)?;
    let mut bytes = [0; TRAILER_LEN];
    file.read_exact_at(&mut bytes, start).map_err(failed)?;
    Trailer::decode(&bytes, metadata.len()).map_err(Problem::of_format)
}

/// Returns true if a process writes to the open pack of this log.
pub(super) fn is_being_written(log: &Path) -> bool {
    match File::open(log) {
        Ok(log) => matches!(log.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock)),
        Err(_) => false,
    }
}
