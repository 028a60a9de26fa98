//! Several stores read as one.
//!
//! **For:** a repository that has its own store, alternates, and remotes on a local path.
//!
//! **May touch:** what [`Store`] touches; only the first store is ever written to.
//!
//! **Must hold:** a store that cannot be used never hides an item that another one has.

use std::fs::File;

use super::error::{ReadError, StoreError, WriteError};
use super::{Located, NewItem, Store, StoredForm, StoredItem};
use crate::codec::Encoder;
use crate::hash::{FileHash, ManifestHash};
use crate::item::ItemId;
use crate::pack_format::Domain;

/// One store, or several read as one.
pub trait Items: Sync {
    /// Looks up many items at once, to be read soon. One that is not there is found missing then.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the own store cannot be used.
    fn locate(&self, ids: &[ItemId]) -> Result<Vec<Located>, StoreError>;

    /// Reads as [`Store::read`], without asking the index where the item was located before.
    ///
    /// # Errors
    ///
    /// As for [`Store::read`].
    fn read_located(&self, id: &ItemId, located: Option<Located>, plain: &mut Vec<u8>) -> Result<(), ReadError>;

    /// Reads a copy that was located, as it is; returns false if there is none that can be read.
    ///
    /// Only for who checks what is put together of it, and asks for checked bytes if that is wrong.
    fn read_unchecked(&self, located: &Located, plain: &mut Vec<u8>) -> bool;
}

impl Items for Store {
    fn locate(&self, ids: &[ItemId]) -> Result<Vec<Located>, StoreError> {
        self.find_each(ids)
    }

    fn read_located(&self, id: &ItemId, mut located: Option<Located>, plain: &mut Vec<u8>) -> Result<(), ReadError> {
        self.with_sound_index(|| self.read_plain(id, located.take(), plain))
    }

    fn read_unchecked(&self, located: &Located, plain: &mut Vec<u8>) -> bool {
        self.read_located_unchecked(located, plain)
    }
}

impl Items for Sources {
    fn locate(&self, ids: &[ItemId]) -> Result<Vec<Located>, StoreError> {
        // What only another store has is found as it is read.
        self.own.locate(ids)
    }

    fn read_located(&self, id: &ItemId, mut located: Option<Located>, plain: &mut Vec<u8>) -> Result<(), ReadError> {
        self.first_good(|store| store.read_plain(id, located.take(), plain))
    }

    fn read_unchecked(&self, located: &Located, plain: &mut Vec<u8>) -> bool {
        self.own.read_located_unchecked(located, plain)
    }
}

/// A repository's own store, and others to read from.
#[derive(Debug)]
pub struct Sources {
    own: Store,
    others: Vec<Store>,
}

impl Sources {
    /// Makes the sources of a repository; `others` are asked in the order given.
    pub fn new(own: Store, others: Vec<Store>) -> Sources {
        Sources { own, others }
    }

    /// The repository's own store, the one that is written to.
    pub fn own(&self) -> &Store {
        &self.own
    }

    /// Returns true if one of the stores has the item.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the own store cannot be used. Another that cannot has nothing.
    pub fn has(&self, id: &ItemId) -> Result<bool, StoreError> {
        Ok(self.own.has(id)? || self.others.iter().any(|store| store.has(id).unwrap_or(false)))
    }

    /// Says for each of `ids` whether one of the stores has it.
    ///
    /// # Errors
    ///
    /// As for [`Sources::has`].
    pub fn has_each(&self, ids: &[ItemId]) -> Result<Vec<bool>, StoreError> {
        self.each(ids, Store::has_each)
    }

    /// Says for each of `ids` whether one of the stores has it to be [read](Store::can_read_each).
    ///
    /// # Errors
    ///
    /// As for [`Sources::has`].
    pub fn can_read_each(&self, ids: &[ItemId]) -> Result<Vec<bool>, StoreError> {
        self.each(ids, Store::can_read_each)
    }

    fn each(
        &self,
        ids: &[ItemId],
        ask: impl Fn(&Store, &[ItemId]) -> Result<Vec<bool>, StoreError>,
    ) -> Result<Vec<bool>, StoreError> {
        let mut has = ask(&self.own, ids)?;
        for store in &self.others {
            let absent: Vec<usize> = (0..ids.len()).filter(|at| !has[*at]).collect();
            let asked: Vec<ItemId> = absent.iter().map(|at| ids[*at]).collect();
            let answers = ask(store, &asked).unwrap_or_default();
            absent.into_iter().zip(answers).for_each(|(at, answer)| has[at] = answer);
        }
        Ok(has)
    }

    /// Has `to` share the blocks of a pack whose payload begins with the raw item and has `len` bytes or more. Returns
    /// false if there is none, or the file system cannot: `to` is then as it was. What it has else, and behind
    /// these bytes, is for the caller to look at.
    ///
    /// # Errors
    ///
    /// As for [`Sources::has`].
    pub fn share_pack(&self, first: &ItemId, len: u64, to: &File) -> Result<bool, StoreError> {
        let other = |store: &Store| store.share_pack(first, len, to).unwrap_or(false);
        Ok(self.own.share_pack(first, len, to)? || self.others.iter().any(other))
    }

    /// Reads as [`Store::read`], from the first store that has a good copy.
    ///
    /// # Errors
    ///
    /// What the own store said, or another one that has a damaged copy.
    pub fn read(&self, id: &ItemId, plain: &mut Vec<u8>) -> Result<(), ReadError> {
        self.first_good(|store| store.read_plain(id, None, plain))
    }

    /// Reads as [`Store::read_stored`], from the first store that has a good copy.
    ///
    /// # Errors
    ///
    /// As for [`Sources::read`].
    pub fn read_stored(&self, id: &ItemId) -> Result<StoredItem, ReadError> {
        self.read_stored_located(id, None)
    }

    /// As [`Sources::read_stored`], without asking the index where the item was located before.
    ///
    /// # Errors
    ///
    /// As for [`Sources::read`].
    pub fn read_stored_located(&self, id: &ItemId, mut located: Option<Located>) -> Result<StoredItem, ReadError> {
        self.first_good(|store| store.read_as_stored(id, located.take()))
    }

    /// Says as [`Store::stored_form`] how an item is stored, in the first store that has it.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the own store cannot be used.
    pub fn stored_form(&self, id: &ItemId) -> Result<Option<StoredForm>, StoreError> {
        let own = self.own.stored_form(id)?;
        Ok(own.or_else(|| self.others.iter().find_map(|store| store.stored_form(id).ok().flatten())))
    }

    /// Copies into the own store those of `ids` that it has not, and another store has. Returns how many.
    ///
    /// # Errors
    ///
    /// [`WriteError`] if the own store cannot be used or written to.
    pub fn bring_home(&self, ids: &[ItemId]) -> Result<u64, WriteError> {
        let mut writer = self.own.writer(Domain::LOCAL);
        let (mut encoder, mut plain) = (Encoder::new(), Vec::new());
        let mut count = 0;
        for id in ids {
            if self.own.has(id)? || !self.others.iter().any(|store| store.read(id, &mut plain).is_ok()) {
                continue;
            }
            let (codec, stored) = encoder.encode(&plain);
            writer.put(NewItem { id: *id, codec, plain_len: plain.len() as u32, stored })?;
            count += 1;
        }
        writer.sync()?;
        Ok(count)
    }

    /// Lists the manifests of the file `oid` that any of the stores has.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the own store cannot be used.
    pub fn manifests_of(&self, oid: &FileHash) -> Result<Vec<ManifestHash>, StoreError> {
        let mut manifests = self.own.manifests_of(oid)?;
        for store in &self.others {
            for manifest in store.manifests_of(oid).unwrap_or_default() {
                if !manifests.contains(&manifest) {
                    manifests.push(manifest);
                }
            }
        }
        Ok(manifests)
    }

    /// As [`Sources::manifests_of`], by what was known when the stores were last refreshed. A store that cannot be
    /// used has none.
    pub fn manifests_known(&self, oid: &FileHash) -> Vec<ManifestHash> {
        let stores = std::iter::once(&self.own).chain(&self.others);
        stores.flat_map(|store| store.manifests_known(oid).unwrap_or_default()).collect()
    }

    /// Notes in every store that can that a manifest does not lead to the file `oid`.
    pub fn note_unusable(&self, oid: &FileHash, manifest: &ManifestHash) {
        std::iter::once(&self.own).chain(&self.others).for_each(|store| store.note_unusable(oid, manifest));
    }

    /// Refreshes as [`Store::refresh`] every store that can be used.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the own store cannot be used.
    pub fn refresh(&self) -> Result<(), StoreError> {
        self.own.refresh()?;
        for store in &self.others {
            // One that cannot be used now has no news; reading from it will say why.
            let _ = store.refresh();
        }
        Ok(())
    }

    fn first_good<T>(&self, mut read: impl FnMut(&Store) -> Result<T, ReadError>) -> Result<T, ReadError> {
        let mut worst = match self.first_good_now(&mut read) {
            Err(error @ ReadError::Missing(_)) => error,
            result => return result,
        };
        // It is nowhere: only now is it worth while to look through every index.
        for store in std::iter::once(&self.own).chain(&self.others) {
            if store.replaces_bad_index().unwrap_or(false) {
                match read(store) {
                    Err(error) => worst = error,
                    found => return found,
                }
            }
        }
        Err(worst)
    }

    fn first_good_now<T>(&self, read: &mut impl FnMut(&Store) -> Result<T, ReadError>) -> Result<T, ReadError> {
        let mut worst = match read(&self.own) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        for store in &self.others {
            match read(store) {
                Ok(value) => return Ok(value),
                Err(error) if matches!(worst, ReadError::Missing(_)) => worst = error,
                Err(_) => {}
            }
        }
        Err(worst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codec;
    use crate::hash::ChunkHash;
    use crate::pack_format::Domain;
    use crate::store::{NewItem, Sharing, StoreOptions, lock};

    fn open(dir: &std::path::Path) -> Store {
        let options = StoreOptions { dir: dir.into(), index: dir.join("index.sqlite"), sharing: Sharing::Machine };
        Store::open(options).expect("a store")
    }

    fn was_checked(store: &Store) -> bool {
        lock(&store.known).take_check().is_none()
    }

    #[test]
    fn an_index_is_looked_through_only_where_what_must_be_there_is_nowhere() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let [own, other] = ["own", "other"].map(|name| open(&dir.path().join(name)));
        let id = ItemId::from(ChunkHash::of(b"there"));
        let mut writer = other.writer(Domain::LOCAL);
        writer.put(NewItem { id, codec: Codec::Raw, plain_len: 5, stored: b"there" }).expect("put");
        writer.commit().expect("committed");
        drop(writer);
        let absent = ItemId::from(ChunkHash::of(b"nowhere"));
        let mut plain = Vec::new();
        assert!(!own.has(&absent).expect("readable") && own.has_each(&[absent]).expect("readable") == [false]);
        own.read_of_len(&absent, 7, &mut plain).expect_err("it is not there");
        let sources = Sources::new(own, vec![other]);
        sources.read(&id, &mut plain).expect("there");
        sources.read_stored(&id).expect("there");
        assert!(!was_checked(sources.own()), "the check that was due is taken here");
        let sources = Sources::new(open(&dir.path().join("own")), vec![open(&dir.path().join("other"))]);
        sources.read(&absent, &mut plain).expect_err("it is nowhere");
        assert!(was_checked(sources.own()) && sources.others.iter().all(was_checked));
    }
}
