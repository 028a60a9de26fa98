//! Putting the pointer back in the place of content in a work tree.
//!
//! **For:** giving disk space back without a word to git.
//!
//! **May touch:** one file of the work tree, and a temporary one beside it.
//!
//! **Must hold:**
//! - only content that was just hashed to the pointer's oid is replaced; what the user saved meanwhile goes back;
//! - at every moment the path holds the whole content, the whole pointer, or what the user saved;
//! - what the user saved and that cannot go back is kept, and the error says where;
//! - no symbolic link is followed, neither at the path nor above it.
//!
//! **Limitations:** a program that holds the file open writes on into what no name leads to any more, as with any
//! file that git replaces.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bstr::{BStr, ByteSlice};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;

use super::index_stat::{FileTime, modified_of};
use super::work_tree_file::{open_folder, split, told};
use crate::hash::FileHash;
use crate::pointer::Pointer;
use crate::steps::{Step, reached};

/// Bytes that are read at a time.
const BLOCK_LEN: usize = 1024 * 1024;

/// What became of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dehydrated {
    /// It holds the pointer now.
    Done {
        /// The inode of the pointer's file.
        inode: u64,
        /// When that file says it was modified.
        modified: FileTime,
    },
    /// It holds something else than the pointer's content, and was left as it is.
    Modified,
    /// There is no regular file, and nothing was done.
    Absent,
}

/// A path that could not be dehydrated. It holds what it held, or what was saved there is kept beside it.
#[derive(Debug, thiserror::Error)]
#[error("cannot replace {path}{kept}", path = .path.display(), kept = told(.kept.as_deref()))]
pub struct DehydrateError {
    /// The path.
    pub path: PathBuf,
    /// Where what the user saved meanwhile is now, if it could not be put back.
    pub kept: Option<PathBuf>,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Exchanges two names of a folder.
type Exchange<'e> = &'e mut dyn FnMut(&OwnedFd, &str, &BStr) -> Result<(), Errno>;

/// Replaces the content at `path` by its pointer, dated `date`. `read` is told how many bytes were read.
///
/// # Errors
///
/// [`DehydrateError`] for what the system said.
pub fn dehydrate(
    top: &Path,
    path: &BStr,
    pointer: &Pointer,
    date: FileTime,
    read: &mut dyn FnMut(u64),
) -> Result<Dehydrated, DehydrateError> {
    dehydrate_by(top, path, pointer, date, read, &mut |folder, temporary, name| {
        rustix::fs::renameat_with(folder, temporary, folder, name.as_bytes(), RenameFlags::EXCHANGE)
    })
}

/// [`dehydrate`], with names exchanged as told.
fn dehydrate_by(
    top: &Path,
    path: &BStr,
    pointer: &Pointer,
    date: FileTime,
    read: &mut dyn FnMut(u64),
    exchange: Exchange<'_>,
) -> Result<Dehydrated, DehydrateError> {
    let full_path = top.join(super::bytes_to_path(path));
    let failed = |source: io::Error| DehydrateError { path: full_path.clone(), kept: None, source };
    let (above, name) = split(path);
    let opened = open_folder(top, above).and_then(|folder| {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&folder, name.as_bytes(), flags, Mode::empty())?;
        Ok((folder, File::from(file)))
    });
    let (folder, mut file) = match opened {
        Ok(opened) => opened,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ISDIR) => return Ok(Dehydrated::Absent),
        Err(error) => return Err(failed(error.into())),
    };
    if !file.metadata().map_err(failed)?.is_file() {
        return Ok(Dehydrated::Absent);
    }
    let before = rustix::fs::fstat(&file).map_err(|error| failed(error.into()))?;
    if before.st_size as u64 != pointer.size || hash(&mut file, read).map_err(failed)? != pointer.oid {
        return Ok(Dehydrated::Modified);
    }
    let done = put(&folder, name, pointer, date, &before, exchange).map_err(|error| DehydrateError {
        kept: error.kept.map(|temporary| full_path.with_file_name(temporary)),
        ..failed(error.source.into())
    })?;
    if let Dehydrated::Done { .. } = done {
        reached(Step::HydrationCleared);
    }
    Ok(done)
}

fn hash(file: &mut File, read: &mut dyn FnMut(u64)) -> io::Result<FileHash> {
    let mut hasher = blake3::Hasher::new();
    let mut block = vec![0; BLOCK_LEN];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(FileHash::from_bytes(*hasher.finalize().as_bytes())),
            len => {
                hasher.update(&block[..len]);
                read(len as u64);
            }
        }
    }
}

/// Why the pointer did not get its place.
struct PutError {
    /// The temporary name, if what the user saved is under it.
    kept: Option<String>,
    source: Errno,
}

impl From<Errno> for PutError {
    fn from(source: Errno) -> PutError {
        PutError { kept: None, source }
    }
}

/// Puts the pointer in the place of the file that was hashed, whose state was `before`.
fn put(
    folder: &OwnedFd,
    name: &BStr,
    pointer: &Pointer,
    date: FileTime,
    before: &Stat,
    exchange: Exchange<'_>,
) -> Result<Dehydrated, PutError> {
    let temporary = format!(".dits-{:016x}", rand::random::<u64>());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, temporary.as_str(), flags, Mode::RUSR | Mode::WUSR)?;
    let mut file = File::from(file);
    let done = write(&mut file, pointer, date, before).and_then(|written| {
        let inode = written.st_ino;
        let swapped = swap(folder, &temporary, name, before, exchange)?;
        Ok(if swapped { Dehydrated::Done { inode, modified: modified_of(&written) } } else { Dehydrated::Modified })
    });
    // Under the temporary name is the pointer, if it did not get its place, or the content that was hashed; anything
    // else the user saved.
    let own = rustix::fs::fstat(&file);
    let is_pointer = |at: &Stat| own.is_ok_and(|own| (own.st_dev, own.st_ino) == (at.st_dev, at.st_ino));
    let is_kept = match rustix::fs::statat(folder, temporary.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(at) if is_pointer(&at) || is_same(&at, before) => {
            let _ = rustix::fs::unlinkat(folder, temporary.as_str(), AtFlags::empty());
            false
        }
        Err(Errno::NOENT) => false,
        Ok(_) | Err(_) => true,
    };
    match is_kept {
        true => Err(PutError { kept: Some(temporary), source: done.err().unwrap_or(Errno::BUSY) }),
        false => Ok(done?),
    }
}

fn write(file: &mut File, pointer: &Pointer, date: FileTime, before: &Stat) -> Result<Stat, Errno> {
    let system = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    file.write_all(pointer.to_string().as_bytes()).map_err(system)?;
    rustix::fs::fchmod(&*file, Mode::from_raw_mode(before.st_mode & 0o777))?;
    let time = Timespec { tv_sec: date.seconds, tv_nsec: date.nanoseconds.into() };
    rustix::fs::futimens(&*file, &Timestamps { last_access: time, last_modification: time })?;
    rustix::fs::fstat(&*file)
}

/// Exchanges the names; back again, if what came out is not the file that was hashed, or was written to since.
fn swap(folder: &OwnedFd, temporary: &str, name: &BStr, before: &Stat, exchange: Exchange<'_>) -> Result<bool, Errno> {
    match exchange(folder, temporary, name) {
        Ok(()) => {}
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            // No exchange on this file system: look once more, as late as can be, and rename.
            let at = rustix::fs::statat(folder, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW)?;
            if is_same(&at, before) {
                rustix::fs::renameat(folder, temporary, folder, name.as_bytes())?;
            }
            return Ok(is_same(&at, before));
        }
        Err(Errno::NOENT) => return Ok(false),
        Err(error) => return Err(error),
    }
    let out = rustix::fs::statat(folder, temporary, AtFlags::SYMLINK_NOFOLLOW)?;
    match is_same(&out, before) {
        true => Ok(true),
        false => exchange(folder, temporary, name).map(|()| false),
    }
}

/// The same file, not written to since. Its change time is not asked for: the new name changes that.
fn is_same(at: &Stat, before: &Stat) -> bool {
    (at.st_dev, at.st_ino, at.st_size) == (before.st_dev, before.st_ino, before.st_size)
        && modified_of(at) == modified_of(before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    const DATE: FileTime = FileTime { seconds: 1_000_000_000, nanoseconds: 7 };

    fn pointer() -> Pointer {
        Pointer { oid: FileHash::of(b"content"), size: 7 }
    }

    fn dehydrated(top: &Path, path: &str) -> Dehydrated {
        dehydrate(top, path.into(), &pointer(), DATE, &mut |_| ()).expect("tried")
    }

    #[test]
    fn content_becomes_its_pointer_with_mode_and_date() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(dir.path().join("a")).expect("made");
        let path = dir.path().join("a/b.bin");
        fs::write(&path, "content").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set");
        let done = dehydrated(dir.path(), "a/b.bin");
        let meta = path.metadata().expect("there");
        assert_eq!(done, Dehydrated::Done { inode: meta.ino(), modified: DATE });
        assert_eq!(fs::read_to_string(&path).expect("there"), pointer().to_string());
        assert_eq!((meta.permissions().mode() & 0o777, meta.mtime()), (0o755, DATE.seconds));
        assert_eq!(fs::read_dir(dir.path().join("a")).expect("listed").count(), 1);
    }

    #[test]
    fn other_content_and_links_are_left_as_they_are() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        fs::write(dir.path().join("b.bin"), "Content").expect("written");
        fs::write(dir.path().join("c.bin"), "longer content").expect("written");
        fs::write(dir.path().join("d.bin"), "content").expect("written");
        std::os::unix::fs::symlink("d.bin", dir.path().join("e.bin")).expect("linked");
        assert_eq!(dehydrated(dir.path(), "b.bin"), Dehydrated::Modified);
        assert_eq!(dehydrated(dir.path(), "c.bin"), Dehydrated::Modified);
        assert_eq!(dehydrated(dir.path(), "e.bin"), Dehydrated::Absent);
        assert_eq!(dehydrated(dir.path(), "f.bin"), Dehydrated::Absent);
        assert_eq!(dehydrated(dir.path(), "d.bin/x"), Dehydrated::Absent);
        assert_eq!(fs::read(dir.path().join("d.bin")).expect("there"), b"content");
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 4);
    }

    #[test]
    fn what_the_user_saves_meanwhile_stays() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("b.bin");
        // In place, and by another file that takes the name.
        for by_rename in [false, true] {
            fs::write(&path, "content").expect("written");
            let mut save = |_| {
                let to = if by_rename { dir.path().join("new") } else { path.clone() };
                fs::write(&to, "CONTENT").expect("written");
                fs::rename(&to, &path).expect("renamed");
            };
            let done = dehydrate(dir.path(), "b.bin".into(), &pointer(), DATE, &mut save).expect("tried");
            assert_eq!(done, Dehydrated::Modified);
            assert_eq!(fs::read(&path).expect("there"), b"CONTENT");
            assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1);
        }
    }

    #[test]
    fn a_save_that_cannot_be_put_back_is_kept_and_named() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("b.bin");
        fs::write(&path, "content").expect("written");
        let mut calls = 0;
        let mut exchange = |folder: &OwnedFd, temporary: &str, name: &BStr| {
            calls += 1;
            if calls == 2 {
                return Err(Errno::IO);
            }
            fs::write(&path, "saved meanwhile").expect("written");
            rustix::fs::renameat_with(folder, temporary, folder, name.as_bytes(), RenameFlags::EXCHANGE)
        };
        let done = dehydrate_by(dir.path(), "b.bin".into(), &pointer(), DATE, &mut |_| (), &mut exchange);
        let error = done.expect_err("the exchange back failed");
        let kept = error.kept.clone().expect("the save is somewhere");
        assert_eq!(fs::read(&kept).expect("there"), b"saved meanwhile");
        assert_eq!(kept.parent(), Some(dir.path()));
        assert!(error.to_string().contains(&kept.display().to_string()), "{error}");
    }

    #[test]
    fn a_save_between_the_exchange_and_the_one_back_is_kept_and_named() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (path, new) = (dir.path().join("b.bin"), dir.path().join("new"));
        fs::write(&path, "content").expect("written");
        let mut saves = ["first", "second"].into_iter();
        let mut exchange = |folder: &OwnedFd, temporary: &str, name: &BStr| {
            fs::write(&new, saves.next().expect("two exchanges")).expect("written");
            fs::rename(&new, &path).expect("renamed");
            rustix::fs::renameat_with(folder, temporary, folder, name.as_bytes(), RenameFlags::EXCHANGE)
        };
        let done = dehydrate_by(dir.path(), "b.bin".into(), &pointer(), DATE, &mut |_| (), &mut exchange);
        let kept = done.expect_err("there are two saves").kept.expect("one is kept");
        assert_eq!(fs::read(&path).expect("there"), b"first");
        assert_eq!(fs::read(&kept).expect("there"), b"second");
    }
}
