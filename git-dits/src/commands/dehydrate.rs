//! `git dits dehydrate`: pointers in the place of content, to free disk space.
//!
//! **For:** files that are not worked on for now; `git dits pull` or `checkout` bring them back.
//!
//! **May touch:** files of the work tree that hold exactly what git's index names; a journal in its git directory; git's
//! index for those files.
//!
//! **Must hold:**
//! - content goes only if it can be had again: it was read from the store, whole and right, a moment ago, or the
//!   store lacks it and a server has proven that it holds it;
//! - what is saved while this runs is not staged;
//! - the journal goes only once nothing of it is left to do.

use std::collections::HashSet;
use std::io::{self, Write};

use bstr::ByteSlice;
use dits_core::hydration_record::Date;
use dits_core::operations::hydrate::{self, Completeness, HydrateError};
use dits_core::operations::needed_media::counted;
use dits_core::pointer::Pointer;
use dits_core::repo::Repository;
use dits_core::repo::dehydrated_file::{Dehydrated, dehydrate};
use dits_core::repo::hydration_journal::Journal;
use dits_core::repo::index_stat::{self, FileTime, Restat};
use dits_core::repo::interruption::Interruption;
use dits_core::repo::stores;
use dits_core::repo::work_tree_file::{self, State, Swap};
use dits_core::repo_path::RepoPath;
use dits_core::store::Sources;
use serde::Serialize;

use super::track::BStringArg;
use crate::here::Here;
use crate::hydrating;
use crate::out::Out;
use crate::pointers::{self, MediaFile};
use crate::progress::Progress;
use crate::report::{self, EXIT_STATUSES, Failure, INTERRUPTED};
use crate::sizes::Bytes;
use crate::unpushed;

/// How long before git's index a pointer was modified, as its date has it: git is unsure of a file that is not
/// older than the index by whole seconds.
const DATED_BEFORE_SECS: i64 = 2;

/// Put pointers in the place of content, to free disk space; `git dits pull` brings the content back
#[derive(clap::Args)]
#[command(after_help = EXIT_STATUSES)]
pub struct Args {
    /// The files, as git's pathspecs
    #[arg(required = true)]
    pathspecs: Vec<BStringArg>,
    /// Print the facts as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Facts {
    dehydrated: Vec<String>,
    freed_bytes: u64,
    left: Vec<Left>,
}

#[derive(Serialize)]
struct Left {
    path: String,
    reason: String,
}

/// What has been done so far.
#[derive(Default)]
struct Done {
    restats: Vec<Restat>,
    freed_bytes: u64,
    left: Vec<Left>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let here = Here::find()?;
    let repository = here.repository()?;
    let top = repository.work_tree().ok_or_else(|| Failure::new("a bare repository has no work tree"))?;
    let settings = repository.settings()?;
    let sources = stores::open_sources(&repository, &settings)?;
    hydrating::take_over(&here, &repository, &sources)?;
    let mut files = Vec::new();
    for file in pointers::of_pathspecs(&here, &repository, &args.pathspecs)? {
        if work_tree_file::state(top, file.entry.path.as_bstr())? == State::Content {
            files.push(file);
        }
    }
    let pointers: Vec<Pointer> = files.iter().filter_map(|file| file.pointer).collect();
    let proven = unpushed::proven(&repository, &settings, &pointers)?;
    if files.is_empty() {
        return report(&Done::default(), args.json);
    }
    let journal = Journal::create(repository.git_dir())
        .map_err(|error| Failure::new("cannot note what is about to be done").because(&error))?;
    let mut done = Done::default();
    let outcome = dehydrate_all(&repository, &sources, &files, &proven, &journal, &mut done);
    // Also where one of them failed: git's index is told of those before it.
    tell_index(&here, &repository, &done.restats)?;
    // Where one failed, the next hydration looks for what is left.
    outcome?;
    journal.remove().map_err(|error| Failure::new("cannot note what is done").because(&error))?;
    report(&done, args.json)
}

fn dehydrate_all(
    repository: &Repository,
    sources: &Sources,
    files: &[MediaFile],
    proven: &HashSet<Pointer>,
    journal: &Journal,
    done: &mut Done,
) -> Result<(), Failure> {
    let top = repository.work_tree().ok_or_else(|| Failure::new("a bare repository has no work tree"))?;
    let index = repository.index_file();
    let index_time = index_stat::modified(&index)
        .map_err(|error| Failure::new(format!("cannot read {}", index.display())).because(&error))?;
    let FileTime { seconds, nanoseconds } = index_time.unwrap_or(FileTime { seconds: 0, nanoseconds: 0 });
    let date = Date { secs: seconds.saturating_sub(DATED_BEFORE_SECS), nanos: nanoseconds };
    let total = files.iter().filter_map(|file| file.pointer).map(|pointer| pointer.size).sum();
    let mut progress = Progress::of_bytes("dehydrating", total);
    let interruption =
        Interruption::watch_for().map_err(|error| Failure::new("cannot watch for Ctrl-C").because(&error))?;
    for file in files {
        if interruption.was_asked() {
            report::error("interrupted; the files before are dehydrated");
            return Err(Failure::told(INTERRUPTED));
        }
        let path = file.entry.path.as_bstr();
        let mut leave = |reason: String| done.left.push(Left { path: path.to_string(), reason });
        let Some(pointer) = file.pointer else {
            leave("Git holds it as plain content".to_owned());
            continue;
        };
        if let Err(error) = another_copy(sources, &pointer, proven) {
            leave(no_other_copy(&error, proven.contains(&pointer)));
            continue;
        }
        let Ok(path) = RepoPath::new(path) else {
            leave("its path leads out of the work tree".to_owned());
            continue;
        };
        let swap = Swap { top, path: &path, pointer: &pointer, date, journal };
        match dehydrate(swap, &mut |count| progress.advance(count))? {
            Dehydrated::Done(written) => {
                done.freed_bytes += pointer.size;
                let modified = FileTime { seconds: written.date.secs, nanoseconds: written.date.nanos };
                let (path, size) = (file.entry.path.clone(), pointer.to_string().len() as u64);
                done.restats.push(Restat { path, pointer, size, inode: written.inode, modified });
            }
            Dehydrated::Modified => leave("it is not what git's index names".to_owned()),
            Dehydrated::Absent => leave("it is gone".to_owned()),
        }
    }
    Ok(())
}

/// Makes sure that the content can be had again. A server's word counts only for what the store lacks: what is damaged
/// in the store is not fetched again, because it is there.
fn another_copy(sources: &Sources, pointer: &Pointer, proven: &HashSet<Pointer>) -> Result<(), HydrateError> {
    match hydrate::completeness(sources, pointer)? {
        Completeness::NoManifest | Completeness::Missing { .. } if proven.contains(pointer) => Ok(()),
        _ => hydrate::write_to(sources, pointer, &mut Nowhere),
    }
}

/// Where content goes that is only to be proven.
struct Nowhere;

impl Write for Nowhere {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn no_other_copy(error: &HydrateError, is_proven: bool) -> String {
    match error {
        HydrateError::NoManifest { .. } => "no other copy of it is known".to_owned(),
        error if is_proven => format!("what the local store has of it cannot be read: {error}"),
        error => format!("no other copy of it is known: {error}"),
    }
}

/// Lets git see that these files are what its index says.
fn tell_index(here: &Here, repository: &Repository, restats: &[Restat]) -> Result<(), Failure> {
    match index_stat::patch(repository, restats) {
        // Files that are not among those patched were changed meanwhile, which git is to see.
        Ok(_) => Ok(()),
        Err(error) => hydrating::tell_by_git(here, repository, &error, restats),
    }
}

fn report(done: &Done, as_json: bool) -> Result<(), Failure> {
    let mut out = Out::lock();
    if as_json {
        let dehydrated = done.restats.iter().map(|restat| restat.path.to_string()).collect();
        let left = done.left.iter().map(|left| Left { path: left.path.clone(), reason: left.reason.clone() });
        out.json(&Facts { dehydrated, freed_bytes: done.freed_bytes, left: left.collect() })?;
    } else {
        let (count, bytes) = (counted(done.restats.len()), Bytes(done.freed_bytes));
        out.line(format_args!("{count} dehydrated ({bytes} freed)"))?;
    }
    out.finish()?;
    if !done.restats.is_empty() && !as_json {
        report::hint("`git dits pull` brings content back, and so does a checkout that changes the file");
    }
    match done.left.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(format!("{} kept as they are", counted(done.left.len())))
            .caused_by_each(done.left.iter().map(|left| format!("{}: {}", left.path, left.reason)))
            .hint("commit what was changed; `git dits push --all REMOTE` sends what the remote lacks, and learns what it holds")),
    }
}
