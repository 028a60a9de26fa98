//! `git dits fetch`: gets media into the local store.
//!
//! **For:** working offline later, and history that a checkout did not need.
//!
//! **May touch:** the local store; the network through `git-remote-dits`.
//!
//! **Must hold:** the work tree stays as it is.

use std::collections::HashMap;

use bstr::ByteSlice;
use dits_core::pointer::Pointer;
use dits_core::repo::stores;
use serde::Serialize;

use crate::here::Here;
use crate::hydrating::{self, Fetched, PathArgs};
use crate::out::Out;
use crate::pointers::{self, MediaFile};
use crate::report::{EXIT_STATUSES, Failure};
use crate::sizes::Bytes;

/// Get media into the local store, and leave the work tree as it is
#[derive(clap::Args)]
#[command(after_help = EXIT_STATUSES)]
pub struct Args {
    /// The remote to get it from; the usual one unless given
    remote: Option<String>,
    /// The revisions whose media is wanted; HEAD unless given
    revisions: Vec<String>,
    #[command(flatten)]
    paths: PathArgs,
    /// Print the facts as JSON
    #[arg(long)]
    json: bool,
}

/// What a fetch came to, for `--json`.
#[derive(Serialize)]
pub struct FetchFacts {
    here: u64,
    fetched: u64,
    fetched_bytes: u64,
    missing: Vec<Missing>,
}

#[derive(Serialize)]
struct Missing {
    path: String,
    oid: String,
    size: u64,
    reason: String,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let here = Here::find()?;
    let repository = here.repository()?;
    let settings = repository.settings()?;
    let patterns = args.paths.patterns(&repository, &settings)?;
    let head = ["HEAD".to_owned()];
    let revisions = if args.revisions.is_empty() { &head[..] } else { &args.revisions };
    let mut media = Vec::new();
    for revision in revisions {
        media.extend(pointers::of_revision(&here.git, &repository, revision)?);
    }
    media.retain(|file| patterns.wants(file.entry.path.as_bstr()));
    let wanted: Vec<Pointer> = media.iter().filter_map(|file| file.pointer).collect();
    let sources = stores::open_sources(&repository, &settings)?;
    let fetched = hydrating::fetch(&here, &repository, &sources, &wanted, args.remote.as_deref())?;
    let mut out = Out::lock();
    match args.json {
        true => out.json(&facts(&fetched, &media))?,
        false => out.line(summary(&fetched))?,
    }
    out.finish()?;
    fail_if_missing(&fetched, &media)
}

/// The facts of a fetch.
pub fn facts(fetched: &Fetched, media: &[MediaFile]) -> FetchFacts {
    let missing = first_path_of_each(fetched, media).into_iter().map(|(file, pointer, reason)| Missing {
        path: file.entry.path.to_string(),
        oid: pointer.oid.to_string(),
        size: pointer.size,
        reason: reason.to_owned(),
    });
    FetchFacts {
        here: fetched.here_count,
        fetched: fetched.fetched_count,
        fetched_bytes: fetched.fetched_bytes,
        missing: missing.collect(),
    }
}

/// A fetch as one line for people.
pub fn summary(fetched: &Fetched) -> String {
    let (count, bytes) = (fetched.fetched_count, Bytes(fetched.fetched_bytes));
    format!("{count} files fetched ({bytes}), {} were here already", fetched.here_count)
}

/// Ends with an error that names each file that could not be had.
pub fn fail_if_missing(fetched: &Fetched, media: &[MediaFile]) -> Result<(), Failure> {
    if fetched.missing.is_empty() {
        return Ok(());
    }
    let mut failure = Failure::new(format!("{} files could not be fetched", fetched.missing.len()));
    for (file, _, reason) in first_path_of_each(fetched, media) {
        failure = failure.caused_by(format!("{}: {reason}", file.entry.path));
    }
    Err(failure.hint("when the remote can be reached again, run `git dits pull`"))
}

/// Each missing file once, with the first path that has it.
fn first_path_of_each<'a>(fetched: &'a Fetched, media: &'a [MediaFile]) -> Vec<(&'a MediaFile, Pointer, &'a str)> {
    let mut left: HashMap<_, _> = fetched.missing.iter().collect();
    let found = media.iter().filter_map(|file| {
        let pointer = file.pointer?;
        let reason = left.remove(&pointer.oid)?;
        Some((file, pointer, reason.as_str()))
    });
    found.collect()
}
