//! The pointers that an index or a revision holds.
//!
//! **For:** commands that act on media: list them, get them, show them.
//!
//! **May touch:** git children; a temporary index of our own for a revision.
//!
//! **Must hold:** a blob counts as a pointer only on a path that the attributes of that very
//! tree mark as media. No blob longer than a pointer is read.

use bstr::{BString, ByteSlice};
use dits_core::limits;
use dits_core::pointer::Pointer;
use dits_core::repo::Repository;
use dits_core::repo::git_program::{GitError, GitProgram};

use crate::commands::track::BStringArg;
use crate::git;
use crate::here::Here;
use crate::media_files::{self, IndexEntry};
use crate::report::Failure;

/// A media file of an index or a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaFile {
    /// Its place.
    pub entry: IndexEntry,
    /// What Git holds for it; `None` for content that was stored without Dits, and the empty file.
    pub pointer: Option<Pointer>,
}

/// The media of the index, by the attributes in the work tree, below `pathspecs` if there are any.
pub fn of_index(git: &GitProgram, repository: &Repository, pathspecs: &[BString]) -> Result<Vec<MediaFile>, Failure> {
    let top = repository.work_tree().ok_or_else(|| Failure::new("a bare repository has no index"))?;
    let entries = media_files::index_entries(git, pathspecs)?;
    let media = media_files::media_of(git, top, entries)?;
    with_pointers(git, media).map_err(Failure::from)
}

/// The media of the index that git's pathspecs choose, from the current directory on; all of it without any.
pub fn of_pathspecs(here: &Here, repository: &Repository, pathspecs: &[BStringArg]) -> Result<Vec<MediaFile>, Failure> {
    let top = repository.work_tree().ok_or_else(|| Failure::new("a bare repository has no work tree"))?;
    let pathspecs: Vec<BString> = pathspecs.iter().map(|pathspec| pathspec.0.clone()).collect();
    if pathspecs.is_empty() {
        return of_index(&here.git.clone().in_dir(top), repository, &[]);
    }
    let media = of_index(&here.git, repository, &pathspecs)?;
    match media.is_empty() {
        true => Err(Failure::new(format!("there is no media at {}", bstr::join(" ", &pathspecs).as_bstr()))
            .hint("list what there is: `git dits ls-files`")),
        false => Ok(media),
    }
}

/// The media of a revision, by the attributes in that revision.
pub fn of_revision(git: &GitProgram, repository: &Repository, revision: &str) -> Result<Vec<MediaFile>, Failure> {
    let tree = git
        .ask(["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{revision}^{{tree}}")])?
        .ok_or_else(|| Failure::usage(format!("there is no revision {revision:?}")))?;
    // Git before 2.40 reads attributes from an index, not from a tree, so the tree becomes one.
    let dir = tempfile::tempdir().map_err(|error| Failure::new("cannot make a temporary folder").because(&error))?;
    let dir_above = repository.work_tree().unwrap_or(repository.git_dir());
    let git = git.clone().with_env("GIT_INDEX_FILE", dir.path().join("index")).in_dir(dir_above);
    git.run(["read-tree", &tree.trim().to_str_lossy()])?;
    let entries = media_files::index_entries(&git, &[])?;
    let paths: Vec<_> = entries.iter().map(|entry| entry.path.clone()).collect();
    let filters = media_files::attribute_in_index(&git, "filter", &paths)?;
    let media = entries.into_iter().zip(filters).filter(|(_, filter)| filter == "dits").map(|(entry, _)| entry);
    with_pointers(&git, media.collect()).map_err(Failure::from)
}

fn with_pointers(git: &GitProgram, entries: Vec<IndexEntry>) -> Result<Vec<MediaFile>, GitError> {
    let blobs: Vec<_> = entries.iter().map(|entry| entry.blob.clone()).collect();
    let pointers = of_blobs(git, &blobs)?;
    Ok(entries.into_iter().zip(pointers).map(|(entry, pointer)| MediaFile { entry, pointer }).collect())
}

/// Reads the blobs that are short enough to be pointers; in the order of `blobs`.
pub fn of_blobs(git: &GitProgram, blobs: &[BString]) -> Result<Vec<Option<Pointer>>, GitError> {
    if blobs.is_empty() {
        return Ok(Vec::new());
    }
    let lens = git::filter(git, &["cat-file", "--batch-check=%(objectsize)"], &lines(blobs.iter()))?;
    let is_short = |line: &[u8]| {
        let len: Option<usize> = line.to_str().ok().and_then(|len| len.parse().ok());
        len.is_some_and(|len| len <= limits::POINTER_LEN_MAX)
    };
    let short: Vec<bool> = lens.lines().map(is_short).collect();
    let wanted = blobs.iter().zip(&short).filter(|(_, is_short)| **is_short).map(|(blob, _)| blob);
    let contents = git::filter(git, &["cat-file", "--batch"], &lines(wanted))?;
    let mut rest = contents.as_slice();
    let mut next = || {
        let (content, behind) = split_blob(rest)?;
        rest = behind;
        Pointer::parse(content)
    };
    Ok(short.into_iter().map(|is_short| if is_short { next() } else { None }).collect())
}

/// One name a line, as git reads them.
pub fn lines<'a>(blobs: impl Iterator<Item = &'a BString>) -> Vec<u8> {
    let mut text = Vec::new();
    for blob in blobs {
        text.extend_from_slice(blob);
        text.push(b'\n');
    }
    text
}

/// Takes the first of several `<name> blob <length>\n<content>\n`.
fn split_blob(answer: &[u8]) -> Option<(&[u8], &[u8])> {
    let (header, rest) = answer.split_once_str("\n")?;
    let len: usize = header.rsplit_str(" ").next()?.to_str().ok()?.parse().ok()?;
    Some((rest.get(..len)?, rest.get(len.checked_add(1)?..)?))
}
