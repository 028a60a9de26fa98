//! The pre-push hook: media goes to its server before text goes to another host.
//!
//! **For:** remotes that know nothing of Dits. A push to a Dits remote needs no hook: its
//! remote helper uploads the media itself.
//!
//! **May touch:** a hook that was there before ours; the network through `git-remote-dits`; the
//! repository's configuration, where the user confirms an address; a sweep of the store that goes on by itself.
//!
//! **Must hold:** text whose media nobody else can get is not pushed.

use std::io::Read;

use bstr::ByteSlice;
use dits_core::operations::needed_media::{Needed, counted, needed};
use dits_core::repo::Repository;
use dits_core::repo::hooks::Hook;
use dits_core::repo::pointer_walk::GitId;

use crate::collecting;
use crate::here::Here;
use crate::hooks;
use crate::media_address;
use crate::report::{self, Failure};
use crate::sizes::Bytes;
use crate::uploading::{self, To};

/// Upload the media of a push to another host
#[derive(clap::Args)]
pub struct Args {
    /// The remote's name, or its address where it has none
    remote: String,
    /// The remote's address
    url: String,
}

/// Runs the hook.
pub fn run(args: &Args) -> Result<(), Failure> {
    let mut updates = Vec::new();
    std::io::stdin().read_to_end(&mut updates)?;
    let here = Here::find()?;
    let repository = here.repository()?;
    hooks::run_kept(&repository, Hook::PrePush, &[&args.remote, &args.url], Some(&updates))?;
    collecting::start_if_due(&repository, &repository.settings()?);
    if is_dits(&repository, args) {
        return Ok(());
    }
    let Updates { tips, mut known } = Updates::parse(&updates)?;
    if tips.is_empty() {
        return Ok(());
    }
    known.extend(uploading::tracked_refs(&repository, &args.remote)?);
    let Needed { media: needed, warning } = needed(&repository, &tips, known)?;
    report::lines(&warning);
    if needed.is_empty() {
        return Ok(());
    }
    let to = media_address::need(&here.git, &repository, &repository.settings()?)?.to_string();
    let uploaded = uploading::upload(needed, &To::Alone(to.clone()), false)?;
    uploading::fail_if_any(&uploaded.failed)?;
    if uploaded.sent_count > 0 {
        let (count, bytes) = (uploaded.sent_count, Bytes(uploaded.sent_bytes));
        report::say(&format!("{} of media uploaded to {to} ({bytes} sent)", counted(count as usize)));
    }
    Ok(())
}

/// Whether the remote uploads media by itself.
fn is_dits(repository: &Repository, args: &Args) -> bool {
    let vcs = repository.config().value(&format!("remote.{}.vcs", args.remote));
    args.url.starts_with("dits:") || vcs.is_some_and(|vcs| vcs == "dits")
}

/// What git is about to push.
#[derive(Debug, PartialEq, Eq)]
struct Updates {
    /// The objects that refs are to name: none for deletions.
    tips: Vec<GitId>,
    /// The objects that they name there now, which may be unknown here.
    known: Vec<GitId>,
}

impl Updates {
    /// Reads `<local ref> <local object> <remote ref> <remote object>` lines.
    fn parse(text: &[u8]) -> Result<Updates, Failure> {
        let mut updates = Updates { tips: Vec::new(), known: Vec::new() };
        for line in text.lines().filter(|line| !line.is_empty()) {
            // The local name is typed by the user, and may have blanks in it: `HEAD@{1 day ago}`.
            let mut fields = line.rsplitn_str(4, " ");
            let there = fields.next().and_then(GitId::parse);
            let here = fields.nth(1).and_then(GitId::parse);
            let (Some(there), Some(here)) = (there, here) else {
                return Err(Failure::usage("git tells this hook what it pushes on its standard input"));
            };
            updates.tips.extend((!here.is_null()).then_some(here));
            updates.known.extend((!there.is_null()).then_some(there));
        }
        Ok(updates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletions_bring_nothing_and_new_refs_know_nothing() {
        let (null, a, b) = ("0".repeat(40), "a".repeat(40), "b".repeat(40));
        let text = format!("HEAD@{{1 day ago}} {a} refs/heads/x {b}\n(delete) {null} refs/heads/y {b}\n");
        let updates = Updates::parse(text.as_bytes()).expect("well formed");
        assert_eq!((updates.tips.len(), updates.known.len()), (1, 2));
        let text = format!("refs/heads/x {a} refs/heads/x {null}\n");
        let updates = Updates::parse(text.as_bytes()).expect("well formed");
        assert_eq!((updates.tips.len(), updates.known.len()), (1, 0));
        assert!(Updates::parse(b"x\n").is_err());
    }
}
