//! `git dits diff`: what changed in media files: size, tracks, structure, and the chunks they share.
//!
//! **For:** people to whom `git diff` shows two pointers.
//!
//! **May touch:** nothing but a temporary folder, for files of the work tree that no store has.
//!
//! **Must hold:** nothing is fetched or hydrated: what is told comes from manifests and stored chunks alone.

mod facts;
mod sides;

use dits_core::failure::Failure;

use super::track::BStringArg;
use crate::here::Here;
use crate::out::Out;
use crate::report::EXIT_STATUSES;
use facts::FileFacts;
use serde::Serialize;
use sides::Compared;

/// Show what changed in media files, from manifests and stored chunks: nothing is fetched
///
/// Like `git diff`: the work tree against the index, or against a revision, or two revisions (also A..B).
#[derive(clap::Args)]
#[command(after_help = EXIT_STATUSES)]
pub struct Args {
    /// Compare what is staged, with HEAD or the revision
    #[arg(long, visible_alias = "staged")]
    cached: bool,
    /// Print the facts as JSON
    #[arg(long)]
    json: bool,
    /// Up to two revisions, then paths
    revisions_and_paths: Vec<BStringArg>,
    /// Paths, as git's pathspecs
    #[arg(last = true)]
    paths: Vec<BStringArg>,
}

#[derive(Serialize)]
struct Facts {
    files: Vec<FileFacts>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let here = Here::find()?;
    let repository = here.repository()?;
    let mut compared = Compared::parse(&here.git, args.cached, &args.revisions_and_paths)?;
    compared.paths.extend(args.paths.iter().map(|path| path.0.clone()));
    let mut files = Vec::new();
    for changed in sides::changed(&here, &repository, &compared)? {
        files.extend(facts::gather(&here, &changed)?);
    }
    let mut out = Out::lock();
    match args.json {
        true => out.json(&Facts { files })?,
        false => files.iter().flat_map(FileFacts::lines).try_for_each(|line| out.line(line))?,
    }
    out.finish()
}
