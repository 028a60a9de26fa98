//! The bytes of an index, read and patched in memory.
//!
//! **For:** having all of the new index before `index.lock` is taken, which is then held for an instant only.
//!
//! **May touch:** the index, read only; stat data of the work tree.
//!
//! **Must hold:** nothing is patched in an index whose checksum is wrong; one without a checksum stays without.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bstr::{BStr, ByteSlice};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Uid};

use super::{FileTime, NotPatched, Restat, Target, hash_kind, modified_of, pointer_blob};
use crate::git_index::{self, IndexError, ObjectFormat, StatData, Wanted, size_in_index};
use crate::limits;
use crate::repo::work_tree_file;

/// An index as it is to be.
pub(super) struct Patched {
    pub(super) bytes: Vec<u8>,
    /// How many entries say what their file looks like.
    pub(super) entries: usize,
    /// Whether that is anything new.
    pub(super) is_new: bool,
    // Held open, so that no other file can have its inode meanwhile.
    file: File,
    stat: Stat,
}

impl Patched {
    /// Reads the index and patches its bytes.
    pub(super) fn read(index: &Path, target: &Target<'_>, files: &[Restat]) -> Result<Patched, NotPatched> {
        let refused = |source| NotPatched::Refused { index: index.to_owned(), source };
        let (file, stat, bytes) = read_all(index).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => NotPatched::Absent { index: index.to_owned() },
            _ => NotPatched::Io { path: index.to_owned(), source: error },
        })?;
        // For an index of many files each takes tens of milliseconds.
        let (stats, checksum) = std::thread::scope(|scope| {
            let checking = (!files.is_empty()).then(|| scope.spawn(|| Checksum::of(&bytes, target.format)));
            let stats = stats_of(&bytes, target, files);
            (stats, checking.and_then(|checking| checking.join().ok()).unwrap_or(Checksum::Wrong))
        });
        let stats = stats.map_err(refused)?;
        let mut patched = Patched { bytes, entries: stats.len(), is_new: false, file, stat };
        if !stats.is_empty() {
            patched.write(&stats, checksum, target.format).map_err(refused)?;
        }
        Ok(patched)
    }

    fn write(
        &mut self,
        stats: &[(usize, StatData)],
        checksum: Checksum,
        format: ObjectFormat,
    ) -> Result<(), IndexError> {
        let checksum_at = self.bytes.len() - format.name_len();
        let wrong = IndexError::Malformed { offset: checksum_at, what: "its checksum is wrong" };
        if checksum == Checksum::Wrong {
            return Err(wrong);
        }
        let (body, end) = self.bytes.split_at_mut(checksum_at);
        for (offset, stat) in stats {
            self.is_new |= stat.write(body, *offset);
        }
        if checksum == Checksum::Right && self.is_new {
            end.copy_from_slice(&hash(body, format).ok_or(wrong)?);
        }
        Ok(())
    }

    /// The user and the group of the index.
    pub(super) fn owner(&self) -> (Uid, Gid) {
        (Uid::from_raw(self.stat.st_uid), Gid::from_raw(self.stat.st_gid))
    }

    /// The permission bits of the index.
    pub(super) fn mode(&self) -> Mode {
        Mode::from_raw_mode(self.stat.st_mode & 0o777)
    }

    /// When the index was modified.
    pub(super) fn modified(&self) -> FileTime {
        modified_of(&self.stat)
    }

    /// Whether the file at `index` is the one that was read, with not a byte changed since. Only who
    /// has `index.lock` can rely on the answer.
    pub(super) fn is_of(&self, index: &Path) -> bool {
        let is_same = |now: Stat| {
            (now.st_dev, now.st_ino, now.st_size) == (self.stat.st_dev, self.stat.st_ino, self.stat.st_size)
                && (now.st_mtime, now.st_mtime_nsec) == (self.stat.st_mtime, self.stat.st_mtime_nsec)
                && (now.st_ctime, now.st_ctime_nsec) == (self.stat.st_ctime, self.stat.st_ctime_nsec)
        };
        rustix::fs::fstat(&self.file).is_ok_and(is_same)
            && rustix::fs::statat(CWD, index, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(is_same)
    }
}

fn read_all(index: &Path) -> io::Result<(File, Stat, Vec<u8>)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(index, flags, Mode::empty())?);
    let stat = rustix::fs::fstat(&file)?;
    let len = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
    if !FileType::from_raw_mode(stat.st_mode).is_file() || len > limits::INDEX_LEN_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
    (&file).take(len).read_to_end(&mut bytes)?;
    Ok((file, stat, bytes))
}

/// The stat data of all `files` that are as given, and where it belongs.
fn stats_of(index: &[u8], target: &Target<'_>, files: &[Restat]) -> Result<Vec<(usize, StatData)>, IndexError> {
    let blobs: Vec<_> = files.iter().map(|file| pointer_blob(&file.pointer, target.format)).collect();
    let wanted = files.iter().zip(&blobs).map(|(file, blob)| Wanted { path: &file.path, blob });
    let wanted: Vec<_> = wanted.collect();
    let found = git_index::find(index, target.format, &wanted)?;
    let mut folders = Folders { top: target.top, last: None };
    let stat_of = |found: git_index::Found| {
        let file = &files[found.wanted_index];
        let stat = folders.stat(file.path.as_bstr())?;
        is_as_given(&stat, file).then(|| (found.offset, stat_data(&stat, target)))
    };
    Ok(found.into_iter().filter_map(stat_of).collect())
}

/// Those of `files` that are as given.
pub(super) fn still_as_given<'a>(top: &Path, files: &'a [Restat]) -> Vec<&'a Restat> {
    let mut folders = Folders { top, last: None };
    let mut is_still =
        |file: &'a Restat| folders.stat(file.path.as_bstr()).is_some_and(|stat| is_as_given(&stat, file));
    files.iter().filter(|file| is_still(file)).collect()
}

fn is_as_given(stat: &Stat, file: &Restat) -> bool {
    FileType::from_raw_mode(stat.st_mode).is_file()
        && u64::try_from(stat.st_size) == Ok(file.size)
        && stat.st_ino == file.inode
        && modified_of(stat) == file.modified
}

/// What git would have written: everything is cut off at 32 bits.
fn stat_data(stat: &Stat, target: &Target<'_>) -> StatData {
    StatData {
        changed: [stat.st_ctime as u32, stat.st_ctime_nsec as u32],
        modified: [stat.st_mtime as u32, stat.st_mtime_nsec as u32],
        device: stat.st_dev as u32,
        inode: stat.st_ino as u32,
        user: stat.st_uid,
        group: stat.st_gid,
        size: size_in_index(stat.st_size as u64, target.full_sizes),
    }
}

/// The folder of the path that was looked at last: an index has all files of a folder together.
struct Folders<'a> {
    top: &'a Path,
    last: Option<(&'a BStr, Option<OwnedFd>)>,
}

impl<'a> Folders<'a> {
    fn stat(&mut self, path: &'a BStr) -> Option<Stat> {
        let (above, name) = work_tree_file::split(path);
        if self.last.as_ref().is_none_or(|(last, _)| *last != above) {
            self.last = Some((above, work_tree_file::open_folder(self.top, above).ok()));
        }
        let (_, folder) = self.last.as_ref()?;
        rustix::fs::statat(folder.as_ref()?, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW).ok()
    }
}

/// What the end of an index says of the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Checksum {
    Right,
    Wrong,
    /// All zeros: with `index.skipHash` git writes no other, and expects none when it reads.
    Skipped,
}

impl Checksum {
    fn of(index: &[u8], format: ObjectFormat) -> Checksum {
        match git_index::split_checksum(index, format) {
            Some((_, end)) if end.iter().all(|byte| *byte == 0) => Checksum::Skipped,
            Some((body, end)) if hash(body, format).as_deref() == Some(end) => Checksum::Right,
            _ => Checksum::Wrong,
        }
    }
}

/// The checksum of an index; `None` if its bytes are an attack on SHA-1.
fn hash(body: &[u8], format: ObjectFormat) -> Option<Vec<u8>> {
    let mut hasher = gix::hash::hasher(hash_kind(format));
    hasher.update(body);
    hasher.try_finalize().ok().map(|name| name.as_bytes().to_vec())
}
