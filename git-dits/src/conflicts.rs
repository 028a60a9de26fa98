//! Conflicts on media: what each side has at a path, and which commits the sides are.
//!
//! **For:** `git dits resolve`.
//!
//! **May touch:** nothing; it reads git's index and the files in which git notes what is under way.
//!
//! **Must hold:** the sides are named by their commits, since git calls them the other way round in a rebase.

use std::collections::BTreeMap;

use bstr::{BString, ByteSlice};
use dits_core::repo::Repository;
use dits_core::repo::git_program::{GitError, GitProgram};
use serde::Serialize;

use crate::media_files;
use crate::report::Failure;

/// What one side has at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Its mode, as git writes it.
    pub mode: BString,
    /// The name of its blob.
    pub name: BString,
}

/// A path on which the sides do not agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The path from the top of the work tree.
    pub path: BString,
    /// What both sides come from has; `None` if they have added the file.
    pub base: Option<Blob>,
    /// What our side has; `None` if it has deleted the file.
    pub ours: Option<Blob>,
    /// What their side has; `None` if it has deleted the file.
    pub theirs: Option<Blob>,
}

impl Conflict {
    /// What there is of it, on any side.
    pub fn versions(&self) -> impl Iterator<Item = &Blob> {
        [&self.base, &self.ours, &self.theirs].into_iter().flatten()
    }
}

/// The conflicts on media at these paths or below them, which are taken as they are and not as patterns.
pub fn on_media(git: &GitProgram, repository: &Repository, paths: &[BString]) -> Result<Vec<Conflict>, Failure> {
    let top = repository.work_tree().ok_or_else(|| Failure::new("a bare repository has no conflicts"))?;
    let mut args: Vec<BString> =
        ["--literal-pathspecs", "ls-files", "--unmerged", "-z", "--full-name", "--"].map(BString::from).into();
    args.extend_from_slice(paths);
    let listed = git.capture(args.iter().map(|arg| arg.to_os_str_lossy().into_owned()))?;
    let mut conflicts: BTreeMap<BString, Conflict> = BTreeMap::new();
    for (path, stage, blob) in listed.split_str("\0").filter_map(stage) {
        let none = || Conflict { path: path.clone(), base: None, ours: None, theirs: None };
        let conflict = conflicts.entry(path.clone()).or_insert_with(none);
        match stage {
            b"1" => conflict.base = Some(blob),
            b"2" => conflict.ours = Some(blob),
            b"3" => conflict.theirs = Some(blob),
            _ => {}
        }
    }
    let conflicts: Vec<Conflict> = conflicts.into_values().collect();
    let paths: Vec<BString> = conflicts.iter().map(|conflict| conflict.path.clone()).collect();
    let filters = media_files::attribute(&git.clone().in_dir(top), "filter", &paths)?;
    Ok(conflicts.into_iter().zip(filters).filter(|(_, filter)| filter == "dits").map(|(it, _)| it).collect())
}

/// Reads `<mode> <blob> <stage>\t<path>`.
fn stage(line: &[u8]) -> Option<(BString, &[u8], Blob)> {
    let (facts, path) = line.split_once_str("\t")?;
    let mut facts = facts.split_str(" ");
    let blob = Blob { mode: facts.next()?.into(), name: facts.next()?.into() };
    Some((path.into(), facts.next()?, blob))
}

/// One side of a conflict, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Side {
    /// The commit; `None` for what is no commit: a stash that is put in, a patch.
    pub commit: Option<String>,
    /// The first line of its message, or what it is.
    pub what: String,
}

/// Both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sides {
    /// What is under way: `merge`, `rebase`, `cherry-pick`, `revert` or `other`.
    pub during: &'static str,
    /// The side that git calls ours.
    pub ours: Side,
    /// The side that git calls theirs.
    pub theirs: Side,
}

impl Sides {
    /// Finds out whose is whose.
    pub fn find(git: &GitProgram, repository: &Repository) -> Result<Sides, Failure> {
        let is_there = |name: &str| repository.git_dir().join(name).exists();
        let rebases = is_there("rebase-merge") || is_there("rebase-apply");
        let (during, name) = match () {
            () if rebases => ("rebase", Some("REBASE_HEAD")),
            () if is_there("MERGE_HEAD") => ("merge", Some("MERGE_HEAD")),
            () if is_there("CHERRY_PICK_HEAD") => ("cherry-pick", Some("CHERRY_PICK_HEAD")),
            () if is_there("REVERT_HEAD") => ("revert", Some("REVERT_HEAD^")),
            () => ("other", None),
        };
        let theirs = match name {
            Some(name) => commit(git, name)?,
            None => None,
        };
        let unnamed = |what: &str| Side { commit: None, what: what.to_owned() };
        Ok(Sides {
            during,
            ours: commit(git, "HEAD")?.unwrap_or_else(|| unnamed("what is checked out")),
            theirs: theirs.unwrap_or_else(|| unnamed("what is being put in: a stash, a patch")),
        })
    }

    /// What people are told before anything else.
    pub fn line(&self) -> String {
        let whose = if self.during == "rebase" { ", the commit of yours that is moved" } else { "" };
        format!("ours is {}; theirs is {}{whose}", self.ours.shown(), self.theirs.shown())
    }
}

impl Side {
    fn shown(&self) -> String {
        match &self.commit {
            Some(commit) => format!("{} ({})", &commit[..commit.len().min(7)], self.what),
            None => self.what.clone(),
        }
    }
}

fn commit(git: &GitProgram, name: &str) -> Result<Option<Side>, GitError> {
    if git.ask(["rev-parse", "--verify", "--quiet", "--end-of-options", name])?.is_none() {
        return Ok(None);
    }
    let text = git.capture(["log", "-1", "--no-show-signature", "--format=%H %s", "--end-of-options", name])?;
    let text = text.to_str_lossy().trim_end().to_owned();
    let (commit, what) = text.split_once(' ').unwrap_or((&text, ""));
    Ok(Some(Side { commit: Some(commit.to_owned()), what: what.to_owned() }))
}
