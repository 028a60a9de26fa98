//! `ditsd fsck`: whether all that a server has is whole.
//!
//! The server may be running: nothing is locked, and what is damaged stops counting as there at once.

pub(super) mod facts;
mod repositories;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use dits_core::pack_format::Domain;
use dits_core::store::{Checked, Finding, Mended, Rest, Severity, StoreError, WriteError};

use super::{Failure, print};
use crate::blobs::{BlobError, Blobs};
use crate::db::{Db, DbError, RepoRow};
use crate::root::{Root, RootError};
use repositories::{Broken, RepositoryFinding};

/// Look whether all that a server has is whole: packs, database, held files, refs; the server may be running
#[derive(Args)]
pub struct Arguments {
    /// The server root
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// Make the index anew where it is wrong, save what is good in damaged packs, and stop calling files held that
    /// lack a part, so that the next push of a client that has them mends them
    #[arg(long)]
    repair: bool,
    /// Print the facts as JSON
    #[arg(long)]
    json: bool,
}

/// Findings that are kept to be told; more of them are counted.
const FINDINGS_MAX: usize = 10_000;

/// Why a server could not be looked at.
#[derive(Debug, thiserror::Error)]
pub(super) enum FsckError {
    #[error(transparent)]
    Root(#[from] RootError),
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Blobs(#[from] BlobError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Program(#[from] dits_core::repo::git_program::GitError),
    #[error("{0} findings of damage")]
    Damage(u64),
}

/// What was mended.
#[derive(Default)]
pub(super) struct Repaired {
    index: bool,
    packs: Mended,
    /// Files that count as held no more, by repository.
    forgotten: Vec<(String, String)>,
}

/// Everything that was found.
#[derive(Default)]
pub(super) struct Looked {
    checked: Checked,
    findings: Vec<Finding>,
    damaged_packs: BTreeSet<PathBuf>,
    /// What is wrong with the database.
    database: Vec<String>,
    repositories: Vec<RepositoryFinding>,
    /// Held files that are whole.
    files: u64,
    broken: Vec<Broken>,
}

impl Looked {
    pub(super) fn damage(&self) -> u64 {
        self.checked.damage + (self.database.len() + self.repositories.len() + self.broken.len()) as u64
    }
}

/// Does what was asked.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    match fsck(arguments) {
        Ok(()) => Ok(()),
        Err(error @ FsckError::Damage(_)) if arguments.repair => Err(Failure::failed(error)
            .hint("`git dits push REMOTE --all` from a clone that has the files sends what is missing")),
        Err(error @ FsckError::Damage(_)) => {
            Err(Failure::failed(error).hint("`ditsd fsck --repair` mends what it can"))
        }
        Err(error @ FsckError::Root(RootError::CollectionLocked(_))) => {
            Err(Failure::refused(error).hint("wait for its end, and run the same command"))
        }
        Err(error) => Err(Failure::failed(error)),
    }
}

fn fsck(arguments: &Arguments) -> Result<(), FsckError> {
    let root = Root::open(&arguments.root)?;
    // Neither a collection nor a backup may find packs set aside under its hands.
    let lock = arguments.repair.then(|| root.lock_for_collection()).transpose()?;
    let mut looked = look(&root)?;
    let mut repaired = None;
    if arguments.repair && looked.damage() > 0 {
        repaired = Some(repair(&root, &looked)?);
        looked = look(&root)?;
    }
    drop(lock);
    match arguments.json {
        true => print(&facts::json(&looked, repaired.as_ref())),
        false => print(&facts::text(&looked, repaired.as_ref())),
    }
    match looked.damage() {
        0 => Ok(()),
        count => Err(FsckError::Damage(count)),
    }
}

/// Opens the database; says what is wrong with one that cannot be used.
fn open_db(root: &Root) -> Result<Arc<Db>, String> {
    Db::open_existing(&root.meta()).map(Arc::new).map_err(|error| said(&error))
}

fn said(error: &DbError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}

pub(super) fn look(root: &Root) -> Result<Looked, FsckError> {
    let mut looked = Looked::default();
    let db = match open_db(root) {
        Ok(db) => db,
        // Without it nothing says which packs belong here, or what is held.
        Err(problem) => {
            looked.database.push(problem);
            return Ok(looked);
        }
    };
    let repos = match db.integrity().and_then(|found| {
        looked.database = found;
        db.repos()
    }) {
        Ok(repos) => repos,
        Err(error) => {
            looked.database.push(said(&error));
            return Ok(looked);
        }
    };
    if let Some(blobs) = Blobs::open_existing(root, db.clone())? {
        look_at_store(&blobs, &repos, &mut looked)?;
        match repositories::look(root, &db, &blobs, &repos, &mut looked) {
            Err(FsckError::Db(error)) => looked.database.push(said(&error)),
            result => result?,
        }
    }
    Ok(looked)
}

fn look_at_store(blobs: &Blobs, repos: &[RepoRow], looked: &mut Looked) -> Result<(), FsckError> {
    let domains: HashSet<Domain> = repos.iter().map(RepoRow::domain).collect();
    let (findings, packs) = (&mut looked.findings, &mut looked.damaged_packs);
    looked.checked = blobs.store().check(
        &|domain| domains.contains(&domain),
        &mut |finding| {
            if finding.problem.severity() == Severity::Damage {
                packs.insert(finding.path.clone());
            }
            if findings.len() < FINDINGS_MAX {
                findings.push(finding);
            }
        },
        &|_| {},
    )?;
    Ok(())
}

fn repair(root: &Root, looked: &Looked) -> Result<Repaired, FsckError> {
    let mut repaired = Repaired::default();
    let Ok(db) = open_db(root) else { return Ok(repaired) };
    let Some(blobs) = Blobs::open_existing(root, db.clone())? else { return Ok(repaired) };
    let repos = db.repos()?;
    let domains: HashSet<Domain> = repos.iter().map(RepoRow::domain).collect();
    if looked.checked.is_index_wrong {
        blobs.store().make_index_anew()?;
        repaired.index = true;
        // What is damaged was noted in the old one.
        look_at_store(&blobs, &repos, &mut Looked::default())?;
    }
    let packs: Vec<PathBuf> = looked.damaged_packs.iter().cloned().collect();
    let is_ours = |domain| domains.contains(&domain);
    // A damaged copy may be all that there is of something: then the pack stays.
    repaired.packs = blobs.store().mend_packs(&packs, Rest::Wanting, &is_ours)?;
    for broken in &looked.broken {
        let Some(held) = &broken.held else { continue };
        let Some(repo) = repos.iter().find(|repo| repo.name.as_str() == broken.repository) else { continue };
        if !repositories::is_whole(&db, &blobs, repo, held)? && !broken.is_only_damaged() {
            db.forget_held(repo.key, held)?;
            repaired.forgotten.push((broken.repository.clone(), held.pointer.oid.to_string()));
        }
    }
    Ok(repaired)
}
