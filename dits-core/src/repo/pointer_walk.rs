//! The pointer walk: which media the objects of a push, a tree or an index name.
//!
//! **For:** the push gate and the server's check (what do these new commits need?), and for
//! fetching (what does this tree need?).
//!
//! **May touch:** git children, read only. Nothing is ever fetched from a promisor.
//!
//! **Must hold:**
//! - a pointer counts only on a path with `filter=dits` in the tree it is in;
//! - the same commits give the same answer on every machine, so only committed attributes
//!   count, and replaced objects do not;
//! - memory is bounded by one commit's changes and the number of different files named.
//!
//! Limitations: attributes files over [`ATTRIBUTES_LEN_MAX`] are refused; git before 2.45 may fetch
//! a promised object that a partial clone lacks, where later ones pass it over.

mod changes;
mod evaluate;
mod objects;

use std::collections::HashSet;
use std::fmt;
use std::io::{BufReader, Write};

use bstr::BString;

use crate::hash::FileHash;
use crate::pointer::Pointer;
use crate::repo::attributes::ATTRIBUTES_FILE;
use crate::repo::git_program::{GitError, GitProgram};
use crate::repo_path::{NameError, RepoPath};

pub use crate::repo::attributes::AttributeCase;

use changes::ChangeReader;
use evaluate::{Candidate, Evaluator};
use objects::{ObjectKind, Objects};

/// Longest `.gitattributes` that is read, in bytes.
pub const ATTRIBUTES_LEN_MAX: u64 = 16 * 1024 * 1024;
/// Most raw blobs that one walk reports; more of them tell nothing new.
pub const RAW_BLOBS_MAX: usize = 100;
/// Most strays that one walk reports.
pub const STRAYS_MAX: usize = 1000;

/// The name of a git object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GitId(gix::ObjectId);

impl GitId {
    /// Reads 40 or 64 hex digits; `None` for anything else.
    pub fn parse(hex: &[u8]) -> Option<GitId> {
        gix::ObjectId::from_hex(hex).ok().map(GitId)
    }

    /// Returns true for the name of all zeros, which stands for no object.
    pub fn is_null(&self) -> bool {
        self.0.is_null()
    }
}

impl fmt::Display for GitId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// What the other side has already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// Everything that these reach. Those that are not here are passed over.
    Ids(Vec<GitId>),
    /// Everything that the refs of this repository reach.
    AllRefs,
}

/// A file that new commits need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The file.
    pub pointer: Pointer,
    /// A path that it has.
    pub path: RepoPath,
    /// The commit (or, for a tag of a tree, the tree) in which it has that path.
    pub commit: GitId,
    /// The file that was at the path before, if it was one.
    pub replaces: Option<FileHash>,
}

/// A blob on a `filter=dits` path that is no pointer and too large to be left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawBlob {
    /// Its path.
    pub path: RepoPath,
    /// The commit that added it there.
    pub commit: GitId,
    /// The blob.
    pub blob: GitId,
    /// Its length in bytes.
    pub len: u64,
}

/// What a walk found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Walked {
    /// Each file once.
    pub pointers: Vec<Found>,
    /// At most [`RAW_BLOBS_MAX`] raw blobs.
    pub raw_blobs: Vec<RawBlob>,
    /// What looks like a pointer where commits add it, on a path that is not media there: text that
    /// shows one, or media that only one machine calls so. At most [`STRAYS_MAX`] files, none of
    /// which any other path of the walk makes media.
    pub strays: Vec<Found>,
}

/// A pointer in a tree or in the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointerAt {
    /// Its path.
    pub path: RepoPath,
    /// The file.
    pub pointer: Pointer,
}

/// A walk that could not be done.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// A git child failed.
    #[error(transparent)]
    Git(#[from] GitError),
    /// A tip is not here.
    #[error("object {0} is not in this repository")]
    TipMissing(GitId),
    /// A path that no repository should have.
    #[error("{path:?} in {tree} is no path that can be used")]
    Path {
        /// The path.
        path: BString,
        /// The commit or tree it is in.
        tree: String,
        /// What is wrong with it.
        #[source]
        source: NameError,
    },
    /// An attributes file is too long.
    #[error("{path} in {tree} has {len} bytes; more than {ATTRIBUTES_LEN_MAX} are not read")]
    AttributesLen {
        /// Its path.
        path: BString,
        /// The commit or tree it is in.
        tree: String,
        /// Its length in bytes.
        len: u64,
    },
    /// A revision that is none.
    #[error("{0:?} names no commit or tree")]
    Revision(String),
}

/// Finds the media that everything reachable from `tips`, and not from `known`, names.
///
/// Shape: any objects may be tips; a tag counts as what it tags, a blob has no path and names
/// nothing. A commit that changes attributes is looked at as a whole, since a path that it
/// makes ours may hold an older pointer; raw blobs are only reported where a commit adds them.
///
/// # Errors
///
/// [`WalkError`] when a tip is not here, a path or an attributes file cannot be used, or git fails.
pub fn walk(git: &GitProgram, case: AttributeCase, tips: &[GitId], known: &Known) -> Result<Walked, WalkError> {
    let git = as_committed(git);
    let mut objects = Objects::start(&git)?;
    let tips = sort_tips(&mut objects, tips)?;
    let known = match known {
        Known::AllRefs => None,
        Known::Ids(ids) => Some(commits_here(&mut objects, ids)?),
    };
    let mut walked = Collector::default();
    let mut evaluator = Evaluator::new(objects, case);
    for tree in tips.trees {
        let candidates = list_tree(&git, &tree.to_string())?;
        walked.take(evaluator.pointers(&tree.to_string(), candidates, false)?, tree)?;
    }
    if !tips.commits.is_empty() {
        walk_commits(&git, &mut evaluator, &tips.commits, known.as_deref(), &mut walked)?;
    }
    Ok(walked.finish())
}

/// Lists every pointer of the tree that `revision` names, by path.
///
/// # Errors
///
/// [`WalkError`], [`WalkError::Revision`] for one that names no tree.
pub fn pointers_in_tree(git: &GitProgram, case: AttributeCase, revision: &str) -> Result<Vec<PointerAt>, WalkError> {
    let git = as_committed(git);
    let no_tree = || WalkError::Revision(revision.to_owned());
    let name = git.ask(["rev-parse", "--quiet", "--verify", "--end-of-options", &format!("{revision}^{{tree}}")])?;
    let name = name.and_then(|name| GitId::parse(name.trim_ascii_end())).ok_or_else(no_tree)?.to_string();
    let candidates = list_tree(&git, &name)?;
    let evaluated = Evaluator::new(Objects::start(&git)?, case).pointers(&name, candidates, false)?;
    evaluated.pointers.into_iter().map(|found| found.at(&name)).collect()
}

/// Lists every pointer of the index, by path; the attributes are those in the index.
///
/// # Errors
///
/// [`WalkError`] when a path or an attributes file cannot be used, or git fails.
pub fn pointers_in_index(git: &GitProgram, case: AttributeCase) -> Result<Vec<PointerAt>, WalkError> {
    let listed = git.capture(["ls-files", "--stage", "-z", "--full-name", "--", ":/"])?;
    let candidates = parse_listing(&listed, ListedAs::Index);
    // `:path` names an entry of the index as `tree:path` names one of a tree.
    let evaluated = Evaluator::new(Objects::start(git)?, case).pointers("", candidates, false)?;
    evaluated.pointers.into_iter().map(|found| found.at("the index")).collect()
}

/// Replaced objects are one machine's view; refs name the objects as they are.
fn as_committed(git: &GitProgram) -> GitProgram {
    git.clone().with_env("GIT_NO_REPLACE_OBJECTS", "1")
}

#[derive(Default)]
struct Tips {
    commits: Vec<GitId>,
    trees: Vec<GitId>,
}

fn sort_tips(objects: &mut Objects, tips: &[GitId]) -> Result<Tips, WalkError> {
    let names: Vec<BString> = tips.iter().map(|tip| format!("{tip}^{{}}").into()).collect();
    let mut sorted = Tips::default();
    for (tip, info) in tips.iter().zip(objects.info(&names)?) {
        let info = info.ok_or(WalkError::TipMissing(*tip))?;
        match info.kind {
            ObjectKind::Commit => sorted.commits.push(info.id),
            ObjectKind::Tree => sorted.trees.push(info.id),
            ObjectKind::Blob | ObjectKind::Tag => {}
        }
    }
    Ok(sorted)
}

fn commits_here(objects: &mut Objects, ids: &[GitId]) -> Result<Vec<GitId>, WalkError> {
    let names: Vec<BString> = ids.iter().map(|id| format!("{id}^{{commit}}").into()).collect();
    Ok(objects.info(&names)?.into_iter().flatten().map(|info| info.id).collect())
}

fn walk_commits(
    git: &GitProgram,
    evaluator: &mut Evaluator,
    tips: &[GitId],
    known: Option<&[GitId]>,
    walked: &mut Collector,
) -> Result<(), WalkError> {
    let mut args = vec!["rev-list", "--stdin"];
    if known.is_none() {
        args.extend(["--not", "--all"]);
    }
    let mut list = git.pipe(args)?;
    let mut to_list = list.take_stdin().expect("taken once");
    let mut from_list = list.take_stdout().expect("taken once");
    let mut diff = git.pipe(DIFF_TREE)?;
    let mut to_diff = diff.take_stdin().expect("taken once");
    let mut commits = ChangeReader::new(BufReader::with_capacity(64 * 1024, diff.take_stdout().expect("taken once")));
    let wanted = tips.iter().map(|id| format!("{id}\n"));
    let range: String = wanted.chain(known.into_iter().flatten().map(|id| format!("^{id}\n"))).collect();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // Either failure shows in how the children end.
            let _ = to_list.write_all(range.as_bytes());
            drop(to_list);
            let _ = std::io::copy(&mut from_list, &mut to_diff);
        });
        let result = evaluate_commits(git, evaluator, &mut commits, walked);
        match result {
            Ok(None) => list.finish().and_then(|()| diff.finish()).map_err(WalkError::from),
            Ok(Some(error)) => {
                let broken = diff.broken(error);
                drop(list);
                drop(diff);
                Err(broken.into())
            }
            Err(error) => {
                drop((list, diff));
                Err(error)
            }
        }
    })
}

const DIFF_TREE: [&str; 10] =
    ["diff-tree", "--stdin", "-r", "-m", "--root", "--raw", "-z", "--no-renames", "--no-abbrev", "--always"];

/// Looks at every commit; `Some` is what reading the stream of changes gave.
fn evaluate_commits(
    git: &GitProgram,
    evaluator: &mut Evaluator,
    commits: &mut ChangeReader<BufReader<std::process::ChildStdout>>,
    walked: &mut Collector,
) -> Result<Option<std::io::Error>, WalkError> {
    loop {
        let next = match commits.next_commit() {
            Ok(Some(next)) => next,
            Ok(None) => return Ok(None),
            Err(error) => return Ok(Some(error)),
        };
        let name = next.commit.to_string();
        let changed = next.changes.into_iter().map(|change| Candidate {
            path: change.path,
            blob: change.blob,
            before: change.before,
            is_own: change.is_own,
        });
        walked.take(evaluator.pointers(&name, changed.collect(), true)?, next.commit)?;
        if next.changes_attributes {
            let whole = list_tree(git, &name)?;
            walked.take(evaluator.pointers(&name, whole, false)?, next.commit)?;
        }
    }
}

fn list_tree(git: &GitProgram, tree: &str) -> Result<Vec<Candidate>, WalkError> {
    let listed = git.capture(["ls-tree", "-r", "-z", "--full-tree", tree])?;
    Ok(parse_listing(&listed, ListedAs::Tree))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ListedAs {
    /// `mode type id TAB path`.
    Tree,
    /// `mode id stage TAB path`.
    Index,
}

fn parse_listing(listed: &[u8], form: ListedAs) -> Vec<Candidate> {
    let parse = |line: &[u8]| {
        let tab = line.iter().position(|byte| *byte == b'\t')?;
        let words: Vec<&[u8]> = line[..tab].split(|byte| *byte == b' ').collect();
        let id = words.get(if form == ListedAs::Tree { 2 } else { 1 })?;
        let blob = words[0].starts_with(b"100").then(|| GitId::parse(id))??;
        Some(Candidate { path: line[tab + 1..].into(), blob, before: None, is_own: false })
    };
    listed.split(|byte| *byte == 0).filter_map(parse).collect()
}

/// Puts the findings of many commits together, each file once.
#[derive(Default)]
struct Collector {
    walked: Walked,
    seen: HashSet<Pointer>,
    seen_strays: HashSet<Pointer>,
}

impl Collector {
    fn take(&mut self, evaluated: evaluate::Evaluated, commit: GitId) -> Result<(), WalkError> {
        for found in evaluated.pointers {
            if self.seen.insert(found.pointer) {
                let path = usable(found.path, &commit.to_string())?;
                self.walked.pointers.push(Found { pointer: found.pointer, path, commit, replaces: found.replaces });
            }
        }
        for stray in evaluated.strays {
            if self.walked.strays.len() < STRAYS_MAX && self.seen_strays.insert(stray.pointer) {
                let path = usable(stray.path, &commit.to_string())?;
                self.walked.strays.push(Found { pointer: stray.pointer, path, commit, replaces: None });
            }
        }
        for raw in evaluated.raw_blobs {
            if self.walked.raw_blobs.len() < RAW_BLOBS_MAX {
                let path = usable(raw.path, &commit.to_string())?;
                self.walked.raw_blobs.push(RawBlob { path, commit, blob: raw.blob, len: raw.len });
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Walked {
        self.walked.strays.retain(|stray| !self.seen.contains(&stray.pointer));
        self.walked
    }
}

fn usable(path: BString, tree: &str) -> Result<RepoPath, WalkError> {
    RepoPath::new(path.clone()).map_err(|source| WalkError::Path { path, tree: tree.to_owned(), source })
}

#[cfg(test)]
mod tests;
