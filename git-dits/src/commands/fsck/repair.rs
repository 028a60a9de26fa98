//! Mending what can be mended.
//!
//! **For:** `git dits fsck --repair`.
//!
//! **May touch:** the store; files of the work tree, read only; the network through `git-remote-dits`.
//!
//! **Must hold:**
//! - what is near is tried first: damaged packs themselves, other stores, the work tree, then remotes;
//! - a pack is set aside only when all that it had is elsewhere, or all files of this repository are whole and no
//!   other repository shares the store.

use std::io::Read;
use std::path::{Path, PathBuf};

use bstr::ByteSlice;
use dits_core::hash::FileHash;
use dits_core::item::ItemId;
use dits_core::operations::clean::{CleanOptions, Cleaner, Outcome};
use dits_core::operations::fsck::Broken;
use dits_core::pack_format::Domain;
use dits_core::pointer::Pointer;
use dits_core::repo::helper_program;
use dits_core::repo::work_tree_file::{self, State};
use dits_core::store::{Mended, Rest};

use super::files::{self, BrokenFile};
use super::work_tree::read_oid;
use super::{Context, Looked, is_ours, look_at_store};
use crate::media_address;
use crate::media_files;
use crate::pointers;
use crate::programs::Programs;
use crate::progress::{self, Progress};
use crate::report::{self, Failure};

/// Bytes of a file that are stored at a time.
const BLOCK_LEN: usize = 4 * 1024 * 1024;

/// What was mended.
#[derive(Default)]
pub struct Repaired {
    /// Whether the index was made anew.
    pub index: bool,
    /// What became of damaged packs.
    pub packs: Mended,
    /// Items that another store at hand had.
    pub from_stores: u64,
    /// Paths of the work tree whose content was stored again.
    pub from_work_tree: Vec<String>,
    /// Files that a remote had.
    pub fetched: Vec<FileHash>,
    /// Files that could not be had, and why.
    pub failed: Vec<(FileHash, String)>,
}

/// Mends, and looks at everything again.
pub fn run(context: &Context, from: Option<&str>, looked: &mut Looked) -> Result<Repaired, Failure> {
    let mut repaired = Repaired::default();
    let store = context.sources.own();
    // What could not be synced is saved or given up first.
    if let Err(error) = store.sync() {
        report::warn(&Failure::from(error).line());
    }
    if looked.store.checked.is_index_wrong {
        store.make_index_anew()?;
        repaired.index = true;
        // What is damaged was noted in the old one.
        looked.store = look_at_store(store)?;
    }
    let damaged: Vec<PathBuf> = looked.store.damaged_packs.iter().cloned().collect();
    add(&mut repaired.packs, store.mend_packs(&damaged, Rest::Wanting, &is_ours)?);
    let broken = files::look(context)?.broken;
    repaired.from_stores = take_from_other_stores(context, looked, &broken)?;
    let broken = take_from_work_tree(context, broken, &mut repaired)?;
    fetch(context, from, &broken, &mut repaired)?;
    let rest = match files::look(context)?.broken.is_empty() && context.settings.storage.is_none() {
        true => Rest::Whole,
        false => Rest::Wanting,
    };
    let left = std::mem::take(&mut repaired.packs.left);
    add(&mut repaired.packs, store.mend_packs(&left, rest, &is_ours)?);
    looked.store = look_at_store(store)?;
    looked.files = files::look(context)?;
    let lost = |oid: &FileHash| looked.files.broken.iter().any(|file| file.pointer.oid == *oid);
    repaired.failed.retain(|(oid, _)| lost(oid));
    Ok(repaired)
}

fn add(all: &mut Mended, more: Mended) {
    all.saved_items += more.saved_items;
    all.renamed.extend(more.renamed);
    all.set_aside.extend(more.set_aside);
    all.left = more.left;
}

/// Copies what the own store has lost, and an alternate or a remote on a local path has.
fn take_from_other_stores(context: &Context, looked: &Looked, broken: &[BrokenFile]) -> Result<u64, Failure> {
    let of_files = broken.iter().flat_map(|file| match &file.why {
        Broken::Parts { parts, .. } => parts.as_slice(),
        _ => &[],
    });
    let ids: Vec<ItemId> =
        looked.store.findings.iter().filter_map(|finding| finding.item).chain(of_files.map(|part| part.id)).collect();
    Ok(context.sources.bring_home(&ids)?)
}

/// Stores files of the work tree again that are what a broken pointer names; returns those that are broken still.
fn take_from_work_tree(
    context: &Context,
    mut broken: Vec<BrokenFile>,
    repaired: &mut Repaired,
) -> Result<Vec<BrokenFile>, Failure> {
    let Some(top) = context.repository.work_tree() else { return Ok(broken) };
    if broken.is_empty() {
        return Ok(broken);
    }
    let media = pointers::of_index(&context.here.git.clone().in_dir(top), &context.repository, &[])?;
    for file in media {
        let Some(pointer) = file.pointer else { continue };
        let is_wanted = broken.iter().any(|broken| broken.pointer == pointer);
        if !is_wanted || work_tree_file::state(top, file.entry.path.as_bstr())? != State::Content {
            continue;
        }
        let path = media_files::on_disk(top, file.entry.path.as_bstr());
        let mut progress = Progress::of_bytes("reading files", 2 * pointer.size);
        if read_oid(&path, &mut progress).is_ok_and(|there| there == pointer)
            && store_again(context, &path, &pointer, &mut progress)?
        {
            repaired.from_work_tree.push(file.entry.path.to_string());
            broken.retain(|broken| broken.pointer != pointer);
        }
    }
    Ok(broken)
}

/// Cleans a file into the store; returns false if it was not what it should be after all.
fn store_again(context: &Context, path: &Path, pointer: &Pointer, progress: &mut Progress) -> Result<bool, Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("cannot read {}", path.display())).because(&error);
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mut writer = context.sources.own().writer(Domain::LOCAL);
    let mut cleaner = Cleaner::new(&context.sources, &mut writer, CleanOptions::default());
    loop {
        let mut block = cleaner.spent_block().unwrap_or_else(|| Vec::with_capacity(BLOCK_LEN));
        block.clear();
        let len = (&mut file).take(BLOCK_LEN as u64).read_to_end(&mut block).map_err(failed)?;
        if len == 0 {
            break;
        }
        progress.advance(len as u64);
        cleaner.push(block)?;
    }
    let outcome = cleaner.finish()?.outcome;
    writer.sync()?;
    Ok(outcome == Outcome::Stored(*pointer))
}

/// Gets what is broken still from remotes.
fn fetch(context: &Context, from: Option<&str>, broken: &[BrokenFile], repaired: &mut Repaired) -> Result<(), Failure> {
    let repository = &context.repository;
    let wanted: Vec<Pointer> = broken.iter().map(|file| file.pointer).collect();
    let remote = from.map(|name| media_address::dits_remote(repository, name)).transpose()?.flatten();
    if wanted.is_empty() {
        return Ok(());
    }
    if remote.is_none() && repository.dits_remotes().is_empty() {
        media_address::find(&context.here.git, repository, &context.settings)?;
    }
    let helper = Programs::find()?.helper()?;
    let mut missing = helper_program::fetch(Some(&helper), remote.as_deref(), progress::of_helper(), &wanted);
    for pointer in &wanted {
        match missing.remove(&pointer.oid) {
            None => repaired.fetched.push(pointer.oid),
            Some(why) => repaired.failed.push((pointer.oid, why)),
        }
    }
    Ok(context.sources.refresh()?)
}
