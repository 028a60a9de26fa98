//! Proving: a manifest becomes held once its content was hashed to the oid.
//!
//! **For:** clients after an upload.
//!
//! **Must hold:**
//! - only items that are present in that repository count, so that nobody reaches another
//!   repository's content by naming its chunks;
//! - the items, and then the row, are on stable storage before the answer goes out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dits_core::hash::{FileHash, ManifestHash};
use dits_core::item::{ItemId, ItemKind};
use dits_core::limits;
use dits_core::manifest::Manifest;
use dits_core::operations::OutlineError;
use dits_core::operations::verify::{self, ProveError};
use dits_core::pointer::Pointer;
use dits_core::remote::proto::{self, prove_reply, prove_result};
use dits_core::steps::{self, Step};
use dits_core::store::ReadError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::media::{copy, name};
use super::refusal::CallError;
use super::{Control, Shared, now};
use crate::blobs::BlobError;
use crate::db::{Held, RepoRow};
use crate::rules::ids;

/// How often a client that waits hears that work goes on.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

type Reply = Result<proto::ProveReply, Status>;

/// One manifest to prove.
struct Task {
    manifest: ManifestHash,
    base_oid: Option<FileHash>,
}

/// Proves manifests one after another, telling of each.
pub(super) async fn prove(control: &Control, request: proto::ProveRequest) -> Result<ReceiverStream<Reply>, CallError> {
    let tasks = parse(&request)?;
    let name = name(&request.repo)?;
    let repo = control.blocking(move |shared| shared.repo(&name)).await?;
    let (replies, receiver) = mpsc::channel(16);
    let control = control.clone();
    tokio::spawn(async move {
        let proven = Arc::new(AtomicU64::new(0));
        tokio::select! {
            () = prove_all(&control, repo, tasks, &proven, &replies) => {}
            () = tell_progress(&proven, &replies) => {}
            () = replies.closed() => {}
        }
    });
    Ok(ReceiverStream::new(receiver))
}

fn parse(request: &proto::ProveRequest) -> Result<Vec<Task>, CallError> {
    ids::check_count(request.manifests.len())?;
    let task = |named: &proto::ManifestToProve| {
        Ok(Task { manifest: ids::manifest(&named.manifest)?, base_oid: ids::oid_or_none(&named.base_oid)? })
    };
    request.manifests.iter().map(task).collect()
}

async fn prove_all(
    control: &Control,
    repo: RepoRow,
    tasks: Vec<Task>,
    proven: &AtomicU64,
    replies: &mpsc::Sender<Reply>,
) {
    let repo = Arc::new(repo);
    for task in tasks {
        let permit = control.shared.proofs.clone().acquire_owned().await.expect("the semaphore is never closed");
        let repo = repo.clone();
        // The permit goes with the work: a client that goes away does not stop a thread.
        let result = control.blocking(move |shared| {
            let _permit = permit;
            shared.prove(&repo, &task)
        });
        let reply = result.await.map(|(result, bytes)| {
            proven.fetch_add(bytes, Ordering::Relaxed);
            proto::ProveReply { event: Some(prove_reply::Event::Result(result)) }
        });
        let is_last = reply.is_err();
        if replies.send(reply.map_err(Status::from)).await.is_err() || is_last {
            return;
        }
    }
}

async fn tell_progress(proven: &AtomicU64, replies: &mpsc::Sender<Reply>) {
    let mut interval = tokio::time::interval(PROGRESS_INTERVAL);
    interval.tick().await;
    loop {
        interval.tick().await;
        let event = prove_reply::Event::Progress(proven.load(Ordering::Relaxed));
        // A full queue tells the client enough.
        let _ = replies.try_send(Ok(proto::ProveReply { event: Some(event) }));
    }
}

impl Shared {
    /// Proves one manifest; gives the answer, and the bytes of content that were proven.
    fn prove(&self, repo: &RepoRow, task: &Task) -> Result<(proto::ProveResult, u64), CallError> {
        let manifest = self.read_manifest(repo, task.manifest)?;
        let outcome = match self.already_held(repo, task.manifest, manifest.as_ref())? {
            Some(held) => prove_result::Outcome::Held(self.receipt(repo, &held)),
            None => self.prove_now(repo, task, manifest.as_ref())?,
        };
        let bytes = manifest.map_or(0, |manifest| manifest.pointer().size);
        Ok((proto::ProveResult { manifest: copy(task.manifest.as_bytes()), outcome: Some(outcome) }, bytes))
    }

    /// Reads a manifest that the repository has; `None` where it cannot, which the proof
    /// then says in its own words.
    fn read_manifest(&self, repo: &RepoRow, manifest: ManifestHash) -> Result<Option<Manifest>, CallError> {
        let id = ItemId::from(manifest);
        if !self.blobs.is_present(repo.domain(), &id)? {
            return Ok(None);
        }
        let mut plain = Vec::new();
        let read = self.blobs.store().read(&id, &mut plain);
        Ok(read.ok().and_then(|()| Manifest::decode(&plain).ok()))
    }

    fn already_held(
        &self,
        repo: &RepoRow,
        hash: ManifestHash,
        manifest: Option<&Manifest>,
    ) -> Result<Option<Held>, CallError> {
        let Some(manifest) = manifest else { return Ok(None) };
        let held = self.blobs.only_whole(repo.domain(), self.db.held(repo.key, &[manifest.pointer().oid])?)?;
        Ok(held.into_iter().flatten().find(|held| held.manifest == hash))
    }

    fn prove_now(
        &self,
        repo: &RepoRow,
        task: &Task,
        manifest: Option<&Manifest>,
    ) -> Result<prove_result::Outcome, CallError> {
        let base = self.find_base(repo, task, manifest)?;
        let failure = std::cell::RefCell::new(None);
        let is_adopted = |id: &ItemId| {
            self.blobs.is_adopted(repo.domain(), id).unwrap_or_else(|error| {
                failure.replace(Some(error));
                false
            })
        };
        let proved = verify::prove(self.blobs.store(), repo.domain(), &task.manifest, base.as_ref(), &is_adopted);
        if let Some(error) = failure.take() {
            return Err(error.into());
        }
        match proved {
            Ok(pointer) => {
                let held = self.record_held(repo, task.manifest, pointer, manifest)?;
                Ok(prove_result::Outcome::Held(self.receipt(repo, &held)))
            }
            Err(error) => answer(error),
        }
    }

    /// Finds a proven manifest of an earlier version of the file: the one that the client
    /// names, or one that has parts of the block tree in common.
    fn find_base(
        &self,
        repo: &RepoRow,
        task: &Task,
        manifest: Option<&Manifest>,
    ) -> Result<Option<ManifestHash>, CallError> {
        if let Some(oid) = task.base_oid
            && let Some(Some(held)) = self.db.held(repo.key, &[oid])?.pop()
        {
            return Ok(Some(held.manifest));
        }
        match manifest {
            Some(manifest) => Ok(self.db.manifest_sharing_pages(repo.key, manifest.pages())?),
            None => Ok(None),
        }
    }

    fn record_held(
        &self,
        repo: &RepoRow,
        manifest: ManifestHash,
        pointer: Pointer,
        decoded: Option<&Manifest>,
    ) -> Result<Held, CallError> {
        steps::reached(Step::ContentProven);
        // Another client's running upload may have brought some of the items.
        self.blobs.store().sync().map_err(BlobError::from)?;
        let held = Held { pointer, manifest, proven_at: now() };
        self.db.record_held(repo.key, &held, decoded.map_or(&[], Manifest::pages))?;
        steps::reached(Step::HeldRecorded);
        Ok(held)
    }
}

/// Says why a manifest was not proven; a failure of the server's own is no answer.
fn answer(error: ProveError) -> Result<prove_result::Outcome, CallError> {
    match error {
        ProveError::Missing(items) => Ok(missing(&items)),
        ProveError::Outline(OutlineError::Read(ReadError::Missing(item))) => Ok(missing(&[item])),
        ProveError::Outline(OutlineError::Read(ReadError::Damaged { id, path })) => {
            // It is noted as damaged now, so that what the client sends takes its place.
            tracing::error!(%id, path = %path.display(), "an item is damaged");
            Ok(missing(&[id]))
        }
        ProveError::Outline(OutlineError::Read(ReadError::Store(error))) | ProveError::Store(error) => {
            Err(BlobError::from(error).into())
        }
        ProveError::Mismatch { .. } | ProveError::Outline(_) => {
            tracing::warn!(%error, "a manifest was refused");
            Ok(prove_result::Outcome::Refused(error.to_string()))
        }
    }
}

fn missing(items: &[ItemId]) -> prove_result::Outcome {
    let items = &items[..items.len().min(limits::IDS_PER_MESSAGE_MAX)];
    let group = |kind: ItemKind| {
        let hashes: Vec<u8> = items.iter().filter(|id| id.kind == kind).flat_map(|id| id.hash).collect();
        proto::ItemIds { kind: kind as u32, hashes: hashes.into() }
    };
    let groups = ItemKind::ALL.map(group).into_iter().filter(|group| !group.hashes.is_empty());
    prove_result::Outcome::Missing(proto::MissingItems { items: groups.collect() })
}
