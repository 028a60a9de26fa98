//! A view of a partial clone's objects that has no promisor to ask.
//!
//! **For:** git before 2.45. It knows `GIT_NO_LAZY_FETCH`, and dies where an object that was promised is
//! not here, instead of saying so.
//!
//! **May touch:** in a partial clone, a folder of its own in the git directory; some git children.
//!
//! **Must hold:** nothing is fetched, and the objects are those of the repository.
//!
//! **Format:** `docs/formats/store-v1.md`, "Files".

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bstr::{BString, ByteSlice, ByteVec};

use super::WalkError;
use crate::repo::git_program::GitProgram;

/// The folder, from the repository's common directory.
const DIR: &str = "dits/unpromised";
/// The settings of a partial clone.
const PROMISORS: &str = r"^(extensions\.partialclone|remote\..*\.promisor)$";

/// Makes git look at the repository's objects through a repository without refs and remotes,
/// where a promisor is set.
pub(in crate::repo) fn without_promisor(git: &GitProgram) -> Result<GitProgram, WalkError> {
    let git = git.clone().with_env("GIT_NO_LAZY_FETCH", "1");
    if git.ask(["config", "--get-regexp", PROMISORS])?.is_none() {
        return Ok(git);
    }
    let line = |args: &[&str]| -> Result<BString, WalkError> {
        let mut text = git.capture(args)?;
        if text.last() == Some(&b'\n') {
            text.pop();
        }
        Ok(text.into())
    };
    let path = |args: &[&str]| line(args).map(|text| Vec::from(text).into_path_buf_lossy());
    let objects = path(&["rev-parse", "--path-format=absolute", "--git-path", "objects"])?;
    let dir = path(&["rev-parse", "--path-format=absolute", "--git-common-dir"])?.join(DIR);
    let format = line(&["rev-parse", "--show-object-format"])?;
    make(&dir, format.to_str_lossy().as_ref()).map_err(|source| WalkError::Unpromised { path: dir.clone(), source })?;
    Ok(git.with_env("GIT_DIR", OsString::from(dir)).with_env("GIT_OBJECT_DIRECTORY", OsString::from(objects)))
}

/// Makes what git takes for a repository, unless it is there.
fn make(dir: &Path, object_format: &str) -> io::Result<()> {
    let config = format!(
        "[core]\n\trepositoryformatversion = 1\n\tbare = true\n[extensions]\n\tobjectformat = {object_format}\n"
    );
    let files: [(PathBuf, &str); 2] = [(dir.join("config"), &config), (dir.join("HEAD"), "ref: refs/heads/none\n")];
    for folder in ["refs", "objects"] {
        fs::create_dir_all(dir.join(folder))?;
    }
    for (path, text) in files {
        // One that is there is left alone: another walk may be reading it.
        if !fs::read(&path).is_ok_and(|found| found == text.as_bytes()) {
            fs::write(&path, text)?;
        }
    }
    Ok(())
}
