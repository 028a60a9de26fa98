//! Whether files are whole in the stores at hand, without reading their content.
//!
//! **For:** `git dits fsck` and `ditsd fsck`, after [`Store::check`](crate::store::Store::check) has read every
//! byte: what it found damaged counts as absent here.
//!
//! **May touch:** the stores it is given, for reading; for names, git children.
//!
//! **Must hold:**
//! - a file counts as whole only if one manifest of it has every part: spans, chunks, pages and side tables;
//! - memory does not grow with the number of files.

mod names;

use std::collections::HashSet;
use std::path::PathBuf;

pub use names::{Name, NamesError, name_each};

use super::chunk_stream::{OutlineError, read_manifest, read_span};
use crate::hash::ManifestHash;
use crate::item::ItemId;
use crate::manifest::{Layout, Manifest, SpanEntry};
use crate::pack_format::Domain;
use crate::pointer::Pointer;
use crate::store::{Items, ReadError, Sources, Store, StoreError};

/// Most parts of one file that are named.
pub const PARTS_MAX: usize = 100;

/// Spans that are remembered to be whole: versions of a file have most of them in common.
const WHOLE_SPANS_MAX: usize = 256 * 1024;

/// A part of a file that is not there, or not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenPart {
    /// The item.
    pub id: ItemId,
    /// Copies that cannot be used, by pack, and entry where that can be told; none if it is missing altogether.
    pub copies: Vec<(PathBuf, Option<u32>)>,
}

/// Why a file is not whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// Nothing of it is known here.
    Absent,
    /// Parts are damaged or missing.
    Parts {
        /// The manifest that lacks least.
        manifest: ManifestHash,
        /// The first [`PARTS_MAX`] parts. Chunks of a span that cannot be read are not known.
        parts: Vec<BrokenPart>,
        /// How many there are, as far as is known.
        count: u64,
    },
    /// What is stored as its manifest is about something else.
    WrongManifest {
        /// The manifest.
        manifest: ManifestHash,
    },
}

/// Where parts are looked for.
pub trait Parts {
    /// Says for each item whether it is there.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be used.
    fn have(&self, ids: &[ItemId]) -> Result<Vec<bool>, StoreError>;

    /// Copies that cannot be used.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be used.
    fn unusable(&self, id: &ItemId) -> Result<Vec<(PathBuf, Option<u32>)>, StoreError>;

    /// What manifests and spans are read from.
    fn items(&self) -> &dyn Items;
}

impl Parts for Sources {
    fn have(&self, ids: &[ItemId]) -> Result<Vec<bool>, StoreError> {
        self.has_each(ids)
    }

    fn unusable(&self, id: &ItemId) -> Result<Vec<(PathBuf, Option<u32>)>, StoreError> {
        self.own().unusable_copies(id)
    }

    fn items(&self) -> &dyn Items {
        self
    }
}

/// Says for each item whether a repository may take it from another one's pack.
pub type Adopted<'a> = &'a dyn Fn(&[ItemId]) -> Result<Vec<bool>, StoreError>;

/// The parts that one repository of a server has: those in packs of its domain, and those that `adopted` picks
/// from what others have.
pub struct DomainParts<'a> {
    /// The server's store.
    pub store: &'a Store,
    /// The repository.
    pub domain: Domain,
    /// Says which of these the repository may take from another one's pack.
    pub adopted: Adopted<'a>,
}

impl Parts for DomainParts<'_> {
    fn have(&self, ids: &[ItemId]) -> Result<Vec<bool>, StoreError> {
        let mut here = self.store.has_each_in(self.domain, ids)?;
        let absent: Vec<usize> = (0..ids.len()).filter(|at| !here[*at]).collect();
        let asked: Vec<ItemId> = absent.iter().map(|at| ids[*at]).collect();
        if !asked.is_empty() {
            absent.into_iter().zip((self.adopted)(&asked)?).for_each(|(at, adopted)| here[at] = adopted);
        }
        Ok(here)
    }

    fn unusable(&self, id: &ItemId) -> Result<Vec<(PathBuf, Option<u32>)>, StoreError> {
        self.store.unusable_copies(id)
    }

    fn items(&self) -> &dyn Items {
        self.store
    }
}

/// Looks whether files are whole, one after the other.
pub struct FileCheck<'a> {
    parts: &'a dyn Parts,
    whole_spans: HashSet<SpanEntry>,
}

impl<'a> FileCheck<'a> {
    /// Looks for parts there.
    pub fn new(parts: &'a dyn Parts) -> FileCheck<'a> {
        FileCheck { parts, whole_spans: HashSet::new() }
    }

    /// Says why the file is not whole by any of these manifests; `None` if it is.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be used.
    pub fn look(&mut self, pointer: &Pointer, manifests: &[ManifestHash]) -> Result<Option<Broken>, StoreError> {
        let mut least: Option<(ManifestHash, Vec<ItemId>)> = None;
        let mut wrong = None;
        for hash in manifests {
            let missing = match read_manifest(self.parts.items(), hash) {
                Ok(manifest) if manifest.pointer() == *pointer => self.missing(&manifest)?,
                Err(OutlineError::Read(ReadError::Store(error))) => return Err(error),
                Err(OutlineError::Read(_)) => vec![(*hash).into()],
                Ok(_) | Err(_) => {
                    wrong = Some(Broken::WrongManifest { manifest: *hash });
                    continue;
                }
            };
            if missing.is_empty() {
                return Ok(None);
            }
            if least.as_ref().is_none_or(|(_, least)| missing.len() < least.len()) {
                least = Some((*hash, missing));
            }
        }
        match least {
            Some((manifest, missing)) => self.broken(manifest, &missing).map(Some),
            None => Ok(Some(wrong.unwrap_or(Broken::Absent))),
        }
    }

    fn broken(&self, manifest: ManifestHash, missing: &[ItemId]) -> Result<Broken, StoreError> {
        let part = |id: &ItemId| Ok(BrokenPart { id: *id, copies: self.parts.unusable(id)? });
        let parts = missing.iter().take(PARTS_MAX).map(part).collect::<Result<_, StoreError>>()?;
        Ok(Broken::Parts { manifest, parts, count: missing.len() as u64 })
    }

    /// Every part of a manifest that is not there.
    fn missing(&mut self, manifest: &Manifest) -> Result<Vec<ItemId>, StoreError> {
        let parts: Vec<ItemId> = manifest.parts().into_iter().map(|part| part.id).collect();
        let mut missing = self.not_here(&parts)?;
        let Layout::Spans(spans) = manifest.layout() else { return Ok(missing) };
        let absent: HashSet<ItemId> = missing.iter().copied().collect();
        let mut seen = HashSet::new();
        for named in spans.iter().filter(|named| seen.insert(**named)) {
            if self.whole_spans.contains(named) || absent.contains(&named.hash.into()) {
                continue;
            }
            let span = match read_span(self.parts.items(), named) {
                Ok(span) => span,
                Err(OutlineError::Read(ReadError::Store(error))) => return Err(error),
                Err(_) => {
                    missing.push(named.hash.into());
                    continue;
                }
            };
            let ids: Vec<ItemId> = span.entries().iter().map(|entry| entry.hash.into()).collect();
            let lacking = self.not_here(&ids)?;
            if lacking.is_empty() {
                if self.whole_spans.len() >= WHOLE_SPANS_MAX {
                    self.whole_spans.clear();
                }
                self.whole_spans.insert(*named);
            }
            missing.extend(lacking);
        }
        Ok(missing)
    }

    fn not_here(&self, ids: &[ItemId]) -> Result<Vec<ItemId>, StoreError> {
        let here = self.parts.have(ids)?;
        Ok(ids.iter().zip(here).filter(|(_, here)| !here).map(|(id, _)| *id).collect())
    }
}
