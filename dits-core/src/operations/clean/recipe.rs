//! Putting a file's manifest together while its chunks go by.
//!
//! **For:** spans in file order, in memory of one span and 40 bytes for each before it.
//!
//! **May touch:** nothing.
//!
//! **Must hold:** a file of one span has it in its manifest, and the span is stored nowhere.
//!
//! **Format:** `docs/formats/manifest-v1.md`.

use super::CleanError;
use crate::chunking::CHUNKER;
use crate::chunking::tree_hasher::Hashed;
use crate::manifest::block_tree::Page;
use crate::manifest::span::{self, ChunkEntry, Span};
use crate::manifest::{Layout, Manifest, SpanEntry};
use crate::pointer::Pointer;

/// The chunks of one file so far.
#[derive(Debug, Default)]
pub(super) struct Recipe {
    spans: Vec<SpanEntry>,
    /// Entries of the span at hand.
    open: Vec<ChunkEntry>,
}

/// A whole file, described.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) manifest: Manifest,
    /// The last span, to be stored before the manifest.
    pub(super) last_span: Option<Span>,
    /// The last page, to be stored before the manifest.
    pub(super) last_page: Option<Page>,
}

impl Recipe {
    /// Takes the next chunk, and returns the span before it if that is complete.
    pub(super) fn push(&mut self, entry: ChunkEntry) -> Option<Span> {
        // Only now is it known that the span is not the only one.
        let is_complete = self.open.last().is_some_and(|last| span::ends_after(last, self.open.len()));
        let done = is_complete.then(|| self.close());
        self.open.push(entry);
        done
    }

    /// Ends the file.
    pub(super) fn finish(mut self, hashed: Hashed, size: u64) -> Result<Described, CleanError> {
        let (oid, pages, last_page) = match hashed {
            Hashed::OneBlock(oid) => (oid, Vec::new(), None),
            Hashed::Tree(tree) => (tree.oid, tree.pages, tree.last_page),
        };
        let (layout, last_span) = match self.spans.is_empty() {
            true => (Layout::Inline(self.open), None),
            false => {
                let last = self.close();
                (Layout::Spans(self.spans), Some(last))
            }
        };
        let manifest = Manifest::new(CHUNKER, Pointer { oid, size }, layout, pages, Vec::new());
        Ok(Described { manifest: manifest.map_err(CleanError::Manifest)?, last_span, last_page })
    }

    fn close(&mut self) -> Span {
        let span = Span::new(std::mem::take(&mut self.open)).expect("chunks are within their bounds and at least one");
        self.spans.push(SpanEntry { hash: span.hash(), covers: span.covers() });
        span
    }
}
