//! `git dits status`: what happened to the media since the last commit, what is not pushed, and what
//! is not here.
//!
//! **For:** people; `git status` says "modified", this says how large and what is missing.
//!
//! **May touch:** nothing; it reads the repository, the store and the work tree.
//!
//! **Must hold:** nothing is contacted, fetched or staged.

use std::path::Path;

use bstr::ByteSlice;
use dits_core::operations::hydrate::{self, Completeness};
use dits_core::repo::config::{self, FETCH_EXCLUDE, FETCH_INCLUDE, Settings};
use dits_core::repo::git_program::GitProgram;
use dits_core::repo::pointer_walk::Found;
use dits_core::repo::work_tree_file::{self, State};
use dits_core::repo::{Repository, hydration_journal, stores, unsynced};
use dits_core::repo_path::RepoPath;
use serde::Serialize;

use crate::changes::{self, Change};
use crate::here::Here;
use crate::out::Out;
use crate::pointers::{self, MediaFile};
use crate::report::{self, EXIT_STATUSES, Failure};
use crate::sizes::Bytes;
use crate::unpushed::{self, Unpushed};

/// Show changed media, and media that is not pushed or not hydrated
#[derive(clap::Args)]
#[command(after_help = EXIT_STATUSES)]
pub struct Args {
    /// Print the facts as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Facts {
    branch: Option<String>,
    /// `None` where there is no remote to push to.
    not_pushed: Option<NotPushed>,
    staged: Vec<Change>,
    changed: Vec<Change>,
    not_hydrated: Vec<NotHydrated>,
    /// Why the store's last sync failed, if it did.
    unsynced: Option<String>,
}

#[derive(Serialize)]
struct NotPushed {
    remote: String,
    files: Vec<Committed>,
}

#[derive(Serialize)]
struct Committed {
    path: String,
    commit: String,
    oid: String,
    size: u64,
}

#[derive(Serialize)]
struct NotHydrated {
    path: String,
    oid: String,
    size: u64,
    reason: String,
    /// Whether its content is in the local store.
    in_store: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let here = Here::find()?;
    let repository = here.repository()?;
    let top = repository.work_tree().ok_or_else(|| Failure::new("a bare repository has no work tree"))?;
    let git = here.git.clone().in_dir(top);
    let settings = repository.settings()?;
    let media = pointers::of_index(&git, &repository, &[])?;
    let branch = branch(&git)?;
    let unpushed = unpushed::find(&repository, &settings, branch.as_deref())?;
    let facts = Facts {
        branch,
        not_pushed: unpushed.map(not_pushed),
        staged: changes::staged(&git, top)?,
        changed: changes::unstaged(&git, top, &media)?,
        not_hydrated: not_hydrated(&repository, &settings, top, &media)?,
        unsynced: unsynced::check(&stores::store_options(&repository, &settings).dir)?,
    };
    print(&facts, args.json)
}

fn branch(git: &GitProgram) -> Result<Option<String>, Failure> {
    let name = git.ask(["symbolic-ref", "--quiet", "--short", "HEAD"])?;
    Ok(name.map(|name| name.trim().to_str_lossy().into_owned()))
}

fn not_pushed(unpushed: Unpushed) -> NotPushed {
    let files = unpushed.files.into_iter().map(|Found { pointer, path, commit, .. }| Committed {
        path: path.to_string(),
        commit: commit.to_string(),
        oid: pointer.oid.to_string(),
        size: pointer.size,
    });
    NotPushed { remote: unpushed.remote, files: files.collect() }
}

fn not_hydrated(
    repository: &Repository,
    settings: &Settings,
    top: &Path,
    media: &[MediaFile],
) -> Result<Vec<NotHydrated>, Failure> {
    let sources = stores::open_sources(repository, settings)?;
    let committed = config::Committed::read(repository)?;
    let patterns = settings.fetch_patterns(&committed);
    let journals = hydration_journal::entries(repository.git_dir())?;
    let mut found = Vec::new();
    for MediaFile { entry, pointer } in media {
        let State::Pointer(there) = work_tree_file::state(top, entry.path.as_bstr())? else { continue };
        if *pointer != Some(there) {
            continue;
        }
        let in_store = hydrate::completeness(&sources, &there)? == Completeness::Complete;
        let place =
            if in_store { "its content is in the local store" } else { "its content is not in the local store" };
        let noted = RepoPath::new(entry.path.clone()).ok().and_then(|path| journals.get(&path));
        let why = match noted.filter(|noted| noted.wanted() == Some(there)) {
            Some(noted) => Some(noted.reason.clone().unwrap_or_else(|| "hydrating it was interrupted".to_owned())),
            None if !patterns.wants(entry.path.as_bstr()) => {
                Some(format!("{FETCH_INCLUDE} or {FETCH_EXCLUDE} leaves it out"))
            }
            None => None,
        };
        let reason = why.map_or_else(|| place.to_owned(), |why| format!("{why}; {place}"));
        let (oid, size) = (there.oid.to_string(), there.size);
        found.push(NotHydrated { path: entry.path.to_string(), oid, size, reason, in_store });
    }
    Ok(found)
}

fn print(facts: &Facts, as_json: bool) -> Result<(), Failure> {
    let mut out = Out::lock();
    if as_json {
        out.json(facts)?;
        return out.finish();
    }
    match &facts.branch {
        Some(branch) => out.line(format_args!("On branch {branch}"))?,
        None => out.line("Not on a branch")?,
    }
    if let Some(NotPushed { remote, files }) = &facts.not_pushed {
        let lines = files.iter().map(|file| format!("{} ({})", file.path, Bytes(file.size)));
        print_list(&mut out, &format!("Media to be pushed to {remote}:"), lines)?;
    }
    print_changes(&mut out, "Media to be committed:", &facts.staged)?;
    print_changes(&mut out, "Media changed but not staged:", &facts.changed)?;
    let not_hydrated =
        facts.not_hydrated.iter().map(|file| format!("{} ({}): {}", file.path, Bytes(file.size), file.reason));
    print_list(&mut out, "Media not hydrated (get it with `git dits pull`):", not_hydrated)?;
    out.finish()?;
    if let Some(why) = &facts.unsynced {
        report::warn(&format!("the store could not be synced: {why}"));
        report::hint("make room or mend the disk; the next `git add` of media stores again what is in doubt");
    }
    Ok(())
}

fn print_changes(out: &mut Out, title: &str, changes: &[Change]) -> Result<(), Failure> {
    print_list(out, title, changes.iter().map(Change::line))
}

fn print_list(out: &mut Out, title: &str, lines: impl ExactSizeIterator<Item = String>) -> Result<(), Failure> {
    if lines.len() == 0 {
        return Ok(());
    }
    out.line(format_args!("\n{title}"))?;
    lines.into_iter().try_for_each(|line| out.line(format_args!("    {line}")))
}
