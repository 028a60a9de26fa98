//! Putting content in the place of a pointer in a work tree.
//!
//! **For:** hydrating files that are there already.
//!
//! **May touch:** one file of the work tree, and a temporary one beside it.
//!
//! **Must hold:**
//! - at every moment the path holds the whole pointer, the whole content, or what the user saved;
//! - what the user saved meanwhile is never replaced;
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
#[error("cannot write {path}", path = .path.display())]
pub struct SwapError {
    /// The path.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
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
    let failed = |error: Errno| SwapError { path: top.join(path.to_path_lossy()), source: error.into() };
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
        Ok(place.swap(&temporary, pointer).map_err(failed)?)
    });
    // Whatever is under the temporary name now is the pointer, or content that did not get its place.
    let _ = rustix::fs::unlinkat(&place.folder, temporary.as_str(), AtFlags::empty());
    outcome
}

impl<'a> Place<'a> {
    fn open(top: &Path, path: &'a BStr) -> Result<Place<'a>, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut folder = rustix::fs::open(top, flags, Mode::empty())?;
        let (above, name) = match path.rsplit_once_str("/") {
            Some((above, name)) => (above, name),
            None => (&b""[..], path.as_bytes()),
        };
        for part in above.split_str("/").filter(|part| !part.is_empty()) {
            folder = rustix::fs::openat(&folder, part, flags | OFlags::NOFOLLOW, Mode::empty())?;
        }
        Ok(Place { folder, name: name.into() })
    }

    /// Reads as much as a pointer can have, and one byte more.
    fn read(&self) -> Result<Vec<u8>, Errno> {
        // Without NONBLOCK, a pipe of that name would be waited for.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(&self.folder, self.name.as_bytes(), flags, Mode::empty())?);
        if !file.metadata().is_ok_and(|meta| meta.is_file()) {
            return Err(Errno::NOENT);
        }
        let mut text = Vec::new();
        let most = limits::POINTER_LEN_MAX as u64 + 1;
        file.take(most).read_to_end(&mut text).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        Ok(text)
    }

    fn holds(&self, pointer: &Pointer) -> bool {
        self.read().is_ok_and(|text| Pointer::parse(&text) == Some(*pointer))
    }

    fn mode(&self) -> Result<Mode, Errno> {
        let stat = rustix::fs::statat(&self.folder, self.name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(Mode::from_raw_mode(stat.st_mode & 0o777))
    }

    /// Exchanges the two names, and back again if what came out is not the pointer: then the
    /// user saved something between the last look and now.
    fn swap(&self, temporary: &str, pointer: &Pointer) -> Result<Swapped, Errno> {
        let exchange = || {
            let name = self.name.as_bytes();
            rustix::fs::renameat_with(&self.folder, temporary, &self.folder, name, RenameFlags::EXCHANGE)
        };
        match exchange() {
            Ok(()) => {}
            // No exchange on this file system: look once more, as late as can be, and rename.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if self.holds(pointer) => {
                rustix::fs::renameat(&self.folder, temporary, &self.folder, self.name.as_bytes())?;
                return Ok(Swapped::Done);
            }
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOENT) => return Ok(Swapped::Left),
            Err(error) => return Err(error),
        }
        let came_out = Place { folder: self.folder.try_clone().map_err(|_| Errno::MFILE)?, name: temporary.into() };
        match came_out.holds(pointer) {
            true => Ok(Swapped::Done),
            false => {
                exchange()?;
                Ok(Swapped::Left)
            }
        }
    }
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
        file.write_all(b"content").map_err(|source| SwapError { path: PathBuf::new(), source })
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
    fn a_failed_write_leaves_the_pointer() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        fs::write(dir.path().join("b.bin"), pointer().to_string()).expect("written");
        let full = |_: &mut File| Err(SwapError { path: PathBuf::new(), source: io::ErrorKind::StorageFull.into() });
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
