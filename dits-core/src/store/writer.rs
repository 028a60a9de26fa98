//! Writing items into packs.
//!
//! **For:** `git add`, fetches and uploads: many items, then a promise that they are kept.
//!
//! **May touch:** packs and the index.
//!
//! **Must hold:**
//! - after [`PackWriter::commit`] the items survive the death of this process, after
//!   [`PackWriter::sync`] a power loss;
//! - a writer that failed once takes nothing more.
//!
//! **Format:** `docs/formats/pack-v1.md`, `docs/formats/store-v1.md`.

use std::collections::HashSet;
use std::io;

use super::error::{StoreError, WriteError};
use super::find::oid_of_stored;
use super::handles::Handle;
use super::index::NewRows;
use super::layout::{Layout, OpenName};
use super::open_pack::{Continued, OpenPack};
use super::sealing::{Sealing, Syncing};
use super::whole_pack::WholePack;
use super::{Sharing, Store, lock};
use crate::codec::Codec;
use crate::hash::{FileHash, PackHash};
use crate::item::{ItemId, ItemKind};
use crate::limits;
use crate::pack_format::{Domain, Entry, StoredCheck, Trailer};
use crate::steps::{Step, reached};

/// A pack is sealed once it has this many entries, so that its table stays quick to check.
const PACK_ENTRIES_TARGET: usize = 64 * 1024;
/// The same for a pack that one file has to itself: some 19 GiB. What is known of a pack while it is written
/// stands in memory, 200 bytes an entry.
const FILE_ENTRIES_MAX: usize = 256 * 1024;
/// Entries after which the side log is written, also in the middle of a file.
const LOG_STEP: usize = 512;

/// An item to be stored, encoded by the caller.
#[derive(Debug, Clone, Copy)]
pub struct NewItem<'a> {
    /// Its name.
    pub id: ItemId,
    /// How `stored` is written down.
    pub codec: Codec,
    /// Length of the plain bytes.
    pub plain_len: u32,
    /// The bytes to store. That they are what `id` names is the caller's to know.
    pub stored: &'a [u8],
}

/// Writes items of one domain into packs.
///
/// Shape: [`put`](PackWriter::put) any number of items, [`commit`](PackWriter::commit) at the
/// end of each file, [`sync`](PackWriter::sync) before the process ends. What was put and
/// never committed may be lost or kept.
#[derive(Debug)]
pub struct PackWriter<'s> {
    store: &'s Store,
    domain: Domain,
    /// The pack at hand.
    pack: Option<Filling>,
    /// The pack that one file has for its chunks alone.
    file: Option<FilePack>,
    /// The pack before it, while the disk takes it in.
    sealing: Option<Sealing>,
    has_failed: bool,
}

/// A pack that is being filled, and what the index does not know of it yet.
#[derive(Debug)]
struct Filling {
    pack: Growing,
    /// What was put into it, and its plain length: pages of one name may have several.
    own: HashSet<(ItemId, u32)>,
    rows: NewRows,
    uncommitted: usize,
    /// What the disk is taking in of it.
    syncing: Option<Syncing>,
    /// How far it was told to.
    sync_started: u64,
}

#[derive(Debug)]
enum Growing {
    Open(Box<OpenPack>),
    Whole(Box<WholePack>),
}

/// The pack of one file: made with its first chunk.
#[derive(Debug, Default)]
struct FilePack(Option<Filling>);

impl<'s> PackWriter<'s> {
    pub(super) fn new(store: &'s Store, domain: Domain) -> PackWriter<'s> {
        PackWriter { store, domain, pack: None, file: None, sealing: None, has_failed: false }
    }

    /// Gives the chunks that are put from now on, until [`PackWriter::end_file`], a pack of their own, so that
    /// its payload can be a file byte for byte. All else goes where it always goes.
    ///
    /// A store that is written in whole packs has none; there this changes nothing.
    pub fn begin_file(&mut self) {
        if self.store.sharing == Sharing::Machine {
            self.file.get_or_insert_default();
        }
    }

    /// Length in bytes of the pack that the file has to itself so far; `None` if it has none.
    pub fn file_len(&self) -> Option<u64> {
        let FilePack(filling) = self.file.as_ref()?;
        Some(filling.as_ref().map_or(0, Filling::end))
    }

    /// Ends the pack that the file has to itself, if it has one; what was put into it stays there.
    ///
    /// # Errors
    ///
    /// As for [`PackWriter::put`].
    pub fn end_file(&mut self) -> Result<(), WriteError> {
        self.guarded(|writer| match writer.file.take() {
            Some(FilePack(Some(filling))) => writer.seal(filling),
            _ => Ok(()),
        })
    }

    /// Stores an item.
    ///
    /// One that this writer itself put into the same pack is passed over. Whether the store
    /// has it from before is the caller's to ask ([`Store::has`]).
    ///
    /// # Errors
    ///
    /// [`WriteError`] if the item is malformed, the disk is full, or the store cannot be
    /// written to. What was committed before is safe.
    pub fn put(&mut self, item: NewItem<'_>) -> Result<(), WriteError> {
        let oid = check(&item)?;
        let has_own = |filling: &Filling| filling.own.contains(&(item.id, item.plain_len));
        let file = self.file.as_ref().and_then(|FilePack(filling)| filling.as_ref());
        if self.pack.as_ref().is_some_and(has_own) || file.is_some_and(has_own) {
            return Ok(());
        }
        self.guarded(|writer| match writer.file.take() {
            Some(mut file) if item.id.kind == ItemKind::Chunk => {
                let result = writer.append_to_file(&mut file, &item);
                writer.file = Some(file);
                result
            }
            file => {
                writer.file = file;
                writer.append(&item, oid)
            }
        })
    }

    /// Makes everything put so far survive the death of this process.
    ///
    /// # Errors
    ///
    /// As for [`PackWriter::put`]; what was put since the last commit may then be lost.
    pub fn commit(&mut self) -> Result<(), WriteError> {
        self.guarded(|writer| {
            // Chunks before what names them.
            if let Some(filling) = writer.file.as_mut().and_then(|FilePack(filling)| filling.as_mut()) {
                filling.commit(writer.store)?;
            }
            match writer.pack.take() {
                Some(filling) if matches!(filling.pack, Growing::Whole(_)) => writer.seal(filling),
                Some(mut filling) => {
                    let result = filling.commit(writer.store);
                    writer.pack = Some(filling);
                    result
                }
                None => Ok(()),
            }
        })
    }

    /// Commits, and makes everything survive a power loss.
    ///
    /// # Errors
    ///
    /// As for [`PackWriter::put`].
    pub fn sync(&mut self) -> Result<(), WriteError> {
        self.guarded(|writer| writer.finish_sealing().map(drop))?;
        self.commit()?;
        self.guarded(|writer| {
            let file = writer.file.as_mut().and_then(|FilePack(filling)| filling.as_mut());
            file.into_iter().chain(&mut writer.pack).try_for_each(|filling| filling.sync(writer.store))
        })
    }

    fn guarded(&mut self, body: impl FnOnce(&mut Self) -> Result<(), WriteError>) -> Result<(), WriteError> {
        if self.has_failed {
            return Err(WriteError::FailedBefore { dir: self.store.layout.dir.clone() });
        }
        let result = body(self);
        self.has_failed = result.is_err();
        result
    }

    /// Appends an item to the pack at hand.
    fn append(&mut self, item: &NewItem<'_>, oid: Option<FileHash>) -> Result<(), WriteError> {
        if let Some(full) = self.pack.take_if(|filling| filling.is_full()) {
            self.seal(full)?;
        }
        let mut filling = match self.pack.take() {
            Some(filling) => filling,
            None => Filling::new(self.begin()?),
        };
        let result = filling.append(item, oid);
        self.pack = Some(filling);
        result
    }

    /// Appends a chunk to the pack of its file.
    fn append_to_file(&mut self, file: &mut FilePack, chunk: &NewItem<'_>) -> Result<(), WriteError> {
        if let Some(full) = file.0.take_if(|filling| filling.entry_count() >= FILE_ENTRIES_MAX) {
            self.seal(full)?;
        }
        let mut filling = match file.0.take() {
            Some(filling) => filling,
            None => Filling::new(self.new_pack()?),
        };
        let result = filling.append(chunk, None).and_then(|()| filling.keep_pace());
        file.0 = Some(filling);
        result
    }

    fn begin(&mut self) -> Result<Growing, WriteError> {
        self.make_ready()?;
        match self.store.sharing {
            Sharing::Network => Ok(Growing::Whole(Box::new(WholePack::create(&self.store.layout, self.domain)?))),
            Sharing::Machine => match self.take_over()? {
                Some(pack) => Ok(Growing::Open(pack)),
                None => self.new_pack(),
            },
        }
    }

    fn new_pack(&mut self) -> Result<Growing, WriteError> {
        self.make_ready()?;
        Ok(Growing::Open(Box::new(OpenPack::create(&self.store.layout, self.domain)?)))
    }

    /// Makes sure that the store can take a pack.
    fn make_ready(&self) -> Result<(), WriteError> {
        if self.store.is_writable {
            return Ok(self.store.layout.create()?);
        }
        let path = self.store.layout.dir.clone();
        match lock(&self.store.known).is_full() {
            true => Err(WriteError::Full { path, source: io::ErrorKind::StorageFull.into() }),
            false => Err(WriteError::ReadOnly { dir: path }),
        }
    }

    /// Looks for an open pack that another process left.
    fn take_over(&mut self) -> Result<Option<Box<OpenPack>>, WriteError> {
        let layout = &self.store.layout;
        let mut names = layout.list_logs()?.into_iter();
        let mut taken = None;
        for name in names.by_ref() {
            let row = lock(&self.store.known).with_index(layout, |index| index.pack_named(&name))?;
            if row.as_ref().is_some_and(|row| row.is_left) {
                continue;
            }
            let vouched = row.as_ref().map_or(0, |row| row.vouched);
            match OpenPack::take_over(layout, &name, self.domain, vouched)? {
                Continued::Unusable => {}
                Continued::Damaged => {
                    if let Some(row) = row {
                        lock(&self.store.known).with_index(layout, |index| index.leave(row.no))?;
                    }
                }
                Continued::Pack(pack) => {
                    self.catch_up(&pack)?;
                    taken = Some(pack);
                    break;
                }
            }
        }
        names.try_for_each(|name| OpenPack::remove_left_log(layout, &name))?;
        Ok(taken)
    }

    /// Makes the index agree with a pack that was taken over.
    fn catch_up(&mut self, pack: &OpenPack) -> Result<(), StoreError> {
        let layout = &self.store.layout;
        let kept = pack.entries().len() as u32;
        let mut known = lock(&self.store.known);
        let row = known.with_index(layout, |index| index.pack_named(pack.name()))?;
        if let Some(row) = row
            && (row.known > kept || row.hash.is_some())
        {
            known.with_index(layout, |index| index.truncate(row.no, kept))?;
        }
        // What the dead writer logged and did not index; the rows may be there already.
        known.refresh(layout)
    }

    /// Seals the open pack `name` if nobody writes to it and it has exactly `entry_count` entries; returns the name
    /// it has then.
    pub(super) fn seal_left(&mut self, name: &OpenName, entry_count: u32) -> Result<Option<PackHash>, WriteError> {
        let row = lock(&self.store.known).with_index(&self.store.layout, |index| index.pack_named(name))?;
        let Some(row) = row.filter(|row| !row.is_left) else { return Ok(None) };
        match OpenPack::take_over(&self.store.layout, name, self.domain, row.vouched)? {
            Continued::Pack(pack) if pack.entries().len() as u32 == entry_count => {
                self.catch_up(&pack)?;
                self.seal(Filling::new(Growing::Open(pack)))?;
                self.finish_sealing()
            }
            Continued::Pack(_) | Continued::Damaged | Continued::Unusable => Ok(None),
        }
    }

    /// Ends a pack: nothing more goes into it.
    fn seal(&mut self, mut filling: Filling) -> Result<(), WriteError> {
        filling.set_apart(&self.store.layout)?;
        filling.commit(self.store)?;
        filling.settle()?;
        match filling.pack {
            Growing::Whole(pack) => self.publish(*pack, filling.rows),
            Growing::Open(pack) => {
                // One at a time: what the disk has not yet taken in stays bounded.
                self.finish_sealing()?;
                self.sealing = Some(Sealing::start(pack)?);
                Ok(())
            }
        }
    }

    /// Waits for the pack that is being sealed, and gives it its final name.
    fn finish_sealing(&mut self) -> Result<Option<PackHash>, WriteError> {
        let Some(sealing) = self.sealing.take() else { return Ok(None) };
        let (pack, hash) = sealing.wait()?;
        let (count, mut no_rows) = (pack.entries().len() as u32, NewRows::default());
        lock(&self.store.known)
            .with_index(&self.store.layout, |index| index.add_to_open(pack.name(), count, Some(&hash), &mut no_rows))?;
        reached(Step::PackIndexed);
        pack.rename(&hash)?;
        Ok(Some(hash))
    }

    fn publish(&mut self, pack: WholePack, mut rows: NewRows) -> Result<(), WriteError> {
        let count = pack.entries().len() as u32;
        let hash = pack.publish()?;
        let no = lock(&self.store.known)
            .with_index(&self.store.layout, |index| index.add_to_sealed(&hash, count, &mut rows))?;
        // A damaged pack of the same items had the same name, and may be open.
        lock(&self.store.handles).forget(no);
        reached(Step::PackIndexed);
        Ok(())
    }
}

impl Drop for PackWriter<'_> {
    fn drop(&mut self) {
        // A pack that is not sealed, and room that stays reserved, are left to the next writer.
        let _ = self.finish_sealing();
        let file = self.file.take().and_then(|FilePack(filling)| filling);
        for mut filling in file.into_iter().chain(self.pack.take()) {
            let _ = filling.settle();
            if let Growing::Open(mut pack) = filling.pack {
                let _ = pack.trim();
            }
        }
    }
}

impl Growing {
    fn entries(&self) -> &[Entry] {
        match self {
            Growing::Open(pack) => pack.entries(),
            Growing::Whole(pack) => pack.entries(),
        }
    }

    /// The trailer that the pack would have if it were sealed now.
    fn trailer(&self) -> Trailer {
        match self {
            Growing::Open(pack) => pack.table().1,
            Growing::Whole(pack) => pack.table().1,
        }
    }

    fn read_back(&mut self, place: u64, stored: &mut [u8]) -> Result<(), WriteError> {
        match self {
            Growing::Open(pack) => pack.read_back(place, stored),
            Growing::Whole(pack) => pack.read_back(place, stored),
        }
    }
}

impl Filling {
    fn new(pack: Growing) -> Filling {
        let (own, rows) = (HashSet::new(), NewRows::default());
        Filling { pack, own, rows, uncommitted: 0, syncing: None, sync_started: 0 }
    }

    fn end(&self) -> u64 {
        match &self.pack {
            Growing::Open(pack) => pack.end(),
            Growing::Whole(pack) => pack.end(),
        }
    }

    fn entry_count(&self) -> usize {
        self.pack.entries().len()
    }

    /// Makes sure that the pack will not get the name of one that is going to be removed: an item that it has twice
    /// gives it another.
    fn set_apart(&mut self, layout: &Layout) -> Result<(), WriteError> {
        let condemned = layout.list_condemned()?;
        while !condemned.is_empty() && condemned.contains(&self.pack.trailer().hash) {
            let shortest = self.pack.entries().iter().min_by_key(|entry| entry.stored_len);
            let Some(Entry { id, codec, place, stored_len, plain_len, .. }) = shortest.copied() else { return Ok(()) };
            let mut stored = vec![0; stored_len as usize];
            self.pack.read_back(place, &mut stored)?;
            let item = NewItem { id, codec, plain_len, stored: &stored };
            self.append(&item, check(&item)?)?;
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.end() >= limits::PACK_PAYLOAD_TARGET || self.entry_count() >= PACK_ENTRIES_TARGET
    }

    fn append(&mut self, item: &NewItem<'_>, oid: Option<FileHash>) -> Result<(), WriteError> {
        let entry = Entry {
            id: item.id,
            codec: item.codec,
            place: self.end(),
            stored_len: item.stored.len() as u32,
            plain_len: item.plain_len,
            check: stored_check(item),
        };
        let entry_no = match &mut self.pack {
            Growing::Open(pack) => {
                pack.append(entry, item.stored)?;
                self.uncommitted += 1;
                if self.uncommitted >= LOG_STEP {
                    pack.flush()?;
                    self.uncommitted = 0;
                }
                pack.entries().len() as u32 - 1
            }
            Growing::Whole(pack) => {
                pack.append(entry, item.stored)?;
                pack.entries().len() as u32 - 1
            }
        };
        self.own.insert((item.id, item.plain_len));
        self.rows.push(&item.id, entry_no);
        self.rows.manifests.extend(oid.map(|oid| (oid, entry_no)));
        Ok(())
    }

    /// Makes what was put into an open pack survive the death of this process. A whole one is
    /// seen by nobody before it is published.
    fn commit(&mut self, store: &Store) -> Result<(), WriteError> {
        let Growing::Open(pack) = &mut self.pack else { return Ok(()) };
        pack.flush()?;
        self.uncommitted = 0;
        if self.rows.items.is_empty() {
            return Ok(());
        }
        let (count, rows) = (pack.entries().len() as u32, &mut self.rows);
        let no =
            lock(&store.known).with_index(&store.layout, |index| index.add_to_open(pack.name(), count, None, rows))?;
        *rows = NewRows::default();
        reached(Step::PackIndexed);
        // This very process wrote or checked every byte of it.
        if let Handle::Pack(pack) = store.handle(no)? {
            pack.vouch(count);
        }
        Ok(())
    }

    /// Has the disk take in what was written, each time that is as much as a pack of the usual length: what it
    /// has not taken in stays bounded.
    fn keep_pace(&mut self) -> Result<(), WriteError> {
        let end = self.end();
        if end - self.sync_started < limits::PACK_PAYLOAD_TARGET {
            return Ok(());
        }
        self.settle()?;
        if let Growing::Open(pack) = &mut self.pack {
            pack.flush()?;
            self.syncing = Some(Syncing::start(pack)?);
            self.sync_started = end;
        }
        Ok(())
    }

    /// Waits for what the disk was told to take in. Its failure shows only once.
    fn settle(&mut self) -> Result<(), WriteError> {
        match (self.syncing.take(), &self.pack) {
            (Some(syncing), Growing::Open(pack)) => syncing.wait(pack),
            _ => Ok(()),
        }
    }

    fn sync(&mut self, store: &Store) -> Result<(), WriteError> {
        self.settle()?;
        let Growing::Open(pack) = &mut self.pack else { return Ok(()) };
        pack.trim()?;
        pack.sync()?;
        let (name, count) = (*pack.name(), pack.entries().len() as u32);
        lock(&store.known).with_index(&store.layout, |index| match index.pack_named(&name)? {
            Some(row) if row.vouched < count => index.vouch(row.no, count),
            _ => Ok(()),
        })?;
        Ok(())
    }
}

/// Checks that the item's lengths are possible; for a manifest, returns the file it is about.
fn check(item: &NewItem<'_>) -> Result<Option<FileHash>, WriteError> {
    let malformed = WriteError::Malformed(item.id);
    let plain_len = item.plain_len as usize;
    let fits = match item.codec {
        Codec::Raw => item.stored.len() == plain_len,
        Codec::Zstd => (1..plain_len).contains(&item.stored.len()),
    };
    if !fits || plain_len == 0 || plain_len > item.id.kind.plain_len_max() {
        return Err(malformed);
    }
    match item.id.kind {
        ItemKind::Manifest => oid_of_stored(item.codec, item.stored, item.plain_len).map(Some).ok_or(malformed),
        _ => Ok(None),
    }
}

fn stored_check(item: &NewItem<'_>) -> StoredCheck {
    match (item.codec, item.id.kind) {
        // A page's id is no plain hash of its bytes.
        (Codec::Raw, kind) if kind != ItemKind::Page => StoredCheck::of_raw(&item.id.hash),
        _ => StoredCheck::of(item.stored),
    }
}
