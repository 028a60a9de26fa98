//! Telling git's index what hydrated files look like now, so that `git status` asks nobody about them.
//!
//! **For:** files whose content was put in the place of their pointer, or the other way round, behind git's back.
//!
//! **May touch:** git's index and `index.lock`, by git's own rules. Of the work tree, stat data only. The clock.
//!
//! **Must hold:**
//! - only the stat data of an entry changes, and only while the entry names the pointer's blob and the file
//!   has the size, inode and time that were given;
//! - the index keeps its modification time, since git takes an entry for unsure by comparing with it;
//! - an index that is not understood to its last byte is left as it is, and so is one that changed meanwhile;
//! - on every failure the index is what it was, and `index.lock` is gone if it was ours.
//!
//! **Format:** `docs/formats/hydration-v1.md`, "The index".

mod lock;
mod patched;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bstr::BString;
use rustix::fs::{AtFlags, CWD, Stat};

use super::Repository;
use super::git_program::GitError;
use crate::git_index::{FullSizes, IndexError, ObjectFormat};
use crate::hydration_record::Date;
use crate::limits;
use crate::pointer::Pointer;
use crate::steps::{Step, reached};
use lock::{Lock, Taken};
use patched::Patched;

/// How long before the index a file was modified, as its date has it: git is unsure of one that is not older than the
/// index by its whole seconds.
const DATED_BEFORE: Duration = Duration::from_secs(2);

/// A time of a file, as its file system has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileTime {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds behind these seconds.
    pub nanoseconds: u32,
}

/// A file that may have another size and time than git's index knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restat {
    /// Its path from the top of the work tree, as git gives it.
    pub path: BString,
    /// The pointer that git has for it.
    pub pointer: Pointer,
    /// Its size now, in bytes.
    pub size: u64,
    /// Its inode now.
    pub inode: u64,
    /// When it was modified, exactly as `stat` says.
    pub modified: FileTime,
}

/// An index that was left as it is. Git then calls a file modified whose size is not the one it knows, until the
/// file is added or the index is patched, and asks the filter about any other.
#[derive(Debug, thiserror::Error)]
pub enum NotPatched {
    /// There is no index, or no work tree.
    #[error("there is no index at {index}", index = .index.display())]
    Absent {
        /// Where it would be.
        index: PathBuf,
    },
    /// Somebody else is writing it.
    #[error("{lock} is held by another process", lock = .lock.display())]
    Held {
        /// The lock file.
        lock: PathBuf,
    },
    /// It is none that this program can patch.
    #[error("cannot patch {index}", index = .index.display())]
    Refused {
        /// The index.
        index: PathBuf,
        /// Why.
        #[source]
        source: IndexError,
    },
    /// `extensions.objectFormat` is none that this program knows.
    #[error("the object format of the repository is not known")]
    UnknownObjectFormat,
    /// The system does not let it be read or written.
    #[error("cannot use {path}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Writes into the index of `repo` what the `files` look like, where they are still as given and their entry
/// names their pointer. Returns how many entries now say so.
///
/// The index is the one that `GIT_INDEX_FILE` names, where it is set. Waits for another writer, though not
/// for long.
///
/// # Errors
///
/// [`NotPatched`]: then the index is what it was.
pub fn patch(repo: &Repository, files: &[Restat]) -> Result<usize, NotPatched> {
    let index = repo.index_file();
    let Some(top) = repo.work_tree() else { return Err(NotPatched::Absent { index }) };
    let format = repo.object_format().ok_or(NotPatched::UnknownObjectFormat)?;
    let is_full = |file: &Restat| file.size > 0 && file.size as u32 == 0;
    let full_sizes = match files.iter().any(is_full) {
        true => full_sizes_of_git(repo),
        false => FullSizes::HighBit,
    };
    patch_at(&Target { index, top, format, full_sizes }, files, Duration::from_millis(limits::INDEX_LOCK_WAIT_MS_MAX))
}

/// Whether the index of `repo` is one that can be patched, as far as can be told before git writes it anew.
pub fn is_patchable(repo: &Repository) -> bool {
    // Git would write it so at the end of what it does now. There is none yet in a new clone.
    !repo.config().is_true("core.splitIndex") && matches!(look(repo), Ok(()) | Err(NotPatched::Absent { .. }))
}

/// Whether the index of `repo` is one that [`patch`] leaves alone, whatever it is to be told.
pub fn is_refused(repo: &Repository) -> bool {
    matches!(look(repo), Err(NotPatched::Refused { .. } | NotPatched::UnknownObjectFormat))
}

/// Whether most entries of the index of `repo` are in another file.
pub fn is_split(repo: &Repository) -> bool {
    matches!(look(repo), Err(NotPatched::Refused { source: IndexError::Split, .. }))
}

/// Reads the index of `repo` to its end.
fn look(repo: &Repository) -> Result<(), NotPatched> {
    let index = repo.index_file();
    let Some(top) = repo.work_tree() else { return Err(NotPatched::Absent { index }) };
    let format = repo.object_format().ok_or(NotPatched::UnknownObjectFormat)?;
    let target = Target { index, top, format, full_sizes: FullSizes::HighBit };
    let index = std::fs::canonicalize(&target.index).unwrap_or_else(|_| target.index.clone());
    Patched::read(&index, &target, &[]).map(|_| ())
}

/// Those of `files` that are still as given, as looked at now.
pub fn still_as_given<'a>(top: &Path, files: &'a [Restat]) -> Vec<&'a Restat> {
    patched::still_as_given(top, files)
}

/// When the index at `index` was modified; `None` if there is none.
///
/// # Errors
///
/// What the system said.
pub fn modified(index: &Path) -> io::Result<Option<FileTime>> {
    match rustix::fs::statat(CWD, index, AtFlags::empty()) {
        Ok(stat) => Ok(Some(modified_of(&stat))),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The date of files that git is to be sure of, by when its index was modified; where there is none, by now.
pub fn date_to_be_sure_of(index_time: Option<FileTime>) -> Date {
    let time = index_time.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        FileTime { seconds: now.as_secs() as i64, nanoseconds: now.subsec_nanos() }
    });
    Date { secs: time.seconds.saturating_sub(DATED_BEFORE.as_secs() as i64), nanos: time.nanoseconds }
}

/// The name that git gives the blob of a pointer.
pub fn pointer_blob(pointer: &Pointer, format: ObjectFormat) -> Vec<u8> {
    let text = pointer.to_string();
    // The hash of a text of this form is refused only if it is an attack on SHA-1; no entry then has that name.
    let name = gix::objs::compute_hash(hash_kind(format), gix::objs::Kind::Blob, text.as_bytes());
    name.map(|name| name.as_bytes().to_vec()).unwrap_or_default()
}

/// When a file of this `stat` was modified.
#[expect(clippy::unnecessary_cast, reason = "the fields have other widths on other systems")]
pub(super) fn modified_of(stat: &Stat) -> FileTime {
    FileTime { seconds: stat.st_mtime as i64, nanoseconds: stat.st_mtime_nsec as u32 }
}

fn hash_kind(format: ObjectFormat) -> gix::hash::Kind {
    match format {
        ObjectFormat::Sha1 => gix::hash::Kind::Sha1,
        ObjectFormat::Sha256 => gix::hash::Kind::Sha256,
    }
}

/// An index, and what it is an index of.
struct Target<'a> {
    index: PathBuf,
    top: &'a Path,
    format: ObjectFormat,
    full_sizes: FullSizes,
}

/// Patches, and begins again while somebody else has the lock or has just written the index.
fn patch_at(target: &Target<'_>, files: &[Restat], wait_max: Duration) -> Result<usize, NotPatched> {
    let failed = |path: &Path, source: io::Error| NotPatched::Io { path: path.to_owned(), source };
    // Like git: a link in the place of the index is followed, and the lock stands beside the real one.
    let index = match std::fs::canonicalize(&target.index) {
        Ok(index) => index,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(NotPatched::Absent { index: target.index.clone() });
        }
        Err(error) => return Err(failed(&target.index, error)),
    };
    let lock_path = lock::path_of(&index);
    let begun = Instant::now();
    let mut pause = Duration::from_millis(2);
    let first_holder = lock::holder(&lock_path);
    loop {
        if lock::holder(&lock_path).is_none() {
            let patched = match Patched::read(&index, target, files)? {
                patched if !patched.is_new => return Ok(patched.entries),
                patched => patched,
            };
            match Lock::take(&lock_path, &patched).map_err(|error| failed(&lock_path, error))? {
                Taken::Ours(lock) => {
                    if replace(lock, &patched, &index)? {
                        return Ok(patched.entries);
                    }
                }
                Taken::Held => {}
            }
        }
        if begun.elapsed() + pause > wait_max {
            let is_left_over = first_holder.is_some_and(|first| lock::remove_left_over(&lock_path, &index, first));
            if !is_left_over {
                return Err(NotPatched::Held { lock: lock_path });
            }
            continue;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// Gives the patched index, which is complete under the lock's name, its own. Returns false if what stands
/// there is not what was read.
fn replace(lock: Lock<'_>, patched: &Patched, index: &Path) -> Result<bool, NotPatched> {
    reached(Step::IndexCopied);
    if !patched.is_of(index) {
        return Ok(false);
    }
    lock.rename_to(index).map_err(|source| NotPatched::Io { path: index.to_owned(), source })?;
    reached(Step::IndexReplaced);
    Ok(true)
}

/// How the git that will read the index writes sizes. What cannot be told is the older way: it costs a look
/// at the content, where the newer one would have an older git take the file for modified.
fn full_sizes_of_git(repo: &Repository) -> FullSizes {
    let said = || -> Result<Vec<u8>, GitError> { repo.git()?.capture(["version"]) };
    match said().ok().and_then(|said| version_of(&said)) {
        Some(version) if version >= (2, 43) => FullSizes::HighBit,
        _ => FullSizes::Zero,
    }
}

/// Reads `git version 2.47.3…`.
fn version_of(said: &[u8]) -> Option<(u32, u32)> {
    let said = std::str::from_utf8(said).ok()?;
    let mut numbers = said.strip_prefix("git version ")?.split(['.', ' ', '\n']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests;
