//! Manifests: how a file is put together from chunks.
//!
//! **For:** finding the chunks of any range of a file, and checking them against the oid
//! that Git holds.
//!
//! **May touch:** nothing.
//!
//! **Must hold:**
//! - a decoded manifest's lengths add up to its size, and its page values, where there are
//!   two or more, merge to its oid;
//! - each manifest has one encoding, and nothing else decodes to it.
//!
//! **Format:** `docs/formats/manifest-v1.md`.

pub mod block_tree;
pub mod parts;
pub mod span;

use crate::hash::{FileHash, ManifestHash, PageValue, SideTableHash, SpanHash};
use crate::limits;
use crate::pointer::Pointer;
use block_tree::page_count;
use span::{ChunkEntry, ENTRY_LEN};

/// How a manifest's chunks were cut: algorithm, parameters and structure rules together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkerId(pub u16);

/// The chunks of a file, in file order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// All entries, for a file of one span.
    Inline(Vec<ChunkEntry>),
    /// Two or more spans.
    Spans(Vec<SpanEntry>),
}

/// One span of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanEntry {
    /// The span's name.
    pub hash: SpanHash,
    /// Bytes of the file that its chunks cover.
    pub covers: u64,
}

/// What a side table is about. Unknown kinds are kept and passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SideTableEntry {
    /// What it holds; `docs/formats/manifest-v1.md` lists the numbers.
    pub kind: u16,
    /// Its plain length in bytes.
    pub len: u32,
    /// Its name.
    pub hash: SideTableHash,
}

/// How a file is put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    chunker: ChunkerId,
    pointer: Pointer,
    layout: Layout,
    pages: Vec<PageValue>,
    side_tables: Vec<SideTableEntry>,
}

/// Why bytes are not a manifest, or parts do not make one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It does not begin as a manifest does.
    #[error("not a manifest")]
    NotAManifest,
    /// It was written by a later version.
    #[error("manifest version {0} is not known to this version of Dits")]
    UnknownVersion(u16),
    /// It is shorter or longer than its own counts say.
    #[error("manifest has {actual} bytes where its counts ask for {expected}")]
    Length {
        /// What the counts ask for.
        expected: u64,
        /// What is there.
        actual: u64,
    },
    /// A count or length is outside its bounds.
    #[error("manifest field {field} is out of bounds: {value}")]
    OutOfBounds {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// The parts do not add up to the size.
    #[error("the parts of the manifest cover {covered} bytes of a file of {size}")]
    Covers {
        /// Bytes that the parts cover.
        covered: u64,
        /// The file's size.
        size: u64,
    },
    /// The block tree does not lead to the oid.
    #[error("the block tree of the manifest does not merge to its oid {0}")]
    BlockTree(FileHash),
}

const MAGIC: &[u8; 4] = b"DMAN";
const VERSION: u16 = 1;
const HEADER_LEN: usize = 60;
const SPAN_LEN: usize = 40;
const SIDE_TABLE_LEN: usize = 38;

impl Manifest {
    /// Puts a manifest together, checking that the parts fit.
    ///
    /// # Errors
    ///
    /// [`ManifestError`] for parts that do not tile the file or do not lead to its oid.
    pub fn new(
        chunker: ChunkerId,
        pointer: Pointer,
        layout: Layout,
        pages: Vec<PageValue>,
        side_tables: Vec<SideTableEntry>,
    ) -> Result<Manifest, ManifestError> {
        let manifest = Manifest { chunker, pointer, layout, pages, side_tables };
        manifest.check()?;
        Ok(manifest)
    }

    /// How the chunks were cut.
    pub fn chunker(&self) -> ChunkerId {
        self.chunker
    }

    /// The file's hash and size.
    pub fn pointer(&self) -> Pointer {
        self.pointer
    }

    /// The file's chunks.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The chaining value of each 256 MiB of the file; none for a file of one block.
    pub fn pages(&self) -> &[PageValue] {
        &self.pages
    }

    /// Facts for readers that no content depends on.
    pub fn side_tables(&self) -> &[SideTableEntry] {
        &self.side_tables
    }

    /// Returns the name under which the encoded manifest is stored.
    pub fn hash(&self) -> ManifestHash {
        ManifestHash::from_bytes(*blake3::hash(&self.encode()).as_bytes())
    }

    /// Returns the one encoding of this manifest.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_len() as usize);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.chunker.0.to_le_bytes());
        out.extend_from_slice(&self.pointer.size.to_le_bytes());
        out.extend_from_slice(self.pointer.oid.as_bytes());
        let (span_count, inline_count) = self.layout_counts();
        out.extend_from_slice(&(span_count as u32).to_le_bytes());
        out.extend_from_slice(&(inline_count as u32).to_le_bytes());
        out.extend_from_slice(&(self.side_tables.len() as u32).to_le_bytes());
        match &self.layout {
            Layout::Inline(entries) => entries.iter().for_each(|entry| entry.write(&mut out)),
            Layout::Spans(spans) => {
                for span in spans {
                    out.extend_from_slice(span.hash.as_bytes());
                    out.extend_from_slice(&span.covers.to_le_bytes());
                }
            }
        }
        self.pages.iter().for_each(|page| out.extend_from_slice(page.as_bytes()));
        for table in &self.side_tables {
            out.extend_from_slice(&table.kind.to_le_bytes());
            out.extend_from_slice(&table.len.to_le_bytes());
            out.extend_from_slice(table.hash.as_bytes());
        }
        out
    }

    /// Reads a manifest.
    ///
    /// # Errors
    ///
    /// [`ManifestError`] for any bytes that [`Manifest::encode`] does not write.
    pub fn decode(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        let header = Header::decode(bytes)?;
        let mut rest = &bytes[HEADER_LEN..];
        let mut take = |len: usize| {
            let (head, tail) = rest.split_at(len);
            rest = tail;
            head
        };
        let layout = match header.span_count {
            0 => Layout::Inline(
                take(header.inline_count * ENTRY_LEN).chunks_exact(ENTRY_LEN).map(ChunkEntry::read).collect(),
            ),
            count => Layout::Spans(take(count * SPAN_LEN).chunks_exact(SPAN_LEN).map(read_span).collect()),
        };
        let pages = take(header.page_count * 32).chunks_exact(32).map(|page| PageValue::from_bytes(array(page)));
        let pages = pages.collect();
        let side_tables = take(header.side_count * SIDE_TABLE_LEN).chunks_exact(SIDE_TABLE_LEN).map(read_side_table);
        Manifest::new(header.chunker, header.pointer, layout, pages, side_tables.collect())
    }

    fn layout_counts(&self) -> (usize, usize) {
        match &self.layout {
            Layout::Inline(entries) => (0, entries.len()),
            Layout::Spans(spans) => (spans.len(), 0),
        }
    }

    fn encoded_len(&self) -> u64 {
        let (span_count, inline_count) = self.layout_counts();
        encoded_len(span_count, inline_count, self.pages.len(), self.side_tables.len())
    }

    fn check(&self) -> Result<(), ManifestError> {
        let Pointer { oid, size } = self.pointer;
        bounded("size", size, 1, limits::FILE_LEN_MAX)?;
        bounded("side tables", self.side_tables.len() as u64, 0, limits::SIDE_TABLES_MAX as u64)?;
        let covered = match &self.layout {
            Layout::Inline(entries) => {
                bounded("entries", entries.len() as u64, 1, limits::SPAN_ENTRIES_MAX as u64)?;
                span::covered(entries)?
            }
            Layout::Spans(spans) => {
                bounded("spans", spans.len() as u64, 2, u64::MAX)?;
                cover_of_spans(spans)?
            }
        };
        if covered != size {
            return Err(ManifestError::Covers { covered, size });
        }
        bounded("encoded length", self.encoded_len(), 0, limits::MANIFEST_LEN_MAX as u64)?;
        for table in &self.side_tables {
            bounded("side table length", table.len.into(), 1, limits::SIDE_TABLE_LEN_MAX as u64)?;
        }
        if !self.side_tables.is_sorted_by(|a, b| a.kind < b.kind) {
            return Err(ManifestError::OutOfBounds { field: "side table order", value: 0 });
        }
        if self.pages.len() as u64 != page_count(size) {
            return Err(ManifestError::OutOfBounds { field: "pages", value: self.pages.len() as u64 });
        }
        match self.pages.len() {
            0 | 1 => Ok(()),
            _ if block_tree::root_of_pages(&self.pages) == oid => Ok(()),
            _ => Err(ManifestError::BlockTree(oid)),
        }
    }
}

fn bounded(field: &'static str, value: u64, min: u64, max: u64) -> Result<(), ManifestError> {
    match (min..=max).contains(&value) {
        true => Ok(()),
        false => Err(ManifestError::OutOfBounds { field, value }),
    }
}

fn cover_of_spans(spans: &[SpanEntry]) -> Result<u64, ManifestError> {
    let mut covered: u64 = 0;
    for span in spans {
        bounded("span length", span.covers, 1, limits::SPAN_ENTRIES_MAX as u64 * limits::CHUNK_LEN_MAX as u64)?;
        covered = covered.saturating_add(span.covers);
    }
    Ok(covered)
}

fn encoded_len(span_count: usize, inline_count: usize, page_count: usize, side_count: usize) -> u64 {
    HEADER_LEN as u64
        + span_count as u64 * SPAN_LEN as u64
        + inline_count as u64 * ENTRY_LEN as u64
        + page_count as u64 * 32
        + side_count as u64 * SIDE_TABLE_LEN as u64
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the caller cut the slice to this length")
}

fn read_span(bytes: &[u8]) -> SpanEntry {
    SpanEntry { hash: SpanHash::from_bytes(array(&bytes[..32])), covers: u64::from_le_bytes(array(&bytes[32..])) }
}

fn read_side_table(bytes: &[u8]) -> SideTableEntry {
    SideTableEntry {
        kind: u16::from_le_bytes(array(&bytes[..2])),
        len: u32::from_le_bytes(array(&bytes[2..6])),
        hash: SideTableHash::from_bytes(array(&bytes[6..])),
    }
}

struct Header {
    chunker: ChunkerId,
    pointer: Pointer,
    span_count: usize,
    inline_count: usize,
    page_count: usize,
    side_count: usize,
}

impl Header {
    /// Reads the fixed part, and checks that the counts ask for exactly the bytes at hand.
    fn decode(bytes: &[u8]) -> Result<Header, ManifestError> {
        if bytes.len() < HEADER_LEN || !bytes.starts_with(MAGIC) {
            return Err(ManifestError::NotAManifest);
        }
        let version = u16::from_le_bytes(array(&bytes[4..6]));
        if version != VERSION {
            return Err(ManifestError::UnknownVersion(version));
        }
        let size = u64::from_le_bytes(array(&bytes[8..16]));
        bounded("size", size, 1, limits::FILE_LEN_MAX)?;
        let count = |at: usize| u32::from_le_bytes(array(&bytes[at..at + 4])) as usize;
        let header = Header {
            chunker: ChunkerId(u16::from_le_bytes(array(&bytes[6..8]))),
            pointer: Pointer { oid: FileHash::from_bytes(array(&bytes[16..48])), size },
            span_count: count(48),
            inline_count: count(52),
            page_count: page_count(size) as usize,
            side_count: count(56),
        };
        if header.span_count != 0 && header.inline_count != 0 {
            return Err(ManifestError::OutOfBounds {
                field: "entries beside spans",
                value: header.inline_count as u64,
            });
        }
        let expected = encoded_len(header.span_count, header.inline_count, header.page_count, header.side_count);
        match expected == bytes.len() as u64 {
            true => Ok(header),
            false => Err(ManifestError::Length { expected, actual: bytes.len() as u64 }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::ChunkHash;
    use proptest::prelude::*;

    pub(crate) fn small() -> Manifest {
        let entries = vec![ChunkEntry::new(ChunkHash::of(b"abc"), 3), ChunkEntry::new(ChunkHash::of(b"de"), 2)];
        let pointer = Pointer { oid: FileHash::of(b"abcde"), size: 5 };
        Manifest::new(ChunkerId(1), pointer, Layout::Inline(entries), vec![], vec![]).expect("the parts fit")
    }

    #[test]
    fn decoding_undoes_encoding() {
        let manifest = small();
        assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
    }

    proptest! {
        #[test]
        fn what_decodes_encodes_the_same(at in 0_usize..132, byte: u8) {
            let mut bytes = small().encode();
            prop_assert_eq!(bytes.len(), 132);
            bytes[at] = byte;
            if let Ok(manifest) = Manifest::decode(&bytes) {
                prop_assert_eq!(manifest.encode(), bytes);
            }
        }
    }

    #[test]
    fn parts_that_do_not_cover_the_file_are_refused() {
        let pointer = Pointer { oid: FileHash::of(b"abcde"), size: 6 };
        let layout = Layout::Inline(vec![ChunkEntry::new(ChunkHash::of(b"abcde"), 5)]);
        assert_eq!(
            Manifest::new(ChunkerId(1), pointer, layout, vec![], vec![]),
            Err(ManifestError::Covers { covered: 5, size: 6 })
        );
    }

    #[test]
    fn a_later_version_is_refused_by_number() {
        let mut bytes = small().encode();
        bytes[4] = 9;
        assert_eq!(Manifest::decode(&bytes), Err(ManifestError::UnknownVersion(9)));
    }
}
