//! Which files that Git knows are whole here, and which are not.
//!
//! **For:** the facts of `git dits fsck`.
//!
//! **May touch:** the stores, read only; git children.
//!
//! **Must hold:** a file that is not here is no damage where a remote is known to have it.

use std::collections::{HashMap, HashSet};

use bstr::ByteSlice;
use dits_core::hash::FileHash;
use dits_core::operations::fsck::{Broken, FileCheck, Name, name_each};
use dits_core::pointer::Pointer;
use dits_core::repo::pointer_walk::{GitId, pointers_in_index};
use dits_core::repo::roots::every_pointer;

use super::Context;
use crate::report::{self, Failure};
use crate::sizes::Bytes;
use crate::unpushed;

/// Whole files that are remembered, so that one that comes twice is counted once.
const SEEN_MAX: usize = 1024 * 1024;
/// Broken files of which the parts are kept.
const DETAILED_MAX: usize = 1000;

/// A file that is damaged or lost.
pub struct BrokenFile {
    pub pointer: Pointer,
    /// A path and, unless it is only in the index, a commit.
    pub path: Option<String>,
    pub commit: Option<GitId>,
    pub why: Broken,
}

/// What became of the files that Git knows.
#[derive(Default)]
pub struct Files {
    pub whole: u64,
    /// Files that are not here, and that a remote is known to have.
    pub elsewhere: u64,
    pub broken: Vec<BrokenFile>,
}

impl BrokenFile {
    /// The file as one line for people.
    pub fn line(&self) -> String {
        let (oid, size) = (&self.pointer.oid.to_string()[..10], Bytes(self.pointer.size));
        let path = self.path.as_deref().unwrap_or("a file that no branch has");
        let commit = self.commit.map(|commit| format!(", in {}", &commit.to_string()[..10])).unwrap_or_default();
        format!("{path} ({size}, oid {oid}{commit}): {}", self.reason())
    }

    /// What is wrong with it.
    pub fn reason(&self) -> String {
        match &self.why {
            Broken::Absent => "nothing of it is here, and no remote is known to have it".to_owned(),
            Broken::WrongManifest { .. } => "what is stored of it leads to something else".to_owned(),
            Broken::Parts { count: 1, parts, .. } => {
                let is_damaged = parts.iter().any(|part| !part.copies.is_empty());
                format!("1 part is {}", if is_damaged { "damaged" } else { "missing" })
            }
            Broken::Parts { count, .. } => format!("{count} parts are damaged or missing"),
        }
    }
}

/// Looks at every file that a pointer names.
pub fn look(context: &Context) -> Result<Files, Failure> {
    let sources = &context.sources;
    let mut check = FileCheck::new(sources);
    let mut files = Files::default();
    let mut hurt: HashMap<Pointer, Broken> = HashMap::new();
    let mut absent: HashSet<Pointer> = HashSet::new();
    let mut seen_whole: HashSet<FileHash> = HashSet::new();
    every_pointer::<Failure>(&context.repository.git()?, &mut |pointer| {
        if seen_whole.contains(&pointer.oid) || absent.contains(&pointer) || hurt.contains_key(&pointer) {
            return Ok(());
        }
        match check.look(&pointer, &sources.manifests_of(&pointer.oid)?)? {
            None => {
                files.whole += 1;
                if seen_whole.len() >= SEEN_MAX {
                    seen_whole.clear();
                }
                seen_whole.insert(pointer.oid);
            }
            Some(Broken::Absent) => drop(absent.insert(pointer)),
            Some(mut why) => {
                if let Broken::Parts { parts, .. } = &mut why
                    && hurt.len() >= DETAILED_MAX
                {
                    parts.clear();
                }
                hurt.insert(pointer, why);
            }
        }
        Ok(())
    })?;
    name(context, hurt, absent, &mut files)?;
    Ok(files)
}

/// Tells what is lost from what a remote has, and finds names for it.
fn name(
    context: &Context,
    hurt: HashMap<Pointer, Broken>,
    absent: HashSet<Pointer>,
    files: &mut Files,
) -> Result<(), Failure> {
    if hurt.is_empty() && absent.is_empty() {
        return Ok(());
    }
    let mut named = Names::find(context, &hurt, &absent).unwrap_or_else(|failure| {
        report::warn(&format!("files cannot be named: {}", failure.line()));
        Names::default()
    });
    for (pointer, why) in hurt {
        // Text that shows a pointer may show anything.
        let is_text = matches!(why, Broken::WrongManifest { .. });
        let (path, commit) = match named.take(&pointer.oid) {
            Some((path, commit)) => (Some(path), commit),
            None if is_text => continue,
            None => (None, None),
        };
        files.broken.push(BrokenFile { pointer, path, commit, why });
    }
    let absent: Vec<Pointer> = absent.into_iter().collect();
    let proven = unpushed::proven(&context.repository, &context.settings, &absent)?;
    for pointer in absent {
        match named.lost(&pointer.oid).filter(|_| !proven.contains(&pointer)) {
            Some((path, commit)) => {
                files.broken.push(BrokenFile { pointer, path: Some(path), commit, why: Broken::Absent });
            }
            None => files.elsewhere += 1,
        }
    }
    files.broken.sort_by(|a, b| (&a.path, &a.pointer.oid).cmp(&(&b.path, &b.pointer.oid)));
    Ok(())
}

/// Where files that are not whole are named.
#[derive(Default)]
struct Names {
    /// By commits that no remote is known to have.
    ours: HashMap<FileHash, Name>,
    /// By any other.
    theirs: HashMap<FileHash, Name>,
    /// By the index alone.
    index: HashMap<FileHash, String>,
}

impl Names {
    fn find(context: &Context, hurt: &HashMap<Pointer, Broken>, absent: &HashSet<Pointer>) -> Result<Names, Failure> {
        let (git, case) = (context.repository.git()?, context.repository.attribute_case());
        let ids = |args: &[&str]| -> Result<Vec<GitId>, Failure> {
            Ok(git.capture(args)?.lines().filter_map(GitId::parse).collect())
        };
        let tips = ids(&["rev-list", "--no-walk=unsorted", "--all", "--reflog"])?;
        let remote = ids(&["for-each-ref", "--format=%(objectname)", "refs/remotes/"])?;
        let mut left: HashSet<Pointer> = hurt.keys().chain(absent).copied().collect();
        let ours = name_each(&git, case, &tips, &remote, &left)?;
        left.retain(|pointer| !ours.contains_key(&pointer.oid));
        let in_index = match context.repository.work_tree() {
            Some(_) => pointers_in_index(&git, case)?,
            None => Vec::new(),
        };
        let in_index: HashMap<FileHash, String> =
            in_index.into_iter().map(|at| (at.pointer.oid, at.path.to_string())).collect();
        // Of those that are merely absent only what the index needs is worth a walk through all history.
        left.retain(|pointer| hurt.contains_key(pointer) || in_index.contains_key(&pointer.oid));
        let theirs = name_each(&git, case, &tips, &[], &left)?;
        Ok(Names { ours, theirs, index: in_index })
    }

    /// A name of a file, if it has one.
    fn take(&mut self, oid: &FileHash) -> Option<(String, Option<GitId>)> {
        let name = self.ours.remove(oid).or_else(|| self.theirs.remove(oid));
        let name = name.map(|name| (name.path.to_string(), Some(name.commit)));
        name.or_else(|| Some((self.index.get(oid)?.clone(), None)))
    }

    /// The same for a file that is not here, unless a remote is known to have it.
    fn lost(&mut self, oid: &FileHash) -> Option<(String, Option<GitId>)> {
        match self.theirs.contains_key(oid) {
            true => None,
            false => self.take(oid),
        }
    }
}
