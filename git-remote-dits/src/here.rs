//! Where the helper was started: the repository, the user's folders, and what git asked for.
//!
//! **For:** everything else in this program, which reads no environment itself.
//!
//! **May touch:** the environment and git's files, read only.

use std::cell::{Cell, OnceCell};
use std::path::PathBuf;

use dits_core::remote_url::RemoteUrl;
use dits_core::repo::Repository;
use dits_core::repo::environment::Environment;

use dits_core::failure::Failure;

/// Where the helper was started.
pub struct Here {
    env: Environment,
    cwd: PathBuf,
    /// What `option progress` said last; without it, only a terminal is told.
    pub progress: Cell<Option<bool>>,
    /// The remote that git speaks of: its name, or its address where it has none.
    pub remote: OnceCell<String>,
}

impl Here {
    /// Looks at the environment, once.
    pub fn find() -> Result<Here, Failure> {
        let cwd = std::env::current_dir()
            .map_err(|error| Failure::new("cannot tell the current directory").because(&error))?;
        Ok(Here { env: Environment::new(std::env::vars_os()), cwd, progress: Cell::new(None), remote: OnceCell::new() })
    }

    /// The variables that bear on git.
    pub fn env(&self) -> &Environment {
        &self.env
    }

    /// The repository; an error where there is none, as for `git ls-remote URL` anywhere.
    pub fn repository(&self) -> Result<Repository, Failure> {
        Ok(Repository::discover(&self.cwd, self.env.clone())?)
    }

    /// Whether the address was typed or configured by the user: git says no when a repository
    /// brought it, as a submodule does.
    pub fn is_from_user(&self) -> bool {
        self.env.get("GIT_PROTOCOL_FROM_USER").is_none_or(|value| value != "0")
    }

    /// A `PATH` on which this program's siblings are found first.
    pub fn path_with_siblings(&self) -> std::ffi::OsString {
        let own = std::env::current_exe().ok().and_then(|program| Some(program.parent()?.to_owned()));
        let rest = std::env::split_paths(self.env.get("PATH").unwrap_or_default());
        // A folder with a colon in its name cannot stand on a PATH; then the user's own has to do.
        std::env::join_paths(own.into_iter().chain(rest))
            .unwrap_or_else(|_| self.env.get("PATH").unwrap_or_default().to_owned())
    }
}

/// Reads the address as git hands it over: `dits::/path` loses its prefix on the way.
pub fn parse_address(text: &str) -> Result<RemoteUrl, Failure> {
    let whole = match text.starts_with("dits:") {
        true => text.to_owned(),
        false => format!("dits::{text}"),
    };
    RemoteUrl::parse(&whole).map_err(|error| Failure::usage(format!("cannot use the address {text:?}")).because(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_git_hands_them_over() {
        assert_eq!(parse_address("/mnt/nas/film").expect("a path").to_string(), "dits::/mnt/nas/film");
        assert_eq!(parse_address("dits::/mnt/nas").expect("a path").to_string(), "dits::/mnt/nas");
        assert_eq!(parse_address("dits://studio/film").expect("a server").to_string(), "dits://studio/film");
        assert!(parse_address("film").is_err());
        assert!(parse_address("dits://studio").is_err());
    }
}
