//! The folder of a backup: what is in it, and who may use it.
//!
//! **For:** taking and restoring snapshots.
//!
//! **May touch:** the backup's folder.
//!
//! **Must hold:**
//! - one process writes to a backup at a time, and none while another restores from it;
//! - what a complete snapshot needs is removed only with that snapshot.
//!
//! **Format:** `docs/formats/backup-v1.md`.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use dits_core::hash::PackHash;
use dits_core::store::copies::PackFiles;
use rustix::fs::FlockOperation;

use super::list::{self, List, Pack};
use super::{BackupError, absent_is_none};
use crate::root::{RootError, files};

const FORMAT: &str = "dits backup 1\n";
/// The ending of a copy of a pack that is damaged on the server.
const DAMAGED: &str = "damaged";
/// The ending of one that has not been looked at.
const NEW: &str = "new";

/// A backup that is there, and that nobody else writes to.
pub struct Backup {
    dir: PathBuf,
    _lock: Option<File>,
}

impl Backup {
    /// Opens a backup to write to it, making it in an empty folder.
    pub fn create(dir: &Path) -> Result<Backup, BackupError> {
        files::make_dir(dir)?;
        let dir = dir.canonicalize().map_err(files::failed("find", dir))?;
        let format = dir.join("format");
        // A new disk has `lost+found`; the lock is made before the format, and a first try that was killed leaves it.
        let is_known = |name: &str| name == "lost+found" || name == "lock" || name.starts_with("format");
        if !format.exists() && !files::names_in(&dir)?.iter().all(|name| name.to_str().is_some_and(is_known)) {
            return Err(BackupError::NotABackup(dir));
        }
        let path = dir.join("lock");
        let lock = locked(&dir, files::open_for_lock(&path)?, FlockOperation::NonBlockingLockExclusive)?;
        if !format.exists() {
            files::replace(&format, FORMAT.as_bytes(), 0o600)?;
        }
        let backup = Backup { dir, _lock: Some(lock) };
        backup.check_format()?;
        for dir in [backup.packs_dir(), backup.mirrors(), backup.snapshots()] {
            files::make_dir(&dir)?;
        }
        Ok(backup)
    }

    /// Opens a backup to read it. Nothing is written: it may be on a medium that cannot be written to.
    pub fn open(dir: &Path) -> Result<Backup, BackupError> {
        if !dir.join("format").exists() {
            return Err(BackupError::NotABackup(dir.to_owned()));
        }
        let dir = dir.canonicalize().map_err(files::failed("find", dir))?;
        let path = dir.join("lock");
        let lock = absent_is_none(File::open(&path)).map_err(files::failed("open", &path))?;
        let lock = lock.map(|lock| locked(&dir, lock, FlockOperation::NonBlockingLockShared)).transpose()?;
        let backup = Backup { dir, _lock: lock };
        backup.check_format()?;
        Ok(backup)
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

    /// The folder itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn packs_dir(&self) -> PathBuf {
        self.dir.join("packs")
    }

    fn mirrors(&self) -> PathBuf {
        self.dir.join("git")
    }

    fn snapshots(&self) -> PathBuf {
        self.dir.join("snapshots")
    }

    /// The folder of a snapshot.
    pub fn snapshot(&self, number: u64) -> PathBuf {
        self.snapshots().join(number.to_string())
    }

    /// The bare repository with all snapshots of a repository.
    pub fn mirror(&self, id: &str, object_format: &str) -> PathBuf {
        self.mirrors().join(format!("{id}-{object_format}.git"))
    }

    /// Where the copy of a pack is that was whole when it was made.
    pub fn pack(&self, pack: &PackHash) -> PathBuf {
        PackFiles::of(&self.dir).path(pack)
    }

    /// Where the copy of a pack is that is damaged on the server.
    pub fn damaged_pack(&self, pack: &PackHash) -> PathBuf {
        self.pack(pack).with_extension(DAMAGED)
    }

    /// Where a copy of a pack is that nobody has looked at yet.
    pub fn new_pack(&self, pack: &PackHash) -> PathBuf {
        self.pack(pack).with_extension(NEW)
    }

    /// Lists snapshots by number, and whether each is complete.
    fn numbers(&self) -> Result<BTreeMap<u64, bool>, BackupError> {
        let names = files::names_in(&self.snapshots())?;
        let numbers = names.iter().filter_map(|name| name.to_str()?.parse().ok());
        Ok(numbers.map(|number| (number, self.snapshot(number).join(list::NAME).exists())).collect())
    }

    /// The numbers of complete snapshots, the newest last.
    pub fn complete(&self) -> Result<Vec<u64>, BackupError> {
        let numbers = self.numbers()?.into_iter().filter(|(_, is_complete)| *is_complete);
        Ok(numbers.map(|(number, _)| number).collect())
    }

    fn remove_snapshot(&self, number: u64) -> Result<(), BackupError> {
        let dir = self.snapshot(number);
        Ok(fs::remove_dir_all(&dir).map_err(files::failed("remove", &dir))?)
    }

    /// Removes what a backup left that was killed: unfinished snapshots and copies, and locks of git.
    pub fn clear_up(&self) -> Result<(), BackupError> {
        for (number, is_complete) in self.numbers()? {
            if !is_complete {
                self.remove_snapshot(number)?;
            }
        }
        remove_where(&self.packs_dir(), &|name| name.starts_with(files::COPYING) || name.ends_with(NEW))?;
        for mirror in files::names_in(&self.mirrors())? {
            let mirror = self.mirrors().join(mirror);
            remove_where(&mirror, &|name| name.ends_with(".lock"))?;
            remove_locks_below(&mirror.join("refs"))?;
        }
        Ok(())
    }

    /// Removes all but the newest `keep` snapshots; returns the numbers of those that stay.
    pub fn forget_older(&self, keep: usize) -> Result<Vec<u64>, BackupError> {
        let complete = self.complete()?;
        let (older, kept) = complete.split_at(complete.len().saturating_sub(keep));
        older.iter().try_for_each(|number| self.remove_snapshot(*number))?;
        Ok(kept.to_vec())
    }

    /// Removes packs and mirrors that none of these snapshots needs; returns how many packs.
    pub fn remove_unlisted(&self, kept: &[u64]) -> Result<u64, BackupError> {
        let (mut packs, mut mirrors) = (HashSet::new(), HashSet::new());
        for number in kept {
            let list = List::read(&self.snapshot(*number))?;
            packs.extend(list.packs.iter().filter_map(Pack::hash));
            mirrors.extend(list.repositories.iter().map(|listed| self.mirror(&listed.id, &listed.object_format)));
        }
        for name in files::names_in(&self.mirrors())? {
            let path = self.mirrors().join(name);
            if !mirrors.contains(&path) {
                fs::remove_dir_all(&path).map_err(files::failed("remove", &path))?;
            }
        }
        let mut removed = 0;
        for name in files::names_in(&self.packs_dir())? {
            let path = self.packs_dir().join(name);
            let hash = path.file_stem().and_then(|stem| stem.to_str()?.parse::<PackHash>().ok());
            let is_stale = |hash| !packs.contains(hash) || path == self.damaged_pack(hash) && self.pack(hash).exists();
            if hash.as_ref().is_some_and(is_stale) {
                fs::remove_file(&path).map_err(files::failed("remove", &path))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Has everything that was written so far, by git as well, on stable storage.
    pub fn sync(&self) -> Result<(), RootError> {
        files::sync_all_of(&self.dir)
    }
}

fn locked(dir: &Path, lock: File, operation: FlockOperation) -> Result<File, BackupError> {
    match rustix::fs::flock(&lock, operation) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(BackupError::Locked(dir.to_owned())),
        Err(error) => Err(files::failed("lock", &dir.join("lock"))(error.into()).into()),
    }
}

fn remove_where(dir: &Path, is_left: &dyn Fn(&str) -> bool) -> Result<(), RootError> {
    for name in files::names_in(dir)? {
        if name.to_str().is_some_and(is_left) {
            let path = dir.join(name);
            fs::remove_file(&path).map_err(files::failed("remove", &path))?;
        }
    }
    Ok(())
}

/// Whoever held them is gone: the lock of the backup is ours.
fn remove_locks_below(dir: &Path) -> Result<(), RootError> {
    if !dir.is_dir() {
        return Ok(());
    }
    remove_where(dir, &|name| name.ends_with(".lock"))?;
    files::names_in(dir)?.iter().try_for_each(|name| remove_locks_below(&dir.join(name)))
}
