//! Push: a remote gets the media that new commits need.
//!
//! **For:** the gate of `git push`, the pre-push hook and `git dits push`.
//!
//! **May touch:** stores, read only, and one remote; one thread that reads ahead of the
//! sending.
//!
//! **Must hold:**
//! - items are sent in the order chunks, spans and pages, manifests, so that what a remote
//!   has of a file is of use to a later push;
//! - a file counts as pushed only on the remote's word that it holds it, content proven;
//! - memory is bounded by [`BATCH_WEIGHT`] and [`AHEAD`], whatever the number and length of files;
//! - media that is missing here but held there is no error.

mod plan;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use crate::hash::ManifestHash;
use crate::item::ItemId;
use crate::limits;
use crate::pointer::Pointer;
use crate::remote::{Holding, ProveOutcome, Receipt, Remote, RemoteError};
use crate::repo::pointer_walk::Found;
use crate::store::{ReadError, Sources, StoreError, StoredItem};

use plan::Planner;

/// Chunks (or 16th parts of spans) that are asked about before any of them is sent.
pub(super) const BATCH_WEIGHT: usize = 16 * 1024;
/// Items that are read before the remote takes them.
const AHEAD: usize = 32;

/// How far a transfer is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of files that the other side is known to have now.
    pub done: u64,
    /// Bytes of all files that are to be there.
    pub total: u64,
    /// Bytes that crossed the wire.
    pub moved: u64,
}

/// Why a file was not pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotPushed {
    /// Neither side has it: no manifest here.
    Missing,
    /// Neither side has this part of it.
    PartMissing(ItemId),
    /// This part is damaged here, as the text says.
    PartDamaged(String),
    /// The remote refuses it, and says why.
    Refused(String),
}

impl fmt::Display for NotPushed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotPushed::Missing => out.write_str("it is neither here nor on the remote"),
            NotPushed::PartMissing(part) => write!(out, "{part} is neither here nor on the remote"),
            NotPushed::PartDamaged(text) => out.write_str(text),
            NotPushed::Refused(why) => write!(out, "the remote refuses it: {why}"),
        }
    }
}

/// What a push did.
#[derive(Debug, Default)]
pub struct Pushed {
    /// The remote's word for every file it now holds, those it held before included.
    pub receipts: Vec<Receipt>,
    /// What it does not hold, and why.
    pub failed: Vec<(Found, NotPushed)>,
    /// Files that had to be sent in whole or in part.
    pub sent_file_count: usize,
    /// Items sent.
    pub sent_item_count: u64,
    /// Stored bytes sent.
    pub sent_bytes: u64,
}

/// A push that could not go on.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The remote could not do what it was asked.
    #[error("cannot push media")]
    Remote(#[from] RemoteError),
    /// The own store cannot be used.
    #[error("cannot read media")]
    Store(#[from] StoreError),
}

/// Sees to it that `remote` holds every file of `wanted`.
///
/// # Errors
///
/// [`PushError`] when the remote or the own store cannot be used. A file that could not be
/// pushed is no error here but named in [`Pushed::failed`].
pub fn push_media(
    sources: &Sources,
    remote: &Remote,
    wanted: &[Found],
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Pushed, PushError> {
    let mut pushed = Pushed::default();
    let mut to_send = Vec::new();
    for batch in wanted.chunks(limits::IDS_PER_MESSAGE_MAX) {
        let files: Vec<Pointer> = batch.iter().map(|found| found.pointer).collect();
        for (found, held) in batch.iter().zip(remote.held(&files)?) {
            match held {
                Holding::Held(receipt) => pushed.receipts.push(receipt),
                Holding::No => to_send.push(found),
                Holding::OtherSize(size) => {
                    let why = format!("the file of this oid has {size} bytes, not {}", found.pointer.size);
                    pushed.failed.push((found.clone(), NotPushed::Refused(why)));
                }
            }
        }
    }
    let mut files = Vec::new();
    for found in to_send {
        match plan::choose_manifest(sources, &found.pointer)? {
            Some(manifest) => files.push(File { found, manifest }),
            None => pushed.failed.push((found.clone(), NotPushed::Missing)),
        }
    }
    if files.is_empty() {
        return Ok(pushed);
    }
    pushed.sent_file_count = files.len();
    let meter = Meter::new(&files, progress);
    let lacking = send(sources, remote, &files, &meter)?;
    prove(sources, remote, &files, lacking, &meter, &mut pushed)?;
    pushed.sent_bytes = meter.moved.load(Ordering::Relaxed);
    pushed.sent_item_count = meter.items.load(Ordering::Relaxed);
    Ok(pushed)
}

/// A file to be sent, and the manifest that it is sent by.
pub(super) struct File<'a> {
    pub found: &'a Found,
    pub manifest: ManifestHash,
}

/// Counts what happens, and tells whoever wants to know.
pub(super) struct Meter<'a> {
    done: AtomicU64,
    total: u64,
    moved: AtomicU64,
    items: AtomicU64,
    tell: &'a (dyn Fn(Progress) + Sync),
}

impl<'a> Meter<'a> {
    fn new(files: &[File<'_>], tell: &'a (dyn Fn(Progress) + Sync)) -> Meter<'a> {
        let total = files.iter().map(|file| file.found.pointer.size).fold(0, u64::saturating_add);
        Meter { done: AtomicU64::new(0), total, moved: AtomicU64::new(0), items: AtomicU64::new(0), tell }
    }

    pub fn done(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
        self.say();
    }

    fn moved(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
        self.items.fetch_add(1, Ordering::Relaxed);
        self.say();
    }

    fn say(&self) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let done = read(&self.done).min(self.total);
        (self.tell)(Progress { done, total: self.total, moved: read(&self.moved) });
    }
}

/// Files that cannot be completed, by their number, and why.
type Lacking = HashMap<usize, NotPushed>;

/// Sends what the remote lacks, while a second thread asks and reads ahead.
fn send(sources: &Sources, remote: &Remote, files: &[File<'_>], meter: &Meter<'_>) -> Result<Lacking, PushError> {
    let (sender, receiver) = mpsc::sync_channel::<Result<StoredItem, ReadError>>(AHEAD);
    std::thread::scope(|scope| {
        let planner = scope.spawn(move || {
            let mut planner = Planner::new(sources, remote, files, meter, sender);
            planner.run().map(|()| planner.lacking)
        });
        let sent = remote.upload(&mut receiver.into_iter(), &|bytes| meter.moved(bytes));
        let planned = planner.join().expect("planning a push does not panic");
        // A remote that stopped taking items says why; the planner only saw that it did.
        let again = sent?;
        let lacking = planned?;
        upload_again(sources, remote, &again, meter)?;
        Ok(lacking)
    })
}

/// Sends these items; what is not here either shows as missing when it is proven.
fn upload_again(sources: &Sources, remote: &Remote, items: &[ItemId], meter: &Meter<'_>) -> Result<(), PushError> {
    let mut here = items.iter().map(|id| sources.read_stored(id)).filter(Result::is_ok);
    remote.upload(&mut here, &|bytes| meter.moved(bytes))?;
    Ok(())
}

/// Has the manifests proven, and sends once more what the remote then names as missing.
fn prove(
    sources: &Sources,
    remote: &Remote,
    files: &[File<'_>],
    mut lacking: Lacking,
    meter: &Meter<'_>,
    pushed: &mut Pushed,
) -> Result<(), PushError> {
    let mut left: Vec<usize> = (0..files.len()).filter(|number| !lacking.contains_key(number)).collect();
    for is_last in [false, true] {
        let mut again = Vec::new();
        let mut items = Vec::new();
        for batch in left.chunks(limits::IDS_PER_MESSAGE_MAX) {
            let asked = batch.iter().map(|number| (files[*number].manifest, files[*number].found.replaces));
            for (number, outcome) in batch.iter().zip(remote.prove(&asked.collect::<Vec<_>>())?) {
                match outcome {
                    ProveOutcome::Held(receipt) => {
                        // The manifest that was proven says so: it was chosen by it.
                        let size = files[*number].found.pointer.size;
                        pushed.receipts.push(Receipt { size, ..receipt });
                    }
                    ProveOutcome::Refused(why) => drop(lacking.insert(*number, NotPushed::Refused(why))),
                    ProveOutcome::Missing(missing) if is_last || missing.is_empty() => {
                        let part = missing.first().copied().unwrap_or_else(|| files[*number].manifest.into());
                        lacking.insert(*number, NotPushed::PartMissing(part));
                    }
                    ProveOutcome::Missing(missing) => {
                        again.push(*number);
                        items.extend(missing);
                    }
                }
            }
        }
        if again.is_empty() {
            break;
        }
        items.sort_unstable();
        items.dedup();
        upload_again(sources, remote, &items, meter)?;
        left = again;
    }
    let mut failed: Vec<_> = lacking.into_iter().collect();
    failed.sort_unstable_by_key(|(number, _)| *number);
    pushed.failed.extend(failed.into_iter().map(|(number, why)| (files[number].found.clone(), why)));
    Ok(())
}

#[cfg(test)]
mod tests;
