//! The swap: content takes the place of exactly one pointer.
//!
//! **For:** writing a file of a work tree while git, the user and other hydrations go on with theirs.
//!
//! **May touch:** the path, a temporary file beside it, and the journal.
//!
//! **Must hold:**
//! - nothing has a name before the journal knows that name;
//! - what comes out of the exchange and is not the pointer goes back.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::super::hydration_journal::{Journal, JournalError};
use super::{Place, bytes_to_path, is_pointer_at, set_date, written_of};
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
    /// What must stand there.
    pub pointer: &'a Pointer,
    /// The time of modification that the content gets.
    pub date: Date,
    /// Where is noted what is about to be done.
    pub journal: &'a Journal,
}

/// What became of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swapped {
    /// The content is in place.
    Done(Written),
    /// The path does not hold that pointer, and was left as it is.
    Left,
    /// Something else took the pointer's place while the content was written; it was left as it is.
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
pub(in crate::repo) fn told(kept: Option<&Path>) -> String {
    kept.map(|kept| format!("; what was saved there meanwhile is kept in {}", kept.display())).unwrap_or_default()
}

/// Makes a file without a name in a folder.
pub(super) type Unnamed = fn(&OwnedFd) -> Result<Option<File>, Errno>;
/// Exchanges the temporary name with that of the place.
pub(super) type Exchange<'e> = &'e mut dyn FnMut(&Place<'_>, &str) -> Result<(), Errno>;

/// Replaces the pointer by what `write` writes into an empty file. Mode bits are kept.
///
/// # Errors
///
/// [`SwapError`] for what the system said. What `write` says ends it too and is passed on; the path is then as it was.
pub fn swap_in<E: From<SwapError>>(swap: Swap<'_>, write: impl FnOnce(&File) -> Result<(), E>) -> Result<Swapped, E> {
    swap_in_by(swap, write, unnamed, &mut |place, temporary| place.exchange(temporary))
}

/// [`swap_in`], with content made and names exchanged as told.
pub(super) fn swap_in_by<E: From<SwapError>>(
    swap: Swap<'_>,
    write: impl FnOnce(&File) -> Result<(), E>,
    unnamed: Unnamed,
    exchange: Exchange<'_>,
) -> Result<Swapped, E> {
    let full_path = swap.top.join(bytes_to_path(swap.path.as_bstr()));
    let failed = |error: Errno| SwapError::Io { path: full_path.clone(), kept: None, source: error.into() };
    let place = match Place::open(swap.top, swap.path.as_bstr()) {
        Ok(place) if place.holds(swap.pointer) => place,
        Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Swapped::Left),
        Err(error) => return Err(failed(error).into()),
    };
    let mut content = Content::make(&place, swap, unnamed, failed)?;
    let outcome = write(&content.file).and_then(|()| content.put(&place, swap, exchange, failed).map_err(E::from));
    let is_kept = content.has_name && !place.remove_ours(&content.temporary, &content.file, swap.pointer);
    if let Ok(Swapped::Done(_)) = outcome {
        reached(Step::HydrationCleared);
    }
    match outcome {
        Ok(_) if is_kept => {
            let kept = Some(full_path.with_file_name(content.temporary.as_str()));
            Err(SwapError::Io { path: full_path, kept, source: Errno::BUSY.into() }.into())
        }
        outcome => outcome,
    }
}

/// Content on its way to its place.
struct Content {
    file: File,
    temporary: TemporaryName,
    has_name: bool,
}

impl Content {
    /// Makes an empty file in the folder of the place.
    fn make(
        place: &Place<'_>,
        swap: Swap<'_>,
        unnamed: Unnamed,
        failed: impl Fn(Errno) -> SwapError,
    ) -> Result<Content, SwapError> {
        let temporary = TemporaryName::new(rand::random());
        if let Some(file) = unnamed(&place.folder).map_err(&failed)? {
            return Ok(Content { file, temporary, has_name: false });
        }
        let path = swap.path.clone();
        swap.journal.note(&[Record::Write { temporary: temporary.clone(), written: None, path }])?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&place.folder, temporary.as_str(), flags, Mode::RUSR | Mode::WUSR);
        Ok(Content { file: File::from(file.map_err(failed)?), temporary, has_name: true })
    }

    /// Gives the complete content its mode, its date, its name, and its place.
    fn put(
        &mut self,
        place: &Place<'_>,
        swap: Swap<'_>,
        exchange: Exchange<'_>,
        failed: impl Fn(Errno) -> SwapError,
    ) -> Result<Swapped, SwapError> {
        let mode = match place.mode() {
            Ok(mode) => mode,
            Err(Errno::NOENT) => return Ok(Swapped::Saved),
            Err(error) => return Err(failed(error)),
        };
        let written = (|| {
            rustix::fs::fchmod(&self.file, mode)?;
            set_date(&self.file, swap.date)?;
            rustix::fs::fstat(&self.file)
        })();
        let written = written_of(&written.map_err(&failed)?);
        let (temporary, path) = (self.temporary.clone(), swap.path.clone());
        swap.journal.note(&[Record::Write { temporary, written: Some(written), path }])?;
        reached(Step::HydrationWritten);
        if !self.has_name {
            place.link(&self.file, self.temporary.as_str()).map_err(&failed)?;
            self.has_name = true;
        }
        reached(Step::HydrationNamed);
        match place.swap(self.temporary.as_str(), swap.pointer, exchange) {
            Ok(true) => Ok(Swapped::Done(written)),
            Ok(false) => Ok(Swapped::Saved),
            Err(error) => Err(match (failed(error), place.is_ours(&self.temporary, &self.file, swap.pointer)) {
                (SwapError::Io { path, source, .. }, Ok(false)) => {
                    let kept = Some(path.with_file_name(self.temporary.as_str()));
                    SwapError::Io { path, kept, source }
                }
                (error, _) => error,
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

    /// Exchanges the two names, and back again if what came out is not the pointer: then the
    /// user saved something between the last look and now. Returns true if the content is in place.
    fn swap(&self, temporary: &str, pointer: &Pointer, exchange: Exchange<'_>) -> Result<bool, Errno> {
        match exchange(self, temporary) {
            Ok(()) => reached(Step::HydrationSwapped),
            // No exchange on this file system: look once more, as late as can be, and rename.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if self.holds(pointer) => {
                let name: &[u8] = self.name;
                rustix::fs::renameat(&self.folder, temporary, &self.folder, name)?;
                return Ok(true);
            }
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOENT) => return Ok(false),
            Err(error) => return Err(error),
        }
        match is_pointer_at(&self.folder, temporary.into(), pointer) {
            true => Ok(true),
            false => exchange(self, temporary).map(|()| false),
        }
    }

    /// Whether the pointer is under the temporary name, or `written`, which then did not get its place; an
    /// error where nothing is there. Anything else is what the user saved.
    fn is_ours(&self, temporary: &TemporaryName, written: &File, pointer: &Pointer) -> Result<bool, Errno> {
        let at = self.stat(temporary.as_str().into())?;
        let is_written =
            rustix::fs::fstat(written).is_ok_and(|ours| (ours.st_dev, ours.st_ino) == (at.st_dev, at.st_ino));
        Ok(is_written || is_pointer_at(&self.folder, temporary.as_str().into(), pointer))
    }

    /// Removes what is ours under the temporary name. Returns false if it is what the user saved.
    fn remove_ours(&self, temporary: &TemporaryName, written: &File, pointer: &Pointer) -> bool {
        match self.is_ours(temporary, written, pointer) {
            Ok(true) => {
                let _ = self.unlink(temporary.as_str());
                true
            }
            Ok(false) => false,
            Err(error) => error == Errno::NOENT,
        }
    }
}

/// Makes a file without a name in the folder; `None` where the system has none that could get one later.
#[cfg(target_os = "linux")]
pub(super) fn unnamed(folder: &OwnedFd) -> Result<Option<File>, Errno> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    match rustix::fs::openat(folder, ".", flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) if rustix::fs::stat(in_proc(&file)).is_ok() => Ok(Some(File::from(file))),
        Ok(_) | Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn unnamed(_folder: &OwnedFd) -> Result<Option<File>, Errno> {
    Ok(None)
}

/// The path by which a file without a name can be named.
#[cfg(target_os = "linux")]
fn in_proc(file: &impl std::os::fd::AsRawFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}
