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
use super::open_pack::{Continued, OpenPack};
use super::sealing::Sealing;
use super::whole_pack::WholePack;
use super::{Sharing, Store, lock};
use crate::codec::Codec;
use crate::item::{ItemId, ItemKind};
use crate::limits;
use crate::pack_format::{Domain, Entry, StoredCheck};
use crate::steps::{Step, reached};

/// A pack is sealed once it has this many entries, so that its table stays quick to check.
const PACK_ENTRIES_TARGET: usize = 64 * 1024;
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
    pack: Option<Growing>,
    /// The pack before it, while the disk takes it in.
    sealing: Option<Sealing>,
    /// What this writer put into the pack at hand, and its plain length: pages of one name may
    /// have several.
    own: HashSet<(ItemId, u32)>,
    /// What the index does not know yet.
    rows: NewRows,
    uncommitted: usize,
    has_failed: bool,
}

#[derive(Debug)]
enum Growing {
    Open(Box<OpenPack>),
    Whole(Box<WholePack>),
}

impl<'s> PackWriter<'s> {
    pub(super) fn new(store: &'s Store, domain: Domain) -> PackWriter<'s> {
        PackWriter {
            store,
            domain,
            pack: None,
            sealing: None,
            own: HashSet::new(),
            rows: NewRows::default(),
            uncommitted: 0,
            has_failed: false,
        }
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
        if self.own.contains(&(item.id, item.plain_len)) {
            return Ok(());
        }
        self.guarded(|writer| {
            let entry_no = writer.append(&item)?;
            writer.own.insert((item.id, item.plain_len));
            writer.rows.push(&item.id, entry_no);
            writer.rows.manifests.extend(oid.map(|oid| (oid, entry_no)));
            Ok(())
        })
    }

    /// Makes everything put so far survive the death of this process.
    ///
    /// # Errors
    ///
    /// As for [`PackWriter::put`]; what was put since the last commit may then be lost.
    pub fn commit(&mut self) -> Result<(), WriteError> {
        self.guarded(|writer| match writer.pack.take() {
            None => Ok(()),
            Some(Growing::Open(mut pack)) => {
                let result = writer.commit_open(&mut pack);
                writer.pack = Some(Growing::Open(pack));
                result
            }
            Some(Growing::Whole(pack)) => writer.publish(*pack),
        })
    }

    /// Commits, and makes everything survive a power loss.
    ///
    /// # Errors
    ///
    /// As for [`PackWriter::put`].
    pub fn sync(&mut self) -> Result<(), WriteError> {
        self.guarded(Self::finish_sealing)?;
        self.commit()?;
        self.guarded(|writer| {
            let Some(Growing::Open(pack)) = &mut writer.pack else { return Ok(()) };
            pack.trim()?;
            pack.sync()?;
            let (name, count) = (*pack.name(), pack.entries().len() as u32);
            let mut known = lock(&writer.store.known);
            known.with_index(&writer.store.layout, |index| match index.pack_named(&name)? {
                Some(row) if row.vouched < count => index.vouch(row.no, count),
                _ => Ok(()),
            })?;
            Ok(())
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

    /// Appends an item to the pack at hand, and returns the number of its entry.
    fn append(&mut self, item: &NewItem<'_>) -> Result<u32, WriteError> {
        let is_full = match &self.pack {
            None => false,
            Some(Growing::Open(pack)) => is_full(pack.end(), pack.entries().len()),
            Some(Growing::Whole(pack)) => is_full(pack.end(), pack.entries().len()),
        };
        if is_full {
            self.seal()?;
        }
        let pack = match self.pack.take() {
            Some(pack) => pack,
            None => self.begin()?,
        };
        let entry = |place| Entry {
            id: item.id,
            codec: item.codec,
            place,
            stored_len: item.stored.len() as u32,
            plain_len: item.plain_len,
            check: stored_check(item),
        };
        match self.pack.insert(pack) {
            Growing::Open(pack) => {
                pack.append(entry(pack.end()), item.stored)?;
                self.uncommitted += 1;
                if self.uncommitted >= LOG_STEP {
                    pack.flush()?;
                    self.uncommitted = 0;
                }
                Ok(pack.entries().len() as u32 - 1)
            }
            Growing::Whole(pack) => {
                pack.append(entry(pack.end()), item.stored)?;
                Ok(pack.entries().len() as u32 - 1)
            }
        }
    }

    fn begin(&mut self) -> Result<Growing, WriteError> {
        if !self.store.is_writable {
            if lock(&self.store.known).is_full() {
                let path = self.store.layout.dir.clone();
                return Err(WriteError::Full { path, source: io::ErrorKind::StorageFull.into() });
            }
            return Err(WriteError::ReadOnly { dir: self.store.layout.dir.clone() });
        }
        self.store.layout.create()?;
        self.own.clear();
        match self.store.sharing {
            Sharing::Network => Ok(Growing::Whole(Box::new(WholePack::create(&self.store.layout, self.domain)?))),
            Sharing::Machine => match self.take_over()? {
                Some(pack) => Ok(Growing::Open(pack)),
                None => Ok(Growing::Open(Box::new(OpenPack::create(&self.store.layout, self.domain)?))),
            },
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

    fn commit_open(&mut self, pack: &mut OpenPack) -> Result<(), WriteError> {
        pack.flush()?;
        self.uncommitted = 0;
        self.add_rows(pack)
    }

    fn add_rows(&mut self, pack: &OpenPack) -> Result<(), WriteError> {
        if self.rows.items.is_empty() {
            return Ok(());
        }
        let count = pack.entries().len() as u32;
        let rows = &mut self.rows;
        let no = lock(&self.store.known)
            .with_index(&self.store.layout, |index| index.add_to_open(pack.name(), count, None, rows))?;
        *rows = NewRows::default();
        reached(Step::PackIndexed);
        // This very process wrote or checked every byte of it.
        if let Handle::Pack(pack) = self.store.handle(no)? {
            pack.vouch(count);
        }
        Ok(())
    }

    fn seal(&mut self) -> Result<(), WriteError> {
        match self.pack.take() {
            None => Ok(()),
            Some(Growing::Whole(pack)) => self.publish(*pack),
            Some(Growing::Open(mut pack)) => {
                self.commit_open(&mut pack)?;
                // One at a time: what the disk has not yet taken in stays bounded.
                self.finish_sealing()?;
                self.sealing = Some(Sealing::start(pack)?);
                Ok(())
            }
        }
    }

    /// Waits for the pack that is being sealed, and gives it its final name.
    fn finish_sealing(&mut self) -> Result<(), WriteError> {
        let Some(sealing) = self.sealing.take() else { return Ok(()) };
        let (pack, hash) = sealing.wait()?;
        let (count, mut no_rows) = (pack.entries().len() as u32, NewRows::default());
        lock(&self.store.known)
            .with_index(&self.store.layout, |index| index.add_to_open(pack.name(), count, Some(&hash), &mut no_rows))?;
        reached(Step::PackIndexed);
        pack.rename(&hash)
    }

    fn publish(&mut self, pack: WholePack) -> Result<(), WriteError> {
        let count = pack.entries().len() as u32;
        let hash = pack.publish()?;
        let rows = &mut self.rows;
        let no =
            lock(&self.store.known).with_index(&self.store.layout, |index| index.add_to_sealed(&hash, count, rows))?;
        // A damaged pack of the same items had the same name, and may be open.
        lock(&self.store.handles).forget(no);
        *rows = NewRows::default();
        reached(Step::PackIndexed);
        Ok(())
    }
}

impl Drop for PackWriter<'_> {
    fn drop(&mut self) {
        // A pack that is not sealed, and room that stays reserved, are left to the next writer.
        let _ = self.finish_sealing();
        if let Some(Growing::Open(pack)) = &mut self.pack {
            let _ = pack.trim();
        }
    }
}

fn is_full(payload_len: u64, entry_count: usize) -> bool {
    payload_len >= limits::PACK_PAYLOAD_TARGET || entry_count >= PACK_ENTRIES_TARGET
}

/// Checks that the item's lengths are possible; for a manifest, returns the file it is about.
fn check(item: &NewItem<'_>) -> Result<Option<crate::hash::FileHash>, WriteError> {
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
