//! Writing what is to stay of packs that are to go into other packs.
//!
//! **For:** the two times that is done: before packs are condemned, and for what became needed since.
//!
//! **May touch:** packs; the index through the writer.
//!
//! **Must hold:**
//! - a pack of which something that is needed can be read nowhere stays;
//! - a copy is left out only if another one that is to stay was just read, and is good;
//! - all copies are on stable storage when a function of this module returns.

use std::collections::{HashMap, HashSet};

use super::super::error::{PackProblem, ReadError, StoreError, WriteError};
use super::super::find::{Copy, Found, Located};
use super::super::handles::Handle;
use super::super::pack::Pack;
use super::super::writer::{NewItem, PackWriter};
use super::super::{Sharing, Store, lock};
use super::choice::Chosen;
use super::survey::{PackName, Surveyed, for_each_entries};
use super::{CollectProgress, Collection, CollectionError, condemned};
use crate::hash::PackHash;
use crate::item::ItemId;
use crate::pack_format::Entry;
use crate::steps::{Step, reached};

/// Entries of which copies are looked up at once.
const LOOKED_UP_AT_ONCE: usize = 512;

/// Why packs are copied from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// They are to be condemned.
    Condemn,
    /// They were condemned, and go now.
    Remove,
}

/// What became of packs that were to be copied from.
#[derive(Debug, Default)]
pub(super) struct Copied {
    /// All that is needed of them is elsewhere.
    pub done: HashSet<i64>,
    /// Something that is needed cannot be read.
    pub unreadable: HashSet<i64>,
}

/// Whether what is to stay of a pack, or of an entry, is elsewhere now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Elsewhere,
    Unreadable,
}

impl Collection<'_> {
    /// Chooses packs, writes what is to stay of them into others, `copy_len_max` bytes at most, and marks
    /// them as condemned.
    pub fn condemn(&mut self, copy_len_max: u64, progress: &dyn Fn(CollectProgress)) -> Result<(), CollectionError> {
        self.check_generation()?;
        let mut chosen = Vec::new();
        for Chosen { pack, .. } in self.choose(copy_len_max) {
            chosen.extend(self.sealed(pack)?);
        }
        let copied = self.copy_all(Purpose::Condemn, chosen, progress)?;
        if copied.done.is_empty() {
            return Ok(());
        }
        reached(Step::CollectCopied);
        self.check_generation()?;
        let mut hashes: Vec<PackHash> = Vec::new();
        for pack in self.survey.packs.iter_mut().filter(|pack| copied.done.contains(&pack.no)) {
            let PackName::Sealed(hash) = pack.name else { continue };
            hashes.push(hash);
            pack.is_condemned = true;
        }
        condemned::mark(&self.store.layout, &hashes)?;
        Ok(lock(&self.store.known).condemn(&hashes)?)
    }

    /// Writes what became needed of ripe packs since they were condemned into others.
    pub(super) fn rescue(
        &mut self,
        ripe: Vec<Surveyed>,
        progress: &dyn Fn(CollectProgress),
    ) -> Result<Copied, CollectionError> {
        let copied = self.copy_all(Purpose::Remove, ripe, progress)?;
        reached(Step::CollectRescued);
        self.check_generation()?;
        Ok(copied)
    }

    /// Seals a chosen pack that is open; `None` if it cannot be now.
    fn sealed(&mut self, pack: Surveyed) -> Result<Option<Surveyed>, CollectionError> {
        let PackName::Open(name) = pack.name else { return Ok(Some(pack)) };
        let sealed = match self.store.writer(pack.domain).seal_left(&name, pack.entry_count) {
            Ok(Some(hash)) => hash,
            Ok(None) => return Ok(None),
            Err(WriteError::Full { .. }) => {
                self.collected.is_disk_full = true;
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        lock(&self.store.handles).forget(pack.no);
        let name = PackName::Sealed(sealed);
        self.survey.packs.iter_mut().filter(|known| known.no == pack.no).for_each(|known| known.name = name);
        Ok(Some(Surveyed { name, ..pack }))
    }

    fn copy_all(
        &mut self,
        purpose: Purpose,
        mut packs: Vec<Surveyed>,
        progress: &dyn Fn(CollectProgress),
    ) -> Result<Copied, CollectionError> {
        let mut copied = Copied::default();
        let total = match purpose {
            Purpose::Condemn => packs.iter().filter_map(|pack| self.marks.kept(pack.no)).map(|(_, len)| len).sum(),
            Purpose::Remove => 0,
        };
        // One writer for each domain, and within it the order in which they were chosen.
        packs.sort_by_key(|pack| pack.domain);
        let before = self.collected.written_len;
        for of_one_domain in packs.chunk_by(|a, b| a.domain == b.domain) {
            let mut writer = self.store.writer(of_one_domain[0].domain);
            let result = self.copy_group(purpose, of_one_domain, &mut writer, &mut copied, &|done| {
                if purpose == Purpose::Condemn {
                    progress(CollectProgress::Copying { done: done - before, total });
                }
            });
            match result {
                Err(CollectionError::Write(WriteError::Full { .. })) => self.collected.is_disk_full = true,
                result => result?,
            }
        }
        if !copied.done.is_empty() {
            // Copies that were there before may be in packs that another process has not synced.
            self.store.sync_all()?;
        }
        Ok(copied)
    }

    /// Copies from packs of one domain. On a full disk those that are done by then count.
    fn copy_group(
        &mut self,
        purpose: Purpose,
        packs: &[Surveyed],
        writer: &mut PackWriter<'_>,
        copied: &mut Copied,
        progress: &dyn Fn(u64),
    ) -> Result<(), CollectionError> {
        let mut uncommitted = Vec::new();
        for pack in packs {
            let before = self.collected.written_len;
            match self.copy(purpose, pack, writer, progress)? {
                Outcome::Unreadable => drop(copied.unreadable.insert(pack.no)),
                Outcome::Elsewhere if self.collected.written_len == before => drop(copied.done.insert(pack.no)),
                Outcome::Elsewhere if self.store.sharing == Sharing::Machine => {
                    writer.commit()?;
                    copied.done.insert(pack.no);
                }
                // There a commit ends the pack.
                Outcome::Elsewhere => uncommitted.push(pack.no),
            }
        }
        writer.sync()?;
        copied.done.extend(uncommitted);
        Ok(())
    }

    fn copy(
        &mut self,
        purpose: Purpose,
        surveyed: &Surveyed,
        writer: &mut PackWriter<'_>,
        progress: &dyn Fn(u64),
    ) -> Result<Outcome, CollectionError> {
        let Handle::Pack(pack) = self.store.handle(surveyed.no)? else { return Ok(Outcome::Unreadable) };
        let (mut outcome, mut stored) = (Outcome::Elsewhere, Vec::new());
        let looked = for_each_entries::<CollectionError>(&pack, surveyed.entry_count, |entries| {
            let live: Vec<&(u32, Entry)> =
                entries.iter().filter(|(entry_no, _)| self.marks.is_live(surveyed.no, *entry_no)).collect();
            for live in live.chunks(LOOKED_UP_AT_ONCE) {
                if outcome == Outcome::Unreadable {
                    break;
                }
                let elsewhere = self.are_elsewhere(purpose, surveyed, live)?;
                for ((_, entry), _) in live.iter().zip(elsewhere).filter(|(_, is_elsewhere)| !is_elsewhere) {
                    if outcome == Outcome::Elsewhere {
                        outcome = put(self.store, writer, &pack, entry, &mut stored)?;
                        let is_written = outcome == Outcome::Elsewhere;
                        self.collected.written_len += if is_written { stored.len() as u64 } else { 0 };
                        progress(self.collected.written_len);
                    }
                }
            }
            Ok(())
        })?;
        Ok(if looked.is_ok() { outcome } else { Outcome::Unreadable })
    }

    /// Says of each of these entries, which are needed, whether it need not be written: another copy is there.
    fn are_elsewhere(
        &self,
        purpose: Purpose,
        pack: &Surveyed,
        entries: &[&(u32, Entry)],
    ) -> Result<Vec<bool>, StoreError> {
        let is_kept = |entry_no: u32| self.marks.is_kept(pack.no, entry_no);
        let is_open = |(entry_no, _): &(u32, Entry)| purpose == Purpose::Remove || !is_kept(*entry_no);
        let open: Vec<&(u32, Entry)> = entries.iter().copied().filter(|entry| is_open(entry)).collect();
        let ids: Vec<ItemId> = open.iter().map(|(_, entry)| entry.id).collect();
        let found = self.store.find_each(&ids)?;
        let elsewhere = open.iter().zip(found).map(|((entry_no, entry), Located(found))| {
            let here = (pack.no, *entry_no);
            (*entry_no, self.is_elsewhere(purpose, pack, is_kept(*entry_no), here, entry, &found))
        });
        let elsewhere: HashMap<u32, bool> = elsewhere.collect();
        Ok(entries.iter().map(|(entry_no, _)| elsewhere.get(entry_no).copied().unwrap_or(false)).collect())
    }

    fn is_elsewhere(
        &self,
        purpose: Purpose,
        pack: &Surveyed,
        is_kept: bool,
        here: (i64, u32),
        entry: &Entry,
        found: &Found,
    ) -> bool {
        let is_other = |copy: &&Copy| {
            let Copy { place, entry: other, .. } = copy;
            other.plain_len == entry.plain_len
                && (place.pack_no, place.entry_no) != here
                && !place.is_damaged
                && !place.is_condemned
        };
        let mut others = found.copies.iter().filter(is_other);
        match purpose {
            // What nobody keeps may be dropped in favour of what is kept.
            Purpose::Condemn => others
                .filter(|copy| self.marks.is_kept(copy.place.pack_no, copy.place.entry_no))
                .any(|copy| self.reads_good(copy)),
            // Written by this collection, or since.
            Purpose::Remove if is_kept => others
                .any(|copy| copy.pack.domain == pack.domain && copy.pack.really_has(copy.place.entry_no, &copy.entry)),
            Purpose::Remove => others.any(|copy| self.reads_good(copy)),
        }
    }

    fn reads_good(&self, copy: &Copy) -> bool {
        let mut stored = Vec::new();
        match copy.pack.read_checked(&copy.entry, &mut stored) {
            Ok(()) => true,
            Err(problem) => {
                if problem.is_loss() {
                    self.store.note_damage(&copy.place, true);
                }
                false
            }
        }
    }
}

/// Writes one entry of a pack, or another copy of it where the pack's own is damaged.
fn put(
    store: &Store,
    writer: &mut PackWriter<'_>,
    pack: &Pack,
    entry: &Entry,
    stored: &mut Vec<u8>,
) -> Result<Outcome, CollectionError> {
    let Entry { id, codec, plain_len, .. } = *entry;
    let put = match pack.read_checked(entry, stored) {
        Ok(()) => writer.put(NewItem { id, codec, plain_len, stored }),
        Err(PackProblem::Damaged | PackProblem::NotRead(_) | PackProblem::UnknownVersion(_)) => {
            match store.read_as_stored_of_len(&id, plain_len) {
                Ok(item) => {
                    *stored = item.bytes;
                    writer.put(NewItem { id, codec: item.codec, plain_len, stored })
                }
                Err(ReadError::Store(error)) => return Err(error.into()),
                Err(_) => return Ok(Outcome::Unreadable),
            }
        }
    };
    match put {
        Ok(()) => Ok(Outcome::Elsewhere),
        // Its bytes are what was stored, and no manifest.
        Err(WriteError::Malformed(_)) => Ok(Outcome::Unreadable),
        Err(error) => Err(error.into()),
    }
}
