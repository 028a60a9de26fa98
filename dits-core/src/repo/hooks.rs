//! The hooks that a work repository needs, and whether git would run them.
//!
//! **For:** the filter, which has them put into a fresh clone, and the porcelain, which puts them there.
//!
//! **May touch:** hook files and one mark in the repository's folder of Dits.
//!
//! **Must hold:** looking costs a few small reads, since a filter does so on every git command.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bstr::{BString, ByteSlice};

use super::Repository;
use super::stores::STORE_DIR;

/// What a hook's name gets when Dits stands before it.
pub const KEPT_SUFFIX: &str = ".before-dits";
/// What the second line of every hook file of Dits begins with.
pub const MARK: &str = "# dits: ";

/// The key of git's configuration that names the directory of hooks.
pub const HOOKS_PATH: &str = "core.hooksPath";

/// Says what was told once of hooks that are not in place.
const TOLD: &str = "hooks-told";

/// A hook that a work repository needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Media goes to its server before text goes to another host.
    PrePush,
    /// No large file is committed past Dits, nor anything while the store has a failed sync behind it.
    PreCommit,
    /// What a checkout has put off is hydrated before others look.
    PostCheckout,
    /// The same, after a merge.
    PostMerge,
}

impl Hook {
    /// All of them.
    pub const ALL: [Hook; 4] = [Hook::PrePush, Hook::PreCommit, Hook::PostCheckout, Hook::PostMerge];

    /// Git's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Hook::PrePush => "pre-push",
            Hook::PreCommit => "pre-commit",
            Hook::PostCheckout => "post-checkout",
            Hook::PostMerge => "post-merge",
        }
    }

    /// Whether it may stop what git is about to do.
    pub fn may_refuse(self) -> bool {
        match self {
            Hook::PrePush | Hook::PreCommit => true,
            Hook::PostCheckout | Hook::PostMerge => false,
        }
    }

    /// The key of git's configuration that says when it is run, from git 2.54 on.
    pub fn event_key(self) -> String {
        format!("hook.dits-{}.event", self.name())
    }

    /// The key of git's configuration that says what is run, from git 2.54 on.
    pub fn command_key(self) -> String {
        format!("hook.dits-{}.command", self.name())
    }

    /// The line that calls it, for a hook that somebody else writes.
    pub fn call(self) -> String {
        format!("git dits hook {} \"$@\"", self.name())
    }

    /// Whether a hook's text calls this one of Dits.
    pub fn is_called_in(self, text: &[u8]) -> bool {
        let call = format!("hook {}", self.name());
        text.lines().any(|line| {
            let names_dits = line.contains_str("git dits") || line.contains_str("git-dits");
            !line.trim_start().starts_with(b"#") && names_dits && line.contains_str(&call)
        })
    }
}

/// Where git looks for hook files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookFiles {
    /// In the repository's own folder.
    Own(PathBuf),
    /// In a folder that `core.hooksPath` names, which is a team's or another program's.
    Theirs(PathBuf),
}

impl HookFiles {
    /// Where git looks in this repository.
    pub fn of(repo: &Repository) -> HookFiles {
        let own = repo.common_dir().join("hooks");
        if repo.config().value(HOOKS_PATH).is_none_or(|value| value.is_empty()) {
            return HookFiles::Own(own);
        }
        // Relative to where hooks are run. What cannot be expanded leads nowhere.
        let named = repo.config().path(HOOKS_PATH).unwrap_or_default();
        let named = repo.work_tree().unwrap_or(repo.git_dir()).join(named);
        match (fs::canonicalize(&named), fs::canonicalize(&own)) {
            (Ok(named), Ok(same)) if named == same => HookFiles::Own(own),
            _ => HookFiles::Theirs(named),
        }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        match self {
            HookFiles::Own(dir) | HookFiles::Theirs(dir) => dir,
        }
    }

    /// The file in which somebody's own lines belong: husky keeps generated files in a folder of its own.
    pub fn by_hand(&self, hook: Hook) -> PathBuf {
        let dir = self.dir();
        let is_generated = dir.file_name().is_some_and(|name| name == "_");
        let dir = if is_generated { dir.parent().unwrap_or(dir) } else { dir };
        dir.join(hook.name())
    }

    /// Whether git runs our hook from these files.
    ///
    /// # Errors
    ///
    /// What the system said of a file that is there.
    pub fn have(&self, hook: Hook) -> io::Result<bool> {
        let path = self.dir().join(hook.name());
        let Some(text) = read(&path)? else { return Ok(false) };
        if !is_executable(&path) {
            return Ok(false);
        }
        if is_ours(&text) || hook.is_called_in(&text) {
            return Ok(true);
        }
        let by_hand = self.by_hand(hook);
        if by_hand != path {
            return Ok(read(&by_hand)?.is_some_and(|text| hook.is_called_in(&text)));
        }
        // The pre-commit framework puts what was there aside under this name, and runs it.
        let legacy = path.with_extension("legacy");
        Ok(text.contains_str("pre-commit") && read(&legacy)?.is_some_and(|text| is_ours(&text)))
    }
}

/// Whether a hook's text is one that Dits wrote.
pub fn is_ours(text: &[u8]) -> bool {
    text.lines().nth(1).is_some_and(|line| line.starts_with_str(MARK))
}

/// The hooks that git would not run in this repository.
///
/// # Errors
///
/// What the system said of a hook file that is there.
pub fn lacking(repo: &Repository) -> io::Result<Vec<Hook>> {
    let files = HookFiles::of(repo);
    let mut lacking = Vec::new();
    for hook in Hook::ALL {
        if !is_configured(repo, hook) && !files.have(hook)? {
            lacking.push(hook);
        }
    }
    Ok(lacking)
}

/// Whether git's configuration has the hook, as git 2.54 and later read it.
pub fn is_configured(repo: &Repository, hook: Hook) -> bool {
    let has = |key: String| repo.config().value(&key).is_some_and(|value| !value.is_empty());
    has(hook.event_key()) && has(hook.command_key())
}

/// Whether somebody should look after the hooks of this repository: some are lacking, it has a work tree,
/// its user did not forbid it (`dits.installHooks`), and that they cannot be put there was not told already.
pub fn need_attention(repo: &Repository, installs_hooks: bool) -> bool {
    let is_wanted = installs_hooks && repo.work_tree().is_some();
    // A hook that cannot be read is for the porcelain to name.
    is_wanted && lacking(repo).map_or(true, |lacking| !lacking.is_empty()) && !was_told(repo)
}

/// Whether it was told that hooks cannot be put where git looks for them now.
pub fn was_told(repo: &Repository) -> bool {
    fs::read(told_file(repo)).is_ok_and(|told| told == told_of(repo).as_slice())
}

/// Notes that it was told, so that it is not told on every git command.
///
/// # Errors
///
/// What the system said.
pub fn note_told(repo: &Repository) -> io::Result<()> {
    fs::create_dir_all(repo.common_dir().join(STORE_DIR))?;
    fs::write(told_file(repo), told_of(repo))
}

/// Forgets it again.
///
/// # Errors
///
/// What the system said.
pub fn forget_told(repo: &Repository) -> io::Result<()> {
    match fs::remove_file(told_file(repo)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn told_file(repo: &Repository) -> PathBuf {
    repo.common_dir().join(STORE_DIR).join(TOLD)
}

/// Another place is another story.
fn told_of(repo: &Repository) -> BString {
    let mut text = BString::from(HookFiles::of(repo).dir().as_os_str().as_encoded_bytes());
    text.push(b'\n');
    text
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether git would run this file.
pub fn is_executable(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    }
    #[cfg(not(unix))]
    path.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_of_ours_is_seen_in_any_hook_and_not_in_a_comment() {
        for text in [
            "#!/bin/sh\nnpm test && git dits hook pre-push \"$@\"\n",
            "'/opt/my tools/git-dits' hook pre-push \"$@\"",
            "exec /usr/bin/git-dits hook pre-push $*",
        ] {
            assert!(Hook::PrePush.is_called_in(text.as_bytes()), "{text}");
            assert!(!Hook::PreCommit.is_called_in(text.as_bytes()), "{text}");
        }
        for text in ["# git dits hook pre-push", "git lfs hook pre-push", "npx hook pre-push"] {
            assert!(!Hook::PrePush.is_called_in(text.as_bytes()), "{text}");
        }
        assert!(Hook::ALL.iter().all(|hook| hook.is_called_in(hook.call().as_bytes())));
    }

    #[test]
    fn lines_by_hand_go_beside_the_folder_that_husky_generates() {
        let files = HookFiles::Theirs("/film/.husky/_".into());
        assert_eq!(files.by_hand(Hook::PrePush), Path::new("/film/.husky/pre-push"));
        assert_eq!(HookFiles::Theirs("/team".into()).by_hand(Hook::PreCommit), Path::new("/team/pre-commit"));
    }
}
