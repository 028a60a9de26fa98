//! `git dits ls-files`: the media of the index or of a revision.
//!
//! **For:** people and scripts.
//!
//! **May touch:** nothing; it reads the repository and the work tree.
//!
//! **Must hold:** nothing is fetched.

use bstr::{BString, ByteSlice};
use dits_core::pointer::Pointer;
use dits_core::repo::work_tree_file::{self, State};
use serde::Serialize;

use crate::here::Here;
use crate::out::Out;
use crate::pointers::{self, MediaFile};
use crate::report::{EXIT_STATUSES, Failure};
use crate::sizes::Bytes;

/// List the media of the index or of a revision: `*` has its content in the work tree, `-` is a pointer there
#[derive(clap::Args)]
#[command(after_help = EXIT_STATUSES)]
pub struct Args {
    /// List what this revision holds
    revision: Option<String>,
    /// Show the whole oid
    #[arg(long, short)]
    long: bool,
    /// Show the size
    #[arg(long, short)]
    size: bool,
    /// Show only the path
    #[arg(long, short)]
    name_only: bool,
    /// Print the facts as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Facts {
    files: Vec<File>,
}

#[derive(Serialize)]
struct File {
    path: String,
    #[serde(skip)]
    bytes: BString,
    oid: String,
    size: u64,
    hydrated: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let here = Here::find()?;
    let repository = here.repository()?;
    let media = match &args.revision {
        Some(revision) => pointers::of_revision(&here.git, &repository, revision)?,
        None => pointers::of_index(&here.git, &repository, &[])?,
    };
    let mut files = Vec::new();
    for MediaFile { entry, pointer } in media {
        let Some(Pointer { oid, size }) = pointer else { continue };
        let state = match repository.work_tree() {
            Some(top) => work_tree_file::state(top, entry.path.as_bstr())?,
            None => State::Absent,
        };
        let hydrated = state == State::Content;
        files.push(File { path: entry.path.to_string(), bytes: entry.path, oid: oid.to_string(), size, hydrated });
    }
    let mut out = Out::lock();
    if args.json {
        out.json(&Facts { files })?;
        return out.finish();
    }
    for file in &files {
        let oid = if args.long { &file.oid } else { &file.oid[..10] };
        let mark = if file.hydrated { "*" } else { "-" };
        let size = if args.size { format!(" ({})", Bytes(file.size)) } else { String::new() };
        match args.name_only {
            true => out.bytes_line(&[&file.bytes])?,
            false => out.bytes_line(&[format!("{oid} {mark} ").as_bytes(), &file.bytes, size.as_bytes()])?,
        }
    }
    out.finish()
}
