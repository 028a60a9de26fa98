//! Files that get their content once git has closed its pipe.
//!
//! **For:** keeping long contents out of git's memory, and git's next `status` from asking about any.
//!
//! **May touch:** this process's journal in the work tree's git directory.
//!
//! **Must hold:** a pointer is answered in the place of a content only once the journal says so.
//!
//! **Format:** `docs/formats/hydration-v1.md`.

use dits_core::hydration_record::Record;
use dits_core::operations::hydrate_tree::{Batch, Wanted};
use dits_core::pointer::Pointer;
use dits_core::repo::Repository;
use dits_core::repo::config::{Hydrate, Settings};
use dits_core::repo::hydration_journal::{Journal, JournalError};
use dits_core::repo::index_stat;
use dits_core::repo_path::RepoPath;
use dits_core::steps::{Step, reached};

use crate::report::Report;

/// What is left to do at the end of one git command.
pub struct Deferred<'r> {
    repo: &'r Repository,
    can_defer: bool,
    batch: Batch,
}

impl<'r> Deferred<'r> {
    /// Makes no journal yet.
    pub fn new(repo: &'r Repository, settings: &Settings) -> Deferred<'r> {
        let can_defer = settings.hydrate == Hydrate::Deferred && repo.work_tree().is_some();
        Deferred { repo, can_defer, batch: Batch::default() }
    }

    /// Promises that the path gets its content later. Returns false if that cannot be: git is to write it now.
    pub fn promises(&mut self, path: &[u8], pointer: &Pointer, report: &mut Report<'_>) -> bool {
        if !self.can_defer {
            return false;
        }
        // Else nobody could tell git afterwards that its files are as they should be. Looked at once.
        if self.batch.wanted.is_empty() && !index_stat::is_patchable(self.repo) {
            self.can_defer = false;
            return false;
        }
        let Ok(path) = RepoPath::new(path) else { return false };
        match self.note(&[Record::Want { pointer: *pointer, path: path.clone() }]) {
            Ok(()) => {
                reached(Step::HydrationNoted);
                self.batch.wanted.push(Wanted { path, pointer: *pointer });
                true
            }
            Err(error) => {
                report.error("large files go through git's memory this time", Some(&error), &[]);
                self.can_defer = false;
                false
            }
        }
    }

    /// Takes note of a file of which git got the content.
    pub fn note_inline(&mut self, path: &[u8], pointer: &Pointer) {
        if let Ok(path) = RepoPath::new(path) {
            self.batch.inline.push(Wanted { path, pointer: *pointer });
        }
    }

    /// Takes note of a file that stays a pointer because nobody wants its content.
    pub fn note_unwanted(&mut self, path: &[u8], pointer: &Pointer) {
        if let Ok(path) = RepoPath::new(path) {
            self.batch.unwanted.push(Wanted { path, pointer: *pointer });
        }
    }

    /// Takes note of a file that stays a pointer because its content cannot be had.
    pub fn note_failed(&mut self, path: &[u8], pointer: &Pointer, why: &str) {
        let Ok(path) = RepoPath::new(path) else { return };
        let want = Record::Want { pointer: *pointer, path: path.clone() };
        // It is told on standard error anyway.
        let _ = self.note(&[want, Record::Fail { path: path.clone(), reason: why.to_owned() }]);
        self.batch.missing.push(Wanted { path, pointer: *pointer });
    }

    /// Takes what is left to do.
    pub fn take(&mut self) -> Batch {
        std::mem::take(&mut self.batch)
    }

    fn note(&mut self, records: &[Record]) -> Result<(), JournalError> {
        let journal = match self.batch.journal.take() {
            Some(journal) => journal,
            None => Journal::create(self.repo.git_dir())?,
        };
        self.batch.journal.insert(journal).note(records)
    }
}
