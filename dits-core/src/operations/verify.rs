//! Proving: that what a manifest puts together is the file it claims to be.
//!
//! **For:** a server or a store on a disk, before it counts a file as held.
//!
//! **May touch:** the store it is given, for reading.
//!
//! **Must hold:**
//! - success means that every part of the manifest is present where it must be, and that
//!   the content, hashed, is the oid: nothing that a client claims is taken for proof;
//! - only blocks that stand at the same place in a file proven before are not read again;
//! - memory grows by one byte for each MiB of the file and 40 for each span, and nothing else.

use std::collections::HashSet;

use super::block_runs::{self, Reading};
use super::chunk_stream::{
    OutlineError, Walk, block_count_of_page, for_each_chunk, read_manifest, read_page, read_span,
};
use crate::hash::{FileHash, ManifestHash};
use crate::item::ItemId;
use crate::limits::{BLOCK_LEN, PAGE_BLOCKS_MAX};
use crate::manifest::block_tree::{Page, TreeBuilder, page_count};
use crate::manifest::span::ChunkEntry;
use crate::manifest::{Layout, Manifest};
use crate::pack_format::Domain;
use crate::pointer::Pointer;
use crate::store::{ReadError, Store, StoreError};

use blake3::hazmat::ChainingValue;

/// Most missing items that one answer lists.
pub const MISSING_MAX: usize = 64 * 1024;

/// Why a manifest is not proven.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// Parts are not present. At most [`MISSING_MAX`] are listed, and chunks of a missing span are not.
    #[error("{} items are missing", .0.len())]
    Missing(Vec<ItemId>),
    /// The parts are present, and are not the file.
    #[error("the content does not hash to {oid}")]
    Mismatch {
        /// The file.
        oid: FileHash,
    },
    /// A part cannot be read, or is not what the manifest says.
    #[error(transparent)]
    Outline(#[from] OutlineError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Proves a manifest, and returns the file it is about.
///
/// Every part must lie in a pack of `domain`, or be one of those that `present` accepts.
/// `base` is a manifest that was proven before; that it was is the caller's to know.
///
/// # Errors
///
/// [`ProveError`] says what is missing, or what is wrong.
pub fn prove(
    store: &Store,
    domain: Domain,
    manifest: &ManifestHash,
    base: Option<&ManifestHash>,
    present: &dyn Fn(&ItemId) -> bool,
) -> Result<Pointer, ProveError> {
    let absent = |ids: &[ItemId]| -> Result<Vec<ItemId>, StoreError> {
        let is_here = store.has_each_in(domain, ids)?;
        let absent = ids.iter().zip(is_here).filter(|(id, is_here)| !is_here && !present(id));
        Ok(absent.map(|(id, _)| *id).collect())
    };
    if !absent(&[(*manifest).into()])?.is_empty() {
        return Err(ProveError::Missing(vec![(*manifest).into()]));
    }
    let manifest = read_manifest(store, manifest)?;
    check_presence(store, &manifest, absent)?;
    check_side_tables(store, &manifest)?;
    let pointer = manifest.pointer();
    // A base that cannot be used saves nothing, and spoils nothing.
    let base = base.and_then(|base| read_manifest(store, base).ok());
    let hash = |reading| match page_count(pointer.size) {
        0 => hash_plainly(store, &manifest),
        _ => hash_blocks(store, reading, &manifest, base.as_ref()),
    };
    // The oid checks all chunks at once. Only where it does not come out each is checked by itself: that
    // names a damaged one, or finds a good copy of it.
    match hash(Reading::Unchecked) {
        Ok(oid) if oid == pointer.oid => Ok(pointer),
        _ => match hash(Reading::Checked)? == pointer.oid {
            true => Ok(pointer),
            false => Err(ProveError::Mismatch { oid: pointer.oid }),
        },
    }
}

/// Checks that every part of the manifest is present; `absent` picks those that are not.
fn check_presence(
    store: &Store,
    manifest: &Manifest,
    absent: impl Fn(&[ItemId]) -> Result<Vec<ItemId>, StoreError>,
) -> Result<(), ProveError> {
    let mut missing = Vec::new();
    let mut look_for = |ids: &[ItemId]| -> Result<bool, ProveError> {
        let absent = absent(ids)?;
        missing.extend_from_slice(&absent[..absent.len().min(MISSING_MAX - missing.len())]);
        match missing.len() < MISSING_MAX {
            true => Ok(absent.is_empty()),
            false => Err(ProveError::Missing(std::mem::take(&mut missing))),
        }
    };
    let pages = manifest.pages().iter().enumerate();
    let stored_pages = pages.filter(|(index, _)| block_count_of_page(manifest.pointer().size, *index) >= 2);
    let parts = manifest.side_tables().iter().map(|table| table.hash.into());
    look_for(&parts.chain(stored_pages.map(|(_, page)| (*page).into())).collect::<Vec<_>>())?;
    let ids = |entries: &[ChunkEntry]| entries.iter().map(|entry| entry.hash.into()).collect::<Vec<ItemId>>();
    match manifest.layout() {
        Layout::Inline(entries) => drop(look_for(&ids(entries))?),
        Layout::Spans(spans) => {
            // One span may be named any number of times.
            let mut seen = HashSet::new();
            for named in spans.iter().filter(|named| seen.insert(**named)) {
                if look_for(&[named.hash.into()])? {
                    look_for(&ids(read_span(store, named)?.entries()))?;
                }
            }
        }
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(ProveError::Missing(missing)),
    }
}

fn check_side_tables(store: &Store, manifest: &Manifest) -> Result<(), ProveError> {
    let mut plain = Vec::new();
    for table in manifest.side_tables() {
        let id = ItemId::from(table.hash);
        store.read(&id, &mut plain).map_err(OutlineError::from)?;
        if plain.len() as u64 != u64::from(table.len) {
            let (expected, actual) = (table.len.into(), plain.len() as u64);
            return Err(OutlineError::WrongLength { id, expected, actual }.into());
        }
    }
    Ok(())
}

fn hash_plainly(store: &Store, manifest: &Manifest) -> Result<FileHash, ProveError> {
    let mut hasher = blake3::Hasher::new();
    for_each_chunk(store, manifest.pointer(), Walk::new(store, manifest), |plain| {
        hasher.update(plain);
        Ok::<_, ProveError>(())
    })?;
    Ok(FileHash::from_bytes(*hasher.finalize().as_bytes()))
}

/// Hashes a file of two or more blocks, and checks each stored page against what that gives.
fn hash_blocks(
    store: &Store,
    reading: Reading,
    manifest: &Manifest,
    base: Option<&Manifest>,
) -> Result<FileHash, ProveError> {
    let size = manifest.pointer().size;
    let known = match base {
        Some(base) => KnownBlocks::find(store, manifest, base)?,
        None => KnownBlocks::none(store, size),
    };
    let mut merging = Merging::new(store, manifest, &known);
    let runs = block_runs::unknown(Walk::new(store, manifest), &known.is_known, size);
    block_runs::hash_each(store, reading, block_runs::threads(), runs, &|_, _| Ok(()), |first_block, values| {
        merging.push(first_block, &values)
    })?;
    merging.finish()
}

/// Which blocks need no reading, because they stand at the same place in a proven file.
struct KnownBlocks<'a> {
    store: &'a Store,
    base: Option<&'a Manifest>,
    is_known: Vec<bool>,
}

impl<'a> KnownBlocks<'a> {
    fn none(store: &'a Store, size: u64) -> KnownBlocks<'a> {
        KnownBlocks { store, base: None, is_known: vec![false; size.div_ceil(BLOCK_LEN) as usize] }
    }

    /// Walks both files side by side, and finds the blocks whose chunks are the same.
    fn find(store: &'a Store, manifest: &Manifest, base: &'a Manifest) -> Result<KnownBlocks<'a>, ProveError> {
        let size = manifest.pointer().size;
        let mut known = KnownBlocks::none(store, size);
        if page_count(base.pointer().size) == 0 {
            return Ok(known);
        }
        let mut is_same_block = vec![true; known.is_known.len()];
        // A base with a span that cannot be read ends there.
        let mut base_walk = Walk::new(store, base).map_while(Result::ok).peekable();
        for placed in Walk::new(store, manifest) {
            let placed = placed?;
            while base_walk.next_if(|other| other.offset < placed.offset).is_some() {}
            if base_walk.peek() != Some(&placed) {
                blocks_of(placed.offset, placed.offset + u64::from(placed.entry.len))
                    .for_each(|block| is_same_block[block] = false);
            }
        }
        // The last block of either file may be short: its value is that of the other's only
        // if both end there.
        if !size.is_multiple_of(BLOCK_LEN) && base.pointer().size != size {
            is_same_block[(size / BLOCK_LEN) as usize] = false;
        }
        known.is_known = is_same_block;
        known.base = Some(base);
        known.forget_unreadable_pages();
        Ok(known)
    }

    /// Blocks whose page in the base is not as it should be are read after all.
    fn forget_unreadable_pages(&mut self) {
        for page_index in 0..self.is_known.len().div_ceil(PAGE_BLOCKS_MAX) {
            let first = page_index * PAGE_BLOCKS_MAX;
            let end = (first + PAGE_BLOCKS_MAX).min(self.is_known.len());
            if self.is_known[first..end].contains(&true) && self.page(page_index).is_none() {
                self.is_known[first..end].fill(false);
            }
        }
    }

    /// The block values of a page of the base.
    fn page(&self, page_index: usize) -> Option<Vec<ChainingValue>> {
        let base = self.base?;
        read_page(self.store, base, page_index).ok()
    }
}

/// The numbers of the blocks that a run of bytes touches.
fn blocks_of(start: u64, end: u64) -> std::ops::Range<usize> {
    (start / BLOCK_LEN) as usize..end.div_ceil(BLOCK_LEN) as usize
}

/// Merges the values of a file's blocks; those of known ones are taken from the base.
struct Merging<'a> {
    store: &'a Store,
    manifest: &'a Manifest,
    known: &'a KnownBlocks<'a>,
    /// The page of the base that was used last.
    known_page: Option<(usize, Vec<ChainingValue>)>,
    /// The block whose value comes next.
    next: usize,
    page_count: usize,
    tree: TreeBuilder,
}

impl<'a> Merging<'a> {
    fn new(store: &'a Store, manifest: &'a Manifest, known: &'a KnownBlocks<'a>) -> Merging<'a> {
        Merging { store, manifest, known, known_page: None, next: 0, page_count: 0, tree: TreeBuilder::default() }
    }

    /// Takes the values of blocks from `first_block` on; those left out before it are known.
    fn push(&mut self, first_block: usize, values: &[ChainingValue]) -> Result<(), ProveError> {
        self.take_known(first_block)?;
        values.iter().try_for_each(|value| self.push_value(*value))
    }

    /// Takes the values of the known blocks before `block` from the base.
    fn take_known(&mut self, block: usize) -> Result<(), ProveError> {
        while self.next < block {
            let page_index = self.next / PAGE_BLOCKS_MAX;
            if self.known_page.as_ref().is_none_or(|(index, _)| *index != page_index) {
                self.known_page = self.known.page(page_index).map(|values| (page_index, values));
            }
            let values = self.known_page.as_ref().map(|(_, values)| values);
            let value = values.and_then(|values| values.get(self.next % PAGE_BLOCKS_MAX)).copied();
            let Some(value) = value else {
                // The base was readable a moment ago.
                return Err(ProveError::Mismatch { oid: self.manifest.pointer().oid });
            };
            self.push_value(value)?;
        }
        Ok(())
    }

    fn push_value(&mut self, value: ChainingValue) -> Result<(), ProveError> {
        self.next += 1;
        match self.tree.push(value) {
            Some(page) => self.check_page(&page),
            None => Ok(()),
        }
    }

    /// Checks a page against the manifest, and what is stored of it against its blocks.
    ///
    /// A page's id alone does not say how many blocks it has: another number of values, from
    /// another level of the tree, may merge to the same. So the bytes are compared, and a
    /// page of another shape counts as missing.
    fn check_page(&mut self, page: &Page) -> Result<(), ProveError> {
        if self.manifest.pages().get(self.page_count) != Some(&page.value) {
            return Err(ProveError::Mismatch { oid: self.manifest.pointer().oid });
        }
        self.page_count += 1;
        let Some(bytes) = &page.bytes else { return Ok(()) };
        let id = ItemId::from(page.value);
        let mut stored = Vec::new();
        match self.store.read_of_len(&id, bytes.len() as u32, &mut stored) {
            Ok(()) if stored == *bytes => Ok(()),
            Ok(()) | Err(ReadError::Missing(_)) => Err(ProveError::Missing(vec![id])),
            Err(error) => Err(OutlineError::from(error).into()),
        }
    }

    fn finish(mut self) -> Result<FileHash, ProveError> {
        let oid = self.manifest.pointer().oid;
        self.take_known(self.known.is_known.len())?;
        let tree = std::mem::take(&mut self.tree).finish().ok_or(ProveError::Mismatch { oid })?;
        if let Some(page) = &tree.last_page {
            self.check_page(page)?;
        }
        Ok(tree.oid)
    }
}
