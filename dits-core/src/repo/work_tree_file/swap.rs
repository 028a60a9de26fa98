//! The swap: content takes the place of exactly one pointer, or a pointer that of exactly one file.
//!
//! **For:** writing a file of a work tree while git, the user and other hydrations go on with theirs.
//!
//! **May touch:** the path, a temporary file beside it, and the journal.
//!
//! **Must hold:**
//! - nothing has a name before the journal knows that name;
//! - what comes out of the exchange and is not what was to be replaced goes back.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use bstr::BStr;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use super::super::hydration_journal::{Journal, JournalError};
use super::{Place, bytes_to_path, date_of, is_pointer_at, set_date, written_of};
use crate::hydration_record::{Date, Record, TemporaryName, Written};
use crate::pointer::Pointer;
use crate::repo_path::RepoPath;
use crate::steps::{Step, reached};

/// What a swap cannot do without.
#[derive(Debug, Clone, Copy)]
pub struct Swap<'a> {
    /// The top of the work tree.
    pub top: &'a Path,
    /// The path below it.
    pub path: &'a RepoPath,
    /// What must stand there, or is to.
    pub pointer: &'a Pointer,
    /// The time of modification that the new file gets.
    pub date: Date,
    /// Where is noted what is about to be done.
    pub journal: &'a Journal,
}

/// What became of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swapped {
    /// The new file is in place.
    Done(Written),
    /// The path does not hold what was to be replaced, and was left as it is.
    Left,
    /// Something else took its place meanwhile, and was left as it is.
    Saved,
}

/// A path of the work tree that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    /// The system does not let us.
    #[error("cannot write {path}{kept}", path = .path.display(), kept = told(.kept.as_deref()))]
    Io {
        /// The path.
        path: PathBuf,
        /// Where what the user saved meanwhile is now, if it could not be put back.
        kept: Option<PathBuf>,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What is about to be done cannot be noted.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Where what was saved is kept, as the end of an error's line.
fn told(kept: Option<&Path>) -> String {
    kept.map(|kept| format!("; what was saved there meanwhile is kept in {}", kept.display())).unwrap_or_default()
}

/// Makes a file without a name in a folder.
pub(in crate::repo) type Unnamed = fn(&OwnedFd) -> Result<Option<File>, Errno>;
/// Exchanges the temporary name with that of the place.
pub(in crate::repo) type Exchange<'e> = &'e mut dyn FnMut(&Place<'_>, &str) -> Result<(), Errno>;

/// What the new file is to replace.
#[derive(Clone, Copy)]
pub(in crate::repo) enum Replaced<'a> {
    /// Any file that is this pointer.
    Pointer(&'a Pointer),
    /// This very file, not written to since.
    File(&'a Stat),
}

/// Replaces the pointer by what `write` writes into an empty file. Mode bits are kept.
///
/// # Errors
///
/// [`SwapError`] for what the system said. What `write` says ends it too and is passed on; the path is then as it was.
pub fn swap_in<E: From<SwapError>>(swap: Swap<'_>, write: impl FnOnce(&File) -> Result<(), E>) -> Result<Swapped, E> {
    swap_in_by(swap, write, unnamed, &mut exchange)
}

/// [`swap_in`], with content made and names exchanged as told.
pub(super) fn swap_in_by<E: From<SwapError>>(
    swap: Swap<'_>,
    write: impl FnOnce(&File) -> Result<(), E>,
    unnamed: Unnamed,
    exchange: Exchange<'_>,
) -> Result<Swapped, E> {
    let place = match Place::open(swap.top, swap.path.as_bstr()) {
        Ok(place) if place.holds(swap.pointer) => place,
        Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Swapped::Left),
        Err(error) => return Err(swap.failed(error).into()),
    };
    replace(swap, &place, Replaced::Pointer(swap.pointer), write, unnamed, exchange)
}

/// Puts what `write` writes into the place of what is `replaced`.
pub(in crate::repo) fn replace<E: From<SwapError>>(
    swap: Swap<'_>,
    place: &Place<'_>,
    replaced: Replaced<'_>,
    write: impl FnOnce(&File) -> Result<(), E>,
    unnamed: Unnamed,
    exchange: Exchange<'_>,
) -> Result<Swapped, E> {
    let mut new = New::make(place, swap, unnamed)?;
    let outcome = write(&new.file).and_then(|()| new.put(place, swap, replaced, exchange).map_err(E::from));
    let is_kept = new.has_name && !place.remove_ours(&new.temporary, &new.file, replaced);
    if let Ok(Swapped::Done(_)) = outcome {
        reached(Step::HydrationCleared);
    }
    match outcome {
        Ok(_) if is_kept => Err(swap.kept(&new.temporary, Errno::BUSY).into()),
        outcome => outcome,
    }
}

/// Exchanges two names as the system does it.
pub(in crate::repo) fn exchange(place: &Place<'_>, temporary: &str) -> Result<(), Errno> {
    place.exchange(temporary)
}

impl Swap<'_> {
    fn full_path(&self) -> PathBuf {
        self.top.join(bytes_to_path(self.path.as_bstr()))
    }

    pub(in crate::repo) fn failed(&self, error: Errno) -> SwapError {
        SwapError::Io { path: self.full_path(), kept: None, source: error.into() }
    }

    /// What the user saved is under the temporary name.
    fn kept(&self, temporary: &TemporaryName, error: Errno) -> SwapError {
        let path = self.full_path();
        SwapError::Io { kept: Some(path.with_file_name(temporary.as_str())), path, source: error.into() }
    }
}

/// A file on its way to its place.
struct New {
    file: File,
    temporary: TemporaryName,
    has_name: bool,
}

impl New {
    /// Makes an empty file in the folder of the place.
    fn make(place: &Place<'_>, swap: Swap<'_>, unnamed: Unnamed) -> Result<New, SwapError> {
        let temporary = TemporaryName::new(rand::random());
        if let Some(file) = unnamed(&place.folder).map_err(|error| swap.failed(error))? {
            return Ok(New { file, temporary, has_name: false });
        }
        let path = swap.path.clone();
        swap.journal.note(&[Record::Write { temporary: temporary.clone(), written: None, path }])?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&place.folder, temporary.as_str(), flags, Mode::RUSR | Mode::WUSR);
        Ok(New { file: File::from(file.map_err(|error| swap.failed(error))?), temporary, has_name: true })
    }

    /// Gives the complete file its mode, its date, its name, and its place.
    fn put(
        &mut self,
        place: &Place<'_>,
        swap: Swap<'_>,
        replaced: Replaced<'_>,
        exchange: Exchange<'_>,
    ) -> Result<Swapped, SwapError> {
        let mode = match place.mode() {
            Ok(mode) => mode,
            Err(Errno::NOENT) => return Ok(Swapped::Saved),
            Err(error) => return Err(swap.failed(error)),
        };
        let written = (|| {
            rustix::fs::fchmod(&self.file, mode)?;
            set_date(&self.file, swap.date)?;
            rustix::fs::fstat(&self.file)
        })();
        let written = written_of(&written.map_err(|error| swap.failed(error))?);
        let (temporary, path) = (self.temporary.clone(), swap.path.clone());
        swap.journal.note(&[Record::Write { temporary, written: Some(written), path }])?;
        reached(Step::HydrationWritten);
        if !self.has_name {
            place.link(&self.file, self.temporary.as_str()).map_err(|error| swap.failed(error))?;
            self.has_name = true;
        }
        reached(Step::HydrationNamed);
        match place.swap(self.temporary.as_str(), replaced, exchange) {
            Ok(true) => Ok(Swapped::Done(written)),
            Ok(false) => Ok(Swapped::Saved),
            Err(error) => Err(match place.is_ours(&self.temporary, &self.file, replaced) {
                Ok(false) => swap.kept(&self.temporary, error),
                _ => swap.failed(error),
            }),
        }
    }
}

impl Place<'_> {
    /// Gives a file without a name one.
    #[cfg(target_os = "linux")]
    fn link(&self, file: &File, temporary: &str) -> Result<(), Errno> {
        use rustix::fs::{AtFlags, CWD};
        rustix::fs::linkat(CWD, in_proc(file), &self.folder, temporary, AtFlags::SYMLINK_FOLLOW)
    }

    #[cfg(not(target_os = "linux"))]
    fn link(&self, _file: &File, _temporary: &str) -> Result<(), Errno> {
        Err(Errno::NOSYS)
    }

    fn mode(&self) -> Result<Mode, Errno> {
        Ok(Mode::from_raw_mode(self.stat(self.name)?.st_mode & 0o777))
    }

    pub(super) fn exchange(&self, temporary: &str) -> Result<(), Errno> {
        let name: &[u8] = self.name;
        rustix::fs::renameat_with(&self.folder, temporary, &self.folder, name, RenameFlags::EXCHANGE)
    }

    /// Exchanges the two names, and back again if what came out is not what is `replaced`: then the
    /// user saved something between the last look and now. Returns true if the new file is in place.
    fn swap(&self, temporary: &str, replaced: Replaced<'_>, exchange: Exchange<'_>) -> Result<bool, Errno> {
        match exchange(self, temporary) {
            Ok(()) => reached(Step::HydrationSwapped),
            // No exchange on this file system: look once more, as late as can be, and rename.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if self.is_there(self.name, replaced) => {
                let name: &[u8] = self.name;
                rustix::fs::renameat(&self.folder, temporary, &self.folder, name)?;
                return Ok(true);
            }
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOENT) => return Ok(false),
            Err(error) => return Err(error),
        }
        match self.is_there(temporary.into(), replaced) {
            true => Ok(true),
            false => exchange(self, temporary).map(|()| false),
        }
    }

    /// Whether what is to be replaced has that name.
    fn is_there(&self, name: &BStr, replaced: Replaced<'_>) -> bool {
        match replaced {
            Replaced::Pointer(pointer) => is_pointer_at(&self.folder, name, pointer),
            Replaced::File(file) => self.stat(name).is_ok_and(|at| is_same(&at, file)),
        }
    }

    /// Whether what is replaced is under the temporary name, or what was `written`, which then did not get its
    /// place; an error where nothing is there. Anything else is what the user saved.
    fn is_ours(&self, temporary: &TemporaryName, written: &File, replaced: Replaced<'_>) -> Result<bool, Errno> {
        let at = self.stat(temporary.as_str().into())?;
        let is_written =
            rustix::fs::fstat(written).is_ok_and(|ours| (ours.st_dev, ours.st_ino) == (at.st_dev, at.st_ino));
        Ok(is_written || self.is_there(temporary.as_str().into(), replaced))
    }

    /// Removes what is ours under the temporary name. Returns false if it is what the user saved.
    fn remove_ours(&self, temporary: &TemporaryName, written: &File, replaced: Replaced<'_>) -> bool {
        match self.is_ours(temporary, written, replaced) {
            Ok(true) => {
                let _ = self.unlink(temporary.as_str());
                true
            }
            Ok(false) => false,
            Err(error) => error == Errno::NOENT,
        }
    }
}

/// The same file, not written to since. Its change time is not asked for: the new name changes that.
pub(super) fn is_same(at: &Stat, before: &Stat) -> bool {
    (at.st_dev, at.st_ino, at.st_size) == (before.st_dev, before.st_ino, before.st_size)
        && date_of(at) == date_of(before)
}

/// Makes a file without a name in the folder; `None` where the system has none that could get one later.
#[cfg(target_os = "linux")]
pub(in crate::repo) fn unnamed(folder: &OwnedFd) -> Result<Option<File>, Errno> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    match rustix::fs::openat(folder, ".", flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) if rustix::fs::stat(in_proc(&file)).is_ok() => Ok(Some(File::from(file))),
        Ok(_) | Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(not(target_os = "linux"))]
pub(in crate::repo) fn unnamed(_folder: &OwnedFd) -> Result<Option<File>, Errno> {
    Ok(None)
}

/// The path by which a file without a name can be named.
#[cfg(target_os = "linux")]
fn in_proc(file: &impl std::os::fd::AsRawFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}
