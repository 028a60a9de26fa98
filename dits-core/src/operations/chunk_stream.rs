//! The chunks of a file, one after another, read ahead of who uses them.
//!
//! **For:** writing a file out and proving one: reading and checking a chunk takes as long as
//! what is done with it, so the two are done at once.
//!
//! **May touch:** the stores it is given, for reading.
//!
//! **Must hold:** memory is bounded by [`AHEAD`] chunks, whatever the file's length; the
//! other thread has ended when a function of this module returns.

use std::sync::mpsc;

use crate::hash::ManifestHash;
use crate::item::ItemId;
use crate::limits::{BLOCK_CHUNKS_MAX, BLOCK_LEN, PAGE_BLOCKS_MAX};
use crate::manifest::span::{ChunkEntry, Span};
use crate::manifest::{Layout, Manifest, ManifestError, SpanEntry, block_tree};
use crate::pointer::Pointer;
use crate::store::{Items, Located, ReadError, Store};

use blake3::hazmat::ChainingValue;

/// Chunks that may be read before they are wanted.
const AHEAD: usize = 24;
/// Chunks that are looked up at once.
const LOCATED_MAX: usize = 256;
/// A file up to this length is read on the caller's own thread.
const ALONE_LEN_MAX: u64 = 1024 * 1024;

/// Why the outline of a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum OutlineError {
    /// A manifest, span or chunk cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What is stored as a manifest or span is none.
    #[error("{id} cannot be used")]
    Malformed {
        /// The item.
        id: ItemId,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// The manifest is about another file.
    #[error("manifest {manifest} is about another file")]
    OtherFile {
        /// The manifest.
        manifest: ManifestHash,
    },
    /// A span or chunk has another length than what names it says.
    #[error("{id} covers {actual} bytes instead of {expected}")]
    WrongLength {
        /// The item.
        id: ItemId,
        /// What the manifest or span says.
        expected: u64,
        /// What it really covers.
        actual: u64,
    },
    /// More than [`BLOCK_CHUNKS_MAX`] chunks have bytes of one block.
    #[error("block {block} is cut into more than {BLOCK_CHUNKS_MAX} chunks")]
    TooManyChunks {
        /// The block's number.
        block: u64,
    },
}

/// Reads and decodes a manifest.
pub(super) fn read_manifest(items: &dyn Items, hash: &ManifestHash) -> Result<Manifest, OutlineError> {
    let id = ItemId::from(*hash);
    let mut plain = Vec::new();
    items.read_located(&id, None, &mut plain)?;
    Manifest::decode(&plain).map_err(|source| OutlineError::Malformed { id, source })
}

/// Reads and decodes one span of a manifest.
pub(super) fn read_span(items: &dyn Items, named: &SpanEntry) -> Result<Span, OutlineError> {
    let id = ItemId::from(named.hash);
    let mut plain = Vec::new();
    items.read_located(&id, None, &mut plain)?;
    let span = Span::decode(&plain).map_err(|source| OutlineError::Malformed { id, source })?;
    match span.covers() == named.covers {
        true => Ok(span),
        false => Err(OutlineError::WrongLength { id, expected: named.covers, actual: span.covers() }),
    }
}

/// How many blocks the page with this index covers in a file of `size` bytes.
pub(super) fn block_count_of_page(size: u64, page_index: usize) -> u64 {
    let first = page_index as u64 * PAGE_BLOCKS_MAX as u64;
    size.div_ceil(BLOCK_LEN).saturating_sub(first).min(PAGE_BLOCKS_MAX as u64)
}

/// Reads the block values of one page of a file.
pub(super) fn read_page(
    store: &Store,
    manifest: &Manifest,
    page_index: usize,
) -> Result<Vec<ChainingValue>, OutlineError> {
    let absent = OutlineError::OtherFile { manifest: manifest.hash() };
    let Some(value) = manifest.pages().get(page_index) else { return Err(absent) };
    let count = block_count_of_page(manifest.pointer().size, page_index);
    if count == 1 {
        return Ok(vec![*value.as_bytes()]);
    }
    let id = ItemId::from(*value);
    let mut plain = Vec::new();
    store.read_of_len(&id, count as u32 * 32, &mut plain)?;
    block_tree::read_page(&plain).ok_or_else(|| ReadError::Missing(id).into())
}

/// A chunk and where it stands in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Where it starts, in bytes from the start of the file.
    pub offset: u64,
    /// The chunk.
    pub entry: ChunkEntry,
}

/// Walks the chunks of a file in order, one span in memory at a time.
pub(super) struct Walk<'a> {
    items: &'a dyn Items,
    spans: &'a [SpanEntry],
    entries: std::vec::IntoIter<ChunkEntry>,
    offset: u64,
}

impl<'a> Walk<'a> {
    pub fn new(items: &'a dyn Items, manifest: &'a Manifest) -> Walk<'a> {
        let (spans, entries) = match manifest.layout() {
            Layout::Inline(entries) => (&[][..], entries.clone()),
            Layout::Spans(spans) => (spans.as_slice(), Vec::new()),
        };
        Walk { items, spans, entries: entries.into_iter(), offset: 0 }
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Placed, OutlineError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.entries.next() {
                let offset = self.offset;
                self.offset += u64::from(entry.len);
                return Some(Ok(Placed { offset, entry }));
            }
            let (named, rest) = self.spans.split_first()?;
            self.spans = rest;
            match read_span(self.items, named) {
                Ok(span) => self.entries = span.entries().to_vec().into_iter(),
                Err(error) => {
                    // Offsets behind a span that is not known are not known either.
                    self.spans = &[];
                    return Some(Err(error));
                }
            }
        }
    }
}

/// Reads the chunks that `walk` names and hands each to `each`, in order, on this thread.
///
/// # Errors
///
/// The first error of the walk, of reading, or of `each`.
pub(super) fn for_each_chunk<E: From<OutlineError>>(
    items: &dyn Items,
    pointer: Pointer,
    walk: impl Iterator<Item = Result<Placed, OutlineError>> + Send,
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut walk = walk;
    if pointer.size <= ALONE_LEN_MAX {
        let mut plain = Vec::new();
        return read_all(items, &mut walk, |chunk| {
            chunk.read(items, &mut plain)?;
            each(&plain)
        });
    }
    std::thread::scope(|scope| {
        let (filled_sender, filled) = mpsc::sync_channel(AHEAD);
        let (empty_sender, empty) = mpsc::channel::<Vec<u8>>();
        scope.spawn(move || {
            let read = read_all(items, &mut walk, |chunk| {
                let mut plain = empty.try_recv().unwrap_or_default();
                chunk.read(items, &mut plain)?;
                // The other end hangs up when `each` failed: then nobody wants more.
                filled_sender.send(Ok(plain)).map_err(|_| Stop::Unwanted)
            });
            if let Err(Stop::Failed(error)) = read {
                // As above.
                let _ = filled_sender.send(Err(error));
            }
        });
        for plain in filled {
            let plain = plain?;
            each(&plain)?;
            // A buffer that nobody takes back is freed.
            let _ = empty_sender.send(plain);
        }
        Ok(())
    })
}

/// Why the thread that reads ahead stops early.
enum Stop {
    Unwanted,
    Failed(OutlineError),
}

impl From<OutlineError> for Stop {
    fn from(error: OutlineError) -> Stop {
        Stop::Failed(error)
    }
}

/// A chunk that was looked up, to be read next.
pub(super) struct Next {
    placed: Placed,
    located: Located,
}

impl Next {
    /// Where the chunk starts in its file.
    pub fn offset(&self) -> u64 {
        self.placed.offset
    }

    /// Reads the chunk into `plain` as [`Next::read`], but leaves it to the caller to check the whole of which
    /// it is a part, where it can be read at all.
    pub fn read_unchecked(self, items: &dyn Items, plain: &mut Vec<u8>) -> Result<(), OutlineError> {
        match items.read_unchecked(&self.located, plain) && plain.len() == self.placed.entry.len as usize {
            true => Ok(()),
            false => self.read(items, plain),
        }
    }

    /// Reads the chunk into `plain`, checked.
    pub fn read(self, items: &dyn Items, plain: &mut Vec<u8>) -> Result<(), OutlineError> {
        let id = ItemId::from(self.placed.entry.hash);
        items.read_located(&id, Some(self.located), plain)?;
        let expected = u64::from(self.placed.entry.len);
        match plain.len() as u64 == expected {
            true => Ok(()),
            false => Err(OutlineError::WrongLength { id, expected, actual: plain.len() as u64 }),
        }
    }
}

/// Looks up the chunks that `walk` names, many at once, and hands each to `each`, in order.
pub(super) fn read_all<E: From<OutlineError>>(
    items: &dyn Items,
    walk: &mut dyn Iterator<Item = Result<Placed, OutlineError>>,
    mut each: impl FnMut(Next) -> Result<(), E>,
) -> Result<(), E> {
    loop {
        let (batch, error) = take_batch(walk);
        let ids: Vec<ItemId> = batch.iter().map(|placed| placed.entry.hash.into()).collect();
        let located = items.locate(&ids).map_err(|error| OutlineError::from(ReadError::from(error)))?;
        for (placed, located) in batch.into_iter().zip(located) {
            each(Next { placed, located })?;
        }
        if let Some(error) = error {
            return Err(error.into());
        }
        if ids.len() < LOCATED_MAX {
            return Ok(());
        }
    }
}

/// The next chunks of the walk, and what ended it.
fn take_batch(walk: &mut dyn Iterator<Item = Result<Placed, OutlineError>>) -> (Vec<Placed>, Option<OutlineError>) {
    let mut batch = Vec::new();
    while batch.len() < LOCATED_MAX {
        match walk.next() {
            Some(Ok(placed)) => batch.push(placed),
            Some(Err(error)) => return (batch, Some(error)),
            None => break,
        }
    }
    (batch, None)
}
