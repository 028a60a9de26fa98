//! Repositories beside the database and the store: what is held is whole, and what refs reach is held.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use dits_core::hash::FileHash;
use dits_core::operations::fsck::{self, DomainParts, FileCheck};
use dits_core::pointer::Pointer;
use dits_core::repo::environment::Environment;
use dits_core::repo::git_program::GitProgram;
use dits_core::repo::pointer_walk::{AttributeCase, GitId, Known, WalkError, WalkLimits, walk_each};
use dits_core::store::StoreError;

use super::{FsckError, Looked};
use crate::blobs::Blobs;
use crate::db::{Db, DbError, Held, RepoId, RepoRow};
use crate::git::Git;
use crate::root::Root;

/// Folders that are looked through for repositories, below one another.
const DEPTH_MAX: usize = 32;

/// A repository that is not as it should be.
pub struct RepositoryFinding {
    pub repository: String,
    pub problem: String,
}

/// A file that is held and not whole, or that a ref needs and that is not held.
pub struct Broken {
    pub repository: String,
    pub pointer: Pointer,
    pub path: Option<String>,
    pub commit: Option<String>,
    pub reason: String,
    pub parts: Vec<fsck::BrokenPart>,
    /// The row that says that it is held.
    pub held: Option<Held>,
}

impl Broken {
    /// Returns true if there is a copy of each part, though a damaged one: whoever looks at the row knows that.
    pub fn is_only_damaged(&self) -> bool {
        !self.parts.is_empty() && self.parts.iter().all(|part| !part.copies.is_empty())
    }
}

/// Why a walk over refs ended.
enum Stop {
    Walk(WalkError),
    Db(DbError),
}

impl From<WalkError> for Stop {
    fn from(error: WalkError) -> Stop {
        Stop::Walk(error)
    }
}

/// Looks at every repository, registered or on the disk.
pub fn look(root: &Root, db: &Db, blobs: &Blobs, repos: &[RepoRow], looked: &mut Looked) -> Result<(), FsckError> {
    let git = Git::new(root.clone())?;
    let mut on_disk = HashSet::new();
    find(&root.repos(), 0, &mut on_disk);
    for repo in repos {
        let name = repo.name.as_str().to_owned();
        let first = looked.broken.len();
        look_at_held(db, blobs, repo, looked)?;
        on_disk.remove(&git.path(&repo.name));
        match git.exists(&repo.name) {
            true => {
                if let Err(problem) = look_at_refs(root, &git, db, repo, looked, first) {
                    match problem {
                        Stop::Db(error) => return Err(error.into()),
                        Stop::Walk(error) => {
                            let problem = format!("git cannot walk it: {error}");
                            looked.repositories.push(RepositoryFinding { repository: name, problem });
                        }
                    }
                }
            }
            // The first push to a name registers it, and may have ended there.
            false if !has_held(db, repo)? => {}
            false => {
                let problem =
                    format!("it is registered and holds files, and {} is not there", git.path(&repo.name).display());
                looked.repositories.push(RepositoryFinding { repository: name, problem });
            }
        }
    }
    let mut left: Vec<PathBuf> = on_disk.into_iter().collect();
    left.sort();
    for path in left {
        let name = path.strip_prefix(root.repos()).unwrap_or(&path).with_extension("");
        let problem = "it is not registered, so that nobody can reach it".to_owned();
        looked.repositories.push(RepositoryFinding { repository: name.display().to_string(), problem });
    }
    Ok(())
}

fn has_held(db: &Db, repo: &RepoRow) -> Result<bool, DbError> {
    enum First {
        Found,
        Failed(DbError),
    }
    impl From<DbError> for First {
        fn from(error: DbError) -> First {
            First::Failed(error)
        }
    }
    match db.each_held::<First>(repo.key, &mut |_| Err(First::Found)) {
        Ok(()) => Ok(false),
        Err(First::Found) => Ok(true),
        Err(First::Failed(error)) => Err(error),
    }
}

/// Finds bare repositories below `dir`.
fn find(dir: &Path, depth: usize, found: &mut HashSet<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
        match path.extension().is_some_and(|end| end == "git") && path.join("HEAD").is_file() {
            true => drop(found.insert(path)),
            false if depth < DEPTH_MAX => find(&path, depth + 1, found),
            false => {}
        }
    }
}

/// Returns true if a held file is whole in its repository.
pub fn is_whole(db: &Db, blobs: &Blobs, repo: &RepoRow, held: &Held) -> Result<bool, FsckError> {
    with_check(db, blobs, repo, |check| Ok(check.look(&held.pointer, &[held.manifest])?.is_none()))
}

fn with_check<T>(
    db: &Db,
    blobs: &Blobs,
    repo: &RepoRow,
    body: impl FnOnce(&mut FileCheck<'_>) -> Result<T, FsckError>,
) -> Result<T, FsckError> {
    let adopted = |ids: &[dits_core::item::ItemId]| -> Result<Vec<bool>, StoreError> {
        let has = blobs.store().has_each(ids)?;
        // A database that cannot be asked adopts nothing; its own check says what is wrong with it.
        let recorded = db.have_presence(RepoId(repo.domain().0), ids).unwrap_or_else(|_| vec![false; ids.len()]);
        Ok(has.into_iter().zip(recorded).map(|(has, recorded)| has && recorded).collect())
    };
    let parts = DomainParts { store: blobs.store(), domain: repo.domain(), adopted: &adopted };
    body(&mut FileCheck::new(&parts))
}

fn look_at_held(db: &Db, blobs: &Blobs, repo: &RepoRow, looked: &mut Looked) -> Result<(), FsckError> {
    with_check(db, blobs, repo, |check| {
        db.each_held::<FsckError>(repo.key, &mut |held| {
            let Some(why) = check.look(&held.pointer, &[held.manifest])? else {
                looked.files += 1;
                return Ok(());
            };
            let (reason, parts) = match why {
                fsck::Broken::Absent => ("its manifest is not here".to_owned(), Vec::new()),
                fsck::Broken::WrongManifest { .. } => ("its manifest leads to something else".to_owned(), Vec::new()),
                fsck::Broken::Parts { parts, count, .. } => (format!("{count} parts are damaged or missing"), parts),
            };
            looked.broken.push(Broken {
                repository: repo.name.as_str().to_owned(),
                pointer: held.pointer,
                path: None,
                commit: None,
                reason,
                parts,
                held: Some(held),
            });
            Ok(())
        })
    })
}

/// Looks whether everything that refs reach is held, and names what is broken from `first` on.
fn look_at_refs(
    root: &Root,
    git: &Git,
    db: &Db,
    repo: &RepoRow,
    looked: &mut Looked,
    first: usize,
) -> Result<(), Stop> {
    let bare = git.path(&repo.name);
    let program = program(root, &bare).map_err(|error| Stop::Walk(error.into()))?;
    let refs = program.capture(["for-each-ref", "--format=%(objectname)"]).map_err(|error| Stop::Walk(error.into()))?;
    let tips: Vec<GitId> = refs.split(|byte| *byte == b'\n').filter_map(GitId::parse).collect();
    if tips.is_empty() {
        return Ok(());
    }
    let known = Known::Ids(Vec::new());
    let numbered = looked.broken.iter().enumerate().skip(first);
    let mut broken_at: HashMap<FileHash, usize> = numbered.map(|(at, broken)| (broken.pointer.oid, at)).collect();
    walk_each(&program, AttributeCase::Sensitive, &tips, &known, WalkLimits::default(), &mut |walked| {
        let oids: Vec<FileHash> = walked.pointers.iter().map(|found| found.pointer.oid).collect();
        let held = db.held(repo.key, &oids).map_err(Stop::Db)?;
        for (found, held) in walked.pointers.into_iter().zip(held) {
            let (path, commit) = (found.path.to_string(), found.commit.to_string());
            if let Some(at) = broken_at.get(&found.pointer.oid) {
                let broken = &mut looked.broken[*at];
                broken.path.get_or_insert(path);
                broken.commit.get_or_insert(commit);
            } else if held.is_none_or(|held| held.pointer != found.pointer) {
                broken_at.insert(found.pointer.oid, looked.broken.len());
                looked.broken.push(Broken {
                    repository: repo.name.as_str().to_owned(),
                    pointer: found.pointer,
                    path: Some(path),
                    commit: Some(commit),
                    reason: "a ref needs it, and it is not held".to_owned(),
                    parts: Vec::new(),
                    held: None,
                });
            }
        }
        Ok(())
    })
}

/// Git on a bare repository of the server, with nothing of the operator's settings.
fn program(root: &Root, bare: &Path) -> Result<GitProgram, dits_core::repo::git_program::GitError> {
    let found = GitProgram::find(&Environment::new(std::env::vars_os()))?;
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let vars: [(&str, OsString); 6] = [
        ("PATH", path),
        ("HOME", root.unfinished().into()),
        ("LC_ALL", "C.UTF-8".into()),
        ("GIT_CONFIG_NOSYSTEM", "1".into()),
        ("GIT_CONFIG_GLOBAL", "/dev/null".into()),
        ("GIT_DIR", bare.into()),
    ];
    let vars = vars.into_iter().map(|(name, value)| (OsString::from(name), value));
    let owner = format!("safe.directory={}", bare.display());
    Ok(found.with_only_env(vars).with_config(owner).in_dir(bare))
}
