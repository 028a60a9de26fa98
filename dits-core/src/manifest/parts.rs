//! Parts: what else must be there for a manifest to be complete.
//!
//! **For:** sending, fetching and counting a file by its items.
//!
//! **May touch:** nothing.
//!
//! **Must hold:** together with the chunks of the spans, the parts are all that a file needs.

use super::{Layout, Manifest, block_tree::page_count};
use crate::item::ItemId;
use crate::limits::{BLOCK_LEN, PAGE_BLOCKS_MAX};

/// One item that a manifest names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The item.
    pub id: ItemId,
    /// Bytes of the file that a chunk or span covers; 0 for pages and side tables.
    pub covers: u64,
}

impl Manifest {
    /// Lists the items that the manifest itself names: the chunks of a file of one span, else
    /// the spans; then the pages that are stored, and the side tables.
    pub fn parts(&self) -> Vec<Part> {
        let mut parts = Vec::new();
        match self.layout() {
            Layout::Inline(entries) => {
                parts.extend(entries.iter().map(|entry| Part { id: entry.hash.into(), covers: entry.len.into() }));
            }
            Layout::Spans(spans) => {
                parts.extend(spans.iter().map(|span| Part { id: span.hash.into(), covers: span.covers }));
            }
        }
        parts.extend(self.stored_pages().map(|id| Part { id, covers: 0 }));
        parts.extend(self.side_tables().iter().map(|table| Part { id: table.hash.into(), covers: 0 }));
        parts
    }

    /// A page of one block is that block's value and is stored nowhere.
    fn stored_pages(&self) -> impl Iterator<Item = ItemId> {
        let size = self.pointer().size;
        let last_has_one_block = size.div_ceil(BLOCK_LEN) % PAGE_BLOCKS_MAX as u64 == 1;
        let stored_count = page_count(size) as usize - usize::from(page_count(size) > 0 && last_has_one_block);
        self.pages()[..stored_count].iter().map(|page| ItemId::from(*page))
    }
}

#[cfg(test)]
mod tests {
    use crate::hash::{ChunkHash, FileHash, PageValue, SpanHash};
    use crate::item::ItemKind;
    use crate::limits::{BLOCK_LEN, CHUNK_LEN_MAX, PAGE_COVERS};
    use crate::manifest::block_tree::{TreeBuilder, page_count};
    use crate::manifest::span::ChunkEntry;
    use crate::manifest::{ChunkerId, Layout, Manifest, SpanEntry};
    use crate::pointer::Pointer;

    fn stored_page_count(size: u64) -> usize {
        let mut builder = TreeBuilder::default();
        (0..size.div_ceil(BLOCK_LEN)).for_each(|block| drop(builder.push([block as u8; 32])));
        let (oid, pages) = match builder.finish() {
            Some(tree) => (tree.oid, tree.pages),
            None => (FileHash::of(b"x"), Vec::<PageValue>::new()),
        };
        assert_eq!(pages.len() as u64, page_count(size));
        let span_max = 100 * CHUNK_LEN_MAX as u64;
        let layout = match size <= CHUNK_LEN_MAX as u64 {
            true => Layout::Inline(vec![ChunkEntry::new(ChunkHash::of(b"x"), size as u32)]),
            false => {
                let count = size.div_ceil(span_max).max(2);
                let covers = |n| if n + 1 == count { size - size / count * (count - 1) } else { size / count };
                let span = |n| SpanEntry { hash: SpanHash::from_bytes([n as u8; 32]), covers: covers(n) };
                Layout::Spans((0..count).map(span).collect())
            }
        };
        let manifest = Manifest::new(ChunkerId(1), Pointer { oid, size }, layout, pages, vec![]).expect("fits");
        let parts = manifest.parts();
        assert_eq!(parts.iter().map(|part| part.covers).sum::<u64>(), size);
        parts.iter().filter(|part| part.id.kind == ItemKind::Page).count()
    }

    #[test]
    fn a_page_of_one_block_is_stored_nowhere() {
        assert_eq!(stored_page_count(5), 0);
        assert_eq!(stored_page_count(BLOCK_LEN), 0);
        assert_eq!(stored_page_count(BLOCK_LEN + 1), 1);
        assert_eq!(stored_page_count(PAGE_COVERS), 1);
        assert_eq!(stored_page_count(PAGE_COVERS + 1), 1);
        assert_eq!(stored_page_count(PAGE_COVERS + BLOCK_LEN), 1);
        assert_eq!(stored_page_count(PAGE_COVERS + BLOCK_LEN + 1), 2);
    }
}
