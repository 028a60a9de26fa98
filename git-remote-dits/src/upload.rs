//! `git remote-dits push-media REMOTE`: media goes from the store to a remote.
//!
//! **For:** the pre-push hook of remotes that know nothing of Dits, and `git dits push`. They
//! find out which files are needed; here is all that speaks to servers.
//!
//! **May touch:** the repository's stores, read only; its receipts; one remote.
//!
//! **Must hold:**
//! - every file named gets exactly one line of answer, unless the remote cannot be used;
//! - each file is asked about whatever receipts say: where the text goes to another host, nobody
//!   checks behind this program.
//!
//! **Format:** `docs/protocols/remote-helper.md`.

use std::collections::HashSet;
use std::io::{BufRead, Read, Write};

use bstr::{ByteSlice, ByteVec};
use dits_core::limits;
use dits_core::operations::push_media::push_media;
use dits_core::pointer::Pointer;
use dits_core::remote::Holding;
use dits_core::repo::Repository;
use dits_core::repo::pointer_walk::{Found, GitId};
use dits_core::repo::stores::open_sources;
use dits_core::repo_path::RepoPath;

use crate::far_end::Link;
use crate::fetch::named;
use crate::here::Here;
use crate::kept::Kept;
use crate::progress::Bar;
use dits_core::failure::Failure;

/// Longest record of a question, in bytes; git itself has no longer paths.
const RECORD_LEN_MAX: u64 = 8192;

/// How media is to be pushed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Only ask.
    is_dry_run: bool,
    /// The text goes to another host, so that the remote cannot know which media is needed.
    is_text_elsewhere: bool,
}

impl Options {
    /// Reads `--dry-run` and `--text-elsewhere`, each at most once and in this order.
    pub fn parse(flags: &[&str]) -> Option<Options> {
        let (is_dry_run, flags) = match flags {
            ["--dry-run", rest @ ..] => (true, rest),
            flags => (false, flags),
        };
        match flags {
            [] => Some(Options { is_dry_run, is_text_elsewhere: false }),
            ["--text-elsewhere"] => Some(Options { is_dry_run, is_text_elsewhere: true }),
            _ => None,
        }
    }
}

/// Uploads what stands on `questions`, or only asks about it.
pub fn run(
    here: &Here,
    remote: &str,
    options: Options,
    questions: impl BufRead,
    answers: &mut dyn Write,
) -> Result<(), Failure> {
    let wanted = read_questions(questions)?;
    let repository = here.repository()?;
    let url = named(&repository, remote)?;
    let link = Link::open(&url, here)?;
    if options.is_text_elsewhere {
        link.media(here)?.note_text_elsewhere()?;
    }
    if options.is_dry_run {
        return ask(here, &link, &repository, &wanted, answers);
    }
    let sources = open_sources(&repository, &repository.settings()?)?;
    let bar = Bar::new("Uploading media", here.progress.get());
    let pushed = push_media(&sources, link.media(here)?, &wanted, &|progress| bar.show(progress))?;
    drop(bar);
    let mut kept = match Kept::open(&link, &repository) {
        // The server may have made the repository just now, and only a new greeting tells its id.
        kept if !kept.is_open() && !pushed.receipts.is_empty() => Kept::open(&Link::open(&url, here)?, &repository),
        kept => kept,
    };
    kept.keep(&pushed.receipts);
    kept.forget(pushed.failed.iter().map(|(found, _)| found.pointer.oid));
    for (found, why) in &pushed.failed {
        writeln!(answers, "{} failed {}", found.pointer.oid, why.to_string().replace('\n', " "))?;
    }
    let failed: HashSet<_> = pushed.failed.iter().map(|(found, _)| found.pointer.oid).collect();
    for found in wanted.iter().filter(|found| !failed.contains(&found.pointer.oid)) {
        writeln!(answers, "{} held", found.pointer.oid)?;
    }
    let sent_files = pushed.sent_file_count - pushed.failed.len().min(pushed.sent_file_count);
    writeln!(answers, "sent {sent_files} {} {}", pushed.sent_item_count, pushed.sent_bytes)?;
    Ok(answers.flush()?)
}

/// Asks which files are there, and uploads none.
fn ask(
    here: &Here,
    link: &Link,
    repository: &Repository,
    wanted: &[Found],
    answers: &mut dyn Write,
) -> Result<(), Failure> {
    let mut kept = Kept::open(link, repository);
    for batch in wanted.chunks(limits::IDS_PER_MESSAGE_MAX) {
        let oids: Vec<_> = batch.iter().map(|found| found.pointer.oid).collect();
        let files: Vec<_> = batch.iter().map(|found| found.pointer).collect();
        let held = link.media(here)?.held(&files)?.into_iter().map(Holding::receipt).collect::<Vec<_>>();
        for (oid, held) in oids.iter().zip(&held) {
            writeln!(answers, "{oid} {}", if held.is_some() { "held" } else { "lacking" })?;
        }
        kept.forget(oids.iter().zip(&held).filter(|(_, held)| held.is_none()).map(|(oid, _)| *oid));
        kept.keep(&held.into_iter().flatten().collect::<Vec<_>>());
    }
    Ok(answers.flush()?)
}

/// Reads records that end with NUL, each file once.
fn read_questions(mut from: impl BufRead) -> Result<Vec<Found>, Failure> {
    let mut wanted = Vec::new();
    let mut seen = HashSet::new();
    let mut record = Vec::new();
    loop {
        record.clear();
        if Read::take(&mut from, RECORD_LEN_MAX).read_until(0, &mut record)? == 0 {
            return Ok(wanted);
        }
        let found = parse_question(&record).ok_or_else(|| {
            Failure::usage(format!("{:?} is not an oid, a size, an oid or -, a commit and a path", record.as_bstr()))
        })?;
        if seen.insert(found.pointer) {
            wanted.push(found);
        }
    }
}

/// Reads `<oid> <size> <oid or -> <commit> <path>` and a NUL.
fn parse_question(record: &[u8]) -> Option<Found> {
    let mut fields = record.strip_suffix(&[0])?.splitn_str(5, " ");
    let mut text = || fields.next()?.to_str().ok();
    let oid = text()?.parse().ok()?;
    let size: u64 = text()?.parse().ok().filter(|size| (1..=limits::FILE_LEN_MAX).contains(size))?;
    let replaces = match text()? {
        "-" => None,
        oid => Some(oid.parse().ok()?),
    };
    let commit = GitId::parse(text()?.as_bytes())?;
    let path = RepoPath::new(Vec::from_slice(fields.next()?)).ok()?;
    Some(Found { pointer: Pointer { oid, size }, path, commit, replaces })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dits_core::hash::FileHash;

    #[test]
    fn flags_are_read_strictly() {
        let both = Options { is_dry_run: true, is_text_elsewhere: true };
        assert_eq!(Options::parse(&["--dry-run", "--text-elsewhere"]), Some(both));
        assert_eq!(Options::parse(&[]), Some(Options::default()));
        assert_eq!(Options::parse(&["--text-elsewhere"]), Some(Options { is_dry_run: false, ..both }));
        for bad in [&["--text-elsewhere", "--dry-run"][..], &["--dry-run", "--dry-run"], &["origin"]] {
            assert_eq!(Options::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn questions_are_read_strictly_and_once() {
        let (oid, commit) = (FileHash::of(b"x"), "a".repeat(40));
        let good = format!("{oid} 1 - {commit} a clip.mov\0{oid} 1 {oid} {commit} b\nc.mov\0");
        let wanted = read_questions(good.as_bytes()).expect("well formed");
        assert_eq!((wanted.len(), wanted[0].path.as_bstr()), (1, "a clip.mov".into()));
        for bad in
            [format!("{oid} 0 - {commit} x\0"), format!("{oid} 1 - {commit} ../x\0"), format!("{oid} 1 - {commit} x")]
        {
            assert!(read_questions(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
