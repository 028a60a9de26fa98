//! `git dits push`: uploads media, and nothing else.
//!
//! **For:** media that should be on the server before its commits are pushed, or that went missing there.
//!
//! **May touch:** the network through `git-remote-dits`; the repository's configuration, where the
//! user confirms an address.
//!
//! **Must hold:** no ref moves.

use bstr::ByteSlice;
use dits_core::operations::needed_media::{Needed, counted, needed};
use dits_core::repo::pointer_walk::{Found, GitId};
use serde::Serialize;

use crate::here::Here;
use crate::media_address;
use crate::out::Out;
use crate::report::{self, EXIT_STATUSES, Failure};
use crate::sizes::Bytes;
use crate::uploading::{self, To, Uploaded};

/// Upload media, and leave the refs to `git push`
#[derive(clap::Args)]
#[command(after_help = EXIT_STATUSES)]
pub struct Args {
    /// The remote: a name, or an address of Dits
    remote: String,
    /// The revisions whose media is to be there; HEAD unless given
    revisions: Vec<String>,
    /// Everything that any branch or tag reaches, also what the remote should have
    #[arg(long, conflicts_with = "revisions")]
    all: bool,
    /// Say what would be uploaded, and upload nothing
    #[arg(long, short = 'd')]
    dry_run: bool,
    /// Print the facts as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Facts {
    to: Option<String>,
    held: u64,
    sent: u64,
    sent_bytes: u64,
    lacking: Vec<File>,
    failed: Vec<File>,
}

#[derive(Serialize)]
struct File {
    path: String,
    commit: String,
    oid: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let here = Here::find()?;
    let repository = here.repository()?;
    let (tips, known) = match args.all {
        true => (all_refs(&here)?, Vec::new()),
        false => (tips(&here, &args.revisions)?, uploading::tracked_refs(&repository, &args.remote)?),
    };
    let dits_remote = media_address::dits_remote(&repository, &args.remote)?;
    let Needed { media: needed, warning } = needed(&repository, &tips, known)?;
    report::lines(&warning);
    let to = match dits_remote {
        Some(name) => Some(To::WithText(name)),
        // What needs no server asks for none.
        None if needed.is_empty() => None,
        None => Some(To::Alone(media_address::need(&here.git, &repository, &repository.settings()?)?.to_string())),
    };
    let uploaded = match &to {
        Some(to) => uploading::upload(needed, to, args.dry_run)?,
        None => Uploaded::default(),
    };
    print(args, to.map(|to| to.name().to_owned()), &uploaded)?;
    uploading::fail_if_any(&uploaded.failed)
}

fn tips(here: &Here, revisions: &[String]) -> Result<Vec<GitId>, Failure> {
    let head = ["HEAD".to_owned()];
    let revisions = if revisions.is_empty() { &head[..] } else { revisions };
    let resolve = |revision: &String| {
        let found = here.git.ask(["rev-parse", "--verify", "--quiet", "--end-of-options", revision])?;
        let id = found.and_then(|id| GitId::parse(id.trim()));
        id.ok_or_else(|| Failure::usage(format!("there is no revision {revision:?}")))
    };
    revisions.iter().map(resolve).collect()
}

fn all_refs(here: &Here) -> Result<Vec<GitId>, Failure> {
    let listed = here.git.capture(["for-each-ref", "--format=%(objectname)", "refs/heads/", "refs/tags/"])?;
    Ok(listed.lines().filter_map(GitId::parse).collect())
}

fn print(args: &Args, to: Option<String>, uploaded: &Uploaded) -> Result<(), Failure> {
    let mut out = Out::lock();
    let Uploaded { held_count, sent_count, sent_bytes, lacking, failed } = uploaded;
    if args.json {
        out.json(&Facts {
            to,
            held: *held_count,
            sent: *sent_count,
            sent_bytes: *sent_bytes,
            lacking: lacking.iter().map(|found| file(found, None)).collect(),
            failed: failed.iter().map(|(found, why)| file(found, Some(why.clone()))).collect(),
        })?;
        return out.finish();
    }
    for Found { path, pointer, .. } in lacking {
        out.line(format_args!("would upload {path} ({})", Bytes(pointer.size)))?;
    }
    match args.dry_run {
        true => out.line(format_args!("{} to upload, {held_count} are there", counted(lacking.len())))?,
        false => out.line(format_args!(
            "{} uploaded ({} sent), {} there",
            counted(*sent_count as usize),
            Bytes(*sent_bytes),
            counted(*held_count as usize)
        ))?,
    }
    out.finish()
}

fn file(found: &Found, reason: Option<String>) -> File {
    File {
        path: found.path.to_string(),
        commit: found.commit.to_string(),
        oid: found.pointer.oid.to_string(),
        size: found.pointer.size,
        reason,
    }
}
