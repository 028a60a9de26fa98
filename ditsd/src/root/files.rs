//! Files that are written whole or not at all.
//!
//! **For:** what a server makes at its first start, and copies in a backup.
//!
//! **May touch:** the paths given.
//!
//! **Must hold:** a file of these is complete once it has its name, its bytes are on stable storage, and only the owner can read it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::RootError;

/// Makes an error of what the system said about `path`.
pub fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RootError {
    let path = path.to_owned();
    move |source| RootError::Io { what, path, source }
}

/// Makes a directory and those above it, for the owner alone.
pub fn make_dir(dir: &Path) -> Result<(), RootError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("make", dir))
}

/// Lists the names in a directory.
pub fn names_in(dir: &Path) -> Result<Vec<OsString>, RootError> {
    let names = fs::read_dir(dir).and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect());
    names.map_err(failed("read", dir))
}

/// Opens the file that a lock is held on. It is never removed.
pub fn open_for_lock(path: &Path) -> Result<File, RootError> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    options.open(path).map_err(failed("open", path))
}

/// Writes a file that was not there. If another process wrote it meanwhile, that one stays.
pub fn write_new(path: &Path, content: &[u8]) -> Result<(), RootError> {
    let unfinished = write_unfinished(path, content, 0o600)?;
    let linked = fs::hard_link(&unfinished, path);
    fs::remove_file(&unfinished).map_err(failed("remove", &unfinished))?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed("make", path)(error)),
        _ => sync_dir_of(path),
    }
}

/// Writes a program in place of the one that may be there.
pub fn replace_executable(path: &Path, content: &[u8]) -> Result<(), RootError> {
    replace(path, content, 0o700)
}

/// Writes a file in place of the one that may be there.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), RootError> {
    let unfinished = write_unfinished(path, content, mode)?;
    fs::rename(&unfinished, path).map_err(failed("replace", path))?;
    sync_dir_of(path)
}

/// Reads `N` bytes written in hex, making them at random where the file does not exist.
pub fn random_once<const N: usize>(path: &Path) -> Result<[u8; N], RootError> {
    if !path.exists() {
        let mut bytes = [0; N];
        rand::fill(&mut bytes[..]);
        write_new(path, format!("{}\n", hex(&bytes)).as_bytes())?;
    }
    let text = fs::read_to_string(path).map_err(failed("read", path))?;
    let damaged = || RootError::Damaged { path: path.to_owned(), reason: "not the expected count of hex digits" };
    unhex(text.trim_end()).ok_or_else(damaged)
}

/// Writes bytes as lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

/// Removes a file, or a directory with all that is in it.
pub fn remove(path: &Path) -> Result<(), RootError> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(failed("remove", path))
}

/// Has everything on the file system of `dir` on stable storage.
pub fn sync_all_of(dir: &Path) -> Result<(), RootError> {
    let file = File::open(dir).map_err(failed("open", dir))?;
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(&file).map_err(|error| failed("sync", dir)(error.into()))?;
    #[cfg(not(target_os = "linux"))]
    rustix::fs::sync();
    drop(file);
    Ok(())
}

/// The start of the name of a copy that is not complete.
pub const COPYING: &str = "copying-";

/// Copies what `source`, the file at `from`, holds from here on to `to`, which gets its name when it is whole and synced; the
/// directory is not synced. Returns the length.
pub fn copy(mut source: &File, from: &Path, to: &Path) -> Result<u64, RootError> {
    let unfinished = to.with_file_name(format!("{COPYING}{}", hex(&rand::random::<[u8; 8]>())));
    let mut write = || {
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&unfinished)?;
        let len = io::copy(&mut source, &mut file)?;
        file.sync_all()?;
        fs::rename(&unfinished, to)?;
        Ok(len)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&unfinished);
        RootError::Copy { from: from.to_owned(), to: to.to_owned(), source: error }
    })
}

fn write_unfinished(path: &Path, content: &[u8], mode: u32) -> Result<PathBuf, RootError> {
    let mut name = path.file_name().expect("the caller names a file").to_owned();
    name.push(format!(".{}", hex(&rand::random::<[u8; 8]>())));
    let unfinished = path.with_file_name(name);
    let write = || {
        let mut file = OpenOptions::new().create_new(true).write(true).mode(mode).open(&unfinished)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(failed("write", &unfinished))?;
    Ok(unfinished)
}

fn sync_dir_of(path: &Path) -> Result<(), RootError> {
    sync_dir(path.parent().expect("the caller names a file in a directory"))
}

/// Makes the names in a directory survive a power loss.
pub fn sync_dir(dir: &Path) -> Result<(), RootError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync", dir))
}
