//! One walk over all entries and extensions of an index.
//!
//! **For:** [`super::find`].
//!
//! **May touch:** nothing.
//!
//! **Must hold:** each step ends behind where it began and not behind the end.

use std::cmp::Ordering;

use bstr::ByteSlice;

use super::{IndexError, ObjectFormat, StatData};

const HEADER_LEN: usize = 12;
const EXTENSION_HEADER_LEN: usize = 8;
const MODE_AT: usize = 24;

const NAME_LEN_MASK: u16 = 0x0fff;
const EXTENDED: u16 = 0x4000;
/// Of the second flags, git knows that a file is outside the sparse checkout and that it is about to be added.
const EXTENDED_KNOWN: u16 = 0x6000;

/// An index on the way from its header to its checksum.
pub(super) struct Walk<'a> {
    /// All before the checksum.
    body: &'a [u8],
    format: ObjectFormat,
    version: u32,
    entries_left: u32,
    at: usize,
    path: Vec<u8>,
    stage: u16,
    /// Where the first entry is that is not behind the one before it.
    unordered_at: Option<usize>,
}

/// An entry, without its path.
pub(super) struct Entry<'a> {
    pub(super) offset: usize,
    pub(super) blob: &'a [u8],
    mode: u32,
    stage: u16,
}

impl Entry<'_> {
    /// A regular file that is not in conflict.
    pub(super) fn is_merged_file(&self) -> bool {
        self.stage == 0 && self.mode & 0o170_000 == 0o100_000
    }
}

impl<'a> Walk<'a> {
    pub(super) fn begin(index: &'a [u8], format: ObjectFormat) -> Result<Walk<'a>, IndexError> {
        let too_short = IndexError::Malformed { offset: index.len(), what: "it ends too early" };
        let (body, _) = super::split_checksum(index, format).ok_or(too_short)?;
        let mut walk =
            Walk { body, format, version: 0, entries_left: 0, at: 0, path: Vec::new(), stage: 0, unordered_at: None };
        if walk.take(4)? != b"DIRC" {
            return Err(IndexError::Malformed { offset: 0, what: "it does not begin as an index" });
        }
        walk.version = walk.take_u32()?;
        walk.entries_left = walk.take_u32()?;
        debug_assert_eq!(walk.at, HEADER_LEN);
        match walk.version {
            2..=4 => Ok(walk),
            version => Err(IndexError::UnknownVersion { version }),
        }
    }

    /// The path of the entry that was read last.
    pub(super) fn path(&self) -> &[u8] {
        &self.path
    }

    /// Reads the next entry; `None` behind the last one.
    pub(super) fn next_entry(&mut self) -> Result<Option<Entry<'a>>, IndexError> {
        if self.entries_left == 0 {
            return Ok(None);
        }
        let offset = self.at;
        let stat = self.take(StatData::LEN)?;
        let mode = u32_of(&stat[MODE_AT..]);
        let blob = self.take(self.format.name_len())?;
        let flags = self.take_u16()?;
        if flags & EXTENDED != 0 {
            let more = self.take_u16()?;
            if self.version < 3 || more & !EXTENDED_KNOWN != 0 {
                return Err(malformed(offset, "an entry has flags that are not known"));
            }
        }
        let stage = (flags >> 12) & 3;
        let (kept, suffix) = self.take_name(offset)?;
        if !self.is_ascending(kept, suffix, stage) {
            // In a split index entries without paths stand for those of the other file, and that it is one is
            // said behind them all.
            self.unordered_at.get_or_insert(offset);
        }
        self.path.truncate(kept);
        self.path.extend_from_slice(suffix);
        self.stage = stage;
        if usize::from(flags & NAME_LEN_MASK) != self.path.len().min(NAME_LEN_MASK.into()) {
            return Err(malformed(offset, "the length of a path is wrong"));
        }
        self.entries_left -= 1;
        Ok(Some(Entry { offset, blob, mode, stage }))
    }

    /// Reads a name and what pads it: how many bytes of the last path come before it, and its own.
    fn take_name(&mut self, entry_offset: usize) -> Result<(usize, &'a [u8]), IndexError> {
        let kept = match self.version {
            4 => {
                let dropped = self.take_varint()?;
                let kept = self.path.len().checked_sub(dropped);
                kept.ok_or_else(|| malformed(entry_offset, "a path drops more than the one before it has"))?
            }
            _ => 0,
        };
        let rest = &self.body[self.at..];
        let len = rest.find_byte(0).ok_or_else(|| malformed(entry_offset, "a path does not end"))?;
        let end = match self.version {
            4 => self.at + len + 1,
            _ => entry_offset + (self.at - entry_offset + len + 8) / 8 * 8,
        };
        if end > self.body.len() {
            return Err(malformed(entry_offset, "an entry does not end"));
        }
        self.at = end;
        Ok((kept, &rest[..len]))
    }

    /// Paths ascend, and so do the stages of one path, of which a merged entry is the only one.
    fn is_ascending(&self, kept: usize, suffix: &[u8], stage: u16) -> bool {
        match self.path[kept..].cmp(suffix) {
            Ordering::Less => true,
            // The first entry comes here if it has no path at all.
            Ordering::Equal => !self.path.is_empty() && 0 < self.stage && self.stage < stage,
            Ordering::Greater => false,
        }
    }

    /// Walks over the extensions, up to the checksum. No entry is good before that.
    pub(super) fn finish(mut self) -> Result<(), IndexError> {
        while self.at < self.body.len() {
            let (name, _) = self.take(EXTENSION_HEADER_LEN)?.split_at(4);
            let len = u32_of(&self.body[self.at - 4..]);
            let name = [name[0], name[1], name[2], name[3]];
            match &name {
                b"link" => return Err(IndexError::Split),
                b"sdir" => {}
                [b'A'..=b'Z', ..] => {}
                _ => return Err(IndexError::UnknownExtension { name }),
            }
            let len = usize::try_from(len).map_err(|_| malformed(self.at, "an extension does not end"))?;
            self.take(len)?;
        }
        match self.unordered_at {
            None => Ok(()),
            Some(offset) => Err(malformed(offset, "entries are not in order")),
        }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], IndexError> {
        let end = self.at.checked_add(len).filter(|&end| end <= self.body.len());
        let end = end.ok_or_else(|| malformed(self.at, "it ends too early"))?;
        let taken = &self.body[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn take_u16(&mut self) -> Result<u16, IndexError> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn take_u32(&mut self) -> Result<u32, IndexError> {
        self.take(4).map(u32_of)
    }

    /// Reads a number as git's `decode_varint` does: seven bits each, one added for each byte that follows.
    fn take_varint(&mut self) -> Result<usize, IndexError> {
        let offset = self.at;
        let mut value: usize = 0;
        loop {
            let byte = self.take(1)?[0];
            value |= usize::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
            // No path is nearly as long; the bound keeps the shift from losing bits.
            value = match value < 1 << 24 {
                true => (value + 1) << 7,
                false => return Err(malformed(offset, "a number is too long")),
            };
        }
    }
}

fn u32_of(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn malformed(offset: usize, what: &'static str) -> IndexError {
    IndexError::Malformed { offset, what }
}
