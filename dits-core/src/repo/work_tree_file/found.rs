//! Whatever is at a path, for who is about to replace or remove it.
//!
//! **For:** conflicts, at whose paths people may have saved something.
//!
//! **May touch:** one file of the work tree; only [`remove`] takes it away.
//!
//! **Must hold:** no symbolic link is followed, neither at the path nor above it.

use std::fs::File;
use std::io::{self, Seek};
use std::ops::ControlFlow;
use std::path::Path;

use bstr::{BStr, BString};
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::{Place, open_regular, pointer_of, read_start};
use crate::pointer::Pointer;

/// What is at a path.
#[derive(Debug)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// Nothing can be: something that is no folder, such as a link to one, stands above.
    NoFolder,
    /// A regular file.
    File(File),
    /// A symbolic link, and where it leads.
    Link(BString),
    /// A folder, a pipe, a device.
    Other,
}

/// Finds what is at `path` below `top`.
///
/// # Errors
///
/// What the system said, other than that there is nothing.
pub fn find(top: &Path, path: &BStr) -> io::Result<Found> {
    let place = match Place::open(top, path) {
        Ok(place) => place,
        Err(Errno::NOENT) => return Ok(Found::Nothing),
        Err(Errno::NOTDIR | Errno::LOOP) => return Ok(Found::NoFolder),
        Err(error) => return Err(error.into()),
    };
    let stat = match place.stat(place.name) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(Found::Nothing),
        Err(error) => return Err(error.into()),
    };
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Found::File(open_regular(&place.folder, place.name)?),
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(&place.folder, &**place.name, Vec::new())?;
            Found::Link(target.into_bytes().into())
        }
        _ => Found::Other,
    })
}

/// Says whether the file is one of these pointers, or the content of one. It is hashed only if its size is that of one.
///
/// # Errors
///
/// What the system said.
pub fn is_any(file: &mut File, pointers: &[Pointer]) -> io::Result<bool> {
    file.rewind()?;
    if Pointer::parse(&read_start(file)?).is_some_and(|pointer| pointers.contains(&pointer)) {
        return Ok(true);
    }
    let size = file.metadata()?.len();
    if pointers.iter().all(|pointer| pointer.size != size) {
        return Ok(false);
    }
    file.rewind()?;
    Ok(pointers.contains(&pointer_of(file, &mut |_| ControlFlow::Continue(()))?))
}

/// Removes what is at `path` below `top`, if anything is: a file, or a link itself.
///
/// # Errors
///
/// What the system said, other than that there is nothing.
pub fn remove(top: &Path, path: &BStr) -> io::Result<()> {
    let removed =
        Place::open(top, path).and_then(|place| rustix::fs::unlinkat(&place.folder, &**place.name, AtFlags::empty()));
    match removed {
        Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
