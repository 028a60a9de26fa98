//! Paths and commits of files that are not whole.
//!
//! **For:** telling people which of their files is hurt; Dits knows them by hash alone.
//!
//! **May touch:** git children.
//!
//! **Must hold:** memory grows with the files that are asked about, not with the history.

use std::collections::{HashMap, HashSet};

use crate::hash::FileHash;
use crate::pointer::Pointer;
use crate::repo::attributes::AttributeCase;
use crate::repo::git_program::{GitError, GitProgram};
use crate::repo::pointer_walk::{GitId, Known, WalkError, WalkLimits, walk_each};
use crate::repo_path::RepoPath;

/// A path that a file has, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The path.
    pub path: RepoPath,
    /// A commit in which it has that path.
    pub commit: GitId,
}

/// Files could not be named.
#[derive(Debug, thiserror::Error)]
pub enum NamesError {
    /// Git does not say what there is.
    #[error(transparent)]
    Git(#[from] GitError),
    /// History cannot be walked.
    #[error("cannot look through the history")]
    Walk(#[source] WalkError),
}

/// Why a walk ended.
enum Stop {
    /// Every file has a name.
    Done,
    Failed(WalkError),
}

impl From<WalkError> for Stop {
    fn from(error: WalkError) -> Stop {
        Stop::Failed(error)
    }
}

/// Finds a path and a commit for each of `wanted` among what `tips` reach and `known` do not. Those that no
/// commit has on a path of media are left out.
///
/// # Errors
///
/// [`NamesError`] if git fails.
pub fn name_each(
    git: &GitProgram,
    case: AttributeCase,
    tips: &[GitId],
    known: &[GitId],
    wanted: &HashSet<Pointer>,
) -> Result<HashMap<FileHash, Name>, NamesError> {
    let mut names = HashMap::new();
    if wanted.is_empty() || tips.is_empty() {
        return Ok(names);
    }
    let known = Known::Ids(known.to_vec());
    let walked = walk_each(git, case, tips, &known, WalkLimits::default(), &mut |walked| {
        for found in walked.pointers.into_iter().filter(|found| wanted.contains(&found.pointer)) {
            names.entry(found.pointer.oid).or_insert(Name { path: found.path, commit: found.commit });
        }
        match names.len() == wanted.len() {
            true => Err(Stop::Done),
            false => Ok(()),
        }
    });
    match walked {
        Ok(()) | Err(Stop::Done) => Ok(names),
        Err(Stop::Failed(error)) => Err(NamesError::Walk(error)),
    }
}
