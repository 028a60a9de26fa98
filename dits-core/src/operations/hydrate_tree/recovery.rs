//! Taking over what processes left that are gone.
//!
//! **For:** whoever hydrates next in the same work tree.
//!
//! **May touch:** their journals, and what these name.
//!
//! **Must hold:** a journal goes only once what is left of it stands in another one, or is done.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::hydrate;
use super::{Outcome, Settled, Wanted, reason};
use crate::hydration_record::{Record, Written};
use crate::pointer::Pointer;
use crate::repo::Repository;
use crate::repo::hydration_journal::{self, Entry, Journal, Left};
use crate::repo::work_tree_file::{self, Recovered, Stands};
use crate::repo_path::RepoPath;
use crate::store::Sources;

/// What was taken over.
#[derive(Default)]
pub(super) struct Recovery {
    journals: Vec<Left>,
    /// Pointers that are still wanted, and whose content is here.
    pub wanted: BTreeMap<RepoPath, Pointer>,
    /// Files that are done, as far as the work tree goes.
    in_place: Vec<(RepoPath, Stands, Written)>,
    /// Paths that could not be looked at; their journals stay.
    has_problems: bool,
    reasons: BTreeMap<RepoPath, String>,
    is_noted: std::cell::Cell<bool>,
}

impl Recovery {
    /// Takes over every journal that its process left. Paths that are `wanted` anyway are only cleared up.
    pub fn run(
        repository: &Repository,
        sources: &Sources,
        top: &Path,
        wanted: &BTreeMap<RepoPath, Pointer>,
        outcome: &mut Outcome,
    ) -> Recovery {
        let mut recovery = Recovery::default();
        match hydration_journal::take_over(repository.git_dir()) {
            Ok((left, problems)) => {
                recovery.journals = left;
                outcome.warnings.extend(problems.iter().map(|problem| reason(problem)));
            }
            Err(error) => outcome.warnings.push(reason(&error)),
        }
        if recovery.journals.iter().any(|journal| !journal.entries.is_empty()) {
            // What was fetched since then is here; a store that cannot be used says so when it is read.
            let _ = sources.refresh();
        }
        let entries: Vec<_> =
            recovery.journals.iter_mut().flat_map(|journal| std::mem::take(&mut journal.entries)).collect();
        for (path, entry) in entries {
            match work_tree_file::recover(top, &path, &entry) {
                Ok(found) => recovery.take(sources, path, entry, found, wanted, outcome),
                Err(error) => {
                    outcome.warnings.push(format!("cannot look at {path}: {error}"));
                    recovery.has_problems = true;
                }
            }
        }
        recovery
    }

    fn take(
        &mut self,
        sources: &Sources,
        path: RepoPath,
        entry: Entry,
        found: Recovered,
        wanted: &BTreeMap<RepoPath, Pointer>,
        outcome: &mut Outcome,
    ) {
        let Recovered { is_pointer, in_place, kept } = found;
        for kept in kept {
            outcome.warnings.push(format!("what was saved at {path} meanwhile is kept in {}", kept.display()));
        }
        let Some(stands) = entry.goal else { return };
        let pointer = stands.pointer();
        if let Some(written) = in_place {
            self.in_place.push((path, stands, written));
        } else if is_pointer && !wanted.contains_key(&path) && !self.wanted.contains_key(&path) {
            if hydrate::is_here(sources, &pointer) {
                self.wanted.insert(path, pointer);
            } else {
                let reason = entry.reason.unwrap_or_else(|| "its content is not in the local store".to_owned());
                self.reasons.insert(path.clone(), reason);
                outcome.missing.push(Wanted { path, pointer });
            }
        }
    }

    /// Notes what is left to do and cannot be done now.
    pub fn note_missing(&self, journal: &Journal, missing: &[Wanted]) {
        let mut records = Vec::new();
        for Wanted { path, pointer } in missing {
            records.push(Record::Want { pointer: *pointer, path: path.clone() });
            let reason = self.reasons.get(path).cloned();
            records.extend(reason.map(|reason| Record::Fail { path: path.clone(), reason }));
        }
        self.is_noted.set(journal.note(&records).is_ok());
    }

    /// The files that are done, and of which git's index is to be told.
    pub fn settled(&self) -> impl Iterator<Item = Settled> {
        self.in_place.iter().map(|(path, stands, written)| Settled {
            path: path.clone(),
            stands: *stands,
            written: *written,
        })
    }

    /// Removes the journals that were taken over, unless something of them is left and stands nowhere else: if git's
    /// index was not told, which files are done.
    pub fn finish(self, untold: bool, outcome: &mut Outcome) {
        if untold || self.has_problems || !(self.is_noted.get() || outcome.missing.is_empty()) {
            return;
        }
        for journal in self.journals {
            if let Err(error) = journal.remove() {
                outcome.warnings.push(reason(&error));
            }
        }
    }
}
