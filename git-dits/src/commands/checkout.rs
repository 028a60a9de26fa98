//! `git dits checkout`: content from the local store in the place of pointers.
//!
//! **For:** files that a checkout left as pointers, or that were dehydrated, without asking anybody.
//!
//! **May touch:** files of the work tree that are pointers; git's index for those files.
//!
//! **Must hold:** nothing is fetched; a file that the user saved something into is left as it is.

use bstr::ByteSlice;
use dits_core::operations::hydrate::{self, Completeness};
use dits_core::operations::needed_media::counted;
use dits_core::repo::stores;
use serde::Serialize;

use super::fetch::Missing;
use super::track::BStringArg;
use crate::here::Here;
use crate::hydrating::{self, Which};
use crate::out::Out;
use crate::pointers;
use crate::report::{EXIT_STATUSES, Failure};
use crate::sizes::Bytes;

/// Put content from the local store in the place of pointers; nothing is fetched
#[derive(clap::Args)]
#[command(after_help = EXIT_STATUSES)]
pub struct Args {
    /// Only these files, as git's pathspecs; all of the work tree unless given
    pathspecs: Vec<BStringArg>,
    /// Print the facts as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Facts {
    hydrated: Vec<String>,
    hydrated_bytes: u64,
    missing: Vec<Missing>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let here = Here::find()?;
    let repository = here.repository()?;
    let media = pointers::of_pathspecs(&here, &repository, &args.pathspecs)?;
    let media = hydrating::pointers_in_work_tree(&repository, media)?;
    let sources = stores::open_sources(&repository, &repository.settings()?)?;
    let (mut ready, mut missing) = (Vec::new(), Vec::new());
    for file in media {
        let Some(pointer) = file.pointer else { continue };
        match hydrate::completeness(&sources, &pointer)? {
            Completeness::Complete => ready.push(file),
            _ => missing.push(Missing::new(file.entry.path.as_bstr(), &pointer, None)),
        }
    }
    let outcome = hydrating::hydrate(&here, &repository, &sources, Which::Files(&ready))?;
    let facts = Facts {
        hydrated: outcome.hydrated.iter().map(|wanted| wanted.path.to_string()).collect(),
        hydrated_bytes: outcome.hydrated.iter().map(|wanted| wanted.pointer.size).sum(),
        missing,
    };
    let mut out = Out::lock();
    match args.json {
        true => out.json(&facts)?,
        false => {
            let (count, bytes) = (counted(facts.hydrated.len()), Bytes(facts.hydrated_bytes));
            out.line(format_args!("{count} hydrated ({bytes})"))?;
        }
    }
    out.finish()?;
    hydrating::fail_if_left(&outcome)?;
    match facts.missing.is_empty() {
        true => Ok(()),
        false => Err(not_here(&facts.missing)),
    }
}

fn not_here(missing: &[Missing]) -> Failure {
    let verb = if missing.len() == 1 { "is" } else { "are" };
    Failure::new(format!("{} {verb} not in the local store", counted(missing.len())))
        .caused_by_each(missing.iter().map(|file| format!("{} ({})", file.path, Bytes(file.size))))
        .hint("get them with `git dits pull`")
}
