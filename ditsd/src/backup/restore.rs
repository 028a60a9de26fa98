//! From a backup to a server root.
//!
//! **For:** `ditsd restore`.
//!
//! **May touch:** the new root; the backup, reading only; git children.
//!
//! **Must hold:**
//! - nothing is restored over anything that is there;
//! - the root can be served only once everything is in it, on stable storage;
//! - it is another server to those who hold receipts: what they were told since the backup is not true any more.
//!
//! **Format:** `docs/formats/backup-v1.md`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dits_core::git_index::ObjectFormat;
use dits_core::repo_path::RepoName;
use dits_core::steps::{self, Step};
use dits_core::store::copies::PackFiles;

use super::folder::Backup;
use super::list::{self, List, Repository};
use super::{BackupError, Progress, absent_is_none, check_apart, hash_of};
use crate::blobs::Blobs;
use crate::db::Db;
use crate::git::Git;
use crate::root::{Root, RootLock, files};

const META: &str = "meta.sqlite";

/// What a restore came to.
#[derive(Debug)]
pub struct Restored {
    /// The new root. It is marked as unfinished.
    pub root: Root,
    /// When the snapshot was made, in seconds since 1970 UTC.
    pub made_at: u64,
    /// Repositories that were made.
    pub repositories: u64,
    /// Sealed packs that were copied, or were there from an earlier try.
    pub packs: u64,
    /// Their length, in bytes.
    pub bytes: u64,
    /// Files that the list names, and that the backup lacks or has otherwise.
    pub bad: Vec<PathBuf>,
    /// Repositories whose text is on another host: no push of text brings back what they lack.
    pub text_elsewhere: Vec<String>,
    /// Keeps another restore away, and a server.
    _lock: RootLock,
}

/// Makes a server root in the empty folder `dir` of a complete snapshot of the backup at `from`, the newest unless one is asked for. The
/// caller looks at it, and then ends the restore ([`Root::end_restore`]).
///
/// # Errors
///
/// [`BackupError`]. The same call goes on from there.
pub fn restore(
    from: &Path,
    dir: &Path,
    number: Option<u64>,
    tell: &dyn Fn(Progress<'_>),
) -> Result<Restored, BackupError> {
    let backup = Backup::open(from)?;
    check_apart(dir, backup.dir())?;
    let mut complete = backup.complete()?;
    complete.retain(|complete| number.is_none_or(|number| number == *complete));
    let number = complete.pop().ok_or_else(|| BackupError::NoSnapshot(backup.dir().to_owned()))?;
    let snapshot = backup.snapshot(number);
    let list = List::read(&snapshot)?;
    let meta = list.files.iter().find(|copied| copied.path == META).map(|copied| copied.blake3.clone());
    if meta != Some(hash_of(&snapshot.join(META))?) {
        return Err(BackupError::Damaged { path: snapshot.join(META), reason: "it is not what was copied" });
    }
    let root = Root::begin_restore(dir, &format!("{number} {}", list.hash()))?;
    let lock = root.lock()?;
    let mut restoring = Restoring {
        backup: &backup,
        snapshot,
        number,
        restored: Restored {
            root,
            made_at: list.made_at,
            repositories: 0,
            packs: 0,
            bytes: 0,
            bad: Vec::new(),
            text_elsewhere: Vec::new(),
            _lock: lock,
        },
        tell,
    };
    restoring.packs(&list)?;
    steps::reached(Step::RestorePacksCopied);
    restoring.files(&list)?;
    restoring.repositories(&list.repositories)?;
    files::sync_all_of(restoring.restored.root.dir())?;
    steps::reached(Step::RestoreRepositoriesFilled);
    Ok(restoring.restored)
}

struct Restoring<'a> {
    backup: &'a Backup,
    snapshot: PathBuf,
    number: u64,
    restored: Restored,
    tell: &'a dyn Fn(Progress<'_>),
}

impl Restoring<'_> {
    fn packs(&mut self, list: &List) -> Result<(), BackupError> {
        let target = PackFiles::of(&self.restored.root.store());
        for dir in [self.restored.root.store().join("packs"), target.open_dir()] {
            files::make_dir(&dir)?;
        }
        let total = list.packs.iter().map(|pack| pack.len).sum();
        for pack in &list.packs {
            let path = self.snapshot.join(list::NAME);
            let hash = pack.hash().ok_or(BackupError::Damaged { path, reason: "the name of a pack is none" })?;
            let (whole, to) = (self.backup.pack(&hash), target.path(&hash));
            let from = if whole.exists() { whole } else { self.backup.damaged_pack(&hash) };
            let failed = files::failed("open", &from);
            let Some(file) = absent_is_none(File::open(&from)).map_err(failed)? else {
                self.restored.bad.push(from);
                continue;
            };
            let len = file.metadata().map_err(files::failed("read", &from))?.len();
            // An earlier try may have copied it.
            if fs::metadata(&to).map_or(true, |there| there.len() != len) {
                files::copy(&file, &from, &to)?;
            }
            self.restored.packs += 1;
            self.restored.bytes += len;
            (self.tell)(Progress::Packs { done: self.restored.bytes, total });
        }
        Ok(())
    }

    /// Copies all else but the configuration of repositories.
    fn files(&mut self, list: &List) -> Result<(), BackupError> {
        let root = &self.restored.root;
        // A log of a try that was killed is of its database, and not of the copy.
        for log in ["meta.sqlite-wal", "meta.sqlite-shm"].map(|name| root.dir().join(name)) {
            if log.exists() {
                files::remove(&log)?;
            }
        }
        for copied in &list.files {
            let from = self.snapshot.join(&copied.path);
            let to = match copied.path.split_once('/') {
                None if copied.path == META => root.meta(),
                Some(("tls", name)) => root.tls().join(name),
                Some(("open", name)) => PackFiles::of(&root.store()).open_dir().join(name),
                _ => continue,
            };
            let failed = files::failed("open", &from);
            match absent_is_none(File::open(&from)).map_err(failed)? {
                Some(file) if hash_of(&from)? == copied.blake3 => drop(files::copy(&file, &from, &to)?),
                // What is good in an open pack is told from what is not by its log.
                Some(file) if copied.path.starts_with("open/") => {
                    files::copy(&file, &from, &to)?;
                    self.restored.bad.push(from);
                }
                _ => self.restored.bad.push(from),
            }
        }
        Ok(())
    }

    fn repositories(&mut self, listed: &[Repository]) -> Result<(), BackupError> {
        let root = self.restored.root.clone();
        let git = Git::new(root.clone()).map_err(BackupError::NoGit)?;
        let db = Arc::new(Db::open(&root.meta())?);
        let rows = db.repos()?;
        // It makes a store of the packs, and an index.
        drop(Blobs::open(&root, db)?);
        for row in rows {
            let id = files::hex(&row.id.0);
            match listed.iter().find(|listed| listed.id == id) {
                Some(listed) => self.repository(&git, &row.name, listed)?,
                // It was made while the backup ran, and its refs came after those of the snapshot.
                None => git.ensure(&row.name, ObjectFormat::Sha1)?,
            }
            self.restored.repositories += 1;
            if row.text_elsewhere {
                self.restored.text_elsewhere.push(row.name.to_string());
            }
        }
        Ok(())
    }

    fn repository(&mut self, git: &Git, name: &RepoName, listed: &Repository) -> Result<(), BackupError> {
        let list = self.snapshot.join(list::NAME);
        let format = ObjectFormat::parse(&listed.object_format)
            .ok_or(BackupError::Damaged { path: list, reason: "a format of objects is none" })?;
        (self.tell)(Progress::Repository(name));
        git.ensure(name, format)?;
        let mirror = self.backup.mirror(&listed.id, format.name());
        let failed = |source| BackupError::Repository { name: listed.name.clone(), source };
        git.fetch_from_mirror(name, &mirror, self.number, listed.head.as_deref()).map_err(failed)?;
        let config = self.snapshot.join("config").join(&listed.id);
        match absent_is_none(File::open(&config)).map_err(files::failed("open", &config))? {
            Some(file) => drop(files::copy(&file, &config, &git.path(name).join("config"))?),
            None => self.restored.bad.push(config),
        }
        Ok(())
    }
}
