//! Questions to the control plane, in batches that fit its limits.
//!
//! **For:** pushing and fetching media.
//!
//! **May touch:** the control plane's connection.
//!
//! **Must hold:** an answer is used only if it has exactly one part for each part asked.
//!
//! **Format:** `docs/protocols/control-v1.md`.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tonic::{Code, Request, Status};

use super::channel::{Client, Dialed, io_cause, unreachable_host};
use super::{ConnectOptions, ServerError, ServerRemote};
use crate::hash::{FileHash, ManifestHash};
use crate::item::{ItemId, ItemKind};
use crate::limits;
use crate::pointer::Pointer;
use crate::remote::answers::{Holding, ProveOutcome, Receipt};
use crate::remote::proto;
use crate::remote_url::Host;

/// How long the server may take over a question that needs no hashing.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// The versions of the control plane that this client speaks.
const VERSIONS: [u32; 1] = [1];

/// What the first call brought.
pub struct Greeted {
    pub client: Client,
    pub server_id: [u8; 16],
    pub repo_id: Option<[u8; 16]>,
    pub quic_port: u16,
}

/// Makes the first call, and once more with the credential where the server asks for it.
pub async fn greet(dialed: &Dialed, options: &ConnectOptions<'_>) -> Result<Greeted, ServerError> {
    let host = &options.host;
    let request = proto::HelloRequest {
        versions: VERSIONS.to_vec(),
        client: options.client.to_owned(),
        repo: options.repo.as_str().to_owned(),
    };
    let mut client = dialed.client(None);
    let mut answer = client.hello(timed(request.clone())).await;
    if answer.as_ref().is_err_and(|status| status.code() == Code::Unauthenticated) {
        let Some(token) = (options.credential)() else { return Err(ServerError::NoCredential { host: host.clone() }) };
        client = dialed.client(Some(&token));
        answer = client.hello(timed(request)).await;
    }
    let reply = answer.map_err(|status| call_failed(host, status))?.into_inner();
    if !VERSIONS.contains(&reply.version) {
        return Err(nonsense(host, "a version that was not offered"));
    }
    let server_id = reply.server_id.as_ref().try_into().map_err(|_| nonsense(host, "a server id of another length"))?;
    let repo_id = match reply.repo_id.len() {
        0 => None,
        _ => {
            let id = reply.repo_id.as_ref().try_into();
            Some(id.map_err(|_| nonsense(host, "a repository id of another length"))?)
        }
    };
    let quic_port = u16::try_from(reply.quic_port).map_err(|_| nonsense(host, "a port that is none"))?;
    Ok(Greeted { client, server_id, repo_id, quic_port })
}

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(ANSWER_TIMEOUT);
    request
}

/// The one place where a failed call becomes an error.
pub fn call_failed(host: &Host, status: Status) -> ServerError {
    match status.code() {
        Code::Unauthenticated => ServerError::NoCredential { host: host.clone() },
        _ => broken_off(host, &status)
            .unwrap_or_else(|| ServerError::Call { host: host.clone(), status: Box::new(status) }),
    }
}

/// What is wrong with the connection, where that and not the server is why a call failed.
fn broken_off(host: &Host, status: &Status) -> Option<ServerError> {
    // What the server says has no source.
    let cause = io_cause(std::error::Error::source(status)?);
    match cause.map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
            Some(unreachable_host(host, cause?))
        }
        Some(_) => Some(ServerError::Lost { host: host.clone() }),
        None if status.code() == Code::Unavailable => Some(ServerError::Lost { host: host.clone() }),
        None => None,
    }
}

fn nonsense(host: &Host, what: &'static str) -> ServerError {
    ServerError::Answer { host: host.clone(), what }
}

impl ServerRemote {
    /// Which of these files the repository holds, content proven.
    ///
    /// # Errors
    ///
    /// [`ServerError`].
    pub fn held(&self, files: &[Pointer]) -> Result<Vec<Holding>, ServerError> {
        let mut holdings = Vec::with_capacity(files.len());
        for batch in files.chunks(limits::IDS_PER_MESSAGE_MAX) {
            let oids = batch.iter().map(|file| oid_bytes(&file.oid)).collect();
            let request = proto::HeldRequest { repo: self.repo_name(), oids, text_elsewhere: self.text_elsewhere() };
            let reply = self.call(async |client| client.held(timed(request)).await)?;
            self.holdings(reply.files, batch, &mut holdings)?;
        }
        Ok(holdings)
    }

    /// Which of these files the repository holds and keeps: what its refs name now.
    ///
    /// # Errors
    ///
    /// [`ServerError`].
    pub fn kept(&self, files: &[Pointer]) -> Result<Vec<Holding>, ServerError> {
        let mut holdings = Vec::with_capacity(files.len());
        for batch in files.chunks(limits::IDS_PER_MESSAGE_MAX) {
            let oids = batch.iter().map(|file| oid_bytes(&file.oid)).collect();
            let mut request = Request::new(proto::KeptRequest { repo: self.repo_name(), oids });
            // It may have to look through all history first.
            request.set_timeout(ANSWER_TIMEOUT + Duration::from_secs(limits::WALK_SECS_MAX));
            let reply = self.call(async |client| client.kept(request).await)?;
            self.holdings(reply.files, batch, &mut holdings)?;
        }
        Ok(holdings)
    }

    /// Reads what the server says of each of `files`.
    fn holdings(
        &self,
        states: Vec<proto::FileState>,
        files: &[Pointer],
        holdings: &mut Vec<Holding>,
    ) -> Result<(), ServerError> {
        self.same_len(states.len(), files.len())?;
        for (state, file) in states.into_iter().zip(files) {
            holdings.push(match state {
                proto::FileState { held: true, receipt: Some(_), size } if size != 0 && size != file.size => {
                    Holding::OtherSize(size)
                }
                proto::FileState { held: true, receipt: Some(receipt), size } => {
                    Holding::Held(Receipt { size, ..self.receipt(receipt, Some(&file.oid))? })
                }
                proto::FileState { held: false, .. } => Holding::No,
                _ => return Err(self.nonsense("a held file without a receipt")),
            });
        }
        Ok(())
    }

    /// Which of these items would have to be sent. What is present is leased.
    ///
    /// # Errors
    ///
    /// [`ServerError`].
    pub fn missing(&self, ids: &[ItemId]) -> Result<Vec<bool>, ServerError> {
        let mut missing = Vec::with_capacity(ids.len());
        for batch in ids.chunks(limits::IDS_PER_MESSAGE_MAX) {
            let groups: Vec<Vec<usize>> = ItemKind::ALL
                .into_iter()
                .map(|kind| (0..batch.len()).filter(|index| batch[*index].kind == kind).collect::<Vec<_>>())
                .filter(|group| !group.is_empty())
                .collect();
            let items = groups.iter().map(|group| proto::ItemIds {
                kind: batch[group[0]].kind as u32,
                hashes: group.iter().flat_map(|index| batch[*index].hash).collect::<Vec<u8>>().into(),
            });
            let request = proto::MissingRequest { repo: self.repo_name(), lease: self.lease(), items: items.collect() };
            let reply = self.call(async |client| client.missing(timed(request)).await)?;
            self.same_len(reply.missing.len(), groups.len())?;
            let mut answers = vec![false; batch.len()];
            for (bits, group) in reply.missing.iter().zip(&groups) {
                self.same_len(bits.len(), group.len().div_ceil(8))?;
                for (bit, index) in group.iter().enumerate() {
                    answers[*index] = bits[bit / 8] >> (bit % 8) & 1 == 1;
                }
            }
            missing.extend(answers);
            *self.lease.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = reply.lease;
        }
        Ok(missing)
    }

    /// Has the server hash the content of manifests that were uploaded.
    ///
    /// Each comes with an earlier version of the file where one is known: blocks proven
    /// there are not hashed again. `progress` is told how many bytes were hashed in all.
    ///
    /// # Errors
    ///
    /// [`ServerError`].
    pub fn prove(
        &self,
        manifests: &[(ManifestHash, Option<FileHash>)],
        progress: &mut dyn FnMut(u64),
    ) -> Result<Vec<ProveOutcome>, ServerError> {
        self.prove_as(manifests, false, progress)
    }

    /// Has the server hash everything of these manifests, also what it holds already.
    ///
    /// # Errors
    ///
    /// [`ServerError`].
    pub fn prove_again(
        &self,
        manifests: &[ManifestHash],
        progress: &mut dyn FnMut(u64),
    ) -> Result<Vec<ProveOutcome>, ServerError> {
        let manifests: Vec<_> = manifests.iter().map(|manifest| (*manifest, None)).collect();
        self.prove_as(&manifests, true, progress)
    }

    fn prove_as(
        &self,
        manifests: &[(ManifestHash, Option<FileHash>)],
        again: bool,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Vec<ProveOutcome>, ServerError> {
        let mut outcomes = Vec::with_capacity(manifests.len());
        for batch in manifests.chunks(limits::IDS_PER_MESSAGE_MAX) {
            let asked = batch.iter().map(|(manifest, base)| proto::ManifestToProve {
                manifest: Bytes::copy_from_slice(manifest.as_bytes()),
                base_oid: base.as_ref().map(oid_bytes).unwrap_or_default(),
            });
            let request = proto::ProveRequest {
                repo: self.repo_name(),
                lease: self.lease(),
                manifests: asked.collect(),
                text_elsewhere: self.text_elsewhere(),
                again,
            };
            let before = outcomes.len();
            // No deadline: hashing takes as long as the content is long, and the connection's
            // signs of life tell a slow server from a dead one.
            let mut client = self.control.clone();
            let failed = |status| call_failed(&self.host, status);
            let mut replies = self.runtime.block_on(client.prove(request)).map_err(failed)?.into_inner();
            while let Some(reply) = self.runtime.block_on(replies.message()).map_err(failed)? {
                match reply.event {
                    Some(proto::prove_reply::Event::Progress(hashed)) => progress(hashed),
                    Some(proto::prove_reply::Event::Result(result)) => {
                        let (manifest, _) = batch
                            .get(outcomes.len() - before)
                            .filter(|(manifest, _)| result.manifest.as_ref() == manifest.as_bytes())
                            .ok_or_else(|| self.nonsense("the proof of another manifest"))?;
                        outcomes.push(self.outcome(result, manifest)?);
                    }
                    None => return Err(self.nonsense("an empty event")),
                }
            }
            self.same_len(outcomes.len() - before, batch.len())?;
        }
        Ok(outcomes)
    }

    /// Which manifest describes each file; `None` where the file is not held.
    ///
    /// # Errors
    ///
    /// [`ServerError`].
    pub fn manifests(&self, oids: &[FileHash]) -> Result<Vec<Option<ManifestHash>>, ServerError> {
        let mut manifests = Vec::with_capacity(oids.len());
        for batch in oids.chunks(limits::IDS_PER_MESSAGE_MAX) {
            let request =
                proto::ManifestsRequest { repo: self.repo_name(), oids: batch.iter().map(oid_bytes).collect() };
            let reply = self.call(async |client| client.manifests(timed(request)).await)?;
            self.same_len(reply.manifests.len(), batch.len())?;
            for bytes in &reply.manifests {
                manifests.push(match bytes.is_empty() {
                    true => None,
                    false => Some(ManifestHash::from_bytes(self.hash(bytes)?)),
                });
            }
        }
        Ok(manifests)
    }

    fn call<T>(
        &self,
        ask: impl AsyncFnOnce(&mut Client) -> Result<tonic::Response<T>, Status>,
    ) -> Result<T, ServerError> {
        let mut client = self.control.clone();
        let answer = self.runtime.block_on(ask(&mut client));
        answer.map(tonic::Response::into_inner).map_err(|status| call_failed(&self.host, status))
    }

    fn outcome(&self, result: proto::ProveResult, asked: &ManifestHash) -> Result<ProveOutcome, ServerError> {
        match result.outcome {
            Some(proto::prove_result::Outcome::Held(receipt)) => {
                let receipt = self.receipt(receipt, None)?;
                match receipt.manifest == *asked {
                    true => Ok(ProveOutcome::Held(receipt)),
                    false => Err(self.nonsense("a receipt for another manifest")),
                }
            }
            Some(proto::prove_result::Outcome::Missing(missing)) => self.ids(&missing.items).map(ProveOutcome::Missing),
            Some(proto::prove_result::Outcome::Refused(reason)) => Ok(ProveOutcome::Refused(reason)),
            None => Err(self.nonsense("a proof without an outcome")),
        }
    }

    fn ids(&self, groups: &[proto::ItemIds]) -> Result<Vec<ItemId>, ServerError> {
        let mut ids = Vec::new();
        for group in groups {
            let kind = u8::try_from(group.kind).ok().and_then(ItemKind::from_number);
            let kind = kind.ok_or_else(|| self.nonsense("an item kind that is not known"))?;
            let (hashes, rest) = group.hashes.as_chunks::<32>();
            if !rest.is_empty() {
                return Err(self.nonsense("part of a hash"));
            }
            ids.extend(hashes.iter().map(|hash| ItemId { kind, hash: *hash }));
        }
        Ok(ids)
    }

    fn receipt(&self, receipt: proto::Receipt, oid: Option<&FileHash>) -> Result<Receipt, ServerError> {
        let receipt = Receipt {
            oid: FileHash::from_bytes(self.hash(&receipt.oid)?),
            size: 0,
            manifest: ManifestHash::from_bytes(self.hash(&receipt.manifest)?),
            proven_at: receipt.proven_at,
            mac: receipt.mac.to_vec(),
        };
        match oid.is_none_or(|oid| *oid == receipt.oid) && receipt.mac.len() == 32 {
            true => Ok(receipt),
            false => Err(self.nonsense("a receipt for something else")),
        }
    }

    fn hash(&self, bytes: &[u8]) -> Result<[u8; 32], ServerError> {
        bytes.try_into().map_err(|_| self.nonsense("a hash of another length"))
    }

    fn same_len(&self, answered: usize, asked: usize) -> Result<(), ServerError> {
        match answered == asked {
            true => Ok(()),
            false => Err(self.nonsense("more or fewer answers than questions")),
        }
    }

    fn nonsense(&self, what: &'static str) -> ServerError {
        nonsense(&self.host, what)
    }

    pub(super) fn repo_name(&self) -> String {
        self.repo.as_str().to_owned()
    }

    fn text_elsewhere(&self) -> bool {
        self.text_elsewhere.load(Ordering::Relaxed)
    }

    fn lease(&self) -> Bytes {
        self.lease.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

fn oid_bytes(oid: &FileHash) -> Bytes {
    Bytes::copy_from_slice(oid.as_bytes())
}
