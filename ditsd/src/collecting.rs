//! A collection of a server root: what no repository needs any more is given back.
//!
//! **For:** `ditsd gc`, beside a running server or without one.
//!
//! **May touch:** rows of held files in the database, and the store; `git gc` in each repository; a lock in the root.
//!
//! **Must hold:**
//! - a file stays while a pointer of its repository names it, while somebody may rely on having been told that it is held, and
//!   for good where the pointers to it may be on another host;
//! - what is leased is looked at before what is held, since a proof turns the one into the other;
//! - where it cannot be told what a repository needs, nothing goes at all.
//!
//! **Format:** `docs/formats/server-root-v1.md`, `docs/formats/collection-v1.md`.

use std::sync::Arc;
use std::time::Duration;

use dits_core::hash::{FileHash, ManifestHash};
use dits_core::item::{ItemId, ItemKind};
use dits_core::manifest::span::Span;
use dits_core::operations::collect::{
    CollectError, CollectOptions, CollectProgress, Collected, Root as Needed, collect,
};
use dits_core::pack_format::Domain;
use dits_core::repo::git_program::GitError as ProgramError;
use dits_core::repo::named_files::Refs;
use dits_core::repo::roots::{RootsError, every_pointer};
use dits_core::repo_path::RepoName;
use dits_core::steps::{self, Step};
use dits_core::store::{ReadError, Store, StoreError};

use crate::blobs::Blobs;
use crate::clock;
use crate::db::{Age, Db, DbError, Release, Released, RepoRow};
use crate::git::Git;
use crate::root::{Root, RootError};

/// Shortest grace that may be asked for: a push that was told what is there may take a night.
pub const GRACE_MIN: Duration = Duration::from_secs(24 * 60 * 60);
/// Files that are noted as named at once.
const NOTED_AT_ONCE: usize = 4096;
/// How often the pointers of a repository are listed where git removed objects meanwhile.
const LISTED_MAX: u32 = 3;

/// What a collection is to do.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How long what was said to be held stays although nothing names it, and how old a pack must be.
    pub grace: Duration,
    /// Only look.
    pub is_dry_run: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Done {
    /// Each repository, by name.
    pub repos: Vec<RepoDone>,
    /// What the store gave back; `None` where nothing was ever stored.
    pub store: Option<Collected>,
}

/// What became of one repository's files.
#[derive(Debug)]
pub struct RepoDone {
    /// Its name.
    pub name: RepoName,
    /// Files that it holds now.
    pub held: u64,
    /// Files that it holds no more, or would not.
    pub released: Released,
    /// Why all of them stay, where they do.
    pub kept: Option<KeptWhole>,
    /// What git said, where its own collection failed.
    pub git_failure: Option<String>,
}

/// Why a repository keeps all that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptWhole {
    /// A client said that its text goes to another host.
    TextElsewhere,
    /// It has no ref, so that its text may well be elsewhere.
    NoRefs,
    /// Git's own collection failed in it, so that it may lack objects, and pointers among them.
    GitFailed,
}

/// Why a collection did not come to its end. Nothing that is needed is gone.
#[derive(Debug, thiserror::Error)]
pub enum GcError {
    /// The root cannot be used, or another collection is at it.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The database cannot be used.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be told what is needed, or the store cannot be collected.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// There is no git.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// It cannot be told which files a repository names.
    #[error("cannot tell which media the repository {repo} needs")]
    Roots {
        /// The repository.
        repo: RepoName,
        /// Why.
        source: RootsError,
    },
    /// The refs of a repository cannot be listed.
    #[error("cannot list the refs of the repository {repo}")]
    Refs {
        /// The repository.
        repo: RepoName,
        /// Why.
        source: ProgramError,
    },
}

/// Where a collection is.
#[derive(Debug, Clone, Copy)]
pub enum Progress<'a> {
    /// It looks at what a repository names.
    Repository(&'a RepoName),
    /// It is in the store.
    Store(CollectProgress),
}

/// Collects a root.
///
/// # Errors
///
/// [`GcError`].
pub fn run(root: &Root, options: Options, progress: &(dyn Fn(Progress<'_>) + Sync)) -> Result<Done, GcError> {
    let _lock = root.lock_for_collection()?;
    let db = Arc::new(Db::open_existing(&root.meta())?);
    db.prepare_collection()?;
    let git = Git::new(root.clone())?;
    let started = clock::now();
    let age = Age { cutoff: started.saturating_sub(options.grace.as_secs()), before: begin(&db, options)? };
    let mut repos = Vec::new();
    for repo in db.repos()? {
        progress(Progress::Repository(&repo.name));
        repos.extend(Releasing { db: &db, git: &git, options, age }.of(&repo)?);
    }
    if !options.is_dry_run {
        steps::reached(Step::HeldReleased);
    }
    let store = match Blobs::open_existing(root, db.clone())? {
        Some(blobs) => Some(collect_store(&db, blobs.store(), options, progress)?),
        None => None,
    };
    Ok(Done { repos, store })
}

/// Begins a generation, and says before which one a row has to have been said to be old enough: one that was said
/// since the collection before this one began stays, whatever the clock says.
fn begin(db: &Db, options: Options) -> Result<u64, DbError> {
    let generation = match options.is_dry_run {
        true => db.generation()? + 1,
        false => db.begin_collection()?,
    };
    Ok(generation.saturating_sub(1))
}

/// Takes away the rows of held files that nobody needs.
struct Releasing<'a> {
    db: &'a Db,
    git: &'a Git,
    options: Options,
    age: Age,
}

impl Releasing<'_> {
    /// `None` for a repository that was removed meanwhile.
    fn of(&self, repo: &RepoRow) -> Result<Option<RepoDone>, GcError> {
        match self.of_registered(repo) {
            Err(_) if !self.db.is_registered(repo.key)? => Ok(None),
            done => done.map(Some),
        }
    }

    fn of_registered(&self, repo: &RepoRow) -> Result<RepoDone, GcError> {
        let name = repo.name.clone();
        let mut done = RepoDone { name, held: 0, released: Released::default(), kept: None, git_failure: None };
        done.kept = self.kept_whole(repo)?;
        if done.kept.is_none() && !self.options.is_dry_run {
            // Git lets go of what nothing reaches, after the same grace; until then its pointers keep media. It
            // fails where something is missing that a ref reaches.
            done.git_failure = self.git.collect(&repo.name, self.options.grace).err().map(|error| error.to_string());
            done.kept = done.git_failure.is_some().then_some(KeptWhole::GitFailed);
        }
        if done.kept.is_none() {
            done.released = self.release(repo)?;
        }
        done.held = self.db.held_count(repo.key)?;
        Ok(done)
    }

    fn release(&self, repo: &RepoRow) -> Result<Released, GcError> {
        self.note_named(repo)?;
        if self.options.is_dry_run {
            return Ok(self.db.release(repo.key, self.age, Release::InADryRun)?);
        }
        let released = self.db.release(repo.key, self.age, Release::Now)?;
        self.db.forget_pages(repo.key)?;
        Ok(released)
    }

    fn kept_whole(&self, repo: &RepoRow) -> Result<Option<KeptWhole>, GcError> {
        if repo.text_elsewhere {
            return Ok(Some(KeptWhole::TextElsewhere));
        }
        // A crash between its row and the bare repository leaves a name without refs.
        if !self.git.exists(&repo.name) {
            return Ok(Some(KeptWhole::NoRefs));
        }
        let refs = Refs::list(&self.git.program_for(&repo.name));
        let refs = refs.map_err(|source| GcError::Refs { repo: repo.name.clone(), source })?;
        Ok(refs.is_empty().then_some(KeptWhole::NoRefs))
    }

    fn note_named(&self, repo: &RepoRow) -> Result<(), GcError> {
        let mut tries = 1;
        loop {
            self.db.clear_named()?;
            match self.note_named_once(repo) {
                // A push that ends lets git tidy up: an object that was listed may be in another pack, or gone.
                Err(NoteError::Roots(RootsError::Unreadable(_))) if tries < LISTED_MAX => tries += 1,
                Err(NoteError::Roots(source)) => return Err(GcError::Roots { repo: repo.name.clone(), source }),
                Err(NoteError::Db(error)) => return Err(error.into()),
                Ok(()) => return Ok(()),
            }
        }
    }

    fn note_named_once(&self, repo: &RepoRow) -> Result<(), NoteError> {
        let mut oids: Vec<FileHash> = Vec::new();
        every_pointer::<NoteError>(&self.git.program_for(&repo.name), &mut |pointer| {
            oids.push(pointer.oid);
            if oids.len() >= NOTED_AT_ONCE {
                self.db.note_named(&std::mem::take(&mut oids))?;
            }
            Ok(())
        })?;
        Ok(self.db.note_named(&oids)?)
    }
}

/// The files that pointers name could not be noted.
#[derive(Debug)]
enum NoteError {
    Roots(RootsError),
    Db(DbError),
}

impl From<RootsError> for NoteError {
    fn from(error: RootsError) -> NoteError {
        NoteError::Roots(error)
    }
}

impl From<DbError> for NoteError {
    fn from(error: DbError) -> NoteError {
        NoteError::Db(error)
    }
}

fn collect_store(
    db: &Db,
    store: &Store,
    options: Options,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<Collected, GcError> {
    let collecting = CollectOptions {
        grace: options.grace,
        dry_run: options.is_dry_run,
        // Whoever relies on the store here has it written in the database before the guard is let go of.
        linger: Duration::ZERO,
        ..CollectOptions::default()
    };
    let mut needed = |take: &mut dyn FnMut(Needed) -> Result<(), GcError>| needed(db, store, take);
    let tell = |at| progress(Progress::Store(at));
    let collected = collect::<GcError>(store, &collecting, &mut needed, &tell)?;
    if !options.is_dry_run {
        db.forget_presence::<GcError>(&mut |ids| {
            let has = store.has_each(ids)?;
            Ok(has.into_iter().map(|has| !has).collect())
        })?;
    }
    Ok(collected)
}

/// Hands over all that is leased, and then all that is held. A proof writes the row before its lease ends, so that in this
/// order neither is missed.
fn needed(db: &Db, store: &Store, take: &mut dyn FnMut(Needed) -> Result<(), GcError>) -> Result<(), GcError> {
    let mut plain = Vec::new();
    db.leased::<GcError>(clock::now(), &mut |domain, id| match id.kind {
        ItemKind::Manifest => take(Needed::Manifest { domain, manifest: ManifestHash::from_bytes(id.hash) }),
        ItemKind::Span => {
            take(Needed::Item { domain, id })?;
            leased_span(store, domain, &id, &mut plain, take)
        }
        _ => take(Needed::Item { domain, id }),
    })?;
    db.held_manifests::<GcError>(&mut |domain, manifest| take(Needed::Manifest { domain, manifest }))
}

/// A client that was told of a span sends none of its chunks.
fn leased_span(
    store: &Store,
    domain: Domain,
    id: &ItemId,
    plain: &mut Vec<u8>,
    take: &mut dyn FnMut(Needed) -> Result<(), GcError>,
) -> Result<(), GcError> {
    let span = match store.read(id, plain) {
        Ok(()) => Span::decode(plain).ok(),
        Err(ReadError::Store(error)) => return Err(error.into()),
        // What cannot be read is of no use, and a proof says so.
        Err(ReadError::Missing(_) | ReadError::Damaged { .. } | ReadError::Unreadable { .. }) => None,
    };
    let chunks = span.iter().flat_map(Span::entries);
    chunks.map(|entry| Needed::Item { domain, id: entry.hash.into() }).try_for_each(take)
}
