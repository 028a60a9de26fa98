//! The outline of a file: where each of its chunks stands, and any of its bytes.
//!
//! **For:** looking at a file, or at a part of it, without writing it out.
//!
//! **May touch:** the stores it is given, for reading.
//!
//! **Must hold:** memory is 48 bytes for each chunk, and one chunk's content.

use super::chunk_stream::{Walk, read_manifest};
use crate::hash::{FileHash, ManifestHash};
use crate::item::ItemId;
use crate::manifest::Manifest;
use crate::store::{ReadError, Sources};

pub use super::chunk_stream::{OutlineError, Placed};

/// How a file is put together, its spans looked up.
#[derive(Debug, Clone)]
pub struct Outline {
    /// The manifest's name.
    pub hash: ManifestHash,
    /// The manifest.
    pub manifest: Manifest,
    /// Its chunks, in file order.
    pub chunks: Vec<Placed>,
}

/// Reads the outline of the file `oid`; `None` if no manifest of it is here.
///
/// # Errors
///
/// [`OutlineError`] if no manifest of it can be read with all its spans.
pub fn of(sources: &Sources, oid: &FileHash) -> Result<Option<Outline>, OutlineError> {
    let mut first_error = None;
    for hash in sources.manifests_of(oid).map_err(ReadError::from)? {
        let outline = read_manifest(sources, &hash).and_then(|manifest| {
            let chunks = Walk::new(sources, &manifest).collect::<Result<Vec<Placed>, OutlineError>>()?;
            Ok(Outline { hash, manifest, chunks })
        });
        match outline {
            Ok(outline) if outline.manifest.pointer().oid == *oid => return Ok(Some(outline)),
            Ok(_) => first_error = first_error.or(Some(OutlineError::OtherFile { manifest: hash })),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    first_error.map_or(Ok(None), Err)
}

/// Reads any bytes of a file.
pub struct ContentReader<'a> {
    sources: &'a Sources,
    outline: &'a Outline,
    /// The chunk that `plain` holds.
    at_hand: Option<usize>,
    plain: Vec<u8>,
}

impl<'a> ContentReader<'a> {
    /// Makes a reader; it reads nothing yet.
    pub fn new(sources: &'a Sources, outline: &'a Outline) -> ContentReader<'a> {
        ContentReader { sources, outline, at_hand: None, plain: Vec::new() }
    }

    /// Fills `buffer` with the bytes from `start` on, all of which must be in the file.
    ///
    /// # Errors
    ///
    /// [`OutlineError`] for a chunk that is not here, or not what it should be.
    pub fn read_at(&mut self, start: u64, buffer: &mut [u8]) -> Result<(), OutlineError> {
        let mut start = start;
        let mut rest = buffer;
        while !rest.is_empty() {
            let number = self.outline.chunks.partition_point(|chunk| chunk.offset <= start) - 1;
            let chunk = self.outline.chunks[number];
            self.load(number)?;
            let from = (start - chunk.offset) as usize;
            let len = rest.len().min(self.plain.len() - from);
            let (now, later) = rest.split_at_mut(len);
            now.copy_from_slice(&self.plain[from..from + len]);
            start += len as u64;
            rest = later;
        }
        Ok(())
    }

    fn load(&mut self, number: usize) -> Result<(), OutlineError> {
        if self.at_hand == Some(number) {
            return Ok(());
        }
        self.at_hand = None;
        let entry = self.outline.chunks[number].entry;
        let id = ItemId::from(entry.hash);
        self.sources.read(&id, &mut self.plain)?;
        if self.plain.len() as u64 != u64::from(entry.len) {
            let (expected, actual) = (entry.len.into(), self.plain.len() as u64);
            return Err(OutlineError::WrongLength { id, expected, actual });
        }
        self.at_hand = Some(number);
        Ok(())
    }
}
