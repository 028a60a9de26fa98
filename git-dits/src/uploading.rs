//! Uploading media through `git-remote-dits`.
//!
//! **For:** the pre-push hook, and `git dits push`.
//!
//! **May touch:** the repository and its stores, read only; the network through
//! `git-remote-dits push-media`.
//!
//! **Must hold:** a file counts as held only if the remote said so, content proven.
//!
//! **Format:** `docs/protocols/remote-helper.md`.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::process::{Command, Stdio};

use bstr::ByteSlice;
use dits_core::failure::DONE;
use dits_core::hash::FileHash;
use dits_core::operations::needed_media::not_pushed;
use dits_core::repo::Repository;
use dits_core::repo::pointer_walk::{Found, GitId};

use crate::programs::Programs;
use crate::progress;
use crate::report::Failure;

/// What the refs of a remote named when git last heard of them.
pub fn tracked_refs(repository: &Repository, remote: &str) -> Result<Vec<GitId>, Failure> {
    let prefix = format!("refs/remotes/{remote}/");
    let listed = repository.git()?.capture(["for-each-ref", "--format=%(objectname)", &prefix])?;
    Ok(ByteSlice::lines(listed.as_slice()).filter_map(GitId::parse).collect())
}

/// What an upload came to.
#[derive(Debug, Default)]
pub struct Uploaded {
    /// Files that the remote holds now.
    pub held_count: u64,
    /// Files that were sent, in whole or in part.
    pub sent_count: u64,
    /// Bytes that were sent.
    pub sent_bytes: u64,
    /// Files that a dry run would send.
    pub lacking: Vec<Found>,
    /// Files that could not be uploaded, and why.
    pub failed: Vec<(Found, String)>,
}

/// Where media goes.
#[derive(Debug, Clone)]
pub enum To {
    /// To the Dits remote of this name or address, to which its text goes as well.
    WithText(String),
    /// To this address, and its text to another host.
    Alone(String),
}

impl To {
    /// The remote's name or address.
    pub fn name(&self) -> &str {
        match self {
            To::WithText(name) | To::Alone(name) => name,
        }
    }
}

/// Uploads what `to` lacks of `needed`; a dry run only asks.
pub fn upload(needed: Vec<Found>, to: &To, is_dry_run: bool) -> Result<Uploaded, Failure> {
    let mut uploaded = Uploaded::default();
    if needed.is_empty() {
        return Ok(uploaded);
    }
    let answers = ask_helper(&needed, to, is_dry_run)?;
    let mut outcomes = HashMap::new();
    for answer in answers {
        match parse_answer(&answer) {
            Some(Answer::File(oid, outcome)) => drop(outcomes.insert(oid, outcome)),
            Some(Answer::Sent { files, bytes }) => (uploaded.sent_count, uploaded.sent_bytes) = (files, bytes),
            None => {}
        }
    }
    for found in needed {
        match outcomes.remove(&found.pointer.oid) {
            Some(Outcome::Held) => uploaded.held_count += 1,
            Some(Outcome::Lacking) => uploaded.lacking.push(found),
            Some(Outcome::Failed(why)) => uploaded.failed.push((found, why)),
            None => uploaded.failed.push((found, "nothing was heard of it".to_owned())),
        }
    }
    Ok(uploaded)
}

/// Runs `git-remote-dits push-media` and returns its lines.
fn ask_helper(needed: &[Found], to: &To, is_dry_run: bool) -> Result<Vec<String>, Failure> {
    let helper = Programs::find()?.helper()?;
    let failed = |error: std::io::Error| Failure::new(format!("cannot run {}", helper.display())).because(&error);
    let mut command = Command::new(&helper);
    command.arg("push-media").args(progress::of_helper().args()).args(is_dry_run.then_some("--dry-run"));
    command.args(matches!(to, To::Alone(_)).then_some("--text-elsewhere")).arg(to.name());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let mut answers = Vec::new();
    std::thread::scope(|scope| -> Result<(), Failure> {
        scope.spawn(move || {
            let mut stdin = BufWriter::new(stdin.expect("it was asked for as a pipe"));
            // A child that reads no more says why by its end.
            let _ = needed.iter().try_for_each(|found| stdin.write_all(&question(found)));
        });
        for line in BufReader::new(stdout.expect("it was asked for as a pipe")).lines() {
            answers.push(line.map_err(failed)?);
        }
        Ok(())
    })?;
    // The child has said on standard error what is wrong and what to do.
    match child.wait().map_err(failed)?.code().map(u8::try_from) {
        Some(Ok(DONE)) => Ok(answers),
        Some(Ok(code)) => Err(Failure::told(code)),
        _ => Err(Failure::new(format!("not all media was uploaded to {}", to.name()))
            .caused_by(format!("{} did not end by itself", helper.display()))),
    }
}

fn question(found: &Found) -> Vec<u8> {
    let Found { pointer, path, commit, replaces } = found;
    let replaces = replaces.map_or_else(|| "-".to_owned(), |oid| oid.to_string());
    let facts = format!("{} {} {replaces} {commit} ", pointer.oid, pointer.size);
    [facts.as_bytes(), path.as_bstr(), &[0]].concat()
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Held,
    Lacking,
    Failed(String),
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    File(FileHash, Outcome),
    Sent { files: u64, bytes: u64 },
}

fn parse_answer(line: &str) -> Option<Answer> {
    if let Some(counts) = line.strip_prefix("sent ") {
        let mut counts = counts.split(' ').map(|count| count.parse().ok());
        let (files, bytes) = (counts.next()??, counts.nth(1)??);
        return Some(Answer::Sent { files, bytes });
    }
    let (oid, outcome) = line.split_once(' ')?;
    let outcome = match outcome.split_once(' ') {
        None if outcome == "held" => Outcome::Held,
        None if outcome == "lacking" => Outcome::Lacking,
        Some(("failed", why)) => Outcome::Failed(why.to_owned()),
        _ => return None,
    };
    Some(Answer::File(oid.parse().ok()?, outcome))
}

/// Ends with an error that names each file that could not be uploaded.
pub fn fail_if_any(failed: &[(Found, String)]) -> Result<(), Failure> {
    match failed.is_empty() {
        true => Ok(()),
        false => Err(not_pushed(failed.iter().map(|(found, why)| (found, why.clone())))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_anything_else_is_none() {
        let oid = FileHash::of(b"x");
        assert_eq!(parse_answer(&format!("{oid} held")), Some(Answer::File(oid, Outcome::Held)));
        let failed = Outcome::Failed("it is nowhere".to_owned());
        assert_eq!(parse_answer(&format!("{oid} failed it is nowhere")), Some(Answer::File(oid, failed)));
        assert_eq!(parse_answer("sent 1 20 300"), Some(Answer::Sent { files: 1, bytes: 300 }));
        assert_eq!(parse_answer("sent 1"), None);
        assert_eq!(parse_answer(&format!("{oid} maybe")), None);
    }
}
