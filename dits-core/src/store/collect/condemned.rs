//! The marks of packs that are going to be removed, and the time they are compared with.
//!
//! **For:** everybody who asks what the store has, on whatever machine.
//!
//! **May touch:** `condemned/` in the store's folder, and the clock.
//!
//! **Must hold:** a mark is on stable storage before anybody waits because of it, and keeps its first time.
//!
//! **Format:** `docs/formats/collection-v1.md`.

use std::fs;
use std::time::{Duration, SystemTime};

use super::super::error::StoreError;
use super::super::layout::{Layout, hex16, is_absent, sync_dir, write_synced};
use super::super::{Sharing, Store};
use crate::hash::PackHash;
use crate::steps::{Step, reached};

const MARK: &str = "dits condemned 1\n";

/// Marks packs. One that is marked already stays as it is.
pub(super) fn mark(layout: &Layout, hashes: &[PackHash]) -> Result<(), StoreError> {
    let dir = make_dir(layout)?;
    for hash in hashes {
        let path = layout.condemned_mark(hash);
        if !path.exists() {
            write_synced(&path, MARK).map_err(|source| StoreError::io(&path, source))?;
        }
    }
    sync_dir(&dir).map_err(|source| StoreError::io(&dir, source))?;
    reached(Step::CollectCondemned);
    Ok(())
}

/// Takes marks away.
pub(super) fn unmark(layout: &Layout, hashes: &[PackHash]) -> Result<(), StoreError> {
    for hash in hashes {
        let path = layout.condemned_mark(hash);
        match fs::remove_file(&path) {
            Err(source) if !is_absent(&source) => return Err(StoreError::io(&path, source)),
            _ => {}
        }
    }
    let dir = layout.condemned();
    match sync_dir(&dir) {
        Err(source) if !is_absent(&source) => Err(StoreError::io(&dir, source)),
        _ => Ok(()),
    }
}

/// How long ago a pack was marked; `None` if it is not, or if the time of that lies ahead.
pub(super) fn age(layout: &Layout, hash: &PackHash, now: SystemTime) -> Option<Duration> {
    let marked = fs::metadata(layout.condemned_mark(hash)).ok()?.modified().ok()?;
    now.duration_since(marked).ok()
}

/// The time by which the store's files are dated: on a share, the one that the share gives to a file that is made now.
pub(super) fn now(store: &Store) -> Result<SystemTime, StoreError> {
    if store.sharing == Sharing::Machine {
        return Ok(SystemTime::now());
    }
    let path = make_dir(&store.layout)?.join(format!("now-{}", hex16(&rand::random())));
    let failed = |source| StoreError::io(&path, source);
    // A file system may date an empty file by this machine's clock.
    fs::write(&path, MARK).map_err(failed)?;
    let now = fs::metadata(&path).and_then(|metadata| metadata.modified()).map_err(failed)?;
    fs::remove_file(&path).map_err(failed)?;
    Ok(now)
}

fn make_dir(layout: &Layout) -> Result<std::path::PathBuf, StoreError> {
    let dir = layout.condemned();
    if !dir.is_dir() {
        fs::create_dir_all(&dir).map_err(|source| StoreError::io(&dir, source))?;
        sync_dir(&layout.dir).map_err(|source| StoreError::io(&layout.dir, source))?;
    }
    Ok(dir)
}
