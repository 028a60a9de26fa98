//! The git repository that Dits works in.
//!
//! **For:** finding it, its configuration and its remotes, and running git on it.
//!
//! **May touch:** git's own files, read only, and git children. Not the network, and no
//! environment: the program passes its variables in.
//!
//! **Must hold:**
//! - nothing that was committed is trusted: a committed file never names a command, a path to
//!   write to, or a server that was not confirmed;
//! - opening costs a few small reads, since a filter opens its repository on every git command.

pub mod attributes;
pub mod config;
pub mod dehydrated_file;
pub mod environment;
pub mod fetch_patterns;
pub mod git_config;
pub mod git_program;
pub mod helper_program;
pub mod hooks;
pub mod hydration_journal;
pub mod index_stat;
pub mod interruption;
pub mod local_needs;
pub mod named_files;
pub mod pointer_walk;
pub mod repositories;
pub mod roots;
pub mod store_roots;
pub mod stores;
pub mod unsynced;
pub mod work_tree_file;

use std::path::{Path, PathBuf};

use bstr::{BString, ByteSlice};

use crate::git_index::ObjectFormat;
use crate::remote_url::RemoteUrl;
use attributes::AttributeCase;
use config::{Settings, SettingsError};
use environment::Environment;
use git_config::{ConfigError, GitConfig};
use git_program::{GitError, GitProgram};

/// A repository and what git is told about it.
#[derive(Debug)]
pub struct Repository {
    cwd: PathBuf,
    git_dir: PathBuf,
    common_dir: PathBuf,
    work_tree: Option<PathBuf>,
    env: Environment,
    config: GitConfig,
}

/// A remote of the repository's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedRemote {
    /// Its name.
    pub name: BString,
    /// Its first address, `url.<base>.insteadOf` applied.
    pub url: BString,
}

/// No repository that can be used.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// There is none at the directory or above it.
    #[error("{dir} is not in a git repository", dir = .dir.display())]
    NotFound {
        /// Where the search began.
        dir: PathBuf,
        /// What the search said.
        #[source]
        source: Box<gix::Error>,
    },
    /// The directory that was named is no git directory.
    #[error("{git_dir} is not a git directory", git_dir = .git_dir.display())]
    NotGitDir {
        /// The directory.
        git_dir: PathBuf,
    },
    /// A file that says where the repository is cannot be read.
    #[error("cannot read {path}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its configuration cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl Repository {
    /// Finds the repository that a program started in `cwd` belongs to: the one its
    /// environment names, else the one at `cwd` or above.
    ///
    /// # Errors
    ///
    /// [`RepositoryError`] when there is none, or its files cannot be read.
    pub fn discover(cwd: &Path, env: Environment) -> Result<Repository, RepositoryError> {
        if let Some(git_dir) = env.path("GIT_DIR") {
            let git_dir = cwd.join(git_dir);
            return Self::open(cwd, git_dir, WorkTree::CurrentDir, env);
        }
        let options = gix::discover::upwards::Options {
            ceiling_dirs: ceiling_dirs(&env),
            match_ceiling_dir_or_error: false,
            cross_fs: env.is_true("GIT_DISCOVERY_ACROSS_FILESYSTEM"),
            current_dir: Some(cwd),
            ..Default::default()
        };
        let (found, _) = gix::discover::upwards_opts(cwd, options)
            .map_err(|error| RepositoryError::NotFound { dir: cwd.to_owned(), source: Box::new(error) })?;
        let (git_dir, work_tree) = found.into_repository_and_work_tree_directories();
        let work_tree = work_tree.map_or(WorkTree::None, |dir| WorkTree::At(cwd.join(dir)));
        Self::open(cwd, cwd.join(git_dir), work_tree, env)
    }

    /// Opens the repository whose git directory is `git_dir`, whatever the environment says
    /// about another one.
    ///
    /// # Errors
    ///
    /// [`RepositoryError`] when there is none, or its files cannot be read.
    pub fn at(git_dir: &Path, env: &Environment) -> Result<Repository, RepositoryError> {
        let work_tree = match git_dir.file_name() {
            Some(name) if name == ".git" => git_dir.parent().map_or(WorkTree::None, |dir| WorkTree::At(dir.to_owned())),
            _ => WorkTree::None,
        };
        Self::open(git_dir, git_dir.to_owned(), work_tree, env.without_repository())
    }

    fn open(
        cwd: &Path,
        git_dir: PathBuf,
        work_tree: WorkTree,
        env: Environment,
    ) -> Result<Repository, RepositoryError> {
        let git_dir = resolve_git_file(git_dir)?;
        let common_dir = match env.path("GIT_COMMON_DIR") {
            Some(dir) => cwd.join(dir),
            None => common_dir_of(&git_dir)?,
        };
        if !common_dir.join("objects").is_dir() && env.path("GIT_OBJECT_DIRECTORY").is_none() {
            return Err(RepositoryError::NotGitDir { git_dir });
        }
        let config = GitConfig::load(&git_dir, &common_dir, &env)?;
        let work_tree = match (env.path("GIT_WORK_TREE"), config.value("core.worktree"), work_tree) {
            (Some(dir), _, _) => Some(cwd.join(dir)),
            (None, Some(dir), _) => Some(lexically(&git_dir.join(bytes_to_path(&dir)))),
            (None, None, WorkTree::At(dir)) => Some(dir),
            (None, None, WorkTree::CurrentDir) if !config.is_true("core.bare") => Some(cwd.to_owned()),
            (None, None, _) => None,
        };
        Ok(Repository { cwd: cwd.to_owned(), git_dir, common_dir, work_tree, env, config })
    }

    /// The git directory of this work tree.
    pub fn git_dir(&self) -> &Path {
        &self.git_dir
    }

    /// The git directory that all work trees share.
    pub fn common_dir(&self) -> &Path {
        &self.common_dir
    }

    /// The top of the work tree; `None` in a bare repository.
    pub fn work_tree(&self) -> Option<&Path> {
        self.work_tree.as_deref()
    }

    /// Where this repository's objects are, a push's quarantine not counted.
    pub fn objects_dir(&self) -> PathBuf {
        // In a quarantine GIT_OBJECT_DIRECTORY is the quarantine itself.
        match (self.env.path("GIT_OBJECT_DIRECTORY"), self.env.path("GIT_QUARANTINE_PATH")) {
            (Some(dir), None) => self.cwd.join(dir),
            _ => self.common_dir.join("objects"),
        }
    }

    /// The index file git uses: during `git stash` this is not the default one.
    pub fn index_file(&self) -> PathBuf {
        match self.env.path("GIT_INDEX_FILE") {
            Some(file) => self.cwd.join(file),
            None => self.git_dir.join("index"),
        }
    }

    /// The environment it was opened with.
    pub fn env(&self) -> &Environment {
        &self.env
    }

    /// All of git's configuration.
    pub fn config(&self) -> &GitConfig {
        &self.config
    }

    /// The settings of Dits in git's configuration, without what a committed `.ditsconfig` says.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] for a value that is none of those allowed.
    pub fn settings(&self) -> Result<Settings, SettingsError> {
        Settings::read(self)
    }

    /// The git program, set to work on this repository with this environment.
    ///
    /// # Errors
    ///
    /// [`GitError::NotFound`].
    pub fn git(&self) -> Result<GitProgram, GitError> {
        Ok(GitProgram::find(&self.env)?.in_dir(&self.cwd))
    }

    /// What objects are named by here; `None` for a format this program does not know.
    pub fn object_format(&self) -> Option<ObjectFormat> {
        match self.config.value("extensions.objectFormat") {
            None => Some(ObjectFormat::Sha1),
            Some(name) => ObjectFormat::parse(&name.to_str_lossy()),
        }
    }

    /// How paths are matched with attributes here.
    pub fn attribute_case(&self) -> AttributeCase {
        match self.config.is_true("core.ignorecase") {
            true => AttributeCase::Ignored,
            false => AttributeCase::Sensitive,
        }
    }

    /// All remotes, in the configuration's order.
    pub fn remotes(&self) -> Vec<NamedRemote> {
        self.config.remotes()
    }

    /// The remotes that Dits itself speaks to.
    pub fn dits_remotes(&self) -> Vec<(BString, RemoteUrl)> {
        let parsed = |remote: NamedRemote| {
            let url = RemoteUrl::parse(remote.url.to_str().ok()?).ok()?;
            Some((remote.name, url))
        };
        self.remotes().into_iter().filter_map(parsed).collect()
    }
}

enum WorkTree {
    At(PathBuf),
    /// Git's rule for a repository named by `GIT_DIR` alone.
    CurrentDir,
    None,
}

fn ceiling_dirs(env: &Environment) -> Vec<PathBuf> {
    let dirs = std::env::split_paths(env.get("GIT_CEILING_DIRECTORIES").unwrap_or_default());
    dirs.filter(|dir| dir.is_absolute()).collect()
}

/// Follows a `.git` file, as submodules and linked work trees have it.
fn resolve_git_file(git_dir: PathBuf) -> Result<PathBuf, RepositoryError> {
    if !git_dir.is_file() {
        return Ok(git_dir);
    }
    gix::discover::path::from_gitdir_file(&git_dir).map_err(|_| RepositoryError::NotGitDir { git_dir })
}

fn common_dir_of(git_dir: &Path) -> Result<PathBuf, RepositoryError> {
    let path = git_dir.join("commondir");
    match gix::discover::path::from_plain_file_relative_to_file(&path) {
        None => Ok(git_dir.to_owned()),
        Some(Ok(dir)) => Ok(lexically(&dir)),
        Some(Err(source)) => Err(RepositoryError::Read { path, source }),
    }
}

/// Takes `x/..` out of a path where that changes nothing but its looks.
fn lexically(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// A path from git's bytes; nothing is lost on Unix, where paths are bytes too.
pub(crate) fn bytes_to_path(bytes: &[u8]) -> PathBuf {
    bytes.to_path_lossy().into_owned()
}

#[cfg(test)]
mod tests;
