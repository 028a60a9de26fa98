//! The storing half of a clean: asks what is known, encodes and writes what is not.
//!
//! **For:** hashed blocks, in file order.
//!
//! **May touch:** the store, through the writer.
//!
//! **Must hold:**
//! - chunks are put before the spans and the manifest that name them;
//! - a file has its own pack only as long as that is the file byte for byte.

use super::recipe::Recipe;
use super::{CleanError, CleanStats};
use crate::chunking::hashing::HashedBlock;
use crate::chunking::tree_hasher::Hashed;
use crate::codec::{Codec, Encoder};
use crate::item::ItemId;
use crate::limits;
use crate::manifest::block_tree::Page;
use crate::manifest::span::ChunkEntry;
use crate::pointer::Pointer;
use crate::store::{NewItem, PackWriter, Sources, Store};

/// From this length on, in bytes, it is remembered which version of a file was added last.
const EARLIER_LEN_MIN: u64 = 8 * 1024 * 1024;

/// What was stored of one file so far.
pub(super) struct Storing<'s, 'w> {
    known: &'w Sources,
    writer: &'w mut PackWriter<'s>,
    encoder: Option<Encoder>,
    stats: CleanStats,
    recipe: Recipe,
    /// Set until the first block: how long the file will be, if that is enough for a pack of its own.
    expected_len: Option<u64>,
    one_pack: Option<OnePack>,
}

/// A file whose chunks so far lie in one pack, as they are and one behind the other.
struct OnePack {
    /// Their length in bytes.
    len: u64,
    /// Bytes that may still be given away by not compressing.
    loss_left: u64,
}

impl OnePack {
    /// What may be given away is one part of so many: headers and sample tables, not a content that shrinks.
    const LOSS_PARTS: u64 = 256;
}

impl Drop for Storing<'_, '_> {
    fn drop(&mut self) {
        // A file that was given up; the writer says of the next one whether it failed.
        let _ = self.writer.end_file();
    }
}

impl<'s, 'w> Storing<'s, 'w> {
    /// Nothing is stored yet.
    pub fn new(known: &'w Sources, writer: &'w mut PackWriter<'s>) -> Storing<'s, 'w> {
        let (stats, recipe) = (CleanStats::default(), Recipe::default());
        Storing { known, writer, encoder: None, stats, recipe, expected_len: None, one_pack: None }
    }

    /// The store that is written to.
    pub fn own_store(&self) -> &'w Store {
        self.known.own()
    }

    /// Says how long the file will probably be, in bytes.
    pub fn expect(&mut self, len: u64) {
        self.expected_len = Some(len).filter(|len| *len >= limits::PACK_PAYLOAD_TARGET);
    }

    /// Stores the chunks and pages that end in a block.
    pub fn store(&mut self, block: &HashedBlock) -> Result<(), CleanError> {
        self.stats.same_len += block.same_len();
        let ids: Vec<ItemId> = block.chunks().map(|(entry, _)| entry.hash.into()).collect();
        let Some(first) = ids.first() else { return block.pages.iter().try_for_each(|page| self.store_page(page)) };
        let known = self.known.has_each(&ids).map_err(|source| CleanError::LookUp { id: *first, source })?;
        if let Some(len) = self.expected_len.take()
            && !known.contains(&true)
        {
            self.begin_one_pack(block, len / OnePack::LOSS_PARTS);
        }
        for ((entry, bytes), is_known) in block.chunks().zip(known) {
            self.store_chunk(entry, bytes, is_known)?;
        }
        block.pages.iter().try_for_each(|page| self.store_page(page))
    }

    fn store_chunk(&mut self, entry: ChunkEntry, bytes: &[u8], is_known: bool) -> Result<(), CleanError> {
        self.stats.chunk_count += 1;
        if !is_known {
            self.write_chunk(entry, bytes)?;
            self.stats.new_chunk_count += 1;
        }
        self.keep_one_pack(u64::from(entry.len))?;
        match self.recipe.push(entry) {
            Some(span) => self.put(span.hash().into(), &span.encode()).map(drop),
            None => Ok(()),
        }
    }

    /// Gives the file a pack of its own, unless its first block can be compressed too well for that.
    fn begin_one_pack(&mut self, first: &HashedBlock, loss_left: u64) {
        let encoder = self.encoder.get_or_insert_with(Encoder::new);
        let loss: usize = first.chunks().map(|(_, bytes)| bytes.len() - encoder.encode(bytes).1.len()).sum();
        if loss as u64 <= loss_left {
            self.writer.begin_file();
            self.one_pack = Some(OnePack { len: 0, loss_left });
        }
    }

    fn write_chunk(&mut self, entry: ChunkEntry, bytes: &[u8]) -> Result<(), CleanError> {
        let Some(one_pack) = &mut self.one_pack else { return self.write(entry.hash.into(), bytes) };
        let (codec, stored) = self.encoder.get_or_insert_with(Encoder::new).encode(bytes);
        let loss = (bytes.len() - stored.len()) as u64;
        let (codec, stored) = match loss <= one_pack.loss_left {
            true => {
                one_pack.loss_left -= loss;
                (Codec::Raw, bytes)
            }
            false => (codec, stored),
        };
        self.stats.new_bytes += stored.len() as u64;
        put(self.writer, NewItem { id: entry.hash.into(), codec, plain_len: entry.len, stored })
    }

    /// Ends the file's own pack once a chunk was not put behind the one before it.
    fn keep_one_pack(&mut self, chunk_len: u64) -> Result<(), CleanError> {
        let Some(one_pack) = &mut self.one_pack else { return Ok(()) };
        one_pack.len += chunk_len;
        if self.writer.file_len() == Some(one_pack.len) {
            return Ok(());
        }
        self.one_pack = None;
        self.writer.end_file().map_err(CleanError::Commit)
    }

    fn store_page(&mut self, page: &Page) -> Result<(), CleanError> {
        match &page.bytes {
            Some(bytes) => self.put(page.value.into(), bytes).map(drop),
            None => Ok(()),
        }
    }

    /// Stores what describes the file, and makes all of it visible.
    pub fn finish(
        mut self,
        hashed: Hashed,
        len: u64,
        path: Option<&[u8]>,
    ) -> Result<(Pointer, CleanStats), CleanError> {
        let described = std::mem::take(&mut self.recipe).finish(hashed, len)?;
        if let Some(span) = &described.last_span {
            self.put(span.hash().into(), &span.encode())?;
        }
        if let Some(page) = &described.last_page {
            self.store_page(page)?;
        }
        let (manifest, hash) = (described.manifest.encode(), described.manifest.hash());
        // The file's chunks are written down before the manifest that names them, whichever packs they are in.
        self.writer.end_file().map_err(CleanError::Commit)?;
        let is_new = self.put(hash.into(), &manifest)?;
        self.writer.commit().map_err(CleanError::Commit)?;
        if let Some(path) = path.filter(|_| is_new && len >= EARLIER_LEN_MIN) {
            // It saves work the next time; without it nothing is lost.
            let _ = self.known.own().note_added(path, &hash);
        }
        Ok((described.manifest.pointer(), self.stats))
    }

    /// Writes an item unless it is known; returns true if it was not.
    fn put(&mut self, id: ItemId, plain: &[u8]) -> Result<bool, CleanError> {
        let is_new = !self.known.has(&id).map_err(|source| CleanError::LookUp { id, source })?;
        if is_new {
            self.write(id, plain)?;
        }
        Ok(is_new)
    }

    /// Writes an item that the store does not have; the writer passes over what it just wrote.
    fn write(&mut self, id: ItemId, plain: &[u8]) -> Result<(), CleanError> {
        let (codec, stored) = self.encoder.get_or_insert_with(Encoder::new).encode(plain);
        self.stats.new_bytes += stored.len() as u64;
        put(self.writer, NewItem { id, codec, plain_len: plain.len() as u32, stored })
    }
}

fn put(writer: &mut PackWriter<'_>, item: NewItem<'_>) -> Result<(), CleanError> {
    writer.put(item).map_err(|source| CleanError::Write { id: item.id, source })
}
