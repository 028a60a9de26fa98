//! What is wrong with the attributes that make files media.
//!
//! **For:** `git dits env`.
//!
//! **May touch:** nothing; it asks git about the files of its index.
//!
//! **Must hold:** git itself says which attributes hold.

use bstr::{BString, ByteSlice};
use dits_core::limits;
use dits_core::repo::Repository;

use super::problems::Problems;
use crate::git;
use crate::here::Here;
use crate::media_files::{self, IndexEntry};
use crate::pointers;
use crate::report::Failure;

/// Files of one kind that are named.
const NAMED_MAX: usize = 3;
/// Shortest pointer, in bytes.
const POINTER_LEN_MIN: usize = "dits 1\noid blake3:\nsize 1\n".len() + 64;

/// Looks for attributes that are missing, doubled, or not enough.
pub fn check(here: &Here, repository: &Repository, problems: &mut Problems) -> Result<(), Failure> {
    let Some(top) = repository.work_tree() else { return Ok(()) };
    let git = here.git.clone().in_dir(top);
    check_machine(here, repository, problems)?;
    check_twice(here, repository, problems)?;
    let entries = media_files::index_entries(&git, &[])?;
    let paths: Vec<BString> = entries.iter().map(|entry| entry.path.clone()).collect();
    let filters = media_files::attribute(&git, "filter", &paths)?;
    let (media, others): (Vec<_>, Vec<_>) = entries.into_iter().zip(filters).partition(|(_, filter)| filter == "dits");
    let media: Vec<BString> = media.into_iter().map(|(entry, _)| entry.path).collect();
    let texts = media_files::attribute(&git, "text", &media)?;
    let merges = media_files::attribute(&git, "merge", &media)?;
    let with = |values: &[BString], good: &dyn Fn(&BString) -> bool| -> Vec<BString> {
        media.iter().zip(values).filter(|(_, value)| !good(value)).map(|(path, _)| path.clone()).collect()
    };
    let text = with(&texts, &|value| value == "unset");
    if !text.is_empty() {
        let what = format!("without -text git may change line ends in media: {}", named(&text));
        match repository.config().value("core.autocrlf").is_some_and(|value| value != "false") {
            true => problems.broken(what, "run `git dits track` for their pattern again"),
            false => problems.odd(what, "run `git dits track` for their pattern again"),
        }
    }
    let merge = with(&merges, &|value| value == "unset" || value == "binary");
    if !merge.is_empty() {
        let what = format!("without -merge a conflict leaves marks in pointers: {}", named(&merge));
        problems.odd(what, "run `git dits track` for their pattern again");
    }
    let lost = pointers_without_pattern(&git, others)?;
    if !lost.is_empty() {
        problems.broken(
            format!("no pattern tracks these pointers any more, so that they stay pointers: {}", named(&lost)),
            "track them with `git dits track`, or take the content back with `git revert`",
        );
    }
    Ok(())
}

/// Patterns that nobody else has: what they make a pointer is pushed without its content.
fn check_machine(here: &Here, repository: &Repository, problems: &mut Problems) -> Result<(), Failure> {
    let machine = media_files::machine_sources(repository)?;
    if machine.iter().all(|source| source.patterns.is_empty()) {
        return Ok(());
    }
    let all = media_files::pattern_sources(&here.git, repository)?;
    let is_shared = |pattern: &BString| {
        let shared = all.iter().filter(|source| machine.iter().all(|own| own.file != source.file));
        shared.flat_map(|source| &source.patterns).any(|tracked| tracked.pattern == *pattern)
    };
    for source in &machine {
        for tracked in source.patterns.iter().filter(|tracked| !is_shared(&tracked.pattern)) {
            let (pattern, file) = (&tracked.pattern, &source.file);
            problems.broken(
                format!("{file} makes {pattern} media on this machine alone"),
                format!("run `git dits track \"{pattern}\"` and commit .gitattributes"),
            );
        }
    }
    Ok(())
}

/// One pattern with two filters: the later line wins, whichever that is.
fn check_twice(here: &Here, repository: &Repository, problems: &mut Problems) -> Result<(), Failure> {
    for source in media_files::pattern_sources(&here.git, repository)? {
        for (pattern, filter) in &source.others {
            if source.patterns.iter().any(|tracked| tracked.pattern == *pattern) {
                problems.broken(
                    format!("{} sends {pattern} through two filters, dits and {filter}", source.file),
                    match filter.as_slice() {
                        b"lfs" => format!("run `git lfs untrack \"{pattern}\"`"),
                        _ => "take one of the lines out".to_owned(),
                    },
                );
            }
        }
    }
    Ok(())
}

/// Pointers on paths that are not media: their pattern was taken away, or never committed.
fn pointers_without_pattern(
    git: &dits_core::repo::git_program::GitProgram,
    others: Vec<(IndexEntry, BString)>,
) -> Result<Vec<BString>, Failure> {
    // A path with `-filter` is somebody's word that it is none.
    let others: Vec<IndexEntry> =
        others.into_iter().filter(|(_, filter)| filter == "unspecified").map(|(entry, _)| entry).collect();
    let mut blobs: Vec<BString> = others.iter().map(|entry| entry.blob.clone()).collect();
    let lens = git::filter(git, &["cat-file", "--batch-check=%(objectsize)"], &pointers::lines(blobs.iter()))?;
    let is_as_long = |line: &[u8]| {
        let len: Option<usize> = line.to_str().ok().and_then(|len| len.parse().ok());
        len.is_some_and(|len| (POINTER_LEN_MIN..=limits::POINTER_LEN_MAX).contains(&len))
    };
    let is_candidate: Vec<bool> = lens.lines().map(is_as_long).collect();
    let mut number = 0..;
    blobs.retain(|_| number.next().is_some_and(|number: usize| is_candidate.get(number).copied().unwrap_or(false)));
    let pointers = pointers::of_blobs(git, &blobs)?;
    let found: Vec<&BString> =
        blobs.iter().zip(&pointers).filter(|(_, pointer)| pointer.is_some()).map(|(blob, _)| blob).collect();
    Ok(others.into_iter().filter(|entry| found.contains(&&entry.blob)).map(|entry| entry.path).collect())
}

fn named(paths: &[BString]) -> String {
    let names = paths.iter().take(NAMED_MAX).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match paths.len().saturating_sub(NAMED_MAX) {
        0 => names,
        more => format!("{names} and {more} more"),
    }
}
