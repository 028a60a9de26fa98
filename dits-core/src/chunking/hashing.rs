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
        Some(Ahead { segment, entries, values, last })
    }

    /// As [`HashStage::hash`], with what was computed ahead for this very block.
    pub fn hash_with(&mut self, block: Vec<u8>, ahead: Ahead) -> HashedBlock {
        let mut hashed = HashedBlock::default();
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
