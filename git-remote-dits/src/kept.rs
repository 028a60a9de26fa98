//! The receipts of one server and repository, as this repository keeps them.
//!
//! **For:** the gate, which asks only about files that no receipt names; and `git dits status`,
//! which says from them what is not pushed.
//!
//! **May touch:** the database of receipts; standard error.
//!
//! **Must hold:** a database that cannot be used costs questions, never a push.

use dits_core::hash::FileHash;
use dits_core::pointer::Pointer;
use dits_core::remote::receipts::{DIR, Receipts, ReceiptsError};
use dits_core::remote::{Receipt, Remote};
use dits_core::repo::Repository;
use dits_core::repo::pointer_walk::Found;

use crate::far_end::Link;

/// Receipts, where the far end gives them and they can be kept.
pub struct Kept(Option<Receipts>);

impl Kept {
    /// Opens them. A share gives none, and neither does a repository that is only being made.
    pub fn open(link: &Link, repository: &Repository) -> Kept {
        let Link::Server { address, remote: Remote::Server(server), .. } = link else { return Kept(None) };
        let Some(repo) = server.repo_id() else { return Kept(None) };
        let opened = told(Receipts::open(&repository.common_dir().join(DIR), server.server_id(), repo));
        Kept(opened.and_then(|mut receipts| {
            // What this address led to, so that a look without a network knows whose receipts count.
            told(receipts.note_address(address))?;
            Some(receipts)
        }))
    }

    /// Whether there is anywhere to keep them.
    pub fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// Leaves out the files that there is a receipt for.
    pub fn without_known(&self, needed: &[Found]) -> Vec<Found> {
        let files: Vec<Pointer> = needed.iter().map(|found| found.pointer).collect();
        let known = self.0.as_ref().and_then(|receipts| told(receipts.known(&files))).unwrap_or_default();
        needed.iter().filter(|found| !known.contains(&found.pointer)).cloned().collect()
    }

    /// Keeps what the server gave.
    pub fn keep(&mut self, given: &[Receipt]) {
        if let Some(receipts) = self.0.as_mut().filter(|_| !given.is_empty()) {
            told(receipts.keep(given));
        }
    }

    /// Forgets what the server turned out not to have.
    pub fn forget(&mut self, missing: impl IntoIterator<Item = FileHash>) {
        let missing: Vec<FileHash> = missing.into_iter().collect();
        if let Some(receipts) = self.0.as_mut().filter(|_| !missing.is_empty()) {
            told(receipts.forget(&missing));
        }
    }
}

fn told<T>(result: Result<T, ReceiptsError>) -> Option<T> {
    result
        .map_err(|error| {
            let cause = std::error::Error::source(&error).map_or(String::new(), |cause| format!(": {cause}"));
            eprintln!("warning: {error}{cause}");
        })
        .ok()
}
