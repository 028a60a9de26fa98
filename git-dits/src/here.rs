//! Where a command was called: its directory, variables, git and repository.
//!
//! **For:** finding these once, at the door of every command.
//!
//! **May touch:** the environment, the current directory, and what [`Repository`] reads.
//!
//! **Must hold:** no other module of this program reads the environment for git.

use std::env;
use std::path::PathBuf;

use dits_core::repo::environment::Environment;
use dits_core::repo::git_program::GitProgram;
use dits_core::repo::{Repository, RepositoryError};

use crate::report::Failure;

/// The place a command was called at.
pub struct Here {
    /// The current directory.
    pub cwd: PathBuf,
    /// The variables that bear on git.
    pub env: Environment,
    /// Git, run in the current directory.
    pub git: GitProgram,
}

impl Here {
    /// Looks around.
    pub fn find() -> Result<Here, Failure> {
        let cwd =
            env::current_dir().map_err(|error| Failure::new("cannot tell the current directory").because(&error))?;
        let env = Environment::new(env::vars_os());
        let git = GitProgram::find(&env)?.in_dir(&cwd);
        Ok(Here { cwd, env, git })
    }

    /// The file of pinned certificates in the user's configuration of Dits.
    pub fn known_hosts(&self) -> Result<PathBuf, Failure> {
        let dir = self.env.config_dir();
        Ok(dir.ok_or_else(|| Failure::new("there is no home for known_hosts").hint("set HOME"))?.join("known_hosts"))
    }

    /// The repository around the current directory.
    pub fn repository(&self) -> Result<Repository, Failure> {
        self.repository_if_any()?.ok_or_else(|| {
            Failure::new(format!("{} is not in a git repository", self.cwd.display()))
                .hint("go into one, or make one with `git init`")
        })
    }

    /// The repository around the current directory, if there is one.
    pub fn repository_if_any(&self) -> Result<Option<Repository>, Failure> {
        match Repository::discover(&self.cwd, self.env.clone()) {
            Ok(repository) => Ok(Some(repository)),
            Err(RepositoryError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
