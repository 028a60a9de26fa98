//! The store: packs on a disk, and an index to find things in them.
//!
//! **For:** keeping every item of a repository's media, and handing each out again, checked.
//!
//! **May touch:** the store's own folder and its index. Not the network and not Git.
//!
//! **Must hold:**
//! - packs alone are the truth: the index may be deleted at any time;
//! - bytes are checked against their id before they leave the store;
//! - what was committed is found again, whatever ends this process or another;
//! - reading works where nothing can be written.
//!
//! **Format:** `docs/formats/store-v1.md` and `docs/formats/pack-v1.md`.

mod check;
pub mod collect;
pub mod copies;
mod error;
mod find;
mod handles;
mod index;
mod layout;
mod open_pack;
mod pack;
mod payload;
mod refresh;
mod rescue;
mod sealing;
mod sharing;
mod sources;
mod tally;
mod whole_pack;
mod writer;

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::codec::Codec;
use crate::hash::{FileHash, ManifestHash};
use crate::item::ItemId;
use crate::pack_format::Domain;

pub use check::{CheckProgress, Checked, Finding, Mended, Problem, Rest, Severity};
pub use error::{PackProblem, ReadError, StoreError, WriteError};
pub use find::Located;
pub use sources::{Items, Sources};
pub use tally::{Tallied, Tally};
pub use writer::{NewItem, PackWriter};

use find::LookedAgain;
use handles::Handles;
use layout::Layout;
use refresh::Known;

/// Who else may use the store's folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Processes of this machine only: packs grow in place, and file locks hold.
    Machine,
    /// Other machines too, over a network file system whose locks cannot be trusted: packs
    /// are written whole and renamed into place.
    Network,
}

/// Where a store is.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The store's folder.
    pub dir: PathBuf,
    /// Its index: a file on a disk of this machine.
    pub index: PathBuf,
    /// Who else may use the folder.
    pub sharing: Sharing,
}

/// How an item is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredForm {
    /// How its bytes are written down.
    pub codec: Codec,
    /// Length of the stored bytes.
    pub stored_len: u32,
}

/// An item as a pack holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredItem {
    /// Its name.
    pub id: ItemId,
    /// How `bytes` are written down.
    pub codec: Codec,
    /// Length of the plain bytes.
    pub plain_len: u32,
    /// The stored bytes.
    pub bytes: Vec<u8>,
}

/// A store. Any number of threads and processes may use one at once.
#[derive(Debug)]
pub struct Store {
    layout: Layout,
    sharing: Sharing,
    is_writable: bool,
    known: Mutex<Known>,
    handles: Mutex<Handles>,
    /// Copies that the disk did not give, by pack and entry: another time it may.
    not_given: Mutex<HashSet<(i64, u32)>>,
    looked_again: Mutex<LookedAgain>,
}

impl Store {
    /// Opens the store, and makes it where there is none.
    ///
    /// Where nothing can be written, the store can be read only, and a store that is not
    /// there reads as an empty one.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the folder is no store, is of a later version, or cannot be used.
    pub fn open(options: StoreOptions) -> Result<Store, StoreError> {
        let layout = Layout { dir: options.dir.clone() };
        let is_writable = match layout.check_format()? {
            true => true,
            false => match layout.create() {
                Ok(()) => true,
                Err(error) if is_unwritable(&error) => false,
                Err(error) => return Err(error),
            },
        };
        Store::open_at(layout, &options, is_writable)
    }

    /// Opens the store if there is one; makes none.
    ///
    /// # Errors
    ///
    /// As for [`Store::open`].
    pub fn open_existing(options: StoreOptions) -> Result<Option<Store>, StoreError> {
        let layout = Layout { dir: options.dir.clone() };
        match layout.check_format()? {
            true => Store::open_at(layout, &options, true).map(Some),
            false => Ok(None),
        }
    }

    fn open_at(layout: Layout, options: &StoreOptions, is_writable: bool) -> Result<Store, StoreError> {
        let known = Known::open(&layout, &options.index, is_writable)?;
        let is_writable = is_writable && known.is_on_disk();
        let known = Mutex::new(known);
        Ok(Store {
            layout,
            sharing: options.sharing,
            is_writable,
            known,
            handles: Mutex::default(),
            not_given: Mutex::default(),
            looked_again: Mutex::default(),
        })
    }

    /// Returns true if the store has the item, as far as can be told without reading it. Whoever relies on that
    /// holds the [guard](Store::guard).
    ///
    /// What other machines added since the last [`Store::refresh`] may be unknown.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be used.
    pub fn has(&self, id: &ItemId) -> Result<bool, StoreError> {
        self.has_where(id, |_| true)
    }

    /// As [`Store::has`] for each of `ids`, which is much faster for many.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be used.
    pub fn has_each(&self, ids: &[ItemId]) -> Result<Vec<bool>, StoreError> {
        self.has_each_where(ids, |_| true)
    }

    /// Says for each of `ids` whether it can be read, as far as can be told without doing so.
    ///
    /// Who reads it now, and relies on nothing later, asks this: what only packs have that are going to be removed
    /// can be read, and does not count for [`Store::has`].
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be used.
    pub fn can_read_each(&self, ids: &[ItemId]) -> Result<Vec<bool>, StoreError> {
        self.finds_each(ids)
    }

    /// As [`Store::has_in`] for each of `ids`, which is much faster for many.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be used.
    pub fn has_each_in(&self, domain: Domain, ids: &[ItemId]) -> Result<Vec<bool>, StoreError> {
        self.has_each_where(ids, |found| found == domain)
    }

    /// Returns true if a pack of `domain` has the item.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be used.
    pub fn has_in(&self, domain: Domain, id: &ItemId) -> Result<bool, StoreError> {
        self.has_where(id, |found| found == domain)
    }

    /// Returns true if readers found damage that was noted, and not found good since, or if the disk did not
    /// give this process what it asked for.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be used.
    pub fn has_damage(&self) -> Result<bool, StoreError> {
        self.knows_damage()
    }

    /// Reads the copies of an item that count as damaged once more, those in packs of `domain`, or in all for
    /// `None`. Returns true if one is good, and counts as there again.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be used.
    pub fn look_again(&self, domain: Option<Domain>, id: &ItemId) -> Result<bool, StoreError> {
        self.look_again_where(id, |found| domain.is_none_or(|domain| domain == found))
    }

    /// Lists the items of which readers found a copy damaged, whether or not there is another one. `None` if
    /// they are more than `count_max`, or if it cannot be told which they are. Each copy is looked at again
    /// before, unless that was done less than a minute ago.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be used.
    pub fn damaged_items(&self, count_max: usize) -> Result<Option<Vec<ItemId>>, StoreError> {
        self.find_damaged(count_max)
    }

    /// Where copies of an item stand that are damaged or cannot be read: the pack, and the entry where that can
    /// be told.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be used.
    pub fn unusable_copies(&self, id: &ItemId) -> Result<Vec<(PathBuf, Option<u32>)>, StoreError> {
        self.find_unusable(id)
    }

    /// Puts the plain bytes of the item into `plain`, checked against its id.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if no pack has it, every copy is damaged, or the store cannot be used.
    /// `plain` is then of no use.
    pub fn read(&self, id: &ItemId, plain: &mut Vec<u8>) -> Result<(), ReadError> {
        self.with_sound_index(|| self.read_plain(id, None, plain))
    }

    /// Reads as [`Store::read`], but only a copy whose plain form has exactly `plain_len` bytes.
    ///
    /// For pages: their ids alone do not say how many values they have. One that is missing is
    /// taken to be so without a look through the index.
    ///
    /// # Errors
    ///
    /// As for [`Store::read`].
    pub fn read_of_len(&self, id: &ItemId, plain_len: u32, plain: &mut Vec<u8>) -> Result<(), ReadError> {
        self.read_plain_of_len(id, plain_len, plain)
    }

    /// Reads an item as it is stored, its stored bytes checked.
    ///
    /// # Errors
    ///
    /// As for [`Store::read`].
    pub fn read_stored(&self, id: &ItemId) -> Result<StoredItem, ReadError> {
        self.with_sound_index(|| self.read_as_stored(id, None))
    }

    /// Says how an item is stored, without reading it; `None` if no pack has it.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be used.
    pub fn stored_form(&self, id: &ItemId) -> Result<Option<StoredForm>, StoreError> {
        self.find_form(id)
    }

    /// Lists the manifests of the file `oid` that the store has.
    ///
    /// They were decoded when they came in; that they are complete is not said.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be used.
    pub fn manifests_of(&self, oid: &FileHash) -> Result<Vec<ManifestHash>, StoreError> {
        self.find_manifests(oid)
    }

    /// As [`Store::manifests_of`], by what was known when the store was last refreshed.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be used.
    pub fn manifests_known(&self, oid: &FileHash) -> Result<Vec<ManifestHash>, StoreError> {
        self.find_known_manifests(oid)
    }

    /// Notes that a manifest does not lead to the file `oid`, although all that it names is as
    /// it should be: [`Store::manifests_of`] leaves it out from then on.
    ///
    /// Where nothing can be written, the next reader finds out for itself.
    pub fn note_unusable(&self, oid: &FileHash, manifest: &ManifestHash) {
        self.forget_manifest(oid, manifest);
    }

    /// Finds the manifest that was last made from the bytes of a file at `path`, if that is remembered.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be used.
    pub fn last_added(&self, path: &[u8]) -> Result<Option<ManifestHash>, StoreError> {
        lock(&self.known).with_index(&self.layout, |index| index.last_added(&path_key(path)))
    }

    /// Remembers that this manifest was made from the bytes of a file at `path`.
    ///
    /// Who calls this made it: a manifest from elsewhere may lie about its file.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if that cannot be written, which does no harm.
    pub fn note_added(&self, path: &[u8], manifest: &ManifestHash) -> Result<(), StoreError> {
        lock(&self.known).with_index(&self.layout, |index| index.note_added(&path_key(path), manifest))
    }

    /// Learns what other processes and machines wrote since.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be used.
    pub fn refresh(&self) -> Result<(), StoreError> {
        lock(&self.known).refresh(&self.layout)
    }

    /// Closes packs that a collection of another process has removed: while they are open the disk keeps their room.
    pub fn let_go_of_removed(&self) {
        lock(&self.handles).let_go_of_removed();
    }

    /// Brings to stable storage what any writer of any process has committed so far, those that
    /// died before they could included.
    ///
    /// A server says of a file that it is held only after this: parts of the file may have
    /// come with another client's upload, which is still going on.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if something cannot be synced. [`StoreError::Lost`] says, once, that what an earlier
    /// sync left unwritten is lost; it counts as damaged from then on.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.sync_all()
    }

    /// Fails while an item that a sync could not save is in no other pack. What counts as there is safe all
    /// the same: this is for who was told that the item was stored.
    ///
    /// # Errors
    ///
    /// [`StoreError::Lost`], or that the store cannot be used.
    pub fn check_nothing_lost(&self) -> Result<(), StoreError> {
        match self.find_lost()? {
            Some(path) => Err(StoreError::Lost { path }),
            None => Ok(()),
        }
    }

    /// Makes a writer of items of `domain`; it touches nothing before its first item.
    pub fn writer(&self, domain: Domain) -> PackWriter<'_> {
        PackWriter::new(self, domain)
    }
}

fn path_key(path: &[u8]) -> [u8; 16] {
    let mut key = [0; 16];
    key.copy_from_slice(&blake3::hash(path).as_bytes()[..16]);
    key
}

/// Returns true if the error says that this place can be read only.
fn is_unwritable(error: &StoreError) -> bool {
    match error {
        StoreError::Io { source, .. } => {
            matches!(source.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
        }
        _ => index::is_unwritable_index(error),
    }
}

/// Takes a lock, also after a thread that held it panicked: nothing here is left half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
