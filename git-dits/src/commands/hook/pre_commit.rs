//! The pre-commit hook: no large file goes past Dits into git's history, where it stays for good.
//!
//! **For:** the moment at which a forgotten pattern can still be mended with one command.
//!
//! **May touch:** the hook that was there before ours; git children; a sweep of the store that goes on by itself.
//!
//! **Must hold:**
//! - it costs two git children where nothing large is committed, and opens no store;
//! - what is committed is judged, not what is in the work tree: git names its index in `GIT_INDEX_FILE`.

use std::collections::HashSet;
use std::io::Read;

use bstr::{BString, ByteSlice};
use dits_core::repo::config::GUARD_SIZE;
use dits_core::repo::git_program::{GitError, GitProgram};
use dits_core::repo::hooks::Hook;
use dits_core::repo::{Repository, stores, unsynced};

use crate::collecting;
use crate::git;
use crate::here::Here;
use crate::hooks;
use crate::media_files;
use crate::presets;
use crate::programs::shell_word;
use crate::report::Failure;
use crate::sizes::Bytes;

/// How far into a file a NUL byte makes it binary, in bytes; as git has it.
const LOOKED_AT_MAX: u64 = 8000;
/// What git calls the commits that an unfinished command brings along: what they hold is not new.
const BROUGHT_ALONG: [&str; 2] = ["MERGE_HEAD", "CHERRY_PICK_HEAD"];
/// What git calls the commit that is being undone: what its parents hold is not new.
const UNDONE: &str = "REVERT_HEAD";

/// Stop large files that no pattern tracks
#[derive(clap::Args)]
pub struct Args {}

/// Runs the hook.
pub fn run(_: &Args) -> Result<(), Failure> {
    let here = Here::find()?;
    let repository = here.repository()?;
    hooks::run_kept::<&str>(&repository, Hook::PreCommit, &[], None)?;
    let settings = repository.settings()?;
    if let Some(why) = unsynced::check(&stores::store_options(&repository, &settings).dir)? {
        return Err(not_synced(&why));
    }
    collecting::start_if_due(&repository, &settings);
    let Some(guard_size) = settings.guard_size else { return Ok(()) };
    let mut large = large_blobs(&here.git, &repository, guard_size)?;
    if large.is_empty() {
        return Ok(());
    }
    let renamed = renamed(&here.git)?;
    large.retain(|file| !renamed.contains(&file.path));
    let stopped = past_dits(&here.git, large)?;
    match stopped.is_empty() {
        true => Ok(()),
        false => Err(refusal(&stopped)),
    }
}

fn not_synced(why: &str) -> Failure {
    Failure::refused("the store could not be synced, so that what was added may be lost with the power")
        .caused_by(why)
        .hint("make room or mend the disk, then `git add --renormalize` any media file, and commit again")
        .hint("to commit all the same, run `git commit --no-verify`; a push waits until it is mended")
}

/// A file that is about to be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Staged {
    path: BString,
    blob: BString,
    size: u64,
}

/// The files that this commit adds or changes, as far as they have this length.
fn large_blobs(git: &GitProgram, repository: &Repository, len_min: u64) -> Result<Vec<Staged>, Failure> {
    let mut staged = differing(git, "HEAD")?;
    for commit in brought_along(git, repository)? {
        let new: HashSet<_> = differing(git, &commit)?.into_iter().collect();
        staged.retain(|file| new.contains(file));
    }
    if staged.is_empty() {
        return Ok(Vec::new());
    }
    let blobs: Vec<u8> = staged.iter().flat_map(|(_, blob)| [blob.as_slice(), b"\n"].concat()).collect();
    let answer = git::filter(git, &["cat-file", "--batch-check=%(objectsize)"], &blobs)?;
    let sizes = answer.lines().map(|line| line.to_str().ok().and_then(|size| size.parse().ok()).unwrap_or(0));
    let files = staged.into_iter().zip(sizes).map(|((path, blob), size)| Staged { path, blob, size });
    Ok(files.filter(|file| file.size >= len_min).collect())
}

/// The commits whose content an unfinished merge, cherry-pick or revert brings along.
fn brought_along(git: &GitProgram, repository: &Repository) -> Result<Vec<String>, Failure> {
    let mut commits = Vec::new();
    for name in BROUGHT_ALONG {
        // Several heads of a merge stand in one file, one a line.
        let heads = std::fs::read(repository.git_dir().join(name)).unwrap_or_default();
        commits.extend(heads.lines().map(|head| head.to_str_lossy().into_owned()));
    }
    if repository.git_dir().join(UNDONE).is_file() {
        let parents = git.capture(["rev-parse", &format!("{UNDONE}^@")])?;
        commits.extend(parents.lines().map(|parent| parent.to_str_lossy().into_owned()));
    }
    Ok(commits)
}

/// Paths and blobs of regular files in the index that `commit` does not have so.
fn differing(git: &GitProgram, commit: &str) -> Result<Vec<(BString, BString)>, Failure> {
    let ask = |tree: &str| {
        git.capture(["diff-index", "--cached", "--raw", "-z", "--no-renames", "--no-abbrev", "--diff-filter=AMT", tree])
    };
    let raw = match ask(commit) {
        // A branch without a commit is compared with the empty tree, whose name depends on the hash in use.
        Err(GitError::Failed { .. }) if commit == "HEAD" => {
            ask(&git::filter(git, &["hash-object", "-t", "tree", "--stdin"], b"")?.trim().to_str_lossy())?
        }
        answer => answer?,
    };
    let fields: Vec<_> = raw.split_str("\0").collect();
    let file = |pair: &[&[u8]]| {
        // `:<mode> <mode> <blob> <blob> <status>`
        let mut facts = pair[0].split_str(" ").skip(1);
        let (mode, blob) = (facts.next()?, facts.nth(1)?);
        mode.starts_with(b"100").then(|| (pair[1].into(), blob.into()))
    };
    Ok(fields.chunks_exact(2).filter_map(file).collect())
}

/// The new names of files that `HEAD` has under another one: git has their content already.
fn renamed(git: &GitProgram) -> Result<HashSet<BString>, Failure> {
    let listed = git.ask(["rev-parse", "--verify", "--quiet", "HEAD"])?;
    let Some(_) = listed else { return Ok(HashSet::new()) };
    let raw = git.capture(["diff-index", "--cached", "--name-status", "-z", "-M100%", "--diff-filter=R", "HEAD"])?;
    // `R100`, the old name, the new name.
    Ok(raw.split_str("\0").skip(2).step_by(3).map(BString::from).collect())
}

/// A file that would go past Dits.
struct Stopped {
    file: Staged,
    /// Whether a pattern tracks it: then it was staged without the filter.
    is_tracked: bool,
}

/// Those of `large` that are binary and that neither Dits nor anybody else looks after. A path with
/// `-filter` is the user's word that it belongs into git.
fn past_dits(git: &GitProgram, large: Vec<Staged>) -> Result<Vec<Stopped>, Failure> {
    let paths: Vec<_> = large.iter().map(|file| file.path.clone()).collect();
    let filters = media_files::attribute(git, "filter", &paths)?;
    let mut stopped = Vec::new();
    for (file, filter) in large.into_iter().zip(filters) {
        let is_tracked = filter == "dits";
        if (is_tracked || filter == "unspecified") && is_binary(git, &file)? {
            stopped.push(Stopped { file, is_tracked });
        }
    }
    Ok(stopped)
}

fn is_binary(git: &GitProgram, file: &Staged) -> Result<bool, Failure> {
    let mut pipe = git.pipe(["cat-file", "blob", &file.blob.to_str_lossy()])?;
    let mut start = Vec::new();
    if let Some(stdout) = pipe.take_stdout() {
        stdout.take(LOOKED_AT_MAX).read_to_end(&mut start).map_err(|error| pipe.broken(error))?;
    }
    // The rest is not wanted: dropped, the child ends.
    Ok(start.contains(&0))
}

fn refusal(stopped: &[Stopped]) -> Failure {
    let what = match stopped.len() {
        1 => "a large file would go into git's history as it is".to_owned(),
        count => format!("{count} large files would go into git's history as they are"),
    };
    let cause = |Stopped { file, is_tracked }: &Stopped| {
        let why = if *is_tracked { "was added without the filter of Dits" } else { "no pattern tracks it" };
        format!("{} ({}): {why}", shown(&file.path), Bytes(file.size))
    };
    let failure = Failure::refused(what).caused_by_each(stopped.iter().map(cause));
    let untracked: Vec<_> = stopped.iter().filter(|stopped| !stopped.is_tracked).map(|it| &it.file.path).collect();
    match untracked.is_empty() {
        true => failure
            .hint("hand them to Dits: `git dits install`, then `git add --renormalize .`")
            .hint("to commit them as they are: `git commit --no-verify`"),
        false => failure
            .hint(format!("track them: `{}`", track_commands(&untracked).join(" && ")))
            .hint("then `git add --renormalize . && git add .gitattributes`, and commit again")
            .hint(format!("to commit them as they are, once: `git commit --no-verify`; for good: `PATTERN -filter` in .gitattributes, or {GUARD_SIZE}")),
    }
}

/// The commands that would track these, by extension where they have one.
fn track_commands(paths: &[&BString]) -> Vec<String> {
    let mut patterns: Vec<String> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for path in paths {
        let wanted = match presets::pattern_of(path.as_bstr()) {
            Some(pattern) => (&mut patterns, shell_word(pattern.as_bytes()).to_string()),
            None => (&mut names, shell_word(path).to_string()),
        };
        if !wanted.0.contains(&wanted.1) {
            wanted.0.push(wanted.1);
        }
    }
    let command = |words: &[String], option: &str| {
        (!words.is_empty()).then(|| format!("git dits track {option}{}", words.join(" ")))
    };
    [command(&patterns, ""), command(&names, "--filename -- ")].into_iter().flatten().collect()
}

fn shown(path: &BString) -> String {
    if path.iter().any(u8::is_ascii_control) { format!("{path:?}") } else { path.to_string() }
}
