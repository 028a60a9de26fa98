//! `git remote-dits kept-media REMOTE`: which files a remote keeps, so that they may be freed here.
//!
//! **For:** `git dits prune`, which finds out what may be freed; here is all that speaks to servers.
//!
//! **May touch:** the repository's stores and receipts, read only; one remote.
//!
//! **Must hold:** every file named gets exactly one line of answer, unless the remote cannot be used.
//!
//! **Format:** `docs/protocols/remote-helper.md`.

use std::io::{BufRead, Write};

use dits_core::failure::Failure;
use dits_core::operations::confirm_kept::{Look, confirm_kept};
use dits_core::remote::Remote;
use dits_core::remote::receipts::{DIR, Receipts};
use dits_core::repo::stores::open_sources;

use crate::far_end::{Link, Service};
use crate::fetch::{named, read_questions};
use crate::here::Here;
use crate::share_git;

/// Answers what stands on `questions`.
pub fn run(
    here: &Here,
    remote: &str,
    look: Look,
    questions: impl BufRead,
    answers: &mut dyn Write,
) -> Result<(), Failure> {
    let files = read_questions(questions)?;
    let repository = here.repository()?;
    let url = named(&repository, remote)?;
    let link = Link::open(&url, here)?;
    let sources = open_sources(&repository, &repository.settings()?)?;
    let media = link.media(here)?;
    let receipts = match media {
        Remote::Server(server) => match server.repo_id() {
            Some(repo) => Some(Receipts::open(&repository.common_dir().join(DIR), server.server_id(), repo)?),
            None => None,
        },
        Remote::Local(_) => None,
    };
    let git = match &link {
        Link::Share { path, .. } => Some(share_git::open(path, Service::UploadPack, here)?),
        Link::Server { .. } => None,
    };
    let git = || git.clone().expect("only a share is asked for its refs here");
    let kept = confirm_kept(media, receipts.as_ref(), &sources, &git, &files, look)?;
    for (file, kept) in files.iter().zip(kept) {
        match kept {
            Ok(()) => writeln!(answers, "{} kept", file.oid)?,
            Err(why) => writeln!(answers, "{} not {}", file.oid, why.text())?,
        }
    }
    Ok(answers.flush()?)
}
