//! Getting media that is not here, and putting it into the work tree.
//!
//! **For:** `fetch` and `pull`.
//!
//! **May touch:** the network through `git-remote-dits fetch-media`; files of the work tree
//! that are pointers; git's index, for those files alone.
//!
//! **Must hold:** a path is written only while its index entry and its file are the same pointer.

use std::collections::HashSet;
use std::io::Write;
use std::process::{Command, Stdio};

use bstr::{BString, ByteSlice};
use dits_core::operations::hydrate::{self, Completeness, HydrateError};
use dits_core::pointer::Pointer;
use dits_core::repo::Repository;
use dits_core::repo::config::{Committed, FETCH_EXCLUDE, FETCH_INCLUDE, Settings};
use dits_core::repo::fetch_patterns::FetchPatterns;
use dits_core::repo::helper_program::{self, Missing};
use dits_core::repo::work_tree_file::{self, State, SwapError, Swapped};
use dits_core::store::Sources;

use crate::filter_config;
use crate::here::Here;
use crate::media_address;
use crate::pointers::MediaFile;
use crate::programs::Programs;
use crate::progress::Progress;
use crate::report::{self, Failure};

/// Which paths are wanted, from the command line.
#[derive(clap::Args)]
pub struct PathArgs {
    /// Only paths that match one of these patterns, parted by commas
    #[arg(long, short = 'I', value_name = "PATTERNS")]
    include: Option<String>,
    /// No paths that match one of these patterns, parted by commas
    #[arg(long, short = 'X', value_name = "PATTERNS")]
    exclude: Option<String>,
}

impl PathArgs {
    /// The patterns that hold: those typed, else those of the settings, else the committed ones.
    pub fn patterns(&self, repository: &Repository, settings: &Settings) -> Result<FetchPatterns, Failure> {
        let committed = Committed::read(repository)?;
        let stands = settings.fetch_patterns(&committed);
        if self.include.is_none() && self.exclude.is_none() {
            return Ok(stands.clone());
        }
        // As with git lfs, one of the two options leaves the setting of the other as it is.
        let typed = |typed: &Option<String>, key: &str| match typed {
            Some(text) => vec![BString::from(text.as_str())],
            None => repository.config().values(key),
        };
        Ok(FetchPatterns::new(&typed(&self.include, FETCH_INCLUDE), &typed(&self.exclude, FETCH_EXCLUDE)))
    }
}

/// What a fetch came to.
#[derive(Debug, Default)]
pub struct Fetched {
    /// Files that were here already.
    pub here_count: u64,
    /// Files that were fetched.
    pub fetched_count: u64,
    /// Their sizes, summed up, in bytes.
    pub fetched_bytes: u64,
    /// Files that could not be fetched, with the reason.
    pub missing: Missing,
}

/// Makes sure that the store has all of `wanted`, as far as that can be had.
///
/// Asks for the committed address of media where nothing else says where to get it. A remote on
/// another host has none; that means all places that may.
pub fn fetch(
    here: &Here,
    repository: &Repository,
    sources: &Sources,
    wanted: &[Pointer],
    remote: Option<&str>,
) -> Result<Fetched, Failure> {
    let remote = remote.map(|name| media_address::dits_remote(repository, name)).transpose()?.flatten();
    let mut fetched = Fetched::default();
    let mut asked = Vec::new();
    let mut seen = HashSet::new();
    for pointer in wanted.iter().filter(|pointer| seen.insert(pointer.oid)) {
        match hydrate::completeness(sources, pointer)? {
            Completeness::Complete => fetched.here_count += 1,
            _ => asked.push(*pointer),
        }
    }
    if asked.is_empty() {
        return Ok(fetched);
    }
    if remote.is_none() && repository.dits_remotes().is_empty() {
        media_address::find(&here.git, repository, &repository.settings()?)?;
    }
    fetched.missing = helper_program::fetch(Some(&Programs::find()?.helper()?), remote.as_deref(), &asked);
    for pointer in asked.iter().filter(|pointer| !fetched.missing.contains_key(&pointer.oid)) {
        fetched.fetched_count += 1;
        fetched.fetched_bytes += pointer.size;
    }
    sources.refresh()?;
    Ok(fetched)
}

/// What hydrating came to.
#[derive(Debug, Default)]
pub struct Hydrated {
    /// Files that have their content now.
    pub paths: Vec<BString>,
    /// Their sizes, summed up, in bytes.
    pub bytes: u64,
}

#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    Hydrate(#[from] HydrateError),
    #[error(transparent)]
    Swap(#[from] SwapError),
}

/// The files whose pointer stands in the work tree just as in the index.
pub fn pointers_in_work_tree(repository: &Repository, media: Vec<MediaFile>) -> Result<Vec<MediaFile>, Failure> {
    let top = repository.work_tree().ok_or_else(|| Failure::new("a bare repository has no work tree"))?;
    let mut found = Vec::new();
    for file in media {
        let state = work_tree_file::state(top, file.entry.path.as_bstr())?;
        if let (Some(pointer), State::Pointer(there)) = (file.pointer, state)
            && pointer == there
        {
            found.push(file);
        }
    }
    Ok(found)
}

/// Puts content in the place of each pointer whose content the store has.
pub fn hydrate(
    here: &Here,
    repository: &Repository,
    sources: &Sources,
    files: &[MediaFile],
) -> Result<Hydrated, Failure> {
    let top = repository.work_tree().ok_or_else(|| Failure::new("a bare repository has no work tree"))?;
    let total = files.iter().filter_map(|file| file.pointer).map(|pointer| pointer.size).sum();
    let mut progress = Progress::of_bytes("hydrating", total);
    let mut hydrated = Hydrated::default();
    for file in files {
        let Some(pointer) = file.pointer else { continue };
        let path = file.entry.path.as_bstr();
        let swapped = work_tree_file::swap_in(top, path, &pointer, |to| -> Result<(), WriteError> {
            Ok(hydrate::write_to(sources, &pointer, &mut Counted { to, progress: &mut progress })?)
        });
        match swapped {
            Ok(Swapped::Done) => {
                hydrated.bytes += pointer.size;
                hydrated.paths.push(path.into());
            }
            Ok(Swapped::Left) => report::warn(&format!("{path} changed meanwhile and was left as it is")),
            Err(error) => {
                refresh_index(here, repository, &hydrated.paths)?;
                return Err(Failure::new(format!("cannot hydrate {path}")).because(&error));
            }
        }
    }
    drop(progress);
    refresh_index(here, repository, &hydrated.paths)?;
    Ok(hydrated)
}

/// Lets git see that these files are what its index says, so that its status is clean.
///
/// Their length is not the one git remembers, which a mere refresh takes for a change without
/// asking the filter; naming the paths makes git clean them, to the very pointer it has.
fn refresh_index(here: &Here, repository: &Repository, paths: &[BString]) -> Result<(), Failure> {
    // With no paths git would look at the whole tree.
    let (Some(top), false) = (repository.work_tree(), paths.is_empty()) else { return Ok(()) };
    let mut command = Command::new(here.git.program());
    // Where `git dits install` was not run, git must not store these files as they are.
    for line in filter_config::filter_lines(&Programs::find()?) {
        let mut setting = std::ffi::OsString::from(line.key);
        setting.push("=");
        setting.push(line.value.to_os_str_lossy());
        command.arg("-c").arg(setting);
    }
    command.args(["update-index", "-q", "-z", "--stdin"]).current_dir(top);
    let failed = |error: std::io::Error| Failure::new("cannot run `git update-index`").because(&error);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        let mut input = Vec::new();
        paths.iter().for_each(|path| {
            input.extend_from_slice(path);
            input.push(0);
        });
        stdin.write_all(&input).map_err(failed)?;
    }
    match child.wait().map_err(failed)?.success() {
        true => Ok(()),
        false => Err(Failure::new("the files are hydrated, but git's index could not be refreshed")
            .hint("run `git status`; if it shows them as modified, `git add` them")),
    }
}

/// Counts what is written.
struct Counted<'a, W> {
    to: &'a mut W,
    progress: &'a mut Progress,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.progress.advance(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}
