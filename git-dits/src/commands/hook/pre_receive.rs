//! The pre-receive hook of a share: no ref names media that the share lacks.
//!
//! **For:** `dits::/path`, where git runs on the pushing machine and nobody else checks; and
//! for a plain `git push` to that path.
//!
//! **May touch:** the share, read only, and this user's index of it.
//!
//! **Must hold:** a push is let through only if every file that its new commits name is held.
//!
//! **Format:** `docs/formats/share-v1.md`.

use std::io::Read;

use dits_core::operations::needed_media;
use dits_core::remote::local::LocalRemote;
use dits_core::repo::pointer_walk::{AttributeCase, Found, GitId, Known, Walked, walk};
use dits_core::repo::stores::on_a_share;

use crate::here::Here;
use crate::report::Failure;

/// Refuse a push to a share whose media is not there
#[derive(clap::Args)]
pub struct Args {}

/// Runs the hook.
pub fn run(_: &Args) -> Result<(), Failure> {
    let mut updates = Vec::new();
    std::io::stdin().read_to_end(&mut updates)?;
    let tips = new_objects(&updates)?;
    if tips.is_empty() {
        return Ok(());
    }
    let here = Here::find()?;
    let repository = here.repository()?;
    let Walked { pointers, raw_blobs, .. } = walk(&here.git, AttributeCase::Sensitive, &tips, &Known::AllRefs)?;
    if !raw_blobs.is_empty() {
        return Err(needed_media::raw_blobs(&raw_blobs));
    }
    if pointers.is_empty() {
        return Ok(());
    }
    let options = on_a_share(repository.git_dir(), &here.env)
        .ok_or_else(|| Failure::new("there is no home for the index of a share").hint("set HOME"))?;
    let share = LocalRemote::open(options)?;
    let mut missing = Vec::new();
    for found in &pointers {
        if !share.holds(&found.pointer)? {
            missing.push(found);
        }
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(lacking(&missing)),
    }
}

/// The new objects of `<old> <new> <ref>` lines, deletions left out.
fn new_objects(updates: &[u8]) -> Result<Vec<GitId>, Failure> {
    let mut tips = Vec::new();
    for line in updates.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let new = line.split(|byte| *byte == b' ').nth(1).and_then(GitId::parse);
        let new = new.ok_or_else(|| Failure::usage("git tells this hook `<old> <new> <ref>` on its standard input"))?;
        if !new.is_null() {
            tips.push(new);
        }
    }
    Ok(tips)
}

fn lacking(missing: &[&Found]) -> Failure {
    let cause = |Found { path, commit, pointer, .. }: &Found| format!("{path} in {commit} needs {}", pointer.oid);
    Failure::refused("the share lacks media that this push names")
        .caused_by_each(missing.iter().map(|found| cause(found)))
        .hint("push to dits::PATH, with Dits installed, so that the media goes along")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletions_bring_nothing_new() {
        let (null, new) = ("0".repeat(40), "a".repeat(40));
        let updates = format!("{null} {new} refs/heads/a\n{new} {null} refs/heads/b\n");
        assert_eq!(new_objects(updates.as_bytes()).expect("well formed").len(), 1);
        assert!(new_objects(b"x\n").is_err());
    }
}
