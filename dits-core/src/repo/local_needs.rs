//! Which media a repository is likely to need at hand soon, whatever its remotes have.
//!
//! **For:** `git dits prune`, which leaves all of that alone.
//!
//! **May touch:** git's files and git children, read only.
//!
//! **Must hold:** what is checked out, staged, stashed, in the middle of a merge or rebase, in the middle of a hydration, or not
//! pushed is named; where one of these cannot be read there is an error and no answer.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bstr::ByteSlice;

use super::Repository;
use super::git_program::{GitError, GitProgram};
use super::hydration_journal::{self, JournalError};
use super::pointer_walk::{GitId, Known, WalkError, pointers_in_index, pointers_in_tree, walk};
use super::store_roots::{RepositoryProblem, work_tree_dirs};
use crate::pointer::Pointer;

/// Refs of a work tree that git keeps while something is under way, and the commit before it.
const UNDER_WAY: [&str; 6] = ["HEAD", "ORIG_HEAD", "MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "REBASE_HEAD"];
/// Files of a rebase that hold the name of a commit.
const REBASING: [&str; 6] = [
    "rebase-merge/onto",
    "rebase-merge/orig-head",
    "rebase-merge/stopped-sha",
    "rebase-merge/autostash",
    "rebase-apply/orig-head",
    "rebase-apply/onto",
];
/// Longest name of a commit in such a file, with its line end.
const NAME_LEN_MAX: u64 = 80;
/// Objects that git is asked about with one command.
const ASKED_AT_ONCE: usize = 500;

/// What a repository needs at hand cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum LocalNeedsError {
    /// A git child failed.
    #[error(transparent)]
    Git(#[from] GitError),
    /// What commits or an index name cannot be told.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// A journal of hydration cannot be looked for.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The work trees cannot be listed.
    #[error(transparent)]
    Repository(#[from] RepositoryProblem),
    /// What a rebase noted cannot be read.
    #[error("cannot read {path}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// What counts as pushed, and as recent.
#[derive(Debug, Clone, Copy)]
pub struct LocalNeeds<'a> {
    /// Prefixes of the remote-tracking refs whose commits are pushed, `refs/remotes/origin/` for example.
    pub pushed: &'a [String],
    /// What refs name whose commits are not older than this stays, in seconds since 1970 UTC.
    pub recent_since: u64,
}

impl LocalNeeds<'_> {
    /// Lists the files.
    ///
    /// # Errors
    ///
    /// [`LocalNeedsError`].
    pub fn of(&self, repository: &Repository) -> Result<HashSet<Pointer>, LocalNeedsError> {
        let git = repository.git()?.for_other(repository.common_dir());
        let case = repository.attribute_case();
        let mut needed = HashSet::new();
        // Their whole trees stay, and of the commits below them what was not pushed.
        let mut tips: HashSet<GitId> = stashes(&git)?;
        let common = repository.common_dir();
        for dir in work_tree_dirs(common)? {
            let git = repository.git()?.for_other(&dir);
            tips.extend(under_way(&git, &dir)?);
            if dir.join("index").exists() {
                // An index lies in a git directory, which git takes for the work tree here: nothing in it is looked at.
                let git = git.with_config("core.bare=false");
                needed.extend(pointers_in_index(&git, case)?.into_iter().map(|at| at.pointer));
            }
            let journal = hydration_journal::entries(&dir)?;
            needed.extend(journal.into_values().filter_map(|entry| entry.goal.map(|goal| goal.pointer())));
        }
        let refs = self.refs(&git)?;
        tips.extend(refs.recent);
        for tree in trees(&git, &tips)? {
            needed.extend(pointers_in_tree(&git, case, &tree)?.into_iter().map(|at| at.pointer));
        }
        tips.extend(refs.local);
        let tips: Vec<GitId> = tips.into_iter().collect();
        let unpushed = walk(&git, case, &tips, &Known::Ids(refs.pushed))?;
        needed.extend(unpushed.pointers.into_iter().map(|found| found.pointer));
        Ok(needed)
    }

    fn refs(&self, git: &GitProgram) -> Result<Refs, GitError> {
        let format = "--format=%(objectname) %(committerdate:unix) %(*committerdate:unix) %(objecttype) %(*objecttype) %(refname)";
        let listed = git.capture(["for-each-ref", format])?;
        let mut refs = Refs::default();
        for line in ByteSlice::lines(listed.as_slice()) {
            let fields: Vec<&[u8]> = line.splitn_str(6, " ").collect();
            let [id, date_own, date_tagged, kind, kind_tagged, name] = fields[..] else { continue };
            let Some(id) = GitId::parse(id) else { continue };
            let is_commit = kind == b"commit" || kind_tagged == b"commit";
            let date = |text: &[u8]| text.to_str().ok().and_then(|text| text.parse::<u64>().ok());
            // What has no date that can be read is as good as new.
            let own = if date_tagged.is_empty() { date_own } else { date_tagged };
            if is_commit && date(own).is_none_or(|date| date >= self.recent_since) {
                refs.recent.push(id);
            }
            match self.pushed.iter().any(|prefix| name.starts_with(prefix.as_bytes())) {
                true => refs.pushed.push(id),
                false if name.starts_with(b"refs/remotes/") => {}
                false => refs.local.push(id),
            }
        }
        Ok(refs)
    }
}

#[derive(Default)]
struct Refs {
    /// What refs name whose commits are young.
    recent: Vec<GitId>,
    /// What remote-tracking refs name.
    pushed: Vec<GitId>,
    /// What all other refs name, but for those of other remotes.
    local: Vec<GitId>,
}

/// The commits of all stashes, with those of their index and of untracked files.
fn stashes(git: &GitProgram) -> Result<HashSet<GitId>, GitError> {
    if git.ask(["rev-parse", "--verify", "--quiet", "refs/stash"])?.is_none() {
        return Ok(HashSet::new());
    }
    let listed = git.capture(["log", "--walk-reflogs", "--format=%H %P", "refs/stash", "--"])?;
    Ok(listed.fields().filter_map(GitId::parse).collect())
}

/// What is checked out in a work tree, and what is being merged, picked or rebased.
fn under_way(git: &GitProgram, dir: &Path) -> Result<HashSet<GitId>, LocalNeedsError> {
    let mut found = HashSet::new();
    for name in UNDER_WAY {
        let id = git.ask(["rev-parse", "--verify", "--quiet", "--end-of-options", name])?;
        found.extend(id.and_then(|id| GitId::parse(id.trim_ascii_end())));
    }
    for name in REBASING {
        let path = dir.join(name);
        let text = match fs::metadata(&path) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => continue,
            Ok(metadata) if metadata.len() > NAME_LEN_MAX => continue,
            _ => fs::read(&path).map_err(|source| LocalNeedsError::Read { path, source })?,
        };
        let id = text.trim_ascii_end().to_str().ok().map(|text| format!("{text}^{{commit}}"));
        if let Some(id) = id {
            let full = git.ask(["rev-parse", "--verify", "--quiet", "--end-of-options", &id])?;
            found.extend(full.and_then(|id| GitId::parse(id.trim_ascii_end())));
        }
    }
    Ok(found)
}

/// The trees of these commits, each once; what is no commit and no tree has none.
fn trees(git: &GitProgram, tips: &HashSet<GitId>) -> Result<HashSet<String>, GitError> {
    let tips: Vec<String> = tips.iter().map(GitId::to_string).collect();
    let mut trees = HashSet::new();
    for tips in tips.chunks(ASKED_AT_ONCE) {
        let args = ["log", "--no-walk=unsorted", "--format=%T"].map(str::to_owned);
        let listed = git.capture(args.into_iter().chain(tips.iter().cloned()).chain(["--".to_owned()]))?;
        trees.extend(listed.fields().map(|tree| tree.to_str_lossy().into_owned()));
    }
    Ok(trees)
}
