//! The block tree: BLAKE3 chaining values of a file's 1 MiB blocks, in pages of 256.
//!
//! **For:** checking any range of a file against the oid in Git without the rest of the
//! file, and re-hashing only the blocks that an edit touched.
//!
//! **May touch:** nothing.
//!
//! **Must hold:**
//! - the blocks merge to the very hash that `b3sum` prints for the file;
//! - there is never an empty last block, and a page of one block is that block's value
//!   and is stored nowhere.
//!
//! **Format:** `docs/formats/block-tree-v1.md`. Source: the BLAKE3 paper, section 2.1, and
//! `blake3::hazmat`.

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

use crate::hash::{FileHash, PageValue};
use crate::limits::{BLOCK_LEN, PAGE_BLOCKS_MAX, PAGE_COVERS};

/// How many pages the block tree of a file of `size` bytes has.
pub fn page_count(size: u64) -> u64 {
    if size <= BLOCK_LEN { 0 } else { size.div_ceil(PAGE_COVERS) }
}

/// Returns the chaining value of the block that starts `offset` bytes into its file.
///
/// The block must not be the only one of its file, and must not be empty.
pub fn block_value(offset: u64, block: &[u8]) -> ChainingValue {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(offset);
    hasher.update(block);
    hasher.finalize_non_root()
}

/// Returns the value that a page's entries merge to; `None` for bytes that are no page.
pub fn page_value_of(page: &[u8]) -> Option<PageValue> {
    let values = read_page(page)?;
    (values.len() >= 2).then(|| PageValue::from_bytes(merge(&values)))
}

/// Reads the block values of a stored page; `None` for bytes that are no page.
pub fn read_page(page: &[u8]) -> Option<Vec<ChainingValue>> {
    let count = page.len() / 32;
    (page.len().is_multiple_of(32) && (2..=PAGE_BLOCKS_MAX).contains(&count))
        .then(|| page.chunks_exact(32).map(super::array).collect())
}

/// Merges the values of all pages of a file of two or more pages into its oid.
pub fn root_of_pages(pages: &[PageValue]) -> FileHash {
    root(&pages.iter().map(|page| *page.as_bytes()).collect::<Vec<_>>())
}

/// Merges the block values of a file of one page (and two or more blocks) into its oid.
pub fn root_of_only_page(blocks: &[ChainingValue]) -> FileHash {
    root(blocks)
}

fn root(values: &[ChainingValue]) -> FileHash {
    let (left, right) = values.split_at(left_len(values.len()));
    FileHash::from_bytes(*merge_subtrees_root(&merge(left), &merge(right), Mode::Hash).as_bytes())
}

fn merge(values: &[ChainingValue]) -> ChainingValue {
    match values {
        [only] => *only,
        _ => {
            let (left, right) = values.split_at(left_len(values.len()));
            merge_subtrees_non_root(&merge(left), &merge(right), Mode::Hash)
        }
    }
}

/// The largest power of two below `count`: where BLAKE3 splits its tree.
fn left_len(count: usize) -> usize {
    assert!(count >= 2, "a tree of fewer than two values has no top");
    1 << (count - 1).ilog2()
}

/// A page of a block tree that is now complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// What its blocks merge to.
    pub value: PageValue,
    /// The bytes to store; `None` for a page of one block.
    pub bytes: Option<Vec<u8>>,
}

/// What hashing a whole file gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileTree {
    /// The hash of the whole file.
    pub oid: FileHash,
    /// The value of each page, in file order.
    pub pages: Vec<PageValue>,
    /// The last page, if it was not given out before.
    pub last_page: Option<Page>,
}

/// Collects the block values of one file, in file order.
///
/// Shape: any number of values in; each page comes out as soon as it is complete, so
/// memory grows by one value for each page, 32 bytes for each 256 MiB.
#[derive(Debug, Default)]
pub struct TreeBuilder {
    open: Vec<ChainingValue>,
    pages: Vec<PageValue>,
}

impl TreeBuilder {
    /// Takes the next block's value, and returns the page before it if that is complete.
    pub fn push(&mut self, value: ChainingValue) -> Option<Page> {
        let done = (self.open.len() == PAGE_BLOCKS_MAX).then(|| self.close());
        self.open.push(value);
        done
    }

    /// Ends the file. `None` if fewer than two blocks were given: such a file has no tree,
    /// and its oid is its plain hash.
    pub fn finish(mut self) -> Option<FileTree> {
        if self.pages.is_empty() && self.open.len() < 2 {
            return None;
        }
        let blocks = self.open.clone();
        let last = self.close();
        let oid = match self.pages.len() {
            1 => root(&blocks),
            _ => root_of_pages(&self.pages),
        };
        Some(FileTree { oid, pages: self.pages, last_page: Some(last) })
    }

    fn close(&mut self) -> Page {
        let value = PageValue::from_bytes(merge(&self.open));
        let bytes = (self.open.len() >= 2).then(|| self.open.concat());
        self.pages.push(value);
        self.open.clear();
        Page { value, bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree_of(content: &[u8]) -> (Option<FileTree>, Vec<Page>) {
        let mut builder = TreeBuilder::default();
        let mut pages = Vec::new();
        for (number, block) in content.chunks(BLOCK_LEN as usize).enumerate() {
            pages.extend(builder.push(block_value(number as u64 * BLOCK_LEN, block)));
        }
        let tree = builder.finish();
        pages.extend(tree.iter().filter_map(|tree| tree.last_page.clone()));
        (tree, pages)
    }

    #[test]
    fn the_tree_leads_to_the_plain_hash_at_every_edge() {
        let block = BLOCK_LEN as usize;
        let content: Vec<u8> = (0..258 * block).map(|n| (n / 7) as u8 ^ (n >> 11) as u8).collect();
        for len in [0, 1, block - 1, block, block + 1, 2 * block, 3 * block + 5, 7 * block, 255 * block + 1] {
            check(&content[..len]);
        }
        for len in [256 * block, 256 * block + 1, 257 * block, 258 * block - 1] {
            check(&content[..len]);
        }
    }

    fn check(content: &[u8]) {
        let (tree, pages) = tree_of(content);
        assert_eq!(pages.len() as u64, page_count(content.len() as u64), "{} bytes", content.len());
        let Some(tree) = tree else {
            assert!(content.len() as u64 <= BLOCK_LEN);
            return;
        };
        assert_eq!(tree.oid, FileHash::of(content), "{} bytes", content.len());
        assert_eq!(tree.pages, pages.iter().map(|page| page.value).collect::<Vec<_>>());
        for page in &pages {
            if let Some(bytes) = &page.bytes {
                assert_eq!(page_value_of(bytes), Some(page.value));
            }
        }
        if let [Page { bytes: Some(bytes), .. }] = pages.as_slice() {
            assert_eq!(root_of_only_page(&read_page(bytes).expect("a page")), tree.oid);
        }
    }

    #[test]
    fn bytes_that_are_no_page_have_no_value() {
        for len in [0, 31, 32, 33, 257 * 32] {
            assert_eq!(page_value_of(&vec![7; len]), None, "{len} bytes");
        }
    }
}
