//! From a backup to a server root.
//!
//! **For:** `ditsd restore`.
//!
//! **May touch:** the new root; the backup, reading only, but for its lock; git children.
//!
//! **Must hold:**
//! - nothing is restored over anything that is there;
//! - the root can be served only once everything is in it;
//! - it is another server to those who hold receipts: what they were told since the backup is not true any more.
//!
//! **Format:** `docs/formats/backup-v1.md`.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dits_core::git_index::ObjectFormat;
use dits_core::repo_path::RepoName;
use dits_core::steps::{self, Step};
use dits_core::store::copies::PackFiles;

use super::list::{self, List, Repository};
use super::{Backup, BackupError, Progress, TLS, hash_of, opened};
use crate::blobs::Blobs;
use crate::db::Db;
use crate::git::Git;
use crate::root::{Root, RootLock, files};

/// What a restore came to.
#[derive(Debug)]
pub struct Restored {
    /// The new root. It is marked as unfinished.
    pub root: Root,
    /// When the snapshot was made, in seconds since 1970 UTC.
    pub made_at: u64,
    /// Repositories that were made.
    pub repositories: u64,
    /// Packs that were copied, or were there from an earlier try.
    pub packs: u64,
    /// Their length, in bytes.
    pub bytes: u64,
    /// Packs that the list names, and the backup lacks.
    pub missing: Vec<PathBuf>,
    /// Keeps another restore away.
    _lock: RootLock,
}

/// Makes a server root in the empty folder `dir` of the last complete snapshot of the backup at `from`. The caller looks at it, and
/// then ends the restore ([`Root::end_restore`]).
///
/// # Errors
///
/// [`BackupError`]. The same call goes on from there.
pub fn restore(from: &Path, dir: &Path, tell: &dyn Fn(Progress<'_>)) -> Result<Restored, BackupError> {
    let backup = Backup::open(from)?;
    let number = backup.last()?.ok_or_else(|| BackupError::Empty(backup.dir.clone()))?;
    let snapshot = backup.snapshot(number);
    let list = List::read(&snapshot)?;
    let meta = snapshot.join("meta.sqlite");
    if hash_of(&meta)? != list.meta_blake3 {
        return Err(BackupError::Damaged { path: meta, reason: "it is not what was copied" });
    }
    let root = Root::begin_restore(dir)?;
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
            missing: Vec::new(),
            _lock: lock,
        },
        tell,
    };
    restoring.packs(&list)?;
    steps::reached(Step::RestorePacksCopied);
    restoring.database(&meta)?;
    restoring.repositories(&list.repositories)?;
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
        let (source, target) = (PackFiles::of(&self.backup.dir), PackFiles::of(&self.restored.root.store()));
        let packs = self.restored.root.store().join("packs");
        for dir in [&packs, &target.open_dir()] {
            files::make_dir(dir)?;
            // What a try left that was killed.
            for name in files::names_in(dir)?.iter().filter(|name| name.to_string_lossy().starts_with(files::COPYING)) {
                let path = dir.join(name);
                fs::remove_file(&path).map_err(files::failed("remove", &path))?;
            }
        }
        let total = list.packs.iter().map(|pack| pack.len).sum();
        for pack in &list.packs {
            let path = self.snapshot.join(list::NAME);
            let hash = pack.hash().ok_or(BackupError::Damaged { path, reason: "the name of a pack is none" })?;
            self.copy(&source.path(&hash), &target.path(&hash))?;
            (self.tell)(Progress::Packs { done: self.restored.bytes, total });
        }
        let open = PackFiles::of(&self.snapshot).open()?;
        let listed: HashSet<&String> = list.open.iter().collect();
        for pack in open.into_iter().filter(|pack| listed.contains(&pack.name)) {
            let to = target.open_dir();
            self.copy(&pack.payload, &to.join(format!("{}.pack", pack.name)))?;
            self.copy(&pack.log, &to.join(format!("{}.log", pack.name)))?;
        }
        [packs, target.open_dir(), self.restored.root.store()].iter().try_for_each(|dir| files::sync_dir(dir))?;
        Ok(())
    }

    /// Copies a file of the store, unless an earlier try did.
    fn copy(&mut self, from: &Path, to: &Path) -> Result<(), BackupError> {
        let Some(file) = opened(from)? else {
            self.restored.missing.push(from.to_owned());
            return Ok(());
        };
        let len = file.metadata().map_err(files::failed("read", from))?.len();
        if fs::metadata(to).is_ok_and(|there| there.len() != len) || !to.exists() {
            files::copy(&file, from, to)?;
        }
        self.restored.packs += 1;
        self.restored.bytes += len;
        Ok(())
    }

    fn database(&self, meta: &Path) -> Result<(), BackupError> {
        let root = &self.restored.root;
        for name in TLS {
            let from = self.snapshot.join("tls").join(name);
            if let Some(file) = opened(&from)? {
                files::copy(&file, &from, &root.tls().join(name))?;
            }
        }
        files::sync_dir(&root.tls())?;
        // A log that an earlier try left belongs to the copy of that try.
        for log in ["meta.sqlite-wal", "meta.sqlite-shm"] {
            let path = root.dir().join(log);
            if path.exists() {
                fs::remove_file(&path).map_err(files::failed("remove", &path))?;
            }
        }
        let file = File::open(meta).map_err(files::failed("open", meta))?;
        files::copy(&file, meta, &root.meta())?;
        Ok(files::sync_dir(root.dir())?)
    }

    fn repositories(&mut self, listed: &[Repository]) -> Result<(), BackupError> {
        let root = &self.restored.root;
        let git = Git::new(root.clone()).map_err(BackupError::NoGit)?;
        let db = Arc::new(Db::open(&root.meta())?);
        let rows = db.repos()?;
        // It makes a store of the packs, and an index.
        drop(Blobs::open(root, db)?);
        for row in rows {
            let id = files::hex(&row.id.0);
            match listed.iter().find(|listed| listed.id == id && listed.name == row.name.as_str()) {
                Some(listed) => self.repository(&git, listed)?,
                // It was made while the backup ran, and its refs came after those of the snapshot.
                None => git.ensure(&row.name, ObjectFormat::Sha1)?,
            }
            self.restored.repositories += 1;
        }
        Ok(())
    }

    fn repository(&self, git: &Git, listed: &Repository) -> Result<(), BackupError> {
        let list = self.snapshot.join(list::NAME);
        let name = RepoName::new(&listed.name).map_err(|source| BackupError::BadName { path: list.clone(), source })?;
        let format = ObjectFormat::parse(&listed.object_format)
            .ok_or(BackupError::Damaged { path: list, reason: "a format of objects is none" })?;
        (self.tell)(Progress::Repository(&name));
        git.ensure(&name, format)?;
        let config = self.snapshot.join("config").join(&listed.id);
        let file = File::open(&config).map_err(files::failed("open", &config))?;
        files::copy(&file, &config, &git.path(&name).join("config"))?;
        let failed = |source| BackupError::Repository { name: listed.name.clone(), source };
        git.fetch_from_mirror(&name, &self.backup.mirror(&listed.id), self.number, listed.head.as_deref())
            .map_err(failed)
    }
}
