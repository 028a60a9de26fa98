//! `git dits fetch`: gets media into the local store.
//!
//! **For:** working offline later, history that a checkout did not need, and copies of everything.
//!
//! **May touch:** the local store; the network through `git-remote-dits`.
//!
//! **Must hold:** the work tree stays as it is.

use std::collections::HashMap;

use bstr::{BStr, BString, ByteSlice};
use dits_core::operations::needed_media::counted;
use dits_core::pointer::Pointer;
use dits_core::repo::Repository;
use dits_core::repo::pointer_walk::{GitId, Known, walk};
use dits_core::repo::stores;
use serde::Serialize;

use crate::here::Here;
use crate::hydrating::{self, Fetched, PathArgs};
use crate::media_files;
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
    /// Everything that any ref reaches, whatever paths the settings leave out
    #[arg(long, conflicts_with_all = ["revisions", "include", "exclude"])]
    all: bool,
    #[command(flatten)]
    paths: PathArgs,
    /// Print the facts as JSON
    #[arg(long)]
    json: bool,
}

/// A file that is to be here.
pub struct Wanted {
    /// A path that it has.
    path: BString,
    pointer: Pointer,
}

impl Wanted {
    /// The files that these name.
    pub fn all(media: &[MediaFile]) -> Vec<Wanted> {
        let wanted = |file: &MediaFile| Some(Wanted { path: file.entry.path.clone(), pointer: file.pointer? });
        media.iter().filter_map(wanted).collect()
    }
}

/// What a fetch came to, for `--json`.
#[derive(Serialize)]
pub struct FetchFacts {
    here: u64,
    fetched: u64,
    fetched_bytes: u64,
    missing: Vec<Missing>,
}

/// A file whose content is not here.
#[derive(Serialize)]
pub struct Missing {
    /// A path that it has.
    pub path: String,
    /// Its oid.
    oid: String,
    /// Its size in bytes.
    pub size: u64,
    /// Why, where somebody was asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Missing {
    /// The file at `path`.
    pub fn new(path: &BStr, pointer: &Pointer, reason: Option<&str>) -> Missing {
        let (path, oid) = (path.to_string(), pointer.oid.to_string());
        Missing { path, oid, size: pointer.size, reason: reason.map(str::to_owned) }
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let here = Here::find()?;
    let repository = here.repository()?;
    let settings = repository.settings()?;
    let media = match args.all {
        true => all_media(&here, &repository)?,
        false => {
            let patterns = args.paths.patterns(&repository, &settings)?;
            let mut media = media_of(&here, &repository, &args.revisions)?;
            media.retain(|wanted| patterns.wants(wanted.path.as_bstr()));
            if args.revisions.is_empty() {
                let sparse = media_files::skipped(&here.git, &repository)?;
                media.retain(|wanted| !sparse.contains(&wanted.path));
            }
            media
        }
    };
    let wanted: Vec<Pointer> = media.iter().map(|file| file.pointer).collect();
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

/// The media of some revisions; of `HEAD` where there are none.
fn media_of(here: &Here, repository: &Repository, revisions: &[String]) -> Result<Vec<Wanted>, Failure> {
    let head = ["HEAD".to_owned()];
    let revisions = if revisions.is_empty() { &head[..] } else { revisions };
    let mut media = Vec::new();
    for revision in revisions {
        media.extend(Wanted::all(&pointers::of_revision(&here.git, repository, revision)?));
    }
    Ok(media)
}

/// The media of all history that refs reach.
fn all_media(here: &Here, repository: &Repository) -> Result<Vec<Wanted>, Failure> {
    let listed = here.git.capture(["for-each-ref", "--format=%(objectname)"])?;
    let tips: Vec<GitId> = listed.lines().filter_map(GitId::parse).collect();
    let walked = walk(&here.git, repository.attribute_case(), &tips, &Known::Ids(Vec::new()))?;
    let wanted = walked.pointers.into_iter();
    Ok(wanted.map(|found| Wanted { path: found.path.as_bstr().to_owned(), pointer: found.pointer }).collect())
}

/// The facts of a fetch.
pub fn facts(fetched: &Fetched, media: &[Wanted]) -> FetchFacts {
    let missing = first_path_of_each(fetched, media).into_iter();
    let missing = missing.map(|(file, reason)| Missing::new(file.path.as_bstr(), &file.pointer, Some(reason)));
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
    let here = match fetched.here_count {
        0 => String::new(),
        count => format!(", {count} here already"),
    };
    format!("{} fetched ({bytes}){here}", counted(count as usize))
}

/// Ends with an error that names each file that could not be had.
pub fn fail_if_missing(fetched: &Fetched, media: &[Wanted]) -> Result<(), Failure> {
    if fetched.missing.is_empty() {
        return Ok(());
    }
    let missing = first_path_of_each(fetched, media);
    Err(Failure::new(format!("{} could not be fetched", counted(missing.len())))
        .caused_by_each(missing.iter().map(|(file, reason)| format!("{}: {reason}", file.path)))
        .hint("when the remote can be reached again, run `git dits pull`"))
}

/// Each missing file once, with the first path that has it.
fn first_path_of_each<'a>(fetched: &'a Fetched, media: &'a [Wanted]) -> Vec<(&'a Wanted, &'a str)> {
    let mut left: HashMap<_, _> = fetched.missing.iter().collect();
    media.iter().filter_map(|file| Some((file, left.remove(&file.pointer.oid)?.as_str()))).collect()
}
