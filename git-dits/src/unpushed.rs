//! Which media of the branch the remote is not known to hold.
//!
//! **For:** `git dits status`, and `fsck`, which asks what a server has.
//!
//! **May touch:** nothing; it reads the repository and its receipts.
//!
//! **Must hold:**
//! - nothing is contacted: remote-tracking refs and receipts are all that is known;
//! - what is left out was held by the remote at some time; a file too many may be named, none too few.

use std::collections::HashSet;

use bstr::{BString, ByteSlice};
use dits_core::pointer::Pointer;
use dits_core::remote::receipts::{DIR, Receipts};
use dits_core::remote_url::RemoteUrl;
use dits_core::repo::Repository;
use dits_core::repo::config::{Committed, Settings, UrlDecision, decide_url};
use dits_core::repo::git_program::GitProgram;
use dits_core::repo::pointer_walk::{Found, GitId, Known, pointers_in_tree, walk};

use crate::git;
use crate::report::Failure;
use crate::uploading;

/// Commits on which those that are not pushed stand, of which the trees are read; more of them
/// come from merges, and each is a whole tree to list.
const BASES_MAX: usize = 8;

/// What the remote is not known to hold.
pub struct Unpushed {
    /// The remote that git would push to.
    pub remote: String,
    /// Each file once, the newest commit first.
    pub files: Vec<Found>,
}

/// Finds the media that `HEAD` names; `branch` is the one that is checked out. `None` where there
/// is no remote to push to.
pub fn find(repository: &Repository, settings: &Settings, branch: Option<&str>) -> Result<Option<Unpushed>, Failure> {
    let Some(remote) = push_remote(repository, branch) else { return Ok(None) };
    let git = repository.git()?;
    let head = git.ask(["rev-parse", "--verify", "--quiet", "HEAD"])?.and_then(|id| GitId::parse(id.trim()));
    let Some(head) = head else { return Ok(Some(Unpushed { remote, files: Vec::new() })) };
    let known = uploading::tracked_refs(repository, &remote)?;
    let case = repository.attribute_case();
    let mut files = walk(&git, case, &[head], &Known::Ids(known.clone()))?.pointers;
    if !files.is_empty() {
        leave_out_receipts(repository, settings, &remote, &mut files)?;
    }
    if !files.is_empty() {
        let mut there = HashSet::<Pointer>::new();
        for base in bases(&git, head, &known)? {
            there.extend(pointers_in_tree(&git, case, &base.to_string())?.into_iter().map(|at| at.pointer));
        }
        files.retain(|found| !there.contains(&found.pointer));
    }
    Ok(Some(Unpushed { remote, files }))
}

/// The remote that `git push` would take, as far as that is settled.
pub fn push_remote(repository: &Repository, branch: Option<&str>) -> Option<String> {
    let remotes: Vec<BString> = repository.remotes().into_iter().map(|remote| remote.name).collect();
    let config = repository.config();
    let of_branch = |key: &str| branch.and_then(|branch| config.value(&format!("branch.{branch}.{key}")));
    let named =
        [of_branch("pushRemote"), config.value("remote.pushDefault"), of_branch("remote"), Some("origin".into())];
    let named = named.into_iter().flatten().find(|name| remotes.contains(name));
    match (named, remotes.as_slice()) {
        (Some(name), _) => Some(name.to_string()),
        (None, [only]) => Some(only.to_string()),
        (None, _) => None,
    }
}

/// Those of `pointers` that a server of this repository has said it holds.
pub fn proven(repository: &Repository, settings: &Settings, pointers: &[Pointer]) -> Result<HashSet<Pointer>, Failure> {
    let mut addresses: Vec<RemoteUrl> = repository.dits_remotes().into_iter().map(|(_, address)| address).collect();
    addresses.extend(address_elsewhere(repository, settings)?);
    Ok(addresses.iter().flat_map(|address| receipts_of(repository, address, pointers)).collect())
}

/// Where media goes whose text is on another host.
fn address_elsewhere(repository: &Repository, settings: &Settings) -> Result<Option<RemoteUrl>, Failure> {
    Ok(match decide_url(settings, &Committed::read(repository)?) {
        UrlDecision::Use(address) | UrlDecision::Changed { confirmed: address, .. } => Some(address),
        UrlDecision::Unconfirmed { .. } | UrlDecision::None => None,
    })
}

fn receipts_of(repository: &Repository, address: &RemoteUrl, pointers: &[Pointer]) -> HashSet<Pointer> {
    if !matches!(address, RemoteUrl::Server { .. }) {
        return HashSet::new();
    }
    // Receipts that cannot be read say nothing, and nothing is lost by that.
    let receipts = Receipts::of_address(&repository.common_dir().join(DIR), address).ok().flatten();
    receipts.and_then(|receipts| receipts.known(pointers).ok()).unwrap_or_default()
}

/// Leaves out what the server said it holds.
fn leave_out_receipts(
    repository: &Repository,
    settings: &Settings,
    remote: &str,
    files: &mut Vec<Found>,
) -> Result<(), Failure> {
    let own = repository.dits_remotes().into_iter().find(|(name, _)| name == remote);
    let address = match own {
        Some((_, address)) => Some(address),
        None => address_elsewhere(repository, settings)?,
    };
    let Some(address) = address else { return Ok(()) };
    let pointers: Vec<_> = files.iter().map(|found| found.pointer).collect();
    let known = receipts_of(repository, &address, &pointers);
    files.retain(|found| !known.contains(&found.pointer));
    Ok(())
}

/// The commits that the remote has and that those it lacks stand on: a file that was only renamed
/// since is there.
fn bases(git: &GitProgram, head: GitId, known: &[GitId]) -> Result<Vec<GitId>, Failure> {
    let mut range = format!("{head}\n");
    known.iter().for_each(|id| range.push_str(&format!("^{id}\n")));
    let listed = git::filter(git, &["rev-list", "--boundary", "--stdin"], range.as_bytes())?;
    let bases = listed.lines().filter_map(|line| GitId::parse(line.strip_prefix(b"-")?));
    Ok(bases.take(BASES_MAX).collect())
}
