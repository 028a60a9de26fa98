//! Looking through a whole store: every byte of every pack, and the index beside them.
//!
//! **For:** `git dits fsck` and `ditsd fsck`, beside any number of other processes.
//!
//! **May touch:** the store's folders, reading only, and its index; two threads, which have ended on return.
//!
//! **Must hold:**
//! - every byte of a pack is compared with its entry's check, its item's id, and the pack's own name;
//! - a copy that is damaged counts as absent afterwards, one that was found good counts as there again;
//! - memory grows with the number of packs, a few hundred bytes each, and nothing else;
//! - no file of the store is changed.

mod files;
mod finding;
mod forward;
mod mend;
mod pack;
mod records;
mod whole;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

pub use finding::{Finding, Problem, Severity};
pub use mend::{Mended, Rest};
pub use whole::is_whole;

use super::error::StoreError;
use super::index::Census;
use super::{Store, lock};
use crate::pack_format::Domain;
use pack::{Looked, Looker, Message, Subject};

/// Threads that read packs. More of them make a disk slower that has to move its head.
const THREADS: usize = 2;
/// What is said and not yet heard.
const MESSAGES_MAX: usize = 256;

/// How far a look through a store is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckProgress {
    /// Bytes that were read.
    pub done: u64,
    /// Bytes that there are to read, as far as is known.
    pub total: u64,
}

/// What a look through a store came to, beside its findings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checked {
    /// Packs that were read.
    pub packs: u64,
    /// Items in them, each copy counted.
    pub items: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Copies that are damaged.
    pub damaged_items: u64,
    /// Copies that counted as damaged, and are good.
    pub cleared_items: u64,
    /// Findings that are damage.
    pub damage: u64,
    /// Findings that are odd, and harmless.
    pub odd: u64,
    /// Set if the index does not say what the packs say. [`Store::make_index_anew`] mends that.
    pub is_index_wrong: bool,
}

impl Store {
    /// Looks through the whole store. Each finding goes to `take` as it comes; `is_ours` says whether packs of a
    /// domain belong into this store.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be used. What is wrong with its packs is a finding.
    pub fn check(
        &self,
        is_ours: &(dyn Fn(Domain) -> bool + Sync),
        take: &mut dyn FnMut(Finding),
        progress: &dyn Fn(CheckProgress),
    ) -> Result<Checked, StoreError> {
        let mut checked = Checked::default();
        let mut take = |finding: Finding| {
            match finding.problem.severity() {
                Severity::Damage => checked.damage += 1,
                Severity::Odd => checked.odd += 1,
            }
            take(finding);
        };
        self.refresh()?;
        if self.replaces_bad_index()? || lock(&self.known).was_replaced() {
            take(self.finding_of_index(Problem::IndexMalformed));
        }
        files::look(&self.layout, &mut take)?;
        let census = lock(&self.known).with_index(&self.layout, |index| index.census())?;
        let subjects = self.subjects(&census)?;
        let (looked, bytes) = self.look_through(&subjects, is_ours, &mut take, progress)?;
        let (lacking, lies) = compare(&census, &looked);
        if lacking > 0 {
            take(self.finding_of_index(Problem::IndexLacks(lacking)));
        }
        if lies > 0 {
            take(self.finding_of_index(Problem::IndexLies(lies)));
        }
        for pack in &looked {
            checked.packs += 1;
            checked.items += pack.entries;
            checked.damaged_items += pack.damaged;
            checked.cleared_items += pack.cleared;
        }
        checked.bytes = bytes;
        checked.is_index_wrong = lacking + lies > 0;
        Ok(checked)
    }

    /// Throws the index away and makes it anew from the packs. What was noted as damaged has to be found again.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store or a new index cannot be used.
    pub fn make_index_anew(&self) -> Result<(), StoreError> {
        lock(&self.known).make_anew(&self.layout)?;
        lock(&self.handles).clear();
        Ok(())
    }

    fn finding_of_index(&self, problem: Problem) -> Finding {
        Finding { path: lock(&self.known).index_path().to_owned(), entry_no: None, item: None, problem }
    }

    /// Every pack that the index or a folder names.
    fn subjects(&self, census: &Census) -> Result<Vec<Subject>, StoreError> {
        let rows = || census.packs.iter().map(|pack| &pack.row);
        let mut subjects: Vec<Subject> =
            rows().map(|row| Subject { hash: row.hash, name: row.name, row: Some(row.clone()) }).collect();
        let logs = self.layout.list_logs()?;
        let sealed = self.layout.list_sealed()?;
        let known_hashes: HashSet<_> = rows().filter_map(|row| row.hash).collect();
        let known_names: HashSet<_> = rows().filter_map(|row| row.name).collect();
        let logs = logs.into_iter().filter(|name| !known_names.contains(name));
        subjects.extend(logs.map(|name| Subject { hash: None, name: Some(name), row: None }));
        let sealed = sealed.into_iter().filter(|hash| !known_hashes.contains(hash));
        subjects.extend(sealed.map(|hash| Subject { hash: Some(hash), name: None, row: None }));
        Ok(subjects)
    }

    fn len_of(&self, subject: &Subject) -> u64 {
        let sealed: Option<PathBuf> = subject.hash.map(|hash| self.layout.sealed_pack(&hash));
        let open = subject.name.map(|name| self.layout.open_pack(&name));
        let len = |path: PathBuf| fs::metadata(path).ok().map(|metadata| metadata.len());
        sealed.and_then(len).or_else(|| open.and_then(len)).unwrap_or(0)
    }

    /// Reads the packs; returns what was found in each of them, and how many bytes were read.
    fn look_through(
        &self,
        subjects: &[Subject],
        is_ours: &(dyn Fn(Domain) -> bool + Sync),
        take: &mut dyn FnMut(Finding),
        progress: &dyn Fn(CheckProgress),
    ) -> Result<(Vec<Looked>, u64), StoreError> {
        let total = subjects.iter().map(|subject| self.len_of(subject)).sum();
        let next = AtomicUsize::new(0);
        let work = |sender: SyncSender<Message>| {
            let mut looker = Looker::new(self, is_ours, sender.clone());
            while let Some(subject) = subjects.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = looker.look(subject) {
                    next.store(subjects.len(), Ordering::Relaxed);
                    let _ = sender.send(Message::Failed(error));
                }
            }
        };
        std::thread::scope(|scope| {
            let (sender, messages) = sync_channel(MESSAGES_MAX);
            for _ in 0..THREADS {
                let sender = sender.clone();
                scope.spawn(|| work(sender));
            }
            drop(sender);
            let (mut looked, mut done) = (Vec::new(), 0);
            for message in messages {
                match message {
                    Message::Finding(finding) => take(finding),
                    Message::Pack(pack) => looked.push(pack),
                    Message::Failed(error) => return Err(error),
                    Message::Read(len) => {
                        done += len;
                        progress(CheckProgress { done, total: done.max(total) });
                    }
                }
            }
            Ok((looked, done))
        })
    }
}

/// Compares what the index has with what was found; returns how many rows it lacks, and how many lie.
fn compare(census: &Census, looked: &[Looked]) -> (u64, u64) {
    let by_no: HashMap<i64, &Looked> = looked.iter().filter_map(|looked| Some((looked.no?, looked))).collect();
    let (mut lacking, mut lies) = (0, census.strays);
    for counted in &census.packs {
        // One that was not looked through says nothing: it is damaged, or gone meanwhile.
        let Some(pack) = by_no.get(&counted.row.no) else { continue };
        let explained = pack.indexed + pack.listed + pack.unsure;
        lacking += pack.lacking;
        lies += (counted.items + counted.beyond + counted.manifests).saturating_sub(explained);
    }
    (lacking, lies)
}
