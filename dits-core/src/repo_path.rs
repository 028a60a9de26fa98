//! Names that people choose: paths inside a repository, and repositories on a server.
//!
//! **For:** parsing such names at the door, so that no later code meets `..` or NUL.
//!
//! **May touch:** nothing.
//!
//! **Must hold:** a [`RepoName`] joined to a directory stays below that directory.

use std::fmt;
use std::path::{Path, PathBuf};

use bstr::{BStr, BString, ByteSlice};

use crate::limits;

/// A path inside a repository, as git gives it: bytes, relative, parted by `/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoPath(BString);

/// A name that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It is empty or too long.
    #[error("a name has 1 to {max} bytes, not {len}")]
    Length {
        /// Its length in bytes.
        len: usize,
        /// The longest allowed.
        max: usize,
    },
    /// A part between slashes is empty, `.`, `..`, or begins or ends as none may.
    #[error("{part:?} cannot be part of a name")]
    Part {
        /// The part.
        part: BString,
    },
    /// A byte that is not allowed.
    #[error("byte 0x{byte:02x} cannot be part of a name")]
    Byte {
        /// The byte.
        byte: u8,
    },
}

impl RepoPath {
    /// Takes a path as git writes it. Any byte but NUL may be in it, white space included.
    ///
    /// # Errors
    ///
    /// [`NameError`] for an empty or overlong path, NUL, an absolute path, and `.` or `..`.
    pub fn new(path: impl Into<BString>) -> Result<RepoPath, NameError> {
        let path = path.into();
        check_len(&path, limits::REPO_PATH_LEN_MAX)?;
        if path.contains(&0) {
            return Err(NameError::Byte { byte: 0 });
        }
        match path.split_str("/").find(|part| part.is_empty() || *part == b"." || *part == b"..") {
            Some(part) => Err(NameError::Part { part: part.into() }),
            None => Ok(RepoPath(path)),
        }
    }

    /// The path's bytes.
    pub fn as_bstr(&self) -> &BStr {
        self.0.as_bstr()
    }
}

impl fmt::Display for RepoPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// A repository's name on a server: parts of letters, digits, `-`, `_` and `.`, parted by `/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoName(String);

impl RepoName {
    /// Takes a name. A trailing `.git` is dropped, as git hosts do.
    ///
    /// # Errors
    ///
    /// [`NameError`] for anything that could leave its directory, hide in it, or read
    /// differently on another file system.
    pub fn new(name: &str) -> Result<RepoName, NameError> {
        let name = name.strip_suffix(".git").unwrap_or(name);
        check_len(name.as_bytes(), limits::REPO_NAME_LEN_MAX)?;
        if let Some(byte) = name.bytes().find(|byte| !byte.is_ascii_alphanumeric() && !b"-_./".contains(byte)) {
            return Err(NameError::Byte { byte });
        }
        let is_bad = |part: &&str| {
            part.is_empty()
                || part.starts_with(['.', '-'])
                || part.ends_with('.')
                || part.ends_with(".git")
                || part.ends_with(".lock")
        };
        match name.split('/').find(is_bad) {
            Some(part) => Err(NameError::Part { part: part.into() }),
            None => Ok(RepoName(name.to_owned())),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The bare repository of this name below `root`.
    pub fn below(&self, root: &Path) -> PathBuf {
        root.join(format!("{}.git", self.0))
    }
}

impl fmt::Display for RepoName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

fn check_len(name: &[u8], max: usize) -> Result<(), NameError> {
    match (1..=max).contains(&name.len()) {
        true => Ok(()),
        false => Err(NameError::Length { len: name.len(), max }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_their_directory_are_refused() {
        for name in [
            "", "..", "a/../b", "/a", "a//b", "a/", ".hidden", "a\0b", "a b", "a\\b", "C:", "-x", "x.git/y", "x.lock",
            "é", "a/./b", "x.",
        ] {
            assert!(RepoName::new(name).is_err(), "{name:?}");
        }
        for name in ["film", "group/film", "a.b-c_d", "film.git", "a/b/c"] {
            let name = RepoName::new(name).expect("a good name");
            assert!(name.below(Path::new("/srv")).starts_with("/srv"));
        }
    }

    #[test]
    fn any_bytes_git_can_hold_make_a_path() {
        for path in [&b"a"[..], b" x.mov ", b"a\nb", b"-x", b"\xff\xfe", b"a/ /b"] {
            assert_eq!(RepoPath::new(path).expect("a good path").as_bstr(), path);
        }
        for path in [&b""[..], b"/a", b"a/../b", b"..", b"a\0b", b"a//b"] {
            assert!(RepoPath::new(path).is_err(), "{path:?}");
        }
    }
}
