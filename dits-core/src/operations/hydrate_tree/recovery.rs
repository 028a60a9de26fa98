//! Taking over what processes left that are gone.
//!
//! **For:** whoever hydrates next in the same work tree.
//!
//! **May touch:** their journals, and what these name.
//!
//! **Must hold:**
//! - a journal goes only once what is left of it stands in another one, or is done;
//! - no path gets content that nobody asks for now.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use super::super::hydrate::Watch;
use super::{Outcome, Settled, Wanted, reason};
use crate::hydration_record::Record;
use crate::pointer::Pointer;
use crate::repo::Repository;
use crate::repo::hydration_journal::{self, Entry, Journal, Left};
use crate::repo::work_tree_file::{self, Recovered};
use crate::repo_path::RepoPath;

/// What was taken over.
#[derive(Default)]
pub(super) struct Recovery {
    journals: Vec<Left>,
    /// Files that are done as far as the work tree goes, if they hold what their journal says.
    in_place: Vec<Settled>,
    /// Pointers that are still wanted, and not now.
    left: BTreeSet<RepoPath>,
    reasons: BTreeMap<RepoPath, String>,
    is_noted: bool,
}

impl Recovery {
    /// Takes over every journal that its process left. Paths that are `wanted` anyway are only cleared up.
    pub fn run(
        repository: &Repository,
        top: &Path,
        wanted: &BTreeMap<RepoPath, Pointer>,
        watch: Watch<'_>,
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
        let entries: Vec<_> =
            recovery.journals.iter_mut().flat_map(|journal| std::mem::take(&mut journal.entries)).collect();
        let go_on = || watch(0).is_continue();
        for (path, entry) in entries {
            let recovered = match go_on() {
                true => work_tree_file::recover(top, &path, &entry, &go_on),
                false => Err(io::ErrorKind::Interrupted.into()),
            };
            match recovered {
                Ok(found) => recovery.take(path, entry, found, wanted, outcome),
                Err(error) => {
                    match error.kind() {
                        io::ErrorKind::Interrupted => outcome.is_interrupted = true,
                        _ => outcome.warnings.push(format!("cannot look at {path}: {error}")),
                    }
                    outcome.unchecked.push(path);
                }
            }
        }
        recovery
    }

    fn take(
        &mut self,
        path: RepoPath,
        entry: Entry,
        found: Recovered,
        wanted: &BTreeMap<RepoPath, Pointer>,
        outcome: &mut Outcome,
    ) {
        let Recovered { is_pointer, in_place, is_put_back, kept } = found;
        if is_put_back {
            outcome.warnings.push(format!(
                "{path} is as it was before a `git dits resolve` that ended early; see `git status`: if it is in conflict, \
                 resolve it again; else `git restore` takes the side that is staged, or remove it if that side has none"
            ));
        }
        for kept in kept {
            outcome.warnings.push(format!("what was saved at {path} meanwhile is kept in {}", kept.display()));
        }
        if let (Some(stands), Some(written)) = (entry.goal, in_place) {
            self.in_place.push(Settled { path, stands, written });
        } else if let Some(pointer) = entry.wanted().filter(|_| is_pointer && !wanted.contains_key(&path))
            && self.left.insert(path.clone())
        {
            self.reasons.extend(entry.reason.map(|reason| (path.clone(), reason)));
            outcome.left.push(Wanted { path, pointer });
        }
    }

    /// Notes what is left to do and is not done now.
    pub fn note_left(&mut self, journal: &Journal, left: &[Wanted]) {
        let mut records = Vec::new();
        for Wanted { path, pointer } in left {
            records.push(Record::Want { pointer: *pointer, path: path.clone() });
            let reason = self.reasons.get(path).cloned();
            records.extend(reason.map(|reason| Record::Fail { path: path.clone(), reason }));
        }
        self.is_noted = journal.note(&records).is_ok();
    }

    /// The files that are done if they hold what their journal says, which is yet to be looked at.
    pub fn take_in_place(&mut self) -> Vec<Settled> {
        std::mem::take(&mut self.in_place)
    }

    /// Removes the journals that were taken over, unless something of them is left and stands nowhere else: if git's
    /// index was not told, which files are done.
    pub fn finish(self, untold: bool, outcome: &mut Outcome) {
        let is_noted = self.is_noted || outcome.left.is_empty();
        // Each of these has something left in some journal.
        if untold || !is_noted || !outcome.unchecked.is_empty() {
            return;
        }
        for journal in self.journals {
            if let Err(error) = journal.remove() {
                outcome.warnings.push(reason(&error));
            }
        }
    }
}
