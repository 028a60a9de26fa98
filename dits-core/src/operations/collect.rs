//! Collecting: from what is needed to what can go.
//!
//! **For:** `git dits gc`, `git dits prune` and `ditsd gc`, which know the roots.
//!
//! **May touch:** the store it is given.
//!
//! **Must hold:**
//! - whatever a readable manifest of a root leads to stays;
//! - where it cannot be told what a root leads to, nothing goes;
//! - memory is a few bits for each entry, one manifest and one span.
//!
//! **Format:** `docs/formats/collection-v1.md`.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::chunk_stream::{OutlineError, read_manifest, read_span};
use crate::hash::{FileHash, ManifestHash};
use crate::item::{ItemId, ItemKind};
use crate::manifest::{Layout, Manifest, ManifestError, SpanEntry};
use crate::pack_format::Domain;
use crate::store::collect::{Collection, Entered};
use crate::store::{PackProblem, ReadError, Store, StoreError};

pub use crate::store::collect::{CollectProgress, Collected, CollectionError, Guard};

/// Items that are looked up at once.
const MARKED_AT_ONCE: usize = 512;
/// Roots after which progress is told.
const TELL_EVERY: u64 = 64;

/// Something that is needed, with all that it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Root {
    /// A file of a store that belongs to one user: all its manifests.
    File(FileHash),
    /// A file of a domain, by a manifest.
    Manifest {
        /// The domain that needs it.
        domain: Domain,
        /// The manifest.
        manifest: ManifestHash,
    },
    /// One item, and nothing that it may name.
    Item {
        /// The domain that needs it.
        domain: Domain,
        /// The item.
        id: ItemId,
    },
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Root::File(oid) => write!(f, "the file {oid}"),
            Root::Manifest { manifest, .. } => ItemId::from(*manifest).fmt(f),
            Root::Item { id, .. } => id.fmt(f),
        }
    }
}

/// Hands out all that is needed, one after the other, and ends at the first error that it is answered with.
pub type Roots<'r, E> = dyn FnMut(&mut dyn FnMut(Root) -> Result<(), E>) -> Result<(), E> + 'r;

/// How a collection goes about it.
#[derive(Debug, Clone)]
pub struct CollectOptions {
    /// How long ago a pack must have been written to last before anything in it can go.
    pub grace: Duration,
    /// Only looks.
    pub dry_run: bool,
    /// Bytes that are written at most, of what stays from packs that go.
    pub copy_len_max: u64,
    /// How long those are waited for who were told before that something is there. What could not be waited for
    /// goes with the next collection.
    pub wait_max: Duration,
    /// How long after that it is looked again for what is needed: a program that cleans one file at a time has
    /// written no pointer when the filter ends.
    pub linger: Duration,
}

impl Default for CollectOptions {
    /// A day of grace, no limit on what is written, ten minutes to wait, and a second to linger.
    fn default() -> CollectOptions {
        let [grace, wait_max, linger] = [24 * 3600, 600, 1].map(Duration::from_secs);
        CollectOptions { grace, dry_run: false, copy_len_max: u64::MAX, wait_max, linger }
    }
}

/// A collection that cannot go on. Nothing that is needed is gone.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// A manifest or span of a root cannot be read, so that nobody knows what else it needs.
    #[error("cannot tell what is still needed")]
    Unread(#[from] OutlineError),
    /// A root has no manifest here that can be read, and one may be in a pack that cannot.
    #[error("cannot tell what {root} still needs: the pack {path} {problem}")]
    Unreadable {
        /// What is needed.
        root: Root,
        /// The pack.
        path: PathBuf,
        /// Why it cannot be read.
        problem: PackProblem,
    },
    /// The store cannot be collected.
    #[error(transparent)]
    Collection(#[from] CollectionError),
}

impl From<StoreError> for CollectError {
    fn from(error: StoreError) -> CollectError {
        CollectError::Collection(error.into())
    }
}

/// Removes from the store what no root leads to.
///
/// `roots` hands out all there are. It is called twice: for a first look, and again once everybody who relied on
/// what is to go had the time to say so.
///
/// # Errors
///
/// What `roots` says, or [`CollectError`]. What was condemned by then goes with the next collection.
pub fn collect<E: From<CollectError>>(
    store: &Store,
    options: &CollectOptions,
    roots: &mut Roots<'_, E>,
    progress: &(dyn Fn(CollectProgress) + Sync),
) -> Result<Collected, E> {
    if options.dry_run {
        let mut collection = Collection::rehearse(store, options.grace).map_err(CollectError::from)?;
        mark(store, &mut collection, roots, progress)?;
        collection.weigh();
        return Ok(collection.finish());
    }
    let mut collection = Collection::begin(store, options.grace).map_err(CollectError::from)?;
    // What a collection left that gave up, or was killed. The marks serve for what is dead now, too.
    wait(&mut collection, options, progress)?;
    mark(store, &mut collection, roots, progress)?;
    collection.weigh();
    collection.remove_ripe(&progress).map_err(CollectError::from)?;
    collection.condemn(options.copy_len_max, &progress).map_err(CollectError::from)?;
    wait(&mut collection, options, progress)?;
    if collection.has_ripe() {
        mark(store, &mut collection, roots, progress)?;
        collection.remove_ripe(&progress).map_err(CollectError::from)?;
    }
    collection.clear_up().map_err(CollectError::from)?;
    Ok(collection.finish())
}

fn wait(
    collection: &mut Collection<'_>,
    options: &CollectOptions,
    progress: &dyn Fn(CollectProgress),
) -> Result<(), CollectError> {
    if collection.has_condemned() {
        progress(CollectProgress::Waiting);
        collection.wait(options.wait_max)?;
        if collection.has_ripe() {
            std::thread::sleep(options.linger);
        }
    }
    Ok(())
}

fn mark<E: From<CollectError>>(
    store: &Store,
    collection: &mut Collection<'_>,
    roots: &mut Roots<'_, E>,
    progress: &dyn Fn(CollectProgress),
) -> Result<(), E> {
    let mut marking = Marking { store, collection };
    let mut items = Vec::new();
    let mut count: u64 = 0;
    roots(&mut |root| {
        match root {
            Root::File(oid) => marking.file(&oid)?,
            Root::Manifest { domain, manifest } => marking.only_manifest(domain, &manifest)?,
            Root::Item { domain, id } => {
                if items.len() >= MARKED_AT_ONCE || items.first().is_some_and(|(other, _)| *other != domain) {
                    marking.items(&items)?;
                    items.clear();
                }
                items.push((domain, id));
            }
        }
        if count.is_multiple_of(TELL_EVERY) {
            progress(CollectProgress::Marking { items: marking.collection.live_count() });
        }
        count += 1;
        Ok(())
    })?;
    marking.items(&items)?;
    progress(CollectProgress::Marking { items: marking.collection.live_count() });
    Ok(())
}

/// Marks what roots lead to.
struct Marking<'a, 's> {
    store: &'a Store,
    collection: &'a mut Collection<'s>,
}

/// How much of a manifest is here.
enum Marked {
    /// All that it leads to is known.
    Whole,
    /// It, or spans of it, are not here.
    Partly,
}

impl Marking<'_, '_> {
    /// Marks items of one domain.
    fn items(&mut self, items: &[(Domain, ItemId)]) -> Result<(), CollectError> {
        let Some((domain, _)) = items.first() else { return Ok(()) };
        let ids: Vec<ItemId> = items.iter().map(|(_, id)| *id).collect();
        Ok(self.collection.mark_each(*domain, &ids)?)
    }

    /// Marks all manifests of a file. One that is whole is enough; those that are damaged beside it lead to nothing.
    fn file(&mut self, oid: &FileHash) -> Result<(), CollectError> {
        let mut is_whole = false;
        let mut first_error = None;
        for manifest in self.collection.manifests_of(oid)? {
            match self.manifest(Domain::LOCAL, &manifest) {
                Ok(Marked::Whole) => is_whole = true,
                Ok(Marked::Partly) => {}
                Err(CollectError::Unread(error)) => first_error = first_error.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        match first_error {
            _ if is_whole => Ok(()),
            Some(error) => Err(error.into()),
            None => self.check_all_is_readable(Root::File(*oid)),
        }
    }

    fn only_manifest(&mut self, domain: Domain, manifest: &ManifestHash) -> Result<(), CollectError> {
        match self.manifest(domain, manifest)? {
            Marked::Whole => Ok(()),
            Marked::Partly => self.check_all_is_readable(Root::Manifest { domain, manifest: *manifest }),
        }
    }

    /// What is not here may be in a pack that cannot be read.
    fn check_all_is_readable(&self, root: Root) -> Result<(), CollectError> {
        match self.collection.unreadable() {
            Some((path, problem)) => Err(CollectError::Unreadable { root, path, problem }),
            None => Ok(()),
        }
    }

    fn manifest(&mut self, domain: Domain, hash: &ManifestHash) -> Result<Marked, CollectError> {
        let id = ItemId::from(*hash);
        let located = match self.collection.enter(domain, &id)? {
            Entered::Walked => return Ok(Marked::Whole),
            Entered::Absent => return Ok(Marked::Partly),
            Entered::New(located) => located,
        };
        let Some(manifest) = present(read_manifest(self.store, hash))? else { return Ok(Marked::Partly) };
        let parts = manifest.parts();
        let simple: Vec<ItemId> = parts.iter().map(|part| part.id).filter(|id| id.kind != ItemKind::Span).collect();
        for ids in simple.chunks(MARKED_AT_ONCE) {
            self.collection.mark_each(domain, ids)?;
        }
        let marked = self.spans(domain, &manifest)?;
        if matches!(marked, Marked::Whole) {
            // A span that comes only later must be walked then.
            self.collection.leave(domain, &id, &located);
        }
        Ok(marked)
    }

    fn spans(&mut self, domain: Domain, manifest: &Manifest) -> Result<Marked, CollectError> {
        let Layout::Spans(spans) = manifest.layout() else { return Ok(Marked::Whole) };
        let mut marked = Marked::Whole;
        // One span may be named any number of times.
        let mut seen = HashSet::new();
        for named in spans.iter().filter(|named| seen.insert(**named)) {
            if !self.span(domain, named)? {
                marked = Marked::Partly;
            }
        }
        Ok(marked)
    }

    /// Returns false if the span is not here.
    fn span(&mut self, domain: Domain, named: &SpanEntry) -> Result<bool, CollectError> {
        let id = ItemId::from(named.hash);
        let located = match self.collection.enter(domain, &id)? {
            Entered::Walked => return Ok(true),
            Entered::Absent => return Ok(false),
            Entered::New(located) => located,
        };
        let Some(span) = present(read_span(self.store, named))? else { return Ok(false) };
        let chunks: Vec<ItemId> = span.entries().iter().map(|entry| entry.hash.into()).collect();
        self.collection.mark_each(domain, &chunks)?;
        self.collection.leave(domain, &id, &located);
        Ok(true)
    }
}

/// What is read; `None` where nothing has it any more, or where what has its name leads nowhere, whatever is mended.
fn present<T>(read: Result<T, OutlineError>) -> Result<Option<T>, OutlineError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error @ OutlineError::Malformed { source: ManifestError::UnknownVersion(_), .. }) => Err(error),
        Err(OutlineError::Read(ReadError::Missing(_)))
        | Err(OutlineError::Malformed { .. } | OutlineError::WrongLength { .. } | OutlineError::OtherFile { .. }) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
