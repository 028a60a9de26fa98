//! What `inspect` is asked about: a file, a path of a revision, an oid.
//!
//! **For:** finding its outline.
//!
//! **May touch:** git children and stores, read only; a temporary store for content that no store has.
//!
//! **Must hold:** what a file holds now is shown, whatever the index says of it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use bstr::{BString, ByteSlice};
use dits_core::hash::FileHash;
use dits_core::limits;
use dits_core::operations::clean::{CleanOptions, Cleaner, Outcome};
use dits_core::operations::outline::{self, Outline};
use dits_core::pack_format::Domain;
use dits_core::pointer::Pointer;
use dits_core::repo::stores;
use dits_core::store::{Sharing, Sources, Store, StoreOptions};
use tempfile::TempDir;

use crate::here::Here;
use crate::pointers;
use crate::progress::Progress;
use crate::report::Failure;

/// Blocks of this length are read at a time, in bytes.
const BLOCK_LEN: usize = 4 * 1024 * 1024;
/// Commits that are looked at for a version that differs.
const HISTORY_MAX: &str = "--max-count=200";

/// A file whose outline is known.
pub struct Subject {
    /// Where its chunks are.
    pub sources: Sources,
    /// How it is put together.
    pub outline: Outline,
    /// Where it was found.
    pub place: Place,
    /// Holds the temporary store, if there is one.
    _dir: Option<TempDir>,
}

/// Where a subject was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the work tree or beside it.
    File(PathBuf),
    /// At a path of a revision.
    Revision {
        /// The revision.
        revision: String,
        /// The path from the top of the tree.
        path: String,
    },
    /// Only its oid was given.
    Oid,
}

impl Subject {
    /// Finds what `what` names.
    pub fn find(here: &Here, what: &str) -> Result<Subject, Failure> {
        let file = here.cwd.join(what);
        if file.symlink_metadata().is_ok_and(|meta| meta.is_file()) {
            return Subject::of_file(here, file);
        }
        if let Ok(oid) = what.parse::<FileHash>() {
            return Subject::stored(here, oid, Place::Oid)?.ok_or_else(|| not_here(what));
        }
        match what.split_once(':') {
            Some((revision, path)) => {
                let pointer = pointers::of_blobs(&here.git, &[what.into()])?.pop().flatten();
                let pointer = pointer.ok_or_else(|| {
                    Failure::new(format!("{what} is no media that Dits stores"))
                        .hint("list what a revision has: `git dits ls-files REVISION`")
                })?;
                let place = Place::Revision { revision: revision.to_owned(), path: path.to_owned() };
                Subject::stored(here, pointer.oid, place)?.ok_or_else(|| not_here(what))
            }
            None => Err(Failure::new(format!("{what} is neither a file, nor REVISION:PATH, nor an oid"))),
        }
    }

    fn stored(here: &Here, oid: FileHash, place: Place) -> Result<Option<Subject>, Failure> {
        let Some(repository) = here.repository_if_any()? else { return Ok(None) };
        let sources = stores::open_sources(&repository, &repository.settings()?)?;
        let outline = outline::of(&sources, &oid)?;
        Ok(outline.map(|outline| Subject { sources, outline, place, _dir: None }))
    }

    /// The file with this content, if its manifest is here.
    pub fn of_oid(here: &Here, oid: FileHash) -> Result<Option<Subject>, Failure> {
        Subject::stored(here, oid, Place::Oid)
    }

    /// A file of the work tree, or beside it.
    pub fn of_file(here: &Here, path: PathBuf) -> Result<Subject, Failure> {
        let failed = |error: std::io::Error| Failure::new(format!("cannot read {}", path.display())).because(&error);
        let mut file = File::open(&path).map_err(failed)?;
        let mut start = Vec::new();
        (&mut file).take(limits::POINTER_LEN_MAX as u64 + 1).read_to_end(&mut start).map_err(failed)?;
        let place = Place::File(path.clone());
        let oid = match Pointer::parse(&start) {
            Some(pointer) => pointer.oid,
            None => {
                let mut hasher = blake3::Hasher::new();
                hasher.update(&start).update_reader(&mut file).map_err(failed)?;
                FileHash::from_bytes(*hasher.finalize().as_bytes())
            }
        };
        if let Some(subject) = Subject::stored(here, oid, place.clone())? {
            return Ok(subject);
        }
        match Pointer::parse(&start) {
            Some(_) => Err(not_here(&path.display().to_string())),
            None => Subject::made(&path, place),
        }
    }

    /// Stores a file for as long as it is looked at.
    fn made(path: &Path, place: Place) -> Result<Subject, Failure> {
        let failed = |error: std::io::Error| Failure::new(format!("cannot read {}", path.display())).because(&error);
        let dir =
            tempfile::tempdir().map_err(|error| Failure::new("cannot make a temporary folder").because(&error))?;
        let (store, index) = (dir.path().join("dits"), dir.path().join("index.sqlite"));
        let store = Store::open(StoreOptions { dir: store, index, sharing: Sharing::Machine })?;
        let sources = Sources::new(store, Vec::new());
        let mut file = File::open(path).map_err(failed)?;
        let mut progress = Progress::of_bytes("cutting", file.metadata().map_err(failed)?.len());
        let mut writer = sources.own().writer(Domain::LOCAL);
        let mut cleaner = Cleaner::new(&sources, &mut writer, CleanOptions::default());
        loop {
            let mut block = cleaner.spent_block().unwrap_or_else(|| Vec::with_capacity(BLOCK_LEN));
            let read = (&mut file).take(BLOCK_LEN as u64).read_to_end(&mut block).map_err(failed)?;
            if read == 0 {
                break;
            }
            progress.advance(read as u64);
            cleaner.push(block)?;
        }
        let outcome = cleaner.finish()?.outcome;
        drop(writer);
        let outline = match outcome {
            Outcome::Stored(pointer) => outline::of(&sources, &pointer.oid)?,
            _ => None,
        };
        let outline = outline.ok_or_else(|| {
            Failure::new(format!("{} has nothing to inspect", path.display()))
                .caused_by("Git stores the empty file and pointers as they are")
        })?;
        Ok(Subject { sources, outline, place, _dir: Some(dir) })
    }

    /// The last version in history that differs, with its name; `None` if there is none here.
    pub fn previous(&self, here: &Here) -> Result<Option<(String, Subject)>, Failure> {
        let Some((revision, path)) = self.path_in_history(here)? else { return Ok(None) };
        let pathspec = format!(":(top,literal){path}");
        let listed = here.git.ask(["rev-list", HISTORY_MAX, "--end-of-options", &revision, "--", &pathspec])?;
        let names: Vec<BString> = ByteSlice::lines(listed.unwrap_or_default().as_slice())
            .map(|commit| [commit, b":", path.as_bytes()].concat().into())
            .collect();
        let pointers = pointers::of_blobs(&here.git, &names)?;
        let own = self.outline.manifest.pointer();
        let mut versions = names.into_iter().zip(pointers);
        let Some((name, Some(pointer))) =
            versions.find(|(_, pointer)| pointer.is_some_and(|pointer| pointer.oid != own.oid))
        else {
            return Ok(None);
        };
        let place = Place::Revision { revision: String::new(), path };
        let commit = name.find_byte(b':').map_or(name.as_bstr(), |end| name[..end.min(12)].as_bstr());
        // One whose spans are not here cannot be compared with, which is no failure of this command.
        let subject = Subject::stored(here, pointer.oid, place.clone()).ok().flatten();
        let Place::Revision { path, .. } = &place else { return Ok(None) };
        Ok(subject.map(|subject| (format!("{commit}:{path}"), subject)))
    }

    fn path_in_history(&self, here: &Here) -> Result<Option<(String, String)>, Failure> {
        let (revision, path) = match &self.place {
            Place::Oid => return Ok(None),
            Place::Revision { revision, path } if revision.is_empty() => ("HEAD".to_owned(), path.clone()),
            Place::Revision { revision, path } => (revision.clone(), path.clone()),
            Place::File(path) => {
                let Some(repository) = here.repository_if_any()? else { return Ok(None) };
                let (Some(top), Ok(path)) = (repository.work_tree(), path.canonicalize()) else { return Ok(None) };
                let Ok(top) = top.canonicalize() else { return Ok(None) };
                let Some(path) = path.strip_prefix(top).ok().and_then(Path::to_str) else { return Ok(None) };
                ("HEAD".to_owned(), path.to_owned())
            }
        };
        // A name with a line end cannot be asked for by name.
        let is_there = here.git.ask(["rev-parse", "--verify", "--quiet", "--end-of-options", &revision])?.is_some();
        Ok((is_there && !path.contains('\n')).then_some((revision, path)))
    }
}

fn not_here(what: &str) -> Failure {
    Failure::new(format!("how {what} is put together is not known here"))
        .hint("get it with `git dits fetch`, then try again")
}
