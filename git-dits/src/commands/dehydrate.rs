//! `git dits dehydrate`: pointers in the place of content, to free disk space.
//!
//! **For:** files that are not worked on for now; `git dits pull` or `checkout` bring them back.
//!
//! **May touch:** files of the work tree that hold exactly what git's index names; a journal in its git directory; git's
//! index for those files; the local store, which is synced, and the mark that a sync of it failed.
//!
//! **Must hold:**
//! - content goes only if it can be had again: it was read from the store, whole and right, a moment ago, and the
//!   store was synced before. What a server once said that it holds does not count: it may have let it go since;
//! - one file that cannot be replaced stops no other, and what was done is told however it ends;
//! - what is saved while this runs is not staged;
//! - the journal goes only once nothing of it is left to do.

use std::io::{self, Write};
use std::path::Path;

use bstr::{BStr, ByteSlice};
use dits_core::operations::hydrate::{self, Completeness, HydrateError};
use dits_core::operations::needed_media::counted;
use dits_core::pointer::Pointer;
use dits_core::repo::Repository;
use dits_core::repo::dehydrated_file::{Dehydrated, dehydrate};
use dits_core::repo::hydration_journal::Journal;
use dits_core::repo::index_stat::{self, FileTime, Restat};
use dits_core::repo::interruption::Interruption;
use dits_core::repo::work_tree_file::{self, State, Swap, SwapError};
use dits_core::repo::{stores, unsynced};
use dits_core::repo_path::RepoPath;
use dits_core::store::{Sources, Store};
use serde::Serialize;

use super::track::BStringArg;
use crate::here::Here;
use crate::hydrating;
use crate::out::Out;
use crate::pointers::{self, MediaFile};
use crate::progress::Progress;
use crate::report::{self, EXIT_STATUSES, Failure, INTERRUPTED};
use crate::sizes::Bytes;

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
    /// Something was begun that the next hydration is to look at.
    has_loose_ends: bool,
    is_interrupted: bool,
}

impl Done {
    fn leave(&mut self, path: &BStr, reason: impl Into<String>) {
        self.left.push(Left { path: path.to_string(), reason: reason.into() });
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let here = Here::find()?;
    let repository = here.repository()?;
    let top = repository.work_tree().ok_or_else(|| Failure::new("a bare repository has no work tree"))?;
    let settings = repository.settings()?;
    let interruption = hydrating::watch_for_ctrl_c()?;
    let store_dir = stores::store_options(&repository, &settings).dir;
    if let Some(why) = unsynced::check(&store_dir)? {
        return Err(not_synced(&why));
    }
    let sources = stores::open_sources(&repository, &settings)?;
    hydrating::take_over(&interruption, &here, &repository, &sources)?;
    let mut files = Vec::new();
    for file in pointers::of_pathspecs(&here, &repository, &args.pathspecs)? {
        if work_tree_file::state(top, file.entry.path.as_bstr())? == State::Content {
            files.push(file);
        }
    }
    let mut done = Done::default();
    if files.is_empty() {
        return report(&done, args.json);
    }
    sync(sources.own(), &store_dir)?;
    let journal = Journal::create(repository.git_dir())
        .map_err(|error| Failure::new("cannot note what is about to be done").because(&error))?;
    let outcome = dehydrate_all(&repository, &sources, &files, &interruption, &journal, &mut done);
    // Also where something ended it: git's index is told of the files before.
    let told = tell_index(&here, &repository, &done.restats);
    let reported = report(&done, args.json);
    outcome?;
    told?;
    // What failed half-way is left to the next hydration, which finds it in the journal.
    if !done.has_loose_ends {
        journal.remove().map_err(|error| Failure::new("cannot note what is done").because(&error))?;
    }
    reported
}

/// Makes sure that what the store has would survive a power loss: the files may be all that is safe on the disk.
fn sync(store: &Store, store_dir: &Path) -> Result<(), Failure> {
    // What an earlier process told git of must be there, too.
    let Err(error) = store.sync().and_then(|()| store.check_nothing_lost()) else { return Ok(()) };
    // The system tells of what it could not write once; pushes are to hear of it, too.
    unsynced::mark(store_dir, &error.to_string())?;
    Err(not_synced(&error.to_string()))
}

fn not_synced(why: &str) -> Failure {
    Failure::refused("the local store could not be synced, so that these files may be the only safe copy")
        .caused_by(why)
        .hint("make room or mend the disk, then run `git add --renormalize .` and dehydrate again")
}

fn dehydrate_all(
    repository: &Repository,
    sources: &Sources,
    files: &[MediaFile],
    interruption: &Interruption,
    journal: &Journal,
    done: &mut Done,
) -> Result<(), Failure> {
    let top = repository.work_tree().ok_or_else(|| Failure::new("a bare repository has no work tree"))?;
    let index = repository.index_file();
    let index_time = index_stat::modified(&index)
        .map_err(|error| Failure::new(format!("cannot read {}", index.display())).because(&error))?;
    let date = index_stat::date_to_be_sure_of(index_time);
    let total = files.iter().filter_map(|file| file.pointer).map(|pointer| pointer.size).sum();
    let mut progress = Progress::of_bytes("dehydrating", total);
    for file in files {
        let at = file.entry.path.as_bstr();
        let Some(pointer) = file.pointer else {
            done.leave(at, "Git holds it as plain content");
            continue;
        };
        let read = read_copy(sources, &pointer, interruption);
        if interruption.was_asked() {
            done.is_interrupted = true;
            return Ok(());
        }
        if let Err(reason) = read {
            done.leave(at, reason);
            continue;
        }
        let Ok(path) = RepoPath::new(at) else {
            done.leave(at, "its path leads out of the work tree");
            continue;
        };
        let swap = Swap { top, path: &path, pointer: &pointer, date, journal };
        let mut reading = |count| {
            progress.advance(count);
            interruption.go_on()
        };
        match dehydrate(swap, &mut reading) {
            Ok(Dehydrated::Done(written)) => {
                done.freed_bytes += pointer.size;
                let modified = FileTime { seconds: written.date.secs, nanoseconds: written.date.nanos };
                let (path, size) = (file.entry.path.clone(), pointer.to_string().len() as u64);
                done.restats.push(Restat { path, pointer, size, inode: written.inode, modified });
            }
            Ok(Dehydrated::Modified) => done.leave(at, "it is not what git's index names"),
            Ok(Dehydrated::Absent) => done.leave(at, "it is gone"),
            Ok(Dehydrated::Stopped) => {
                done.is_interrupted = true;
                return Ok(());
            }
            Err(error @ SwapError::Io { .. }) => {
                done.has_loose_ends = true;
                done.leave(at, Failure::from(error).line());
            }
            // With no journal, no file is touched.
            Err(error @ SwapError::Journal(_)) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Reads the content from the stores, or says why that is no other copy.
fn read_copy(sources: &Sources, pointer: &Pointer, interruption: &Interruption) -> Result<(), String> {
    let unreadable = |error: HydrateError| format!("what the local store has of it cannot be read: {error}");
    // Asked first: what turns out to be damaged counts as missing from then on.
    match hydrate::completeness(sources, pointer).map_err(unreadable)? {
        Completeness::NoManifest | Completeness::Missing { .. } => Err("the local store lacks it".to_owned()),
        Completeness::Complete => {
            let was_asked = || interruption.was_asked();
            hydrate::write_to(sources, pointer, &mut Nowhere(&was_asked)).map_err(unreadable)
        }
    }
}

/// Where content goes that is only to be proven, until somebody says that it is enough.
struct Nowhere<'a>(&'a dyn Fn() -> bool);

impl Write for Nowhere<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match (self.0)() {
            false => Ok(bytes.len()),
            // Not as `ErrorKind::Interrupted`, after which whoever writes tries again.
            true => Err(io::Error::other("interrupted")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
    let left = (!done.left.is_empty()).then(|| kept(&done.left));
    if done.is_interrupted {
        report::lines(&left.map(|left| left.text()).unwrap_or_default());
        report::error("interrupted; the files before are dehydrated");
        return Err(Failure::told(INTERRUPTED));
    }
    left.map_or(Ok(()), Err)
}

fn kept(left: &[Left]) -> Failure {
    Failure::new(format!("{} kept as they are", counted(left.len())))
        .caused_by_each(left.iter().map(|left| format!("{}: {}", left.path, left.reason)))
        .hint("commit what was changed; `git dits fetch` gets what the local store lacks, `git add --renormalize` stores it from the file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_reads_a_copy_is_not_to_try_again_once_it_is_enough() {
        let is_enough = std::cell::Cell::new(false);
        let enough = || is_enough.get();
        let mut nowhere = Nowhere(&enough);
        nowhere.write_all(b"a piece").expect("it goes nowhere");
        is_enough.set(true);
        // Would be tried again for ever if it were taken for a signal that came in between.
        assert_eq!(nowhere.write_all(b"a piece").expect_err("it is enough").kind(), io::ErrorKind::Other);
    }
}
