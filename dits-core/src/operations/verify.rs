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
//! - memory grows by one byte for each MiB of the file, and nothing else.

use super::chunk_stream::{OutlineError, Placed, ReadItem, Walk, for_each_chunk, read_manifest, read_span};
use crate::hash::{FileHash, ManifestHash};
use crate::item::ItemId;
use crate::limits::{BLOCK_LEN, PAGE_BLOCKS_MAX};
use crate::manifest::block_tree::{Page, TreeBuilder, page_count, read_page};
use crate::manifest::{Layout, Manifest};
use crate::pack_format::Domain;
use crate::pointer::Pointer;
use crate::store::{ReadError, Store, StoreError};

use blake3::hazmat::{ChainingValue, HasherExt};

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
    let read = |id: &ItemId, plain: &mut Vec<u8>| store.read(id, plain);
    let is_present = |id: &ItemId| -> Result<bool, StoreError> { Ok(store.has_in(domain, id)? || present(id)) };
    if !is_present(&(*manifest).into())? {
        return Err(ProveError::Missing(vec![(*manifest).into()]));
    }
    let manifest = read_manifest(&read, manifest)?;
    check_presence(&read, &manifest, &is_present)?;
    check_side_tables(store, &manifest)?;
    let pointer = manifest.pointer();
    // A base that cannot be used saves nothing, and spoils nothing.
    let base = base.and_then(|base| read_manifest(&read, base).ok());
    let oid = match page_count(pointer.size) {
        0 => hash_plainly(&read, &manifest)?,
        _ => hash_blocks(store, &read, &manifest, base.as_ref())?,
    };
    match oid == pointer.oid {
        true => Ok(pointer),
        false => Err(ProveError::Mismatch { oid: pointer.oid }),
    }
}

/// Checks that every part of the manifest is present.
fn check_presence(
    read: &ReadItem<'_>,
    manifest: &Manifest,
    is_present: &dyn Fn(&ItemId) -> Result<bool, StoreError>,
) -> Result<(), ProveError> {
    let mut missing = Vec::new();
    let mut look_for = |id: ItemId| -> Result<bool, ProveError> {
        if is_present(&id)? {
            return Ok(true);
        }
        missing.push(id);
        match missing.len() < MISSING_MAX {
            true => Ok(false),
            false => Err(ProveError::Missing(std::mem::take(&mut missing))),
        }
    };
    for table in manifest.side_tables() {
        look_for(table.hash.into())?;
    }
    for (page_index, page) in manifest.pages().iter().enumerate() {
        if block_count_of_page(manifest.pointer().size, page_index) >= 2 {
            look_for((*page).into())?;
        }
    }
    match manifest.layout() {
        Layout::Inline(entries) => {
            for entry in entries {
                look_for(entry.hash.into())?;
            }
        }
        Layout::Spans(spans) => {
            for named in spans {
                if look_for(named.hash.into())? {
                    for entry in read_span(read, named)?.entries() {
                        look_for(entry.hash.into())?;
                    }
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

/// How many blocks the page with this index covers in a file of `size` bytes.
fn block_count_of_page(size: u64, page_index: usize) -> u64 {
    let first = page_index as u64 * PAGE_BLOCKS_MAX as u64;
    (size.div_ceil(BLOCK_LEN) - first).min(PAGE_BLOCKS_MAX as u64)
}

fn hash_plainly(read: &ReadItem<'_>, manifest: &Manifest) -> Result<FileHash, ProveError> {
    let mut hasher = blake3::Hasher::new();
    for_each_chunk(read, manifest.pointer(), Walk::new(read, manifest), |_, plain| {
        hasher.update(plain);
        Ok::<_, ProveError>(())
    })?;
    Ok(FileHash::from_bytes(*hasher.finalize().as_bytes()))
}

/// Hashes a file of two or more blocks, and checks each stored page against what that gives.
fn hash_blocks(
    store: &Store,
    read: &ReadItem<'_>,
    manifest: &Manifest,
    base: Option<&Manifest>,
) -> Result<FileHash, ProveError> {
    let pointer = manifest.pointer();
    let known = match base {
        Some(base) => KnownBlocks::find(store, read, manifest, base)?,
        None => KnownBlocks::none(store, pointer.size),
    };
    let is_unknown = |placed: &Placed| !known.covers(placed.offset, placed.offset + u64::from(placed.entry.len));
    let walk = Walk::new(read, manifest).filter(|placed| placed.as_ref().map_or(true, is_unknown));
    let mut hashing = BlockHashing::new(store, manifest, &known);
    for_each_chunk(read, pointer, walk, |placed, plain| hashing.push(placed.offset, plain))?;
    hashing.finish()
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
    fn find(
        store: &'a Store,
        read: &ReadItem<'_>,
        manifest: &Manifest,
        base: &'a Manifest,
    ) -> Result<KnownBlocks<'a>, ProveError> {
        let size = manifest.pointer().size;
        let mut known = KnownBlocks::none(store, size);
        if page_count(base.pointer().size) == 0 {
            return Ok(known);
        }
        let mut is_same_block = vec![true; known.is_known.len()];
        // A base with a span that cannot be read ends there.
        let mut base_walk = Walk::new(read, base).map_while(Result::ok).peekable();
        for placed in Walk::new(read, manifest) {
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

    fn covers(&self, start: u64, end: u64) -> bool {
        blocks_of(start, end).all(|block| self.is_known[block])
    }

    /// The block values of a page of the base.
    fn page(&self, page_index: usize) -> Option<Vec<ChainingValue>> {
        let base = self.base?;
        let value = base.pages().get(page_index)?;
        match block_count_of_page(base.pointer().size, page_index) {
            1 => Some(vec![*value.as_bytes()]),
            _ => read_page_of(self.store, base, page_index).ok(),
        }
    }
}

/// Reads the block values of one page of a file.
fn read_page_of(store: &Store, manifest: &Manifest, page_index: usize) -> Result<Vec<ChainingValue>, ReadError> {
    let id = ItemId::from(manifest.pages()[page_index]);
    let mut plain = Vec::new();
    let len = block_count_of_page(manifest.pointer().size, page_index) as u32 * 32;
    store.read_of_len(&id, len, &mut plain)?;
    read_page(&plain).ok_or(ReadError::Missing(id))
}

/// The numbers of the blocks that a run of bytes touches.
fn blocks_of(start: u64, end: u64) -> std::ops::Range<usize> {
    (start / BLOCK_LEN) as usize..end.div_ceil(BLOCK_LEN) as usize
}

/// Hashes block after block; what is known is taken from the base.
struct BlockHashing<'a> {
    store: &'a Store,
    manifest: &'a Manifest,
    known: &'a KnownBlocks<'a>,
    /// The page of the base that was used last.
    known_page: Option<(usize, Vec<ChainingValue>)>,
    /// The block that is hashed next.
    next: usize,
    /// That block, once its first bytes came.
    hasher: blake3::Hasher,
    page_count: usize,
    tree: TreeBuilder,
}

impl<'a> BlockHashing<'a> {
    fn new(store: &'a Store, manifest: &'a Manifest, known: &'a KnownBlocks<'a>) -> BlockHashing<'a> {
        let (hasher, tree) = (blake3::Hasher::new(), TreeBuilder::default());
        BlockHashing { store, manifest, known, known_page: None, next: 0, hasher, page_count: 0, tree }
    }

    /// Takes the bytes that start at `offset`. Bytes are left out only where blocks are known.
    fn push(&mut self, offset: u64, bytes: &[u8]) -> Result<(), ProveError> {
        let size = self.manifest.pointer().size;
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let block = (at / BLOCK_LEN) as usize;
            let end = (at - at % BLOCK_LEN + BLOCK_LEN).min(size);
            let (piece, behind) = rest.split_at(rest.len().min((end - at) as usize));
            if !self.known.is_known[block] {
                self.take_known(block)?;
                if at.is_multiple_of(BLOCK_LEN) {
                    self.hasher = blake3::Hasher::new();
                    self.hasher.set_input_offset(at);
                }
                self.hasher.update(piece);
                if at + piece.len() as u64 == end {
                    self.push_value(self.hasher.finalize_non_root())?;
                }
            }
            at += piece.len() as u64;
            rest = behind;
        }
        Ok(())
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
