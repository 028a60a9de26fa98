//! Where a store's files are.
//!
//! **For:** one place that knows every name below the store's folder.
//!
//! **May touch:** the store's folders, to make and to list them.
//!
//! **Must hold:** a file whose name is not exactly one of these forms is passed over.
//!
//! **Format:** `docs/formats/store-v1.md`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::error::StoreError;
use crate::hash::{PackHash, parse_hex};

/// The first and only line of the format file.
const FORMAT: &str = "dits store 1\n";

/// The random name of an open pack.
pub(super) type OpenName = [u8; 16];

#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub dir: PathBuf,
}

impl Layout {
    pub fn packs(&self) -> PathBuf {
        self.dir.join("packs")
    }

    pub fn open(&self) -> PathBuf {
        self.dir.join("open")
    }

    pub fn sealed_pack(&self, hash: &PackHash) -> PathBuf {
        self.packs().join(format!("{hash}.pack"))
    }

    pub fn open_pack(&self, name: &OpenName) -> PathBuf {
        self.open().join(format!("{}.pack", hex16(name)))
    }

    pub fn open_log(&self, name: &OpenName) -> PathBuf {
        self.open().join(format!("{}.log", hex16(name)))
    }

    /// The mark beside an open pack that a sync of it failed.
    pub fn doubt(&self, name: &OpenName) -> PathBuf {
        self.open().join(format!("{}.doubt", hex16(name)))
    }

    /// Packs that were damaged, and that nothing needs any more.
    pub fn damaged(&self) -> PathBuf {
        self.dir.join("damaged")
    }

    /// The mark that a sealed pack is going to be removed.
    pub fn condemned_mark(&self, hash: &PackHash) -> PathBuf {
        self.condemned().join(hash.to_string())
    }

    pub fn condemned(&self) -> PathBuf {
        self.dir.join("condemned")
    }

    /// Locked, shared, by whoever relies on what the store has.
    pub fn guard(&self) -> PathBuf {
        self.dir.join("guard")
    }

    /// A guard that nobody takes any more, and some may still hold.
    pub fn left_guard(&self, name: &OpenName) -> PathBuf {
        self.dir.join(format!("guard-{}", hex16(name)))
    }

    /// Locked by a collection.
    pub fn collecting(&self) -> PathBuf {
        self.dir.join("collecting")
    }

    pub fn temporary_pack(&self, name: &OpenName) -> PathBuf {
        self.packs().join(format!("tmp-{}", hex16(name)))
    }

    /// Makes the folders and the format file where they are not there, and syncs them.
    pub fn create(&self) -> Result<(), StoreError> {
        let mut is_changed = !self.dir.exists();
        for dir in [self.packs(), self.open()] {
            is_changed |= !dir.exists();
            fs::create_dir_all(&dir).map_err(|source| StoreError::io(&dir, source))?;
        }
        let path = self.dir.join("format");
        if fs::metadata(&path).map_or(0, |metadata| metadata.len()) == 0 {
            let temporary = self.dir.join(format!("format-{}", hex16(&rand::random())));
            write_synced(&temporary, FORMAT).map_err(|source| StoreError::io(&temporary, source))?;
            fs::rename(&temporary, &path).map_err(|source| StoreError::io(&path, source))?;
            is_changed = true;
        }
        if is_changed {
            sync_dir(&self.dir).map_err(|source| StoreError::io(&self.dir, source))?;
            // The store's own name too, unless the folder above is one that we may not read.
            match self.dir.parent().filter(|dir| !dir.as_os_str().is_empty()).map(|dir| (dir, sync_dir(dir))) {
                Some((dir, Err(source))) if source.kind() != io::ErrorKind::PermissionDenied => {
                    return Err(StoreError::io(dir, source));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Returns false where there is no store.
    ///
    /// # Errors
    ///
    /// [`StoreError`] for a store of another version, or a folder that is none.
    pub fn check_format(&self) -> Result<bool, StoreError> {
        let path = self.dir.join("format");
        let found = match fs::read(&path) {
            Ok(found) => found,
            Err(error) if is_absent(&error) => return Ok(false),
            Err(source) => return Err(StoreError::io(&path, source)),
        };
        // A power loss can leave the file empty: the packs say what this is, and the next writer
        // makes it anew.
        if found == FORMAT.as_bytes() || found.is_empty() && self.packs().is_dir() {
            return Ok(true);
        }
        match found.starts_with(b"dits store ") && found.len() < 100 {
            true => Err(StoreError::UnknownVersion {
                path: self.dir.clone(),
                found: String::from_utf8_lossy(&found).trim_end().to_owned(),
            }),
            false => Err(StoreError::NotAStore { path: self.dir.clone() }),
        }
    }

    /// Lists the names of sealed packs.
    pub fn list_sealed(&self) -> Result<Vec<PackHash>, StoreError> {
        let names = list(&self.packs())?;
        let sealed = names.iter().filter_map(|name| parse_hex(name.strip_suffix(".pack")?.as_bytes()).ok());
        Ok(sealed.map(PackHash::from_bytes).collect())
    }

    /// Lists the names of the side logs of open packs.
    pub fn list_logs(&self) -> Result<Vec<OpenName>, StoreError> {
        self.list_open(".log")
    }

    /// Lists the names of open packs of which a sync failed.
    pub fn list_doubts(&self) -> Result<Vec<OpenName>, StoreError> {
        self.list_open(".doubt")
    }

    /// Lists the names of packs that are marked as condemned.
    pub fn list_condemned(&self) -> Result<Vec<PackHash>, StoreError> {
        let names = list(&self.condemned())?;
        Ok(names.iter().filter_map(|name| parse_hex(name.as_bytes()).ok()).map(PackHash::from_bytes).collect())
    }

    /// Lists the guards that nobody takes any more.
    pub fn list_left_guards(&self) -> Result<Vec<PathBuf>, StoreError> {
        let names = list(&self.dir)?;
        let left =
            names.iter().filter(|name| name.strip_prefix("guard-").is_some_and(|name| parse_hex16(name).is_some()));
        Ok(left.map(|name| self.dir.join(name)).collect())
    }

    /// Lists packs that were being written on a network file system, whole or not.
    pub fn list_temporary_packs(&self) -> Result<Vec<PathBuf>, StoreError> {
        let names = list(&self.packs())?;
        let left =
            names.iter().filter(|name| name.strip_prefix("tmp-").is_some_and(|name| parse_hex16(name).is_some()));
        Ok(left.map(|name| self.packs().join(name)).collect())
    }

    fn list_open(&self, ending: &str) -> Result<Vec<OpenName>, StoreError> {
        Ok(list(&self.open())?.iter().filter_map(|name| parse_hex16(name.strip_suffix(ending)?)).collect())
    }
}

pub(super) fn write_synced(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn list(dir: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(source) => return Err(StoreError::io(dir, source)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| StoreError::io(dir, source))?;
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

/// Returns true if the error says that nothing has this path.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Makes the names in a folder survive a power loss.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

pub(super) fn hex16(name: &OpenName) -> String {
    name.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn parse_hex16(text: &str) -> Option<OpenName> {
    let padded = format!("{text}{}", "0".repeat(32));
    let bytes = parse_hex(padded.as_bytes()).ok()?;
    bytes[..16].try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_name_is_read_as_it_is_written() {
        let name = [0xa7; 16];
        assert_eq!(parse_hex16(&hex16(&name)), Some(name));
        assert_eq!(parse_hex16("a7"), None);
        assert_eq!(parse_hex16(&"A".repeat(32)), None);
    }
}
