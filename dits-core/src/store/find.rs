//! Finding an item and reading it, checked.
//!
//! **For:** [`Store::has`], [`Store::read`] and what is like them.
//!
//! **May touch:** packs, reading only, and the index.
//!
//! **Must hold:** no byte is given out that was not checked against the id it was asked by, but to the
//! proof of a whole file, which checks all of them together.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::{PackProblem, ReadError, StoreError};
use super::handles::{self, Handle};
use super::index::Place;
use super::pack::Pack;
use super::{Store, StoredForm, StoredItem, lock};
use crate::codec::{Codec, Decoder};
use crate::hash::{FileHash, ManifestHash};
use crate::item::{ItemId, ItemKind};
use crate::manifest::Manifest;
use crate::pack_format::{Domain, Entry};

/// Most copies that are remembered not to have been given by the disk.
const NOT_GIVEN_MAX: usize = 64 * 1024;
/// How long a copy that counts as damaged is believed to be so by who asks for all of them.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// When copies that count as damaged were last looked at, by pack and entry.
#[derive(Debug, Default)]
pub(super) struct LookedAgain(HashMap<(i64, u32), Instant>);

impl LookedAgain {
    /// Returns true if the copy is to be looked at now.
    fn is_due(&mut self, place: &Place) -> bool {
        if self.0.len() >= NOT_GIVEN_MAX {
            self.0.clear();
        }
        let at = (place.pack_no, place.entry_no);
        let is_due = self.0.get(&at).is_none_or(|looked| looked.elapsed() >= LOOK_AGAIN_AFTER);
        if is_due {
            self.0.insert(at, Instant::now());
        }
        is_due
    }
}

thread_local! {
    static DECODER: RefCell<Decoder> = RefCell::new(Decoder::new());
}

/// Where an item is, looked up together with others: reading it asks the index no more.
#[derive(Debug, Default)]
pub struct Located(pub(super) Found);

/// Copies of an item, and what stood in the way of others.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Those that a reader found damaged before come last, and those in condemned packs behind others.
    pub copies: Vec<Copy>,
    /// A pack that the index names is gone.
    pub gone: bool,
    /// The index points to an entry that is not the item.
    pub index_lies: bool,
    /// A pack that the index names cannot be read.
    pub unusable: Option<(PathBuf, PackProblem)>,
}

#[derive(Debug)]
pub(super) struct Copy {
    pub pack: Arc<Pack>,
    pub place: Place,
    pub entry: Entry,
}

impl Copy {
    /// Returns true if whoever is about to store the item may rely on this copy, as far as is known.
    fn counts(&self) -> bool {
        !self.place.is_damaged && !self.place.is_condemned
    }
}

impl Found {
    /// Returns true if a copy can be read, as far as is known: one that nobody may rely on counts as well.
    fn can_be_read(&self) -> bool {
        let mut copies = self.copies.iter().filter(|copy| !copy.place.is_damaged);
        copies.any(|copy| copy.pack.really_has(copy.place.entry_no, &copy.entry))
    }

    pub fn has_copy(&self, is_wanted: impl Fn(Domain) -> bool) -> bool {
        let mut copies = self.copies.iter().filter(|copy| copy.counts() && is_wanted(copy.pack.domain));
        copies.any(|copy| copy.pack.really_has(copy.place.entry_no, &copy.entry))
    }
}

impl Store {
    pub(super) fn has_where(&self, id: &ItemId, is_wanted: impl Fn(Domain) -> bool) -> Result<bool, StoreError> {
        for attempt in 0..2 {
            let found = self.find(id)?;
            if found.has_copy(&is_wanted) {
                return Ok(true);
            }
            if !found.gone || attempt > 0 {
                break;
            }
            self.refresh()?;
        }
        Ok(false)
    }

    pub(super) fn find_form(&self, id: &ItemId) -> Result<Option<StoredForm>, StoreError> {
        let copies = self.find(id)?.copies;
        let good = copies.iter().find(|copy| !copy.place.is_damaged).map(|copy| copy.entry);
        Ok(good.map(|Entry { codec, stored_len, .. }| StoredForm { codec, stored_len }))
    }

    pub(super) fn has_each_where(
        &self,
        ids: &[ItemId],
        is_wanted: impl Fn(Domain) -> bool,
    ) -> Result<Vec<bool>, StoreError> {
        let each = ids.iter().zip(self.find_each(ids)?).map(|(id, Located(found))| match found.has_copy(&is_wanted) {
            false if found.gone => self.has_where(id, &is_wanted),
            is_there => Ok(is_there),
        });
        each.collect()
    }

    pub(super) fn finds_each(&self, ids: &[ItemId]) -> Result<Vec<bool>, StoreError> {
        let each = ids.iter().zip(self.find_each(ids)?).map(|(id, Located(found))| {
            if found.can_be_read() || !found.gone {
                return Ok(found.can_be_read());
            }
            self.refresh()?;
            self.find(id).map(|found| found.can_be_read())
        });
        each.collect()
    }

    pub(super) fn share_pack(&self, first: &ItemId, len: u64, to: &File) -> Result<bool, StoreError> {
        let copies = self.find(first)?.copies;
        let mut packs = copies.iter().filter(|copy| copy.entry.place == 0 && copy.entry.codec == Codec::Raw);
        Ok(packs.any(|copy| copy.pack.share_blocks(len, to)))
    }

    /// Returns true if a pack of `domain` whose path is none of `doubted` has the item.
    pub(super) fn has_beside(
        &self,
        entry: &Entry,
        domain: Domain,
        doubted: &HashSet<PathBuf>,
    ) -> Result<bool, StoreError> {
        let mut found = self.find(&entry.id)?;
        // A page's id does not fix its length.
        found.copies.retain(|copy| copy.entry.plain_len == entry.plain_len && !doubted.contains(&copy.pack.path));
        Ok(found.has_copy(|found| found == domain))
    }

    pub(super) fn find_each(&self, ids: &[ItemId]) -> Result<Vec<Located>, StoreError> {
        let places = lock(&self.known).with_index(&self.layout, |index| index.places_of_all(ids))?;
        ids.iter().zip(places).map(|(id, places)| self.look(id, places).map(Located)).collect()
    }

    pub(super) fn read_plain(&self, id: &ItemId, found: Option<Located>, plain: &mut Vec<u8>) -> Result<(), ReadError> {
        self.read_copy(id, found, |_| true, |copy| read_plain(&copy.pack, &copy.entry, plain))
    }

    /// Reads the first copy that is there, as it is. Returns false if there is none that can be read.
    pub(super) fn read_located_unchecked(&self, Located(found): &Located, plain: &mut Vec<u8>) -> bool {
        let copy = found.copies.iter().find(|copy| !copy.place.is_damaged);
        copy.is_some_and(|copy| read_plain_unchecked(&copy.pack, &copy.entry, plain).is_ok())
    }

    pub(super) fn read_plain_of_len(&self, id: &ItemId, plain_len: u32, plain: &mut Vec<u8>) -> Result<(), ReadError> {
        let is_wanted = |copy: &Copy| copy.entry.plain_len == plain_len;
        self.read_copy(id, None, is_wanted, |copy| read_plain(&copy.pack, &copy.entry, plain))
    }

    pub(super) fn read_as_stored(&self, id: &ItemId, found: Option<Located>) -> Result<StoredItem, ReadError> {
        self.read_as_stored_where(id, found, |_| true)
    }

    /// As [`Store::read_as_stored`], of which the plain form has `plain_len` bytes.
    pub(super) fn read_as_stored_of_len(&self, id: &ItemId, plain_len: u32) -> Result<StoredItem, ReadError> {
        self.read_as_stored_where(id, None, |copy| copy.entry.plain_len == plain_len)
    }

    fn read_as_stored_where(
        &self,
        id: &ItemId,
        found: Option<Located>,
        is_wanted: impl Fn(&Copy) -> bool,
    ) -> Result<StoredItem, ReadError> {
        let mut bytes = Vec::new();
        let mut entry = None;
        self.read_copy(id, found, is_wanted, |copy| {
            entry = Some(copy.entry);
            copy.pack.read_checked(&copy.entry, &mut bytes)
        })?;
        let Entry { id, codec, plain_len, .. } = entry.expect("a copy was just read");
        Ok(StoredItem { id, codec, plain_len, bytes })
    }

    /// Tries one wanted copy after another until `read` finds one good, those of `located` first.
    fn read_copy(
        &self,
        id: &ItemId,
        mut located: Option<Located>,
        is_wanted: impl Fn(&Copy) -> bool,
        mut read: impl FnMut(&Copy) -> Result<(), PackProblem>,
    ) -> Result<(), ReadError> {
        let mut unusable = None;
        loop {
            let found = match located.take() {
                Some(Located(found)) => found,
                None => self.find(id)?,
            };
            let mut is_stale = false;
            for copy in found.copies.iter().filter(|copy| is_wanted(copy)) {
                let result = read(copy);
                if result.is_err() && !copy.pack.has_its_path() {
                    // The pack was sealed or written again since it was opened.
                    lock(&self.handles).forget(copy.place.pack_no);
                    is_stale = true;
                    continue;
                }
                self.note_read(&copy.place, result);
                match result {
                    Ok(()) => return Ok(()),
                    Err(problem) => unusable = Some((copy.pack.path.clone(), problem)),
                }
            }
            unusable = unusable.or(found.unusable);
            let mut known = lock(&self.known);
            let has_news = known.refresh_if_changed(&self.layout)?;
            if !has_news && found.index_lies && !known.was_replaced() {
                known.replace(&self.layout)?;
                lock(&self.handles).clear();
                continue;
            }
            if !has_news && !is_stale {
                let elsewhere = known.unusable_pack();
                return Err(not_read(*id, unusable, elsewhere));
            }
        }
    }

    /// Reads, and where an item is missing once more if that was the index's fault.
    pub(super) fn with_sound_index<T>(&self, mut read: impl FnMut() -> Result<T, ReadError>) -> Result<T, ReadError> {
        match read() {
            Err(ReadError::Missing(_)) if self.replaces_bad_index()? => read(),
            result => result,
        }
    }

    /// Looks through the whole index, once in a process; one with rows that are not where a
    /// search finds them is made anew.
    ///
    /// That takes a second for millions of rows, so it is only for what nobody expects to be missing.
    pub(super) fn replaces_bad_index(&self) -> Result<bool, StoreError> {
        // Not under the lock: others go on meanwhile.
        let Some(check) = lock(&self.known).take_check() else { return Ok(false) };
        if check.is_sound() {
            return Ok(false);
        }
        let mut known = lock(&self.known);
        if !known.was_replaced() {
            known.replace(&self.layout)?;
            lock(&self.handles).clear();
        }
        Ok(true)
    }

    /// Notes that a copy is damaged, or is good after all: a damaged one is not counted by
    /// [`Store::has`], so that the item is stored again by whoever brings it.
    pub(super) fn note_damage(&self, place: &Place, is_damaged: bool) {
        // Where nothing can be written the next reader finds out for itself.
        let _ = lock(&self.known).with_index(&self.layout, |index| index.note_damage(place, is_damaged));
    }

    /// Notes what a read of a copy found. What the disk did not give counts as damaged for this process
    /// alone, and only until it is given: nobody knows that it is lost.
    fn note_read(&self, place: &Place, result: Result<(), PackProblem>) {
        let at = (place.pack_no, place.entry_no);
        match result {
            Ok(()) if !place.is_damaged => {}
            // It may have been noted in the index, here, or both.
            Ok(()) => {
                lock(&self.not_given).remove(&at);
                self.note_damage(place, false);
            }
            Err(PackProblem::NotRead(_)) => {
                // An opened file may be one that the system gives no more, under a name that it does give.
                lock(&self.handles).forget(place.pack_no);
                let mut not_given = lock(&self.not_given);
                if not_given.len() < NOT_GIVEN_MAX {
                    not_given.insert(at);
                }
            }
            Err(problem) if problem.is_loss() && !place.is_damaged => self.note_damage(place, true),
            Err(_) => {}
        }
    }

    /// Reads the copies of an item that count as damaged, those of `domain` or of all, and returns true if
    /// one is good. It counts as there again.
    pub(super) fn look_again_where(&self, id: &ItemId, is_wanted: impl Fn(Domain) -> bool) -> Result<bool, StoreError> {
        let found = self.find(id)?;
        let mut plain = Vec::new();
        let mut copies = found.copies.iter().filter(|copy| copy.place.is_damaged && is_wanted(copy.pack.domain));
        Ok(copies.any(|copy| self.is_good_now(copy, &mut plain) && !copy.place.is_condemned))
    }

    fn is_good_now(&self, copy: &Copy, plain: &mut Vec<u8>) -> bool {
        let mut result = read_plain(&copy.pack, &copy.entry, plain);
        if result.is_err() && !copy.pack.has_its_path() {
            lock(&self.handles).forget(copy.place.pack_no);
            if let Ok(Handle::Pack(pack)) = self.handle(copy.place.pack_no)
                && pack.entry(copy.place.entry_no) == Ok(Some(copy.entry))
            {
                result = read_plain(&pack, &copy.entry, plain);
            }
        }
        self.note_read(&copy.place, result);
        result.is_ok()
    }

    /// Returns true if a copy counts as damaged, or a pack is not given by the disk.
    pub(super) fn knows_damage(&self) -> Result<bool, StoreError> {
        let is_noted = lock(&self.known).with_index(&self.layout, |index| index.has_damage())?;
        Ok(is_noted || !lock(&self.not_given).is_empty() || !lock(&self.handles).not_given().is_empty())
    }

    pub(super) fn find_damaged(&self, count_max: usize) -> Result<Option<Vec<ItemId>>, StoreError> {
        let mut places = lock(&self.known).with_index(&self.layout, |index| index.damaged_places(count_max + 1))?;
        let noted: HashSet<(i64, u32)> = places.iter().map(|place| (place.pack_no, place.entry_no)).collect();
        let here: Vec<(i64, u32)> = lock(&self.not_given).difference(&noted).copied().collect();
        places.extend(here.into_iter().map(|(pack_no, entry_no)| Place::damaged(pack_no, entry_no)));
        if places.len() > count_max {
            return Ok(None);
        }
        // A pack that the disk gives again needs no more than being opened.
        let not_given = lock(&self.handles).not_given();
        for no in not_given {
            if let Handle::Unusable(..) = self.handle(no)? {
                return Ok(None);
            }
        }
        let mut ids = Vec::with_capacity(places.len());
        let mut plain = Vec::new();
        for place in places {
            match self.handle(place.pack_no)? {
                Handle::Gone => drop(lock(&self.not_given).remove(&(place.pack_no, place.entry_no))),
                Handle::Unusable(..) => return Ok(None),
                Handle::Pack(pack) => match pack.entry(place.entry_no) {
                    Ok(Some(entry)) => {
                        let id = entry.id;
                        let is_due = lock(&self.looked_again).is_due(&place);
                        if !is_due || !self.is_good_now(&Copy { pack, place, entry }, &mut plain) {
                            ids.push(id);
                        }
                    }
                    Ok(None) => drop(lock(&self.not_given).remove(&(place.pack_no, place.entry_no))),
                    Err(_) => return Ok(None),
                },
            }
        }
        Ok(Some(ids))
    }

    /// Where copies of an item stand that cannot be used: its pack, and its entry where that can be told.
    pub(super) fn find_unusable(&self, id: &ItemId) -> Result<Vec<(PathBuf, Option<u32>)>, StoreError> {
        let found = self.find(id)?;
        let damaged = found.copies.iter().filter(|copy| copy.place.is_damaged);
        let damaged = damaged.map(|copy| (copy.pack.path.clone(), Some(copy.place.entry_no)));
        Ok(damaged.chain(found.unusable.map(|(path, _)| (path, None))).collect())
    }

    pub(super) fn forget_manifest(&self, oid: &FileHash, manifest: &ManifestHash) {
        let Ok(places) = lock(&self.known).with_index(&self.layout, |index| index.manifest_places(oid)) else { return };
        for place in places {
            let Ok(Handle::Pack(pack)) = self.handle(place.pack_no) else { continue };
            if pack.entry(place.entry_no).is_ok_and(|entry| entry.is_some_and(|entry| entry.id == (*manifest).into())) {
                let _ = lock(&self.known).with_index(&self.layout, |index| index.forget_manifest(&place));
            }
        }
    }

    pub(super) fn find_manifests(&self, oid: &FileHash) -> Result<Vec<ManifestHash>, StoreError> {
        loop {
            let manifests = self.find_known_manifests(oid)?;
            if !manifests.is_empty() || !lock(&self.known).refresh_if_changed(&self.layout)? {
                return Ok(manifests);
            }
        }
    }

    pub(super) fn find_known_manifests(&self, oid: &FileHash) -> Result<Vec<ManifestHash>, StoreError> {
        let mut manifests = Vec::new();
        let places = lock(&self.known).with_index(&self.layout, |index| index.manifest_places(oid))?;
        for place in places {
            let Handle::Pack(pack) = self.handle(place.pack_no)? else { continue };
            let Ok(Some(entry)) = pack.entry(place.entry_no) else { continue };
            let hash = ManifestHash::from_bytes(entry.id.hash);
            if entry.id.kind == ItemKind::Manifest
                && !manifests.contains(&hash)
                && pack.really_has(place.entry_no, &entry)
            {
                manifests.push(hash);
            }
        }
        Ok(manifests)
    }

    pub(super) fn find(&self, id: &ItemId) -> Result<Found, StoreError> {
        let places = lock(&self.known).with_index(&self.layout, |index| index.places(id))?;
        self.look(id, places)
    }

    /// Looks into the packs where the index says that the item may be.
    fn look(&self, id: &ItemId, places: Vec<Place>) -> Result<Found, StoreError> {
        let mut found = Found::default();
        for mut place in places {
            place.is_damaged |= lock(&self.not_given).contains(&(place.pack_no, place.entry_no));
            let (path, problem) = match self.handle(place.pack_no)? {
                Handle::Gone => {
                    found.gone = true;
                    continue;
                }
                Handle::Unusable(path, problem) => (path, problem),
                Handle::Pack(pack) => match pack.entry(place.entry_no) {
                    Err(problem) => {
                        lock(&self.handles).forget(place.pack_no);
                        (pack.path.clone(), problem)
                    }
                    Ok(entry) => {
                        match entry {
                            Some(entry) if entry.id == *id => found.copies.push(Copy { pack, place, entry }),
                            // Two kinds of item may share a hash: that is no lie.
                            Some(entry) if entry.id.hash == id.hash => {}
                            _ => found.index_lies = true,
                        }
                        continue;
                    }
                },
            };
            if problem.is_loss() && !place.is_damaged {
                self.note_damage(&place, true);
            }
            found.unusable = Some((path, problem));
        }
        found.copies.sort_by_key(|copy| (copy.place.is_damaged, copy.place.is_condemned));
        Ok(found)
    }

    /// Returns the pack with the number `no`, opened.
    pub(super) fn handle(&self, no: i64) -> Result<Handle, StoreError> {
        let checked = {
            let mut handles = lock(&self.handles);
            if let Some(handle) = handles.get(no) {
                return Ok(handle);
            }
            handles.checked(no)
        };
        let row = lock(&self.known).with_index(&self.layout, |index| index.pack(no))?;
        let handle = match row {
            Some(row) => handles::open(&self.layout, &row, checked)?,
            None => Handle::Gone,
        };
        lock(&self.handles).keep(no, handle.clone());
        Ok(handle)
    }
}

/// Says why an item cannot be read, with the most that is known.
fn not_read(
    id: ItemId,
    named_by_index: Option<(PathBuf, PackProblem)>,
    elsewhere: Option<(PathBuf, PackProblem)>,
) -> ReadError {
    match (named_by_index, elsewhere) {
        (Some((path, PackProblem::Damaged)), _) => ReadError::Damaged { id, path },
        (Some((path, problem)), _) | (None, Some((path, problem))) => ReadError::Unreadable { id, path, problem },
        (None, None) => ReadError::Missing(id),
    }
}

/// Puts the plain bytes of `entry` into `plain`, if they are what its id names.
fn read_plain(pack: &Pack, entry: &Entry, plain: &mut Vec<u8>) -> Result<(), PackProblem> {
    read_plain_unchecked(pack, entry, plain)?;
    match entry.id.names(plain) {
        true => Ok(()),
        false => Err(PackProblem::Damaged),
    }
}

fn read_plain_unchecked(pack: &Pack, entry: &Entry, plain: &mut Vec<u8>) -> Result<(), PackProblem> {
    if entry.codec == Codec::Raw {
        return pack.read_stored(entry, plain);
    }
    let mut stored = Vec::new();
    pack.read_stored(entry, &mut stored)?;
    DECODER
        .with_borrow_mut(|decoder| decoder.decode(entry.codec, &stored, entry.plain_len as usize, plain))
        .map_err(|_| PackProblem::Damaged)
}

/// Reads the file that a stored manifest is about; `None` if it is damaged or no manifest.
pub(super) fn manifest_oid(pack: &Pack, entry: &Entry) -> Option<FileHash> {
    let mut plain = Vec::new();
    read_plain(pack, entry, &mut plain).ok()?;
    Manifest::decode(&plain).ok().map(|manifest| manifest.pointer().oid)
}

/// Reads the file that a manifest about to be stored is about.
pub(super) fn oid_of_stored(codec: Codec, stored: &[u8], plain_len: u32) -> Option<FileHash> {
    let mut plain = Vec::new();
    DECODER.with_borrow_mut(|decoder| decoder.decode(codec, stored, plain_len as usize, &mut plain)).ok()?;
    Manifest::decode(&plain).ok().map(|manifest| manifest.pointer().oid)
}
