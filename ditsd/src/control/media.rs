//! Questions about media: held, missing, manifests.
//!
//! **For:** clients before an upload, and before a download.
//!
//! **Must hold:**
//! - a file is held, and its manifest given out, only once its content was proven in that
//!   very repository, and as long as no part of it is known to be damaged;
//! - what is answered as present is leased first, and what is answered as held is noted as said.

use bytes::Bytes;
use dits_core::item::ItemId;
use dits_core::remote::proto;
use dits_core::repo_path::RepoName;

use super::Shared;
use super::refusal::CallError;
use crate::blobs::{BlobError, KnownLost};
use crate::clock::now;
use crate::db::{Held, LeaseId, RepoRow};
use crate::rules::{ids, lease, receipt};

impl Shared {
    /// Says which files the repository holds. One that does not exist holds none.
    pub(super) fn held(&self, request: &proto::HeldRequest) -> Result<proto::HeldReply, CallError> {
        let oids = ids::oids(&request.oids)?;
        let Some(repo) = self.db.repo(&name(&request.repo)?)? else {
            let files = vec![proto::FileState::default(); oids.len()];
            return Ok(proto::HeldReply { files });
        };
        let state = |held: Option<Held>| held.map_or_else(Default::default, |held| self.held_state(&repo, &held));
        self.note_text(&repo, request.text_elsewhere)?;
        let held = self.db.say_held(repo.key, &oids, now())?;
        let held = self.blobs.only_whole(repo.domain(), held, &mut KnownLost::default())?;
        let files = held.into_iter().map(state).collect();
        Ok(proto::HeldReply { files })
    }

    /// Says of a file that it is held.
    pub(super) fn held_state(&self, repo: &RepoRow, held: &Held) -> proto::FileState {
        proto::FileState { held: true, size: held.pointer.size, receipt: Some(self.receipt(repo, held)) }
    }

    /// Says which items would have to be sent, and leases the others.
    pub(super) fn missing(&self, request: &proto::MissingRequest) -> Result<proto::MissingReply, CallError> {
        let groups = request.items.iter().map(|group| (group.kind, &group.hashes[..]));
        let groups = ids::items(groups)?;
        let lease = lease_id(&request.lease)?.unwrap_or_else(|| LeaseId(rand::random()));
        let missing = match self.db.repo(&name(&request.repo)?)? {
            Some(repo) => self.missing_in(&repo, lease, &groups)?,
            // It is made by the upload that follows; there is nothing to lease until then.
            None => groups.iter().map(|group| vec![true; group.len()]).collect(),
        };
        Ok(proto::MissingReply {
            lease: lease.0.to_vec().into(),
            lease_secs: lease::LEASE_SECS,
            missing: missing.iter().map(|group| ids::bits(group).into()).collect(),
        })
    }

    fn missing_in(&self, repo: &RepoRow, lease: LeaseId, groups: &[Vec<ItemId>]) -> Result<Vec<Vec<bool>>, CallError> {
        let domain = repo.domain();
        // A collection that has begun waits until the lease is written; one that begins later sees it.
        let _guard = self.blobs.store().guard().map_err(BlobError::from)?;
        let ask = |group: &Vec<ItemId>| self.blobs.are_usable(domain, group);
        let present: Vec<Vec<bool>> = groups.iter().map(ask).collect::<Result<_, _>>()?;
        let pairs = groups.iter().flatten().zip(present.iter().flatten());
        let leased: Vec<ItemId> = pairs.filter(|(_, is_present)| **is_present).map(|(id, _)| *id).collect();
        let now = now();
        self.db.lease(repo.key, lease, lease::expires(now), now, &leased)?;
        let invert = |group: Vec<bool>| group.into_iter().map(|is_present| !is_present).collect();
        Ok(present.into_iter().map(invert).collect())
    }

    /// Says which manifest describes each file that is held.
    pub(super) fn manifests(&self, request: &proto::ManifestsRequest) -> Result<proto::ManifestsReply, CallError> {
        let oids = ids::oids(&request.oids)?;
        let repo = self.repo(&name(&request.repo)?)?;
        let name = |held: Option<Held>| held.map_or_else(Bytes::new, |held| copy(held.manifest.as_bytes()));
        let manifests = self.db.held(repo.key, &oids)?.into_iter().map(name).collect();
        Ok(proto::ManifestsReply { manifests })
    }

    /// Gives the server's word for a file that is held.
    pub(super) fn receipt(&self, repo: &RepoRow, held: &Held) -> proto::Receipt {
        proto::Receipt {
            oid: copy(held.pointer.oid.as_bytes()),
            manifest: copy(held.manifest.as_bytes()),
            proven_at: held.proven_at,
            mac: copy(&receipt::mac(&self.identity, repo.id, held)),
        }
    }
}

/// Reads a repository's name.
pub(super) fn name(text: &str) -> Result<RepoName, CallError> {
    RepoName::new(text).map_err(CallError::Name)
}

fn lease_id(bytes: &[u8]) -> Result<Option<LeaseId>, CallError> {
    match bytes.len() {
        0 => Ok(None),
        16 => Ok(Some(LeaseId(bytes.try_into().expect("the length was just looked at")))),
        _ => Err(CallError::Malformed("a lease's name has 16 bytes")),
    }
}

/// Makes a message's field of borrowed bytes.
pub(super) fn copy(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}
