//! Hook files: a few lines of shell in a repository's hooks folder, where git has no hooks in its
//! configuration yet.
//!
//! **For:** chaining to whatever hook is there.
//!
//! **May touch:** the repository's own hooks folder, and no other.
//!
//! **Must hold:** a hook that was there before is kept under another name, and never overwritten.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bstr::{BString, ByteSlice};
use dits_core::repo::hooks::{self, Hook, HookFiles, KEPT_SUFFIX};

use super::{Outcome, script};

/// A hook file that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot change the hook {path}", path = .path.display())]
pub struct HookError {
    path: PathBuf,
    source: io::Error,
}

impl HookError {
    /// Something went wrong at the file of this hook.
    pub fn at(place: &HookFiles, hook: Hook, source: io::Error) -> HookError {
        HookError { path: place.dir().join(hook.name()), source }
    }
}

/// Puts the hook into place.
pub fn install(place: &HookFiles, hook: Hook, porcelain: &Path) -> Result<Outcome, HookError> {
    let failed = |source| HookError::at(place, hook, source);
    let HookFiles::Own(dir) = place else {
        return Ok(if place.have(hook).map_err(failed)? { Outcome::Unchanged } else { Outcome::ByHand });
    };
    let path = dir.join(hook.name());
    let wanted = script::file(hook, porcelain);
    let is_in_place = place.have(hook).map_err(failed)?;
    let outcome = match read(&path)? {
        Some(there) if there == wanted && is_in_place => return Ok(Outcome::Unchanged),
        Some(there) if hooks::is_ours(&there) => Outcome::Installed,
        Some(_) if is_in_place => return Ok(Outcome::Unchanged),
        Some(there) => {
            keep(&path, &there)?;
            Outcome::Chained
        }
        None => Outcome::Installed,
    };
    write(dir, &path, &wanted)?;
    Ok(outcome)
}

/// Gives the hook that is there another name. One that has that name already, and is another, gets a number: it is
/// not run any more, and is never lost.
fn keep(path: &Path, there: &[u8]) -> Result<(), HookError> {
    let kept = with_suffix(path, KEPT_SUFFIX);
    let link = |from: &Path, to: &Path| {
        // A link refuses to replace a file, which a rename would do without a word.
        fs::hard_link(from, to).map_err(|source| HookError { path: to.to_owned(), source })
    };
    // Lefthook writes its whole file anew over ours.
    let is_generated = |text: &[u8]| text.contains_str("call_lefthook");
    match read(&kept)? {
        Some(older) if older == there => {}
        Some(older) if is_generated(&older) && is_generated(there) => {
            fs::rename(path, &kept).map_err(|source| HookError { path: kept.clone(), source })?;
        }
        Some(_) => {
            let mut names = (2_u32..).map(|number| with_suffix(&kept, &format!(".{number}")));
            let aside = names.find(|path| path.symlink_metadata().is_err());
            link(&kept, &aside.expect("a folder has fewer files than there are numbers"))?;
            remove(&kept)?;
            link(path, &kept)?;
        }
        None => link(path, &kept)?,
    }
    // It may have put ours aside; that one would stand in its way the next time.
    let aside = with_suffix(path, ".old");
    if read(&aside)?.is_some_and(|text| hooks::is_ours(&text)) {
        fs::remove_file(&aside).map_err(|source| HookError { path: aside, source })?;
    }
    Ok(())
}

/// Takes the hook away again.
pub fn uninstall(place: &HookFiles, hook: Hook) -> Result<Outcome, HookError> {
    let HookFiles::Own(dir) = place else { return Ok(Outcome::Absent) };
    let path = dir.join(hook.name());
    let mut outcome = Outcome::Absent;
    if read(&path)?.is_some_and(|there| hooks::is_ours(&there)) {
        let kept = with_suffix(&path, KEPT_SUFFIX);
        outcome = match fs::rename(&kept, &path) {
            Ok(()) => Outcome::Restored,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                remove(&path)?;
                Outcome::Removed
            }
            Err(source) => return Err(HookError { path: kept, source }),
        };
    }
    // Other programs put ours aside under these names.
    for suffix in [".old", ".legacy"] {
        let aside = with_suffix(&path, suffix);
        if read(&aside)?.is_some_and(|text| hooks::is_ours(&text)) {
            remove(&aside)?;
        }
    }
    Ok(outcome)
}

fn with_suffix(hook: &Path, suffix: &str) -> PathBuf {
    let mut name = hook.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn read(path: &Path) -> Result<Option<BString>, HookError> {
    match fs::read(path) {
        Ok(text) => Ok(Some(text.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(HookError { path: path.to_owned(), source }),
    }
}

fn remove(path: &Path) -> Result<(), HookError> {
    fs::remove_file(path).map_err(|source| HookError { path: path.to_owned(), source })
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

    const HOOK: Hook = Hook::PrePush;

    fn hooks() -> (tempfile::TempDir, HookFiles, PathBuf) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let hook = dir.path().join(HOOK.name());
        let place = HookFiles::Own(dir.path().to_owned());
        (dir, place, hook)
    }

    fn write_hook(path: &Path, text: &str) {
        fs::write(path, text).expect("written");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("set");
    }

    fn installed(place: &HookFiles) -> Outcome {
        install(place, HOOK, Path::new("/usr/bin/git-dits")).expect("installed")
    }

    #[test]
    fn a_hook_that_was_there_is_kept_and_comes_back() {
        let (dir, place, hook) = hooks();
        write_hook(&hook, "#!/bin/sh\necho mine\n");
        assert_eq!(installed(&place), Outcome::Chained);
        assert_eq!(installed(&place), Outcome::Unchanged);
        let moved = Path::new("/opt/git-dits");
        assert_eq!(install(&place, HOOK, moved).expect("installed"), Outcome::Installed);
        assert_eq!(uninstall(&place, HOOK).expect("removed"), Outcome::Restored);
        assert_eq!(fs::read_to_string(&hook).expect("there"), "#!/bin/sh\necho mine\n");
        assert_eq!(uninstall(&place, HOOK).expect("looked"), Outcome::Absent);
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1);
    }

    #[test]
    fn an_older_kept_hook_is_never_lost() {
        let (_dir, place, hook) = hooks();
        let kept = with_suffix(&hook, KEPT_SUFFIX);
        // The team's own, and what `git lfs update --force` writes over ours.
        let (old, new) = ("#!/bin/sh\n./checks && git lfs pre-push \"$@\"\n", "#!/bin/sh\ngit lfs pre-push \"$@\"\n");
        write_hook(&hook, new);
        fs::write(&kept, old).expect("written");
        assert_eq!(installed(&place), Outcome::Chained);
        assert_eq!(fs::read_to_string(&kept).expect("there"), new);
        assert_eq!(fs::read_to_string(with_suffix(&kept, ".2")).expect("there"), old);
    }

    #[test]
    fn a_hook_that_its_program_wrote_anew_over_ours_takes_the_place_of_its_older_one() {
        let (dir, place, hook) = hooks();
        write_hook(&hook, "#!/bin/sh\ncall_lefthook run 1\n");
        assert_eq!(installed(&place), Outcome::Chained);
        // What `lefthook install` does.
        fs::rename(&hook, with_suffix(&hook, ".old")).expect("renamed");
        write_hook(&hook, "#!/bin/sh\ncall_lefthook run 2\n");
        assert_eq!(installed(&place), Outcome::Chained);
        assert!(fs::read_to_string(with_suffix(&hook, KEPT_SUFFIX)).expect("kept").contains("run 2"));
        assert_eq!(uninstall(&place, HOOK).expect("removed"), Outcome::Restored);
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1);
    }

    #[test]
    fn one_that_the_pre_commit_framework_runs_is_in_place() {
        let (dir, place, hook) = hooks();
        assert_eq!(installed(&place), Outcome::Installed);
        fs::rename(&hook, with_suffix(&hook, ".legacy")).expect("renamed");
        write_hook(&hook, "#!/usr/bin/env bash\n# File generated by pre-commit: https://pre-commit.com\n");
        assert_eq!(installed(&place), Outcome::Unchanged);
        assert_eq!(uninstall(&place, HOOK).expect("looked"), Outcome::Absent);
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1);
    }

    #[test]
    fn a_team_hook_that_calls_us_is_left_alone() {
        let (_dir, place, hook) = hooks();
        write_hook(&hook, "#!/bin/sh\nnpm test && git dits hook pre-push \"$@\"\n");
        assert_eq!(installed(&place), Outcome::Unchanged);
        assert_eq!(uninstall(&place, HOOK).expect("looked"), Outcome::Absent);
    }

    #[test]
    fn one_that_git_would_not_run_is_written_again() {
        let (_dir, place, hook) = hooks();
        installed(&place);
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o644)).expect("set");
        assert_eq!(installed(&place), Outcome::Installed);
        assert!(place.have(HOOK).expect("read"));
    }

    #[test]
    fn nothing_is_written_where_core_hooks_path_points() {
        let (dir, _, hook) = hooks();
        let theirs = HookFiles::Theirs(dir.path().to_owned());
        assert_eq!(installed(&theirs), Outcome::ByHand);
        assert!(!hook.exists());
    }
}
