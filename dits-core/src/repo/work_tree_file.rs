//! A file of a work tree: what stands there, and putting content in the place of a pointer, or the other way round.
//!
//! **For:** hydrating files that are there already, and dehydrating them, behind git's back.
//!
//! **May touch:** one file of the work tree, and a temporary one beside it.
//!
//! **Must hold:**
//! - at every moment the path holds the whole pointer, the whole content, or what the user saved;
//! - what the user saved meanwhile is never replaced, and never removed: under a temporary
//!   name only the pointer and what was written here are;
//! - no symbolic link is followed, neither at the path nor above it.
//!
//! **Format:** `docs/formats/hydration-v1.md`.

mod aside;
mod found;
mod hashed;
mod left;
mod swap;

pub use aside::{Aside, AsideError, Seen, see, set_aside};
pub use found::{Found, find, is_any, remove};
pub(super) use hashed::pointer_of;
pub use left::{Recovered, recover};
pub(super) use swap::{Exchange, Replaced, Unnamed, exchange, replace, unnamed};
pub use swap::{Swap, SwapError, Swapped, swap_in};

use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::Path;

use bstr::{BStr, ByteSlice};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use super::bytes_to_path;
use crate::hydration_record::{Date, Written};
use crate::limits;
use crate::pointer::Pointer;
use crate::repo_path::RepoPath;

/// Says whether to go on with what takes long.
pub type GoOn<'a> = &'a (dyn Fn() -> bool + Sync);

/// What stands at a path of the work tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing, or something that is no regular file.
    Absent,
    /// A pointer.
    Pointer(Pointer),
    /// Any other content.
    Content,
}

/// What is to stand at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    /// The content of this pointer.
    Content(Pointer),
    /// The pointer itself.
    Pointer(Pointer),
}

impl Stands {
    /// The pointer, in either case.
    pub fn pointer(&self) -> Pointer {
        match self {
            Stands::Content(pointer) | Stands::Pointer(pointer) => *pointer,
        }
    }

    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Stands::Content(pointer) => pointer.size,
            Stands::Pointer(pointer) => pointer.to_string().len() as u64,
        }
    }

    /// Reads the file from its start, and says whether this is what it is.
    fn is_in(&self, file: &File, go_on: GoOn<'_>) -> io::Result<bool> {
        match self {
            Stands::Content(pointer) => has_content(file, pointer, go_on),
            Stands::Pointer(pointer) => is_pointer(file, pointer),
        }
    }
}

/// What became of a file that was to get another date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redated {
    /// It has the date, and behind it the content that is meant.
    Done(Written),
    /// Git is sure of it as it is.
    NotNeeded,
    /// It is not the file that is meant, or may not be touched, and was left as it is.
    Left,
}

/// Says what stands at `path` below `top`.
///
/// # Errors
///
/// What the system said, other than that there is nothing.
pub fn state(top: &Path, path: &BStr) -> io::Result<State> {
    let found = Place::open(top, path).and_then(|place| place.read());
    match found {
        Ok(text) => Ok(Pointer::parse(&text).map_or(State::Content, State::Pointer)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ISDIR) => Ok(State::Absent),
        Err(error) => Err(error.into()),
    }
}

/// Gives what stands at `path` the date, if it is from `unsure_from` on: in or after that
/// second, git takes nobody's word for it that a file is what its index says.
///
/// What is there is read and hashed once it has the date. Whoever changes it later changes its date, too.
///
/// # Errors
///
/// What the system said, other than that there is no such file or that it may not be touched;
/// [`io::ErrorKind::Interrupted`] if it is not to go on. The file then has its own date.
pub fn redate(
    top: &Path,
    path: &RepoPath,
    stands: Stands,
    date: Date,
    unsure_from: i64,
    go_on: GoOn<'_>,
) -> io::Result<Redated> {
    let file = match Place::open(top, path.as_bstr()).and_then(|place| open_regular(&place.folder, place.name)) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS | Errno::PERM) => return Ok(Redated::Left),
        Err(error) => return Err(error.into()),
    };
    let before = rustix::fs::fstat(&file)?;
    if before.st_size as u64 != stands.size() {
        return Ok(Redated::Left);
    }
    let own_date = date_of(&before);
    if own_date.secs < unsure_from {
        return Ok(Redated::NotNeeded);
    }
    match set_date(&file, date) {
        Ok(()) => {}
        Err(Errno::PERM | Errno::ACCESS | Errno::ROFS) => return Ok(Redated::Left),
        Err(error) => return Err(error.into()),
    }
    // A file system may know times less exactly than they are given.
    let dated = written_of(&rustix::fs::fstat(&file)?);
    let is_meant = stands.is_in(&file, go_on);
    let is_untouched = written_of(&rustix::fs::fstat(&file)?) == dated;
    match (is_meant, is_untouched) {
        (Ok(true), true) => Ok(Redated::Done(dated)),
        (is_meant, true) => {
            // Somebody had saved it before: that is to be seen.
            set_date(&file, own_date)?;
            is_meant.map(|_| Redated::Left)
        }
        (_, false) => Ok(Redated::Left),
    }
}

/// Opens the file at `path` for reading, if it is the one that was `written`.
///
/// # Errors
///
/// What the system said, other than that there is no such file.
pub fn open_written(top: &Path, path: &RepoPath, written: &Written) -> io::Result<Option<File>> {
    match Place::open(top, path.as_bstr()).and_then(|place| open_regular(&place.folder, place.name)) {
        Ok(file) => Ok(is_still(&file, written)?.then_some(file)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether the file is still as it was `written`.
///
/// # Errors
///
/// What the system said.
pub fn is_still(file: &File, written: &Written) -> io::Result<bool> {
    Ok(written_of(&rustix::fs::fstat(file)?) == *written)
}

/// Reads the file from its start, and says whether it is this pointer.
///
/// # Errors
///
/// What the system said.
pub fn is_pointer(file: &File, pointer: &Pointer) -> io::Result<bool> {
    Ok(Pointer::parse(&read_start(file)?) == Some(*pointer))
}

/// The folder that holds a path, opened without following a link, and the path's last part.
pub(super) struct Place<'a> {
    pub(super) folder: OwnedFd,
    pub(super) name: &'a BStr,
}

impl<'a> Place<'a> {
    pub(super) fn open(top: &Path, path: &'a BStr) -> Result<Place<'a>, Errno> {
        let (above, name) = split(path);
        Ok(Place { folder: open_folder(top, above)?, name })
    }

    fn read(&self) -> Result<Vec<u8>, Errno> {
        read_at(&self.folder, self.name)
    }

    fn holds(&self, pointer: &Pointer) -> bool {
        is_pointer_at(&self.folder, self.name, pointer)
    }

    /// What is at the path, or under the name beside it, as long as that is no link.
    fn stat(&self, name: &BStr) -> Result<Stat, Errno> {
        rustix::fs::statat(&self.folder, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW)
    }

    fn unlink(&self, name: &str) -> Result<(), Errno> {
        rustix::fs::unlinkat(&self.folder, name, AtFlags::empty())
    }
}

/// The folder of a path and its last part.
pub(super) fn split(path: &BStr) -> (&BStr, &BStr) {
    match path.rsplit_once_str("/") {
        Some((above, name)) => (above.into(), name.into()),
        None => (b"".into(), path),
    }
}

/// Opens the folder `above` below `top`, following no link below `top`.
pub(super) fn open_folder(top: &Path, above: &BStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut folder = rustix::fs::open(top, flags, Mode::empty())?;
    for part in above.split_str("/").filter(|part| !part.is_empty()) {
        folder = rustix::fs::openat(&folder, part, flags | OFlags::NOFOLLOW, Mode::empty())?;
    }
    Ok(folder)
}

/// Opens what is to be a regular file.
pub(super) fn open_regular(folder: &OwnedFd, name: &BStr) -> Result<File, Errno> {
    // Without NONBLOCK, a pipe of that name would be waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(folder, name.as_bytes(), flags, Mode::empty())?);
    match file.metadata().is_ok_and(|meta| meta.is_file()) {
        true => Ok(file),
        false => Err(Errno::NOENT),
    }
}

/// Reads as much as a pointer can have, and one byte more.
fn read_at(folder: &OwnedFd, name: &BStr) -> Result<Vec<u8>, Errno> {
    let file = open_regular(folder, name)?;
    read_start(&file).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

fn read_start(file: &File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(limits::POINTER_LEN_MAX as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

fn is_pointer_at(folder: &OwnedFd, name: &BStr, pointer: &Pointer) -> bool {
    read_at(folder, name).is_ok_and(|text| Pointer::parse(&text) == Some(*pointer))
}

/// Reads the file from its start, and says whether it is the content of `pointer`.
fn has_content(file: &File, pointer: &Pointer, go_on: GoOn<'_>) -> io::Result<bool> {
    let mut watch = |_| if go_on() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
    // One byte more is enough to tell a longer file.
    Ok(pointer_of(file.take(pointer.size.saturating_add(1)), &mut watch)? == *pointer)
}

fn set_date(file: &File, date: Date) -> Result<(), Errno> {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: date.secs, tv_nsec: date.nanos.into() },
    };
    rustix::fs::futimens(file, &times)
}

#[expect(clippy::unnecessary_cast, reason = "the fields have other widths on other systems")]
fn date_of(stat: &Stat) -> Date {
    Date { secs: stat.st_mtime as i64, nanos: stat.st_mtime_nsec as u32 }
}

#[expect(clippy::unnecessary_cast, reason = "the field has another width on other systems")]
fn written_of(stat: &Stat) -> Written {
    Written { inode: stat.st_ino as u64, date: date_of(stat) }
}

#[cfg(test)]
pub(super) mod fixture;
#[cfg(test)]
mod tests;
