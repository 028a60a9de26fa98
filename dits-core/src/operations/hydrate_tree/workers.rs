//! The threads that hydrate.
//!
//! **For:** many small files side by side, and a long one on all cores.
//!
//! **May touch:** what hydrating one file does.
//!
//! **Must hold:** all threads have ended on return; after an interruption no further file is begun.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::hydrate::{self, HydrateError, Watch};
use super::{Failed, FileError, Outcome, Resting, Settled, Wanted, reason};
use crate::hydration_record::{Date, Record};
use crate::pointer::Pointer;
use crate::repo::hydration_journal::Journal;
use crate::repo::work_tree_file::{self, Redated, Stands, Swap, Swapped};
use crate::repo_path::RepoPath;
use crate::store::Sources;

/// Most threads of one hydration.
const THREADS_MAX: usize = 16;
/// A file of this length or more, in bytes, is written by all threads together.
const TOGETHER_LEN_MIN: u64 = 64 * 1024 * 1024;

/// What all threads work with.
pub(super) struct Work<'a> {
    pub top: &'a Path,
    pub sources: &'a Sources,
    /// There is one where a pointer is to be replaced.
    pub journal: Option<&'a Journal>,
    pub date: Date,
    /// From which second on git is unsure of a file; `None` where it has no index to be unsure by.
    pub unsure_from: Option<i64>,
    pub watch: Watch<'a>,
}

enum Task {
    Hydrate(Wanted),
    Redate(Resting),
    /// Looking whether a file is what a process that is gone says that it has written.
    Check(Settled),
}

impl Task {
    /// Whether it is long enough for all threads.
    fn is_long(&self) -> bool {
        match self {
            Task::Hydrate(wanted) => wanted.pointer.size >= TOGETHER_LEN_MIN,
            Task::Check(settled) => settled.stands.size() >= TOGETHER_LEN_MIN,
            Task::Redate(_) => false,
        }
    }
}

/// What the threads found.
#[derive(Default)]
struct Findings {
    settled: Vec<Settled>,
    outcome: Outcome,
}

impl Work<'_> {
    /// Hydrates all of `wanted`, dates the `resting` files, and looks into those `in_place`. Returns the files that git's
    /// index is to be told of.
    pub fn run(
        &self,
        wanted: BTreeMap<RepoPath, Pointer>,
        resting: Vec<Resting>,
        in_place: Vec<Settled>,
        outcome: &mut Outcome,
    ) -> Vec<Settled> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        let tasks = resting.into_iter().map(Task::Redate).chain(in_place.into_iter().map(Task::Check));
        let wanted = wanted.into_iter().map(|(path, pointer)| Task::Hydrate(Wanted { path, pointer }));
        let (long, tasks): (Vec<_>, Vec<_>) = tasks.chain(wanted).partition(Task::is_long);
        let findings = Mutex::new(Findings::default());
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.perform(task, 1, &findings);
            }
        };
        std::thread::scope(|scope| {
            (1..threads.min(tasks.len())).for_each(|_| drop(scope.spawn(work)));
            work();
        });
        long.iter().for_each(|task| self.perform(task, threads, &findings));
        let Findings { settled, outcome: found } = findings.into_inner().unwrap_or_else(|broken| broken.into_inner());
        outcome.hydrated.extend(found.hydrated);
        outcome.saved.extend(found.saved);
        outcome.failed.extend(found.failed);
        outcome.stopped.extend(found.stopped);
        outcome.unchecked.extend(found.unchecked);
        outcome.is_interrupted |= found.is_interrupted;
        outcome.warnings.extend(found.warnings);
        settled
    }

    fn perform(&self, task: &Task, threads: usize, findings: &Mutex<Findings>) {
        let is_stopped = (self.watch)(0) == ControlFlow::Break(());
        let result = match task {
            Task::Hydrate(_) | Task::Check(_) if is_stopped => Err(HydrateError::Stopped.into()),
            Task::Hydrate(wanted) => self.hydrate(wanted, threads),
            // Git asks about it, that is all.
            Task::Redate(_) if is_stopped => Ok(Swapped::Left),
            Task::Redate(resting) => self.redate(resting),
            Task::Check(settled) => self.check(settled, threads),
        };
        let mut findings = findings.lock().unwrap_or_else(|broken| broken.into_inner());
        let Findings { settled, outcome } = &mut *findings;
        match (task, result) {
            // Somebody else has done it, or put something else there: nothing is left to do.
            (Task::Hydrate(wanted), Ok(Swapped::Left)) => {
                let done = Record::Done { path: wanted.path.clone() };
                self.journal.iter().for_each(|journal| drop(journal.note(std::slice::from_ref(&done))));
            }
            // Git looks at it by itself.
            (Task::Redate(_) | Task::Check(_), Ok(Swapped::Left)) => {}
            (Task::Check(file), Ok(_)) => settled.push(file.clone()),
            (Task::Check(file), Err(error)) => {
                match error {
                    FileError::Hydrate(HydrateError::Stopped) => outcome.is_interrupted = true,
                    error => outcome.warnings.push(format!("cannot look at {}: {}", file.path, reason(&error))),
                }
                outcome.unchecked.push(file.path.clone());
            }
            (Task::Hydrate(wanted), Ok(Swapped::Done(written))) => {
                outcome.hydrated.push(wanted.clone());
                let (path, stands) = (wanted.path.clone(), Stands::Content(wanted.pointer));
                settled.push(Settled { path, stands, written });
            }
            (Task::Redate(Resting { path, stands }), Ok(Swapped::Done(written))) => {
                settled.push(Settled { path: path.clone(), stands: *stands, written });
            }
            (Task::Hydrate(wanted), Ok(Swapped::Saved)) => outcome.saved.push(wanted.path.clone()),
            (Task::Hydrate(wanted), Err(FileError::Hydrate(HydrateError::Stopped))) => {
                outcome.stopped.push(wanted.clone());
                outcome.is_interrupted = true;
            }
            (Task::Hydrate(wanted), Err(error)) => outcome.failed.push(Failed {
                wanted: wanted.clone(),
                is_media: matches!(&error, FileError::Hydrate(error) if !matches!(error, HydrateError::Write(_))),
                reason: reason(&error),
            }),
            // The file is whole; git asks about it.
            (Task::Redate(_), Ok(Swapped::Saved) | Err(_)) => {}
        }
    }

    fn hydrate(&self, wanted: &Wanted, threads: usize) -> Result<Swapped, FileError> {
        let Some(journal) = self.journal else { return Ok(Swapped::Left) };
        let Wanted { path, pointer } = wanted;
        let swap = Swap { top: self.top, path, pointer, date: self.date, journal };
        let swapped = work_tree_file::swap_in(swap, |file| {
            Ok::<_, FileError>(hydrate::write_file(self.sources, pointer, file, threads, self.watch)?)
        })?;
        // Another hydration of the same path may have been the quicker one.
        match swapped == Swapped::Saved && self.holds_content(wanted) {
            true => Ok(Swapped::Left),
            false => Ok(swapped),
        }
    }

    /// Whether the path has a file of the length that is wanted: a sign good enough to say nothing about it.
    fn holds_content(&self, wanted: &Wanted) -> bool {
        let path = self.top.join(crate::repo::bytes_to_path(wanted.path.as_bstr()));
        path.symlink_metadata().is_ok_and(|meta| meta.is_file() && meta.len() == wanted.pointer.size)
    }

    fn redate(&self, resting: &Resting) -> Result<Swapped, FileError> {
        let Some(unsure_from) = self.unsure_from else { return Ok(Swapped::Left) };
        let Resting { path, stands } = resting;
        let go_on = || (self.watch)(0).is_continue();
        Ok(match work_tree_file::redate(self.top, path, *stands, self.date, unsure_from, &go_on)? {
            Redated::Done(written) => Swapped::Done(written),
            Redated::NotNeeded | Redated::Left => Swapped::Left,
        })
    }

    /// A power loss may have left a file of that date without its bytes.
    fn check(&self, Settled { path, stands, written }: &Settled, threads: usize) -> Result<Swapped, FileError> {
        let Some(file) = work_tree_file::open_written(self.top, path, written)? else { return Ok(Swapped::Left) };
        // No progress: these bytes are not among those to be written.
        let watch = |_| (self.watch)(0);
        let is_whole = match stands {
            Stands::Content(pointer) => hydrate::is_content(&file, pointer, threads, &watch)?,
            Stands::Pointer(pointer) => work_tree_file::is_pointer(&file, pointer)?,
        };
        match is_whole && work_tree_file::is_still(&file, written)? {
            true => Ok(Swapped::Done(*written)),
            false => Ok(Swapped::Left),
        }
    }
}
