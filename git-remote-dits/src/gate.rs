//! The gate: media goes before refs.
//!
//! **For:** a push whose commands are known and held back.
//!
//! **May touch:** the repository and its stores, read only; the remote.
//!
//! **Must hold:** when it lets a push through, the remote has said of every file that the
//! new commits need that it holds it, content proven.

use std::collections::HashMap;

use dits_core::hash::FileHash;
use dits_core::operations::push_media::{NotPushed, push_media};
use dits_core::repo::pointer_walk::{AttributeCase, Found, GitId, Known, RawBlob, walk};
use dits_core::repo::stores::{open_sources, store_options};
use dits_core::repo::unsynced;

use crate::far_end::Link;
use crate::here::Here;
use crate::kept::Kept;
use crate::progress::Bar;
use crate::report::Failure;

/// Files or blobs that one message names.
const NAMED_MAX: usize = 10;

/// What the new commits of a push need.
pub struct Needed(Vec<Found>);

/// Uploads what `tips` need and the remote lacks; `known` is what the far end advertised.
pub fn pass(link: &Link, here: &Here, tips: &[GitId], known: Vec<GitId>) -> Result<Needed, Failure> {
    if tips.is_empty() {
        return Ok(Needed(Vec::new()));
    }
    let repository = here.repository()?;
    let settings = repository.settings()?;
    let store = store_options(&repository, &settings).dir;
    if let Some(why) = unsynced::check(&store)? {
        return Err(Failure::refused("media that was added is not safely on the disk")
            .caused_by(why)
            .hint("see to the disk, then commit again; Dits syncs what is left and goes on"));
    }
    let case = match repository.config().is_true("core.ignorecase") {
        true => AttributeCase::Ignored,
        false => AttributeCase::Sensitive,
    };
    let walked = walk(&repository.git()?, case, tips, &Known::Ids(known))?;
    if !walked.raw_blobs.is_empty() {
        return Err(raw_blobs(&walked.raw_blobs));
    }
    let needed = Needed(walked.pointers);
    let mut kept = Kept::open(link, &repository);
    let unknown = kept.without_known(&needed.0);
    upload(link, here, &unknown, &mut kept)?;
    Ok(needed)
}

/// Uploads again what the far end's check found missing, whatever receipts say. `false` if it
/// is more than this push brought.
pub fn mend(link: &Link, here: &Here, needed: &Needed, missing: &[FileHash]) -> Result<bool, Failure> {
    let mut kept = Kept::open(link, &here.repository()?);
    kept.forget(missing.iter().copied());
    let by_oid: HashMap<FileHash, &Found> = needed.0.iter().map(|found| (found.pointer.oid, found)).collect();
    let again: Vec<Found> = missing.iter().filter_map(|oid| by_oid.get(oid).copied().cloned()).collect();
    if again.len() < missing.len() {
        return Ok(false);
    }
    upload(link, here, &again, &mut kept)?;
    Ok(true)
}

fn upload(link: &Link, here: &Here, needed: &[Found], kept: &mut Kept) -> Result<(), Failure> {
    if needed.is_empty() {
        return Ok(());
    }
    let repository = here.repository()?;
    let sources = open_sources(&repository, &repository.settings()?)?;
    let bar = Bar::new("Uploading media", here.progress.get());
    let pushed = push_media(&sources, link.media(here)?, needed, &|progress| bar.show(progress))?;
    drop(bar);
    kept.keep(&pushed.receipts);
    match pushed.failed.is_empty() {
        true => Ok(()),
        false => Err(not_pushed(&pushed.failed)),
    }
}

fn not_pushed(failed: &[(Found, NotPushed)]) -> Failure {
    let mut failure = Failure::new(format!("cannot push: {} of the media cannot be uploaded", counted(failed.len())));
    for (found, why) in failed.iter().take(NAMED_MAX) {
        let why = reason(why);
        let Found { path, commit, pointer, .. } = found;
        failure = failure.caused_by(format!("{path} in {commit} ({}): {why}", pointer.oid));
    }
    rest(failure, failed.len())
        .hint("get the media from where it still is: `git dits fetch` there, or push from that clone")
}

/// Why a file was not pushed, in words.
pub fn reason(why: &NotPushed) -> String {
    match why {
        NotPushed::Missing => "it is neither here nor on the remote".to_owned(),
        NotPushed::PartMissing(part) => format!("{part} is neither here nor on the remote"),
        NotPushed::PartDamaged(text) => text.clone(),
        NotPushed::Refused(why) => format!("the remote refuses it: {why}"),
    }
}

fn raw_blobs(raw: &[RawBlob]) -> Failure {
    let mut failure = Failure::refused(format!("cannot push: {} committed without Dits", counted(raw.len())));
    for RawBlob { path, commit, blob, len } in raw.iter().take(NAMED_MAX) {
        failure = failure.caused_by(format!("{path} in {commit} is a blob of {len} bytes ({blob}), not a pointer"));
    }
    rest(failure, raw.len())
        .hint("run `git dits install`, then `git add --renormalize .` and amend the commits that added them")
}

fn rest(failure: Failure, count: usize) -> Failure {
    match count.saturating_sub(NAMED_MAX) {
        0 => failure,
        more => failure.caused_by(format!("… and {more} more")),
    }
}

fn counted(count: usize) -> String {
    match count {
        1 => "1 file".to_owned(),
        count => format!("{count} files"),
    }
}
