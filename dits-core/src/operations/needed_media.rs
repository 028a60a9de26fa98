//! Which media a push needs, and the words for what stands in its way.
//!
//! **For:** the gate of `git push`, the pre-push hook, `git dits push` and the hook of a share.
//!
//! **May touch:** the repository and its stores, read only, through git children.
//!
//! **Must hold:** every program refuses the same push, in the same words.

use crate::failure::Failure;
use crate::operations::hydrate::{Completeness, completeness};
use crate::repo::Repository;
use crate::repo::pointer_walk::{Found, GitId, Known, RawBlob, Walked, walk};
use crate::repo::stores::{open_sources, store_options};
use crate::repo::unsynced;

/// Files that one warning names.
const NAMED_MAX: usize = 10;

/// What a push needs.
#[derive(Debug, Default)]
pub struct Needed {
    /// The files.
    pub media: Vec<Found>,
    /// What the user should be warned of, whole lines; empty where there is nothing.
    pub warning: String,
}

/// The files that everything reachable from `tips`, and not from `known`, needs.
///
/// # Errors
///
/// Refuses media that Git holds as plain content, and a store whose last sync failed.
pub fn needed(repository: &Repository, tips: &[GitId], known: Vec<GitId>) -> Result<Needed, Failure> {
    let Walked { pointers, raw_blobs: raw, strays } =
        walk(&repository.git()?, repository.attribute_case(), tips, &Known::Ids(known))?;
    if !raw.is_empty() {
        return Err(raw_blobs(&raw));
    }
    let warning = match strays.is_empty() {
        true => String::new(),
        false => strays_warning(&media_among(repository, strays)?),
    };
    if pointers.is_empty() {
        return Ok(Needed { media: Vec::new(), warning });
    }
    let store = store_options(repository, &repository.settings()?).dir;
    match unsynced::check(&store)? {
        None => Ok(Needed { media: pointers, warning }),
        Some(why) => Err(Failure::refused("media that was added is not safely on the disk")
            .caused_by(why)
            .hint("see to the disk, then run `git add --renormalize .`; Dits then stores again what is in doubt")),
    }
}

/// Those of `strays` whose content is here: a text that merely shows a pointer has none.
fn media_among(repository: &Repository, strays: Vec<Found>) -> Result<Vec<Found>, Failure> {
    let sources = open_sources(repository, &repository.settings()?)?;
    let mut media = Vec::new();
    for stray in strays {
        if completeness(&sources, &stray.pointer)? == Completeness::Complete {
            media.push(stray);
        }
    }
    Ok(media)
}

/// Pointers whose content nobody else will get: what marks their paths as media was not committed.
fn strays_warning(strays: &[Found]) -> String {
    let mut text = String::new();
    for Found { path, commit, .. } in strays.iter().take(NAMED_MAX) {
        text.push_str(&format!(
            "warning: {path} in {commit} is a pointer, but no committed .gitattributes says so: its content is not pushed\n"
        ));
    }
    if let Some(more @ 1..) = strays.len().checked_sub(NAMED_MAX) {
        text.push_str(&format!("warning: … and {more} more\n"));
    }
    if let Some(Found { path, .. }) = strays.first() {
        text.push_str(&format!(
            "hint: run `git dits track --filename \"{path}\"`, commit .gitattributes and push again\n"
        ));
        text.push_str("hint: patterns in .git/info/attributes or core.attributesFile count on this machine alone\n");
    }
    text
}

/// Media that Git holds as plain content.
pub fn raw_blobs(raw: &[RawBlob]) -> Failure {
    let cause = |RawBlob { path, commit, blob, len }: &RawBlob| {
        format!("{path} in {commit} is a blob of {len} bytes ({blob}), not a pointer")
    };
    Failure::refused(format!("cannot push: {} committed without Dits", counted(raw.len())))
        .caused_by_each(raw.iter().map(cause))
        .hint("run `git dits install`, then `git add --renormalize .` and amend the commits that added them")
}

/// Media that could not be uploaded, each with the reason.
pub fn not_pushed<'a>(failed: impl ExactSizeIterator<Item = (&'a Found, String)>) -> Failure {
    let cause = |(Found { path, commit, pointer, .. }, why): (&Found, String)| {
        format!("{path} in {commit} ({}): {why}", pointer.oid)
    };
    Failure::refused(format!("cannot push: {} of the media cannot be uploaded", counted(failed.len())))
        .caused_by_each(failed.map(cause))
        .hint("get the media from where it still is: `git dits fetch`, or push from the clone that has it")
}

/// A count of files in words.
pub fn counted(count: usize) -> String {
    match count {
        1 => "1 file".to_owned(),
        count => format!("{count} files"),
    }
}
