//! What all repositories that use a store may still need of it.
//!
//! **For:** whoever is about to remove media from a store.
//!
//! **May touch:** git's files and git children of these repositories, read only; the list of them in the store.
//!
//! **Must hold:** one repository that cannot be read, and nobody knows what it needs: an error that names it, and no answer.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::git_program::GitError;
use super::hydration_journal::{self, JournalError};
use super::repositories::{self, ListError};
use super::roots::{RootsError, every_pointer};
use super::stores::STORE_DIR;
use super::{Repository, RepositoryError};
use crate::pointer::Pointer;

/// It cannot be told what is needed.
#[derive(Debug, thiserror::Error)]
pub enum StoreRootsError {
    /// Nobody knows which repositories use the store.
    #[error(transparent)]
    List(#[from] ListError),
    /// One of them cannot be read.
    #[error("cannot tell what the repository {git_dir} needs", git_dir = .git_dir.display())]
    Repository {
        /// Its git directory.
        git_dir: PathBuf,
        /// Why.
        #[source]
        source: Box<RepositoryProblem>,
    },
}

/// Why it cannot be told what a repository needs.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryProblem {
    /// It is not there, or cannot be opened.
    #[error(transparent)]
    Open(#[from] RepositoryError),
    /// Git cannot be run.
    #[error(transparent)]
    Git(#[from] GitError),
    /// Not all of its objects can be looked at.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// A journal of hydration cannot be looked for.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Its work trees cannot be listed.
    #[error("cannot list {path}", path = .path.display())]
    WorkTrees {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// The git directories of the repositories that use the store at `store_dir`: the one that it belongs to, `own`,
/// and those that are listed in it.
///
/// # Errors
///
/// [`ListError`] if the list cannot be read.
pub fn repositories_of(store_dir: &Path, own: Option<&Path>) -> Result<BTreeSet<PathBuf>, ListError> {
    let owner = store_dir.parent().filter(|parent| {
        store_dir.file_name().is_some_and(|name| name == STORE_DIR) && parent.join("objects").is_dir()
    });
    let here = owner.into_iter().chain(own).map(|dir| fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned()));
    Ok(here.chain(repositories::list(store_dir)?).collect())
}

/// Hands on every file that these repositories may need: those that a pointer in git's objects names, and those that a
/// journal of hydration does. A file may come more than once.
///
/// # Errors
///
/// [`StoreRootsError`] if one of them cannot be read, and whatever `take` says.
pub fn every_needed<E: From<StoreRootsError>>(
    git_dirs: &BTreeSet<PathBuf>,
    env: &Environment,
    take: &mut dyn FnMut(Pointer) -> Result<(), E>,
) -> Result<(), E> {
    for git_dir in git_dirs {
        needed_by(git_dir, env, take).map_err(|stop| match stop {
            Stop::Problem(problem) => {
                StoreRootsError::Repository { git_dir: git_dir.clone(), source: Box::new(problem) }.into()
            }
            Stop::Told(error) => error,
        })?;
    }
    Ok(())
}

/// How often the objects of a repository are listed where git removed some meanwhile.
const LISTED_MAX: u32 = 3;

/// Why nothing more is handed on.
enum Stop<E> {
    Problem(RepositoryProblem),
    /// What `take` said.
    Told(E),
}

impl<E, P: Into<RepositoryProblem>> From<P> for Stop<E> {
    fn from(problem: P) -> Stop<E> {
        Stop::Problem(problem.into())
    }
}

fn needed_by<E>(
    git_dir: &Path,
    env: &Environment,
    take: &mut dyn FnMut(Pointer) -> Result<(), E>,
) -> Result<(), Stop<E>> {
    let repository = Repository::at(git_dir, env)?;
    let git = repository.git()?.for_other(repository.git_dir());
    let mut tries = 1;
    while let Err(stop) = every_pointer(&git, &mut |pointer| take(pointer).map_err(Stop::Told)) {
        match stop {
            // git may tidy up at this moment: an object that was listed is in another pack, or gone.
            Stop::Problem(RepositoryProblem::Roots(RootsError::Unreadable(_))) if tries < LISTED_MAX => tries += 1,
            stop => return Err(stop),
        }
    }
    for dir in work_tree_dirs(repository.common_dir())? {
        let journals = hydration_journal::entries(&dir)?;
        journals
            .into_values()
            .filter_map(|entry| entry.goal.map(|goal| goal.pointer()))
            .try_for_each(&mut *take)
            .map_err(Stop::Told)?;
    }
    Ok(())
}

/// The git directories of all work trees.
pub(super) fn work_tree_dirs(common_dir: &Path) -> Result<Vec<PathBuf>, RepositoryProblem> {
    let path = common_dir.join("worktrees");
    let mut dirs = vec![common_dir.to_owned()];
    let failed = |source| RepositoryProblem::WorkTrees { path: path.clone(), source };
    match fs::read_dir(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(failed(source)),
        Ok(entries) => {
            for entry in entries {
                dirs.push(entry.map_err(failed)?.path());
            }
        }
    }
    Ok(dirs)
}
