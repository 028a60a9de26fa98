//! The server root: every file the server owns, and who may use it.
//!
//! **For:** naming each file once, making them at the first start, and keeping a second
//! server away.
//!
//! **May touch:** the directory given with `--root`.
//!
//! **Must hold:**
//! - one server at a time serves a root;
//! - keys are readable by the owner alone, and are written whole or not at all;
//! - a root written by a later version is refused.
//!
//! **Format:** `docs/formats/server-root-v1.md`.

mod certificate;
pub(crate) mod files;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

pub use certificate::{Certificate, Fingerprint};

use dits_core::steps::{self, Step};

const FORMAT: &str = "dits server root 1\n";
/// Stands in a root while it is being restored.
const RESTORING: &str = "restoring";

/// A server root that exists.
#[derive(Debug, Clone)]
pub struct Root {
    dir: PathBuf,
}

/// Keeps other servers away from a root for as long as it lives.
#[derive(Debug)]
pub struct RootLock(File);

impl Drop for RootLock {
    fn drop(&mut self) {
        // A child that is just being started has the file too, until its program is loaded: closing would not do.
        let _ = self.0.unlock();
    }
}

/// What names a server and signs its receipts.
#[derive(Clone)]
pub struct Identity {
    /// 16 random bytes that name this server for good.
    pub server_id: [u8; 16],
    /// The key of the server's receipts.
    pub receipt_key: [u8; 32],
}

/// Why a root cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// A file or directory could not be read, made or written.
    #[error("cannot {what} {path}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file could not be copied.
    #[error("cannot copy {from} to {to}")]
    Copy {
        /// The file.
        from: PathBuf,
        /// What its copy was to be.
        to: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The directory holds something else.
    #[error("{0} is neither empty nor a server root")]
    NotARoot(PathBuf),
    /// A restore into it has not ended.
    #[error("the restore into {0} has not ended")]
    Restoring(PathBuf),
    /// Something is where a root is to be restored.
    #[error("{0} is not empty")]
    NotEmpty(PathBuf),
    /// There is no root.
    #[error("there is no server root at {0}")]
    Absent(PathBuf),
    /// It was written by a later version.
    #[error("the server root {path} has format {format:?}, which this version of ditsd does not know")]
    UnknownFormat {
        /// The root.
        path: PathBuf,
        /// What its `format` file says.
        format: String,
    },
    /// Another server runs on it.
    #[error("another ditsd serves {0}")]
    Locked(PathBuf),
    /// Another collection is under way, or a backup.
    #[error("a collection or a backup of {0} is under way")]
    CollectionLocked(PathBuf),
    /// A file does not hold what it should.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The certificate or its key cannot be used.
    #[error("the certificate {path} cannot be used")]
    Certificate {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// A self-signed certificate could not be made.
    #[error("cannot make a self-signed certificate")]
    MakeCertificate(#[source] rcgen::Error),
}

impl Root {
    /// Opens a root, making it where there is none yet.
    ///
    /// # Errors
    ///
    /// [`RootError`] for a directory that cannot be written, or holds something else.
    pub fn create(dir: &Path) -> Result<Root, RootError> {
        files::make_dir(dir)?;
        let dir = dir.canonicalize().map_err(files::failed("find", dir))?;
        let format = dir.join("format");
        if !format.exists() {
            if dir.join(RESTORING).exists() {
                return Err(RootError::Restoring(dir));
            }
            // Files of a first start that was interrupted are this program's own; `format` is
            // written last, so anything else here belongs to somebody else.
            let is_foreign =
                |name: &std::ffi::OsStr| !OWN_NAMES.iter().any(|own| name.to_string_lossy().starts_with(own));
            if files::names_in(&dir)?.iter().any(|name| is_foreign(name)) {
                return Err(RootError::NotARoot(dir));
            }
            for name in OWN_DIRS {
                files::make_dir(&dir.join(name))?;
            }
            files::write_new(&format, FORMAT.as_bytes())?;
        }
        Root::open(&dir)
    }

    /// Opens a root that exists.
    ///
    /// # Errors
    ///
    /// [`RootError::Absent`] where there is none.
    pub fn open(dir: &Path) -> Result<Root, RootError> {
        let format = match fs::read(dir.join("format")) {
            Ok(format) => String::from_utf8_lossy(&format).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let is_restoring = dir.join(RESTORING).exists();
                return Err(if is_restoring { RootError::Restoring } else { RootError::Absent }(dir.to_owned()));
            }
            Err(error) => return Err(files::failed("read", &dir.join("format"))(error)),
        };
        if format != FORMAT {
            return Err(RootError::UnknownFormat { path: dir.to_owned(), format });
        }
        let dir = dir.canonicalize().map_err(files::failed("find", dir))?;
        OWN_DIRS.iter().try_for_each(|name| files::make_dir(&dir.join(name)))?;
        Ok(Root { dir })
    }

    /// Makes a root for a restore of `snapshot`, or takes the one that an earlier restore of the same began.
    ///
    /// # Errors
    ///
    /// [`RootError::NotEmpty`] for a directory that holds anything else, a root that was restored among them.
    pub fn begin_restore(dir: &Path, snapshot: &str) -> Result<Root, RootError> {
        files::make_dir(dir)?;
        let dir = dir.canonicalize().map_err(files::failed("find", dir))?;
        let mark = dir.join(RESTORING);
        if dir.join("format").exists() || !mark.exists() && !files::names_in(&dir)?.iter().all(is_of_mark) {
            return Err(RootError::NotEmpty(dir));
        }
        let text = format!("dits restore 1\n{snapshot}\n");
        if fs::read(&mark).map_or(true, |found| found != text.as_bytes()) {
            // What an earlier restore made is of another snapshot.
            for name in files::names_in(&dir)?.iter().filter(|name| !is_of_mark(name)) {
                files::remove(&dir.join(name))?;
            }
            files::replace(&mark, text.as_bytes(), 0o600)?;
        }
        OWN_DIRS.iter().try_for_each(|name| files::make_dir(&dir.join(name)))?;
        Ok(Root { dir })
    }

    /// Makes a server root of what was restored.
    ///
    /// # Errors
    ///
    /// [`RootError`] if it cannot be written.
    pub fn end_restore(&self) -> Result<(), RootError> {
        files::write_new(&self.dir.join("format"), FORMAT.as_bytes())?;
        steps::reached(Step::RestoreEnded);
        let mark = self.dir.join(RESTORING);
        fs::remove_file(&mark).map_err(files::failed("remove", &mark))?;
        files::sync_dir(&self.dir)
    }

    /// Takes the root for one server.
    ///
    /// # Errors
    ///
    /// [`RootError::Locked`] while another server runs on it.
    pub fn lock(&self) -> Result<RootLock, RootError> {
        self.lock_file("lock", RootError::Locked)
    }

    /// Takes the root for one collection, or for a backup, from which nothing must be removed; a server may run on it.
    ///
    /// # Errors
    ///
    /// [`RootError::CollectionLocked`] while somebody else has it.
    pub fn lock_for_collection(&self) -> Result<RootLock, RootError> {
        self.lock_file("collecting", RootError::CollectionLocked)
    }

    fn lock_file(&self, name: &str, locked: fn(PathBuf) -> RootError) -> Result<RootLock, RootError> {
        let path = self.dir.join(name);
        let file = files::open_for_lock(&path)?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(RootLock(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(locked(self.dir.clone())),
            Err(error) => Err(files::failed("lock", &path)(error.into())),
        }
    }

    /// Reads what names this server, making it at the first start.
    ///
    /// # Errors
    ///
    /// [`RootError`] for files that cannot be written or are damaged.
    pub fn identity(&self) -> Result<Identity, RootError> {
        Ok(Identity {
            server_id: files::random_once(&self.dir.join("server-id"))?,
            receipt_key: files::random_once(&self.dir.join("receipt-key"))?,
        })
    }

    /// Reads the certificate, making a self-signed one at the first start.
    ///
    /// # Errors
    ///
    /// [`RootError`] for files that cannot be read, written or used.
    pub fn certificate(&self) -> Result<Certificate, RootError> {
        Certificate::load_or_make(&self.tls())
    }

    /// Writes the hooks that git calls, so that they start this very program.
    ///
    /// # Errors
    ///
    /// [`RootError`] for files that cannot be written.
    pub fn write_hooks(&self, program: &Path) -> Result<(), RootError> {
        let quoted = format!("'{}'", program.display().to_string().replace('\'', r"'\''"));
        let hook = format!("#!/bin/sh\nexec {quoted} hook pre-receive\n");
        files::replace_executable(&self.hooks().join("pre-receive"), hook.as_bytes())
    }

    /// Empties the directory for unfinished work. Only the holder of the lock may.
    ///
    /// # Errors
    ///
    /// [`RootError`] for files that cannot be removed.
    pub fn sweep_unfinished(&self, _lock: &RootLock) -> Result<(), RootError> {
        let dir = self.unfinished();
        files::names_in(&dir)?.iter().try_for_each(|name| files::remove(&dir.join(name)))
    }

    /// The root itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Bare repositories, `<name>.git` each.
    pub fn repos(&self) -> PathBuf {
        self.dir.join("repos")
    }

    /// The store of all repositories.
    pub fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// The certificate and its key.
    pub fn tls(&self) -> PathBuf {
        self.dir.join("tls")
    }

    /// The database of what only this server knows.
    pub fn meta(&self) -> PathBuf {
        self.dir.join("meta.sqlite")
    }

    /// The hooks that git calls.
    pub fn hooks(&self) -> PathBuf {
        self.dir.join("hooks")
    }

    /// Work that is not finished; emptied at each start.
    pub fn unfinished(&self) -> PathBuf {
        self.dir.join("unfinished")
    }
}

const OWN_DIRS: [&str; 5] = ["repos", "store", "tls", "hooks", "unfinished"];
const OWN_NAMES: [&str; 11] = [
    "repos",
    "store",
    "tls",
    "hooks",
    "unfinished",
    "format",
    "lock",
    "collecting",
    "server-id",
    "receipt-key",
    "meta.sqlite",
];

/// The mark of a restore, or one that was being written.
fn is_of_mark(name: &std::ffi::OsString) -> bool {
    name.to_string_lossy().starts_with(RESTORING)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_root_keeps_its_identity_and_its_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::create(&dir.path().join("srv")).unwrap();
        let first = (root.identity().unwrap(), root.certificate().unwrap());
        let root = Root::open(root.dir()).unwrap();
        assert_eq!(root.identity().unwrap().server_id, first.0.server_id);
        assert_eq!(root.identity().unwrap().receipt_key, first.0.receipt_key);
        assert_eq!(root.certificate().unwrap().fingerprint(), first.1.fingerprint());
        for secret in ["receipt-key", "tls/key.pem"] {
            let mode = fs::metadata(root.dir().join(secret)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{secret}");
        }
    }

    #[test]
    fn a_root_is_served_by_one_server() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::create(dir.path()).unwrap();
        let lock = root.lock().unwrap();
        assert!(matches!(root.lock(), Err(RootError::Locked(_))));
        drop(lock);
        root.lock().unwrap();
    }

    #[test]
    fn a_directory_of_something_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.tex"), "x").unwrap();
        assert!(matches!(Root::create(dir.path()), Err(RootError::NotARoot(_))));
        assert!(matches!(Root::open(dir.path()), Err(RootError::Absent(_))));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_later_format_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("format"), "dits server root 2\n").unwrap();
        assert!(matches!(Root::create(dir.path()), Err(RootError::UnknownFormat { .. })));
    }

    #[test]
    fn the_hook_starts_the_program_whatever_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::create(dir.path()).unwrap();
        let program = dir.path().join("it's a $(program)");
        fs::write(&program, "#!/bin/sh\necho \"$@\"\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        root.write_hooks(&program).unwrap();
        let out = std::process::Command::new(root.hooks().join("pre-receive")).output().unwrap();
        assert_eq!(out.stdout, b"hook pre-receive\n");
    }
}
