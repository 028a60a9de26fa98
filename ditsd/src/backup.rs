//! A backup of a server root while it serves, and the way back.
//!
//! **For:** `ditsd backup` and `ditsd restore`.
//!
//! **May touch:** the backup's folder; the root, reading only, but for the lock of collections; git children.
//!
//! **Must hold:**
//! - refs are read first, then the database, then packs: what a snapshot's refs name is held in it, and what is held is there;
//! - nothing is removed from the root meanwhile, and from the backup nothing that its last complete snapshot needs;
//! - a pack of the backup is never written to.
//!
//! **Format:** `docs/formats/backup-v1.md`.

mod list;
mod restore;

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use dits_core::hash::PackHash;
use dits_core::repo::git_program::GitError as ProgramError;
use dits_core::repo_path::{NameError, RepoName};
use dits_core::steps::{self, Step};
use dits_core::store::StoreError;
use dits_core::store::copies::{OpenPackFiles, PackFiles};
use rustix::fs::FlockOperation;

pub use restore::{Restored, restore};

use crate::clock;
use crate::db::{Db, DbError, RepoId};
use crate::git::{Git, GitError};
use crate::root::{Root, RootError, files};
use list::{List, Pack, Repository};

const FORMAT: &str = "dits backup 1\n";
/// Where certificate and key are, below a root and below a snapshot.
const TLS: [&str; 2] = ["cert.pem", "key.pem"];

/// Why there is no backup, or nothing was restored from one.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file or folder of the root or of the backup could not be used.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The database could not be copied or read.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The folders of packs could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Git could not copy a repository.
    #[error("cannot copy the repository {name}")]
    Repository {
        /// The repository.
        name: String,
        /// What git said.
        source: ProgramError,
    },
    /// A repository could not be made.
    #[error(transparent)]
    Git(#[from] GitError),
    /// There is no git.
    #[error(transparent)]
    NoGit(ProgramError),
    /// The folder holds something else.
    #[error("{0} is neither empty nor a backup")]
    NotABackup(PathBuf),
    /// It was written by a later version.
    #[error("the backup {path} has format {format:?}, which this version of ditsd does not know")]
    UnknownFormat {
        /// The backup.
        path: PathBuf,
        /// What its `format` file says.
        format: String,
    },
    /// The list was written by a later version.
    #[error("{path} has version {version}, which this version of ditsd does not know")]
    UnknownVersion {
        /// The list.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// Another process writes to the backup, or restores from it.
    #[error("another ditsd uses the backup {0}")]
    Locked(PathBuf),
    /// It would be lost with what it is a backup of.
    #[error("the backup {0} would be inside of the server root")]
    Inside(PathBuf),
    /// No snapshot was ever complete.
    #[error("the backup {0} has no complete snapshot")]
    Empty(PathBuf),
    /// A list is no list.
    #[error("{path} is damaged")]
    BadList {
        /// The list.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A name in a list is none.
    #[error("{path} is damaged")]
    BadName {
        /// The list.
        path: PathBuf,
        /// What is wrong with it.
        source: NameError,
    },
    /// A file of the backup is not what was copied.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// How far a backup or a restore is.
#[derive(Debug, Clone, Copy)]
pub enum Progress<'a> {
    /// A repository is copied.
    Repository(&'a RepoName),
    /// Bytes of packs that were looked at, of so many.
    Packs {
        /// Looked at, and copied where they are new.
        done: u64,
        /// All there are, as far as is known.
        total: u64,
    },
    /// All of the new root is read.
    Checking,
}

/// What a backup came to.
#[derive(Debug, Default)]
pub struct Taken {
    /// The snapshot.
    pub number: u64,
    /// Repositories in it.
    pub repositories: u64,
    /// Sealed and open packs in it.
    pub packs: u64,
    /// Their length, in bytes.
    pub bytes: u64,
    /// What of that was copied now, in bytes.
    pub new_bytes: u64,
    /// Packs that only older snapshots needed, and that were removed.
    pub removed_packs: u64,
    /// Packs that are damaged on the server, and so in the backup.
    pub damaged: Vec<PathBuf>,
}

/// A backup that is there, and used by nobody else.
struct Backup {
    dir: PathBuf,
    _lock: File,
}

impl Backup {
    /// Opens a backup, making it in an empty folder.
    fn create(dir: &Path) -> Result<Backup, BackupError> {
        files::make_dir(dir)?;
        let dir = dir.canonicalize().map_err(files::failed("find", dir))?;
        let format = dir.join("format");
        // The lock is made before the format; a first backup that was killed leaves it alone.
        let is_foreign = |name: &std::ffi::OsString| name != "lock" && !name.to_string_lossy().starts_with("format");
        if !format.exists() && files::names_in(&dir)?.iter().any(is_foreign) {
            return Err(BackupError::NotABackup(dir));
        }
        let backup = Backup::locked(dir)?;
        if !format.exists() {
            files::write_new(&format, FORMAT.as_bytes())?;
        }
        backup.check_format()?;
        [backup.dir.join("packs"), backup.dir.join("git"), backup.snapshots()]
            .iter()
            .try_for_each(|dir| files::make_dir(dir))?;
        Ok(backup)
    }

    /// Opens a backup that is there.
    fn open(dir: &Path) -> Result<Backup, BackupError> {
        if !dir.join("format").exists() {
            return Err(BackupError::NotABackup(dir.to_owned()));
        }
        let backup = Backup::locked(dir.canonicalize().map_err(files::failed("find", dir))?)?;
        backup.check_format()?;
        Ok(backup)
    }

    fn locked(dir: PathBuf) -> Result<Backup, BackupError> {
        let path = dir.join("lock");
        let lock = files::open_for_lock(&path)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Backup { dir, _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(BackupError::Locked(dir)),
            Err(error) => Err(files::failed("lock", &path)(error.into()).into()),
        }
    }

    fn check_format(&self) -> Result<(), BackupError> {
        let path = self.dir.join("format");
        let format = fs::read(&path).map_err(files::failed("read", &path))?;
        match format == FORMAT.as_bytes() {
            true => Ok(()),
            false => {
                let format = String::from_utf8_lossy(&format).into_owned();
                Err(BackupError::UnknownFormat { path: self.dir.clone(), format })
            }
        }
    }

    fn snapshots(&self) -> PathBuf {
        self.dir.join("snapshots")
    }

    fn snapshot(&self, number: u64) -> PathBuf {
        self.snapshots().join(number.to_string())
    }

    fn mirror(&self, id: &str) -> PathBuf {
        self.dir.join("git").join(format!("{id}.git"))
    }

    /// Lists snapshots by number, and whether each is complete.
    fn numbers(&self) -> Result<BTreeMap<u64, bool>, BackupError> {
        let names = files::names_in(&self.snapshots())?;
        let numbers = names.iter().filter_map(|name| name.to_str()?.parse().ok());
        Ok(numbers.map(|number| (number, self.snapshot(number).join(list::NAME).exists())).collect())
    }

    /// The newest complete snapshot.
    fn last(&self) -> Result<Option<u64>, BackupError> {
        Ok(self.numbers()?.into_iter().rev().find(|(_, is_complete)| *is_complete).map(|(number, _)| number))
    }

    fn remove_snapshot(&self, number: u64) -> Result<(), BackupError> {
        let dir = self.snapshot(number);
        Ok(fs::remove_dir_all(&dir).map_err(files::failed("remove", &dir))?)
    }

    /// Removes what a backup left that was killed.
    fn clear_up(&self) -> Result<(), BackupError> {
        for (number, is_complete) in self.numbers()? {
            if !is_complete {
                self.remove_snapshot(number)?;
            }
        }
        let packs = self.dir.join("packs");
        for name in files::names_in(&packs)? {
            if name.to_string_lossy().starts_with(files::COPYING) {
                let path = packs.join(name);
                fs::remove_file(&path).map_err(files::failed("remove", &path))?;
            }
        }
        Ok(())
    }
}

/// Copies what is new in the root to the backup in `dir`.
///
/// # Errors
///
/// [`BackupError`]. The snapshot before is then the last one still.
pub fn take(root: &Root, dir: &Path, tell: &dyn Fn(Progress<'_>)) -> Result<Taken, BackupError> {
    if dir.ancestors().filter_map(|dir| dir.canonicalize().ok()).any(|dir| dir == root.dir()) {
        return Err(BackupError::Inside(dir.to_owned()));
    }
    let db = Db::open_existing(&root.meta())?;
    let backup = Backup::create(dir)?;
    let lock = root.lock_for_collection()?;
    backup.clear_up()?;
    let last = backup.last()?;
    let before = last.map(|number| List::read(&backup.snapshot(number))).transpose()?;
    let number = last.map_or(1, |last| last + 1);
    let mut taking = Taking {
        root,
        backup: &backup,
        git: Git::new(root.clone()).map_err(BackupError::NoGit)?,
        snapshot: backup.snapshot(number),
        last: last.map(|last| backup.snapshot(last)),
        taken: Taken { number, ..Taken::default() },
        tell,
    };
    for dir in ["open", "config", "tls"] {
        files::make_dir(&taking.snapshot.join(dir))?;
    }
    let repositories = taking.repositories(&db)?;
    steps::reached(Step::BackupRefsFetched);
    let meta_blake3 = taking.database(&db)?;
    steps::reached(Step::BackupDatabaseCopied);
    let open = taking.open_packs()?;
    let packs = taking.sealed_packs(before.as_ref())?;
    steps::reached(Step::BackupPacksCopied);
    taking.taken.repositories = repositories.len() as u64;
    List::new(clock::now(), meta_blake3, repositories, packs, open).write(&taking.snapshot)?;
    // What follows is about the backup alone.
    drop(lock);
    files::sync_dir(&backup.snapshots())?;
    steps::reached(Step::BackupListed);
    taking.forget_older()?;
    Ok(taking.taken)
}

/// A snapshot that is being made.
struct Taking<'a> {
    root: &'a Root,
    backup: &'a Backup,
    git: Git,
    snapshot: PathBuf,
    last: Option<PathBuf>,
    taken: Taken,
    tell: &'a dyn Fn(Progress<'_>),
}

impl Taking<'_> {
    fn repositories(&self, db: &Db) -> Result<Vec<Repository>, BackupError> {
        let mut repositories = Vec::new();
        for row in db.repos()? {
            if !self.git.exists(&row.name) {
                // Registered, and never pushed to; or removed just now.
                continue;
            }
            (self.tell)(Progress::Repository(&row.name));
            match self.repository(&row.name, row.id) {
                Ok(repository) => repositories.push(repository),
                Err(_) if !self.git.exists(&row.name) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(repositories)
    }

    fn repository(&self, name: &RepoName, id: RepoId) -> Result<Repository, BackupError> {
        let failed = |source| BackupError::Repository { name: name.to_string(), source };
        let id = files::hex(&id.0);
        let object_format = self.git.object_format(name).map_err(failed)?;
        let mirror = self.backup.mirror(&id);
        // One that was emptied may have been made anew in another format.
        if mirror.exists() && self.git.mirror_format(&mirror) != Some(object_format) {
            fs::remove_dir_all(&mirror).map_err(files::failed("remove", &mirror))?;
        }
        if !mirror.exists() {
            self.git.init_mirror(&mirror, object_format)?;
        }
        self.git.fetch_to_mirror(name, &mirror, self.taken.number).map_err(failed)?;
        let config = self.git.path(name).join("config");
        self.copy(&config, &self.snapshot.join("config").join(&id))?;
        let head = self.git.head(name).map_err(failed)?;
        Ok(Repository { id, name: name.to_string(), head, object_format: object_format.name().to_owned() })
    }

    fn copy(&self, from: &Path, to: &Path) -> Result<u64, BackupError> {
        let file = File::open(from).map_err(files::failed("open", from))?;
        Ok(files::copy(&file, from, to)?)
    }

    /// Copies the database and the certificate; returns the hash of the first.
    fn database(&self, db: &Db) -> Result<String, BackupError> {
        let copy = self.snapshot.join("meta.sqlite");
        db.copy_to(&copy)?;
        let file = File::open(&copy).map_err(files::failed("open", &copy))?;
        let synced = file.set_permissions(fs::Permissions::from_mode(0o600)).and_then(|()| file.sync_all());
        synced.map_err(files::failed("sync", &copy))?;
        let tls = self.snapshot.join("tls");
        for name in TLS {
            let from = self.root.tls().join(name);
            // A root that never served has none.
            if from.exists() {
                self.copy(&from, &tls.join(name))?;
            }
        }
        for dir in [&tls, &self.snapshot.join("config"), &self.snapshot] {
            files::sync_dir(dir)?;
        }
        hash_of(&copy)
    }

    /// Copies packs that still grow; returns their names.
    fn open_packs(&mut self) -> Result<Vec<String>, BackupError> {
        let dir = self.snapshot.join("open");
        let mut names = Vec::new();
        for pack in PackFiles::of(&self.root.store()).open()? {
            if self.open_pack(&pack, &dir)? {
                names.push(pack.name);
            }
        }
        files::sync_dir(&dir)?;
        Ok(names)
    }

    /// Returns false for one that was sealed, or removed, or is just being made.
    fn open_pack(&mut self, pack: &OpenPackFiles, dir: &Path) -> Result<bool, BackupError> {
        // Both are open before the first is read: whatever becomes of their names, the bytes stay.
        let (Some(log), Some(payload)) = (opened(&pack.log)?, opened(&pack.payload)?) else { return Ok(false) };
        let [log_copy, payload_copy] = ["log", "pack"].map(|ending| dir.join(format!("{}.{ending}", pack.name)));
        // The log first: payload is written before the records that name it.
        let mut len = files::copy(&log, &pack.log, &log_copy)?;
        let before = self.last.as_ref().map(|last| last.join("open"));
        let before = before.map(|open| ["log", "pack"].map(|ending| open.join(format!("{}.{ending}", pack.name))));
        let same =
            before.filter(|[log, _]| fs::read(log).is_ok_and(|log| fs::read(&log_copy).is_ok_and(|now| now == log)));
        if let Some([_, payload]) = same
            && fs::hard_link(&payload, &payload_copy).is_ok()
        {
            len += fs::metadata(&payload_copy).map_or(0, |metadata| metadata.len());
        } else {
            len += files::copy(&payload, &pack.payload, &payload_copy)?;
            self.taken.new_bytes += len;
        }
        self.taken.packs += 1;
        self.taken.bytes += len;
        Ok(true)
    }

    /// Copies sealed packs that the backup lacks; returns all there are.
    fn sealed_packs(&mut self, before: Option<&List>) -> Result<Vec<Pack>, BackupError> {
        let source = PackFiles::of(&self.root.store());
        let target = PackFiles::of(&self.backup.dir);
        let damaged = before.into_iter().flat_map(|list| list.packs.iter().filter(|pack| pack.damaged));
        let damaged: HashSet<PackHash> = damaged.filter_map(Pack::hash).collect();
        let mut copied: BTreeMap<String, Pack> = BTreeMap::new();
        loop {
            // Packs go only where others take their place, which are listed the next time.
            let mut is_complete = true;
            let wanted: Vec<PackHash> =
                source.sealed()?.into_iter().filter(|pack| !copied.contains_key(&pack.to_string())).collect();
            let total: u64 = wanted.iter().filter_map(|pack| Some(fs::metadata(source.path(pack)).ok()?.len())).sum();
            let mut done = 0;
            for pack in wanted {
                match self.sealed_pack(&source, &target, &pack, damaged.contains(&pack))? {
                    Some(entry) => {
                        done += entry.len;
                        (self.tell)(Progress::Packs { done, total });
                        copied.insert(entry.name.clone(), entry);
                    }
                    None => is_complete = false,
                }
            }
            if is_complete {
                files::sync_dir(&self.backup.dir.join("packs"))?;
                return Ok(copied.into_values().collect());
            }
        }
    }

    fn sealed_pack(
        &mut self,
        source: &PackFiles,
        target: &PackFiles,
        pack: &PackHash,
        was_damaged: bool,
    ) -> Result<Option<Pack>, BackupError> {
        let (from, to) = (source.path(pack), target.path(pack));
        let Some(file) = opened(&from)? else { return Ok(None) };
        let len = file.metadata().map_err(files::failed("read", &from))?.len();
        let mut entry = Pack { name: pack.to_string(), len, damaged: false };
        self.taken.packs += 1;
        self.taken.bytes += len;
        let is_there = fs::metadata(&to).is_ok_and(|there| there.len() == len);
        if is_there && !was_damaged {
            return Ok(Some(entry));
        }
        if is_there && !PackFiles::is_whole(&file, pack) {
            // The copy is no worse.
            entry.damaged = true;
        } else {
            self.taken.new_bytes += files::copy(&file, &from, &to)?;
            let copy = File::open(&to).map_err(files::failed("open", &to))?;
            entry.damaged = !PackFiles::is_whole(&copy, pack);
        }
        if entry.damaged {
            self.taken.damaged.push(from);
        }
        Ok(Some(entry))
    }

    /// Removes older snapshots, and what only they needed.
    fn forget_older(&mut self) -> Result<(), BackupError> {
        let number = self.taken.number;
        for older in self.backup.numbers()?.into_keys().filter(|other| *other != number) {
            self.backup.remove_snapshot(older)?;
        }
        let list = List::read(&self.snapshot)?;
        let ids: HashSet<String> =
            list.repositories.iter().map(|repository| format!("{}.git", repository.id)).collect();
        let mirrors = self.backup.dir.join("git");
        for name in files::names_in(&mirrors)? {
            let path = mirrors.join(&name);
            match name.to_str().is_some_and(|name| ids.contains(name)) {
                true => {
                    let failed = |source| BackupError::Repository { name: path.display().to_string(), source };
                    self.git.forget_snapshots_but(&path, number).map_err(failed)?;
                }
                false => fs::remove_dir_all(&path).map_err(files::failed("remove", &path))?,
            }
        }
        let listed: HashSet<PackHash> = list.packs.iter().filter_map(Pack::hash).collect();
        let packs = PackFiles::of(&self.backup.dir);
        for pack in packs.sealed()?.into_iter().filter(|pack| !listed.contains(pack)) {
            let path = packs.path(&pack);
            fs::remove_file(&path).map_err(files::failed("remove", &path))?;
            self.taken.removed_packs += 1;
        }
        Ok(())
    }
}

/// Opens a file; `None` if there is none.
fn opened(path: &Path) -> Result<Option<File>, RootError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(files::failed("open", path)(error)),
    }
}

/// BLAKE3 of a file, in hex.
fn hash_of(path: &Path) -> Result<String, BackupError> {
    let mut hasher = blake3::Hasher::new();
    let read = File::open(path).and_then(|file| hasher.update_reader(file).map(drop));
    read.map_err(files::failed("read", path))?;
    Ok(hasher.finalize().to_hex().to_string())
}
