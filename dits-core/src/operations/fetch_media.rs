//! Fetch: media comes from a remote into the store.
//!
//! **For:** checkouts that find pointers without content, and `git dits fetch`.
//!
//! **May touch:** the own store, and one remote.
//!
//! **Must hold:**
//! - only what no store at hand has is asked for;
//! - items are stored in the order chunks, spans and pages, manifests, and what was stored is
//!   of use after an interruption;
//! - what is said to be here is on stable storage;
//! - chunks are asked for in the order of the file, so that they lie in packs as they are read;
//! - memory is bounded by a batch of manifests ([`MANIFESTS_LEN_MAX`]) and of their parts, whatever
//!   the number and length of files, and whatever the remote sends;
//! - a manifest is stored only after the whole that it leads to was hashed to the file's oid.

mod room;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::codec::Decoder;
use crate::hash::FileHash;
use crate::item::{ItemId, ItemKind};
use crate::limits;
use crate::manifest::Manifest;
use crate::manifest::span::Span;
use crate::operations::block_runs;
use crate::operations::chunk_stream::OutlineError;
use crate::operations::hydrate::{self, HydrateError};
use crate::operations::push_media::Progress;
use crate::pack_format::Domain;
use crate::pointer::Pointer;
use crate::remote::{Remote, RemoteError};
use crate::store::{NewItem, PackWriter, ReadError, Sources, StoreError, StoredItem, WriteError};
use room::{Arrived, Batch};

/// Manifests that are held in memory at once, in bytes.
const MANIFESTS_LEN_MAX: usize = 2 * limits::MANIFEST_LEN_MAX;

/// From this length on, in bytes, a file is checked on all cores.
const SIDE_BY_SIDE_MIN: u64 = 32 * 1024 * 1024;

/// Why a file was not fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotFetched {
    /// The remote does not hold it.
    #[error("the remote does not have it")]
    NotHeld,
    /// The remote says it holds the file, and yet has no such part.
    #[error("the remote lacks {0}")]
    PartMissing(ItemId),
    /// What the remote gave as its manifest is about something else, or none.
    #[error("the remote describes it wrongly")]
    WrongManifest,
    /// A part that is here, and was not asked for, turned out to be damaged.
    #[error("{0} is damaged here; fetch again")]
    DamagedHere(ItemId),
}

/// What became of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The file.
    pub pointer: Pointer,
    /// Whether all of it is in the stores now.
    pub result: Result<(), NotFetched>,
}

/// A fetch that could not go on.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The remote could not do what it was asked.
    #[error("cannot fetch media")]
    Remote(#[from] RemoteError),
    /// The own store cannot be read.
    #[error("cannot read media")]
    Read(#[from] ReadError),
    /// The own store cannot be used.
    #[error("cannot use the store")]
    Store(#[from] StoreError),
    /// The own store cannot be written to.
    #[error("cannot store media")]
    Write(#[from] WriteError),
}

/// Fetches what the stores at hand lack of `wanted`, each file once.
///
/// # Errors
///
/// [`FetchError`] when the remote or the own store cannot be used. A file that could not be
/// fetched is no error here but says so in its [`Fetched::result`].
pub fn fetch_media(
    sources: &Sources,
    remote: &Remote,
    wanted: &[Pointer],
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Vec<Fetched>, FetchError> {
    fetch_within(MANIFESTS_LEN_MAX, sources, remote, wanted, progress)
}

fn fetch_within(
    room: usize,
    sources: &Sources,
    remote: &Remote,
    wanted: &[Pointer],
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Vec<Fetched>, FetchError> {
    let mut seen = HashSet::new();
    let wanted: Vec<Pointer> = wanted.iter().filter(|pointer| seen.insert(**pointer)).copied().collect();
    let total = wanted.iter().map(|pointer| pointer.size).fold(0, u64::saturating_add);
    let meter = Meter { done: AtomicU64::new(0), moved: AtomicU64::new(0), total, tell: progress };
    // What is here is not fetched, and must stay until that is told.
    let _guard = sources.own().guard()?;
    let writer = sources.own().writer(Domain::LOCAL);
    let mut fetching = Fetching { sources, remote, meter: &meter, writer, room };
    let mut all = Vec::new();
    for batch in wanted.chunks(limits::IDS_PER_MESSAGE_MAX) {
        fetching.files(batch, &mut all)?;
    }
    fetching.writer.sync()?;
    // Files may rest on items that another process wrote and never synced.
    sources.own().sync()?;
    Ok(all)
}

struct Meter<'a> {
    done: AtomicU64,
    moved: AtomicU64,
    total: u64,
    tell: &'a (dyn Fn(Progress) + Sync),
}

impl Meter<'_> {
    fn done(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
        self.say();
    }

    fn moved(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
        self.say();
    }

    fn say(&self) {
        let done = self.done.load(Ordering::Relaxed).min(self.total);
        (self.tell)(Progress { done, total: self.total, moved: self.moved.load(Ordering::Relaxed) });
    }
}

struct Fetching<'a> {
    sources: &'a Sources,
    remote: &'a Remote,
    meter: &'a Meter<'a>,
    writer: PackWriter<'a>,
    /// Bytes of manifests that are held at once.
    room: usize,
}

/// A file whose manifest is at hand, not yet stored unless it was here before.
struct Outline {
    pointer: Pointer,
    manifest: Manifest,
    /// The manifest as it came.
    new: Option<StoredItem>,
}

impl Fetching<'_> {
    fn files(&mut self, wanted: &[Pointer], all: &mut Vec<Fetched>) -> Result<(), FetchError> {
        let oids: Vec<FileHash> = wanted.iter().map(|pointer| pointer.oid).collect();
        let mut by_manifest: HashMap<ItemId, Pointer> = HashMap::new();
        let mut ids = Vec::new();
        let mut here = Vec::new();
        for (pointer, manifest) in wanted.iter().zip(self.remote.manifests(&oids)?) {
            let Some(manifest) = manifest else {
                all.push(Fetched { pointer: *pointer, result: Err(NotFetched::NotHeld) });
                continue;
            };
            let id = ItemId::from(manifest);
            // One that is here and not listed does not lead to its file.
            match self.sources.has(&id)? && self.sources.manifests_of(&pointer.oid)?.contains(&manifest) {
                true => here.push((id, *pointer)),
                false => {
                    by_manifest.insert(id, *pointer);
                    ids.push(id);
                }
            }
        }
        let mut outlines = Vec::new();
        for (id, pointer) in here {
            match self.read_here(&id) {
                Ok(plain) => outline(pointer, &plain, None, &mut outlines, all),
                // A damaged copy here is as good as none.
                Err(_) => {
                    by_manifest.insert(id, pointer);
                    ids.push(id);
                }
            }
        }
        self.contents(&mut outlines, all)?;
        let mut seen = HashSet::new();
        ids.retain(|id| seen.insert(*id));
        // A few manifests at a time, since one may be as long as the limit allows.
        for ids in ids.chunks(256) {
            self.manifests(ids, &by_manifest, all)?;
        }
        Ok(())
    }

    fn manifests(
        &mut self,
        ids: &[ItemId],
        pointers: &HashMap<ItemId, Pointer>,
        all: &mut Vec<Fetched>,
    ) -> Result<(), FetchError> {
        let mut left = ids;
        let mut again = Vec::new();
        while !left.is_empty() {
            // The length of a manifest follows from its file's: about 40 bytes for a span of at
            // least 2 MiB, and a page for each 256 MiB. The remote may have others.
            let expected = |id: &ItemId| 20_000 + (pointers[id].size >> 15) as usize;
            let mut len = 0;
            let fits = left.iter().take_while(|id| {
                len += expected(id);
                len <= self.room
            });
            let (now, rest) = left.split_at(fits.count().max(1));
            left = rest;
            again.extend(self.manifests_at_once(now, pointers, all)?);
        }
        for id in again {
            self.manifests_at_once(&[id], pointers, all)?;
        }
        Ok(())
    }

    /// Fetches these manifests, and what they lead to; returns those that there was no room for.
    fn manifests_at_once(
        &mut self,
        ids: &[ItemId],
        pointers: &HashMap<ItemId, Pointer>,
        all: &mut Vec<Fetched>,
    ) -> Result<Vec<ItemId>, FetchError> {
        let mut arrived = Arrived::with_room(self.room);
        let mut sink = |item: StoredItem| {
            arrived.take(item);
            Ok(())
        };
        let absent = self.remote.download(ids, &mut sink, &|bytes| self.meter.moved(bytes))?;
        let Arrived { mut items, again, .. } = arrived;
        items.sort_by_key(|item| ids.iter().position(|id| *id == item.id));
        for id in absent {
            all.push(Fetched { pointer: pointers[&id], result: Err(NotFetched::PartMissing(id)) });
        }
        let mut outlines = Vec::new();
        let mut decoder = Decoder::new();
        let mut plain = Vec::new();
        for item in items {
            let Some(pointer) = pointers.get(&item.id) else { continue };
            match decoder.decode(item.codec, &item.bytes, item.plain_len as usize, &mut plain) {
                Ok(()) => outline(*pointer, &plain, Some(item), &mut outlines, all),
                Err(_) => all.push(Fetched { pointer: *pointer, result: Err(NotFetched::WrongManifest) }),
            }
        }
        self.contents(&mut outlines, all)?;
        Ok(again)
    }

    /// Fetches what is missing of each file, then stores the manifests of those that are whole.
    fn contents(&mut self, outlines: &mut Vec<Outline>, all: &mut Vec<Fetched>) -> Result<(), FetchError> {
        let mut absent = HashSet::new();
        let mut batch = Batch::default();
        for outline in outlines.iter() {
            for part in outline.manifest.parts() {
                if part.id.kind == ItemKind::Chunk {
                    self.meter.done(part.covers);
                }
                if let Some(parts) = batch.push(part.id) {
                    self.parts(parts, &mut absent)?;
                }
            }
        }
        self.parts(batch.take(), &mut absent)?;
        let mut whole = Vec::new();
        for Outline { pointer, manifest, new } in outlines.drain(..) {
            let result = match (self.first_absent(&manifest, &absent), new) {
                (Some(id), _) => Err(NotFetched::PartMissing(id)),
                (None, None) => Ok(()),
                (None, Some(new)) => self.check(&manifest)?.map(|()| whole.push(new)),
            };
            all.push(Fetched { pointer, result });
        }
        for item in whole {
            put(&mut self.writer, &item)?;
        }
        Ok(self.writer.commit()?)
    }

    /// Checks that a manifest from outside leads to its file.
    fn check(&self, manifest: &Manifest) -> Result<Result<(), NotFetched>, FetchError> {
        // The whole at once is quicker; what is wrong is found piece by piece.
        let threads = if manifest.pointer().size >= SIDE_BY_SIDE_MIN { block_runs::threads() } else { 1 };
        if hydrate::leads_to_its_file(self.sources, manifest, threads) {
            return Ok(Ok(()));
        }
        Ok(match hydrate::check(self.sources, &manifest.hash(), manifest, |_| Ok(())) {
            Ok(()) => Ok(()),
            Err(HydrateError::Store(error)) => return Err(error.into()),
            Err(HydrateError::Outline(OutlineError::Read(error))) => match error {
                ReadError::Missing(id) => Err(NotFetched::PartMissing(id)),
                ReadError::Damaged { id, .. } | ReadError::Unreadable { id, .. } => Err(NotFetched::DamagedHere(id)),
                ReadError::Store(error) => return Err(error.into()),
            },
            Err(_) => Err(NotFetched::WrongManifest),
        })
    }

    /// Fetches these parts and, of the spans, their chunks.
    fn parts(&mut self, mut parts: Vec<ItemId>, absent: &mut HashSet<ItemId>) -> Result<(), FetchError> {
        let mut seen = HashSet::new();
        parts.retain(|id| seen.insert(*id));
        let (chunks, above): (Vec<_>, Vec<_>) = parts.into_iter().partition(|id| id.kind == ItemKind::Chunk);
        let mut held_back = Vec::new();
        let missing = self.not_here(&above)?;
        for ids in missing.chunks(limits::IDS_PER_MESSAGE_MAX) {
            let mut sink = |item: StoredItem| {
                held_back.push(item);
                Ok(())
            };
            absent.extend(self.remote.download(ids, &mut sink, &|bytes| self.meter.moved(bytes))?);
        }
        let mut wanted = self.not_here(&chunks)?;
        let missing: HashSet<ItemId> = missing.into_iter().collect();
        let arrived: HashMap<ItemId, &StoredItem> = held_back.iter().map(|item| (item.id, item)).collect();
        let mut decoder = Decoder::new();
        let mut plain = Vec::new();
        for id in above.iter().filter(|id| id.kind == ItemKind::Span) {
            match arrived.get(id) {
                None if missing.contains(id) => {}
                None => self.wanted_of_span(&self.read_here(id)?, &mut wanted, absent)?,
                Some(item) => match decoder.decode(item.codec, &item.bytes, item.plain_len as usize, &mut plain) {
                    Ok(()) => self.wanted_of_span(&plain, &mut wanted, absent)?,
                    Err(_) => drop(absent.insert(*id)),
                },
            }
        }
        let mut seen = HashSet::new();
        wanted.retain(|id| seen.insert(*id));
        for ids in wanted.chunks(limits::IDS_PER_MESSAGE_MAX) {
            let writer = &mut self.writer;
            let mut sink = |item: StoredItem| put(writer, &item);
            let meter = self.meter;
            absent.extend(self.remote.download(ids, &mut sink, &|bytes| meter.moved(bytes))?);
        }
        for item in &held_back {
            put(&mut self.writer, item)?;
        }
        Ok(self.writer.commit()?)
    }

    fn wanted_of_span(
        &self,
        plain: &[u8],
        wanted: &mut Vec<ItemId>,
        absent: &mut HashSet<ItemId>,
    ) -> Result<(), FetchError> {
        let Ok(span) = Span::decode(plain) else {
            let hash = *blake3::hash(plain).as_bytes();
            absent.insert(ItemId { kind: ItemKind::Span, hash });
            return Ok(());
        };
        self.meter.done(span.covers());
        let ids: Vec<ItemId> = span.entries().iter().map(|entry| entry.hash.into()).collect();
        wanted.extend(self.not_here(&ids)?);
        Ok(())
    }

    fn not_here(&self, ids: &[ItemId]) -> Result<Vec<ItemId>, FetchError> {
        let is_here = self.sources.has_each(ids)?;
        Ok(ids.iter().zip(is_here).filter(|(_, is_here)| !is_here).map(|(id, _)| *id).collect())
    }

    fn read_here(&self, id: &ItemId) -> Result<Vec<u8>, ReadError> {
        let mut plain = Vec::new();
        self.sources.read(id, &mut plain)?;
        Ok(plain)
    }

    fn first_absent(&self, manifest: &Manifest, absent: &HashSet<ItemId>) -> Option<ItemId> {
        if absent.is_empty() {
            return None;
        }
        manifest.parts().into_iter().find_map(|part| {
            if absent.contains(&part.id) {
                return Some(part.id);
            }
            let plain = (part.id.kind == ItemKind::Span).then(|| self.read_here(&part.id).ok())??;
            let span = Span::decode(&plain).ok()?;
            span.entries().iter().map(|entry| ItemId::from(entry.hash)).find(|id| absent.contains(id))
        })
    }
}

fn outline(
    pointer: Pointer,
    plain: &[u8],
    new: Option<StoredItem>,
    outlines: &mut Vec<Outline>,
    all: &mut Vec<Fetched>,
) {
    match Manifest::decode(plain) {
        Ok(manifest) if manifest.pointer() == pointer => outlines.push(Outline { pointer, manifest, new }),
        _ => all.push(Fetched { pointer, result: Err(NotFetched::WrongManifest) }),
    }
}

fn put(writer: &mut PackWriter<'_>, item: &StoredItem) -> Result<(), WriteError> {
    writer.put(NewItem { id: item.id, codec: item.codec, plain_len: item.plain_len, stored: &item.bytes })
}
