//! `git dits pull`: gets the media of the work tree and puts it there.
//!
//! **For:** pointers that a checkout left: offline, without the filter, or by choice.
//!
//! **May touch:** the local store; the network through `git-remote-dits`; files of the work
//! tree that are pointers; git's index for those files.
//!
//! **Must hold:** a file that the user saved something into is left as it is.

use bstr::ByteSlice;
use dits_core::operations::needed_media::counted;
use dits_core::pointer::Pointer;
use dits_core::repo::stores;
use serde::Serialize;

use super::fetch::{self, FetchFacts, Wanted};
use crate::here::Here;
use crate::hydrating::{self, PathArgs, Which};
use crate::out::Out;
use crate::pointers;
use crate::report::{EXIT_STATUSES, Failure};
use crate::sizes::Bytes;

/// Get the media of the work tree, and put it in the place of its pointers
#[derive(clap::Args)]
#[command(after_help = EXIT_STATUSES)]
pub struct Args {
    /// The remote to get it from; the usual one unless given
    remote: Option<String>,
    #[command(flatten)]
    paths: PathArgs,
    /// Print the facts as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Facts {
    #[serde(flatten)]
    fetch: FetchFacts,
    hydrated: Vec<String>,
    hydrated_bytes: u64,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let here = Here::find()?;
    let repository = here.repository()?;
    let settings = repository.settings()?;
    let top = repository.work_tree().ok_or_else(|| Failure::new("a bare repository has no work tree"))?;
    let patterns = args.paths.patterns(&repository, &settings)?;
    let media = pointers::of_index(&here.git.clone().in_dir(top), &repository, &[])?;
    let mut media = hydrating::pointers_in_work_tree(&repository, media)?;
    media.retain(|file| patterns.wants(file.entry.path.as_bstr()));
    let wanted: Vec<Pointer> = media.iter().filter_map(|file| file.pointer).collect();
    let sources = stores::open_sources(&repository, &settings)?;
    let fetched = hydrating::fetch(&here, &repository, &sources, &wanted, args.remote.as_deref())?;
    let is_here = |pointer: &Pointer| !fetched.missing.contains_key(&pointer.oid);
    let ready: Vec<_> = media.iter().filter(|file| file.pointer.as_ref().is_some_and(is_here)).cloned().collect();
    let outcome = hydrating::hydrate(&here, &repository, &sources, Which::Files(&ready))?;
    let hydrated_bytes = outcome.hydrated.iter().map(|wanted| wanted.pointer.size).sum();
    let media = Wanted::all(&media);
    let mut out = Out::lock();
    match args.json {
        true => out.json(&Facts {
            fetch: fetch::facts(&fetched, &media),
            hydrated: outcome.hydrated.iter().map(|wanted| wanted.path.to_string()).collect(),
            hydrated_bytes,
        })?,
        false => {
            out.line(fetch::summary(&fetched))?;
            out.line(format_args!("{} hydrated ({})", counted(outcome.hydrated.len()), Bytes(hydrated_bytes)))?;
        }
    }
    out.finish()?;
    hydrating::fail_if_left(&outcome)?;
    fetch::fail_if_missing(&fetched, &media)
}
