//! What a store has before anything of it is removed, and whether the index can be relied on.
//!
//! **For:** a collection takes what no search finds for dead, so that every search must find what is there.
//!
//! **May touch:** packs, reading only, and the index.
//!
//! **Must hold:**
//! - a collection goes on only if a search finds each entry of each pack that can be read;
//! - a pack, or a manifest, that cannot be read is told: nobody knows what it leads to.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::SystemTime;

use super::super::error::{PackProblem, ReadError, StoreError};
use super::super::find::manifest_oid;
use super::super::handles::Handle;
use super::super::index::{PackRow, Place};
use super::super::layout::OpenName;
use super::super::pack::Pack;
use super::super::{Store, lock};
use super::CollectionError;
use crate::hash::{FileHash, ManifestHash, PackHash};
use crate::item::{ItemId, ItemKind};
use crate::manifest::Manifest;
use crate::pack_format::{Domain, Entry};

/// Entries of a table that are in memory at once.
const ENTRIES_AT_ONCE: u32 = 4096;

/// The name that a pack has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PackName {
    Sealed(PackHash),
    Open(OpenName),
}

/// One pack, as it was found.
#[derive(Debug, Clone)]
pub(super) struct Surveyed {
    pub no: i64,
    pub name: PackName,
    pub domain: Domain,
    pub entry_count: u32,
    /// Bytes of all its items, as they are stored.
    pub payload_len: u64,
    /// When it was written to last.
    pub written: SystemTime,
    pub is_condemned: bool,
}

/// What a store has.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub packs: Vec<Surveyed>,
    /// A pack that cannot be read, or one with a manifest that cannot.
    pub unreadable: Option<(PathBuf, PackProblem)>,
    /// Manifests that a search does not find, because they once could not be read, or lead nowhere.
    pub unlisted: HashMap<FileHash, Vec<ManifestHash>>,
}

/// Looks through all packs. An index that does not find what they have is made anew, once.
pub(super) fn survey(store: &Store) -> Result<Survey, CollectionError> {
    store.refresh()?;
    lock(&store.known).with_index(&store.layout, |index| index.expect_many_lookups())?;
    if let Some(found) = look(store)? {
        return Ok(found);
    }
    if !lock(&store.known).was_replaced() {
        lock(&store.known).replace(&store.layout)?;
        lock(&store.handles).clear();
        if let Some(found) = look(store)? {
            return Ok(found);
        }
    }
    Err(CollectionError::Index { dir: store.layout.dir.clone() })
}

/// As [`survey`]; `None` if the index does not find what the packs have.
fn look(store: &Store) -> Result<Option<Survey>, CollectionError> {
    let mut found = Survey { unreadable: lock(&store.known).unusable_pack(), ..Survey::default() };
    let (rows, condemned) = {
        let mut known = lock(&store.known);
        let rows = known.with_index(&store.layout, |index| index.packs())?;
        (rows, known.with_index(&store.layout, |index| index.condemned())?)
    };
    for row in rows {
        let pack = match open(store, &row)? {
            Handle::Gone => continue,
            Handle::Unusable(path, problem) => {
                found.unreadable = Some((path, problem));
                continue;
            }
            Handle::Pack(pack) => pack,
        };
        let name = match (pack.is_sealed(), row.hash, row.name) {
            (true, Some(hash), _) => PackName::Sealed(hash),
            (false, _, Some(name)) => PackName::Open(name),
            _ => continue,
        };
        let facts = pack.written().map(|(written, _)| (written, pack.entry_count()));
        let (written, entry_count) = match facts {
            Ok((written, Ok(entry_count))) => (written, entry_count),
            Ok((_, Err(problem))) => {
                found.unreadable = Some((pack.path.clone(), problem));
                continue;
            }
            Err(error) => return Err(StoreError::io(&pack.path, error).into()),
        };
        // A record of an open pack that nobody vouches for may be torn, and the index then lacks it.
        let entry_count = if pack.is_sealed() { entry_count } else { entry_count.min(row.known) };
        match check(store, row.no, &pack, entry_count, &mut found)? {
            Checked::Whole { payload_len } => {
                let is_condemned = row.hash.is_some_and(|hash| condemned.contains(&hash));
                let (no, domain) = (row.no, pack.domain);
                found.packs.push(Surveyed { no, name, domain, entry_count, payload_len, written, is_condemned });
            }
            Checked::Unreadable(problem) => found.unreadable = Some((pack.path.clone(), problem)),
            Checked::NotFound => return Ok(None),
        }
    }
    Ok(Some(found))
}

/// Opens a pack under the name it has now.
fn open(store: &Store, row: &PackRow) -> Result<Handle, StoreError> {
    let handle = store.handle(row.no)?;
    match &handle {
        Handle::Pack(pack) if !pack.has_its_path() => {
            lock(&store.handles).forget(row.no);
            store.handle(row.no)
        }
        _ => Ok(handle),
    }
}

/// What became of a look at all entries of a pack.
enum Checked {
    Whole {
        payload_len: u64,
    },
    Unreadable(PackProblem),
    /// A search does not find one.
    NotFound,
}

fn check(
    store: &Store,
    no: i64,
    pack: &Pack,
    entry_count: u32,
    survey: &mut Survey,
) -> Result<Checked, CollectionError> {
    let mut payload_len = 0;
    let mut is_found = true;
    let looked = for_each_entries::<CollectionError>(pack, entry_count, |entries| {
        payload_len += entries.iter().map(|(_, entry)| u64::from(entry.stored_len)).sum::<u64>();
        let mut ids: Vec<(ItemId, u32)> = entries.iter().map(|(entry_no, entry)| (entry.id, *entry_no)).collect();
        // In the order of the rows, more or less.
        ids.sort_unstable_by_key(|(id, _)| id.hash);
        is_found &= lock(&store.known).with_index(&store.layout, |index| index.finds_all(no, &ids))?;
        for (entry_no, entry) in entries.iter().filter(|(_, entry)| entry.id.kind == ItemKind::Manifest) {
            let place = Place { pack_no: no, entry_no: *entry_no, is_damaged: false, is_condemned: false };
            is_found &= check_manifest(store, pack, entry, &place, survey)?;
        }
        Ok(())
    })?;
    Ok(match looked {
        Err(problem) => Checked::Unreadable(problem),
        Ok(()) if !is_found => Checked::NotFound,
        Ok(()) => Checked::Whole { payload_len },
    })
}

/// Looks at one manifest; returns false if the index does not find it, and should.
fn check_manifest(
    store: &Store,
    pack: &Pack,
    entry: &Entry,
    place: &Place,
    survey: &mut Survey,
) -> Result<bool, StoreError> {
    let Some(oid) = manifest_oid(pack, entry) else {
        if !is_readable(store, &entry.id)? {
            survey.unreadable = Some((pack.path.clone(), PackProblem::Damaged));
        }
        return Ok(true);
    };
    let (is_found, is_damaged) = {
        let mut known = lock(&store.known);
        let is_found = known.with_index(&store.layout, |index| index.finds_manifest(&oid, place))?;
        (is_found, known.with_index(&store.layout, |index| index.is_damaged(place))?)
    };
    if !is_found && is_damaged {
        survey.unlisted.entry(oid).or_default().push(ManifestHash::from_bytes(entry.id.hash));
    }
    Ok(is_found || is_damaged)
}

/// Returns true if another copy of a manifest says which file it is about.
fn is_readable(store: &Store, id: &ItemId) -> Result<bool, StoreError> {
    let mut plain = Vec::new();
    match store.read(id, &mut plain) {
        Ok(()) => Ok(Manifest::decode(&plain).is_ok()),
        Err(ReadError::Store(error)) => Err(error),
        Err(_) => Ok(false),
    }
}

/// Hands out the entries of a pack, some thousands at once; those that cannot be trusted are left out.
pub(super) fn for_each_entries<E>(
    pack: &Pack,
    entry_count: u32,
    mut each: impl FnMut(&[(u32, Entry)]) -> Result<(), E>,
) -> Result<Result<(), PackProblem>, E> {
    let mut from = 0;
    while from < entry_count {
        let to = entry_count.min(from + ENTRIES_AT_ONCE);
        let entries = match pack.entries(from, to) {
            Ok(entries) => entries,
            Err(problem) => return Ok(Err(problem)),
        };
        let entries: Vec<(u32, Entry)> =
            (from..to).zip(entries).filter_map(|(entry_no, entry)| Some((entry_no, entry?))).collect();
        each(&entries)?;
        from = to;
    }
    Ok(Ok(()))
}
