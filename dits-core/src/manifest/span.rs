//! Spans: runs of consecutive chunk entries, stored once and shared between versions.
//!
//! **For:** keeping an edit of a file with 160,000 chunks from storing 160,000 entries again.
//!
//! **May touch:** nothing.
//!
//! **Must hold:** where a span ends depends on the chunk ids alone, so that two versions
//! meet again behind an edit.
//!
//! **Format:** `docs/formats/manifest-v1.md`.

use super::{ManifestError, bounded};
use crate::hash::{ChunkHash, SpanHash};
use crate::limits;

/// Bytes of one encoded entry.
pub const ENTRY_LEN: usize = 36;

/// One chunk of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkEntry {
    /// The chunk's name.
    pub hash: ChunkHash,
    /// Its plain length in bytes.
    pub len: u32,
}

impl ChunkEntry {
    /// Makes an entry.
    pub fn new(hash: ChunkHash, len: u32) -> ChunkEntry {
        ChunkEntry { hash, len }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.hash.as_bytes());
        out.extend_from_slice(&self.len.to_le_bytes());
    }

    pub(super) fn read(bytes: &[u8]) -> ChunkEntry {
        ChunkEntry {
            hash: ChunkHash::from_bytes(super::array(&bytes[..32])),
            len: u32::from_le_bytes(super::array(&bytes[32..36])),
        }
    }
}

/// A whole span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    entries: Vec<ChunkEntry>,
}

impl Span {
    /// Makes a span.
    ///
    /// # Errors
    ///
    /// [`ManifestError::OutOfBounds`] for no entry, too many, or one of an impossible length.
    pub fn new(entries: Vec<ChunkEntry>) -> Result<Span, ManifestError> {
        bounded("entries", entries.len() as u64, 1, limits::SPAN_ENTRIES_MAX as u64)?;
        covered(&entries)?;
        Ok(Span { entries })
    }

    /// The span's entries, in file order.
    pub fn entries(&self) -> &[ChunkEntry] {
        &self.entries
    }

    /// Bytes of the file that its chunks cover.
    pub fn covers(&self) -> u64 {
        self.entries.iter().map(|entry| u64::from(entry.len)).sum()
    }

    /// Returns the one encoding of this span.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.entries.len() * ENTRY_LEN);
        self.entries.iter().for_each(|entry| entry.write(&mut out));
        out
    }

    /// Returns the name under which the encoded span is stored.
    pub fn hash(&self) -> SpanHash {
        SpanHash::from_bytes(*blake3::hash(&self.encode()).as_bytes())
    }

    /// Reads a span.
    ///
    /// # Errors
    ///
    /// [`ManifestError`] for any bytes that [`Span::encode`] does not write.
    pub fn decode(bytes: &[u8]) -> Result<Span, ManifestError> {
        if !bytes.len().is_multiple_of(ENTRY_LEN) {
            let expected = bytes.len().next_multiple_of(ENTRY_LEN) as u64;
            return Err(ManifestError::Length { expected, actual: bytes.len() as u64 });
        }
        bounded("entries", (bytes.len() / ENTRY_LEN) as u64, 1, limits::SPAN_ENTRIES_MAX as u64)?;
        Span::new(bytes.chunks_exact(ENTRY_LEN).map(ChunkEntry::read).collect())
    }
}

/// Returns true if the span that now has `entry_count` entries, `last` being its last, ends here.
pub fn ends_after(last: &ChunkEntry, entry_count: usize) -> bool {
    entry_count >= limits::SPAN_ENTRIES_MAX || (entry_count >= limits::SPAN_ENTRIES_MIN && last.hash.as_bytes()[0] == 0)
}

/// Adds up the lengths of `entries`, each checked.
pub(super) fn covered(entries: &[ChunkEntry]) -> Result<u64, ManifestError> {
    let mut covered = 0;
    for entry in entries {
        bounded("chunk length", entry.len.into(), 1, limits::CHUNK_LEN_MAX as u64)?;
        covered += u64::from(entry.len);
    }
    Ok(covered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_undoes_encoding() {
        let span = Span::new((0..40_u8).map(|n| ChunkEntry::new(ChunkHash::of(&[n]), 1 + u32::from(n))).collect());
        let span = span.expect("in bounds");
        assert_eq!(Span::decode(&span.encode()), Ok(span));
    }

    #[test]
    fn impossible_spans_are_refused() {
        let entry = ChunkEntry::new(ChunkHash::of(b"x"), 0);
        assert!(Span::new(vec![]).is_err());
        assert!(Span::new(vec![entry]).is_err());
        assert!(Span::new(vec![ChunkEntry { len: 1 << 30, ..entry }]).is_err());
        assert!(Span::new(vec![ChunkEntry { len: 1, ..entry }; 513]).is_err());
        assert!(Span::decode(&[1; 35]).is_err());
        assert!(Span::decode(&[]).is_err());
    }
}
