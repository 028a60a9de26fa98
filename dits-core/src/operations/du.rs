//! How much room files take in a store, each item counted once.
//!
//! **For:** `git dits du` and `ditsd du`.
//!
//! **May touch:** the store it is given, for reading.
//!
//! **Must hold:**
//! - no content is read: manifests and spans alone say what a file is made of;
//! - memory is a bit for each item of the store, one manifest and one span.

use std::ops::AddAssign;

use super::chunk_stream::{OutlineError, read_manifest, read_span};
use crate::hash::ManifestHash;
use crate::item::{ItemId, ItemKind};
use crate::manifest::span::ChunkEntry;
use crate::manifest::{Layout, Manifest};
use crate::pointer::Pointer;
use crate::store::{Items, ReadError, Store, StoreError, Tallied, Tally};

/// What files take, or what one more of them adds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// Files, each counted once.
    pub files: u64,
    /// Their lengths, added up.
    pub logical_len: u64,
    /// Plain bytes of chunks that nothing counted before has.
    pub unique_len: u64,
    /// Bytes that these chunks take.
    pub stored_len: u64,
    /// Bytes of manifests, spans, pages and side tables that nothing counted before has.
    pub outline_len: u64,
    /// Bytes of files that are not here.
    pub absent_len: u64,
}

impl Room {
    /// Bytes that the files take, all in all.
    pub fn taken(&self) -> u64 {
        self.stored_len + self.outline_len
    }

    /// Bytes that need not be stored because they are there already.
    pub fn saved_by_sharing(&self) -> u64 {
        self.logical_len.saturating_sub(self.absent_len).saturating_sub(self.unique_len)
    }

    /// Bytes that compression saves.
    pub fn saved_by_compression(&self) -> u64 {
        self.unique_len.saturating_sub(self.stored_len)
    }
}

impl AddAssign for Room {
    fn add_assign(&mut self, other: Room) {
        self.files += other.files;
        self.logical_len += other.logical_len;
        self.unique_len += other.unique_len;
        self.stored_len += other.stored_len;
        self.outline_len += other.outline_len;
        self.absent_len += other.absent_len;
    }
}

/// Counts files, one after the other.
pub struct Usage<'a> {
    items: &'a dyn Items,
    tally: Tally<'a>,
}

impl<'a> Usage<'a> {
    /// Counts what is in `store`; manifests and spans are read from `items`.
    pub fn new(store: &'a Store, items: &'a dyn Items) -> Usage<'a> {
        Usage { items, tally: Tally::new(store) }
    }

    /// Counts a file in, by the first of these manifests that can be read; returns what it adds.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be used.
    pub fn add(&mut self, pointer: &Pointer, manifests: &[ManifestHash]) -> Result<Room, StoreError> {
        let mut room = Room { files: 1, logical_len: pointer.size, ..Room::default() };
        for hash in manifests {
            match read_manifest(self.items, hash) {
                Ok(manifest) if manifest.pointer() == *pointer => {
                    self.manifest(*hash, &manifest, &mut room)?;
                    return Ok(room);
                }
                Err(OutlineError::Read(ReadError::Store(error))) => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        room.absent_len = pointer.size;
        Ok(room)
    }

    fn manifest(&mut self, hash: ManifestHash, manifest: &Manifest, room: &mut Room) -> Result<(), StoreError> {
        // All that it names was counted with it.
        if self.outline(&[hash.into()], room)? == [Tallied::Again] {
            return Ok(());
        }
        let parts = manifest.parts();
        let beside = parts.iter().map(|part| part.id);
        let beside: Vec<ItemId> = beside.filter(|id| matches!(id.kind, ItemKind::Page | ItemKind::SideTable)).collect();
        self.outline(&beside, room)?;
        match manifest.layout() {
            Layout::Inline(entries) => self.chunks(entries, room),
            Layout::Spans(spans) => {
                for named in spans {
                    if self.outline(&[named.hash.into()], room)? == [Tallied::Again] {
                        continue;
                    }
                    match read_span(self.items, named) {
                        Ok(span) => self.chunks(span.entries(), room)?,
                        Err(OutlineError::Read(ReadError::Store(error))) => return Err(error),
                        Err(_) => room.absent_len += named.covers,
                    }
                }
                Ok(())
            }
        }
    }

    fn outline(&mut self, ids: &[ItemId], room: &mut Room) -> Result<Vec<Tallied>, StoreError> {
        let tallied = self.tally.count(ids)?;
        for item in &tallied {
            if let Tallied::New { stored_len, .. } = item {
                room.outline_len += u64::from(*stored_len);
            }
        }
        Ok(tallied)
    }

    fn chunks(&mut self, entries: &[ChunkEntry], room: &mut Room) -> Result<(), StoreError> {
        let ids: Vec<ItemId> = entries.iter().map(|entry| entry.hash.into()).collect();
        for (tallied, entry) in self.tally.count(&ids)?.into_iter().zip(entries) {
            match tallied {
                Tallied::New { stored_len, plain_len } => {
                    room.unique_len += u64::from(plain_len);
                    room.stored_len += u64::from(stored_len);
                }
                Tallied::Again => {}
                Tallied::Absent => room.absent_len += u64::from(entry.len),
            }
        }
        Ok(())
    }
}
