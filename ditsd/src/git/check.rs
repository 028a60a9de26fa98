//! The check before any ref moves, as git's `pre-receive` hook.
//!
//! **For:** every push, whatever client it comes from.
//!
//! **May touch:** the repository that git is in, its quarantine included, read only; the
//! store, read only; rows of held files in the database, in which it notes that it said so; the
//! report that it leaves for the server.
//!
//! **Must hold:** refs move only after every pointer that they newly reach was found to be
//! held, and not known to be damaged. What cannot be checked is refused.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dits_core::hash::FileHash;
use dits_core::repo::environment::Environment;
use dits_core::repo::git_program::{GitError as ProgramError, GitProgram};
use dits_core::repo::pointer_walk::{AttributeCase, GitId, Known, WalkError, WalkLimits, walk_each};
use dits_core::repo_path::RepoName;

use crate::blobs::{BlobError, Blobs, KnownLost};
use crate::clock;
use crate::db::{Db, DbError};
use crate::root::{Root, RootError};
use crate::rules::push::PushRefused;

/// What the server tells its hook.
#[derive(Debug)]
pub struct Hooked {
    /// The server root.
    pub root: PathBuf,
    /// The repository.
    pub repo: RepoName,
}

/// Why refs may not move.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A rule refuses the push.
    #[error("{0}")]
    Refused(PushRefused),
    /// The pushed objects cannot be walked.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// Git did not say what moves.
    #[error("cannot read which refs are to move")]
    Input(#[source] std::io::Error),
    /// A line of what moves is malformed.
    #[error("git described a ref in a way that this server does not know")]
    Line,
    /// The repository is not registered (any more).
    #[error("the repository {0} is not there any more")]
    NoRepo(RepoName),
    /// There is no git.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The server root cannot be used.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The database cannot be asked.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The store cannot be asked.
    #[error(transparent)]
    Blobs(#[from] BlobError),
}

impl CheckError {
    /// Returns true for what only the server's operator can act on.
    pub fn is_internal(&self) -> bool {
        match self {
            CheckError::Refused(_) | CheckError::Walk(_) | CheckError::NoRepo(_) => false,
            CheckError::Input(_) | CheckError::Line => true,
            CheckError::Program(_) | CheckError::Root(_) | CheckError::Db(_) | CheckError::Blobs(_) => true,
        }
    }
}

/// Checks what git is about to do. `updates` is what git writes to the hook.
///
/// # Errors
///
/// [`CheckError`] says why not.
pub fn check(hooked: &Hooked, environment: &Environment, updates: impl BufRead) -> Result<(), CheckError> {
    let tips = new_tips(updates)?;
    if tips.is_empty() {
        return Ok(());
    }
    let git = GitProgram::find(environment)?;
    let root = Root::open(&hooked.root)?;
    let db = Arc::new(Db::open_existing(&root.meta())?);
    let blobs = Blobs::open_existing(&root, db.clone()).map_err(BlobError::from)?;
    let repo = db.repo(&hooked.repo)?.ok_or_else(|| CheckError::NoRepo(hooked.repo.clone()))?;
    let (mut push, mut lost) = (PushRefused::default(), KnownLost::default());
    walk_each(&git, AttributeCase::Sensitive, &tips, &Known::AllRefs, WalkLimits::default(), &mut |walked| {
        let oids: Vec<FileHash> = walked.pointers.iter().map(|found| found.pointer.oid).collect();
        let held = db.say_held(repo.key, &oids, clock::now())?;
        let held = match &blobs {
            Some(blobs) => blobs.only_whole(repo.domain(), held, &mut lost)?,
            None => held,
        };
        push.look_at(walked, &held);
        match push.is_full() {
            true => Err(CheckError::Refused(std::mem::take(&mut push))),
            false => Ok(()),
        }
    })?;
    push.decide().map_err(CheckError::Refused)
}

/// Reads `<old> <new> <ref>` lines; a deletion has no new tip.
fn new_tips(updates: impl BufRead) -> Result<Vec<GitId>, CheckError> {
    let mut tips = Vec::new();
    for line in updates.split(b'\n') {
        let line = line.map_err(CheckError::Input)?;
        let new = line.split(|byte| *byte == b' ').nth(1).and_then(GitId::parse).ok_or(CheckError::Line)?;
        if !new.is_null() {
            tips.push(new);
        }
    }
    tips.sort_unstable();
    tips.dedup();
    Ok(tips)
}

/// What a hook leaves for the server that started its git.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Files that are not held.
    pub missing: Vec<FileHash>,
    /// Why the check itself failed, for the log.
    pub failure: Option<String>,
}

impl Report {
    /// Writes the report.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let mut text = String::new();
        for oid in &self.missing {
            text.push_str(&format!("missing {oid}\n"));
        }
        if let Some(failure) = &self.failure {
            text.push_str(&format!("failed {}\n", failure.replace('\n', " ")));
        }
        std::fs::write(path, text)
    }

    /// Reads the report; an empty one where the hook left none.
    pub fn read(path: &Path) -> Report {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let missing = text.lines().filter_map(|line| line.strip_prefix("missing ")?.parse().ok()).collect();
        let failure = text.lines().find_map(|line| line.strip_prefix("failed ")).map(str::to_owned);
        Report { missing, failure }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletions_have_no_tip_and_tips_are_named_once() {
        let (a, null) = ("a".repeat(40), "0".repeat(40));
        let lines = format!("{null} {a} refs/heads/x\n{a} {null} refs/heads/y\n{null} {a} refs/tags/z z\n");
        assert_eq!(new_tips(lines.as_bytes()).unwrap(), [GitId::parse(a.as_bytes()).unwrap()]);
        assert!(new_tips(&b""[..]).unwrap().is_empty());
        assert!(matches!(new_tips(&b"what is this\n"[..]), Err(CheckError::Line)));
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report");
        assert_eq!(Report::read(&path), Report::default());
        let report = Report { missing: vec![FileHash::of(b"a"), FileHash::of(b"b")], failure: Some("x".into()) };
        report.write(&path).unwrap();
        assert_eq!(Report::read(&path), report);
    }
}
