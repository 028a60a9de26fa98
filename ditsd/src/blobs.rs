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

use dits_core::item::ItemId;
use dits_core::pack_format::Domain;
use dits_core::steps::{self, Step};
use dits_core::store::{Sharing, Store, StoreError, StoreOptions};

use crate::data::{Presence, PresenceError};
use crate::db::{Db, DbError, RepoId};
use crate::root::Root;

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

    /// Returns true if the repository's client sent the item while another repository's
    /// pack held it, and one still does.
    ///
    /// # Errors
    ///
    /// [`BlobError`] if store or database cannot be asked.
    pub fn is_adopted(&self, domain: Domain, id: &ItemId) -> Result<bool, BlobError> {
        Ok(self.db.has_presence(RepoId(domain.0), id)? && self.store.has(id)?)
    }

    /// Records that the repository's client sent these items, which another repository's
    /// packs hold. The caller has checked the bytes it got against their names.
    ///
    /// # Errors
    ///
    /// [`BlobError::Db`].
    pub fn adopt(&self, domain: Domain, ids: &[ItemId]) -> Result<(), BlobError> {
        self.db.record_presence(RepoId(domain.0), ids)?;
        if !ids.is_empty() {
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

    fn record(&self, domain: Domain, ids: &[ItemId]) -> Result<(), PresenceError> {
        Ok(self.adopt(domain, ids)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dits_core::codec::Codec;
    use dits_core::hash::ChunkHash;
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
        blobs.adopt(other, &[chunk]).unwrap();
        assert!(blobs.is_present(other, &chunk).unwrap());
    }

    #[test]
    fn what_no_pack_holds_is_not_present_whatever_was_recorded() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::create(dir.path()).unwrap();
        let db = Arc::new(Db::open(&root.meta()).unwrap());
        let blobs = Blobs::open(&root, db.clone()).unwrap();
        let film = db.ensure_repo(&RepoName::new("film").unwrap(), RepoId([1; 16]), 1).unwrap().domain();
        let chunk = ItemId::from(ChunkHash::of(b"footage"));
        blobs.adopt(film, &[chunk]).unwrap();
        assert!(!blobs.is_present(film, &chunk).unwrap());
    }
}
