//! Writing the files that were put off, once git has closed its pipe and waits.
//!
//! **For:** the end of every checkout.
//!
//! **May touch:** the work tree, git's index and the journals, as `hydrate_tree` does; signals, from here on.
//!
//! **Must hold:** whatever fails is named, with the command that goes on; git has decided on its exit status by then.

use std::io;

use dits_core::operations::hydrate_tree::{self, Batch, Failed, Hydration, Outcome, Wanted};
use dits_core::repo::Repository;
use dits_core::repo::index_stat::NotPatched;
use dits_core::repo::interruption::Interruption;

use crate::bar::Bar;
use crate::report::{Report, shown};
use crate::smudge::Fetch;
use crate::stores::Stores;

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All was tried.
    Done,
    /// Somebody did not want to wait.
    Interrupted,
}

/// Hydrates what was put off. Media that turns out to be damaged is fetched, once, and tried again.
pub fn hydrate(
    repo: &Repository,
    stores: &Stores<'_>,
    batch: Batch,
    fetch: Fetch<'_>,
    report: &mut Report<'_>,
) -> Ended {
    if batch.is_empty() {
        return Ended::Done;
    }
    let interruption = match Interruption::watch_for() {
        Ok(interruption) => interruption,
        Err(error) => {
            report.error("the files that are left as pointers cannot be written", Some(&error), HOW_TO_GO_ON);
            return Ended::Done;
        }
    };
    let bar = Bar::new(batch.wanted.iter().map(|wanted| wanted.pointer.size).sum());
    let watch = |count: u64| {
        bar.advance(count);
        interruption.go_on()
    };
    let sources = match stores.all() {
        Ok(sources) => sources,
        Err(error) => {
            report.error("the files that are left as pointers cannot be written", Some(&error), HOW_TO_GO_ON);
            return Ended::Done;
        }
    };
    let hydration = Hydration { repository: repo, sources, batch };
    let mut outcome = match hydrate_tree::hydrate_tree(hydration, &watch) {
        Ok(outcome) => outcome,
        Err(error) => {
            report.error("the files that are left as pointers cannot be written", Some(&error), HOW_TO_GO_ON);
            return Ended::Done;
        }
    };
    let again = fetch_damaged(&mut outcome.failed, fetch);
    if !again.is_empty() && !interruption.was_asked() {
        match hydrate_tree::hydrate_tree(Hydration::of(repo, sources, again), &watch) {
            Ok(second) => merge(&mut outcome, second),
            Err(error) => report.error("what was fetched again cannot be written", Some(&error), HOW_TO_GO_ON),
        }
    }
    drop(bar);
    tell(&outcome, report);
    match outcome.is_interrupted {
        false => Ended::Done,
        true => Ended::Interrupted,
    }
}

const HOW_TO_GO_ON: &[&str] = &["`git dits pull` goes on"];

/// Has media fetched that could not be read: the store knows of the damage now, and takes it for missing.
/// Returns the files that may be tried again; the others stay in `failed`.
fn fetch_damaged(failed: &mut Vec<Failed>, fetch: Fetch<'_>) -> Vec<Wanted> {
    let is_damaged = |failed: &Failed| failed.is_media;
    let pointers: Vec<_> =
        failed.iter().filter(|failed| is_damaged(failed)).map(|failed| failed.wanted.pointer).collect();
    if pointers.is_empty() {
        return Vec::new();
    }
    let missing = fetch(&pointers);
    let is_fetched = |failed: &mut Failed| is_damaged(failed) && !missing.contains_key(&failed.wanted.pointer.oid);
    failed.extract_if(.., is_fetched).map(|failed| failed.wanted).collect()
}

fn merge(first: &mut Outcome, second: Outcome) {
    first.failed.extend(second.failed);
    first.saved.extend(second.saved);
    first.stopped.extend(second.stopped);
    first.is_interrupted |= second.is_interrupted;
    first.warnings.extend(second.warnings);
}

fn tell(outcome: &Outcome, report: &mut Report<'_>) {
    for path in &outcome.saved {
        report.warning(&format!("{} changed meanwhile and was left as it is", shown(path.as_bstr())));
    }
    for Failed { wanted, reason, .. } in &outcome.failed {
        report.kept_as_pointer(wanted.path.as_bstr(), reason);
    }
    for warning in &outcome.warnings {
        report.warning(warning);
    }
    // What git wrote itself it knows without us.
    if let (Some(error @ NotPatched::Refused { .. }), false) = (&outcome.not_patched, outcome.hydrated.is_empty()) {
        let hints = ["`git add` of the files that `git status` calls modified shows that they are not"];
        report.error("git cannot be told of the files that were written", Some(error), &hints);
    }
    if !outcome.stopped.is_empty() {
        let left = match outcome.stopped.as_slice() {
            [only] => format!("{} is left as a pointer", shown(only.path.as_bstr())),
            left => format!("{} files are left as pointers", left.len()),
        };
        report.error("interrupted", Some(&io::Error::other(left)), HOW_TO_GO_ON);
    }
}
