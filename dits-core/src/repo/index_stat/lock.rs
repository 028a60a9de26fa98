//! `index.lock`, by which git says that somebody is writing the index.
//!
//! **For:** being that somebody for an instant.
//!
//! **May touch:** the lock file.
//!
//! **Must hold:**
//! - the file that gets the lock's name is complete before, wherever the file system can do that;
//! - a lock that somebody else holds is never removed. One that a killed process of Dits left is known by the
//!   index's own time, to the nanosecond, and by a file lock that nobody holds any more.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use super::modified_of;
use super::patched::Patched;

/// The lock, held until this is dropped.
pub(super) struct Lock<'a> {
    path: Option<&'a Path>,
    // Closed last, which frees the file lock.
    file: File,
}

pub(super) enum Taken<'a> {
    Ours(Lock<'a>),
    Held,
}

/// A file that has the lock's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Holder {
    device: rustix::fs::Dev,
    inode: u64,
}

/// Where the lock of an index is.
pub(super) fn path_of(index: &Path) -> PathBuf {
    let mut path = index.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}

/// The file that has the lock's name.
pub(super) fn holder(lock: &Path) -> Option<Holder> {
    let stat = rustix::fs::statat(CWD, lock, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some(Holder { device: stat.st_dev, inode: stat.st_ino })
}

impl<'a> Lock<'a> {
    /// Takes the lock, with all of the patched index under its name.
    pub(super) fn take(path: &'a Path, patched: &Patched) -> io::Result<Taken<'a>> {
        match take_unnamed(path, patched)? {
            Some(taken) => Ok(taken),
            None => take_named(path, patched),
        }
    }

    /// Makes what is under the lock's name the index, which ends the lock.
    pub(super) fn rename_to(mut self, index: &Path) -> io::Result<()> {
        let Some(path) = self.path else { return Ok(()) };
        rustix::fs::rename(path, index)?;
        self.path = None;
        Ok(())
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.path {
            let _ = rustix::fs::unlink(path);
        }
    }
}

/// Writes the index into a file without a name and then gives it the lock's; `None` where
/// the file system knows no such files.
#[cfg(target_os = "linux")]
fn take_unnamed<'a>(path: &'a Path, patched: &Patched) -> io::Result<Option<Taken<'a>>> {
    use std::os::fd::AsRawFd;
    let Some(folder) = path.parent() else { return Ok(None) };
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    let file = match rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => File::from(file),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    complete(&file, patched)?;
    let proc = format!("/proc/self/fd/{}", file.as_raw_fd());
    match rustix::fs::linkat(CWD, proc.as_str(), CWD, path, AtFlags::SYMLINK_FOLLOW) {
        Ok(()) => Ok(Some(Taken::Ours(Lock { path: Some(path), file }))),
        Err(Errno::EXIST) => Ok(Some(Taken::Held)),
        Err(_) => Ok(None),
    }
}

#[cfg(not(target_os = "linux"))]
fn take_unnamed<'a>(_path: &'a Path, _patched: &Patched) -> io::Result<Option<Taken<'a>>> {
    Ok(None)
}

/// Makes the lock as git does, and writes the index into it.
pub(super) fn take_named<'a>(path: &'a Path, patched: &Patched) -> io::Result<Taken<'a>> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => File::from(file),
        Err(Errno::EXIST) => return Ok(Taken::Held),
        Err(error) => return Err(error.into()),
    };
    let lock = Lock { path: Some(path), file };
    complete(&lock.file, patched)?;
    Ok(Taken::Ours(lock))
}

fn complete(mut file: &File, patched: &Patched) -> io::Result<()> {
    // Some network file systems know no file locks; what is left there stays, as what git leaves does.
    let _ = rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive);
    file.write_all(&patched.bytes)?;
    // Whoever works as root in somebody's repository must not take the index away from them.
    let (user, group) = patched.owner();
    let _ = rustix::fs::fchown(file, Some(user), Some(group));
    rustix::fs::fchmod(file, patched.mode())?;
    let modified = patched.modified();
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: modified.seconds, tv_nsec: modified.nanoseconds.into() },
    };
    Ok(rustix::fs::futimens(file, &times)?)
}

/// Removes the lock if a process of Dits that was killed left it there: the same file as `before`, a whole
/// index with the time of the one it was to replace, and nobody there who holds it.
pub(super) fn remove_left_over(lock: &Path, index: &Path, before: Holder) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::open(lock, flags, Mode::empty()) else { return false };
    let (Ok(ours), Ok(index)) = (rustix::fs::fstat(&file), rustix::fs::stat(index)) else { return false };
    let is_copy =
        (ours.st_mode, ours.st_size) == (index.st_mode, index.st_size) && modified_of(&ours) == modified_of(&index);
    // Where times are whole seconds, git's own lock may have the time of the index.
    let is_told_apart = modified_of(&ours).nanoseconds != 0;
    let is_free = || rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
    let is_left_over = is_copy && is_told_apart && is_free() && holder(lock) == Some(before);
    let is_same = before == Holder { device: ours.st_dev, inode: ours.st_ino };
    is_left_over && is_same && rustix::fs::unlink(lock).is_ok()
}
