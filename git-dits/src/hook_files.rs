//! Hook files: three lines of shell in a repository's hooks directory, where git has no
//! hooks in its configuration yet.
//!
//! **For:** uploading media before git pushes text to another host.
//!
//! **May touch:** `<git dir>/hooks/`, and nothing in a directory that `core.hooksPath` names:
//! that one belongs to a team or to another program.
//!
//! **Must hold:** a hook that was there before is kept, is run first, and comes back when
//! Dits leaves.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bstr::{BString, ByteSlice};
use dits_core::repo::git_program::{GitError, GitProgram};
use serde::Serialize;

use crate::git::{self, GitVersion};
use crate::programs::shell_quoted;

/// The one hook that a work repository needs.
pub const PRE_PUSH: &str = "pre-push";
/// What a hook's name gets when Dits stands before it.
pub const KEPT_SUFFIX: &str = ".before-dits";

const TEMPLATE: &str = include_str!("../../hooks/pre-push");
const MARK: &str = "# dits: ";

/// A hook file that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot change the hook {path}")]
pub struct HookError {
    path: PathBuf,
    source: io::Error,
}

/// Where hooks go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Into git's configuration.
    Config,
    /// Into files of this directory.
    Files(PathBuf),
    /// Nowhere: `core.hooksPath` names this directory, which is somebody else's.
    Theirs(PathBuf),
}

/// What became of a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was written.
    Installed,
    /// It was written, and runs the one that was there first.
    Chained,
    /// It was there already.
    Unchanged,
    /// Git has it in its configuration.
    InConfig,
    /// It has to be added by hand to what `core.hooksPath` names.
    ByHand,
    /// It was removed.
    Removed,
    /// It was removed, and the one that was there before is back.
    Restored,
    /// There was none of ours.
    Absent,
}

/// Decides where hooks go.
pub fn place(version: Option<GitVersion>, has_hooks_path: bool, hooks_dir: PathBuf) -> Place {
    match version {
        Some(version) if version >= GitVersion::CONFIG_HOOKS => Place::Config,
        _ if has_hooks_path => Place::Theirs(hooks_dir),
        _ => Place::Files(hooks_dir),
    }
}

/// Asks git where the hooks of the repository around its directory go.
pub fn place_here(git: &GitProgram) -> Result<Place, GitError> {
    let has_hooks_path = git.ask(["config", "--get", "core.hooksPath"])?.is_some();
    let hooks_dir = git::path(git, &["rev-parse", "--path-format=absolute", "--git-path", "hooks"])?;
    Ok(place(GitVersion::of(git)?, has_hooks_path, hooks_dir))
}

/// The text of our hook file.
pub fn text(porcelain: &Path) -> BString {
    TEMPLATE.as_bytes().replace("@GIT_DITS@", shell_quoted(porcelain)).into()
}

/// Returns true if a hook's text is one that Dits wrote.
fn is_ours(text: &[u8]) -> bool {
    text.lines().nth(1).is_some_and(|line| line.starts_with_str(MARK))
}

/// Returns true if somebody's hook already calls ours.
fn calls_us(text: &[u8]) -> bool {
    ["git dits hook pre-push", "git-dits hook pre-push", "git-dits' hook pre-push"]
        .iter()
        .any(|call| text.contains_str(call))
}

/// Whether git will run our hook.
pub fn is_in_place(place: &Place) -> Result<bool, HookError> {
    match place {
        Place::Config => Ok(true),
        Place::Files(dir) | Place::Theirs(dir) => {
            let text = read(&dir.join(PRE_PUSH))?.unwrap_or_default();
            Ok(is_ours(&text) || calls_us(&text))
        }
    }
}

/// Puts the pre-push hook into place.
pub fn install(place: &Place, porcelain: &Path) -> Result<Outcome, HookError> {
    let dir = match place {
        Place::Config => return Ok(Outcome::InConfig),
        Place::Theirs(dir) => {
            let there = read(&dir.join(PRE_PUSH))?.unwrap_or_default();
            return Ok(if calls_us(&there) { Outcome::Unchanged } else { Outcome::ByHand });
        }
        Place::Files(dir) => dir,
    };
    let path = dir.join(PRE_PUSH);
    let wanted = text(porcelain);
    let outcome = match read(&path)? {
        Some(there) if there == wanted => return Ok(Outcome::Unchanged),
        Some(there) if !is_ours(&there) && calls_us(&there) => return Ok(Outcome::Unchanged),
        Some(there) if !is_ours(&there) => {
            let kept = kept_path(&path);
            // A link refuses to replace a file, which a rename would do without a word.
            fs::hard_link(&path, &kept).map_err(|source| HookError { path: kept, source })?;
            Outcome::Chained
        }
        _ => Outcome::Installed,
    };
    write(dir, &path, &wanted)?;
    Ok(outcome)
}

/// Takes the pre-push hook away again.
pub fn uninstall(place: &Place) -> Result<Outcome, HookError> {
    let Place::Files(dir) = place else { return Ok(Outcome::Absent) };
    let path = dir.join(PRE_PUSH);
    match read(&path)? {
        Some(there) if is_ours(&there) => {}
        _ => return Ok(Outcome::Absent),
    }
    let kept = kept_path(&path);
    match fs::rename(&kept, &path) {
        Ok(()) => Ok(Outcome::Restored),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::remove_file(&path).map_err(|source| HookError { path, source })?;
            Ok(Outcome::Removed)
        }
        Err(source) => Err(HookError { path: kept, source }),
    }
}

/// The hook that was there before ours, if there was one.
pub fn kept(hooks_dir: &Path) -> Option<PathBuf> {
    let kept = kept_path(&hooks_dir.join(PRE_PUSH));
    kept.is_file().then_some(kept)
}

fn kept_path(hook: &Path) -> PathBuf {
    let mut name = hook.as_os_str().to_owned();
    name.push(KEPT_SUFFIX);
    name.into()
}

fn read(path: &Path) -> Result<Option<BString>, HookError> {
    match fs::read(path) {
        Ok(text) => Ok(Some(text.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(HookError { path: path.to_owned(), source }),
    }
}

fn write(dir: &Path, path: &Path, text: &[u8]) -> Result<(), HookError> {
    let failed = |source| HookError { path: path.to_owned(), source };
    fs::create_dir_all(dir).map_err(failed)?;
    let file = tempfile::NamedTempFile::new_in(dir).map_err(failed)?;
    fs::write(file.path(), text).map_err(failed)?;
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o755)).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hooks() -> (tempfile::TempDir, Place, PathBuf) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let hook = dir.path().join(PRE_PUSH);
        let place = Place::Files(dir.path().to_owned());
        (dir, place, hook)
    }

    #[test]
    fn a_hook_that_was_there_is_kept_and_comes_back() {
        let (_dir, place, hook) = hooks();
        fs::write(&hook, "#!/bin/sh\necho mine\n").expect("written");
        let porcelain = Path::new("/usr/bin/git-dits");
        assert_eq!(install(&place, porcelain).expect("installed"), Outcome::Chained);
        assert_eq!(install(&place, porcelain).expect("installed"), Outcome::Unchanged);
        let moved = Path::new("/opt/git-dits");
        assert_eq!(install(&place, moved).expect("installed"), Outcome::Installed);
        assert_eq!(uninstall(&place).expect("removed"), Outcome::Restored);
        assert_eq!(fs::read_to_string(&hook).expect("there"), "#!/bin/sh\necho mine\n");
        assert_eq!(uninstall(&place).expect("looked"), Outcome::Absent);
    }

    #[test]
    fn an_older_kept_hook_is_never_overwritten() {
        let (_dir, place, hook) = hooks();
        fs::write(&hook, "new").expect("written");
        fs::write(kept_path(&hook), "old").expect("written");
        assert!(install(&place, Path::new("/usr/bin/git-dits")).is_err());
        assert_eq!(fs::read_to_string(&hook).expect("there"), "new");
    }

    #[test]
    fn a_team_hook_that_calls_us_is_left_alone() {
        let (_dir, place, hook) = hooks();
        fs::write(&hook, "#!/bin/sh\nnpm test && git dits hook pre-push \"$@\"\n").expect("written");
        assert_eq!(install(&place, Path::new("/usr/bin/git-dits")).expect("looked"), Outcome::Unchanged);
        assert_eq!(uninstall(&place).expect("looked"), Outcome::Absent);
    }

    #[test]
    fn nothing_is_written_where_core_hooks_path_points() {
        let (dir, _, hook) = hooks();
        let theirs = place(GitVersion::parse("git version 2.47.3"), true, dir.path().to_owned());
        assert_eq!(install(&theirs, Path::new("/usr/bin/git-dits")).expect("looked"), Outcome::ByHand);
        assert!(!hook.exists());
        let newer = place(GitVersion::parse("git version 2.54.0"), true, dir.path().to_owned());
        assert_eq!(newer, Place::Config);
    }

    #[test]
    fn the_hook_is_three_lines_and_names_the_program_whole() {
        let text = text(Path::new("/opt/my tools/git-dits"));
        assert_eq!(text.lines().count(), 3);
        assert!(is_ours(&text) && text.contains_str("exec '/opt/my tools/git-dits' hook pre-push \"$@\""));
    }
}
