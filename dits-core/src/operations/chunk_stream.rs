//! The chunks of a file, one after another, read ahead of who uses them.
//!
//! **For:** writing a file out and proving one: reading and checking a chunk takes as long as
//! what is done with it, so the two are done at once.
//!
//! **May touch:** stores, through the function it is given.
//!
//! **Must hold:** memory is bounded by [`AHEAD`] chunks, whatever the file's length; the
//! other thread has ended when a function of this module returns.

use std::sync::mpsc;

use crate::hash::ManifestHash;
use crate::item::ItemId;
use crate::manifest::span::{ChunkEntry, Span};
use crate::manifest::{Layout, Manifest, ManifestError, SpanEntry};
use crate::pointer::Pointer;
use crate::store::ReadError;

/// Chunks that may be read before they are wanted.
const AHEAD: usize = 24;
/// A file up to this length is read on the caller's own thread.
const ALONE_LEN_MAX: u64 = 1024 * 1024;

/// How items are read: from a store, or from several.
pub(super) type ReadItem<'a> = dyn Fn(&ItemId, &mut Vec<u8>) -> Result<(), ReadError> + Sync + 'a;

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
}

/// Reads and decodes a manifest.
pub(super) fn read_manifest(read: &ReadItem<'_>, hash: &ManifestHash) -> Result<Manifest, OutlineError> {
    let id = ItemId::from(*hash);
    let mut plain = Vec::new();
    read(&id, &mut plain)?;
    Manifest::decode(&plain).map_err(|source| OutlineError::Malformed { id, source })
}

/// Reads and decodes one span of a manifest.
pub(super) fn read_span(read: &ReadItem<'_>, named: &SpanEntry) -> Result<Span, OutlineError> {
    let id = ItemId::from(named.hash);
    let mut plain = Vec::new();
    read(&id, &mut plain)?;
    let span = Span::decode(&plain).map_err(|source| OutlineError::Malformed { id, source })?;
    match span.covers() == named.covers {
        true => Ok(span),
        false => Err(OutlineError::WrongLength { id, expected: named.covers, actual: span.covers() }),
    }
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
    read: &'a ReadItem<'a>,
    spans: &'a [SpanEntry],
    entries: std::vec::IntoIter<ChunkEntry>,
    offset: u64,
}

impl<'a> Walk<'a> {
    pub fn new(read: &'a ReadItem<'a>, manifest: &'a Manifest) -> Walk<'a> {
        let (spans, entries) = match manifest.layout() {
            Layout::Inline(entries) => (&[][..], entries.clone()),
            Layout::Spans(spans) => (spans.as_slice(), Vec::new()),
        };
        Walk { read, spans, entries: entries.into_iter(), offset: 0 }
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
            match read_span(self.read, named) {
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
    read: &ReadItem<'_>,
    pointer: Pointer,
    walk: impl Iterator<Item = Result<Placed, OutlineError>> + Send,
    mut each: impl FnMut(Placed, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    if pointer.size <= ALONE_LEN_MAX {
        let mut plain = Vec::new();
        for placed in walk {
            let placed = placed?;
            read_chunk(read, &placed, &mut plain)?;
            each(placed, &plain)?;
        }
        return Ok(());
    }
    std::thread::scope(|scope| {
        let (filled_sender, filled) = mpsc::sync_channel(AHEAD);
        let (empty_sender, empty) = mpsc::channel::<Vec<u8>>();
        scope.spawn(move || {
            for placed in walk {
                let mut plain = empty.try_recv().unwrap_or_default();
                let result = placed.and_then(|placed| read_chunk(read, &placed, &mut plain).map(|()| placed));
                let is_last = result.is_err();
                // The other end hangs up when `each` failed: then nobody wants more.
                if filled_sender.send((result, plain)).is_err() || is_last {
                    return;
                }
            }
        });
        for (placed, plain) in filled {
            each(placed?, &plain)?;
            // A buffer that nobody takes back is freed.
            let _ = empty_sender.send(plain);
        }
        Ok(())
    })
}

fn read_chunk(read: &ReadItem<'_>, placed: &Placed, plain: &mut Vec<u8>) -> Result<(), OutlineError> {
    let id = ItemId::from(placed.entry.hash);
    read(&id, plain)?;
    let expected = u64::from(placed.entry.len);
    match plain.len() as u64 == expected {
        true => Ok(()),
        false => Err(OutlineError::WrongLength { id, expected, actual: plain.len() as u64 }),
    }
}
