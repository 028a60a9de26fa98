//! The Git side of the server: bare repositories, and the `git` program run on them.
//!
//! **For:** hosting, and the check before a ref moves.
//!
//! **May touch:** `repos/` and `unfinished/` in the server root; child processes.
//!
//! **Must hold:**
//! - a git child sees the settings given here and nothing of the server's environment;
//! - a child whose client went away ends.

mod bare;
pub mod check;
mod mirror;
mod session;

use std::path::{Path, PathBuf};

pub use session::{Pipes, Service, Session};

use dits_core::repo::environment::Environment;
use dits_core::repo::git_program::GitProgram;
use dits_core::repo_path::RepoName;

use crate::root::Root;

/// Runs git on the repositories of one root.
#[derive(Debug, Clone)]
pub struct Git {
    root: Root,
    program: PathBuf,
}

/// Why the Git side did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The `git` program could not be started.
    #[error("cannot start git")]
    Start(#[source] std::io::Error),
    /// A child ended badly.
    #[error("git {command} failed: {message}")]
    Failed {
        /// What it was to do.
        command: &'static str,
        /// What it printed.
        message: String,
    },
    /// A file or directory could not be made, moved or removed.
    #[error("cannot {what} {path}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is something in the way of a repository.
    #[error("{0} is in the way of a repository")]
    InTheWay(PathBuf),
}

impl Git {
    /// Uses the repositories of `root`, and the git in an absolute directory of `PATH`.
    ///
    /// # Errors
    ///
    /// [`dits_core::repo::git_program::GitError::NotFound`].
    pub fn new(root: Root) -> Result<Git, dits_core::repo::git_program::GitError> {
        let found = GitProgram::find(&Environment::new(std::env::vars_os()))?;
        Ok(Git { root, program: found.program().to_owned() })
    }

    /// Git for questions about the repository of this name.
    pub fn program_for(&self, name: &RepoName) -> GitProgram {
        let path = self.path(name);
        let vars = environment(&self.root).into_iter().map(|(name, value)| (name.into(), value));
        let git = GitProgram::at(&self.program).with_only_env(vars);
        settings(&self.root, &path).into_iter().fold(git, GitProgram::with_config).for_other(path)
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> GitError {
    let path = path.to_owned();
    move |source| GitError::Io { what, path, source }
}

/// Settings for every git child. A repository's own config file holds nothing of the kind,
/// so that a root can move and later versions can change their minds.
fn settings(root: &Root, repo: &Path) -> Vec<String> {
    let hooks = format!("core.hooksPath={}", root.hooks().display());
    let owner = format!("safe.directory={}", repo.display());
    let fixed = [
        // Malformed objects do harm to those who fetch them. What is ignored is harmless and
        // stands in old histories everywhere.
        "transfer.fsckObjects=true",
        "receive.fsck.badTimezone=ignore",
        "receive.fsck.missingSpaceBeforeDate=ignore",
        "receive.fsck.zeroPaddedFilemode=ignore",
        // Each push is a pack: git syncs those, and no collection takes away the folder that it is moved into.
        "receive.unpackLimit=1",
        "receive.advertiseAtomic=true",
        "receive.advertisePushOptions=true",
        // Moving the default branch of a bare repository away is for its owner to decide.
        "receive.denyDeleteCurrent=warn",
        // Partial clones fetch what they left out by its name.
        "uploadpack.allowFilter=true",
        "uploadpack.allowAnySHA1InWant=true",
        // A server never runs a filter: a pointer stays a pointer.
        "filter.dits.process=",
        "filter.dits.clean=",
        "filter.dits.smudge=",
        "filter.dits.required=false",
    ];
    fixed.into_iter().map(str::to_owned).chain([hooks, owner]).collect()
}

/// The environment of every git child.
fn environment(root: &Root) -> Vec<(&'static str, std::ffi::OsString)> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    vec![
        ("PATH", path),
        ("HOME", root.unfinished().into()),
        ("LC_ALL", "C.UTF-8".into()),
        ("GIT_CONFIG_NOSYSTEM", "1".into()),
        ("GIT_CONFIG_GLOBAL", "/dev/null".into()),
        ("GIT_TERMINAL_PROMPT", "0".into()),
    ]
}
