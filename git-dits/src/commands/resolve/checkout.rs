//! Having git write the sides that are staged.
//!
//! **For:** resolving conflicts.
//!
//! **May touch:** the work tree, where nothing stands, through git.
//!
//! **Must hold:** each file that was to be written is there as it was staged, or is named.

use std::fs::File;
use std::io;
use std::path::Path;

use bstr::{BStr, BString, ByteSlice};
use dits_core::pointer::Pointer;
use dits_core::repo::git_program::{GitError, GitProgram};
use dits_core::repo::work_tree_file::{self, Found};

use super::{Put, saved};
use crate::conflicts::Blob;
use crate::git;
use crate::media_files::IndexEntry;
use crate::pointers::{self, MediaFile};
use crate::report::{self, Failure};

/// The mode of an executable file, as git writes it.
const EXECUTABLE: &[u8] = b"100755";

/// A file that is to stand at a path.
pub struct Side<'a> {
    path: &'a BStr,
    blob: &'a Blob,
    /// `None` if Git holds the content itself.
    pointer: Option<Pointer>,
}

/// What became of all of them.
pub struct CheckedOut {
    pointers: Vec<MediaFile>,
    /// Each with what the system said, if it said anything.
    missing: Vec<(BString, Option<io::Error>)>,
    git: Result<(), GitError>,
}

/// What is at a path that git was to write.
enum Standing {
    /// What was staged.
    Side,
    /// Nothing.
    Nothing,
    /// Something else.
    Other,
}

/// The files among what becomes of each path.
pub fn sides<'a>(git: &GitProgram, put: &[(&'a BStr, Put<'a>)]) -> Result<Vec<Side<'a>>, GitError> {
    let files: Vec<(&'a BStr, &'a Blob)> = put
        .iter()
        .filter_map(|(path, put)| match put {
            Put::File(blob) => Some((*path, *blob)),
            Put::Nothing => None,
        })
        .collect();
    let blobs: Vec<BString> = files.iter().map(|(_, blob)| blob.name.clone()).collect();
    let pointers = pointers::of_blobs(git, &blobs)?;
    Ok(files.into_iter().zip(pointers).map(|((path, blob), pointer)| Side { path, blob, pointer }).collect())
}

/// Has git write files from its index where nothing stands, pointers as they are.
pub fn check_out(git: &GitProgram, top: &Path, sides: Vec<Side<'_>>) -> CheckedOut {
    // Without our filter, as git is called from here: content takes the place of exactly the pointer later.
    let paths: Vec<u8> = sides.iter().flat_map(|side| [side.path.as_bytes(), b"\0"].concat()).collect();
    // Its exit status does not say which; what stands there now does.
    let answer = git::filter(git, &["checkout-index", "--quiet", "--index", "-z", "--stdin"], &paths).map(drop);
    let mut all = CheckedOut { pointers: Vec::new(), missing: Vec::new(), git: answer };
    for side in sides {
        match side.standing(git, top, all.git.is_ok()) {
            Ok(Standing::Side) => all.pointers.extend(side.pointer.map(|pointer| side.media_file(pointer))),
            Ok(Standing::Nothing) => all.missing.push((side.path.to_owned(), None)),
            Ok(Standing::Other) => report::warn(&format!("{} was saved meanwhile and was left as it is", side.path)),
            Err(error) => all.missing.push((side.path.to_owned(), Some(error))),
        }
    }
    all
}

impl Side<'_> {
    /// Looks at what is there. Where git has written all, what it holds itself is not read again.
    fn standing(&self, git: &GitProgram, top: &Path, is_all_written: bool) -> io::Result<Standing> {
        let is_side = match (work_tree_file::find(top, self.path)?, self.pointer) {
            (Found::Nothing | Found::NoFolder, _) => return Ok(Standing::Nothing),
            (Found::File(file), Some(pointer)) => work_tree_file::is_pointer(&file, &pointer)?,
            (Found::File(mut file), None) => is_all_written || self.is_in(git, &mut file),
            // A link of somebody's is no pointer, and one that is a side is git's.
            (Found::Link(_) | Found::Other, pointer) => pointer.is_none(),
        };
        Ok(if is_side { Standing::Side } else { Standing::Other })
    }

    fn is_in(&self, git: &GitProgram, file: &mut File) -> bool {
        saved::id_of(git, file).is_ok_and(|id| id.trim() == self.blob.name.as_slice())
    }

    fn media_file(&self, pointer: Pointer) -> MediaFile {
        let entry = IndexEntry {
            path: self.path.to_owned(),
            blob: self.blob.name.clone(),
            is_executable: self.blob.mode == EXECUTABLE,
        };
        MediaFile { entry, pointer: Some(pointer) }
    }
}

impl CheckedOut {
    /// Whether git could not write the file at `path`.
    pub fn is_missing(&self, path: &BStr) -> bool {
        self.missing.iter().any(|(missing, _)| missing == path)
    }

    /// The pointers that now stand at their paths; a failure that names the files which are not there, if there are any.
    /// What was set aside for these stays in the journal until they are.
    pub fn written(self) -> Result<Vec<MediaFile>, Failure> {
        if self.missing.is_empty() {
            return Ok(self.pointers);
        }
        let failure = Failure::new("the conflict is resolved in git's index, but files could not be written");
        let failure = failure.caused_by_each(self.missing.iter().map(|(path, error)| match error {
            None => path.to_string(),
            Some(error) => format!("{path}: {error}"),
        }));
        let failure = match &self.git {
            Err(error) => failure.because(error),
            Ok(()) => failure,
        };
        Err(failure.hint("get them with `git restore`, then run `git dits pull`"))
    }
}
