//! Removing packs on which nobody relies.
//!
//! **For:** the end of a collection.
//!
//! **May touch:** packs, marks and the index.
//!
//! **Must hold:**
//! - a pack is removed while it is marked, and its mark only after the pack and its rows;
//! - the file that goes is the one that was looked at, not another that took its name.
//!
//! **Format:** `docs/formats/collection-v1.md`, "Write order".

use std::fs;
use std::time::Duration;

use super::super::error::StoreError;
use super::super::handles::Handle;
use super::super::layout::{is_absent, sync_dir};
use super::super::lock;
use super::survey::{PackName, Surveyed, for_each_entries};
use super::{CollectProgress, Collection, CollectionError, condemned};
use crate::hash::PackHash;
use crate::item::ItemId;
use crate::steps::{Step, reached};

/// Entries of packs that are removed together.
const ENTRIES_AT_ONCE: u64 = 256 * 1024;
/// A pack that was being written to, on a network file system, this long ago was given up.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(24 * 3600);

impl Collection<'_> {
    /// Removes the packs that are ripe, once what became needed of them since they were condemned is elsewhere.
    pub fn remove_ripe(&mut self, progress: &dyn Fn(CollectProgress)) -> Result<(), CollectionError> {
        self.check_generation()?;
        let is_ripe = |pack: &&Surveyed| {
            pack.is_condemned && matches!(pack.name, PackName::Sealed(hash) if self.ripe.contains(&hash))
        };
        let ripe: Vec<Surveyed> = self.survey.packs.iter().filter(is_ripe).cloned().collect();
        self.ripe.clear();
        let copied = self.rescue(ripe.clone(), progress)?;
        let (going, others): (Vec<_>, Vec<_>) = ripe.into_iter().partition(|pack| copied.done.contains(&pack.no));
        let spared = others.into_iter().filter(|pack| copied.unreadable.contains(&pack.no)).collect::<Vec<_>>();
        self.spare(&spared)?;
        let (mut rest, total) = (going.as_slice(), going.len() as u64);
        while !rest.is_empty() {
            let mut entries = 0;
            let now = rest.iter().take_while(|pack| {
                entries += u64::from(pack.entry_count);
                entries <= ENTRIES_AT_ONCE
            });
            let (now, later) = rest.split_at(now.count().max(1));
            self.remove(now)?;
            rest = later;
            progress(CollectProgress::Removing { done: total - rest.len() as u64, total });
        }
        Ok(())
    }

    /// Takes away the marks of packs that cannot go.
    fn spare(&mut self, packs: &[Surveyed]) -> Result<(), CollectionError> {
        let hashes = hashes(packs);
        condemned::unmark(&self.store.layout, &hashes)?;
        for hash in &hashes {
            lock(&self.store.known).with_index(&self.store.layout, |index| index.spare(hash))?;
        }
        let nos: Vec<i64> = packs.iter().map(|pack| pack.no).collect();
        self.survey.packs.iter_mut().filter(|pack| nos.contains(&pack.no)).for_each(|pack| pack.is_condemned = false);
        Ok(())
    }

    fn remove(&mut self, packs: &[Surveyed]) -> Result<(), CollectionError> {
        let layout = &self.store.layout;
        let mut gone: Vec<(i64, Vec<(ItemId, u32)>)> = Vec::new();
        let mut unmarked = Vec::new();
        for surveyed in packs {
            let PackName::Sealed(hash) = surveyed.name else { continue };
            let Handle::Pack(pack) = self.store.handle(surveyed.no)? else { continue };
            if !pack.has_its_path() {
                // Another collection removed it, or something else has its name.
                continue;
            }
            let mut entries = Vec::new();
            let read = for_each_entries::<CollectionError>(&pack, surveyed.entry_count, |some| {
                entries.extend(some.iter().map(|(entry_no, entry)| (entry.id, *entry_no)));
                Ok(())
            })?;
            if read.is_err() {
                continue;
            }
            let path = layout.sealed_pack(&hash);
            let len = fs::metadata(&path).map_or(0, |metadata| metadata.len());
            match fs::remove_file(&path) {
                Err(source) if !is_absent(&source) => return Err(StoreError::io(&path, source).into()),
                _ => {}
            }
            self.collected.removed_packs += 1;
            self.collected.removed_len += len;
            unmarked.push(hash);
            gone.push((surveyed.no, entries));
        }
        let dir = layout.packs();
        sync_dir(&dir).map_err(|source| StoreError::io(&dir, source))?;
        reached(Step::CollectRemoved);
        lock(&self.store.known).with_index(layout, |index| index.forget_packs(&gone))?;
        gone.iter().for_each(|(no, _)| lock(&self.store.handles).forget(*no));
        condemned::unmark(layout, &unmarked)?;
        reached(Step::CollectDone);
        self.survey.packs.retain(|pack| !gone.iter().any(|(no, _)| *no == pack.no));
        Ok(())
    }

    /// Removes marks of packs that are gone, and packs on a share whose writers are.
    pub fn clear_up(&mut self) -> Result<(), CollectionError> {
        let layout = &self.store.layout;
        let marked = layout.list_condemned()?.into_iter();
        let left: Vec<PackHash> = marked
            .filter(|hash| fs::metadata(layout.sealed_pack(hash)).is_err_and(|error| is_absent(&error)))
            .collect();
        if !left.is_empty() {
            condemned::unmark(layout, &left)?;
        }
        for path in layout.list_temporary_packs()? {
            let Ok(metadata) = fs::metadata(&path) else { continue };
            let written = metadata.modified().ok();
            let age = written.and_then(|written| self.now.duration_since(written).ok());
            if age >= Some(self.grace.max(GIVEN_UP_AFTER)) && fs::remove_file(&path).is_ok() {
                self.collected.removed_len += metadata.len();
            }
        }
        Ok(())
    }
}

fn hashes(packs: &[Surveyed]) -> Vec<PackHash> {
    let sealed = packs.iter().filter_map(|pack| match pack.name {
        PackName::Sealed(hash) => Some(hash),
        PackName::Open(_) => None,
    });
    sealed.collect()
}
