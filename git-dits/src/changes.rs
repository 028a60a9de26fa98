//! What changed among media: between `HEAD` and the index, and between the index and the work tree.
//!
//! **For:** `git dits status`.
//!
//! **May touch:** nothing; git children and files of the work tree, read only.
//!
//! **Must hold:** a file whose times changed counts as changed only if its content did.

use std::fs::File;
use std::path::Path;

use bstr::{BStr, BString, ByteSlice};
use dits_core::hash::FileHash;
use dits_core::pointer::Pointer;
use dits_core::repo::git_program::{GitError, GitProgram};
use dits_core::repo::work_tree_file::{self, State};
use serde::Serialize;

use crate::git;
use crate::media_files;
use crate::pointers::{self, MediaFile};
use crate::report::Failure;
use crate::sizes::Bytes;

/// A changed file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Its path from the top of the work tree.
    pub path: String,
    /// What happened.
    pub kind: Kind,
    /// What it was.
    pub before: Option<Side>,
    /// What it is.
    pub after: Option<Side>,
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It is new.
    Added,
    /// Its content is another.
    Modified,
    /// It is gone.
    Deleted,
}

/// One state of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Side {
    /// The hash of its content, where somebody computed it.
    pub oid: Option<String>,
    /// Its length in bytes.
    pub size: u64,
}

impl Change {
    /// The change as one line for people.
    pub fn line(&self) -> String {
        let size =
            |side: &Option<Side>| side.as_ref().map_or_else(|| "plain".to_owned(), |side| Bytes(side.size).to_string());
        let path = &self.path;
        match self.kind {
            Kind::Added => format!("new      {path} ({})", size(&self.after)),
            Kind::Modified => format!("modified {path} ({} -> {})", size(&self.before), size(&self.after)),
            Kind::Deleted => format!("deleted  {path} ({})", size(&self.before)),
        }
    }
}

impl From<Pointer> for Side {
    fn from(pointer: Pointer) -> Side {
        Side { oid: Some(pointer.oid.to_string()), size: pointer.size }
    }
}

/// Media that differs between `HEAD` and the index.
pub fn staged(git: &GitProgram, top: &Path) -> Result<Vec<Change>, Failure> {
    let head = head_or_empty(git)?;
    let raw = git.capture(["diff-index", "--cached", "--raw", "-z", "--no-renames", "--no-abbrev", &head])?;
    let raw = media_only(git, top, RawChange::parse_all(&raw))?;
    let before = pointers_of(git, raw.iter().map(|change| &change.before))?;
    let after = pointers_of(git, raw.iter().map(|change| &change.after))?;
    let changes = raw.into_iter().zip(before).zip(after).map(|((raw, before), after)| Change {
        path: raw.path.to_string(),
        kind: raw.kind,
        before: before.map(Side::from),
        after: after.map(Side::from),
    });
    Ok(changes.collect())
}

/// What a commit is compared with: `HEAD`, or the empty tree on a branch without a commit. Its name depends on
/// the hash in use.
pub fn head_or_empty(git: &GitProgram) -> Result<String, Failure> {
    Ok(match git.ask(["rev-parse", "--verify", "--quiet", "HEAD"])? {
        Some(_) => "HEAD".to_owned(),
        None => git::filter(git, &["hash-object", "-t", "tree", "--stdin"], b"")?.trim().to_str_lossy().into_owned(),
    })
}

/// Media whose file in the work tree is neither what the index holds nor its pointer.
pub fn unstaged(git: &GitProgram, top: &Path, media: &[MediaFile]) -> Result<Vec<Change>, Failure> {
    let raw = RawChange::parse_all(&git.capture(["diff-files", "--raw", "-z", "--no-renames", "--no-abbrev"])?);
    let mut changes = Vec::new();
    for raw in raw {
        let Some(file) = media.iter().find(|file| file.entry.path == raw.path) else { continue };
        let change =
            |kind, after| Change { path: raw.path.to_string(), kind, before: file.pointer.map(Side::from), after };
        match work_tree_file::state(top, raw.path.as_bstr())? {
            State::Absent => changes.push(change(Kind::Deleted, None)),
            State::Pointer(there) if Some(there) == file.pointer => {}
            State::Pointer(there) => changes.push(change(Kind::Modified, Some(there.into()))),
            State::Content => {
                let path = media_files::on_disk(top, raw.path.as_bstr());
                if let Some(after) = changed_content(&path, file.pointer)? {
                    changes.push(change(Kind::Modified, Some(after)));
                }
            }
        }
    }
    Ok(changes)
}

/// What a file holds now, unless that is what `pointer` names.
fn changed_content(path: &Path, pointer: Option<Pointer>) -> Result<Option<Side>, Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("cannot read {}", path.display())).because(&error);
    let mut file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    // Another length is another content; only the same length has to be read.
    let Some(pointer) = pointer.filter(|pointer| pointer.size == size) else {
        return Ok(Some(Side { oid: None, size }));
    };
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(&mut file).map_err(failed)?;
    let oid = FileHash::from_bytes(*hasher.finalize().as_bytes());
    Ok((oid != pointer.oid).then(|| Side { oid: Some(oid.to_string()), size }))
}

/// One record of `git diff-… --raw -z`.
pub struct RawChange {
    /// What happened.
    pub kind: Kind,
    /// The blob that was; zero for none.
    pub before: BString,
    /// The blob that is; zero for none, and for a file of the work tree.
    pub after: BString,
    /// The path from the top of the work tree.
    pub path: BString,
}

impl RawChange {
    /// Reads all of them.
    pub fn parse_all(raw: &[u8]) -> Vec<RawChange> {
        let fields: Vec<_> = raw.split_str("\0").collect();
        fields.chunks_exact(2).filter_map(|pair| RawChange::parse(pair[0], pair[1])).collect()
    }

    /// Reads `:<mode> <mode> <blob> <blob> <status>` and a path.
    fn parse(facts: &[u8], path: &[u8]) -> Option<RawChange> {
        let mut fields = facts.strip_prefix(b":")?.split_str(" ").skip(2);
        let (before, after, status) = (fields.next()?, fields.next()?, fields.next()?);
        let kind = match status.first()? {
            b'A' => Kind::Added,
            b'D' => Kind::Deleted,
            b'M' | b'T' => Kind::Modified,
            _ => return None,
        };
        Some(RawChange { kind, before: before.into(), after: after.into(), path: path.into() })
    }
}

/// Those of them that the attributes in the work tree mark as media.
pub fn media_only(git: &GitProgram, top: &Path, raw: Vec<RawChange>) -> Result<Vec<RawChange>, GitError> {
    let paths: Vec<_> = raw.iter().map(|change| change.path.clone()).collect();
    let filters = media_files::attribute(&git.clone().in_dir(top), "filter", &paths)?;
    Ok(raw.into_iter().zip(filters).filter(|(_, filter)| filter == "dits").map(|(change, _)| change).collect())
}

/// The pointers of blobs of which some are the zero name: a side that is not there.
pub fn pointers_of<'a>(
    git: &GitProgram,
    blobs: impl Iterator<Item = &'a BString>,
) -> Result<Vec<Option<Pointer>>, GitError> {
    let blobs: Vec<&BStr> = blobs.map(|blob| blob.as_bstr()).collect();
    let is_there = |blob: &BStr| !git::is_zero_id(blob);
    let there: Vec<BString> = blobs.iter().filter(|blob| is_there(blob)).map(|blob| (*blob).into()).collect();
    let mut pointers = pointers::of_blobs(git, &there)?.into_iter();
    Ok(blobs.into_iter().map(|blob| if is_there(blob) { pointers.next().flatten() } else { None }).collect())
}
