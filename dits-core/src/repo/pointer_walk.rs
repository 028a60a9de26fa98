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
//! - it ends, and its memory is bounded, whatever the objects expand to ([`WalkLimits`]).
//!
//! Limitations: attributes files that have over [`ATTRIBUTES_LEN_MAX`] together are refused; git before
//! 2.45 may fetch a promised object that a partial clone lacks, where later ones pass it over.

mod budget;
mod changes;
mod commits;
mod evaluate;
mod objects;
mod trees;
mod unpromised;

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bstr::BString;

use crate::hash::FileHash;
use crate::limits;
use crate::pointer::Pointer;
use crate::repo::attributes::ATTRIBUTES_FILE;
use crate::repo::git_program::{GitError, GitProgram};
use crate::repo_path::{NameError, RepoPath};

pub use crate::repo::attributes::AttributeCase;
pub use budget::WalkLimits;
pub(super) use unpromised::without_promisor;

use budget::Budget;
use commits::Walking;
use evaluate::{Candidate, Evaluator};
use objects::{ObjectKind, Objects};
use trees::Trees;

/// Longest `.gitattributes` that is read, in bytes, with those above and below it that bear on the
/// same files.
pub const ATTRIBUTES_LEN_MAX: u64 = 4 * 1024 * 1024;
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

/// What a walk, or one step of it, found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Walked {
    /// Each file once, by its pointer.
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
    /// The view of a partial clone's objects cannot be made.
    #[error("cannot make {}", path.display())]
    Unpromised {
        /// Its folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
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
    /// The commits, or one tree of them, name too many paths.
    #[error("the new commits name more than {max} paths")]
    TooManyPaths {
        /// The most there may be.
        max: u64,
    },
    /// The paths are too long together.
    #[error("the paths that the new commits name have more than {max} bytes")]
    TooManyBytes {
        /// The most there may be.
        max: u64,
    },
    /// They name too many different files to remember.
    #[error("the new commits name more than {max} different files")]
    TooManyFiles {
        /// The most there may be.
        max: usize,
    },
    /// One commit, or all of them, expand to more than git may keep in memory.
    #[error("git needs more than {} MiB of memory to look at the new commits", max >> 20)]
    TooMuchMemory {
        /// The most it may take, in bytes.
        max: u64,
    },
    /// Too many merges change attributes.
    #[error("more than {max} merges among the new commits change attributes")]
    TooManyMerges {
        /// The most there may be.
        max: usize,
    },
    /// Looking at them takes too long.
    #[error("looking at the new commits takes more than {} seconds", .max.as_secs())]
    TooLong {
        /// The longest it may take.
        max: Duration,
    },
    /// A folder has too many entries.
    #[error("tree {tree} has {len} bytes; more than {max} are not read", max = limits::TREE_LEN_MAX)]
    TreeLen {
        /// The tree.
        tree: GitId,
        /// Its length in bytes.
        len: u64,
    },
    /// Folders are nested too deep.
    #[error("tree {tree} is more than {max} folders deep", max = limits::TREE_DEPTH_MAX)]
    TreeDepth {
        /// The first folder that is too deep.
        tree: GitId,
    },
    /// What is stored as a tree is none.
    #[error("tree {tree} is malformed")]
    Tree {
        /// The tree.
        tree: GitId,
    },
}

impl WalkError {
    /// Returns true if fewer commits at once may be let through.
    pub fn is_too_much(&self) -> bool {
        matches!(
            self,
            WalkError::TooManyPaths { .. }
                | WalkError::TooManyBytes { .. }
                | WalkError::TooManyFiles { .. }
                | WalkError::TooManyMerges { .. }
                | WalkError::TooMuchMemory { .. }
                | WalkError::TooLong { .. }
        )
    }
}

/// Finds the media that everything reachable from `tips`, and not from `known`, names.
///
/// Shape: any objects may be tips; a tag counts as what it tags, a blob has no path and names
/// nothing. A commit that changes attributes is looked at as a whole, since a path that it
/// makes ours may hold an older pointer; raw blobs are only reported where a commit adds them.
///
/// # Errors
///
/// [`WalkError`] when a tip is not here, a path or an attributes file cannot be used, the commits expand
/// to too much, or git fails.
pub fn walk(git: &GitProgram, case: AttributeCase, tips: &[GitId], known: &Known) -> Result<Walked, WalkError> {
    let mut all = Walked::default();
    let mut seen = HashSet::new();
    walk_each::<WalkError>(git, case, tips, known, WalkLimits::default(), &mut |walked| {
        all.pointers.extend(walked.pointers.into_iter().filter(|found| seen.insert(found.pointer)));
        all.raw_blobs.extend(walked.raw_blobs);
        all.strays.extend(walked.strays);
        match all.pointers.len() > limits::WALK_FILES_MAX {
            true => Err(WalkError::TooManyFiles { max: limits::WALK_FILES_MAX }),
            false => Ok(()),
        }
    })?;
    all.strays.retain(|stray| !seen.contains(&stray.pointer));
    Ok(all)
}

/// As [`walk`], handing on what is found as it is found: a file may come more than once, and as a stray
/// before a path that makes it media, and memory does not grow with their number. The first error of `take` ends the walk.
///
/// # Errors
///
/// As for [`walk`], and whatever `take` says.
pub fn walk_each<E: From<WalkError>>(
    git: &GitProgram,
    case: AttributeCase,
    tips: &[GitId],
    known: &Known,
    limits: WalkLimits,
    take: &mut dyn FnMut(Walked) -> Result<(), E>,
) -> Result<(), E> {
    let git = as_committed(git);
    let budget = Budget::new(limits);
    let mut objects = Objects::start(&git, &budget)?;
    let tips = sort_tips(&mut objects, tips)?;
    let known = match known {
        Known::AllRefs => None,
        Known::Ids(ids) => Some(commits_here(&mut objects, ids)?),
    };
    let evaluator = Evaluator::new(objects, case);
    let mut walking = Walking::new(&git, &budget, evaluator, take);
    for tree in tips.trees {
        walking.whole_tree(tree, tree)?;
    }
    match tips.commits.is_empty() {
        true => Ok(()),
        false => walking.commits(&tips.commits, known.as_deref()),
    }
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
    let tree = name.and_then(|name| GitId::parse(name.trim_ascii_end())).ok_or_else(no_tree)?;
    let budget = Budget::new(WalkLimits::default());
    let mut evaluator = Evaluator::new(Objects::start(&git, &budget)?, case);
    let mut candidates = Vec::new();
    let mut trees = Trees::default();
    trees.prepare(&mut evaluator, &[tree], &budget)?;
    trees.pointers::<WalkError>(&mut evaluator, tree, &budget, &mut |_, path, blob| {
        candidates.push(Candidate { tree: Some(tree), path: path.into(), blob, before: None, is_own: false });
        budget.take(path.len())
    })?;
    listed(&mut evaluator, candidates, &budget, &tree.to_string())
}

/// Lists every pointer of the index, by path; the attributes are those in the index.
///
/// # Errors
///
/// [`WalkError`] when a path or an attributes file cannot be used, or git fails.
pub fn pointers_in_index(git: &GitProgram, case: AttributeCase) -> Result<Vec<PointerAt>, WalkError> {
    let listing = git.capture(["ls-files", "--stage", "-z", "--full-name", "--", ":/"])?;
    let candidates = parse_index(&listing);
    let budget = Budget::new(WalkLimits::default());
    listed(&mut Evaluator::new(Objects::start(git, &budget)?, case), candidates, &budget, "the index")
}

fn listed(
    evaluator: &mut Evaluator,
    candidates: Vec<Candidate>,
    budget: &Budget,
    tree: &str,
) -> Result<Vec<PointerAt>, WalkError> {
    let found = evaluator.judge(candidates, budget)?.pointers.into_iter();
    let at = found.map(|found| Ok(PointerAt { path: usable(found.path, tree)?, pointer: found.pointer }));
    let mut all: Vec<PointerAt> = at.collect::<Result<_, WalkError>>()?;
    all.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(all)
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

/// Reads `mode id stage TAB path` entries.
fn parse_index(listing: &[u8]) -> Vec<Candidate> {
    let parse = |line: &[u8]| {
        let tab = line.iter().position(|byte| *byte == b'\t')?;
        let mut words = line[..tab].split(|byte| *byte == b' ');
        let is_file = words.next()?.starts_with(b"100");
        let blob = is_file.then(|| GitId::parse(words.next()?))??;
        Some(Candidate { tree: None, path: line[tab + 1..].into(), blob, before: None, is_own: false })
    };
    listing.split(|byte| *byte == 0).filter_map(parse).collect()
}

fn usable(path: BString, tree: &str) -> Result<RepoPath, WalkError> {
    RepoPath::new(path.clone()).map_err(|source| WalkError::Path { path, tree: tree.to_owned(), source })
}

#[cfg(test)]
mod tests;
