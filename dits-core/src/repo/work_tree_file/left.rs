//! What a process that is gone left of its hydrations.
//!
//! **For:** whoever takes over its journal.
//!
//! **May touch:** the paths that the journal names, and the temporary names beside them.
//!
//! **Must hold:**
//! - only what was replaced, what was written, and what never got beyond its temporary name is removed;
//! - what the user saved goes back to its path, or stays;
//! - content that was about to give way to its pointer goes back to its path, unless something else stands there.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::super::hydration_journal::Entry;
use super::{GoOn, Place, Stands, bytes_to_path, has_content, open_regular, read_at, written_of};
use crate::hydration_record::{TemporaryName, Written};
use crate::repo_path::RepoPath;

/// How a path is once nothing beside it is left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// It holds the pointer still, whose content is wanted.
    pub is_pointer: bool,
    /// It holds the file that was to stand there, as it was written; nobody has looked into it.
    pub in_place: Option<Written>,
    /// It has again what had been set aside for a side of a conflict, whichever is staged by now.
    pub is_put_back: bool,
    /// What was saved, and could not be put back where it belongs.
    pub kept: Vec<PathBuf>,
}

/// Clears up beside `path` what `entry` of a journal speaks of, and says how the path is now.
///
/// # Errors
///
/// What the system said, other than that there is nothing; [`io::ErrorKind::Interrupted`] if it is not to go on.
pub fn recover(top: &Path, path: &RepoPath, entry: &Entry, go_on: GoOn<'_>) -> io::Result<Recovered> {
    let place = match Place::open(top, path.as_bstr()) {
        Ok(place) => place,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Recovered::default()),
        Err(error) => return Err(error.into()),
    };
    let mut recovered = Recovered::default();
    for (temporary, written) in &entry.writes {
        match clear(&place, temporary, written.as_ref(), entry, go_on)? {
            Cleared::Gone => {}
            Cleared::PutBack => recovered.is_put_back = true,
            Cleared::Kept => {
                recovered.kept.push(top.join(bytes_to_path(path.as_bstr())).with_file_name(temporary.as_str()));
            }
        }
    }
    recovered.is_pointer = entry.wanted().is_some_and(|pointer| place.holds(&pointer));
    if let Some(stands) = entry.goal {
        let written = entry.writes.iter().filter_map(|(_, written)| *written);
        let stat = place.stat(place.name).ok().filter(|stat| stat.st_size as u64 == stands.size());
        recovered.in_place = stat.and_then(|stat| written.into_iter().find(|written| is_at(&stat, written)));
    }
    Ok(recovered)
}

/// What became of a temporary name.
enum Cleared {
    /// Nothing has it any more.
    Gone,
    /// What had been set aside under it has its path again.
    PutBack,
    /// It holds what the user saved.
    Kept,
}

impl Cleared {
    fn gone(is_gone: bool) -> Cleared {
        if is_gone { Cleared::Gone } else { Cleared::Kept }
    }
}

/// Removes what is ours under the temporary name, or puts it where it belongs.
fn clear(
    place: &Place<'_>,
    temporary: &TemporaryName,
    written: Option<&Written>,
    entry: &Entry,
    go_on: GoOn<'_>,
) -> io::Result<Cleared> {
    let name = temporary.as_str();
    let stat = match place.stat(name.into()) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(Cleared::Gone),
        Err(error) => return Err(error.into()),
    };
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    let is_ours = match (written, entry.goal) {
        // It was set aside for something else, which is not there yet; it may have been saved into since.
        (Some(_), None) if place.is_free() => {
            place.rename(name.into(), place.name)?;
            return Ok(Cleared::PutBack);
        }
        (Some(written), None) => is_at(&stat, written),
        (Some(written), Some(goal)) => is_file && (is_inode(&stat, written) || place.has_pointer(name, goal)),
        // It had the name before it was complete. A pointer is complete at once: nobody knows whether it went on.
        (None, Some(Stands::Pointer(pointer))) if is_file => {
            let text = read_at(&place.folder, name.into())?;
            pointer.to_string().as_bytes().starts_with(&text)
        }
        (None, _) => is_file,
    };
    if is_ours {
        place.unlink(name)?;
        return Ok(Cleared::Gone);
    }
    // The process died between the exchange and the one back; or, if the pointer was to stand there, behind it.
    let is_in_place = |written| place.stat(place.name).is_ok_and(|stat| is_at(&stat, written));
    if written.is_some_and(is_in_place) {
        place.exchange(name)?;
        return Ok(Cleared::gone(clear_swapped_back(place, name, written)?));
    }
    // Something else has the path by now. What gave way to the pointer can be had again: that was made sure of before.
    match entry.goal {
        Some(Stands::Pointer(pointer)) if is_file && stat.st_size as u64 == pointer.size => {
            let is_content = has_content(&open_regular(&place.folder, name.into())?, &pointer, go_on)?;
            if is_content {
                place.unlink(name)?;
            }
            Ok(Cleared::gone(is_content))
        }
        _ => Ok(Cleared::Kept),
    }
}

/// Removes the file that has just been exchanged for what belongs to the path.
fn clear_swapped_back(place: &Place<'_>, name: &str, written: Option<&Written>) -> Result<bool, Errno> {
    let is_written = place.stat(name.into()).is_ok_and(|stat| written.is_some_and(|written| is_inode(&stat, written)));
    match is_written {
        true => place.unlink(name).map(|()| true),
        false => Ok(false),
    }
}

impl Place<'_> {
    fn is_free(&self) -> bool {
        matches!(self.stat(self.name), Err(Errno::NOENT))
    }

    fn has_pointer(&self, name: &str, goal: Stands) -> bool {
        super::is_pointer_at(&self.folder, name.into(), &goal.pointer())
    }
}

fn is_inode(stat: &Stat, written: &Written) -> bool {
    written_of(stat).inode == written.inode
}

fn is_at(stat: &Stat, written: &Written) -> bool {
    written_of(stat) == *written
}
