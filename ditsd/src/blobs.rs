//! The store of all repositories, and what each of them has in it.
//!
//! **For:** saying what a repository has, and keeping what its clients send.
//!
//! **May touch:** the store in the server root, and presence in the database. Calls block.
//!
//! **Must hold:** an item is present in a repository only if a pack of its domain holds it,
//! or its own client sent the bytes while another repository's pack held them already.

mod whole;

pub use whole::KnownLost;

use std::sync::Arc;

use dits_core::item::{ItemId, ItemKind};
use dits_core::manifest::span::Span;
use dits_core::pack_format::Domain;
use dits_core::steps::{self, Step};
use dits_core::store::{ReadError, Sharing, Store, StoreError, StoreOptions};

use crate::clock;
use crate::data::{Presence, PresenceError};
use crate::db::{Db, DbError, Lease, LeaseId, RepoId};
use crate::root::Root;
use crate::rules::lease;

/// The store and what the database knows of it.
#[derive(Debug, Clone)]
pub struct Blobs {
    store: Arc<Store>,
    db: Arc<Db>,
}

/// Why the store did not answer.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database could not.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Blobs {
    /// Opens the store of a server root.
    ///
    /// # Errors
    ///
    /// [`StoreError`] for a store that cannot be used.
    pub fn open(root: &Root, db: Arc<Db>) -> Result<Blobs, StoreError> {
        let store = Store::open(options(root))?;
        Ok(Blobs { store: Arc::new(store), db })
    }

    /// Opens the store of a server root to read it; `None` where nothing was ever stored.
    ///
    /// # Errors
    ///
    /// [`StoreError`] for a store that cannot be used.
    pub fn open_existing(root: &Root, db: Arc<Db>) -> Result<Option<Blobs>, StoreError> {
        let store = Store::open_existing(options(root))?;
        Ok(store.map(|store| Blobs { store: Arc::new(store), db }))
    }

    /// The store. What it holds of other domains is none of a repository's business.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Returns true if the repository has the item.
    ///
    /// # Errors
    ///
    /// [`BlobError`] if store or database cannot be asked.
    pub fn is_present(&self, domain: Domain, id: &ItemId) -> Result<bool, BlobError> {
        Ok(self.store.has_in(domain, id)? || self.is_adopted(domain, id)?)
    }

    /// As [`Blobs::is_present`] for each of `ids`, which is much faster for many.
    ///
    /// # Errors
    ///
    /// [`BlobError`] if store or database cannot be asked.
    pub fn are_present(&self, domain: Domain, ids: &[ItemId]) -> Result<Vec<bool>, BlobError> {
        let mut present = self.store.has_each_in(domain, ids)?;
        let absent: Vec<usize> = (0..ids.len()).filter(|at| !present[*at]).collect();
        let asked: Vec<ItemId> = absent.iter().map(|at| ids[*at]).collect();
        for (at, is_recorded) in absent.into_iter().zip(self.db.have_presence(RepoId(domain.0), &asked)?) {
            present[at] = is_recorded && self.store.has(&ids[at])?;
        }
        Ok(present)
    }

    /// Says of each of `ids` whether a client may lean on it: a span that is present without all of its chunks is
    /// no use, since a client that hears of it sends none of them.
    ///
    /// # Errors
    ///
    /// [`BlobError`] if store or database cannot be asked.
    pub fn are_usable(&self, domain: Domain, ids: &[ItemId]) -> Result<Vec<bool>, BlobError> {
        let mut usable = self.are_present(domain, ids)?;
        let mut plain = Vec::new();
        for (is_usable, id) in
            usable.iter_mut().zip(ids).filter(|(is_present, id)| **is_present && id.kind == ItemKind::Span)
        {
            let chunks = match self.store.read(id, &mut plain) {
                Ok(()) => Span::decode(&plain).ok(),
                Err(ReadError::Store(error)) => return Err(error.into()),
                Err(ReadError::Missing(_) | ReadError::Damaged { .. } | ReadError::Unreadable { .. }) => None,
            };
            let chunks =
                chunks.map(|span| span.entries().iter().map(|entry| entry.hash.into()).collect::<Vec<ItemId>>());
            *is_usable = match chunks {
                Some(chunks) => self.are_present(domain, &chunks)?.into_iter().all(|is_present| is_present),
                None => false,
            };
        }
        Ok(usable)
    }

    /// Returns true if the repository's client sent the item while another repository's
    /// pack held it, and one still does.
    ///
    /// # Errors
    ///
    /// [`BlobError`] if store or database cannot be asked.
    pub fn is_adopted(&self, domain: Domain, id: &ItemId) -> Result<bool, BlobError> {
        Ok(self.db.has_presence(RepoId(domain.0), id)? && self.store.has(id)?)
    }

    /// Keeps what the repository's client sent and the store had already: `there` in its own packs, and
    /// `adopted` in those of other repositories, which it is recorded to have as well from now on. The caller has checked
    /// the bytes it got against their names.
    ///
    /// # Errors
    ///
    /// [`BlobError::Db`].
    pub fn keep_sent(
        &self,
        domain: Domain,
        lease: Lease,
        adopted: &[ItemId],
        there: &[ItemId],
    ) -> Result<(), BlobError> {
        self.db.keep_sent(RepoId(domain.0), lease, adopted, there)?;
        if !adopted.is_empty() {
            steps::reached(Step::PresenceRecorded);
        }
        Ok(())
    }
}

fn options(root: &Root) -> StoreOptions {
    let dir = root.store();
    let index = dir.join("index.sqlite");
    StoreOptions { dir, index, sharing: Sharing::Machine }
}

impl Presence for Blobs {
    fn has(&self, domain: Domain, id: &ItemId) -> Result<bool, PresenceError> {
        Ok(self.is_adopted(domain, id)?)
    }

    fn record(
        &self,
        domain: Domain,
        lease: [u8; 16],
        adopted: &[ItemId],
        there: &[ItemId],
    ) -> Result<(), PresenceError> {
        let now = clock::now();
        let lease = Lease { id: LeaseId(lease), expires: lease::expires(now), now };
        Ok(self.keep_sent(domain, lease, adopted, there)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dits_core::codec::Codec;
    use dits_core::hash::ChunkHash;
    use dits_core::manifest::span::ChunkEntry;
    use dits_core::repo_path::RepoName;
    use dits_core::store::NewItem;

    #[test]
    fn what_one_repository_has_another_lacks_until_its_client_sends_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::create(dir.path()).unwrap();
        let db = Arc::new(Db::open(&root.meta()).unwrap());
        let blobs = Blobs::open(&root, db.clone()).unwrap();
        let domain = |name: &str, id| db.ensure_repo(&RepoName::new(name).unwrap(), RepoId(id), 1).unwrap().domain();
        let (film, other) = (domain("film", [1; 16]), domain("other", [2; 16]));
        let chunk = ItemId::from(ChunkHash::of(b"footage"));
        let mut writer = blobs.store().writer(film);
        writer.put(NewItem { id: chunk, codec: Codec::Raw, plain_len: 7, stored: b"footage" }).unwrap();
        writer.commit().unwrap();
        assert!(blobs.is_present(film, &chunk).unwrap());
        assert!(!blobs.is_present(other, &chunk).unwrap());
        blobs.record(other, [1; 16], &[chunk], &[]).unwrap();
        assert!(blobs.is_present(other, &chunk).unwrap());
    }

    #[test]
    fn a_span_is_of_use_only_with_all_of_its_chunks() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::create(dir.path()).unwrap();
        let blobs = Blobs::open(&root, Arc::new(Db::open(&root.meta()).unwrap())).unwrap();
        let film = Domain([1; 16]);
        let chunks = [&b"one"[..], b"two"];
        let span = Span::new(chunks.map(|chunk| ChunkEntry::new(ChunkHash::of(chunk), 3)).to_vec()).unwrap();
        let (id, encoded) = (ItemId::from(span.hash()), span.encode());
        let mut writer = blobs.store().writer(film);
        let mut put = |id, stored: &[u8]| {
            writer.put(NewItem { id, codec: Codec::Raw, plain_len: stored.len() as u32, stored }).unwrap();
            writer.commit().unwrap();
            blobs.are_usable(film, &[span.hash().into()]).unwrap()
        };
        assert_eq!(put(id, &encoded), [false]);
        assert_eq!(put(ChunkHash::of(chunks[0]).into(), chunks[0]), [false]);
        assert_eq!(put(ChunkHash::of(chunks[1]).into(), chunks[1]), [true]);
    }

    #[test]
    fn what_no_pack_holds_is_not_present_whatever_was_recorded() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::create(dir.path()).unwrap();
        let db = Arc::new(Db::open(&root.meta()).unwrap());
        let blobs = Blobs::open(&root, db.clone()).unwrap();
        let film = db.ensure_repo(&RepoName::new("film").unwrap(), RepoId([1; 16]), 1).unwrap().domain();
        let chunk = ItemId::from(ChunkHash::of(b"footage"));
        blobs.record(film, [1; 16], &[chunk], &[]).unwrap();
        assert!(!blobs.is_present(film, &chunk).unwrap());
    }
}
