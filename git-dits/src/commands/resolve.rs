//! `git dits resolve`: one side of a conflict on media, or both, beside each other.
//!
//! **For:** files that nobody can merge.
//!
//! **May touch:** git's index and the work tree at these paths, through git; a journal in the git directory.
//!
//! **Must hold:**
//! - the content is exactly that of the side: nothing is read from the work tree and stored;
//! - whose side is whose is said by commit;
//! - what was saved at a path and is no version of the conflict stays there: before anything is touched, all is refused;
//!   what is saved while this runs stays, too;
//! - with `--both`, no file that is there is overwritten;
//! - nothing is removed through a link.

mod checkout;
mod saved;

use std::path::Path;

use bstr::{BStr, BString, ByteSlice};
use dits_core::repo::config::Committed;
use dits_core::repo::git_program::GitProgram;
use dits_core::repo::hydration_journal::{Journal, JournalError};
use dits_core::repo::work_tree_file::{self, Aside, AsideError, Seen};
use dits_core::repo::{Repository, stores};
use dits_core::repo_path::RepoPath;
use dits_core::steps::{Step, reached};
use serde::Serialize;

use super::fetch;
use super::track::BStringArg;
use crate::conflicts::{self, Blob, Conflict, Sides};
use crate::git;
use crate::here::Here;
use crate::hydrating::{self, Which};
use crate::media_files;
use crate::out::Out;
use crate::pointers::MediaFile;
use crate::programs::shell_word;
use crate::report::{self, EXIT_STATUSES, Failure};

/// Resolve conflicts on media: take one side, or keep both files
#[derive(clap::Args)]
#[command(after_help = EXIT_STATUSES)]
pub struct Args {
    #[command(flatten)]
    side: SideArgs,
    /// Print the facts as JSON
    #[arg(long)]
    json: bool,
    /// Files in conflict, or folders of them
    #[arg(required = true)]
    paths: Vec<BStringArg>,
}

/// Whose file is kept.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct SideArgs {
    /// Take the file of our side: of what was checked out; in a rebase, of what commits are moved onto
    #[arg(long)]
    ours: bool,
    /// Take the file of their side: of what is merged; in a rebase, of your commit that is moved
    #[arg(long)]
    theirs: bool,
    /// Keep our file, and put theirs beside it as NAME.theirs.EXT
    #[arg(long)]
    both: bool,
}

#[derive(Serialize)]
struct Facts {
    #[serde(flatten)]
    sides: Sides,
    resolved: Vec<Resolved>,
}

#[derive(Serialize)]
struct Resolved {
    path: String,
    #[serde(skip)]
    bytes: BString,
    with: &'static str,
    /// The side has no such file.
    deleted: bool,
    /// Where their file is, with `--both`.
    theirs_at: Option<String>,
}

/// What becomes of a path.
enum Put<'a> {
    /// This is its content.
    File(&'a Blob),
    /// It goes.
    Nothing,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let here = Here::find()?;
    let repository = here.repository()?;
    let mut found = Vec::new();
    for path in &args.paths {
        let here_found = conflicts::on_media(&here.git, &repository, std::slice::from_ref(&path.0))?;
        if here_found.is_empty() {
            return Err(no_conflict(&path.0));
        }
        found.extend(here_found);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found.dedup();
    let sides = Sides::find(&here.git, &repository)?;
    let beside = if args.side.both { places_beside(&here, &repository, &found)? } else { Vec::new() };
    let top = repository.work_tree().ok_or_else(|| Failure::new("a bare repository has no work tree"))?;
    let is_removed =
        |conflict: &Conflict| if args.side.theirs { conflict.theirs.is_none() } else { conflict.ours.is_none() };
    let seen = saved::refuse_loss(&here.git.clone().in_dir(top), top, &found, is_removed)?;
    let mut put = Vec::new();
    let mut resolved = Vec::new();
    for (number, conflict) in found.iter().enumerate() {
        let (side, with) = match args.side.theirs {
            true => (&conflict.theirs, "theirs"),
            false => (&conflict.ours, if args.side.both { "both" } else { "ours" }),
        };
        put.push((conflict.path.as_bstr(), side.as_ref().map_or(Put::Nothing, Put::File)));
        let theirs_at = beside.get(number);
        if let (Some(at), Some(theirs)) = (theirs_at, &conflict.theirs) {
            put.push((at.as_bstr(), Put::File(theirs)));
        }
        resolved.push(Resolved {
            path: conflict.path.to_string(),
            bytes: conflict.path.clone(),
            with,
            deleted: side.is_none(),
            theirs_at: theirs_at.map(ToString::to_string),
        });
    }
    let paths: Vec<RepoPath> =
        found.iter().map(|conflict| RepoPath::new(conflict.path.as_bstr())).collect::<Result<_, _>>()?;
    let standing: Vec<_> = paths.into_iter().zip(seen).collect();
    let written = put_in_place(&here, &repository, &standing, &put)?;
    print(&Facts { sides, resolved }, args.json)?;
    hydrate(&here, &repository, written)
}

fn no_conflict(path: &BString) -> Failure {
    Failure::new(format!("there is no conflict on media at {path}"))
        .hint("list conflicts with `git status`; those on text are for git itself")
}

/// Where their files go: `NAME.theirs.EXT` beside each of ours.
fn places_beside(here: &Here, repository: &Repository, found: &[Conflict]) -> Result<Vec<BString>, Failure> {
    let top = repository.work_tree().ok_or_else(|| Failure::new("a bare repository has no work tree"))?;
    if let Some(one) = found.iter().find(|conflict| conflict.ours.is_none() || conflict.theirs.is_none()) {
        let side = if one.ours.is_none() { "ours" } else { "theirs" };
        let other = if one.ours.is_none() { "theirs" } else { "ours" };
        return Err(Failure::refused(format!("{} was deleted on one side ({side})", one.path))
            .hint(format!("keep the file with --{other}, or delete it with --{side}")));
    }
    let places: Vec<BString> = found.iter().map(|conflict| beside(conflict.path.as_bstr())).collect();
    let git = here.git.clone().in_dir(top);
    let mut args: Vec<BString> = ["--literal-pathspecs", "ls-files", "-z", "--"].map(BString::from).into();
    args.extend(places.iter().cloned());
    let listed = git.capture(args.iter().map(|arg| arg.to_os_str_lossy().into_owned()))?;
    let is_there = |place: &BString| {
        let on_disk = media_files::on_disk(top, place.as_bstr()).symlink_metadata().is_ok();
        on_disk || listed.split_str("\0").any(|path| path == place.as_slice())
    };
    if let Some(place) = places.iter().find(|place| is_there(place)) {
        return Err(Failure::refused(format!("{place} is there already")).hint("move it away, then try again"));
    }
    let filters = media_files::attribute(&git, "filter", &places)?;
    match places.iter().zip(filters).find(|(_, filter)| filter != "dits") {
        None => Ok(places),
        Some((place, _)) => Err(Failure::refused(format!("no pattern tracks {place}"))
            .hint(format!("run `git dits track --filename -- {}` at the top first", shell_word(place)))),
    }
}

/// `cut.theirs.mov` for `cut.mov`, `take.theirs` for `take`.
fn beside(path: &BStr) -> BString {
    let name_at = path.rfind_byte(b'/').map_or(0, |slash| slash + 1);
    let dot = path[name_at..].rfind_byte(b'.').filter(|dot| *dot > 0).map(|dot| name_at + dot);
    let (stem, extension) = path.split_at(dot.unwrap_or(path.len()));
    [stem, b".theirs", extension].concat().into()
}

/// Puts into the place of what stands there what becomes of each path. Returns the pointers that now stand there.
///
/// What stands there is set aside first, and git is told to write over nothing: whatever is saved meanwhile stays.
fn put_in_place(
    here: &Here,
    repository: &Repository,
    standing: &[(RepoPath, Seen)],
    put: &[(&BStr, Put<'_>)],
) -> Result<Vec<MediaFile>, Failure> {
    let top = repository.work_tree().ok_or_else(|| Failure::new("a bare repository has no work tree"))?;
    let git = here.git.clone().in_dir(top);
    // Before anything is touched: behind the staging, nothing that git is asked may stand in the way.
    let sides = checkout::sides(&git, put)?;
    let cannot_note = |error: &JournalError| Failure::new("cannot note what is about to be done").because(error);
    let journal = Journal::create(repository.git_dir()).map_err(|error| cannot_note(&error))?;
    let mut aside = Vec::new();
    let staged = set_aside(top, standing, &journal, &mut aside).and_then(|()| stage(&git, repository, put));
    if let Err(failure) = staged {
        if !put_back(&aside) {
            // The journal names it for whoever takes over.
            return Err(failure.hint("`git dits pull` puts back what it can, and names the rest"));
        }
        journal.remove().map_err(|error| cannot_note(&error))?;
        return Err(failure);
    }
    reached(Step::ResolveStaged);
    let checked_out = checkout::check_out(&git, top, sides);
    reached(Step::ResolveCheckedOut);
    // What git could not write is all that is left to do: its paths alone get back what stood there.
    let (open, settled): (Vec<_>, Vec<_>) = aside.iter().partition(|it| checked_out.is_missing(it.path().as_bstr()));
    let is_done = remove(&settled) && open.is_empty();
    let noted = if is_done { journal.remove() } else { Ok(()) };
    let written = checked_out.written()?;
    noted.map_err(|error| cannot_note(&error))?;
    Ok(written)
}

/// Takes what stands at each path away, if it is still what was looked at.
fn set_aside(
    top: &Path,
    standing: &[(RepoPath, Seen)],
    journal: &Journal,
    aside: &mut Vec<Aside>,
) -> Result<(), Failure> {
    for (path, seen) in standing {
        work_tree_file::set_aside(top, path, seen, journal, aside).map_err(|error| match error {
            AsideError::Changed { .. } => saved::would_be_lost(&path.as_bstr().to_owned()),
            error => error.into(),
        })?;
    }
    Ok(())
}

/// Gives every path back what was set aside, and names what could not be; returns false if there is any.
fn put_back(aside: &[Aside]) -> bool {
    let failed: Vec<AsideError> = aside.iter().filter_map(|it| it.put_back().err()).collect();
    failed.iter().for_each(|error| report::warn(&Failure::new(error.to_string()).because(error).line()));
    failed.is_empty()
}

/// Removes what was set aside, except what was saved into since; returns false if something could not be removed.
fn remove(aside: &[&Aside]) -> bool {
    let mut is_done = true;
    for it in aside {
        match it.remove() {
            Ok(None) => {}
            Ok(Some(kept)) => report::warn(&format!("what was saved meanwhile is kept in {}", kept.display())),
            Err(error) => {
                report::warn(&Failure::new("cannot remove what was resolved").because(&error).line());
                is_done = false;
            }
        }
    }
    is_done
}

/// Stages what becomes of each path.
fn stage(git: &GitProgram, repository: &Repository, put: &[(&BStr, Put<'_>)]) -> Result<(), Failure> {
    let format = repository.object_format();
    let format = format.ok_or_else(|| Failure::new("what this repository names its objects by is not known"))?;
    let no_id = "0".repeat(2 * format.name_len());
    let mut index = Vec::new();
    for (path, put) in put {
        // Mode zero takes all stages out; the object id only has to look like one.
        let stage = |mode: &[u8], name: &[u8]| [mode, b" ", name, b" 0\t", path.as_bytes(), b"\0"].concat();
        index.extend(stage(b"0", no_id.as_bytes()));
        if let Put::File(blob) = put {
            index.extend(stage(&blob.mode, &blob.name));
        }
    }
    git::filter(git, &["update-index", "-z", "--index-info"], &index)?;
    Ok(())
}

/// Gets the content of the pointers, as far as it is wanted here.
fn hydrate(here: &Here, repository: &Repository, mut files: Vec<MediaFile>) -> Result<(), Failure> {
    let settings = repository.settings()?;
    let committed = Committed::read(repository)?;
    let patterns = settings.fetch_patterns(&committed);
    files.retain(|file| patterns.wants(file.entry.path.as_bstr()));
    if files.is_empty() || repository.env().is_true("GIT_DITS_SKIP_SMUDGE") {
        return Ok(());
    }
    let sources = stores::open_sources(repository, &settings)?;
    let wanted: Vec<_> = files.iter().filter_map(|file| file.pointer).collect();
    let fetched = hydrating::fetch(here, repository, &sources, &wanted, None)?;
    let is_here = |file: &MediaFile| file.pointer.is_some_and(|it| !fetched.missing.contains_key(&it.oid));
    let ready: Vec<_> = files.iter().filter(|file| is_here(file)).cloned().collect();
    let outcome = hydrating::hydrate(here, repository, &sources, Which::Files(&ready))?;
    hydrating::fail_if_left(&outcome)?;
    fetch::fail_if_missing(&fetched, &fetch::Wanted::all(&files))
}

fn print(facts: &Facts, as_json: bool) -> Result<(), Failure> {
    let mut out = Out::lock();
    if as_json {
        out.json(facts)?;
        return out.finish();
    }
    report::say(&facts.sides.line());
    for resolved in &facts.resolved {
        let (with, path) = (resolved.with, &resolved.bytes);
        match (&resolved.theirs_at, resolved.deleted) {
            (Some(at), _) => out.bytes_line(&[b"resolved ", path, b": ours there, theirs in ", at.as_bytes()])?,
            (None, true) => out.bytes_line(&[b"resolved ", path, b" with ", with.as_bytes(), b": deleted"])?,
            (None, false) => out.bytes_line(&[b"resolved ", path, b" with ", with.as_bytes()])?,
        }
    }
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn their_file_keeps_its_extension_and_its_folder() {
        for (path, place) in [
            ("a/cut.v2.mov", "a/cut.v2.theirs.mov"),
            ("a.b/take", "a.b/take.theirs"),
            (".hidden", ".hidden.theirs"),
            ("x/.a.mov", "x/.a.theirs.mov"),
        ] {
            assert_eq!(beside(path.into()), place);
        }
    }
}
