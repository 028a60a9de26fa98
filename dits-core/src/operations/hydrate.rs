//! Hydrating: from a pointer back to the content.
//!
//! **For:** checkout, and every other place that wants the bytes behind a pointer.
//!
//! **May touch:** the stores it is given, for reading, and the writer or file it is given; threads, which have
//! ended on return.
//!
//! **Must hold:**
//! - success means that every chunk matched its id and the whole matched the oid; on an
//!   error, bytes may have been written already, and the caller throws them away;
//! - memory does not grow with the file.

use std::fs::File;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;

use super::block_runs::{self, Reading, Sink};
use super::chunk_stream::{OutlineError, Walk, for_each_chunk, read_manifest, read_span};
use crate::hash::{FileHash, ManifestHash};
use crate::item::ItemId;
use crate::limits::{self, BLOCK_LEN};
use crate::manifest::block_tree::TreeBuilder;
use crate::manifest::span::ChunkEntry;
use crate::manifest::{Layout, Manifest};
use crate::pointer::Pointer;
use crate::store::{Items, ReadError, Sources, StoreError};

/// Whether a file can be hydrated from what is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completeness {
    /// Everything is here.
    Complete,
    /// No manifest of it is here, so that its parts are not known.
    NoManifest,
    /// Parts are missing.
    Missing {
        /// What is missing as far as it is known: chunks of a missing span are not listed.
        items: Vec<ItemId>,
    },
}

/// Why a file could not be hydrated.
#[derive(Debug, thiserror::Error)]
pub enum HydrateError {
    /// No manifest of the file is here.
    #[error("nothing is known here of the content of {oid}")]
    NoManifest {
        /// The file.
        oid: FileHash,
    },
    /// How the file is put together, or one of its parts, cannot be read.
    #[error(transparent)]
    Outline(#[from] OutlineError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The parts were all as they should be, and yet they are not the file.
    #[error("manifest {manifest} does not lead to the content of {oid}")]
    WrongContent {
        /// The manifest.
        manifest: ManifestHash,
        /// The file.
        oid: FileHash,
    },
    /// The content could not be written.
    #[error("cannot write the content")]
    Write(#[source] io::Error),
    /// Who watched said that it is not to go on.
    #[error("it was interrupted")]
    Stopped,
}

/// Hears of each piece of a content that was written, by its length in bytes, and says whether to go on.
pub type Watch<'a> = &'a (dyn Fn(u64) -> ControlFlow<()> + Sync);

/// Says whether a file can be hydrated, without reading its content.
///
/// # Errors
///
/// [`HydrateError`] if the store cannot be used. A manifest or span that is damaged counts
/// as missing.
pub fn completeness(sources: &Sources, pointer: &Pointer) -> Result<Completeness, HydrateError> {
    let found = look(sources, pointer)?;
    if found == Completeness::Complete {
        return Ok(found);
    }
    sources.refresh()?;
    look(sources, pointer)
}

/// Says as [`completeness`] whether a file can be hydrated, by what was known of the stores when they were last
/// refreshed: for very many files, of which most are not here. A store that cannot be used has nothing.
pub fn is_known_here(sources: &Sources, pointer: &Pointer) -> bool {
    sources.manifests_known(&pointer.oid).iter().any(|hash| {
        let manifest = usable(sources, hash, pointer);
        manifest.is_ok_and(|manifest| missing_of(sources, &manifest).is_ok_and(|missing| missing.is_empty()))
    })
}

/// Writes the content of a file.
///
/// # Errors
///
/// [`HydrateError`] if a part is missing or damaged, the whole is not what the pointer
/// names, or writing failed. Bytes may have been written by then.
pub fn write_to(sources: &Sources, pointer: &Pointer, out: &mut dyn Write) -> Result<(), HydrateError> {
    write_checked(sources, pointer, |plain| out.write_all(plain).map_err(HydrateError::Write))
}

fn write_checked(
    sources: &Sources,
    pointer: &Pointer,
    each: impl FnMut(&[u8]) -> Result<(), HydrateError>,
) -> Result<(), HydrateError> {
    let (hash, manifest) = choose(sources, pointer)?;
    let written = check(sources, &hash, &manifest, each);
    written.inspect_err(|error| note_unusable(sources, error, &hash, pointer))
}

/// Writes the content of a file into `file`, which is empty, on up to `threads` threads.
///
/// The pieces are not checked one by one but as a whole, by the oid. Where that does not come out, everything is
/// written once more as [`write_to`] does it, which names what is damaged, or finds a good copy of it.
///
/// # Errors
///
/// As [`write_to`], and [`HydrateError::Stopped`]. Whatever is in the file is then to be thrown away.
pub fn write_file(
    sources: &Sources,
    pointer: &Pointer,
    file: &File,
    threads: usize,
    watch: Watch<'_>,
) -> Result<(), HydrateError> {
    if pointer.size > BLOCK_LEN {
        file.set_len(pointer.size).map_err(HydrateError::Write)?;
        for hash in sources.manifests_of(&pointer.oid)? {
            let Ok(manifest) = usable(sources, &hash, pointer) else { continue };
            if share_blocks(sources, &manifest, file, threads, watch)? {
                return Ok(());
            }
            match oid_of_blocks(sources, &manifest, threads, &|at, bytes| write_piece(file, at, bytes, watch)) {
                Ok(oid) if oid == Some(pointer.oid) => return Ok(()),
                Err(error @ (HydrateError::Write(_) | HydrateError::Stopped)) => return Err(error),
                _ => {}
            }
        }
    }
    let mut at = 0;
    write_checked(sources, pointer, |plain| {
        let written = write_piece(file, at, plain, watch);
        at += plain.len() as u64;
        written
    })
}

/// Has the file share its blocks with the pack that is this content byte for byte, if there is one and the file
/// system can: nothing is written then. What is in the file is read and hashed; returns false if it is not the
/// content.
fn share_blocks(
    sources: &Sources,
    manifest: &Manifest,
    file: &File,
    threads: usize,
    watch: Watch<'_>,
) -> Result<bool, HydrateError> {
    let size = manifest.pointer().size;
    let Some(Ok(first)) = Walk::new(sources, manifest).next() else { return Ok(false) };
    if size < limits::PACK_PAYLOAD_TARGET || !sources.share_pack(&first.entry.hash.into(), size, file)? {
        return Ok(false);
    }
    file.set_len(size).map_err(HydrateError::Write)?;
    match is_content(file, &manifest.pointer(), threads, watch) {
        Err(error @ HydrateError::Stopped) => Err(error),
        answer => Ok(answer.unwrap_or(false)),
    }
}

/// Says whether `file`, which has the size, is the content of `pointer`. It is hashed on up to `threads` threads.
///
/// # Errors
///
/// [`HydrateError::Stopped`], and [`HydrateError::Write`] if the file cannot be read.
pub(super) fn is_content(
    file: &File,
    pointer: &Pointer,
    threads: usize,
    watch: Watch<'_>,
) -> Result<bool, HydrateError> {
    if pointer.size <= BLOCK_LEN {
        let mut bytes = vec![0; pointer.size as usize];
        file.read_exact_at(&mut bytes, 0).map_err(HydrateError::Write)?;
        return Ok(FileHash::of(&bytes) == pointer.oid);
    }
    let mut tree = TreeBuilder::default();
    block_runs::hash_file(file, pointer.size, threads, watch, |value| drop(tree.push(value)))?;
    Ok(tree.finish().is_some_and(|tree| tree.oid == pointer.oid))
}

/// Returns true if a manifest leads to its file. The pieces are not checked one by one but as a whole, by the oid, on
/// up to `threads` threads; what is wrong is left to [`check`] to find out.
pub(super) fn leads_to_its_file(sources: &Sources, manifest: &Manifest, threads: usize) -> bool {
    let pointer = manifest.pointer();
    let oid = || oid_of_blocks(sources, manifest, threads, &|_, _| Ok(()));
    pointer.size > BLOCK_LEN && oid().is_ok_and(|oid| oid == Some(pointer.oid))
}

/// What the blocks of a file of two or more hash to. Their bytes go to `sink`.
fn oid_of_blocks(
    sources: &Sources,
    manifest: &Manifest,
    threads: usize,
    sink: Sink<'_, HydrateError>,
) -> Result<Option<FileHash>, HydrateError> {
    let size = manifest.pointer().size;
    let is_known = vec![false; size.div_ceil(BLOCK_LEN) as usize];
    let runs = block_runs::unknown(Walk::new(sources, manifest), &is_known, size);
    let mut tree = TreeBuilder::default();
    block_runs::hash_each(sources, Reading::Unchecked, threads, runs, sink, |_, values| {
        values.into_iter().for_each(|value| drop(tree.push(value)));
        Ok::<_, HydrateError>(())
    })?;
    Ok(tree.finish().map(|tree| tree.oid))
}

fn write_piece(file: &File, at: u64, bytes: &[u8], watch: Watch<'_>) -> Result<(), HydrateError> {
    file.write_all_at(bytes, at).map_err(HydrateError::Write)?;
    match watch(bytes.len() as u64) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(HydrateError::Stopped),
    }
}

/// Reads the content that a manifest leads to, hands it on, and checks that it is the file's.
pub(super) fn check(
    items: &dyn Items,
    hash: &ManifestHash,
    manifest: &Manifest,
    mut each: impl FnMut(&[u8]) -> Result<(), HydrateError>,
) -> Result<(), HydrateError> {
    let pointer = manifest.pointer();
    let mut hasher = blake3::Hasher::new();
    for_each_chunk(items, pointer, Walk::new(items, manifest), |plain| {
        hasher.update(plain);
        each(plain)
    })?;
    match hasher.finalize().as_bytes() == pointer.oid.as_bytes() {
        true => Ok(()),
        false => Err(HydrateError::WrongContent { manifest: *hash, oid: pointer.oid }),
    }
}

/// Notes that a manifest never leads to its file, if the error says so: all that it names was
/// what its name says. What is only missing or damaged may come back.
fn note_unusable(sources: &Sources, error: &HydrateError, hash: &ManifestHash, pointer: &Pointer) {
    use OutlineError::{Malformed, WrongLength};
    if let HydrateError::WrongContent { .. } | HydrateError::Outline(Malformed { .. } | WrongLength { .. }) = error {
        sources.note_unusable(&pointer.oid, hash);
    }
}

/// Chooses the manifest to hydrate from: where there are several, the first complete one that
/// leads to the file. That is found out before a byte is written, since none can be taken back.
fn choose(sources: &Sources, pointer: &Pointer) -> Result<(ManifestHash, Manifest), HydrateError> {
    let hashes = sources.manifests_of(&pointer.oid)?;
    let mut first_error = HydrateError::NoManifest { oid: pointer.oid };
    let mut incomplete = None;
    for hash in &hashes {
        match usable(sources, hash, pointer) {
            Ok(manifest) if hashes.len() == 1 => return Ok((*hash, manifest)),
            Ok(manifest) if missing_of(sources, &manifest)?.is_empty() => {
                match check(sources, hash, &manifest, |_| Ok(())) {
                    Ok(()) => return Ok((*hash, manifest)),
                    Err(error) => {
                        note_unusable(sources, &error, hash, pointer);
                        first_error = error;
                    }
                }
            }
            Ok(manifest) => incomplete = incomplete.or(Some((*hash, manifest))),
            Err(error) => first_error = error.into(),
        }
    }
    incomplete.ok_or(first_error)
}

fn usable(items: &dyn Items, hash: &ManifestHash, pointer: &Pointer) -> Result<Manifest, OutlineError> {
    let manifest = read_manifest(items, hash)?;
    match manifest.pointer() == *pointer {
        true => Ok(manifest),
        false => Err(OutlineError::OtherFile { manifest: *hash }),
    }
}

fn look(sources: &Sources, pointer: &Pointer) -> Result<Completeness, HydrateError> {
    let mut fewest: Option<Vec<ItemId>> = None;
    for hash in sources.manifests_of(&pointer.oid)? {
        let Ok(manifest) = usable(sources, &hash, pointer) else { continue };
        let items = missing_of(sources, &manifest)?;
        if items.is_empty() {
            return Ok(Completeness::Complete);
        }
        if fewest.as_ref().is_none_or(|fewest| items.len() < fewest.len()) {
            fewest = Some(items);
        }
    }
    Ok(fewest.map_or(Completeness::NoManifest, |items| Completeness::Missing { items }))
}

/// Lists the spans and chunks of a manifest that are not here.
fn missing_of(sources: &Sources, manifest: &Manifest) -> Result<Vec<ItemId>, HydrateError> {
    let mut missing = Vec::new();
    let mut look_for = |entries: &[ChunkEntry]| -> Result<(), StoreError> {
        let ids: Vec<ItemId> = entries.iter().map(|entry| entry.hash.into()).collect();
        let is_here = sources.can_read_each(&ids)?;
        missing.extend(ids.into_iter().zip(is_here).filter_map(|(id, is_here)| (!is_here).then_some(id)));
        Ok(())
    };
    let mut missing_spans = Vec::new();
    match manifest.layout() {
        Layout::Inline(entries) => look_for(entries)?,
        Layout::Spans(spans) => {
            for named in spans {
                match read_span(sources, named) {
                    Ok(span) => look_for(span.entries())?,
                    Err(OutlineError::Read(ReadError::Store(error))) => return Err(error.into()),
                    Err(_) => missing_spans.push(named.hash.into()),
                }
            }
        }
    }
    missing_spans.append(&mut missing);
    Ok(missing_spans)
}
