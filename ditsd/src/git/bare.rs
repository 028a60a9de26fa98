//! Bare repositories: made whole, removed whole.
//!
//! **For:** the first push to a name, and `ditsd repo`.
//!
//! **Must hold:** a repository has its name only once it is complete.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use dits_core::git_index::ObjectFormat;
use dits_core::repo::git_program::GitError as ProgramError;
use dits_core::repo_path::RepoName;
use dits_core::steps::{self, Step};

use super::{Git, GitError, environment, failed};

impl Git {
    /// Where the repository of this name is or would be.
    pub fn path(&self, name: &RepoName) -> PathBuf {
        name.below(&self.root.repos())
    }

    /// Returns true if the repository is there.
    pub fn exists(&self, name: &RepoName) -> bool {
        self.path(name).join("HEAD").is_file()
    }

    /// Makes the repository if it is not there, its objects named by this format.
    ///
    /// # Errors
    ///
    /// [`GitError`] if git or the file system refuses.
    pub fn ensure(&self, name: &RepoName, object_format: ObjectFormat) -> Result<(), GitError> {
        if self.exists(name) {
            return Ok(());
        }
        let path = self.path(name);
        let unfinished = self.unfinished("new");
        self.init(&unfinished, object_format)?;
        let parent = path.parent().expect("a repository is below the directory of all");
        fs::create_dir_all(parent).map_err(failed("make", parent))?;
        match fs::rename(&unfinished, &path) {
            Ok(()) => {
                steps::reached(Step::RepoCreated);
                sync_dir(parent)
            }
            Err(error) => {
                let _ = fs::remove_dir_all(&unfinished);
                // Two first pushes at once: the other one has made it.
                match error.kind() {
                    _ if self.exists(name) => Ok(()),
                    ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
                        Err(GitError::InTheWay(path))
                    }
                    _ => Err(failed("make", &path)(error)),
                }
            }
        }
    }

    /// As [`Git::ensure`], for who is about to push: a repository that was made before anybody knew what its objects
    /// would be named by, and that has none yet, is made anew in this format.
    ///
    /// # Errors
    ///
    /// As for [`Git::ensure`].
    pub fn ensure_for_push(&self, name: &RepoName, object_format: ObjectFormat) -> Result<(), GitError> {
        let path = self.path(name);
        if self.exists(name) && is_without_objects(&path) && format_of(&path) != Some(object_format) {
            // A crash in between leaves the name free, as before the first push.
            if let Some(aside) = self.set_aside(name)? {
                let _ = fs::remove_dir_all(aside);
            }
        }
        self.ensure(name, object_format)
    }

    /// Takes the repository's name away, and gives back where it is now.
    ///
    /// # Errors
    ///
    /// [`GitError`] if the file system refuses.
    pub fn set_aside(&self, name: &RepoName) -> Result<Option<PathBuf>, GitError> {
        let path = self.path(name);
        let aside = self.unfinished("removed");
        match fs::rename(&path, &aside) {
            Ok(()) => {
                sync_dir(path.parent().expect("a repository is below the directory of all")).map(|()| Some(aside))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("remove", &path)(error)),
        }
    }

    /// Has git tidy the repository up, and let go of what nothing has reached for `grace`.
    ///
    /// # Errors
    ///
    /// [`ProgramError`] if git refuses, since it is at it already for example. Nothing is lost then.
    pub fn collect(&self, name: &RepoName, grace: Duration) -> Result<(), ProgramError> {
        let prune = format!("--prune={}.seconds.ago", grace.as_secs());
        self.program_for(name).with_config("gc.autoDetach=false").run(["gc", "--quiet", &prune])
    }

    pub(super) fn init(&self, path: &Path, object_format: ObjectFormat) -> Result<(), GitError> {
        let mut command = Command::new(&self.program);
        command.env_clear().envs(environment(&self.root)).current_dir(self.root.unfinished());
        command.args(["-c", "init.defaultBranch=main", "init", "--quiet", "--bare", "--template="]);
        // Git before 2.29 knows no other, nor the option.
        if object_format == ObjectFormat::Sha256 {
            command.arg("--object-format=sha256");
        }
        command.arg(path);
        let output = command.stdin(Stdio::null()).output().map_err(GitError::Start)?;
        match output.status.success() {
            true => Ok(()),
            false => {
                let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                Err(GitError::Failed { command: "init", message })
            }
        }
    }

    fn unfinished(&self, what: &str) -> PathBuf {
        self.root.unfinished().join(format!("{what}-{:016x}.git", rand::random::<u64>()))
    }
}

/// Returns true for a bare repository that nothing was ever pushed to.
fn is_without_objects(repo: &Path) -> bool {
    let names = |dir: &str| -> Option<Vec<_>> {
        let entries = fs::read_dir(repo.join(dir)).ok()?;
        entries.map(|entry| Some(entry.ok()?.file_name())).collect()
    };
    let has_only = |dir: &str, known: &[&str]| {
        names(dir).is_some_and(|names| names.iter().all(|name| known.iter().any(|known| name == known)))
    };
    has_only("objects", &["info", "pack"]) && has_only("objects/pack", &[]) && has_only("objects/info", &[])
}

/// What names the objects of a repository; `None` where its configuration cannot be read.
pub(super) fn format_of(repo: &Path) -> Option<ObjectFormat> {
    let config = fs::read_to_string(repo.join("config")).ok()?.to_ascii_lowercase();
    let line = config.lines().find_map(|line| line.trim().strip_prefix("objectformat"));
    match line.map(|rest| rest.trim_start_matches([' ', '\t', '=']).trim_end()) {
        None | Some("sha1") => Some(ObjectFormat::Sha1),
        Some("sha256") => Some(ObjectFormat::Sha256),
        Some(_) => None,
    }
}

fn sync_dir(dir: &Path) -> Result<(), GitError> {
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync", dir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::Root;

    #[test]
    fn repositories_are_made_once_and_removed_whole() {
        let dir = tempfile::tempdir().unwrap();
        let git = Git::new(Root::create(dir.path()).unwrap()).unwrap();
        let (film, nested) = (RepoName::new("film").unwrap(), RepoName::new("film/take").unwrap());
        for name in [&film, &nested] {
            assert!(!git.exists(name));
            git.ensure(name, ObjectFormat::Sha1).unwrap();
            git.ensure(name, ObjectFormat::Sha256).unwrap();
            assert!(git.exists(name));
        }
        let aside = git.set_aside(&film).unwrap().unwrap();
        assert!(aside.join("HEAD").is_file());
        assert!(!git.exists(&film) && git.exists(&nested));
        assert_eq!(git.set_aside(&film).unwrap(), None);
    }

    #[test]
    fn one_without_objects_gets_the_format_of_the_first_push() {
        let dir = tempfile::tempdir().unwrap();
        let git = Git::new(Root::create(dir.path()).unwrap()).unwrap();
        let film = RepoName::new("film").unwrap();
        git.ensure(&film, ObjectFormat::Sha1).unwrap();
        for format in [ObjectFormat::Sha256, ObjectFormat::Sha256, ObjectFormat::Sha1] {
            git.ensure_for_push(&film, format).unwrap();
            assert_eq!(format_of(&git.path(&film)), Some(format));
        }
        fs::create_dir(git.path(&film).join("objects/ab")).unwrap();
        git.ensure_for_push(&film, ObjectFormat::Sha256).unwrap();
        assert_eq!(format_of(&git.path(&film)), Some(ObjectFormat::Sha1), "what was pushed stays");
    }

    #[test]
    fn what_is_in_the_way_stays() {
        let dir = tempfile::tempdir().unwrap();
        let git = Git::new(Root::create(dir.path()).unwrap()).unwrap();
        let film = RepoName::new("film").unwrap();
        fs::create_dir_all(git.path(&film).join("notes")).unwrap();
        assert!(matches!(git.ensure(&film, ObjectFormat::Sha1), Err(GitError::InTheWay(_))));
        assert!(git.path(&film).join("notes").is_dir());
    }
}
