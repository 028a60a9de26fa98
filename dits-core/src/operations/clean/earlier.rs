//! The version of a file that was added at the same path before, read along with this one.
//!
//! **For:** an edit of a long file: the blocks that are still the same need not be cut and
//! hashed in chunks again.
//!
//! **May touch:** the store it is given, for reading.
//!
//! **Must hold:**
//! - it gives only what a manifest says that was made from bytes here, never one from elsewhere;
//! - what cannot be read is as good as not there: the file is then hashed as any other.

use std::collections::VecDeque;

use blake3::hazmat::ChainingValue;

use super::super::chunk_stream::{read_manifest, read_page, read_span};
use crate::chunking::CHUNKER;
use crate::chunking::hashing::Earlier;
use crate::limits::{BLOCK_LEN, PAGE_BLOCKS_MAX};
use crate::manifest::span::ChunkEntry;
use crate::manifest::{Layout, Manifest, SpanEntry};
use crate::store::Store;

/// Blocks in a row that are not the same after which nothing more is compared.
const MISSES_MAX: u32 = 4;

/// An earlier version, read from its start on.
pub(super) struct EarlierFile<'s> {
    store: &'s Store,
    manifest: Manifest,
    spans: VecDeque<SpanEntry>,
    /// Chunks that were read and not passed yet, with their places in the file.
    chunks: VecDeque<(u64, ChunkEntry)>,
    /// Where the last of them ends.
    read_len: u64,
    /// The page that was used last.
    page: Option<(usize, Vec<ChainingValue>)>,
    misses: u32,
}

impl<'s> EarlierFile<'s> {
    /// Finds the version that was last added at `path`.
    pub fn find(store: &'s Store, path: &[u8]) -> Option<EarlierFile<'s>> {
        let hash = store.last_added(path).ok()??;
        let manifest = read_manifest(store, &hash).ok()?;
        if manifest.chunker() != CHUNKER {
            return None;
        }
        let (spans, chunks) = match manifest.layout() {
            Layout::Inline(entries) => (VecDeque::new(), entries.clone()),
            Layout::Spans(spans) => (spans.iter().copied().collect(), Vec::new()),
        };
        let (chunks_at_hand, page) = (VecDeque::new(), None);
        let mut file = EarlierFile { store, manifest, spans, chunks: chunks_at_hand, read_len: 0, page, misses: 0 };
        file.take_chunks(&chunks);
        Some(file)
    }

    /// What it has where `len` bytes from `start` on stand, both multiples of a block's length.
    ///
    /// Calls must go forward.
    pub fn at(&mut self, start: u64, len: usize) -> Option<Earlier> {
        let end = start + len as u64;
        let is_whole = start.is_multiple_of(BLOCK_LEN) && end.is_multiple_of(BLOCK_LEN);
        if !is_whole || end > self.manifest.pointer().size {
            return None;
        }
        let values = (start / BLOCK_LEN..end / BLOCK_LEN).map(|block| self.value(block as usize));
        let values = values.collect::<Option<Vec<ChainingValue>>>()?;
        while self.read_len < end {
            let named = self.spans.pop_front()?;
            let span = read_span(self.store, &named).ok()?;
            self.take_chunks(span.entries());
        }
        while self.chunks.front().is_some_and(|(place, _)| *place < start) {
            self.chunks.pop_front();
        }
        let is_inside = |(place, entry): &&(u64, ChunkEntry)| place + u64::from(entry.len) <= end;
        let chunks = self.chunks.iter().take_while(is_inside);
        let chunks = chunks.map(|(place, entry)| ((place - start) as usize, *entry)).collect();
        Some(Earlier { values, chunks })
    }

    /// Notes whether a block was the same; returns false once it is better to give up.
    pub fn is_worth_while(&mut self, is_same: bool) -> bool {
        self.misses = if is_same { 0 } else { self.misses + 1 };
        self.misses < MISSES_MAX
    }

    fn take_chunks(&mut self, entries: &[ChunkEntry]) {
        for entry in entries {
            self.chunks.push_back((self.read_len, *entry));
            self.read_len += u64::from(entry.len);
        }
    }

    fn value(&mut self, block: usize) -> Option<ChainingValue> {
        let page_index = block / PAGE_BLOCKS_MAX;
        if self.page.as_ref().is_none_or(|(index, _)| *index != page_index) {
            self.page = Some((page_index, read_page(self.store, &self.manifest, page_index).ok()?));
        }
        self.page.as_ref()?.1.get(block % PAGE_BLOCKS_MAX).copied()
    }
}
