//! The files of the work tree, beside what Git has for them.
//!
//! **For:** the facts of `git dits fsck`.
//!
//! **May touch:** files of the work tree and git's index, read only.
//!
//! **Must hold:** a file that git sees as modified is its owner's business, and no finding.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bstr::{BString, ByteSlice};
use dits_core::hash::FileHash;
use dits_core::pointer::Pointer;
use dits_core::repo::git_program::GitProgram;
use dits_core::repo::work_tree_file::{self, State};

use super::Context;
use crate::git;
use crate::media_files;
use crate::pointers::{self, MediaFile};
use crate::progress::Progress;
use crate::report::Failure;

/// Bytes of a file that are read at a time.
const PIECE_LEN: usize = 1024 * 1024;

/// What is odd about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Git has it as it is, not as a pointer.
    Plain,
    /// It is the pointer of another version.
    OtherPointer,
    /// It has other content than git believes, and git's stat data says that it is unchanged.
    OtherContent,
}

/// A file of the work tree or the index that is not as it should be.
pub struct WorkTreeFinding {
    pub path: String,
    pub pointer: Option<Pointer>,
    pub what: What,
}

impl WorkTreeFinding {
    /// Returns true if something may be lost.
    pub fn is_damage(&self) -> bool {
        self.what == What::OtherContent
    }

    /// One word for it, for programs.
    pub fn word(&self) -> &'static str {
        match self.what {
            What::Plain => "plain",
            What::OtherPointer => "other-pointer",
            What::OtherContent => "other-content",
        }
    }

    /// The finding as one line for people.
    pub fn line(&self) -> String {
        let what = match self.what {
            What::Plain => "is in Git as it is, not as a pointer: `git add --renormalize` it",
            What::OtherPointer => "is the pointer of another version",
            What::OtherContent => {
                "has changed, and git takes it for unchanged: remove it and `git restore` it; or `touch` it, if the change is yours, to have git look"
            }
        };
        format!("{} {what}", self.path)
    }
}

/// Media of the index that is no pointer, and pointers in the work tree that are not those of the index.
pub fn pointers(context: &Context) -> Result<Vec<WorkTreeFinding>, Failure> {
    let (git, top) = place(context)?;
    let mut found = Vec::new();
    let media = pointers::of_index(&git, &context.repository, &[])?;
    let plain = media.iter().filter(|file| file.pointer.is_none()).cloned().collect::<Vec<MediaFile>>();
    let empty: HashSet<BString> = empty_blobs(&git, &plain)?;
    for MediaFile { entry, pointer } in media {
        let path = entry.path.to_string();
        match (pointer, work_tree_file::state(top, entry.path.as_bstr())?) {
            (None, _) if empty.contains(&entry.blob) => {}
            (None, _) => found.push(WorkTreeFinding { path, pointer, what: What::Plain }),
            (Some(expected), State::Pointer(there)) if there != expected => {
                found.push(WorkTreeFinding { path, pointer, what: What::OtherPointer });
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Files that git takes for unchanged, read and compared with their pointer.
pub fn contents(context: &Context) -> Result<Vec<WorkTreeFinding>, Failure> {
    let (git, top) = place(context)?;
    let changed = changed(&git)?;
    let media = pointers::of_index(&git, &context.repository, &[])?;
    let hydrated: Vec<(BString, Pointer)> = media
        .into_iter()
        .filter(|file| !changed.contains(&file.entry.path))
        .filter_map(|file| Some((file.entry.path, file.pointer?)))
        .collect();
    let mut progress = Progress::of_bytes("reading files", hydrated.iter().map(|(_, pointer)| pointer.size).sum());
    let mut found = Vec::new();
    for (path, pointer) in hydrated {
        if work_tree_file::state(top, path.as_bstr())? != State::Content {
            continue;
        }
        let on_disk = media_files::on_disk(top, path.as_bstr());
        let there = read_oid(&on_disk, &mut progress);
        let there = there.map_err(|error| Failure::new(format!("cannot read {path}")).because(&error))?;
        // Somebody may have saved something since git was asked.
        if there != pointer && !self::changed(&git)?.contains(&path) {
            let path = path.to_string();
            found.push(WorkTreeFinding { path, pointer: Some(pointer), what: What::OtherContent });
        }
    }
    Ok(found)
}

fn place(context: &Context) -> Result<(GitProgram, &Path), Failure> {
    let top = context.repository.work_tree().ok_or_else(|| Failure::new("a bare repository has no work tree"))?;
    Ok((context.here.git.clone().in_dir(top), top))
}

/// The paths that git takes for changed, by their stat data.
fn changed(git: &GitProgram) -> Result<HashSet<BString>, Failure> {
    let listed = git.capture(["diff-files", "--name-only", "-z"])?;
    Ok(listed.split_str("\0").filter(|path| !path.is_empty()).map(BString::from).collect())
}

fn empty_blobs(git: &GitProgram, files: &[MediaFile]) -> Result<HashSet<BString>, Failure> {
    if files.is_empty() {
        return Ok(HashSet::new());
    }
    let names = pointers::lines(files.iter().map(|file| &file.entry.blob));
    let lens = git::filter(git, &["cat-file", "--batch-check=%(objectsize)"], &names)?;
    let blobs = files.iter().zip(lens.lines()).filter(|(_, len)| *len == b"0");
    Ok(blobs.map(|(file, _)| file.entry.blob.clone()).collect())
}

/// Hashes a file.
pub fn read_oid(path: &Path, progress: &mut Progress) -> io::Result<Pointer> {
    let mut file = File::open(path)?;
    let (mut hasher, mut piece, mut size) = (blake3::Hasher::new(), vec![0; PIECE_LEN], 0);
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(Pointer { oid: FileHash::from_bytes(*hasher.finalize().as_bytes()), size }),
            Ok(len) => {
                hasher.update(&piece[..len]);
                size += len as u64;
                progress.advance(len as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
