//! The mark that a store's last sync failed.
//!
//! **For:** a filter whose sync fails after git has already been told of success: pushes
//! stop until a later sync mends it.
//!
//! **May touch:** the file `unsynced` in a store's folder, and its packs, to sync them.
//!
//! **Must hold:** the mark stays until everything in the store was synced without an error.
//!
//! Limitations: a sync that succeeds after one that failed does not prove that the bytes reached
//! the disk; `docs/formats/store-v1.md`, "Known gaps".
//!
//! **Format:** `docs/protocols/filter-v2.md`: one line of text for each failure.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const MARK: &str = "unsynced";

/// A mark that cannot be read, written or mended.
#[derive(Debug, thiserror::Error)]
#[error("cannot sync {path}", path = .path.display())]
pub struct SyncError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Notes in the store at `store_dir` that a sync failed, and why.
///
/// # Errors
///
/// [`SyncError`] when not even that can be written down.
pub fn mark(store_dir: &Path, why: &str) -> Result<(), SyncError> {
    let path = store_dir.join(MARK);
    let failed = |source| SyncError { path: path.clone(), source };
    let mut file = File::options().create(true).append(true).open(&path).map_err(failed)?;
    let line: String = why.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    file.write_all(format!("{line}\n").as_bytes()).map_err(failed)
}

/// Why the store at `store_dir` has a failed sync behind it; `None` if it has none.
///
/// # Errors
///
/// [`SyncError`] when the mark cannot be read.
pub fn check(store_dir: &Path) -> Result<Option<String>, SyncError> {
    let path = store_dir.join(MARK);
    match std::fs::read(&path) {
        Ok(text) => Ok(Some(String::from_utf8_lossy(&text).lines().last().unwrap_or_default().to_owned())),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(source) => Err(SyncError { path, source }),
    }
}

/// Syncs every pack of the store at `store_dir` and takes the mark away. Does nothing where
/// there is no mark.
///
/// # Errors
///
/// [`SyncError`] for the first file that still cannot be synced; the mark then stays.
pub fn mend(store_dir: &Path) -> Result<(), SyncError> {
    if check(store_dir)?.is_none() {
        return Ok(());
    }
    sync_store(store_dir)?;
    let path = store_dir.join(MARK);
    std::fs::remove_file(&path).map_err(|source| SyncError { path, source })
}

fn sync_store(store_dir: &Path) -> Result<(), SyncError> {
    ["open", "packs"].iter().try_for_each(|folder| sync_folder(&store_dir.join(folder)))
}

fn sync_folder(folder: &Path) -> Result<(), SyncError> {
    let failed = |source| SyncError { path: folder.to_owned(), source };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(failed(source)),
    };
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        match File::open(&path).and_then(|file| file.sync_all()) {
            Ok(()) => {}
            // Another process sealed or joined it meanwhile, and syncs what it makes.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(SyncError { path, source }),
        }
    }
    File::open(folder).and_then(|dir| dir.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_sync_is_remembered_until_it_is_mended() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        assert_eq!(check(dir.path()).expect("readable"), None);
        assert_eq!(check(&dir.path().join("no/store")).expect("readable"), None);
        mark(dir.path(), "disk\non fire").expect("written");
        assert_eq!(check(dir.path()).expect("readable").as_deref(), Some("disk on fire"));
        std::fs::create_dir(dir.path().join("packs")).expect("a folder");
        std::fs::write(dir.path().join("packs/x"), "x").expect("a pack");
        mend(dir.path()).expect("the disk is well");
        assert_eq!(check(dir.path()).expect("readable"), None);
        mend(dir.path()).expect("nothing to do");
    }
}
