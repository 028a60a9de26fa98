//! Taking a snapshot of a root.
//!
//! **For:** `ditsd backup`.
//!
//! **May touch:** the backup's folder; the root, reading only, but for the lock of collections; git children.
//!
//! **Must hold:**
//! - refs first, then the database, then packs, then the list;
//! - a copy of a pack gets its name once it was found whole.
//!
//! **Format:** `docs/formats/backup-v1.md`, "Write order".

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use dits_core::hash::PackHash;
use dits_core::repo_path::RepoName;
use dits_core::steps::{self, Step};
use dits_core::store::copies::{OpenPackFiles, PackFiles, is_whole};

use super::folder::Backup;
use super::list::{Copied, List, Pack, Repository};
use super::{BackupError, Progress, TLS, absent_is_none, check_apart, hash_of};
use crate::clock;
use crate::db::{Db, RepoId};
use crate::git::Git;
use crate::root::{Root, RootError, files};

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
    /// All complete snapshots that there are now.
    pub snapshots: Vec<u64>,
    /// Packs that only snapshots needed which are gone, and that were removed.
    pub removed_packs: u64,
    /// Packs that are damaged on the server and have no whole copy in the backup.
    pub damaged: Vec<PathBuf>,
    /// Packs that are damaged on the server and whole in the backup.
    pub whole_here: Vec<PathBuf>,
    /// Why what older snapshots needed could not all be removed.
    pub not_removed: Option<BackupError>,
}

/// Copies what is new in the root to the backup in `dir`, of which the newest `keep` snapshots stay.
///
/// # Errors
///
/// [`BackupError`]. There is no new snapshot then.
pub fn take(root: &Root, dir: &Path, keep: usize, tell: &dyn Fn(Progress<'_>)) -> Result<Taken, BackupError> {
    check_apart(dir, root.dir())?;
    let db = Db::open_existing(&root.meta())?;
    let backup = Backup::create(dir)?;
    let lock = root.lock_for_collection()?;
    backup.clear_up()?;
    let last = backup.complete()?.pop();
    let before = last.and_then(|number| List::read(&backup.snapshot(number)).ok());
    let number = last.map_or(1, |last| last + 1);
    let hashes = before.into_iter().flat_map(|list| list.files).map(|copied| (copied.path, copied.blake3));
    let mut taking = Taking {
        root,
        backup: &backup,
        git: Git::new(root.clone()).map_err(BackupError::NoGit)?,
        snapshot: backup.snapshot(number),
        last: last.map(|last| (backup.snapshot(last), hashes.collect())),
        files: BTreeMap::new(),
        taken: Taken { number, ..Taken::default() },
        tell,
    };
    for dir in ["open", "config", "tls"] {
        files::make_dir(&taking.snapshot.join(dir))?;
    }
    let repositories = taking.repositories(&db)?;
    steps::reached(Step::BackupRefsFetched);
    taking.database(&db)?;
    steps::reached(Step::BackupDatabaseCopied);
    let packs = taking.packs()?;
    steps::reached(Step::BackupPacksCopied);
    taking.taken.repositories = repositories.len() as u64;
    let files = taking.files.into_iter().map(|(path, blake3)| Copied { path, blake3 }).collect();
    let mut taken = taking.taken;
    backup.sync()?;
    List { made_at: clock::now(), repositories, packs, files }.write(&taking.snapshot)?;
    steps::reached(Step::BackupListed);
    // What follows is about the backup alone, and of no weight for the snapshot.
    drop(lock);
    let git = taking.git;
    let tidied = backup.forget_older(keep.max(1)).and_then(|kept| {
        taken.removed_packs = backup.remove_unlisted(&kept)?;
        forget_refs(&git, &backup, &kept)
    });
    taken.not_removed = tidied.err();
    taken.snapshots = backup.complete()?;
    Ok(taken)
}

/// Removes the refs of other snapshots from all mirrors.
fn forget_refs(git: &Git, backup: &Backup, kept: &[u64]) -> Result<(), BackupError> {
    let Some(number) = kept.last() else { return Ok(()) };
    for listed in List::read(&backup.snapshot(*number))?.repositories {
        let mirror = backup.mirror(&listed.id, &listed.object_format);
        let failed = |source| BackupError::Repository { name: listed.name.clone(), source };
        git.forget_snapshots_but(&mirror, kept).map_err(failed)?;
    }
    Ok(())
}

/// A snapshot that is being made.
struct Taking<'a> {
    root: &'a Root,
    backup: &'a Backup,
    git: Git,
    snapshot: PathBuf,
    /// The folder of the snapshot before, and the hashes of its files by path.
    last: Option<(PathBuf, HashMap<String, String>)>,
    /// Hashes of what was copied into the folder, by path below it.
    files: BTreeMap<String, String>,
    taken: Taken,
    tell: &'a dyn Fn(Progress<'_>),
}

impl Taking<'_> {
    fn repositories(&mut self, db: &Db) -> Result<Vec<Repository>, BackupError> {
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

    fn repository(&mut self, name: &RepoName, id: RepoId) -> Result<Repository, BackupError> {
        let failed = |source| BackupError::Repository { name: name.to_string(), source };
        let id = files::hex(&id.0);
        let object_format = self.git.object_format(name).map_err(failed)?;
        let mirror = self.backup.mirror(&id, object_format.name());
        if !mirror.exists() {
            self.git.init_mirror(&mirror, object_format)?;
        }
        self.git.fetch_to_mirror(name, &mirror, self.taken.number).map_err(failed)?;
        let config = self.git.path(name).join("config");
        self.copy(&config, format!("config/{id}"))?;
        let head = self.git.head(name).map_err(failed)?;
        Ok(Repository { id, name: name.to_string(), head, object_format: object_format.name().to_owned() })
    }

    /// Copies a file of the root into the snapshot.
    fn copy(&mut self, from: &Path, to: String) -> Result<(), BackupError> {
        files::copy(&open(from)?, from, &self.snapshot.join(&to))?;
        self.note(to)
    }

    /// Notes a file that is in the snapshot.
    fn note(&mut self, path: String) -> Result<(), BackupError> {
        let hash = hash_of(&self.snapshot.join(&path))?;
        self.files.insert(path, hash);
        Ok(())
    }

    fn database(&mut self, db: &Db) -> Result<(), BackupError> {
        let copy = self.snapshot.join("meta.sqlite");
        db.copy_to(&copy)?;
        let private = fs::set_permissions(&copy, fs::Permissions::from_mode(0o600));
        private.map_err(files::failed("protect", &copy))?;
        self.note("meta.sqlite".to_owned())?;
        for name in TLS {
            let from = self.root.tls().join(name);
            // A root that never served has none.
            if from.exists() {
                self.copy(&from, format!("tls/{name}"))?;
            }
        }
        Ok(())
    }

    /// Copies all packs, until none of those that were listed has gone meanwhile: what it held is in others then, which may
    /// have been listed before that.
    fn packs(&mut self) -> Result<Vec<Pack>, BackupError> {
        let store = PackFiles::of(&self.root.store());
        let mut copied = BTreeMap::new();
        loop {
            // Open ones first: what is sealed meanwhile is among the sealed ones.
            let open = store.open()?;
            steps::reached(Step::BackupOpenPacksListed);
            for pack in &open {
                self.open_pack(pack)?;
            }
            steps::reached(Step::BackupOpenPacksCopied);
            let sealed = store.sealed()?;
            self.sealed_packs(&store, &sealed, &mut copied)?;
            let is_there = |path: &Path| path.exists();
            if open.iter().all(|pack| is_there(&pack.log)) && sealed.iter().all(|pack| is_there(&store.path(pack))) {
                let open = self.files.keys().filter(|path| path.ends_with(".pack"));
                let lens = open.map(|path| fs::metadata(self.snapshot.join(path)).map_or(0, |metadata| metadata.len()));
                let lens: Vec<u64> = lens.chain(copied.values().map(|pack: &Pack| pack.len)).collect();
                (self.taken.packs, self.taken.bytes) = (lens.len() as u64, lens.iter().sum());
                return Ok(copied.into_values().collect());
            }
        }
    }

    /// Copies a pack that still grows, unless it was sealed, or is just being made.
    fn open_pack(&mut self, pack: &OpenPackFiles) -> Result<(), BackupError> {
        // Both are open before the first is read: whatever becomes of their names, the bytes stay.
        let open = |path: &Path| absent_is_none(File::open(path)).map_err(files::failed("open", path));
        let (Some(log), Some(payload)) = (open(&pack.log)?, open(&pack.payload)?) else { return Ok(()) };
        let [log_path, payload_path] = ["log", "pack"].map(|ending| format!("open/{}.{ending}", pack.name));
        let [log_copy, payload_copy] = [&log_path, &payload_path].map(|path| self.snapshot.join(path));
        // The log first: payload is written before the records that name it.
        files::copy(&log, &pack.log, &log_copy)?;
        self.note(log_path.clone())?;
        let mut is_new = true;
        if let Some((last, hashes)) = &self.last
            && hashes.get(&log_path) == self.files.get(&log_path)
            && let Some(hash) = hashes.get(&payload_path)
            && hash_of(&last.join(&payload_path)).is_ok_and(|now| now == *hash)
        {
            // Nothing was added to it since.
            let _ = fs::remove_file(&payload_copy);
            is_new = fs::hard_link(last.join(&payload_path), &payload_copy).is_err();
        }
        if is_new {
            self.taken.new_bytes += files::copy(&payload, &pack.payload, &payload_copy)?;
        }
        self.note(payload_path)?;
        Ok(())
    }

    fn sealed_packs(
        &mut self,
        store: &PackFiles,
        listed: &[PackHash],
        copied: &mut BTreeMap<String, Pack>,
    ) -> Result<(), BackupError> {
        let len = |pack| fs::metadata(store.path(pack)).map_or(0, |metadata| metadata.len());
        let total: u64 = listed.iter().map(len).sum();
        let mut done = 0;
        for pack in listed {
            let name = pack.to_string();
            if !copied.contains_key(&name)
                && let Some(entry) = self.sealed_pack(store, pack)?
            {
                done += entry.len;
                (self.tell)(Progress::Packs { done, total: total.max(done) });
                copied.insert(name, entry);
            }
        }
        Ok(())
    }

    /// Copies a sealed pack that the backup has no whole copy of; `None` if it is gone.
    fn sealed_pack(&mut self, store: &PackFiles, pack: &PackHash) -> Result<Option<Pack>, BackupError> {
        let (from, whole) = (store.path(pack), self.backup.pack(pack));
        let failed = files::failed("open", &from);
        let Some(file) = absent_is_none(File::open(&from)).map_err(failed)? else { return Ok(None) };
        let source_len = file.metadata().map_err(files::failed("read", &from))?.len();
        let name = pack.to_string();
        if let Ok(there) = fs::metadata(&whole) {
            let is_ours_good = there.len() == source_len || is_whole(&open(&whole)?, pack);
            if is_ours_good {
                if there.len() != source_len {
                    self.taken.whole_here.push(from);
                }
                return Ok(Some(Pack { name, len: there.len() }));
            }
            // The disk of the backup lost some of it.
            fs::rename(&whole, self.backup.damaged_pack(pack)).map_err(files::failed("rename", &whole))?;
        }
        let (new, damaged) = (self.backup.new_pack(pack), self.backup.damaged_pack(pack));
        let len = files::copy(&file, &from, &new)?;
        self.taken.new_bytes += len;
        let copy = open(&new)?;
        // One that is damaged already may be worse today.
        let to = match is_whole(&copy, pack) {
            true => Some(&whole),
            false => Some(&damaged).filter(|damaged| !damaged.exists()),
        };
        let named = to.map_or_else(|| fs::remove_file(&new), |to| fs::rename(&new, to));
        named.map_err(files::failed("rename", &new))?;
        if to != Some(&whole) {
            self.taken.damaged.push(from);
        }
        Ok(Some(Pack { name, len }))
    }
}

fn open(path: &Path) -> Result<File, RootError> {
    File::open(path).map_err(files::failed("open", path))
}
