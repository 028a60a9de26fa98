//! `git remote-dits fetch-media [REMOTE]`: media comes into the store.
//!
//! **For:** the filter during a checkout, and `git dits fetch`.
//!
//! **May touch:** the repository and its stores; remotes.
//!
//! **Must hold:** every file asked for gets exactly one line of answer, whatever happens.
//!
//! **Format:** `docs/protocols/remote-helper.md`.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, Write};

use bstr::{BStr, BString, ByteSlice};
use dits_core::hash::FileHash;
use dits_core::limits;
use dits_core::operations::fetch_media::fetch_media;
use dits_core::pointer::Pointer;
use dits_core::remote_url::RemoteUrl;
use dits_core::repo::Repository;
use dits_core::repo::config::{Committed, UrlDecision, decide_url};
use dits_core::repo::stores::open_sources;
use dits_core::store::Sources;

use crate::far_end::Link;
use crate::here::{Here, parse_address};
use crate::progress::Bar;
use dits_core::failure::Failure;

/// Longest line of a question, in bytes.
const LINE_LEN_MAX: u64 = 128;

/// Answers what stands on `questions`. `only` names the one remote to ask, by name or address.
pub fn run(here: &Here, only: Option<&str>, questions: impl BufRead, answers: &mut dyn Write) -> Result<(), Failure> {
    let wanted = read_questions(questions)?;
    let repository = here.repository()?;
    let sources = open_sources(&repository, &repository.settings()?)?;
    let mut fetching = Fetching { here, sources, left: wanted, reasons: HashMap::new() };
    let places = match only {
        Some(name) => vec![named(&repository, name)?],
        None => places(&repository)?,
    };
    for place in &places {
        if fetching.left.is_empty() {
            break;
        }
        fetching.from(place, answers)?;
    }
    for pointer in &fetching.left {
        let reason = fetching.reasons.get(&pointer.oid).map_or("no remote of Dits is known", String::as_str);
        writeln!(answers, "{} missing {reason}", pointer.oid)?;
    }
    Ok(answers.flush()?)
}

/// Reads `<oid> <size>` lines, each file once.
pub fn read_questions(mut from: impl BufRead) -> Result<Vec<Pointer>, Failure> {
    let mut wanted = Vec::new();
    let mut seen = HashSet::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if std::io::Read::take(&mut from, LINE_LEN_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(wanted);
        }
        let pointer = parse_question(&line)
            .ok_or_else(|| Failure::usage(format!("{:?} is not an oid and a size", line.as_bstr())))?;
        if seen.insert(pointer) {
            wanted.push(pointer);
        }
    }
}

fn parse_question(line: &[u8]) -> Option<Pointer> {
    let (oid, size) = line.strip_suffix(b"\n")?.to_str().ok()?.split_once(' ')?;
    let size: u64 = size.parse().ok()?;
    let pointer = Pointer { oid: oid.parse().ok()?, size };
    (1..=limits::FILE_LEN_MAX).contains(&size).then_some(pointer)
}

/// The remotes that may have media, the likeliest first: the branch's upstream, `origin`, the
/// others, and the address for media beside text on another host.
fn places(repository: &Repository) -> Result<Vec<RemoteUrl>, Failure> {
    let upstream = upstream(repository);
    let mut remotes = repository.dits_remotes();
    let rank = |name: &BStr| match () {
        () if upstream.as_ref().is_some_and(|upstream| upstream == name) => 0,
        () if name == "origin" => 1,
        () => 2,
    };
    remotes.sort_by_key(|(name, _)| rank(name.as_bstr()));
    let mut places: Vec<RemoteUrl> = remotes.into_iter().map(|(_, url)| url).collect();
    match decide_url(&repository.settings()?, &Committed::read(repository)?) {
        UrlDecision::Use(url) => places.push(url),
        UrlDecision::Changed { confirmed, .. } => places.push(confirmed),
        UrlDecision::Unconfirmed { .. } | UrlDecision::None => {}
    }
    let mut seen = HashSet::new();
    places.retain(|url| seen.insert(url.clone()));
    Ok(places)
}

fn upstream(repository: &Repository) -> Option<BString> {
    let head = std::fs::read(repository.git_dir().join("HEAD")).ok()?;
    let branch = head.strip_prefix(b"ref: refs/heads/")?.trim_ascii_end().to_str().ok()?;
    repository.config().value(&format!("branch.{branch}.remote"))
}

/// The address of a remote, given by name or as such.
pub fn named(repository: &Repository, name: &str) -> Result<RemoteUrl, Failure> {
    let remote = repository.remotes().into_iter().find(|remote| remote.name == name);
    match remote {
        Some(remote) => parse_address(&remote.url.to_str_lossy()),
        None => parse_address(name),
    }
}

struct Fetching<'a> {
    here: &'a Here,
    sources: Sources,
    left: Vec<Pointer>,
    /// Why the last remote asked did not give a file.
    reasons: HashMap<FileHash, String>,
}

impl Fetching<'_> {
    /// Fetches what is left from one remote, and answers for what came.
    fn from(&mut self, url: &RemoteUrl, answers: &mut dyn Write) -> Result<(), Failure> {
        let bar = Bar::new("Fetching media", self.here.progress.get());
        let link = Link::open(url, self.here);
        let remote = link.as_ref().map_err(Failure::line).and_then(|link| link.media(self.here).map_err(|f| f.line()));
        let fetched = remote.and_then(|remote| {
            let fetched = fetch_media(&self.sources, remote, &self.left, &|progress| bar.show(progress));
            fetched.map_err(|error| Failure::from(error).line())
        });
        drop(bar);
        let fetched = match fetched {
            Ok(fetched) => fetched,
            Err(reason) => {
                // The next remote may do better.
                self.reasons.extend(self.left.iter().map(|pointer| (pointer.oid, format!("{url}: {reason}"))));
                return Ok(());
            }
        };
        let mut got = HashSet::new();
        for file in fetched {
            match file.result {
                Ok(()) => {
                    got.insert(file.pointer);
                    writeln!(answers, "{} ok", file.pointer.oid)?;
                }
                Err(why) => drop(self.reasons.insert(file.pointer.oid, format!("{url}: {why}"))),
            }
        }
        self.left.retain(|pointer| !got.contains(pointer));
        Ok(answers.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_read_strictly_and_once() {
        let oid = FileHash::of(b"x");
        let lines = format!("{oid} 1\n{oid} 1\n");
        let wanted = read_questions(lines.as_bytes()).expect("well formed");
        assert_eq!(wanted, [Pointer { oid, size: 1 }]);
        for bad in [format!("{oid}\n"), format!("{oid} 0\n"), format!("{oid} 1"), "x 1\n".to_owned(), "1".repeat(500)] {
            assert!(read_questions(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
