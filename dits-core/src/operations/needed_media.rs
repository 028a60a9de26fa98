//! Which media a push needs, and the words for what stands in its way.
//!
//! **For:** the gate of `git push`, the pre-push hook, `git dits push` and the hook of a share.
//!
//! **May touch:** the repository and the mark of its store, read only, through git children.
//!
//! **Must hold:** every program refuses the same push, in the same words.

use crate::failure::Failure;
use crate::repo::Repository;
use crate::repo::pointer_walk::{Found, GitId, Known, RawBlob, walk};
use crate::repo::stores::store_options;
use crate::repo::unsynced;

/// The files that everything reachable from `tips`, and not from `known`, needs.
///
/// # Errors
///
/// Refuses media that Git holds as plain content, and a store whose last sync failed.
pub fn needed(repository: &Repository, tips: &[GitId], known: Vec<GitId>) -> Result<Vec<Found>, Failure> {
    let walked = walk(&repository.git()?, repository.attribute_case(), tips, &Known::Ids(known))?;
    if !walked.raw_blobs.is_empty() {
        return Err(raw_blobs(&walked.raw_blobs));
    }
    if walked.pointers.is_empty() {
        return Ok(Vec::new());
    }
    let store = store_options(repository, &repository.settings()?).dir;
    match unsynced::check(&store)? {
        None => Ok(walked.pointers),
        Some(why) => Err(Failure::refused("media that was added is not safely on the disk")
            .caused_by(why)
            .hint("see to the disk, then run `git add --renormalize .`; Dits then stores again what is in doubt")),
    }
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
