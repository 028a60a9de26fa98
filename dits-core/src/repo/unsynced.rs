//! The mark that a store's last sync failed.
//!
//! **For:** a filter whose sync fails after git has already been told of success: pushes
//! stop until a later sync mends it.
//!
//! **May touch:** the file `unsynced` in a store's folder.
//!
//! **Must hold:** the mark stays until a sync of the whole store succeeded, which first brings to
//! safety what the failed one left in doubt.
//!
//! **Format:** `docs/protocols/filter-v2.md`: one line of text for each failure.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const MARK: &str = "unsynced";

/// A mark that cannot be read, written or removed.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {path}", path = .path.display())]
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

/// Takes the mark away, if there is one. The caller has synced the store without an error
/// ([`Store::sync`](crate::store::Store::sync)).
///
/// # Errors
///
/// [`SyncError`] when the mark cannot be removed.
pub fn clear(store_dir: &Path) -> Result<(), SyncError> {
    let path = store_dir.join(MARK);
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(SyncError { path, source }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_sync_is_remembered_until_one_succeeds() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        assert_eq!(check(dir.path()).expect("readable"), None);
        assert_eq!(check(&dir.path().join("no/store")).expect("readable"), None);
        mark(dir.path(), "disk\non fire").expect("written");
        assert_eq!(check(dir.path()).expect("readable").as_deref(), Some("disk on fire"));
        clear(dir.path()).expect("removed");
        assert_eq!(check(dir.path()).expect("readable"), None);
        clear(dir.path()).expect("nothing to do");
    }
}
