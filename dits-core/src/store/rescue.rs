//! Bringing to stable storage all that was committed, also what an earlier sync left in doubt.
//!
//! **For:** [`Store::sync`], and the writer whose sync fails.
//!
//! **May touch:** open packs and their marks; a new pack for what is brought to safety.
//!
//! **Must hold:**
//! - success means that every item that counts as there is on stable storage;
//! - a pack of which a sync failed is never synced again in the hope that it now holds: the system may
//!   have thrown away what it could not write, and says so only once. What can still be read of
//!   it is written to another pack;
//! - such a pack is removed only once all that it held is in other packs, and synced;
//! - what could not be saved is reported once, and counts as damaged from then on.
//!
//! **Format:** `docs/formats/store-v1.md`, "A sync that fails".

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::error::{PackProblem, StoreError, WriteError};
use super::index::{PackRow, Place};
use super::layout::{Layout, OpenName, is_absent, sync_dir};
use super::open_pack::OpenPack;
use super::pack::{OpenError, Pack};
use super::writer::NewItem;
use super::{Store, lock};
use crate::pack_format::{Entry, LOG_HEADER_LEN};
use crate::steps::{Step, attempt};

/// What the mark says of a pack from which nothing more can be saved.
const GIVEN_UP: &str = "given up\n";

/// How often a sync starts over because that of another process failed meanwhile.
const ROUNDS_MAX: u32 = 4;

/// Notes that a sync of an open pack failed.
///
/// Where no mark can be made, the header of the pack's side log, `log` or what has its name, is spoiled in
/// place, which needs no room: nobody goes on with the pack, or believes what it holds. Where not even
/// that can be written, the caller hears of the failure all the same.
pub(super) fn mark_doubt(layout: &Layout, name: &OpenName, log: Option<&File>) {
    let mark = layout.doubt(name);
    let made = File::options().create(true).append(true).open(&mark);
    if made.is_ok() || mark.try_exists().unwrap_or(false) {
        return;
    }
    let spoil = |log: &File| log.write_all_at(&[0; LOG_HEADER_LEN], 0);
    let _ = match log {
        Some(log) => spoil(log),
        None => File::options().write(true).open(layout.open_log(name)).and_then(|log| spoil(&log)),
    };
}

/// What became of an open pack that was in doubt.
struct Rescued {
    name: OpenName,
    /// So many entries are in other packs now; `None` if that is not all that it had.
    entry_count: Option<u32>,
}

impl Store {
    pub(super) fn sync_all(&self) -> Result<(), StoreError> {
        self.sync_in_rounds(|doubts| self.sync_open_packs(doubts))
    }

    /// Syncs with `sync`, which is told what packs to leave out, until nobody else's failed meanwhile: the
    /// system tells of a failure once, and that may have been another process.
    fn sync_in_rounds(
        &self,
        mut sync: impl FnMut(&HashSet<OpenName>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut guard = None;
        for _ in 0..ROUNDS_MAX {
            let doubts = self.doubts()?;
            if guard.is_none() && !doubts.is_empty() {
                // That another pack has an item is relied on until the one in doubt is gone.
                guard = Some(self.guard()?);
            }
            let mut rescued = Vec::new();
            for name in &doubts {
                if self.is_given_up(name)? == Some(false) {
                    rescued.push(Rescued { name: *name, entry_count: self.rescue(name, &doubts)? });
                }
            }
            sync(&doubts)?;
            if self.doubts()?.is_subset(&doubts) {
                return self.settle(&rescued);
            }
        }
        let dir = self.layout.open();
        Err(StoreError::io(&dir, io::Error::other("syncs of packs in it go on failing")))
    }

    /// Finds a pack that was given up, and of which an item is in no other pack yet. Those that hold nothing
    /// alone any more are removed.
    pub(super) fn find_lost(&self) -> Result<Option<PathBuf>, StoreError> {
        let doubts = self.doubts()?;
        if doubts.is_empty() {
            return Ok(None);
        }
        let _guard = self.guard()?;
        let mut rescued = Vec::new();
        for name in &doubts {
            // Of one that cannot be opened nobody can say what it held.
            let is_known = Pack::open_growing(&self.layout, name, 0).is_ok();
            if !is_known || self.is_given_up(name)? != Some(true) {
                continue;
            }
            match self.rescue(name, &doubts)? {
                None => return Ok(Some(self.layout.open_pack(name))),
                entry_count => rescued.push(Rescued { name: *name, entry_count }),
            }
        }
        self.settle(&rescued)?;
        Ok(None)
    }

    fn doubts(&self) -> Result<HashSet<OpenName>, StoreError> {
        Ok(self.layout.list_doubts()?.into_iter().collect())
    }

    /// What the mark of a pack says; `None` if it is gone.
    fn is_given_up(&self, name: &OpenName) -> Result<Option<bool>, StoreError> {
        let path = self.layout.doubt(name);
        match fs::read(&path) {
            Ok(text) => Ok(Some(text == GIVEN_UP.as_bytes())),
            Err(error) if is_absent(&error) => Ok(None),
            Err(source) => Err(StoreError::io(&path, source)),
        }
    }

    fn sync_open_packs(&self, doubts: &HashSet<OpenName>) -> Result<(), StoreError> {
        for name in self.layout.list_logs()?.iter().filter(|name| !doubts.contains(*name)) {
            // The payload goes first, as for a writer. A pack that is sealed meanwhile loses
            // these names, and was synced before.
            let files = [
                (self.layout.open_pack(name), Step::PackPayloadSynced),
                (self.layout.open_log(name), Step::PackLogSynced),
            ];
            for (path, step) in files {
                match File::open(&path).and_then(|file| attempt(step, || file.sync_data())) {
                    Err(error) if is_absent(&error) => {}
                    Err(error) => {
                        mark_doubt(&self.layout, name, None);
                        return Err(StoreError::io(&path, error));
                    }
                    Ok(()) => {}
                }
            }
        }
        // Who made, or sealed, a pack may have died before its name was on stable storage.
        for dir in [self.layout.open(), self.layout.packs()] {
            match sync_dir(&dir) {
                Err(error) if !is_absent(&error) => return Err(StoreError::io(&dir, error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Copies into another pack what only the open pack `name` holds, and returns how many entries
    /// it has; `None` if some of it cannot be read any more.
    fn rescue(&self, name: &OpenName, doubts: &HashSet<OpenName>) -> Result<Option<u32>, StoreError> {
        // What a process that died had written may not be in the index yet.
        self.refresh()?;
        let pack = match Pack::open_growing(&self.layout, name, 0) {
            Ok(pack) => pack,
            Err(OpenError::Gone) => return Ok(Some(0)),
            // It may be given later, and then count as there: it is not given up.
            Err(OpenError::Unusable(PackProblem::NotRead(errno))) => {
                return Err(StoreError::io(&self.layout.open_pack(name), io::Error::from_raw_os_error(errno)));
            }
            Err(OpenError::Unusable(_)) => return Ok(None),
            Err(OpenError::Store(error)) => return Err(error),
        };
        let row = lock(&self.known).with_index(&self.layout, |index| index.pack_named(name))?;
        let doubted: HashSet<PathBuf> = doubts.iter().map(|name| self.layout.open_pack(name)).collect();
        let mut writer = self.writer(pack.domain);
        let mut stored = Vec::new();
        let mut is_whole = true;
        let Ok(entry_count) = pack.entry_count() else { return Ok(None) };
        let mut known = None;
        for entry_no in 0..entry_count {
            let entry = match pack.entry(entry_no) {
                Ok(Some(entry)) => entry,
                // An old power loss can leave a record that names nothing: no item is gone with it, unless
                // it was known before.
                Ok(None) => {
                    let known = match &known {
                        Some(known) => known,
                        None => known.insert(self.known_entries(row.as_ref())?),
                    };
                    is_whole &= !known.contains(&entry_no);
                    continue;
                }
                Err(_) => {
                    is_whole = false;
                    continue;
                }
            };
            if self.has_beside(&entry, pack.domain, &doubted)? {
                continue;
            }
            let Entry { id, codec, plain_len, .. } = entry;
            let put = match pack.read_checked(&entry, &mut stored) {
                Ok(()) => writer.put(NewItem { id, codec, plain_len, stored: &stored }),
                // It may be given later.
                Err(PackProblem::NotRead(errno)) => {
                    return Err(StoreError::io(&pack.path, io::Error::from_raw_os_error(errno)));
                }
                Err(_) => Err(WriteError::Malformed(id)),
            };
            match put {
                Ok(()) => {}
                Err(WriteError::Malformed(_)) => {
                    is_whole = false;
                    let place = row.as_ref().map(|row| Place::damaged(row.no, entry_no));
                    place.iter().for_each(|place| self.note_damage(place, true));
                }
                Err(error) => return Err(self.unwritten(error)),
            }
        }
        writer.sync().map_err(|error| self.unwritten(error))?;
        Ok(is_whole.then_some(entry_count))
    }

    fn known_entries(&self, row: Option<&PackRow>) -> Result<HashSet<u32>, StoreError> {
        let Some(row) = row else { return Ok(HashSet::new()) };
        lock(&self.known).with_index(&self.layout, |index| index.entries_of(row.no))
    }

    /// Removes packs that are in doubt no more, and reports what could not be saved.
    fn settle(&self, rescued: &[Rescued]) -> Result<(), StoreError> {
        let mut lost = None;
        for Rescued { name, entry_count } in rescued {
            let mark = self.layout.doubt(name);
            let settled = match entry_count {
                Some(count) => match OpenPack::remove(&self.layout, name, *count) {
                    Ok(true) => fs::remove_file(&mark),
                    // It has a writer, or had one meanwhile: its next items are looked at again.
                    Ok(false) => Ok(()),
                    Err(error) => return Err(self.unwritten(error)),
                },
                None => {
                    lost = Some(self.layout.open_pack(name));
                    fs::write(&mark, GIVEN_UP)
                }
            };
            match settled {
                Err(source) if !is_absent(&source) => return Err(StoreError::io(&mark, source)),
                _ => {}
            }
        }
        if !rescued.is_empty() {
            lock(&self.handles).clear();
            self.refresh()?;
        }
        match lost {
            Some(path) => Err(StoreError::Lost { path }),
            None => Ok(()),
        }
    }

    /// Says what kept a copy from being written, as an error of the store.
    fn unwritten(&self, error: WriteError) -> StoreError {
        match error {
            WriteError::Full { path, source } => StoreError::Io { path, source },
            WriteError::Store(error) => error,
            other => StoreError::io(&self.layout.dir, io::Error::other(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codec;
    use crate::hash::ChunkHash;
    use crate::item::ItemId;
    use crate::pack_format::{Domain, LOG_RECORD_LEN};
    use crate::store::{Sharing, StoreOptions};
    use std::path::Path;

    fn open(dir: &Path) -> Store {
        let options = StoreOptions { dir: dir.join("store"), index: dir.join("index"), sharing: Sharing::Machine };
        Store::open(options).expect("a store")
    }

    fn add(store: &Store, plain: &[&[u8]]) {
        let mut writer = store.writer(Domain::LOCAL);
        for plain in plain {
            let item = NewItem { id: id(plain), codec: Codec::Raw, plain_len: plain.len() as u32, stored: plain };
            writer.put(item).expect("put");
        }
        writer.commit().expect("committed");
    }

    fn id(plain: &[u8]) -> ItemId {
        ChunkHash::of(plain).into()
    }

    fn only_log(store: &Store) -> OpenName {
        let logs = store.layout.list_logs().expect("listed");
        assert_eq!(logs.len(), 1);
        logs[0]
    }

    fn damage(store: &Store, name: &OpenName, at: u64) {
        let file = File::options().write(true).open(store.layout.open_pack(name)).expect("opened");
        file.write_all_at(b"?", at).expect("written");
    }

    #[test]
    fn a_failure_of_another_process_during_a_sync_is_not_passed_over() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = open(dir.path());
        add(&store, &[b"one"]);
        let name = only_log(&store);
        let mut rounds = 0;
        let sync = |_: &HashSet<OpenName>| {
            rounds += 1;
            if rounds == 1 {
                mark_doubt(&store.layout, &name, None);
            }
            Ok(())
        };
        store.sync_in_rounds(sync).expect("synced");
        assert_eq!(rounds, 2);
        assert!(!store.layout.open_pack(&name).exists(), "its items are elsewhere now");
        assert!(store.has(&id(b"one")).expect("asked") && store.doubts().expect("listed").is_empty());
        let always = |_: &HashSet<OpenName>| {
            mark_doubt(&store.layout, &rand::random(), None);
            Ok(())
        };
        assert!(matches!(store.sync_in_rounds(always), Err(StoreError::Io { .. })));
    }

    #[test]
    fn a_pack_that_cannot_be_marked_is_gone_on_with_by_nobody() {
        for has_log in [true, false] {
            let dir = tempfile::tempdir().expect("a folder");
            let store = open(dir.path());
            add(&store, &[b"one"]);
            let name = only_log(&store);
            // Nothing can be made under this name, as on a full disk.
            let mark = store.layout.doubt(&name);
            std::os::unix::fs::symlink(dir.path().join("no/such"), &mark).expect("a link");
            let log = File::options().write(true).open(store.layout.open_log(&name)).expect("opened");
            mark_doubt(&store.layout, &name, has_log.then_some(&log));
            drop(log);
            fs::remove_file(&mark).expect("removed");
            let later = open(dir.path());
            assert!(!later.has(&id(b"one")).expect("asked"));
            add(&later, &[b"one", b"two"]);
            assert_eq!(later.layout.list_logs().expect("listed").len(), 2, "it was gone on with");
            assert!(later.has(&id(b"one")).expect("asked"));
        }
    }

    #[test]
    fn what_was_lost_is_reported_until_it_is_there_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = open(dir.path());
        add(&store, &[b"one", b"two"]);
        let name = only_log(&store);
        mark_doubt(&store.layout, &name, None);
        damage(&store, &name, 0);
        assert!(matches!(store.sync(), Err(StoreError::Lost { .. })));
        add(&store, &[b"another"]);
        for _ in 0..2 {
            store.sync().expect("what counts as there is safe");
            assert!(matches!(store.check_nothing_lost(), Err(StoreError::Lost { .. })));
        }
        assert!(!store.has(&id(b"one")).expect("asked") && store.has(&id(b"two")).expect("asked"));
        add(&store, &[b"one"]);
        store.sync().expect("synced");
        store.check_nothing_lost().expect("it is there again");
        assert!(!store.layout.open_pack(&name).exists() && store.doubts().expect("listed").is_empty());
        assert!(store.has(&id(b"one")).expect("asked") && store.has(&id(b"two")).expect("asked"));
    }

    #[test]
    fn a_record_that_never_was_an_item_is_no_loss_and_one_that_was_is() {
        for was_known in [false, true] {
            let dir = tempfile::tempdir().expect("a folder");
            let store = open(dir.path());
            add(&store, &[b"one", b"two"]);
            let name = only_log(&store);
            let log = File::options().write(true).open(store.layout.open_log(&name)).expect("opened");
            let record_no = if was_known { 1 } else { 2 };
            log.write_all_at(&[7; LOG_RECORD_LEN], (LOG_HEADER_LEN + record_no * LOG_RECORD_LEN) as u64)
                .expect("written");
            mark_doubt(&store.layout, &name, None);
            match (store.sync(), was_known) {
                (Ok(()), false) => assert!(!store.layout.open_pack(&name).exists()),
                (Err(StoreError::Lost { .. }), true) => {}
                (result, _) => panic!("{was_known}: {result:?}"),
            }
            assert!(store.has(&id(b"one")).expect("asked"));
        }
    }
}
