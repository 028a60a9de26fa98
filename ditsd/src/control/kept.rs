//! Whether a file stays: held, whole, and named by refs as they are now.
//!
//! **For:** clients that would free their own copy.
//!
//! **Must hold:** a file that a collection could take away once its grace is over is not said to be kept; the
//! refs are listed after the row was looked up and its being said was recorded, so that whatever happens to them next,
//! the file stays for the grace.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use dits_core::limits;
use dits_core::pointer::Pointer;
use dits_core::remote::proto;
use dits_core::repo::named_files::Refs;
use dits_core::repo::pointer_walk::AttributeCase;

use super::Shared;
use super::media::name;
use super::refusal::CallError;
use crate::blobs::KnownLost;
use crate::clock::now;
use crate::db::{RepoKey, RepoRow};
use crate::rules::ids;

impl Shared {
    /// Says which files the repository keeps. One that does not exist keeps none.
    pub(super) fn kept(&self, request: &proto::KeptRequest) -> Result<proto::KeptReply, CallError> {
        let oids = ids::oids(&request.oids)?;
        let Some(repo) = self.db.repo(&name(&request.repo)?)? else {
            return Ok(proto::KeptReply { files: vec![proto::FileState::default(); oids.len()] });
        };
        let held = self.db.say_held(repo.key, &oids, now())?;
        let held = self.blobs.only_whole(repo.domain(), held, &mut KnownLost::default())?;
        let named = match repo.text_elsewhere || held.iter().all(Option::is_none) {
            true => None,
            false => Some(self.named_files(&repo)?),
        };
        // Of a repository whose text may be elsewhere nothing is ever taken away.
        let stays = |pointer: &Pointer| named.as_ref().is_none_or(|named| named.contains(pointer));
        let state = |held: Option<crate::db::Held>| match held.filter(|held| stays(&held.pointer)) {
            Some(held) => self.held_state(&repo, &held),
            None => proto::FileState::default(),
        };
        Ok(proto::KeptReply { files: held.into_iter().map(state).collect() })
    }

    /// The files that the repository's refs name at this moment.
    fn named_files(&self, repo: &RepoRow) -> Result<Arc<HashSet<Pointer>>, CallError> {
        let git = self.git.program_for(&repo.name);
        let refs = Refs::list(&git).map_err(CallError::Refs)?;
        if let Some(files) = self.named.get(repo.key, &refs) {
            return Ok(files);
        }
        let files = Arc::new(refs.files(&git, AttributeCase::Sensitive).map_err(CallError::Walk)?);
        self.named.keep(repo.key, &refs, files.clone());
        Ok(files)
    }
}

/// What walks over refs found, the last ones kept: a client asks many times, and refs change seldom.
#[derive(Debug, Default)]
pub(super) struct NamedFiles(Mutex<Walks>);

#[derive(Debug, Default)]
struct Walks {
    by_repo: HashMap<RepoKey, Walk>,
    /// Oldest first.
    order: VecDeque<RepoKey>,
}

#[derive(Debug)]
struct Walk {
    refs: [u8; 32],
    files: Arc<HashSet<Pointer>>,
}

impl NamedFiles {
    fn get(&self, repo: RepoKey, refs: &Refs) -> Option<Arc<HashSet<Pointer>>> {
        let walks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let walk = walks.by_repo.get(&repo).filter(|walk| walk.refs == refs.digest())?;
        Some(walk.files.clone())
    }

    /// Keeps a walk, and lets go of the oldest while they have more files together than one may have.
    fn keep(&self, repo: RepoKey, refs: &Refs, files: Arc<HashSet<Pointer>>) {
        let mut walks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Walks { by_repo, order } = &mut *walks;
        order.retain(|kept| *kept != repo);
        order.push_back(repo);
        by_repo.insert(repo, Walk { refs: refs.digest(), files });
        while by_repo.values().map(|walk| walk.files.len()).sum::<usize>() > limits::WALK_FILES_MAX
            && let Some(oldest) = order.pop_front()
        {
            by_repo.remove(&oldest);
        }
    }
}
