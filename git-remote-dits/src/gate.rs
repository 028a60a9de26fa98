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
use dits_core::operations::needed_media::{self, not_pushed};
use dits_core::operations::push_media::push_media;
use dits_core::repo::pointer_walk::{Found, GitId};
use dits_core::repo::stores::open_sources;

use crate::far_end::Link;
use crate::here::Here;
use crate::kept::Kept;
use crate::progress::Bar;
use dits_core::failure::Failure;

/// What the new commits of a push need.
pub struct Needed(Vec<Found>);

/// Uploads what `tips` need and the remote lacks; `known` is what the far end advertised.
pub fn pass(link: &Link, here: &Here, tips: &[GitId], known: Vec<GitId>) -> Result<Needed, Failure> {
    if tips.is_empty() {
        return Ok(Needed(Vec::new()));
    }
    let repository = here.repository()?;
    let needed_media::Needed { media, warning } = needed_media::needed(&repository, tips, known)?;
    eprint!("{warning}");
    let needed = Needed(media);
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
        false => Err(not_pushed(pushed.failed.iter().map(|(found, why)| (found, why.to_string())))),
    }
}
