//! Files that are held, looked at again once damage was found.
//!
//! **For:** whoever believes a row of `held`: it was written when the content was proven, and a disk
//! may have lost a part since.
//!
//! **Must hold:** a file of which a part is known to be damaged, and nowhere else, does not count as
//! held, so that a client that has the part sends it again; without known damage this costs one
//! question to the index, and with it one look at what is damaged for each call or push.

use std::collections::HashSet;

use dits_core::item::{ItemId, ItemKind};
use dits_core::manifest::Manifest;
use dits_core::manifest::span::Span;
use dits_core::pack_format::Domain;
use dits_core::store::ReadError;

use super::{BlobError, Blobs};
use crate::db::Held;

/// Damaged items that are remembered one by one; of more, each part of a file is looked for.
const DAMAGED_MAX: usize = 64 * 1024;

/// Which items may be lost.
enum Lost {
    These(HashSet<ItemId>),
    Unknown,
}

/// What a repository is known to have lost, as of when it first mattered; kept for one call or push.
#[derive(Default)]
pub struct KnownLost(Option<Lost>);

impl Blobs {
    /// Leaves out the files of which a part is known to be damaged. `known` is of this repository alone.
    ///
    /// # Errors
    ///
    /// [`BlobError`] if store or database cannot be asked.
    pub fn only_whole(
        &self,
        domain: Domain,
        held: Vec<Option<Held>>,
        known: &mut KnownLost,
    ) -> Result<Vec<Option<Held>>, BlobError> {
        if held.iter().all(Option::is_none) || (known.0.is_none() && !self.store.has_damage()?) {
            return Ok(held);
        }
        let lost = match &mut known.0 {
            Some(lost) => &*lost,
            unknown => unknown.insert(self.lost(domain)?),
        };
        if matches!(lost, Lost::These(items) if items.is_empty()) {
            return Ok(held);
        }
        held.into_iter()
            .map(|held| match held {
                Some(held) => Ok(self.is_whole(domain, &held, lost)?.then_some(held)),
                None => Ok(None),
            })
            .collect()
    }

    /// The items that the repository has no good copy of any more.
    fn lost(&self, domain: Domain) -> Result<Lost, BlobError> {
        let Some(damaged) = self.store.damaged_items(DAMAGED_MAX)? else { return Ok(Lost::Unknown) };
        let mut lost = HashSet::new();
        for id in damaged {
            if !self.is_present(domain, &id)? {
                lost.insert(id);
            }
        }
        Ok(Lost::These(lost))
    }

    fn is_whole(&self, domain: Domain, held: &Held, lost: &Lost) -> Result<bool, BlobError> {
        let is_there = |id: &ItemId| match lost {
            Lost::These(items) => Ok(!items.contains(id)),
            Lost::Unknown => self.is_present(domain, id),
        };
        let mut plain = Vec::new();
        if !is_there(&held.manifest.into())? || !self.is_readable(&held.manifest.into(), &mut plain)? {
            return Ok(false);
        }
        let Ok(manifest) = Manifest::decode(&plain) else { return Ok(false) };
        for part in manifest.parts() {
            if !is_there(&part.id)? {
                return Ok(false);
            }
            if part.id.kind == ItemKind::Span {
                if !self.is_readable(&part.id, &mut plain)? {
                    return Ok(false);
                }
                let Ok(span) = Span::decode(&plain) else { return Ok(false) };
                for entry in span.entries() {
                    if !is_there(&entry.hash.into())? {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    fn is_readable(&self, id: &ItemId, plain: &mut Vec<u8>) -> Result<bool, BlobError> {
        match self.store.read(id, plain) {
            Ok(()) => Ok(true),
            Err(ReadError::Store(error)) => Err(error.into()),
            Err(ReadError::Missing(_) | ReadError::Damaged { .. } | ReadError::Unreadable { .. }) => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dits_core::codec::Codec;
    use dits_core::hash::{ChunkHash, FileHash, ManifestHash};
    use dits_core::pointer::Pointer;
    use dits_core::store::NewItem;

    use super::*;
    use crate::db::Db;
    use crate::root::Root;

    #[test]
    fn what_is_lost_is_looked_up_once_and_only_where_it_matters() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::create(dir.path()).unwrap();
        let blobs = Blobs::open(&root, Arc::new(Db::open(&root.meta()).unwrap())).unwrap();
        let (film, chunk) = (Domain([1; 16]), ItemId::from(ChunkHash::of(b"footage")));
        let mut writer = blobs.store().writer(film);
        writer.put(NewItem { id: chunk, codec: Codec::Raw, plain_len: 7, stored: b"footage" }).unwrap();
        writer.sync().unwrap();
        for pack in std::fs::read_dir(root.store().join("open")).unwrap().map(|entry| entry.unwrap().path()) {
            let mut bytes = std::fs::read(&pack).unwrap();
            let at = bytes.windows(7).position(|window| window == b"footage");
            at.into_iter().for_each(|at| bytes[at] ^= 1);
            std::fs::write(&pack, bytes).unwrap();
        }
        assert!(blobs.store().read(&chunk, &mut Vec::new()).is_err());
        let mut known = KnownLost::default();
        assert_eq!(blobs.only_whole(film, vec![None, None], &mut known).unwrap(), [None, None]);
        assert!(known.0.is_none(), "nothing is held that could be lost");
        let manifest = ManifestHash::from_bytes([3; 32]);
        let held = Held { pointer: Pointer { oid: FileHash::of(b"x"), size: 1 }, manifest, proven_at: 1 };
        assert_eq!(blobs.only_whole(film, vec![Some(held)], &mut known).unwrap(), [None]);
        assert!(matches!(&known.0, Some(Lost::These(items)) if *items == HashSet::from([chunk])));
        // What was found out holds until the call is over.
        known.0 = Some(Lost::These(HashSet::new()));
        assert_eq!(blobs.only_whole(film, vec![Some(held)], &mut known).unwrap(), [Some(held)]);
    }
}
