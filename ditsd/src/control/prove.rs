//! Proving: a manifest becomes held once its content was hashed to the oid.
//!
//! **For:** clients after an upload.
//!
//! **Must hold:**
//! - only items that are present in that repository count, so that nobody reaches another
//!   repository's content by naming its chunks;
//! - the items, and then the row, are on stable storage before the answer goes out;
//! - from before the items are looked for until the row is written the manifest is leased, however
//!   long that takes, so that no collection takes anything of it away.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dits_core::hash::{FileHash, ManifestHash};
use dits_core::item::{ItemId, ItemKind};
use dits_core::limits;
use dits_core::manifest::Manifest;
use dits_core::operations::OutlineError;
use dits_core::operations::verify::{self, ProveError};
use dits_core::remote::proto::{self, prove_reply, prove_result};
use dits_core::steps::{self, Step};
use dits_core::store::ReadError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::media::{copy, name};
use super::refusal::CallError;
use super::{Control, Shared};
use crate::blobs::{BlobError, KnownLost};
use crate::clock::now;
use crate::db::{Db, DbError, Held, LeaseId, RepoRow};
use crate::rules::ids;

/// How often a client that waits hears that work goes on.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// Manifests, and bytes of content, after which what was proven is recorded: that waits for the
/// disk several times, and the next version of a file starts from the one that is recorded.
const TOGETHER_MAX: usize = 256;
const TOGETHER_LEN_MAX: u64 = 8 * 1024 * 1024;

type Reply = Result<proto::ProveReply, Status>;

/// One manifest to prove.
struct Task {
    manifest: ManifestHash,
    base_oid: Option<FileHash>,
}

/// Whether what is held counts as proven.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// It does, and so do blocks that a held file has at the same place.
    Once,
    /// Everything is read and hashed.
    Again,
}

/// Proves manifests one after another, a few at a time, telling of each.
pub(super) async fn prove(control: &Control, request: proto::ProveRequest) -> Result<ReceiverStream<Reply>, CallError> {
    let tasks = parse(&request)?;
    let look = if request.again { Look::Again } else { Look::Once };
    let name = name(&request.repo)?;
    let repo = control.blocking(move |shared| {
        let repo = shared.repo(&name)?;
        shared.note_text(&repo, request.text_elsewhere)?;
        Ok(repo)
    });
    let repo = repo.await?;
    let (replies, receiver) = mpsc::channel(16);
    let control = control.clone();
    tokio::spawn(async move {
        let proven = Arc::new(AtomicU64::new(0));
        tokio::select! {
            () = prove_all(&control, repo, tasks, look, &proven, &replies) => {}
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
    look: Look,
    proven: &AtomicU64,
    replies: &mpsc::Sender<Reply>,
) {
    let repo = Arc::new(repo);
    let mut tasks = VecDeque::from(tasks);
    while !tasks.is_empty() {
        let permit = control.shared.proofs.clone().acquire_owned().await.expect("the semaphore is never closed");
        let repo = repo.clone();
        // The permit goes with the work: a client that goes away does not stop a thread.
        let proved = control.blocking(move |shared| {
            let _permit = permit;
            let results = shared.prove_together(&repo, &mut tasks, look)?;
            Ok((results, tasks))
        });
        let results = match proved.await {
            Ok((results, rest)) => {
                tasks = rest;
                results
            }
            Err(error) => {
                // A client that is gone needs no answer.
                let _ = replies.send(Err(Status::from(error))).await;
                return;
            }
        };
        for (result, bytes) in results {
            proven.fetch_add(bytes, Ordering::Relaxed);
            let event = Some(prove_reply::Event::Result(result));
            if replies.send(Ok(proto::ProveReply { event })).await.is_err() {
                return;
            }
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
    /// Proves the next few manifests and records them together; gives the answers, and the
    /// bytes of content that each is about.
    fn prove_together(
        &self,
        repo: &RepoRow,
        tasks: &mut VecDeque<Task>,
        look: Look,
    ) -> Result<Vec<(proto::ProveResult, u64)>, CallError> {
        let (mut answers, mut proven, mut len) = (Vec::new(), Vec::new(), 0_u64);
        let mut lost = KnownLost::default();
        let mut proof = None;
        while let Some(task) = tasks.pop_front() {
            let manifest = self.read_manifest(repo, task.manifest)?;
            let bytes = manifest.as_ref().map_or(0, |manifest| manifest.pointer().size);
            let held = self.already_held(repo, task.manifest, manifest.as_ref(), &mut lost)?;
            let outcome = match held {
                Some(held) if look == Look::Once => prove_result::Outcome::Held(self.receipt(repo, &held)),
                held => {
                    if proof.is_none() {
                        let next = tasks.iter().take(TOGETHER_MAX).map(|task| task.manifest);
                        let manifests = std::iter::once(task.manifest).chain(next).collect::<Vec<_>>();
                        proof = Some(Proof::begin(&self.db, repo, &manifests)?);
                    }
                    match (self.prove_now(repo, &task, manifest.as_ref(), look)?, held) {
                        // The row says so already, and the same row gives the same receipt.
                        (Ok(_), Some(held)) => prove_result::Outcome::Held(self.receipt(repo, &held)),
                        (Ok(held), None) => {
                            let receipt = self.receipt(repo, &held);
                            proven.push((held, manifest));
                            prove_result::Outcome::Held(receipt)
                        }
                        (Err(answer), _) => answer,
                    }
                }
            };
            let result = proto::ProveResult { manifest: copy(task.manifest.as_bytes()), outcome: Some(outcome) };
            answers.push((result, bytes));
            len = len.saturating_add(bytes);
            if answers.len() >= TOGETHER_MAX || len >= TOGETHER_LEN_MAX {
                break;
            }
        }
        self.record_held(repo, &proven)?;
        drop(proof);
        Ok(answers)
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
        lost: &mut KnownLost,
    ) -> Result<Option<Held>, CallError> {
        let Some(manifest) = manifest else { return Ok(None) };
        let held = self.db.say_held(repo.key, &[manifest.pointer().oid], now())?;
        let held = self.blobs.only_whole(repo.domain(), held, lost)?;
        Ok(held.into_iter().flatten().find(|held| held.manifest == hash))
    }

    /// Proves one manifest; it is not recorded yet. Gives the answer of one that cannot be proven.
    fn prove_now(
        &self,
        repo: &RepoRow,
        task: &Task,
        manifest: Option<&Manifest>,
        look: Look,
    ) -> Result<Result<Held, prove_result::Outcome>, CallError> {
        let base = match look {
            Look::Once => self.find_base(repo, task, manifest)?,
            Look::Again => None,
        };
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
            Ok(pointer) => Ok(Ok(Held { pointer, manifest: task.manifest, proven_at: now() })),
            Err(error) => answer(error).map(Err),
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

    /// Brings what was proven, and then that it was, to stable storage.
    fn record_held(&self, repo: &RepoRow, proven: &[(Held, Option<Manifest>)]) -> Result<(), CallError> {
        if proven.is_empty() {
            return Ok(());
        }
        steps::reached(Step::ContentProven);
        // Another client's running upload may have brought some of the items.
        self.blobs.store().sync().map_err(BlobError::from)?;
        let rows = proven.iter().map(|(held, manifest)| (held, manifest.as_ref().map_or(&[][..], Manifest::pages)));
        self.db.record_held(repo.key, &rows.collect::<Vec<_>>())?;
        steps::reached(Step::HeldRecorded);
        Ok(())
    }
}

/// Keeps manifests, and all that they lead to, while they are being proven.
struct Proof<'a> {
    db: &'a Db,
    lease: LeaseId,
}

impl<'a> Proof<'a> {
    fn begin(db: &'a Db, repo: &RepoRow, manifests: &[ManifestHash]) -> Result<Proof<'a>, DbError> {
        let lease = LeaseId(rand::random());
        db.begin_proof(repo.key, lease, manifests)?;
        Ok(Proof { db, lease })
    }
}

impl Drop for Proof<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.db.end_proof(self.lease) {
            // It costs room until the next start.
            tracing::warn!(%error, "what a proof kept stays");
        }
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
