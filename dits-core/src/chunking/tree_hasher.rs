//! Hashing a stream's block tree as it flows by.
//!
//! **For:** getting the oid and the pages of a file in the pass that cuts it.
//!
//! **May touch:** nothing.
//!
//! **Must hold:** the values are those of `manifest::block_tree`, for any split into pushes.
//!
//! **Format:** `docs/formats/block-tree-v1.md`.

use crate::hash::FileHash;
use crate::limits::BLOCK_LEN;
use crate::manifest::block_tree::{FileTree, Page, TreeBuilder};
use blake3::hazmat::{ChainingValue, HasherExt};

/// Hashes 1 MiB blocks of a stream from a block's start on.
#[derive(Debug)]
pub struct BlockHasher {
    hasher: blake3::Hasher,
    /// Where the block at hand starts in the stream.
    block_start: u64,
    /// Bytes of it that are hashed.
    hashed_len: u64,
}

impl BlockHasher {
    /// Starts at `position` of the stream, a multiple of [`BLOCK_LEN`].
    pub fn starting_at(position: u64) -> BlockHasher {
        assert!(position.is_multiple_of(BLOCK_LEN), "blocks start at multiples of their length");
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(position);
        BlockHasher { hasher, block_start: position, hashed_len: 0 }
    }

    /// Takes the next bytes, and hands the value of each block that is followed by more to `sink`.
    pub fn push(&mut self, mut bytes: &[u8], mut sink: impl FnMut(ChainingValue)) {
        while !bytes.is_empty() {
            if self.hashed_len == BLOCK_LEN {
                sink(self.hasher.finalize_non_root());
                *self = BlockHasher::starting_at(self.block_start + BLOCK_LEN);
            }
            let taken = bytes.len().min((BLOCK_LEN - self.hashed_len) as usize);
            self.hasher.update(&bytes[..taken]);
            self.hashed_len += taken as u64;
            bytes = &bytes[taken..];
        }
    }

    /// The value of the block at hand; `None` if nothing of it was pushed.
    ///
    /// It must not be the only block of its file.
    pub fn last_value(&self) -> Option<ChainingValue> {
        (self.hashed_len > 0).then(|| self.hasher.finalize_non_root())
    }

    /// The plain hash of what was pushed, for a file that is no longer than one block.
    fn only_block(&self) -> FileHash {
        FileHash::from_bytes(*self.hasher.finalize().as_bytes())
    }
}

/// What hashing a stream gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hashed {
    /// A stream of at most one block: there is no tree.
    OneBlock(FileHash),
    /// A stream of two blocks or more.
    Tree(FileTree),
}

/// Hashes one stream from its start.
#[derive(Debug)]
pub struct TreeHasher {
    blocks: BlockHasher,
    tree: TreeBuilder,
}

impl TreeHasher {
    /// Makes a hasher for one stream.
    pub fn new() -> TreeHasher {
        TreeHasher { blocks: BlockHasher::starting_at(0), tree: TreeBuilder::default() }
    }

    /// Takes the next bytes, and hands each page that is now complete to `sink`.
    pub fn push(&mut self, bytes: &[u8], mut sink: impl FnMut(Page)) {
        let tree = &mut self.tree;
        self.blocks.push(bytes, |value| {
            if let Some(page) = tree.push(value) {
                sink(page);
            }
        });
    }

    /// Takes blocks that were hashed elsewhere: the values of all but the last, and the last.
    ///
    /// What was pushed before must end with a whole block.
    pub fn adopt(&mut self, values: Vec<ChainingValue>, last: BlockHasher, sink: impl FnMut(Page)) {
        if last.hashed_len == 0 {
            return;
        }
        let own = std::mem::replace(&mut self.blocks, last);
        own.last_value().into_iter().chain(values).filter_map(|value| self.tree.push(value)).for_each(sink);
    }

    /// Ends the stream, and hands the page that the last block may complete to `sink`.
    pub fn finish(mut self, mut sink: impl FnMut(Page)) -> Hashed {
        if let Some(page) = self.blocks.last_value().and_then(|value| self.tree.push(value)) {
            sink(page);
        }
        match self.tree.finish() {
            Some(tree) => Hashed::Tree(tree),
            None => Hashed::OneBlock(self.blocks.only_block()),
        }
    }
}

impl Default for TreeHasher {
    fn default() -> TreeHasher {
        TreeHasher::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(content: &[u8], push_len: usize) -> (Hashed, Vec<Page>) {
        let (mut hasher, mut pages) = (TreeHasher::new(), Vec::new());
        content.chunks(push_len).for_each(|bytes| hasher.push(bytes, |page| pages.push(page)));
        let hashed = hasher.finish(|page| pages.push(page));
        (hashed, pages)
    }

    #[test]
    fn any_pushes_lead_to_the_plain_hash() {
        let block = BLOCK_LEN as usize;
        let content: Vec<u8> = (0..3 * block + 7).map(|n| (n / 3) as u8 ^ (n >> 9) as u8).collect();
        for len in [0, 1, block - 1, block, block + 1, 2 * block, 3 * block + 7] {
            for push_len in [65_521, block, 4 * block] {
                let (hashed, pages) = hash(&content[..len], push_len);
                assert!(pages.is_empty());
                let oid = match hashed {
                    Hashed::OneBlock(oid) if len <= block => oid,
                    Hashed::Tree(tree) if len > block => tree.oid,
                    other => panic!("{other:?} for {len} bytes"),
                };
                assert_eq!(oid, FileHash::of(&content[..len]), "{len} bytes in pushes of {push_len}");
            }
        }
    }
}
