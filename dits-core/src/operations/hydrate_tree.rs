//! Hydrating many files of a work tree at once, and telling git's index.
//!
//! **For:** the filter once git has closed its pipe, the hooks, and `git dits pull`.
//!
//! **May touch:** the stores, for reading; the paths it is given and temporary names beside them; the journals of
//! the work tree; git's index. Threads, which have ended on return.
//!
//! **Must hold:**
//! - a file that fails takes no other with it;
//! - what stands at a path and is not the pointer that was to be replaced stays;
//! - a journal is removed only when nothing of it is left to do.
//!
//! **Format:** `docs/formats/hydration-v1.md`.

mod recovery;
mod workers;

use std::collections::BTreeMap;
use std::io;

use super::hydrate::{HydrateError, Watch};
use crate::hydration_record::{Record, Written};
use crate::pointer::Pointer;
use crate::repo::Repository;
use crate::repo::hydration_journal::{Journal, JournalError};
use crate::repo::index_stat::{self, FileTime, NotPatched, Restat};
use crate::repo::work_tree_file::{Stands, SwapError};
use crate::repo_path::RepoPath;
use crate::store::Sources;
use recovery::Recovery;

/// A file of the work tree, and what it is to hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// Its path from the top of the work tree.
    pub path: RepoPath,
    /// Its pointer.
    pub pointer: Pointer,
}

/// What is to be done in a work tree.
#[derive(Debug)]
pub struct Hydration<'a> {
    /// The repository of the work tree.
    pub repository: &'a Repository,
    /// Where content comes from.
    pub sources: &'a Sources,
    /// With which files.
    pub batch: Batch,
}

/// Files, by what is to become of them.
#[derive(Debug, Default)]
pub struct Batch {
    /// This process's journal, where it has noted `wanted` already.
    pub journal: Option<Journal>,
    /// Pointers to be replaced by their content. Of several for one path the last one counts.
    pub wanted: Vec<Wanted>,
    /// Files whose content git wrote itself, from the filter's answers.
    pub inline: Vec<Wanted>,
    /// Pointers that stay for want of their content, as the journal says already.
    pub missing: Vec<Wanted>,
    /// Pointers that stay because nobody wants their content.
    pub unwanted: Vec<Wanted>,
}

impl Batch {
    /// Whether there is no file in it.
    pub fn is_empty(&self) -> bool {
        [&self.wanted, &self.inline, &self.missing, &self.unwanted].iter().all(|files| files.is_empty())
    }
}

impl<'a> Hydration<'a> {
    /// Hydrating what is wanted, and nothing besides.
    pub fn of(repository: &'a Repository, sources: &'a Sources, wanted: Vec<Wanted>) -> Hydration<'a> {
        Hydration { repository, sources, batch: Batch { wanted, ..Batch::default() } }
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Files that have their content now.
    pub hydrated: Vec<Wanted>,
    /// Files into which something was saved meanwhile. They were left as they are.
    pub saved: Vec<RepoPath>,
    /// Files that are still pointers, and why.
    pub failed: Vec<Failed>,
    /// Files that are still pointers because of an interruption.
    pub stopped: Vec<Wanted>,
    /// Files that an earlier process left as pointers, and that nobody has asked for now.
    pub left: Vec<Wanted>,
    /// Files that an earlier process had done, and that could not be looked into now.
    pub unchecked: Vec<RepoPath>,
    /// Whether an interruption has kept something from being done.
    pub is_interrupted: bool,
    /// Hydrated files of which git's index could not be told, as they were left: git may call them modified.
    pub untold: Vec<Restat>,
    /// Why it could not be told.
    pub not_patched: Option<NotPatched>,
    /// What else is worth knowing.
    pub warnings: Vec<String>,
}

/// A file that could not be hydrated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// The file.
    pub wanted: Wanted,
    /// Why, on one line.
    pub reason: String,
    /// Whether its content could not be read, rather than be written.
    pub is_media: bool,
}

/// Why nothing could be done.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// There is no work tree.
    #[error("a bare repository has no work tree")]
    Bare,
    /// What is about to be done cannot be noted.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Why one file could not be hydrated.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error(transparent)]
    Hydrate(#[from] HydrateError),
    #[error(transparent)]
    Swap(#[from] SwapError),
    #[error(transparent)]
    Redate(#[from] io::Error),
}

/// A file that is as it should be, and of which git's index is to be told.
#[derive(Debug, Clone)]
struct Settled {
    path: RepoPath,
    stands: Stands,
    written: Written,
}

/// A file that git wrote from the filter's answer, or a pointer that stays one.
struct Resting {
    path: RepoPath,
    stands: Stands,
}

impl Resting {
    fn content(wanted: Wanted) -> Resting {
        Resting { path: wanted.path, stands: Stands::Content(wanted.pointer) }
    }

    fn pointer(wanted: &Wanted) -> Resting {
        Resting { path: wanted.path.clone(), stands: Stands::Pointer(wanted.pointer) }
    }
}

/// Puts the content of all that is wanted in the place of its pointers, in parallel, and tells git's index.
///
/// What processes left that are gone is taken over: it is cleared up, git's index is told of what they had done, and what
/// they had yet to do is noted anew, for whoever asks for it.
///
/// # Errors
///
/// [`TreeError`] if nothing can be done at all. What happened to each file is in the [`Outcome`].
pub fn hydrate_tree(hydration: Hydration<'_>, watch: Watch<'_>) -> Result<Outcome, TreeError> {
    let Hydration { repository, sources, batch } = hydration;
    let Batch { mut journal, wanted, inline, missing, unwanted } = batch;
    let top = repository.work_tree().ok_or(TreeError::Bare)?;
    let wanted: BTreeMap<RepoPath, Pointer> = wanted.into_iter().map(|wanted| (wanted.path, wanted.pointer)).collect();
    let mut outcome = Outcome::default();
    let mut recovery = Recovery::run(repository, top, &wanted, watch, &mut outcome);
    if journal.is_none() && !(wanted.is_empty() && outcome.left.is_empty()) {
        journal = Some(journal_of(repository, &wanted)?);
    }
    if let Some(journal) = &journal {
        recovery.note_left(journal, &outcome.left);
    }
    let resting = inline.into_iter().map(Resting::content).chain(unwanted.iter().map(Resting::pointer));
    let resting: Vec<Resting> = resting.chain(missing.iter().chain(&outcome.left).map(Resting::pointer)).collect();
    let index_time = index_stat::modified(&repository.index_file()).unwrap_or_default();
    // Where the index can be told nothing, another date has git ask no less.
    let is_told = || !(resting.is_empty() || index_stat::is_refused(repository));
    let work = workers::Work {
        top,
        sources,
        journal: journal.as_ref(),
        date: index_stat::date_to_be_sure_of(index_time),
        unsure_from: index_time.filter(|_| is_told()).map(|time| time.seconds),
        watch,
    };
    let mut settled = work.run(wanted, resting, recovery.take_in_place(), &mut outcome);
    let failed = outcome.failed.iter().map(|failed| Resting::pointer(&failed.wanted)).collect();
    settled.extend(work.run(BTreeMap::new(), failed, Vec::new(), &mut Outcome::default()));
    tell_index(repository, &settled, &mut outcome);
    let untold = matches!(&outcome.not_patched, Some(error) if !matches!(error, NotPatched::Refused { .. }));
    finish(journal, &settled, untold, !missing.is_empty(), &mut outcome);
    recovery.finish(untold, &mut outcome);
    Ok(outcome)
}

/// Makes a journal and notes in it what is wanted. Without that, what is noted of the same paths later would mean
/// something else.
fn journal_of(repository: &Repository, wanted: &BTreeMap<RepoPath, Pointer>) -> Result<Journal, JournalError> {
    let journal = Journal::create(repository.git_dir())?;
    let want = |(path, pointer): (&RepoPath, &Pointer)| Record::Want { pointer: *pointer, path: path.clone() };
    let records: Vec<Record> = wanted.iter().map(want).collect();
    if let Err(error) = journal.note(&records) {
        // Nothing was begun. What could be noted of it would be taken for begun by whoever takes over.
        let _ = journal.remove();
        return Err(error);
    }
    Ok(journal)
}

/// Has git's index know the files.
fn tell_index(repository: &Repository, settled: &[Settled], outcome: &mut Outcome) {
    if settled.is_empty() {
        return;
    }
    let restat = |Settled { path, stands, written }: &Settled| Restat {
        path: path.as_bstr().to_owned(),
        pointer: stands.pointer(),
        size: stands.size(),
        inode: written.inode,
        modified: FileTime { seconds: written.date.secs, nanoseconds: written.date.nanos },
    };
    let files: Vec<Restat> = settled.iter().map(restat).collect();
    match index_stat::patch(repository, &files) {
        // Where there is no index, nothing is compared with it.
        Ok(_) | Err(NotPatched::Absent { .. }) => {}
        Err(error) => {
            outcome.untold = files;
            // An index that is refused is refused again, and who called finds another way, or none.
            if !matches!(error, NotPatched::Refused { .. }) {
                let warning = "git may call hydrated files modified until `git dits pull` tells it of them";
                outcome.warnings.push(format!("{warning}: {}", reason(&error)));
            }
            outcome.not_patched = Some(error);
        }
    }
}

/// Removes the journal if nothing is left to do, else says in it what is done.
fn finish(journal: Option<Journal>, settled: &[Settled], untold: bool, has_missing: bool, outcome: &mut Outcome) {
    let Some(journal) = journal else { return };
    let is_done =
        !untold && !has_missing && outcome.failed.is_empty() && outcome.stopped.is_empty() && outcome.left.is_empty();
    let finished = match is_done {
        true => journal.remove(),
        false => {
            let fail =
                |failed: &Failed| Record::Fail { path: failed.wanted.path.clone(), reason: failed.reason.clone() };
            let mut records: Vec<Record> = outcome.failed.iter().map(fail).collect();
            records.extend(outcome.saved.iter().map(|path| Record::Done { path: path.clone() }));
            let is_done = |settled: &&Settled| !untold && matches!(settled.stands, Stands::Content(_));
            let done = settled.iter().filter(is_done);
            records.extend(done.map(|settled| Record::Done { path: settled.path.clone() }));
            journal.note(&records)
        }
    };
    if let Err(error) = finished {
        outcome.warnings.push(reason(&error));
    }
}

/// An error and its causes, on one line.
fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
