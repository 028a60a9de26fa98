//! Setting a file aside, as long as it is the one that was looked at.
//!
//! **For:** conflicts: what stands at their paths gives way to a side, and what is saved meanwhile does not.
//!
//! **May touch:** one file of the work tree, or a link there, and a temporary name beside it; the journal.
//!
//! **Must hold:**
//! - nothing is removed that is not what was seen, not written to since;
//! - nothing that has taken the path meanwhile is replaced;
//! - no symbolic link is followed, neither at the path nor above it.

use std::io;
use std::path::{Path, PathBuf};

use bstr::BStr;
use rustix::fs::{RenameFlags, Stat};
use rustix::io::Errno;

use super::super::hydration_journal::{Journal, JournalError};
use super::swap::is_same;
use super::{Place, bytes_to_path, written_of};
use crate::hydration_record::{Record, TemporaryName};
use crate::repo_path::RepoPath;
use crate::steps::{Step, reached};

/// What stood at a path when somebody looked.
#[derive(Debug, Clone, Copy)]
pub struct Seen(Option<Stat>);

/// Notes what stands at `path`, before it is looked into.
///
/// # Errors
///
/// What the system said, other than that there is nothing.
pub fn see(top: &Path, path: &BStr) -> io::Result<Seen> {
    match Place::open(top, path).and_then(|place| place.stat(place.name)) {
        Ok(stat) => Ok(Seen(Some(stat))),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(Seen(None)),
        Err(error) => Err(error.into()),
    }
}

/// Why something could not be set aside, or put back.
#[derive(Debug, thiserror::Error)]
pub enum AsideError {
    /// Something else is at the path by now, which stays.
    #[error("{path} was saved meanwhile", path = .path.display())]
    Changed {
        /// The path.
        path: PathBuf,
    },
    /// What was taken from the path has a temporary name still. The journal names it for whoever takes over.
    #[error("cannot put {path} back; it is kept in {kept}", path = .path.display(), kept = .kept.display())]
    Kept {
        /// The path.
        path: PathBuf,
        /// Where it is now.
        kept: PathBuf,
        /// What the system said, also that the path has something else by now.
        #[source]
        source: io::Error,
    },
    /// The system does not let us.
    #[error("cannot set {path} aside", path = .path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What is about to be done cannot be noted.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// A file under a temporary name beside its path.
#[derive(Debug)]
pub struct Aside {
    top: PathBuf,
    path: RepoPath,
    temporary: TemporaryName,
    seen: Stat,
}

/// Takes what was `seen` at `path` away from there, if anything was. What has a temporary name afterwards is added to
/// `all`, also on an error: what was saved meanwhile goes back at once, or else by [`Aside::put_back`].
///
/// # Errors
///
/// [`AsideError`].
pub fn set_aside(
    top: &Path,
    path: &RepoPath,
    seen: &Seen,
    journal: &Journal,
    all: &mut Vec<Aside>,
) -> Result<(), AsideError> {
    set_aside_by(top, path, seen, journal, all, &mut |_, move_away| move_away())
}

/// What else happens when something gets its temporary name, by the function that is given: for tests.
pub(super) type Around<'a> = &'a mut dyn FnMut(&BStr, &dyn Fn() -> Result<(), Errno>) -> Result<(), Errno>;

pub(super) fn set_aside_by(
    top: &Path,
    path: &RepoPath,
    seen: &Seen,
    journal: &Journal,
    all: &mut Vec<Aside>,
    around: Around<'_>,
) -> Result<(), AsideError> {
    let full_path = || top.join(bytes_to_path(path.as_bstr()));
    let failed = |source: io::Error| AsideError::Io { path: full_path(), source };
    let now = see(top, path.as_bstr()).map_err(failed)?;
    let seen = match (seen.0, now.0) {
        (None, None) => return Ok(()),
        (Some(seen), Some(now)) if is_same(&now, &seen) => seen,
        _ => return Err(AsideError::Changed { path: full_path() }),
    };
    let aside = Aside { top: top.to_owned(), path: path.clone(), temporary: TemporaryName::new(rand::random()), seen };
    let (temporary, written) = (aside.temporary.clone(), Some(written_of(&seen)));
    journal.note(&[Record::Write { temporary, written, path: path.clone() }])?;
    let moved = aside.place().and_then(|place| around(aside.name(), &|| place.move_away(aside.name())));
    moved.map_err(|error| failed(error.into()))?;
    // Saved between the look and the new name?
    let is_as_seen = aside.is_as_seen();
    if is_as_seen || aside.put_back().is_err() {
        all.push(aside);
    }
    match is_as_seen {
        true => {
            reached(Step::ResolveSetAside);
            Ok(())
        }
        false => Err(AsideError::Changed { path: full_path() }),
    }
}

impl Aside {
    /// The path that it was taken from.
    pub fn path(&self) -> &RepoPath {
        &self.path
    }

    /// Gives the file its path again.
    ///
    /// # Errors
    ///
    /// [`AsideError::Kept`].
    pub fn put_back(&self) -> Result<(), AsideError> {
        let renamed = self.place().and_then(|place| place.rename(self.name(), place.name));
        renamed.map_err(|error| AsideError::Kept {
            path: self.full_path(),
            kept: self.full_path().with_file_name(self.temporary.as_str()),
            source: error.into(),
        })
    }

    /// Removes the file. If it was written to since it was seen, it stays, and where it is now is returned.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn remove(&self) -> io::Result<Option<PathBuf>> {
        if !self.is_as_seen() {
            return Ok(Some(self.full_path().with_file_name(self.temporary.as_str())));
        }
        self.place().and_then(|place| place.unlink(self.temporary.as_str()))?;
        Ok(None)
    }

    fn full_path(&self) -> PathBuf {
        self.top.join(bytes_to_path(self.path.as_bstr()))
    }

    fn is_as_seen(&self) -> bool {
        self.place().and_then(|place| place.stat(self.name())).is_ok_and(|now| is_same(&now, &self.seen))
    }

    fn place(&self) -> Result<Place<'_>, Errno> {
        Place::open(&self.top, self.path.as_bstr())
    }

    fn name(&self) -> &BStr {
        self.temporary.as_str().into()
    }
}

impl Place<'_> {
    /// Gives what is at the path a name that nobody else can have. It is one step on every file system: a link and a
    /// removal would remove what is saved between the two.
    pub(super) fn move_away(&self, to: &BStr) -> Result<(), Errno> {
        let (from, to): (&[u8], &[u8]) = (self.name, to);
        rustix::fs::renameat(&self.folder, from, &self.folder, to)
    }

    /// Renames within the folder, never over what is there.
    pub(super) fn rename(&self, from: &BStr, to: &BStr) -> Result<(), Errno> {
        let (from, to): (&[u8], &[u8]) = (from, to);
        match rustix::fs::renameat_with(&self.folder, from, &self.folder, to, RenameFlags::NOREPLACE) {
            // No such rename on this file system: a link fails just so.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                rustix::fs::linkat(&self.folder, from, &self.folder, to, rustix::fs::AtFlags::empty())?;
                rustix::fs::unlinkat(&self.folder, from, rustix::fs::AtFlags::empty())
            }
            answer => answer,
        }
    }
}
