//! What a process that is gone left of its hydrations.
//!
//! **For:** whoever takes over its journal.
//!
//! **May touch:** the paths that the journal names, and the temporary names beside them.
//!
//! **Must hold:** only the pointer, what was written, and what never got beyond its temporary name is removed;
//! what the user saved goes back to its path, or stays.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::super::hydration_journal::Entry;
use super::{Place, bytes_to_path, has_content, open_regular, written_of};
use crate::hydration_record::{TemporaryName, Written};
use crate::repo_path::RepoPath;

/// How a path is once nothing beside it is left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// It holds the pointer still.
    pub is_pointer: bool,
    /// It holds the content, as it was written.
    pub in_place: Option<Written>,
    /// What was saved, and could not be put back where it belongs.
    pub kept: Vec<PathBuf>,
}

/// Clears up beside `path` what `entry` of a journal speaks of, and says how the path is now.
///
/// # Errors
///
/// What the system said, other than that there is nothing.
pub fn recover(top: &Path, path: &RepoPath, entry: &Entry) -> io::Result<Recovered> {
    let place = match Place::open(top, path.as_bstr()) {
        Ok(place) => place,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Recovered::default()),
        Err(error) => return Err(error.into()),
    };
    let mut recovered = Recovered::default();
    for (temporary, written) in &entry.writes {
        if !clear(&place, temporary, written.as_ref(), entry)? {
            recovered.kept.push(top.join(bytes_to_path(path.as_bstr())).with_file_name(temporary.as_str()));
        }
    }
    let Some(pointer) = entry.pointer else { return Ok(recovered) };
    recovered.is_pointer = place.holds(&pointer);
    let written = entry.writes.iter().filter_map(|(_, written)| *written);
    if let Some(written) = place.stat(place.name).ok().and_then(|stat| written.into_iter().find(|w| is_at(&stat, w))) {
        // A power loss may have left a file of that date without its bytes.
        let file = open_regular(&place.folder, place.name)?;
        let is_whole = has_content(&file, &pointer)? && is_at(&rustix::fs::fstat(&file)?, &written);
        recovered.in_place = is_whole.then_some(written);
    }
    Ok(recovered)
}

/// Removes what is ours under the temporary name; returns false if it is what the user saved.
fn clear(
    place: &Place<'_>,
    temporary: &TemporaryName,
    written: Option<&Written>,
    entry: &Entry,
) -> Result<bool, Errno> {
    let name = temporary.as_str();
    let stat = match place.stat(name.into()) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(true),
        Err(error) => return Err(error),
    };
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    let is_ours = match written {
        // It had the name before it was complete, and never went on from there.
        None => is_file,
        Some(written) => {
            is_file && (is_inode(&stat, written) || entry.pointer.is_some_and(|pointer| holds(place, name, &pointer)))
        }
    };
    if is_ours {
        return place.unlink(name).map(|()| true);
    }
    // The process died between the exchange and the one back.
    let is_in_place = |written| place.stat(place.name).is_ok_and(|stat| is_at(&stat, written));
    match written.is_some_and(is_in_place) {
        true => {
            place.exchange(name)?;
            clear_swapped_back(place, name, written)
        }
        false => Ok(false),
    }
}

/// Removes the content that has just been exchanged for what the user saved.
fn clear_swapped_back(place: &Place<'_>, name: &str, written: Option<&Written>) -> Result<bool, Errno> {
    let is_written = place.stat(name.into()).is_ok_and(|stat| written.is_some_and(|written| is_inode(&stat, written)));
    match is_written {
        true => place.unlink(name).map(|()| true),
        false => Ok(false),
    }
}

fn holds(place: &Place<'_>, name: &str, pointer: &crate::pointer::Pointer) -> bool {
    super::is_pointer_at(&place.folder, name.into(), pointer)
}

fn is_inode(stat: &Stat, written: &Written) -> bool {
    written_of(stat).inode == written.inode
}

fn is_at(stat: &Stat, written: &Written) -> bool {
    written_of(stat) == *written
}
