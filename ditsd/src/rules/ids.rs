//! Ids in questions: counted, measured and typed.
//!
//! **For:** reading the `bytes` fields of the control plane.
//!
//! **Must hold:** no question names more than [`limits::IDS_PER_MESSAGE_MAX`] things.

use dits_core::hash::{FileHash, ManifestHash};
use dits_core::item::{ItemId, ItemKind};
use dits_core::limits;

/// A question that cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadIds {
    /// Too many at once.
    #[error("a question names at most {max} things, not {count}")]
    TooMany {
        /// How many were named.
        count: usize,
        /// The most there may be.
        max: usize,
    },
    /// A name of the wrong length.
    #[error("a name has 32 bytes, not {len}")]
    Length {
        /// Its length in bytes.
        len: usize,
    },
    /// A kind of item that this version does not know.
    #[error("item kind {0} is not known to this server")]
    Kind(u32),
}

/// Reads the names of files.
///
/// # Errors
///
/// [`BadIds`] for too many, or names of another length than 32 bytes.
pub fn oids<B: AsRef<[u8]>>(names: &[B]) -> Result<Vec<FileHash>, BadIds> {
    check_count(names.len())?;
    names.iter().map(|name| hash(name.as_ref()).map(FileHash::from_bytes)).collect()
}

/// Reads the name of a manifest.
///
/// # Errors
///
/// [`BadIds::Length`].
pub fn manifest(name: &[u8]) -> Result<ManifestHash, BadIds> {
    hash(name).map(ManifestHash::from_bytes)
}

/// Reads a file's name that may be left out.
///
/// # Errors
///
/// [`BadIds::Length`].
pub fn oid_or_none(name: &[u8]) -> Result<Option<FileHash>, BadIds> {
    match name.is_empty() {
        true => Ok(None),
        false => hash(name).map(FileHash::from_bytes).map(Some),
    }
}

/// Reads groups of items, each a kind's number and hashes one after another.
///
/// # Errors
///
/// [`BadIds`] for too many in all, unknown kinds and broken lengths.
pub fn items<'a>(groups: impl Iterator<Item = (u32, &'a [u8])> + Clone) -> Result<Vec<Vec<ItemId>>, BadIds> {
    let mut count = 0_usize;
    for (group_index, (_, hashes)) in groups.clone().enumerate() {
        count = count.saturating_add(hashes.len() / 32);
        check_count(count.max(group_index))?;
    }
    groups.map(|(kind, hashes)| group(kind, hashes)).collect()
}

/// Refuses more things in one question than there may be.
///
/// # Errors
///
/// [`BadIds::TooMany`].
pub fn check_count(count: usize) -> Result<(), BadIds> {
    let max = limits::IDS_PER_MESSAGE_MAX;
    if count > max { Err(BadIds::TooMany { count, max }) } else { Ok(()) }
}

fn group(number: u32, hashes: &[u8]) -> Result<Vec<ItemId>, BadIds> {
    let kind = u8::try_from(number).ok().and_then(ItemKind::from_number).ok_or(BadIds::Kind(number))?;
    let names = hashes.chunks_exact(32);
    if !names.remainder().is_empty() {
        return Err(BadIds::Length { len: names.remainder().len() });
    }
    names.map(|name| Ok(ItemId { kind, hash: hash(name)? })).collect()
}

fn hash(name: &[u8]) -> Result<[u8; 32], BadIds> {
    name.try_into().map_err(|_| BadIds::Length { len: name.len() })
}

/// Writes one bit an item, lowest bit first.
pub fn bits(values: &[bool]) -> Vec<u8> {
    let mut out = vec![0; values.len().div_ceil(8)];
    for (index, _) in values.iter().enumerate().filter(|(_, value)| **value) {
        out[index / 8] |= 1 << (index % 8);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_counted_and_measured() {
        assert_eq!(oids(&[vec![1; 32]]), Ok(vec![FileHash::from_bytes([1; 32])]));
        assert_eq!(oids(&[vec![1; 31]]), Err(BadIds::Length { len: 31 }));
        let many = vec![[0_u8; 32]; limits::IDS_PER_MESSAGE_MAX + 1];
        assert!(matches!(oids(&many), Err(BadIds::TooMany { .. })));
        assert_eq!(oid_or_none(&[]), Ok(None));
        assert_eq!(oid_or_none(&[0; 33]), Err(BadIds::Length { len: 33 }));
    }

    #[test]
    fn groups_are_counted_together() {
        let half = vec![0_u8; limits::IDS_PER_MESSAGE_MAX / 2 * 32];
        assert!(items([(1, &half[..]), (2, &half[..])].into_iter()).is_ok());
        assert!(items([(1, &half[..]), (2, &half[..]), (3, &[0; 32][..])].into_iter()).is_err());
        assert_eq!(items([(9, &[0; 32][..])].into_iter()), Err(BadIds::Kind(9)));
        assert_eq!(items([(257, &[0; 32][..])].into_iter()), Err(BadIds::Kind(257)));
        assert_eq!(items([(1, &[0; 33][..])].into_iter()), Err(BadIds::Length { len: 1 }));
        let empty_groups = vec![(1_u32, &[][..]); limits::IDS_PER_MESSAGE_MAX + 2];
        assert!(items(empty_groups.into_iter()).is_err(), "empty groups are not free");
    }

    #[test]
    fn bits_start_with_the_lowest() {
        let mut values = [false; 10];
        (values[0], values[9]) = (true, true);
        assert_eq!(bits(&values), [1, 2]);
        assert_eq!(bits(&[]), [0_u8; 0]);
    }
}
