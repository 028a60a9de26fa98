//! Cutting and hashing a stream in one pass.
//!
//! **For:** everything that is computed from a file's bytes when it is added: chunks with
//! their names, the block tree, the oid.
//!
//! **May touch:** nothing. [`HashStage::ahead`] and [`HashStage::hash`] may run at the same
//! time, on threads that the caller owns.
//!
//! **Must hold:** blocks hashed ahead of their turn or not, the result is the same.
//!
//! **Format:** `docs/formats/chunking-v1.md`, `docs/formats/block-tree-v1.md`.

use super::cutter::{Chunk, Cutter, Place, Structure};
use super::segment::Segment;
use super::tree_hasher::{BlockHasher, Hashed, TreeHasher};
use crate::hash::ChunkHash;
use crate::limits::BLOCK_LEN;
use crate::manifest::block_tree::Page;
use crate::manifest::span::ChunkEntry;
use blake3::hazmat::ChainingValue;

/// A block of a stream, with the chunks that are complete by its end.
#[derive(Debug, Default)]
pub struct HashedBlock {
    seam: Vec<u8>,
    seam_entries: Vec<ChunkEntry>,
    block: Vec<u8>,
    entries_start: usize,
    entries: Vec<ChunkEntry>,
    /// Pages of the block tree that are complete by its end.
    pub pages: Vec<Page>,
    is_same: bool,
}

impl HashedBlock {
    /// The chunks in file order, each with its plain bytes.
    pub fn chunks(&self) -> impl Iterator<Item = (ChunkEntry, &[u8])> {
        fn tile<'a>(entries: &'a [ChunkEntry], mut rest: &'a [u8]) -> impl Iterator<Item = (ChunkEntry, &'a [u8])> {
            entries.iter().map(move |entry| {
                let (bytes, behind) = rest.split_at(entry.len as usize);
                rest = behind;
                (*entry, bytes)
            })
        }
        tile(&self.seam_entries, &self.seam).chain(tile(&self.entries, &self.block[self.entries_start..]))
    }

    /// Length of the block if it was found to be the same as in an earlier version, else 0.
    pub fn same_len(&self) -> u64 {
        if self.is_same { self.block.len() as u64 } else { 0 }
    }

    /// Gives the block back as it was pushed.
    pub fn into_block(self) -> Vec<u8> {
        self.block
    }

    fn take(&mut self, chunk: Chunk<'_>) {
        let entry = ChunkEntry::new(ChunkHash::of(chunk.bytes), chunk.bytes.len() as u32);
        match chunk.place {
            Place::Seam => {
                self.seam.extend_from_slice(chunk.bytes);
                self.seam_entries.push(entry);
            }
            Place::Block(at) => {
                if self.entries.is_empty() {
                    self.entries_start = at;
                }
                self.entries.push(entry);
            }
        }
    }
}

/// A block that was cut and hashed ahead of its turn.
#[derive(Debug)]
pub struct Ahead {
    segment: Segment,
    entries: Vec<ChunkEntry>,
    values: Vec<ChainingValue>,
    last: BlockHasher,
    is_same: bool,
}

/// What an earlier version of a file has where a block of this one stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Earlier {
    /// The values of its tree's blocks, each of [`BLOCK_LEN`] bytes.
    pub values: Vec<ChainingValue>,
    /// Its chunks that lie wholly here, in order, each with its place in bytes from the block's start.
    pub chunks: Vec<(usize, ChunkEntry)>,
}

impl Earlier {
    fn chunk_at(&self, at: usize) -> Option<ChunkEntry> {
        let index = self.chunks.binary_search_by_key(&at, |(place, _)| *place).ok()?;
        Some(self.chunks[index].1)
    }
}

/// Cuts and hashes one stream, block by block.
#[derive(Debug, Default)]
pub struct HashStage {
    cutter: Cutter,
    tree: TreeHasher,
    /// Bytes of the stream whose structure is read.
    read_len: u64,
}

impl HashStage {
    /// Makes the stage for one stream.
    pub fn new() -> HashStage {
        HashStage::default()
    }

    /// Takes the next block.
    pub fn push(&mut self, block: Vec<u8>) -> HashedBlock {
        self.read_structure(&block);
        self.hash(block)
    }

    /// Reads the structure of the next block, and returns where it starts in the stream.
    ///
    /// [`HashStage::hash`] or [`HashStage::hash_with`] must follow, in the order of the blocks.
    pub fn read_structure(&mut self, block: &[u8]) -> u64 {
        let start = self.read_len;
        self.cutter.read_structure(block);
        self.read_len += block.len() as u64;
        start
    }

    /// What the structure says so far, for [`HashStage::ahead`].
    pub fn structure(&self) -> Structure {
        self.cutter.structure().clone()
    }

    /// Cuts and hashes a block whose structure was read.
    pub fn hash(&mut self, block: Vec<u8>) -> HashedBlock {
        let mut hashed = HashedBlock::default();
        self.cutter.cut(&block, |chunk| hashed.take(chunk));
        self.tree.push(&block, |page| hashed.pages.push(page));
        hashed.block = block;
        hashed
    }

    /// Cuts and hashes a block ahead of its turn. `None` where it does not start with a
    /// block of the tree; it is then hashed in its turn.
    pub fn ahead(block: &[u8], start: u64, structure: &Structure) -> Option<Ahead> {
        if !start.is_multiple_of(BLOCK_LEN) {
            return None;
        }
        let (mut entries, mut values) = (Vec::new(), Vec::new());
        let bounds = |position| structure.bounds(position);
        let segment = Segment::cut(block, start, bounds, |bytes| {
            entries.push(ChunkEntry::new(ChunkHash::of(bytes), bytes.len() as u32));
        });
        let mut last = BlockHasher::starting_at(start);
        last.push(block, |value| values.push(value));
        Some(Ahead { segment, entries, values, last, is_same: false })
    }

    /// As [`HashStage::ahead`], for a block that is the same as that of an earlier version: its chunks
    /// are that one's, neither looked for nor hashed again. `None` where it is not the same.
    pub fn compare(block: &[u8], start: u64, structure: &Structure, earlier: &Earlier) -> Option<Ahead> {
        let mut last = BlockHasher::starting_at(start);
        let mut rest = block;
        for value in &earlier.values {
            let (bytes, behind) = rest.split_at_checked(BLOCK_LEN as usize)?;
            last = BlockHasher::starting_at(start + (block.len() - rest.len()) as u64);
            last.push(bytes, |_| {});
            if last.last_value().as_ref() != Some(value) {
                return None;
            }
            rest = behind;
        }
        let (_, values) = earlier.values.split_last().filter(|_| rest.is_empty())?;
        let mut entries = Vec::new();
        let (first, _) = *earlier.chunks.first()?;
        let bounds = |position| structure.bounds(position);
        let known = |at| earlier.chunk_at(at).map(|entry| entry.len as usize);
        let segment = Segment::cut_again(block, start, first, bounds, known, |at, bytes| {
            let same = earlier.chunk_at(at).filter(|entry| entry.len as usize == bytes.len());
            entries.push(same.unwrap_or_else(|| ChunkEntry::new(ChunkHash::of(bytes), bytes.len() as u32)));
        });
        Some(Ahead { segment, entries, values: values.to_vec(), last, is_same: true })
    }

    /// As [`HashStage::hash`], with what was computed ahead for this very block.
    pub fn hash_with(&mut self, block: Vec<u8>, ahead: Ahead) -> HashedBlock {
        let mut hashed = HashedBlock { is_same: ahead.is_same, ..HashedBlock::default() };
        let mut adopted = None;
        self.cutter.cut_with(&block, &ahead.segment, |chunk| hashed.take(chunk), |index| adopted = Some(index));
        if let Some(index) = adopted {
            if hashed.entries.is_empty() {
                hashed.entries_start = ahead.segment.start_of(index);
            }
            hashed.entries.extend_from_slice(&ahead.entries[index..]);
        }
        self.tree.adopt(ahead.values, ahead.last, |page| hashed.pages.push(page));
        hashed.block = block;
        hashed
    }

    /// Ends the stream: the chunks that were left, and the oid.
    pub fn finish(self) -> (HashedBlock, Hashed) {
        let mut last = HashedBlock::default();
        self.cutter.finish(|chunk| last.take(chunk));
        let hashed = self.tree.finish(|page| last.pages.push(page));
        (last, hashed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::FileHash;

    fn content(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().update(b"hashing").finalize_xof().fill(&mut bytes);
        let run = len / 3..len / 3 + len / 4;
        bytes[run].fill(7);
        bytes
    }

    type Result = (Vec<(ChunkEntry, Vec<u8>)>, Vec<Page>, Hashed);

    fn collect(blocks: Vec<HashedBlock>, hashed: Hashed) -> Result {
        let chunks = blocks.iter().flat_map(|block| block.chunks().map(|(entry, bytes)| (entry, bytes.to_vec())));
        (chunks.collect(), blocks.iter().flat_map(|block| block.pages.clone()).collect(), hashed)
    }

    fn one_by_one(content: &[u8], block_len: usize) -> Result {
        let mut stage = HashStage::new();
        let mut blocks: Vec<_> = content.chunks(block_len).map(|block| stage.push(block.to_vec())).collect();
        let (last, hashed) = stage.finish();
        blocks.push(last);
        collect(blocks, hashed)
    }

    fn in_pairs(content: &[u8], block_len: usize) -> Result {
        let (mut stage, mut blocks) = (HashStage::new(), Vec::new());
        for pair in content.chunks(2 * block_len) {
            let (first, second) = pair.split_at(block_len.min(pair.len()));
            stage.read_structure(first);
            let start = stage.read_structure(second);
            let ahead = HashStage::ahead(second, start, &stage.structure());
            blocks.push(stage.hash(first.to_vec()));
            blocks.push(match ahead {
                Some(ahead) => stage.hash_with(second.to_vec(), ahead),
                None => stage.hash(second.to_vec()),
            });
        }
        let (last, hashed) = stage.finish();
        blocks.push(last);
        collect(blocks, hashed)
    }

    /// What `earlier`, hashed before, has where the block from `start` on stands.
    fn earlier_at(earlier: &Result, content: &[u8], start: usize, len: usize) -> Earlier {
        let values =
            content[start.min(content.len())..(start + len).min(content.len())].chunks_exact(BLOCK_LEN as usize);
        let values = values.enumerate().map(|(number, bytes)| {
            let mut hasher = BlockHasher::starting_at((start + number * BLOCK_LEN as usize) as u64);
            hasher.push(bytes, |_| {});
            hasher.last_value().expect("bytes were pushed")
        });
        let mut offset = 0;
        let mut chunks = Vec::new();
        for (entry, bytes) in &earlier.0 {
            if offset >= start && offset + bytes.len() <= start + len {
                chunks.push((offset - start, *entry));
            }
            offset += bytes.len();
        }
        Earlier { values: values.collect(), chunks }
    }

    fn beside_earlier(content: &[u8], earlier: &Result, earlier_content: &[u8]) -> (Result, usize) {
        let (mut stage, mut blocks, mut same) = (HashStage::new(), Vec::new(), 0);
        let block_len = 2 * BLOCK_LEN as usize;
        for (number, block) in content.chunks(block_len).enumerate() {
            let start = stage.read_structure(block);
            let known = earlier_at(earlier, earlier_content, number * block_len, block_len);
            blocks.push(match HashStage::compare(block, start, &stage.structure(), &known) {
                Some(ahead) => {
                    same += 1;
                    stage.hash_with(block.to_vec(), ahead)
                }
                None => stage.hash(block.to_vec()),
            });
        }
        let (last, hashed) = stage.finish();
        blocks.push(last);
        (collect(blocks, hashed), same)
    }

    /// A file whose last atom is the `mdat` that holds `payload`.
    fn movie(payload: &[u8], mdat_len: usize) -> Vec<u8> {
        let mut movie = b"\0\0\0\x10ftypqt  \0\0\0\0".to_vec();
        movie.extend((mdat_len as u32 + 8).to_be_bytes());
        movie.extend(b"mdat");
        movie.extend(payload);
        movie
    }

    #[test]
    fn an_earlier_version_changes_nothing() {
        let block = BLOCK_LEN as usize;
        let plain = content(9 * block + 77);
        let versions: Vec<Vec<u8>> = vec![
            plain.clone(),
            [&plain[..3 * block + 5], &[1; 700], &plain[3 * block + 705..]].concat(),
            [&plain[..5 * block], &[1; 7], &plain[5 * block..]].concat(),
            plain[..6 * block].to_vec(),
            // The same bytes, cut elsewhere by the length that the container says.
            movie(&plain, plain.len()),
            movie(&plain, 5 * block + 3),
            movie(&plain, 6 * block - 24),
            movie(&plain, 300_000),
        ];
        let mut same = 0;
        for earlier in &versions {
            let known = one_by_one(earlier, block);
            for version in &versions {
                let (hashed, same_here) = beside_earlier(version, &known, earlier);
                assert!(hashed == one_by_one(version, block), "{} beside {} bytes", version.len(), earlier.len());
                same += same_here;
            }
        }
        assert!(same >= 8 * 4 + 10, "only {same} blocks were found again");
    }

    #[test]
    fn hashing_ahead_changes_nothing() {
        let block = BLOCK_LEN as usize;
        for len in [0, 1, block, block + 1, 2 * block, 4 * block, 5 * block + 77, 9 * block] {
            let content = content(len);
            for block_len in [block, 2 * block, block + 5] {
                let (chunks, pages, hashed) = one_by_one(&content, block_len);
                assert_eq!(in_pairs(&content, block_len), (chunks.clone(), pages, hashed.clone()), "{len} {block_len}");
                assert_eq!(chunks.iter().flat_map(|chunk| chunk.1.clone()).collect::<Vec<_>>(), content);
                assert!(
                    chunks
                        .iter()
                        .all(|(entry, bytes)| *entry == ChunkEntry::new(ChunkHash::of(bytes), bytes.len() as u32))
                );
                let oid = match hashed {
                    Hashed::OneBlock(oid) => oid,
                    Hashed::Tree(tree) => tree.oid,
                };
                assert_eq!(oid, FileHash::of(&content));
            }
        }
    }
}
