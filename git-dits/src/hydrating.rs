//! Getting media that is not here, and putting it into the work tree.
//!
//! **For:** `fetch`, `pull`, and whatever else hydrates: the hooks, `checkout`.
//!
//! **May touch:** the network through `git-remote-dits fetch-media`; files of the work tree
//! that are pointers, and the journals of their hydration; git's index, for those files alone; signals, while files
//! are being written.
//!
//! **Must hold:** a path is written only while its file is exactly the pointer that was to be replaced.

use std::collections::HashSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use bstr::{BStr, BString, ByteSlice};
use dits_core::git_index::IndexError;
use dits_core::operations::hydrate::{self, Completeness};
use dits_core::operations::hydrate_tree::{Hydration, Outcome, Wanted, hydrate_tree};
use dits_core::operations::needed_media::counted;
use dits_core::pointer::Pointer;
use dits_core::repo::Repository;
use dits_core::repo::config::{Committed, FETCH_EXCLUDE, FETCH_INCLUDE, Settings};
use dits_core::repo::fetch_patterns::FetchPatterns;
use dits_core::repo::helper_program::{self, Missing};
use dits_core::repo::hydration_journal;
use dits_core::repo::index_stat::{self, NotPatched, Restat};
use dits_core::repo::interruption::Interruption;
use dits_core::repo::work_tree_file::{self, State};
use dits_core::repo_path::RepoPath;
use dits_core::store::Sources;

use crate::filter_config;
use crate::here::Here;
use crate::media_address;
use crate::pointers::{self, MediaFile};
use crate::programs::Programs;
use crate::progress::{self, Progress};
use crate::report::{self, Failure, INTERRUPTED};

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
    fetched.missing =
        helper_program::fetch(Some(&Programs::find()?.helper()?), remote.as_deref(), progress::of_helper(), &asked);
    for pointer in asked.iter().filter(|pointer| !fetched.missing.contains_key(&pointer.oid)) {
        fetched.fetched_count += 1;
        fetched.fetched_bytes += pointer.size;
    }
    sources.refresh()?;
    Ok(fetched)
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

/// Which pointers of a work tree are to become content.
pub enum Which<'a> {
    /// Those of these files.
    Files(&'a [MediaFile]),
    /// All that processes which are at work have promised to hydrate, and have not yet.
    Promised,
}

/// Puts content from the stores in the place of pointers, and tells git's index: nothing is fetched.
///
/// May run while another process hydrates the same files: each pointer is replaced by one of them, and the other
/// leaves the file as it is. What a process left that was killed is cleared up, and what it had promised stays promised. Says on standard error what went
/// wrong; [`fail_if_left`] makes a failure of it.
pub fn hydrate(here: &Here, repository: &Repository, sources: &Sources, which: Which<'_>) -> Result<Outcome, Failure> {
    hydrate_until(&watch_for_ctrl_c()?, here, repository, sources, which)
}

/// From now on, Ctrl-C ends no more than what asks the answer.
pub fn watch_for_ctrl_c() -> Result<Interruption, Failure> {
    Interruption::watch_for().map_err(|error| Failure::new("cannot watch for Ctrl-C").because(&error))
}

/// [`hydrate`], for who watches for Ctrl-C by himself.
fn hydrate_until(
    interruption: &Interruption,
    here: &Here,
    repository: &Repository,
    sources: &Sources,
    which: Which<'_>,
) -> Result<Outcome, Failure> {
    let wanted = match which {
        Which::Files(files) => wanted_of(files),
        Which::Promised => promised(repository, sources)?,
    };
    let progress = Mutex::new(Progress::of_bytes("hydrating", wanted.iter().map(|wanted| wanted.pointer.size).sum()));
    let watch = |count: u64| {
        progress.lock().unwrap_or_else(|broken| broken.into_inner()).advance(count);
        interruption.go_on()
    };
    let hydration = Hydration::of(repository, sources, wanted);
    let outcome = hydrate_tree(hydration, &watch).map_err(|error| Failure::new("cannot hydrate").because(&error));
    drop(progress);
    let outcome = outcome?;
    tell(&outcome);
    if let Some(error @ NotPatched::Refused { .. }) = &outcome.not_patched {
        tell_by_git(here, repository, error, &outcome.untold)?;
    }
    Ok(outcome)
}

/// Clears up what processes left that are gone, as [`hydrate`] does.
pub fn take_over(
    interruption: &Interruption,
    here: &Here,
    repository: &Repository,
    sources: &Sources,
) -> Result<(), Failure> {
    let outcome = hydrate_until(interruption, here, repository, sources, Which::Files(&[]))?;
    fail_if_left(&outcome)
}

/// A failure if a file that was to be hydrated was not.
pub fn fail_if_left(outcome: &Outcome) -> Result<(), Failure> {
    if outcome.is_interrupted {
        report::error("interrupted");
        let left = match outcome.stopped.len() {
            0 => String::new(),
            count => format!("{} still to be hydrated: ", counted(count)),
        };
        report::hint(&format!("{left}`git dits pull` goes on"));
        return Err(Failure::told(INTERRUPTED));
    }
    match outcome.failed.as_slice() {
        [] => Ok(()),
        [only] => Err(Failure::new(format!("cannot hydrate {}", only.wanted.path)).caused_by(&only.reason)),
        failed => {
            let causes = failed.iter().map(|failed| format!("{}: {}", failed.wanted.path, failed.reason));
            Err(Failure::new(format!("cannot hydrate {}", counted(failed.len()))).caused_by_each(causes))
        }
    }
}

fn wanted_of(files: &[MediaFile]) -> Vec<Wanted> {
    let wanted =
        |file: &MediaFile| Some(Wanted { path: RepoPath::new(file.entry.path.clone()).ok()?, pointer: file.pointer? });
    files.iter().filter_map(wanted).collect()
}

/// What processes which are at work have promised, as far as its content is here.
fn promised(repository: &Repository, sources: &Sources) -> Result<Vec<Wanted>, Failure> {
    let entries = hydration_journal::entries_of_living(repository.git_dir())
        .map_err(|error| Failure::new("cannot read what is to be hydrated").because(&error))?;
    let mut wanted = Vec::new();
    for (path, entry) in entries {
        if let Some(pointer) = entry.wanted()
            && hydrate::completeness(sources, &pointer)? == Completeness::Complete
        {
            wanted.push(Wanted { path, pointer });
        }
    }
    Ok(wanted)
}

fn tell(outcome: &Outcome) {
    for path in &outcome.saved {
        report::warn(&format!("{path} changed meanwhile and was left as it is"));
    }
    outcome.warnings.iter().for_each(|warning| report::warn(warning));
}

/// Has git itself look at files of which its index could not be told because of `error`.
pub fn tell_by_git(here: &Here, repository: &Repository, error: &NotPatched, files: &[Restat]) -> Result<(), Failure> {
    match error {
        // What is damaged is not written anew: that would hide what is lost.
        NotPatched::Refused { source: IndexError::Malformed { .. }, .. } => {
            report::warn(&Failure::new("git's index cannot be told of the files").because(error).line());
            Ok(())
        }
        // With no index there is nothing that could be wrong.
        NotPatched::Absent { .. } => Ok(()),
        _ => refresh_index(here, repository, files),
    }
}

/// Lets git see that these files are what its index says, where that index is none that can be patched.
///
/// Their length is not the one git remembers, which a mere refresh takes for a change without
/// asking the filter; naming the paths makes git clean them, to the very pointer it has. Those whose
/// entry names something else stay out of it, and so do those into which something was saved meanwhile: they
/// would be staged.
fn refresh_index(here: &Here, repository: &Repository, files: &[Restat]) -> Result<(), Failure> {
    let Some(top) = repository.work_tree() else { return Ok(()) };
    let media = pointers::of_index(&here.git.clone().in_dir(top), repository, &[])?;
    let named: HashSet<(&BStr, Pointer)> =
        media.iter().filter_map(|file| Some((file.entry.path.as_bstr(), file.pointer?))).collect();
    // As late as can be.
    let mut paths = index_stat::still_as_given(top, files);
    paths.retain(|file| named.contains(&(file.path.as_bstr(), file.pointer)));
    // With no paths git would look at the whole tree.
    if paths.is_empty() {
        return Ok(());
    }
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
        paths.iter().for_each(|file| {
            input.extend_from_slice(&file.path);
            input.push(0);
        });
        stdin.write_all(&input).map_err(failed)?;
    }
    match child.wait().map_err(failed)?.success() {
        true => Ok(()),
        false => Err(Failure::new("the files are written, but git's index could not be refreshed")
            .hint("run `git status`; if it shows them as modified, `git add` them")),
    }
}
