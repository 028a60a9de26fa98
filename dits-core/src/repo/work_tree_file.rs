//! Putting content in the place of a pointer in a work tree.
//!
//! **For:** hydrating files that are there already.
//!
//! **May touch:** one file of the work tree, and a temporary one beside it.
//!
//! **Must hold:**
//! - at every moment the path holds the whole pointer, the whole content, or what the user saved;
//! - what the user saved meanwhile is never replaced, and never removed: under the temporary
//!   name only the pointer and what was written here are;
//! - no symbolic link is followed, neither at the path nor above it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bstr::{BStr, ByteSlice};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::limits;
use crate::pointer::Pointer;

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

/// What became of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swapped {
    /// The content is in place.
    Done,
    /// The path does not hold that pointer any more, and was left as it is.
    Left,
}

/// A path of the work tree that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}{kept}", path = .path.display(), kept = told(.kept.as_deref()))]
pub struct SwapError {
    /// The path.
    pub path: PathBuf,
    /// Where what the user saved meanwhile is now, if it could not be put back.
    pub kept: Option<PathBuf>,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

fn told(kept: Option<&Path>) -> String {
    kept.map(|kept| format!("; what was saved there meanwhile is kept in {}", kept.display())).unwrap_or_default()
}

/// The folder that holds a path, opened without following a link, and the path's last part.
struct Place<'a> {
    folder: rustix::fd::OwnedFd,
    name: &'a BStr,
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

/// Replaces exactly `pointer` at `path` by what `write` writes. Mode bits are kept.
///
/// # Errors
///
/// [`SwapError`] for what the system said. What `write` says ends it too and is passed on; the path is then as it was.
pub fn swap_in<E: From<SwapError>>(
    top: &Path,
    path: &BStr,
    pointer: &Pointer,
    write: impl FnOnce(&mut File) -> Result<(), E>,
) -> Result<Swapped, E> {
    swap_in_by(top, path, pointer, write, |place, temporary| place.exchange(temporary))
}

/// [`swap_in`] with the exchange of two names as `exchange` does it.
fn swap_in_by<E: From<SwapError>>(
    top: &Path,
    path: &BStr,
    pointer: &Pointer,
    write: impl FnOnce(&mut File) -> Result<(), E>,
    exchange: impl FnMut(&Place<'_>, &str) -> Result<(), Errno>,
) -> Result<Swapped, E> {
    let full_path = top.join(path.to_path_lossy());
    let failed = |error: Errno| SwapError { path: full_path.clone(), kept: None, source: error.into() };
    let place = match Place::open(top, path) {
        Ok(place) => place,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Swapped::Left),
        Err(error) => return Err(failed(error).into()),
    };
    if !place.holds(pointer) {
        return Ok(Swapped::Left);
    }
    let temporary = format!(".dits-{:016x}", rand::random::<u64>());
    let mode = place.mode().map_err(failed)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&place.folder, temporary.as_str(), flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
    let mut file = File::from(file);
    let outcome = write(&mut file).and_then(|()| {
        rustix::fs::fchmod(&file, mode).map_err(failed)?;
        Ok(place.swap(&temporary, pointer, exchange))
    });
    let is_kept = !place.remove_ours(&temporary, &file, pointer);
    let kept = is_kept.then(|| full_path.with_file_name(&temporary));
    match (outcome?, kept) {
        (Ok(swapped), None) => Ok(swapped),
        (outcome, kept) => {
            let source = outcome.err().unwrap_or(Errno::BUSY).into();
            Err(SwapError { path: full_path, kept, source }.into())
        }
    }
}

impl<'a> Place<'a> {
    fn open(top: &Path, path: &'a BStr) -> Result<Place<'a>, Errno> {
        let (above, name) = split(path);
        Ok(Place { folder: open_folder(top, above)?, name })
    }

    fn read(&self) -> Result<Vec<u8>, Errno> {
        read_at(&self.folder, self.name)
    }

    fn holds(&self, pointer: &Pointer) -> bool {
        self.read().is_ok_and(|text| Pointer::parse(&text) == Some(*pointer))
    }

    fn mode(&self) -> Result<Mode, Errno> {
        let stat = rustix::fs::statat(&self.folder, self.name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(Mode::from_raw_mode(stat.st_mode & 0o777))
    }

    fn exchange(&self, temporary: &str) -> Result<(), Errno> {
        let name = self.name.as_bytes();
        rustix::fs::renameat_with(&self.folder, temporary, &self.folder, name, RenameFlags::EXCHANGE)
    }

    /// Exchanges the two names, and back again if what came out is not the pointer: then the
    /// user saved something between the last look and now.
    fn swap(
        &self,
        temporary: &str,
        pointer: &Pointer,
        mut exchange: impl FnMut(&Place<'_>, &str) -> Result<(), Errno>,
    ) -> Result<Swapped, Errno> {
        match exchange(self, temporary) {
            Ok(()) => {}
            // No exchange on this file system: look once more, as late as can be, and rename.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if self.holds(pointer) => {
                rustix::fs::renameat(&self.folder, temporary, &self.folder, self.name.as_bytes())?;
                return Ok(Swapped::Done);
            }
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOENT) => return Ok(Swapped::Left),
            Err(error) => return Err(error),
        }
        match read_at(&self.folder, temporary.into()).is_ok_and(|text| Pointer::parse(&text) == Some(*pointer)) {
            true => Ok(Swapped::Done),
            false => exchange(self, temporary).map(|()| Swapped::Left),
        }
    }

    /// Removes the temporary name if the pointer is under it, or `written`, which then did not
    /// get its place. Anything else is what the user saved: returns false.
    fn remove_ours(&self, temporary: &str, written: &File, pointer: &Pointer) -> bool {
        let at = match rustix::fs::statat(&self.folder, temporary, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(at) => at,
            Err(error) => return error == Errno::NOENT,
        };
        let is_written =
            rustix::fs::fstat(written).is_ok_and(|ours| (ours.st_dev, ours.st_ino) == (at.st_dev, at.st_ino));
        let is_pointer =
            || read_at(&self.folder, temporary.into()).is_ok_and(|text| Pointer::parse(&text) == Some(*pointer));
        let is_ours = is_written || is_pointer();
        if is_ours {
            let _ = rustix::fs::unlinkat(&self.folder, temporary, AtFlags::empty());
        }
        is_ours
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
pub(super) fn open_folder(top: &Path, above: &BStr) -> Result<rustix::fd::OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut folder = rustix::fs::open(top, flags, Mode::empty())?;
    for part in above.split_str("/").filter(|part| !part.is_empty()) {
        folder = rustix::fs::openat(&folder, part, flags | OFlags::NOFOLLOW, Mode::empty())?;
    }
    Ok(folder)
}

/// Reads as much as a pointer can have, and one byte more.
fn read_at(folder: &rustix::fd::OwnedFd, name: &BStr) -> Result<Vec<u8>, Errno> {
    // Without NONBLOCK, a pipe of that name would be waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(folder, name.as_bytes(), flags, Mode::empty())?);
    if !file.metadata().is_ok_and(|meta| meta.is_file()) {
        return Err(Errno::NOENT);
    }
    let mut text = Vec::new();
    let most = limits::POINTER_LEN_MAX as u64 + 1;
    file.take(most).read_to_end(&mut text).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::FileHash;
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    fn pointer() -> Pointer {
        Pointer { oid: FileHash::of(b"content"), size: 7 }
    }

    fn write(file: &mut File) -> Result<(), SwapError> {
        file.write_all(b"content").map_err(|source| SwapError { path: PathBuf::new(), kept: None, source })
    }

    #[test]
    fn a_pointer_becomes_content_and_keeps_its_mode() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(dir.path().join("a")).expect("made");
        let path = dir.path().join("a/b.bin");
        fs::write(&path, pointer().to_string()).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set");
        assert_eq!(state(dir.path(), "a/b.bin".into()).expect("read"), State::Pointer(pointer()));
        assert_eq!(swap_in(dir.path(), "a/b.bin".into(), &pointer(), write).expect("swapped"), Swapped::Done);
        assert_eq!(fs::read(&path).expect("there"), b"content");
        assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o755);
        assert_eq!(fs::read_dir(dir.path().join("a")).expect("listed").count(), 1);
    }

    #[test]
    fn what_the_user_saved_meanwhile_stays() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("b.bin");
        fs::write(&path, pointer().to_string()).expect("written");
        let saved = |file: &mut File| {
            fs::write(&path, "saved by the user").expect("written");
            write(file)
        };
        assert_eq!(swap_in(dir.path(), "b.bin".into(), &pointer(), saved).expect("tried"), Swapped::Left);
        assert_eq!(fs::read(&path).expect("there"), b"saved by the user");
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1);
    }

    #[test]
    fn what_the_user_saved_is_kept_where_it_cannot_be_put_back() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("b.bin");
        fs::write(&path, pointer().to_string()).expect("written");
        let saved = |file: &mut File| {
            fs::write(&path, "saved by the user").expect("written");
            write(file)
        };
        let mut is_second = false;
        let once = |place: &Place<'_>, temporary: &str| match std::mem::replace(&mut is_second, true) {
            true => Err(Errno::IO),
            false => place.exchange(temporary),
        };
        let error = swap_in_by(dir.path(), "b.bin".into(), &pointer(), saved, once).expect_err("not put back");
        let kept = error.kept.clone().expect("kept");
        assert_eq!(fs::read(&kept).expect("there"), b"saved by the user");
        assert!(error.to_string().contains(&kept.display().to_string()), "{error}");
    }

    #[test]
    fn a_failed_write_leaves_the_pointer() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        fs::write(dir.path().join("b.bin"), pointer().to_string()).expect("written");
        let full = |_: &mut File| {
            Err(SwapError { path: PathBuf::new(), kept: None, source: io::ErrorKind::StorageFull.into() })
        };
        assert!(swap_in(dir.path(), "b.bin".into(), &pointer(), full).is_err());
        assert_eq!(state(dir.path(), "b.bin".into()).expect("read"), State::Pointer(pointer()));
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1);
    }

    #[test]
    fn no_link_is_followed() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let outside = tempfile::tempdir().expect("a temporary folder");
        fs::write(outside.path().join("b.bin"), pointer().to_string()).expect("written");
        std::os::unix::fs::symlink(outside.path(), dir.path().join("a")).expect("linked");
        std::os::unix::fs::symlink(outside.path().join("b.bin"), dir.path().join("c.bin")).expect("linked");
        for path in ["a/b.bin", "c.bin"] {
            assert_eq!(state(dir.path(), path.into()).expect("read"), State::Absent);
            assert_eq!(swap_in(dir.path(), path.into(), &pointer(), write).expect("tried"), Swapped::Left);
        }
        assert_eq!(fs::read(outside.path().join("b.bin")).expect("there"), pointer().to_string().as_bytes());
    }
}
