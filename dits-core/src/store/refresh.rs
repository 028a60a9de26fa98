//! What this process knows of the packs, and how it learns of more.
//!
//! **For:** an index that follows the packs, whoever wrote them and however that ended.
//!
//! **May touch:** the index, and packs for reading.
//!
//! **Must hold:**
//! - a refresh without news writes nothing;
//! - any number of processes may refresh at once, and none removes rows that another adds;
//! - an index that is bad is replaced once, also where several processes notice.
//!
//! **Format:** `docs/formats/store-v1.md`.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::error::{PackProblem, StoreError};
use super::find::manifest_oid;
use super::index::{Index, NewRows, is_bad_index, is_full_index, is_read_only_index};
use super::is_unwritable;
use super::layout::{Layout, OpenName, is_absent};
use super::pack::{OpenError, Pack};
use crate::hash::PackHash;
use crate::item::ItemKind;

/// Where the index is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// In its file, which other processes share.
    OnDisk,
    /// In a file that cannot be written to.
    Unchanging,
    /// In this process, because no file can be written.
    InMemory,
}

/// The index, and what it was last compared with.
#[derive(Debug)]
pub(super) struct Known {
    index: Index,
    keep: Keep,
    index_path: PathBuf,
    seen: Option<Seen>,
    was_replaced: bool,
    was_checked: bool,
    /// Counts how often numbers of packs began to mean others.
    generation: u64,
    /// Set where the index cannot be written to because the disk is full.
    is_full: bool,
    /// Packs that were there at the last look and cannot be read.
    unusable: Vec<(PathBuf, PackProblem)>,
}

/// A look through an index that other threads go on using.
pub(super) struct Check {
    path: PathBuf,
    is_unchanging: bool,
}

impl Check {
    /// Returns true if rows are where a search finds them.
    pub fn is_sound(&self) -> bool {
        match self.is_unchanging {
            true => Index::open_unchanging(&self.path).is_some_and(|index| index.is_sound()),
            false => Index::open_to_look(&self.path).is_some_and(|index| index.is_sound()),
        }
    }
}

/// What the folders looked like. Any new pack and any new record changes it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    packs: Option<SystemTime>,
    open: Option<SystemTime>,
    condemned: Option<SystemTime>,
    log_len: u64,
}

impl Known {
    /// Opens the index, the best way that is possible, and brings it up to date.
    pub fn open(layout: &Layout, index_path: &Path, is_writable: bool) -> Result<Known, StoreError> {
        let opened = match is_writable {
            true => open_or_replace(index_path),
            false => return Known::open_unwritable(layout, index_path),
        };
        let index = match opened {
            Ok(index) => index,
            Err(error) if is_unwritable(&error) || is_full_index(&error) => {
                let is_full = is_full_index(&error);
                return Known::open_unwritable(layout, index_path).map(|known| Known { is_full, ..known });
            }
            Err(error) => return Err(error),
        };
        let mut known = Known::new(index, Keep::OnDisk, index_path);
        known.refresh(layout)?;
        Ok(known)
    }

    fn open_unwritable(layout: &Layout, index_path: &Path) -> Result<Known, StoreError> {
        let mut known = match Index::open_unchanging(index_path) {
            Some(index) => Known::new(index, Keep::Unchanging, index_path),
            None => Known::new(Index::in_memory(index_path)?, Keep::InMemory, index_path),
        };
        known.refresh(layout)?;
        Ok(known)
    }

    fn new(index: Index, keep: Keep, index_path: &Path) -> Known {
        Known {
            index,
            keep,
            index_path: index_path.to_owned(),
            seen: None,
            was_replaced: false,
            was_checked: false,
            generation: 0,
            is_full: false,
            unusable: Vec::new(),
        }
    }

    /// Returns true if other processes see what is written to this index.
    pub fn is_on_disk(&self) -> bool {
        self.keep == Keep::OnDisk
    }

    /// Returns true if only a full disk keeps the index from being written to.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// Uses the index, and makes it anew where that shows that it is bad.
    pub fn with_index<T>(
        &mut self,
        layout: &Layout,
        mut body: impl FnMut(&mut Index) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match body(&mut self.index) {
            Err(error) if !self.was_replaced && is_bad(&error, &self.index_path) => {
                self.replace(layout)?;
                body(&mut self.index)
            }
            result => result,
        }
    }

    /// Throws the index away and makes it anew from the packs.
    pub fn replace(&mut self, layout: &Layout) -> Result<(), StoreError> {
        self.was_replaced = true;
        self.generation += 1;
        match self.keep {
            Keep::OnDisk => {
                // The bad file must be closed before it goes.
                let identity = self.index.identity();
                self.index = Index::in_memory(&self.index_path)?;
                remove_bad(&self.index_path, identity)?;
                self.index = Index::open(&self.index_path)?;
            }
            Keep::Unchanging | Keep::InMemory => self.forget_disk()?,
        }
        self.learn(layout)
    }

    /// As [`Known::replace`], for an index that is not malformed: one that turns out to be so later is replaced again.
    pub fn make_anew(&mut self, layout: &Layout) -> Result<(), StoreError> {
        self.replace(layout)?;
        self.was_replaced = false;
        Ok(())
    }

    /// What it takes to look through the whole index; `None` if this process did so before.
    pub fn take_check(&mut self) -> Option<Check> {
        let is_due = !std::mem::replace(&mut self.was_checked, true) && !self.was_replaced;
        (is_due && self.keep != Keep::InMemory)
            .then(|| Check { path: self.index_path.clone(), is_unchanging: self.keep == Keep::Unchanging })
    }

    /// A pack that cannot be read, if there is one: it may hold anything.
    pub fn unusable_pack(&self) -> Option<(PathBuf, PackProblem)> {
        self.unusable.first().cloned()
    }

    /// Where the index is, or would be.
    pub fn index_path(&self) -> &Path {
        &self.index_path
    }

    /// Returns true if an index was made anew by this process before.
    pub fn was_replaced(&self) -> bool {
        self.was_replaced
    }

    /// Grows whenever the numbers of packs begin to mean others.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Tells the index that sealed packs are condemned, and so the one that took its place meanwhile.
    pub fn condemn(&mut self, hashes: &[PackHash]) -> Result<(), StoreError> {
        self.index.condemn(hashes)?;
        // Whoever makes the index anew from now on finds the marks.
        let mut told = self.index.identity();
        while identity_of(&self.index_path) != told {
            let mut other = Index::open(&self.index_path)?;
            other.condemn(hashes)?;
            told = other.identity();
        }
        Ok(())
    }

    fn forget_disk(&mut self) -> Result<(), StoreError> {
        self.generation += 1;
        self.index = Index::in_memory(&self.index_path)?;
        self.keep = Keep::InMemory;
        Ok(())
    }

    /// Learns what was written since, if anything changed; returns true if it did.
    pub fn refresh_if_changed(&mut self, layout: &Layout) -> Result<bool, StoreError> {
        let seen = Seen::look(layout)?;
        if self.seen.as_ref() == Some(&seen) {
            return Ok(false);
        }
        self.refresh(layout)?;
        Ok(true)
    }

    /// Learns what was written since.
    pub fn refresh(&mut self, layout: &Layout) -> Result<(), StoreError> {
        let seen = Seen::look(layout)?;
        match self.learn(layout) {
            Err(error) if !self.was_replaced && is_bad(&error, &self.index_path) => self.replace(layout)?,
            Err(error) if (is_unwritable(&error) || is_full_index(&error)) && self.keep != Keep::InMemory => {
                self.forget_disk()?;
                self.learn(layout)?;
            }
            result => result?,
        }
        self.seen = Some(seen);
        Ok(())
    }

    fn learn(&mut self, layout: &Layout) -> Result<(), StoreError> {
        // A pack leaves `open` for `packs`, never the other way, and the index names it under
        // both names before it does. So: open ones first, and rows that are to be dropped
        // must have been there before either was listed.
        self.unusable.clear();
        let before: HashSet<i64> = self.index.packs()?.iter().map(|row| row.no).collect();
        let logs: HashSet<OpenName> = layout.list_logs()?.into_iter().collect();
        let sealed: HashSet<PackHash> = layout.list_sealed()?.into_iter().collect();
        let rows = self.index.packs()?;

        let mut gone = Vec::new();
        let mut new_logs = logs.clone();
        let mut new_sealed = sealed.clone();
        for row in &rows {
            let is_sealed = row.hash.is_some_and(|hash| sealed.contains(&hash));
            let is_open = row.name.is_some_and(|name| logs.contains(&name));
            row.hash.map(|hash| new_sealed.remove(&hash));
            row.name.map(|name| new_logs.remove(&name));
            match (is_sealed, row.name) {
                (true, _) => {}
                (false, Some(name)) if is_open => self.learn_open(layout, &name, row.known)?,
                _ if before.contains(&row.no) => gone.push(row.no),
                _ => {}
            }
        }
        for hash in &new_sealed {
            self.learn_sealed(layout, hash)?;
        }
        for name in &new_logs {
            self.learn_open(layout, name, 0)?;
        }
        if !gone.is_empty() {
            self.index.drop_packs(&gone)?;
        }
        self.learn_condemned(layout, &sealed)
    }

    /// Learns which packs are going to be removed.
    fn learn_condemned(&mut self, layout: &Layout, sealed: &HashSet<PackHash>) -> Result<(), StoreError> {
        // What a collection tells the index was marked before, and it takes a mark away before it
        // tells the index: so the index is asked first.
        let known = self.index.condemned()?;
        let marked: HashSet<PackHash> = layout.list_condemned()?.into_iter().collect();
        let mut new: Vec<PackHash> = marked.difference(&known).filter(|hash| sealed.contains(hash)).copied().collect();
        if !new.is_empty() {
            // One that cannot be read has no row.
            let rows: HashSet<PackHash> = self.index.packs()?.iter().filter_map(|row| row.hash).collect();
            new.retain(|hash| rows.contains(hash));
        }
        if !new.is_empty() {
            self.index.condemn(&new)?;
        }
        known.difference(&marked).try_for_each(|hash| self.index.spare(hash))
    }

    fn learn_sealed(&mut self, layout: &Layout, hash: &PackHash) -> Result<(), StoreError> {
        let pack = match Pack::open_sealed(layout, hash, None) {
            Ok(pack) => pack,
            Err(OpenError::Gone) => return Ok(()),
            Err(OpenError::Unusable(problem)) => {
                // It is looked at again by each process, until it is mended or removed.
                self.unusable.push((layout.sealed_pack(hash), problem));
                return Ok(());
            }
            Err(OpenError::Store(error)) => return Err(error),
        };
        let read = pack.entry_count().and_then(|count| Ok((count, rows_of(&pack, 0, count)?.0)));
        let (entry_count, mut rows) = match read {
            Ok(read) => read,
            Err(problem) => {
                self.unusable.push((pack.path, problem));
                return Ok(());
            }
        };
        self.index.add_to_sealed(hash, entry_count, &mut rows)?;
        Ok(())
    }

    fn learn_open(&mut self, layout: &Layout, name: &OpenName, known: u32) -> Result<(), StoreError> {
        let path = layout.open_log(name);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() && Pack::record_count(metadata.len()) <= known => return Ok(()),
            Ok(_) => {}
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => {
                self.unusable.push((path, PackProblem::of(&error)));
                return Ok(());
            }
        }
        let pack = match Pack::open_growing(layout, name, 0) {
            Ok(pack) => pack,
            Err(OpenError::Gone) => return Ok(()),
            Err(OpenError::Unusable(problem)) => {
                self.unusable.push((path, problem));
                return Ok(());
            }
            Err(OpenError::Store(error)) => return Err(error),
        };
        let (mut rows, known_now) = match pack.entry_count().and_then(|count| rows_of(&pack, known, count)) {
            Ok(read) => read,
            Err(problem) => {
                self.unusable.push((path, problem));
                return Ok(());
            }
        };
        if known_now > known {
            self.index.add_to_open(name, known_now, None, &mut rows)?;
        }
        Ok(())
    }
}

/// Reads what the index should know of the entries `from..to`, and how many there are up
/// to the last good one.
fn rows_of(pack: &Pack, from: u32, to: u32) -> Result<(NewRows, u32), PackProblem> {
    let mut rows = NewRows::default();
    let mut end = from;
    for (entry, entry_no) in pack.entries(from, to)?.into_iter().zip(from..) {
        let Some(entry) = entry else { continue };
        end = entry_no + 1;
        rows.push(&entry.id, entry_no);
        if entry.id.kind == ItemKind::Manifest
            && let Some(oid) = manifest_oid(pack, &entry)
        {
            rows.manifests.push((oid, entry_no));
        }
    }
    Ok((rows, end))
}

impl Seen {
    fn look(layout: &Layout) -> Result<Seen, StoreError> {
        let mut log_len: u64 = 0;
        for name in layout.list_logs()? {
            log_len += fs::metadata(layout.open_log(&name)).map(|metadata| metadata.len()).unwrap_or(0);
        }
        let time = |dir: &Path| fs::metadata(dir).and_then(|metadata| metadata.modified()).ok();
        let (packs, open, condemned) = (time(&layout.packs()), time(&layout.open()), time(&layout.condemned()));
        Ok(Seen { packs, open, condemned, log_len })
    }
}

fn open_or_replace(path: &Path) -> Result<Index, StoreError> {
    match Index::open(path) {
        Err(error) if is_bad(&error, path) => {
            remove_bad(path, identity_of(path))?;
            Index::open(path)
        }
        result => result,
    }
}

/// Returns true if the error says that the index at `path` is bad. One that says of itself
/// that it cannot be written to, and can, is so too.
fn is_bad(error: &StoreError, path: &Path) -> bool {
    is_bad_index(error) || is_read_only_index(error) && File::options().write(true).open(path).is_ok()
}

/// Which file has this path now.
pub(super) fn identity_of(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Removes the index at `path` if it still is the file `identity`.
///
/// Processes that have it open keep using the file without a name; what they add to it is
/// in the packs too.
fn remove_bad(path: &Path, identity: Option<(u64, u64)>) -> Result<(), StoreError> {
    let lock_path = beside(path, ".lock");
    let lock = File::create(&lock_path).map_err(|source| StoreError::io(&lock_path, source))?;
    lock.lock().map_err(|source| StoreError::io(&lock_path, source))?;
    if identity_of(path) == identity {
        for bad in [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")] {
            match fs::remove_file(&bad) {
                Err(source) if !is_absent(&source) => return Err(StoreError::io(&bad, source)),
                _ => {}
            }
        }
    }
    Ok(())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
