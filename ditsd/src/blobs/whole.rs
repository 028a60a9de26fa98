//! Files that are held, looked at again once damage was found.
//!
//! **For:** whoever believes a row of `held`: it was written when the content was proven, and a disk
//! may have lost a part since.
//!
//! **Must hold:** a file of which a part is known to be damaged, and nowhere else, does not count as
//! held, so that a client that has the part sends it again; without known damage this costs one
//! question to the index.

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

impl Blobs {
    /// Leaves out the files of which a part is known to be damaged.
    ///
    /// # Errors
    ///
    /// [`BlobError`] if store or database cannot be asked.
    pub fn only_whole(&self, domain: Domain, held: Vec<Option<Held>>) -> Result<Vec<Option<Held>>, BlobError> {
        if !self.store.has_damage()? {
            return Ok(held);
        }
        let lost = self.lost(domain)?;
        if matches!(&lost, Lost::These(items) if items.is_empty()) {
            return Ok(held);
        }
        held.into_iter()
            .map(|held| match held {
                Some(held) => Ok(self.is_whole(domain, &held, &lost)?.then_some(held)),
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
