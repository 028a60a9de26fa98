//! What is compared with what, and which media files differ.
//!
//! **For:** `git dits diff`.
//!
//! **May touch:** git children; the work tree, to read.
//!
//! **Must hold:** git says which files differ; a file that only looks modified is found out later, by its content.

use std::path::PathBuf;

use bstr::{BStr, BString, ByteSlice};
use dits_core::pointer::Pointer;
use dits_core::repo::Repository;
use dits_core::repo::git_program::GitProgram;
use dits_core::repo::work_tree_file::{self, State};

use crate::changes::{self, Kind, RawChange};
use crate::commands::track::BStringArg;
use crate::git;
use crate::here::Here;
use crate::media_files;
use crate::report::Failure;

/// What is compared.
pub struct Compared {
    revisions: Vec<String>,
    is_cached: bool,
    /// Git's pathspecs, from the current directory on.
    pub paths: Vec<BString>,
}

/// One state of a file.
#[derive(Debug, Clone)]
pub enum Side {
    /// There is none.
    Absent,
    /// What a pointer stands for.
    Pointer(Pointer),
    /// A file of the work tree that is no pointer.
    File(PathBuf),
    /// Content that Git holds itself.
    Plain,
}

/// A media file that differs, or seems to.
pub struct Changed {
    /// Its path from the top of the work tree.
    pub path: BString,
    /// What git says happened.
    pub kind: Kind,
    /// What it was.
    pub before: Side,
    /// What it is.
    pub after: Side,
}

impl Compared {
    /// Tells revisions from paths: as git does, what names a revision comes first and is one.
    pub fn parse(git: &GitProgram, is_cached: bool, args: &[BStringArg]) -> Result<Compared, Failure> {
        let is_revision = |text: &str| -> Result<bool, Failure> {
            let tree = format!("{text}^{{tree}}");
            Ok(git.ask(["rev-parse", "--verify", "--quiet", "--end-of-options", &tree])?.is_some())
        };
        let mut compared = Compared { revisions: Vec::new(), is_cached, paths: Vec::new() };
        for arg in args {
            let text = arg.0.to_str_lossy();
            let parts: Vec<&str> = match text.split_once("..") {
                Some((from, to)) if !from.is_empty() || !to.is_empty() => vec![from, to],
                _ => vec![&text],
            };
            let parts = parts.iter().map(|part| if part.is_empty() { "HEAD" } else { part });
            let mut are_revisions = compared.paths.is_empty();
            for part in parts.clone() {
                are_revisions = are_revisions && is_revision(part)?;
            }
            match are_revisions {
                true => compared.revisions.extend(parts.map(str::to_owned)),
                false => compared.paths.push(arg.0.clone()),
            }
        }
        match compared.revisions.len() {
            0 | 1 => Ok(compared),
            2 if !is_cached => Ok(compared),
            _ => Err(Failure::usage("two revisions can be compared, or one with what is staged or in the work tree")),
        }
    }

    fn command(&self, git: &GitProgram) -> Result<Vec<BString>, Failure> {
        let mut args: Vec<BString> = match (self.revisions.as_slice(), self.is_cached) {
            ([], false) => vec!["diff-files".into()],
            ([], true) => vec!["diff-index".into(), "--cached".into()],
            ([_], true) => vec!["diff-index".into(), "--cached".into()],
            ([_], false) => vec!["diff-index".into()],
            _ => vec!["diff-tree".into(), "-r".into()],
        };
        args.extend(["--raw", "-z", "--no-renames", "--no-abbrev"].map(BString::from));
        args.extend(self.revisions.iter().map(|revision| BString::from(revision.as_str())));
        if self.is_cached && self.revisions.is_empty() {
            args.push(changes::head_or_empty(git)?.into());
        }
        args.push("--".into());
        args.extend_from_slice(&self.paths);
        Ok(args)
    }

    /// Whether the work tree is one of the sides.
    fn has_work_tree(&self) -> bool {
        !self.is_cached && self.revisions.len() < 2
    }
}

/// The media files that differ.
pub fn changed(here: &Here, repository: &Repository, compared: &Compared) -> Result<Vec<Changed>, Failure> {
    let top = repository.work_tree().ok_or_else(|| Failure::new("a bare repository has no attributes to go by"))?;
    let command = compared.command(&here.git)?;
    let raw = here.git.capture(command.iter().map(|arg| arg.to_os_str_lossy().into_owned()))?;
    let raw = changes::media_only(&here.git, top, RawChange::parse_all(&raw))?;
    let before = changes::pointers_of(&here.git, raw.iter().map(|change| &change.before))?;
    let after = changes::pointers_of(&here.git, raw.iter().map(|change| &change.after))?;
    let mut found = Vec::new();
    for ((raw, before), after) in raw.into_iter().zip(before).zip(after) {
        let path = raw.path.as_bstr();
        let stored = |blob: &BString, pointer: Option<Pointer>| match pointer {
            Some(pointer) => Side::Pointer(pointer),
            None if is_zero(blob) => Side::Absent,
            None => Side::Plain,
        };
        let before = stored(&raw.before, before);
        let after = match raw.kind != Kind::Deleted && compared.has_work_tree() && is_zero(&raw.after) {
            false => stored(&raw.after, after),
            true => in_work_tree(top, path)?,
        };
        found.push(Changed { kind: raw.kind, before, after, path: raw.path });
    }
    Ok(found)
}

fn in_work_tree(top: &std::path::Path, path: &BStr) -> Result<Side, Failure> {
    Ok(match work_tree_file::state(top, path)? {
        State::Absent => Side::Absent,
        State::Pointer(pointer) => Side::Pointer(pointer),
        State::Content => Side::File(media_files::on_disk(top, path)),
    })
}

fn is_zero(blob: &BString) -> bool {
    git::is_zero_id(blob)
}
