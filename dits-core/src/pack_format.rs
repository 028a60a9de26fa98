//! Packs: many items in one file, with a table behind them.
//!
//! **For:** reading and writing the bytes of a pack's table, its trailer and the side log
//! that an open pack has instead.
//!
//! **May touch:** nothing; `store` reads and writes the files.
//!
//! **Must hold:**
//! - the entries of a table tile the payload: the first starts at 0, each starts where the
//!   last ended, and the payload ends with the last;
//! - a sealed pack's name is the BLAKE3 of its table and trailer, and through the table of
//!   every byte in it.
//!
//! **Format:** `docs/formats/pack-v1.md`.

use crate::codec::Codec;
use crate::hash::PackHash;
use crate::item::{ItemId, ItemKind};
use crate::limits;

/// Bytes of one encoded table entry.
pub const ENTRY_LEN: usize = 68;
/// Bytes of the trailer at the end of a sealed pack.
pub const TRAILER_LEN: usize = 72;
/// Bytes of the header of a side log.
pub const LOG_HEADER_LEN: usize = 48;
/// Bytes of one record of a side log.
pub const LOG_RECORD_LEN: usize = ENTRY_LEN + 4;

const PACK_MAGIC: &[u8; 8] = b"DITSPACK";
const LOG_MAGIC: &[u8; 8] = b"DITSOPEN";
const VERSION: u16 = 1;
/// The only cipher of version 1: none.
const CIPHER_NONE: u8 = 0;

/// Whose items a pack holds: all zero in a local store, the repository's id on a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Domain(pub [u8; 16]);

impl Domain {
    /// The domain of a store that belongs to one user.
    pub const LOCAL: Domain = Domain([0; 16]);
}

/// The first 16 bytes of the BLAKE3 of an item's stored bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredCheck([u8; 16]);

impl StoredCheck {
    /// Computes the check of stored bytes.
    pub fn of(stored: &[u8]) -> StoredCheck {
        let mut check = [0; 16];
        check.copy_from_slice(&blake3::hash(stored).as_bytes()[..16]);
        StoredCheck(check)
    }

    /// Takes the check of stored bytes that are the plain bytes of `id`, hashed already.
    pub fn of_raw(hash: &[u8; 32]) -> StoredCheck {
        let mut check = [0; 16];
        check.copy_from_slice(&hash[..16]);
        StoredCheck(check)
    }
}

/// Where an item stands in a pack, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The item's name.
    pub id: ItemId,
    /// How its bytes are written down.
    pub codec: Codec,
    /// Where its stored bytes start, in bytes from the start of the pack.
    pub place: u64,
    /// Length of the stored bytes.
    pub stored_len: u32,
    /// Length of the plain bytes.
    pub plain_len: u32,
    /// Check of the stored bytes.
    pub check: StoredCheck,
}

/// Why bytes are not (part of) a pack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackFormatError {
    /// It does not end, or begin, as a pack or its log does.
    #[error("not a pack")]
    NotAPack,
    /// It was written by a later version.
    #[error("pack version {0} is not known to this version of Dits")]
    UnknownVersion(u16),
    /// An entry has a kind, codec or cipher this version does not know.
    #[error("entry {entry_index} has {field} {value}, which is not known to this version of Dits")]
    UnknownField {
        /// The entry's place in the table, from 0.
        entry_index: usize,
        /// The field.
        field: &'static str,
        /// Its number.
        value: u8,
    },
    /// An entry does not start where the one before it ended, or is too long.
    #[error("entry {entry_index} is out of place or too long")]
    Misplaced {
        /// The entry's place in the table, from 0.
        entry_index: usize,
    },
    /// Counts and lengths do not fit the file.
    #[error("the pack's counts ask for {expected} bytes where it has {actual}")]
    Length {
        /// What the counts ask for.
        expected: u64,
        /// What is there.
        actual: u64,
    },
    /// The table is not the one that was sealed.
    #[error("the pack's table does not match its own hash")]
    Damaged,
}

impl Entry {
    /// Writes the entry's one encoding.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.id.kind as u8, self.codec as u8, CIPHER_NONE, 0]);
        out.extend_from_slice(&self.id.hash);
        out.extend_from_slice(&self.place.to_le_bytes());
        out.extend_from_slice(&self.stored_len.to_le_bytes());
        out.extend_from_slice(&self.plain_len.to_le_bytes());
        out.extend_from_slice(&self.check.0);
    }

    /// Reads the entry with the number `entry_index` from exactly [`ENTRY_LEN`] bytes.
    ///
    /// # Errors
    ///
    /// [`PackFormatError`] for unknown numbers and impossible lengths. That entries tile
    /// the payload is [`Tiling`]'s to check.
    pub fn read(bytes: &[u8; ENTRY_LEN], entry_index: usize) -> Result<Entry, PackFormatError> {
        let unknown = |field, value| PackFormatError::UnknownField { entry_index, field, value };
        let kind = ItemKind::from_number(bytes[0]).ok_or(unknown("kind", bytes[0]))?;
        let codec = Codec::from_number(bytes[1]).ok_or(unknown("codec", bytes[1]))?;
        if bytes[2] != CIPHER_NONE || bytes[3] != 0 {
            return Err(unknown("cipher", bytes[2].max(bytes[3])));
        }
        let entry = Entry {
            id: ItemId { kind, hash: array(&bytes[4..36]) },
            codec,
            place: u64::from_le_bytes(array(&bytes[36..44])),
            stored_len: u32::from_le_bytes(array(&bytes[44..48])),
            plain_len: u32::from_le_bytes(array(&bytes[48..52])),
            check: StoredCheck(array(&bytes[52..68])),
        };
        let fits = entry.plain_len >= 1
            && entry.plain_len as usize <= kind.plain_len_max()
            && match codec {
                Codec::Raw => entry.stored_len == entry.plain_len,
                Codec::Zstd => (1..entry.plain_len).contains(&entry.stored_len),
            };
        match fits {
            true => Ok(entry),
            false => Err(PackFormatError::Misplaced { entry_index }),
        }
    }

    /// The position just behind its stored bytes.
    pub fn end(&self) -> u64 {
        self.place + u64::from(self.stored_len)
    }
}

/// Checks, entry by entry, that a table tiles its payload.
#[derive(Debug, Default)]
pub struct Tiling {
    entry_count: usize,
    end: u64,
}

impl Tiling {
    /// Takes the next entry.
    ///
    /// # Errors
    ///
    /// [`PackFormatError::Misplaced`] if it does not start where the last one ended.
    pub fn push(&mut self, entry: &Entry) -> Result<(), PackFormatError> {
        if entry.place != self.end {
            return Err(PackFormatError::Misplaced { entry_index: self.entry_count });
        }
        self.end = entry
            .place
            .checked_add(entry.stored_len.into())
            .ok_or(PackFormatError::Misplaced { entry_index: self.entry_count })?;
        self.entry_count += 1;
        Ok(())
    }

    /// Where the payload ends so far.
    pub fn end(&self) -> u64 {
        self.end
    }
}

/// The end of a sealed pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// How many entries the table has.
    pub entry_count: u32,
    /// Whose items these are.
    pub domain: Domain,
    /// Length of the payload in bytes.
    pub payload_len: u64,
    /// The pack's name.
    pub hash: PackHash,
}

impl Trailer {
    /// Makes the trailer of a pack from its encoded table.
    pub fn of(table: &[u8], domain: Domain, payload_len: u64) -> Trailer {
        let entry_count = (table.len() / ENTRY_LEN) as u32;
        let mut trailer = Trailer { entry_count, domain, payload_len, hash: PackHash::from_bytes([0; 32]) };
        trailer.hash = trailer.hash_over(table);
        trailer
    }

    /// Returns the trailer's one encoding.
    pub fn encode(&self) -> [u8; TRAILER_LEN] {
        let mut out = [0; TRAILER_LEN];
        out[..40].copy_from_slice(&self.unhashed());
        out[40..].copy_from_slice(self.hash.as_bytes());
        out
    }

    /// Reads the trailer of a pack file of `file_len` bytes.
    ///
    /// # Errors
    ///
    /// [`PackFormatError`] if the bytes are no trailer, or its counts do not fit the file.
    /// The table itself is checked by [`Trailer::check_table`].
    pub fn decode(bytes: &[u8; TRAILER_LEN], file_len: u64) -> Result<Trailer, PackFormatError> {
        if &bytes[..8] != PACK_MAGIC {
            return Err(PackFormatError::NotAPack);
        }
        let version = u16::from_le_bytes(array(&bytes[8..10]));
        if version != VERSION {
            return Err(PackFormatError::UnknownVersion(version));
        }
        let trailer = Trailer::decode_unchecked(bytes);
        if bytes[10..12] != [0, 0] || trailer.entry_count as usize > limits::PACK_ENTRIES_MAX {
            return Err(PackFormatError::NotAPack);
        }
        let expected =
            trailer.payload_len.checked_add(trailer.table_len()).and_then(|len| len.checked_add(TRAILER_LEN as u64));
        match expected == Some(file_len) {
            true => Ok(trailer),
            false => Err(PackFormatError::Length { expected: expected.unwrap_or(u64::MAX), actual: file_len }),
        }
    }

    /// Reads what a trailer that is damaged says, whatever that is worth.
    pub fn decode_unchecked(bytes: &[u8; TRAILER_LEN]) -> Trailer {
        Trailer {
            entry_count: u32::from_le_bytes(array(&bytes[12..16])),
            domain: Domain(array(&bytes[16..32])),
            payload_len: u64::from_le_bytes(array(&bytes[32..40])),
            hash: PackHash::from_bytes(array(&bytes[40..72])),
        }
    }

    /// Length of the table in bytes.
    pub fn table_len(&self) -> u64 {
        u64::from(self.entry_count) * ENTRY_LEN as u64
    }

    /// Reads the table, and checks it against the pack's name and payload.
    ///
    /// # Errors
    ///
    /// [`PackFormatError`] for a table that is damaged, unknown, or does not tile the payload.
    pub fn check_table(&self, table: &[u8]) -> Result<Vec<Entry>, PackFormatError> {
        if table.len() as u64 != self.table_len() || self.hash_over(table) != self.hash {
            return Err(PackFormatError::Damaged);
        }
        let mut tiling = Tiling::default();
        let mut entries = Vec::with_capacity(self.entry_count as usize);
        for (entry_index, bytes) in table.chunks_exact(ENTRY_LEN).enumerate() {
            let entry = Entry::read(&array(bytes), entry_index)?;
            tiling.push(&entry)?;
            entries.push(entry);
        }
        match tiling.end() == self.payload_len {
            true => Ok(entries),
            false => Err(PackFormatError::Length { expected: tiling.end(), actual: self.payload_len }),
        }
    }

    fn unhashed(&self) -> [u8; 40] {
        let mut out = [0; 40];
        out[..8].copy_from_slice(PACK_MAGIC);
        out[8..10].copy_from_slice(&VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&self.entry_count.to_le_bytes());
        out[16..32].copy_from_slice(&self.domain.0);
        out[32..40].copy_from_slice(&self.payload_len.to_le_bytes());
        out
    }

    fn hash_over(&self, table: &[u8]) -> PackHash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(table);
        self.name_after(hasher)
    }

    /// The name of the pack whose table went through `table`: for tables that are read piece by piece.
    pub fn name_after(&self, mut table: blake3::Hasher) -> PackHash {
        table.update(&self.unhashed());
        PackHash::from_bytes(*table.finalize().as_bytes())
    }
}

/// The start of an open pack's side log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogHeader {
    /// Whose items these are.
    pub domain: Domain,
    /// The open pack's random name; it keys the checksums of the records.
    pub name: [u8; 16],
}

impl LogHeader {
    /// Returns the header's one encoding.
    pub fn encode(&self) -> [u8; LOG_HEADER_LEN] {
        let mut out = [0; LOG_HEADER_LEN];
        out[..8].copy_from_slice(LOG_MAGIC);
        out[8..10].copy_from_slice(&VERSION.to_le_bytes());
        out[16..32].copy_from_slice(&self.domain.0);
        out[32..48].copy_from_slice(&self.name);
        out
    }

    /// Reads a header.
    ///
    /// # Errors
    ///
    /// [`PackFormatError`] for bytes that are none, or of a later version.
    pub fn decode(bytes: &[u8; LOG_HEADER_LEN]) -> Result<LogHeader, PackFormatError> {
        let version = u16::from_le_bytes(array(&bytes[8..10]));
        if &bytes[..8] != LOG_MAGIC || bytes[10..16] != [0; 6] {
            return Err(PackFormatError::NotAPack);
        }
        if version != VERSION {
            return Err(PackFormatError::UnknownVersion(version));
        }
        Ok(LogHeader { domain: Domain(array(&bytes[16..32])), name: array(&bytes[32..48]) })
    }

    /// Writes the record with the number `record_index`.
    pub fn write_record(&self, entry: &Entry, record_index: u32, out: &mut Vec<u8>) {
        let start = out.len();
        entry.write(out);
        let sum = self.record_sum(&out[start..], record_index);
        out.extend_from_slice(&sum);
    }

    /// Reads the record with the number `record_index`; `None` for one that was never
    /// written whole.
    pub fn read_record(&self, bytes: &[u8; LOG_RECORD_LEN], record_index: u32) -> Option<Entry> {
        let (entry, sum) = bytes.split_at(ENTRY_LEN);
        if sum != self.record_sum(entry, record_index) {
            return None;
        }
        Entry::read(&array(entry), record_index as usize).ok()
    }

    fn record_sum(&self, entry: &[u8], record_index: u32) -> [u8; 4] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.name).update(&record_index.to_le_bytes()).update(entry);
        array(&hasher.finalize().as_bytes()[..4])
    }
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the caller cut the slice to this length")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::ChunkHash;
    use proptest::prelude::*;

    fn entries() -> Vec<Entry> {
        let mut place = 0;
        let entry = |n: u32| {
            let plain = vec![n as u8; n as usize];
            let stored_len = if n.is_multiple_of(2) { n } else { n - 1 };
            let codec = if n.is_multiple_of(2) { Codec::Raw } else { Codec::Zstd };
            let check = StoredCheck::of(&plain);
            place += u64::from(stored_len);
            let place = place - u64::from(stored_len);
            Entry { id: ChunkHash::of(&plain).into(), codec, place, stored_len, plain_len: n, check }
        };
        (2..30).map(entry).collect()
    }

    fn sealed() -> (Vec<u8>, Trailer) {
        let mut table = Vec::new();
        entries().iter().for_each(|entry| entry.write(&mut table));
        let payload_len = entries().last().map_or(0, Entry::end);
        let trailer = Trailer::of(&table, Domain([3; 16]), payload_len);
        (table, trailer)
    }

    #[test]
    fn reading_undoes_writing() {
        let (table, trailer) = sealed();
        let file_len = trailer.payload_len + table.len() as u64 + TRAILER_LEN as u64;
        assert_eq!(Trailer::decode(&trailer.encode(), file_len), Ok(trailer));
        assert_eq!(trailer.check_table(&table), Ok(entries()));
        assert!(Trailer::decode(&trailer.encode(), file_len + 1).is_err());
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_found(at in 0_usize..28 * ENTRY_LEN + TRAILER_LEN, bit in 0_u8..8) {
            let (mut table, trailer) = sealed();
            let file_len = trailer.payload_len + table.len() as u64 + TRAILER_LEN as u64;
            let table_len = table.len();
            table.extend(trailer.encode());
            table[at] ^= 1 << bit;
            let trailer = Trailer::decode(&array(&table[table_len..]), file_len);
            prop_assert!(trailer.and_then(|trailer| trailer.check_table(&table[..table_len])).is_err());
        }

        #[test]
        fn a_log_record_holds_only_in_its_own_place(record_index in 0_u32..1000, other in 0_u32..1000) {
            let header = LogHeader { domain: Domain::LOCAL, name: [9; 16] };
            prop_assert_eq!(LogHeader::decode(&header.encode()), Ok(header));
            let mut record = Vec::new();
            header.write_record(&entries()[3], record_index, &mut record);
            let read = header.read_record(&array(&record), other);
            prop_assert_eq!(read, (other == record_index).then_some(entries()[3]));
        }
    }

    #[test]
    fn entries_that_overlap_are_refused() {
        let mut entries = entries();
        entries[5].place -= 1;
        let mut table = Vec::new();
        entries.iter().for_each(|entry| entry.write(&mut table));
        let trailer = Trailer::of(&table, Domain::LOCAL, entries.last().map_or(0, Entry::end));
        assert_eq!(trailer.check_table(&table), Err(PackFormatError::Misplaced { entry_index: 5 }));
    }
}
