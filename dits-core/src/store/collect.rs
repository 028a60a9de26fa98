//! Giving back what nobody needs: packs of which little or nothing is live are rewritten or removed.
//!
//! **For:** `git dits gc` and `ditsd gc`, which say what is needed; this knows how the rest goes.
//!
//! **May touch:** the store's folder and its index.
//!
//! **Must hold:**
//! - nothing goes that was marked, or that came after the marks were made;
//! - a pack goes only after it was marked as condemned, on stable storage, and everybody who relied on it before
//!   had the time to say so;
//! - a collection that is killed leaves a store that is whole, and the next one goes on.
//!
//! **Format:** `docs/formats/collection-v1.md`.

mod choice;
mod condemned;
mod copying;
mod guard;
mod marks;
mod removing;
mod survey;

use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::error::{PackProblem, StoreError, WriteError};
use super::find::{Found, Located};
use super::{Sharing, Store, lock};
use crate::hash::{FileHash, ManifestHash, PackHash};
use crate::item::ItemId;
use crate::pack_format::Domain;

pub use guard::Guard;

use guard::Earlier;
use marks::Marks;
use survey::Survey;

/// How long a pack of a share is condemned before it can go: so long after its hook has looked a push may move refs.
pub const SHARE_WAIT: Duration = Duration::from_secs(3600);

/// A collection that cannot go on. Nothing that is needed is gone.
#[derive(Debug, thiserror::Error)]
pub enum CollectionError {
    /// Another process of this machine is at it.
    #[error("another collection of {dir} is under way")]
    Busy {
        /// The store's folder.
        dir: PathBuf,
    },
    /// Nothing can be written to this store.
    #[error("the store {dir} cannot be written to")]
    ReadOnly {
        /// The store's folder.
        dir: PathBuf,
    },
    /// The index does not find what the packs have, or was made anew meanwhile.
    #[error("the index of {dir} was made anew, or does not find what is there")]
    Index {
        /// The store's folder.
        dir: PathBuf,
    },
    /// What is to stay could not be copied.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a collection did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Collected {
    /// Items that are needed.
    pub live_items: u64,
    /// Bytes of them, as they are stored.
    pub live_len: u64,
    /// Bytes of all others that were there; those in young packs, and where too little is dead, stay.
    pub dead_len: u64,
    /// Bytes that a collection without a limit would free now.
    pub freeable_len: u64,
    /// Packs that are gone.
    pub removed_packs: u64,
    /// Bytes that these packs had.
    pub removed_len: u64,
    /// Bytes that were written, because they are needed and stood in such packs.
    pub written_len: u64,
    /// Packs that are condemned, and go with a later collection.
    pub waiting_packs: u64,
    /// Bytes that they have.
    pub waiting_len: u64,
    /// Set where the disk had no room for the copies of what is needed: the rest stays as it is.
    pub is_disk_full: bool,
}

impl Collected {
    /// Bytes that the store is smaller by.
    pub fn freed_len(&self) -> u64 {
        self.removed_len.saturating_sub(self.written_len)
    }
}

/// Where a collection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CollectProgress {
    /// So many items are known to be needed.
    Marking {
        /// Items.
        items: u64,
    },
    /// What is needed is written to other packs.
    Copying {
        /// Bytes that were written.
        done: u64,
        /// Bytes to write.
        total: u64,
    },
    /// Others may still rely on packs that are condemned.
    Waiting,
    /// Packs are removed.
    Removing {
        /// Packs that are gone.
        done: u64,
        /// Packs to remove.
        total: u64,
    },
}

/// What marking found of an item.
pub(crate) enum Entered {
    /// It is not in the store.
    Absent,
    /// All that it names is marked.
    Walked,
    /// What it names is to be marked; then [`Collection::leave`] is told.
    New(Located),
}

/// The lock of a collection.
struct Turn(File);

impl Drop for Turn {
    fn drop(&mut self) {
        // A child that is just being started has the file too, until its program is loaded: closing would not do.
        let _ = self.0.unlock();
    }
}

/// A collection under way.
pub(crate) struct Collection<'s> {
    store: &'s Store,
    /// Keeps others away.
    _lock: Option<Turn>,
    grace: Duration,
    /// What pack times are compared with.
    now: SystemTime,
    generation: u64,
    survey: Survey,
    marks: Marks,
    /// Condemned packs on which nobody relies any more who does not say so.
    ripe: Vec<PackHash>,
    collected: Collected,
}

impl<'s> Collection<'s> {
    /// Begins a collection that removes only from packs that were written to at least `grace` ago.
    pub fn begin(store: &'s Store, grace: Duration) -> Result<Collection<'s>, CollectionError> {
        if !store.is_writable {
            return Err(CollectionError::ReadOnly { dir: store.layout.dir.clone() });
        }
        let lock = match store.sharing {
            Sharing::Machine => Some(take_turn(store)?),
            Sharing::Network => None,
        };
        let now = condemned::now(store)?;
        Collection::look(store, grace, now, lock)
    }

    /// Looks at what a collection would do; touches nothing.
    pub fn rehearse(store: &'s Store, grace: Duration) -> Result<Collection<'s>, CollectionError> {
        Collection::look(store, grace, SystemTime::now(), None)
    }

    fn look(
        store: &'s Store,
        grace: Duration,
        now: SystemTime,
        lock: Option<Turn>,
    ) -> Result<Collection<'s>, CollectionError> {
        let survey = survey::survey(store)?;
        let mut marks = Marks::default();
        survey.packs.iter().for_each(|pack| marks.add_pack(pack.no, pack.entry_count));
        let generation = super::lock(&store.known).generation();
        let (ripe, collected) = (Vec::new(), Collected::default());
        Ok(Collection { store, _lock: lock, grace, now, generation, survey, marks, ripe, collected })
    }

    /// A pack, or one with a manifest, that cannot be read: it may lead to anything.
    pub fn unreadable(&self) -> Option<(PathBuf, PackProblem)> {
        self.survey.unreadable.clone()
    }

    /// Lists the manifests of the file `oid`, also those of which a reader found that they are of no use.
    pub fn manifests_of(&self, oid: &FileHash) -> Result<Vec<ManifestHash>, StoreError> {
        let mut manifests = self.store.manifests_of(oid)?;
        manifests.extend(self.survey.unlisted.get(oid).into_iter().flatten());
        Ok(manifests)
    }

    /// How many items were found to be needed so far.
    pub fn live_count(&self) -> u64 {
        self.marks.live_count()
    }

    /// Marks items of `domain` that name no others.
    pub fn mark_each(&mut self, domain: Domain, ids: &[ItemId]) -> Result<(), CollectionError> {
        let located = self.store.find_each(ids)?;
        for (id, Located(found)) in ids.iter().zip(located) {
            let found = self.look_again(id, found)?;
            self.marks.mark(domain, &found.copies);
        }
        Ok(())
    }

    /// Marks a manifest or span of `domain`, and says whether what it names is to be marked as well.
    pub fn enter(&mut self, domain: Domain, id: &ItemId) -> Result<Entered, CollectionError> {
        let found = self.look_again(id, self.store.find(id)?)?;
        self.marks.mark(domain, &found.copies);
        Ok(match &found {
            found if self.marks.is_walked(domain, id, &found.copies) => Entered::Walked,
            found if found.copies.is_empty() => Entered::Absent,
            _ => Entered::New(Located(found)),
        })
    }

    /// Notes that all that a manifest or span names is marked.
    pub fn leave(&mut self, domain: Domain, id: &ItemId, Located(found): &Located) {
        self.marks.note_walked(domain, id, &found.copies);
    }

    /// Finds an item once more whose pack went meanwhile: another collection may have moved it.
    fn look_again(&self, id: &ItemId, found: Found) -> Result<Found, CollectionError> {
        if found.copies.is_empty() && found.gone {
            self.store.refresh()?;
            return Ok(self.store.find(id)?);
        }
        Ok(found)
    }

    /// Returns true if packs are condemned that are not gone.
    pub fn has_condemned(&self) -> bool {
        self.survey.packs.iter().any(|pack| pack.is_condemned)
    }

    /// Returns true if there are condemned packs that can go.
    pub fn has_ripe(&self) -> bool {
        !self.ripe.is_empty()
    }

    /// Waits for those who may rely on condemned packs, `wait_max` at most.
    pub fn wait(&mut self, wait_max: Duration) -> Result<(), CollectionError> {
        let condemned = self.survey.packs.iter().filter(|pack| pack.is_condemned).filter_map(|pack| match pack.name {
            survey::PackName::Sealed(hash) => Some(hash),
            survey::PackName::Open(_) => None,
        });
        // Where there is none, on a share, that finds nobody.
        let is_free = Earlier::put_aside(&self.store.layout)?.wait(wait_max)?;
        self.ripe = match self.store.sharing {
            _ if !is_free => Vec::new(),
            Sharing::Machine => condemned.collect(),
            Sharing::Network => {
                let now = condemned::now(self.store)?;
                let is_ripe = |hash: &PackHash| condemned::age(&self.store.layout, hash, now) >= Some(SHARE_WAIT);
                condemned.filter(is_ripe).collect()
            }
        };
        // What others wrote, or condemned, meanwhile.
        self.store.refresh()?;
        Ok(())
    }

    /// Adds up what is needed and what is not, once all that is needed is marked.
    pub fn weigh(&mut self) {
        let staying = self.survey.packs.iter().filter(|pack| !pack.is_condemned);
        let lens = staying.map(|pack| (self.marks.kept(pack.no).map_or(0, |(_, len)| len), pack.payload_len));
        let (live_len, payload_len) = lens.fold((0, 0), |(live, all), (kept, len)| (live + kept.min(len), all + len));
        self.collected.live_len = live_len;
        self.collected.dead_len = payload_len - live_len;
        self.collected.freeable_len = self.freeable_len();
    }

    /// What was done, and what is left to do.
    pub fn finish(mut self) -> Collected {
        for pack in self.survey.packs.iter().filter(|pack| pack.is_condemned) {
            self.collected.waiting_packs += 1;
            self.collected.waiting_len += pack.payload_len;
        }
        self.collected.live_items = self.marks.live_count();
        self.collected
    }

    /// Fails if numbers of packs mean others now than when the marks were made.
    fn check_generation(&self) -> Result<(), CollectionError> {
        match lock(&self.store.known).generation() == self.generation {
            true => Ok(()),
            false => Err(CollectionError::Index { dir: self.store.layout.dir.clone() }),
        }
    }
}

/// Keeps other collections of this machine away.
fn take_turn(store: &Store) -> Result<Turn, CollectionError> {
    let path = store.layout.collecting();
    let failed = |source| StoreError::io(&path, source);
    let file = File::options().create(true).append(true).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Turn(file)),
        Err(TryLockError::WouldBlock) => Err(CollectionError::Busy { dir: store.layout.dir.clone() }),
        Err(TryLockError::Error(source)) => Err(failed(source).into()),
    }
}
