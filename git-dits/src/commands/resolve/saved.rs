//! Whether what stands at the paths of conflicts may be replaced.
//!
//! **For:** resolving conflicts.
//!
//! **May touch:** nothing; it reads the files, and git's objects.
//!
//! **Must hold:** only what can be had again is replaced: a version of the conflict, or what git made of their pointers.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use bstr::{BString, ByteSlice};
use dits_core::limits;
use dits_core::pointer::{self, Pointer};
use dits_core::repo::git_program::{GitError, GitProgram};
use dits_core::repo::work_tree_file::{self, Found, Seen};

use crate::conflicts::{Blob, Conflict};
use crate::git;
use crate::media_files;
use crate::pointers;
use crate::programs::shell_word;
use crate::report::Failure;

/// The mode of a symbolic link.
const LINK: &[u8] = b"120000";

/// Refuses if at one of the paths, something stands that would be lost. `is_removed` says which files are to go.
/// Returns what stands at each path: it may go as long as it is just that.
pub fn refuse_loss(
    git: &GitProgram,
    top: &Path,
    conflicts: &[Conflict],
    is_removed: impl Fn(&Conflict) -> bool,
) -> Result<Vec<Seen>, Failure> {
    let mut all_seen = Vec::new();
    for conflict in conflicts {
        let path = &conflict.path;
        let cannot_read = |error: &io::Error| {
            Failure::new(format!("cannot read {}", media_files::on_disk(top, path.as_bstr()).display())).because(error)
        };
        // Before it is looked into, so that a save while that goes on is seen.
        all_seen.push(work_tree_file::see(top, path.as_bstr()).map_err(|error| cannot_read(&error))?);
        match work_tree_file::find(top, path.as_bstr()).map_err(|error| cannot_read(&error))? {
            Found::Nothing => {}
            Found::NoFolder if is_removed(conflict) => {}
            Found::NoFolder => {
                return Err(Failure::refused(format!("a link or a file stands where the folder of {path} belongs"))
                    .hint("move it away, then try again"));
            }
            Found::File(mut file) => {
                let is_known = match is_git_s(&mut file).map_err(|error| cannot_read(&error))? {
                    true => true,
                    false => is_version(git, &mut file, conflict, &cannot_read)?,
                };
                if !is_known {
                    return Err(would_be_lost(path));
                }
            }
            Found::Link(target) => {
                let id = git::filter(git, &["hash-object", "--no-filters", "--stdin"], &target)?;
                if !conflict.versions().any(|blob| blob.mode == LINK && blob.name == id.trim()) {
                    return Err(would_be_lost(path));
                }
            }
            Found::Other => {
                return Err(Failure::refused(format!("something that is no file stands at {path}"))
                    .hint("move it away, then try again"));
            }
        }
    }
    Ok(all_seen)
}

/// That something was saved at the path which cannot be had again.
pub fn would_be_lost(path: &BString) -> Failure {
    let is_pattern = path.starts_with(b":") || path.find_byteset(b"*?[\\").is_some();
    let literal = if is_pattern { "--literal-pathspecs " } else { "" };
    Failure::refused(format!("{path} holds something saved that is no version of the conflict")).hint(format!(
        "keep it as the resolution with `git {literal}add -- {}` at the top, or move it away and try again",
        shell_word(path)
    ))
}

/// Whether git wrote the file when it merged pointers as if they were text.
fn is_git_s(file: &mut File) -> io::Result<bool> {
    let mut text = Vec::new();
    file.take(limits::CONFLICTED_POINTER_LEN_MAX as u64 + 1).read_to_end(&mut text)?;
    Ok(pointer::is_conflicted(&text))
}

/// Whether the file is a version of the conflict: its pointer, its content, or what Git holds of it itself.
fn is_version(
    git: &GitProgram,
    file: &mut File,
    conflict: &Conflict,
    cannot_read: &dyn Fn(&io::Error) -> Failure,
) -> Result<bool, Failure> {
    let blobs: Vec<BString> = conflict.versions().map(|blob: &Blob| blob.name.clone()).collect();
    let known: Vec<Option<Pointer>> = pointers::of_blobs(git, &blobs)?;
    let as_pointers: Vec<Pointer> = known.iter().flatten().copied().collect();
    if work_tree_file::is_any(file, &as_pointers).map_err(|error| cannot_read(&error))? {
        return Ok(true);
    }
    let plain: Vec<BString> =
        blobs.into_iter().zip(&known).filter(|(_, pointer)| pointer.is_none()).map(|(blob, _)| blob).collect();
    if plain.is_empty() {
        return Ok(false);
    }
    let size = file.metadata().map_err(|error| cannot_read(&error))?.len().to_string();
    let sizes = git::filter(git, &["cat-file", "--batch-check=%(objectsize)"], &pointers::lines(plain.iter()))?;
    if sizes.lines().all(|line| line != size.as_bytes()) {
        return Ok(false);
    }
    file.rewind().map_err(|error| cannot_read(&error))?;
    let id = id_of(git, file)?;
    Ok(plain.iter().any(|blob| *blob == id.trim()))
}

/// The name that the file would have as a blob; nothing is stored.
pub fn id_of(git: &GitProgram, file: &mut File) -> Result<BString, GitError> {
    let mut pipe = git.pipe(["hash-object", "--no-filters", "--stdin"])?;
    let copied = pipe.take_stdin().map_or(Ok(0), |mut stdin| io::copy(file, &mut stdin));
    copied.map_err(|error| pipe.broken(error))?;
    let mut id = Vec::new();
    let read = pipe.take_stdout().map_or(Ok(0), |mut stdout| stdout.read_to_end(&mut id));
    read.map_err(|error| pipe.broken(error))?;
    pipe.finish()?;
    Ok(id.into())
}
