//! `git dits fsck`: whether all media is here, whole, and what is hurt.
//!
//! **For:** disks that fail, and peace of mind.
//!
//! **May touch:** the store's index; with `--repair` the store, and the network through `git-remote-dits`.
//!
//! **Must hold:**
//! - every byte of the store is read; nothing is believed because it was fine before;
//! - nothing is removed: what is damaged and not needed any more is set aside;
//! - status 0 means that nothing that was stored here is damaged or lost.

mod facts;
mod files;
mod repair;
mod work_tree;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::PathBuf;

use dits_core::operations::needed_media::counted;
use dits_core::pack_format::Domain;
use dits_core::repo::config::Settings;
use dits_core::repo::{Repository, stores};
use dits_core::store::{Checked, Finding, Severity, Sources, Store};

use crate::here::Here;
use crate::out::Out;
use crate::progress::Progress;
use crate::report::{EXIT_STATUSES, Failure};
use files::Files;
use repair::Repaired;
use work_tree::WorkTreeFinding;
pub use work_tree::read_oid;

/// Findings that are kept to be told; more of them are counted.
const FINDINGS_MAX: usize = 10_000;

/// Look whether the media that is here is whole: every byte of the store, every file that Git knows
#[derive(clap::Args)]
#[command(after_help = EXIT_STATUSES)]
pub struct Args {
    /// Look at the content of files only: the store, and what Git's pointers name
    #[arg(long)]
    objects: bool,
    /// Look at the pointers only: whether each media file of the index is one
    #[arg(long)]
    pointers: bool,
    /// Read the files of the work tree that git takes for unchanged, too
    #[arg(long)]
    worktree: bool,
    /// Mend what can be mended: from remotes, from files of the work tree, from other stores at hand
    #[arg(long)]
    repair: bool,
    /// Mend from this remote alone
    #[arg(long, value_name = "REMOTE", requires = "repair")]
    from: Option<String>,
    /// Print the facts as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    fn wants_objects(&self) -> bool {
        self.objects || !self.pointers
    }

    fn wants_pointers(&self) -> bool {
        self.pointers || !self.objects
    }
}

/// What was found in the store.
#[derive(Default)]
struct StoreFacts {
    checked: Checked,
    findings: Vec<Finding>,
    /// Packs of findings that are damage.
    damaged_packs: BTreeSet<PathBuf>,
}

/// Everything that was looked at.
#[derive(Default)]
struct Looked {
    store: StoreFacts,
    files: Files,
    work_tree: Vec<WorkTreeFinding>,
}

impl Looked {
    fn damage_count(&self) -> u64 {
        let work_tree = self.work_tree.iter().filter(|finding| finding.is_damage()).count();
        self.store.checked.damage + self.files.broken.len() as u64 + work_tree as u64
    }
}

/// What the command works with.
struct Context {
    here: Here,
    repository: Repository,
    settings: Settings,
    sources: Sources,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let here = Here::find()?;
    let repository = here.repository()?;
    let settings = repository.settings()?;
    let sources = open_sources(&here, &repository, &settings)?;
    let context = Context { here, repository, settings, sources };
    let mut looked = Looked::default();
    let mut repaired = None;
    if args.wants_objects() {
        looked.store = look_at_store(context.sources.own())?;
        looked.files = files::look(&context)?;
        if args.repair && looked.store.checked.damage + looked.files.broken.len() as u64 > 0 {
            repaired = Some(repair::run(&context, args.from.as_deref(), &mut looked)?);
        }
    }
    if args.wants_pointers() && context.repository.work_tree().is_some() {
        looked.work_tree = work_tree::pointers(&context)?;
    }
    if args.worktree {
        looked.work_tree.extend(work_tree::contents(&context)?);
    }
    let mut out = Out::lock();
    match args.json {
        true => out.json(&facts::of(&looked, repaired.as_ref()))?,
        false => facts::print(&mut out, &looked, repaired.as_ref(), args.wants_objects())?,
    }
    out.finish()?;
    verdict(&looked, repaired.as_ref())
}

/// The stores of the repository. A bare repository with a store that has no index is a share.
fn open_sources(here: &Here, repository: &Repository, settings: &Settings) -> Result<Sources, Failure> {
    let own = stores::store_options(repository, settings);
    let is_share = repository.work_tree().is_none() && own.dir.is_dir() && !own.index.exists();
    match stores::on_a_share(repository.common_dir(), &here.env).filter(|_| is_share) {
        Some(share) => Ok(Sources::new(Store::open(share)?, Vec::new())),
        None => Ok(stores::open_sources(repository, settings)?),
    }
}

/// Packs of a repository's own store are of no server's domain.
fn is_ours(domain: Domain) -> bool {
    domain == Domain::LOCAL
}

fn look_at_store(store: &Store) -> Result<StoreFacts, Failure> {
    let mut facts = StoreFacts::default();
    let bar: RefCell<Option<(Progress, u64)>> = RefCell::new(None);
    let checked = store.check(
        &is_ours,
        &mut |finding| {
            if finding.problem.severity() == Severity::Damage {
                facts.damaged_packs.insert(finding.path.clone());
            }
            if facts.findings.len() < FINDINGS_MAX {
                facts.findings.push(finding);
            }
        },
        &|progress| {
            let mut bar = bar.borrow_mut();
            let (bar, done) = bar.get_or_insert_with(|| (Progress::of_bytes("checking", progress.total), 0));
            bar.advance(progress.done - *done);
            *done = progress.done;
        },
    );
    facts.checked = checked?;
    Ok(facts)
}

/// A failure if anything is damaged still.
fn verdict(looked: &Looked, repaired: Option<&Repaired>) -> Result<(), Failure> {
    if looked.damage_count() == 0 {
        return Ok(());
    }
    let broken = looked.files.broken.iter().map(|file| file.line());
    let work_tree = looked.work_tree.iter().filter(|finding| finding.is_damage()).map(|finding| finding.line());
    let packs = looked.store.damaged_packs.iter().map(|path| path.display().to_string());
    let message = match looked.files.broken.len() {
        0 if looked.store.checked.damage == 0 => "files of the work tree are not what git takes them for".to_owned(),
        0 => "the store is damaged; no file that Git knows needs what is hurt".to_owned(),
        count => format!("{} damaged or lost", counted(count)),
    };
    let causes: Vec<String> = broken.chain(work_tree).collect();
    let causes = if causes.is_empty() { packs.collect() } else { causes };
    let failure = Failure::new(message).caused_by_each(causes.into_iter());
    Err(match repaired {
        None => failure.hint("`git dits fsck --repair` mends what a remote, the work tree or another store still has"),
        Some(_) => failure
            .hint("bring the same files back from a copy and `git add` them, or fetch from a clone that has them")
            .hint("see docs/guide/repair.md"),
    })
}
