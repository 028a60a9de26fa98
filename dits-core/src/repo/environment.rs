//! What a program's environment says about git.
//!
//! **For:** handing a program's variables to this library, which reads none itself.
//!
//! **May touch:** nothing; the program collects the variables.
//!
//! **Must hold:** a variable that is set to nothing counts as unset, as git has it for these.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The variables that bear on git: `GIT_*`, `HOME`, `XDG_*` and `PATH`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    vars: BTreeMap<OsString, OsString>,
}

impl Environment {
    /// Keeps what bears on git of a program's variables (`std::env::vars_os()`).
    pub fn new(vars: impl IntoIterator<Item = (OsString, OsString)>) -> Environment {
        let bears_on_git = |name: &OsStr| {
            let name = name.as_encoded_bytes();
            name.starts_with(b"GIT_") || name.starts_with(b"XDG_") || name == b"HOME" || name == b"PATH"
        };
        Environment { vars: vars.into_iter().filter(|(name, _)| bears_on_git(name)).collect() }
    }

    /// The value of a variable, unless it is unset or empty.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.vars.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// The value of a variable that holds a path.
    pub fn path(&self, name: &str) -> Option<&Path> {
        self.get(name).map(Path::new)
    }

    /// Whether a variable says yes in one of git's words for it.
    pub fn is_true(&self, name: &str) -> bool {
        let value = self.get(name).map(|value| value.as_encoded_bytes().to_ascii_lowercase());
        matches!(value.as_deref(), Some(b"1" | b"true" | b"yes" | b"on"))
    }

    /// The same environment without what points at one repository, so that another one can
    /// be opened with it.
    pub fn without_repository(&self) -> Environment {
        let is_local = |name: &OsStr| LOCAL_VARIABLES.iter().any(|local| OsStr::new(local) == name);
        let vars = self.vars.iter().filter(|(name, _)| !is_local(name));
        Environment { vars: vars.map(|(name, value)| (name.clone(), value.clone())).collect() }
    }

    /// The user's folder for Dits' own configuration (`known_hosts`), if there is a home.
    pub fn config_dir(&self) -> Option<PathBuf> {
        self.user_dir("XDG_CONFIG_HOME", ".config")
    }

    /// The user's folder for what can be made again, if there is a home.
    pub fn cache_dir(&self) -> Option<PathBuf> {
        self.user_dir("XDG_CACHE_HOME", ".cache")
    }

    fn user_dir(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        // The XDG rules have relative values ignored.
        let base = match self.path(variable).filter(|path| path.is_absolute()) {
            Some(base) => base.to_owned(),
            None => self.path("HOME")?.join(below_home),
        };
        Some(base.join("dits"))
    }
}

/// What `git rev-parse --local-env-vars` names, and the quarantine's mark: all that ties a
/// process to one repository.
pub(super) const LOCAL_VARIABLES: &[&str] = &[
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NAMESPACE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(vars: &[(&str, &str)]) -> Environment {
        Environment::new(vars.iter().map(|(name, value)| (name.into(), value.into())))
    }

    #[test]
    fn only_what_bears_on_git_is_kept_and_empty_is_unset() {
        let env = environment(&[("GIT_DIR", "x"), ("GIT_WORK_TREE", ""), ("SECRET", "s")]);
        assert_eq!(env.path("GIT_DIR"), Some(Path::new("x")));
        assert_eq!(env.get("GIT_WORK_TREE"), None);
        assert_eq!(env.get("SECRET"), None);
        assert_eq!(env.without_repository().get("GIT_DIR"), None);
    }

    #[test]
    fn user_folders_follow_the_xdg_rules() {
        let env = environment(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/c"), ("XDG_CONFIG_HOME", "relative")]);
        assert_eq!(env.cache_dir(), Some(PathBuf::from("/c/dits")));
        assert_eq!(env.config_dir(), Some(PathBuf::from("/h/.config/dits")));
        assert_eq!(environment(&[]).cache_dir(), None);
    }
}
