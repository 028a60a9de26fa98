//! Random stores, roots, times and interruptions against what must be readable.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dits_core::item::ItemId;
use dits_core::operations::collect::{CollectOptions, CollectProgress, Root};
use dits_core::pack_format::Domain;
use dits_core::store::collect::Guard;
use dits_core::store::{Sharing, Store};

use super::world::{HOUR, Media, World, add_to_store, collect_in, noise, reads};

const ROUNDS: u64 = 300;
const STEPS: u64 = 24;

struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 += 1;
        u64::from_le_bytes(blake3::hash(&self.0.to_le_bytes()).as_bytes()[..8].try_into().unwrap()) % end
    }

    fn one_of<T: Clone>(&mut self, values: &[T]) -> T {
        values[self.below(values.len() as u64) as usize].clone()
    }
}

/// Somebody who was told that all of a file is there, and has not yet written down that it is needed.
struct Relying {
    file: usize,
    /// Held on a disk of this machine. On a share the hour is all there is.
    _guard: Guard,
}

struct Model {
    seed: u64,
    dice: Dice,
    sharing: Sharing,
    world: World,
    files: Vec<Media>,
    needed: BTreeSet<usize>,
    relying: Vec<Relying>,
}

#[test]
fn whatever_happens_all_that_is_needed_stays_readable() {
    let seeds = match std::env::var("DITS_COLLECT_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..ROUNDS).collect(),
    };
    for seed in seeds {
        let sharing = if seed % 2 == 0 { Sharing::Machine } else { Sharing::Network };
        let dice = Dice(seed << 32);
        let (files, needed, relying) = (Vec::new(), BTreeSet::new(), Vec::new());
        let mut model = Model { seed, dice, sharing, world: World::in_memory(sharing), files, needed, relying };
        for _ in 0..STEPS {
            model.step();
        }
        model.settle();
    }
}

impl Model {
    fn step(&mut self) {
        match self.dice.below(16) {
            0..=3 => self.add(),
            4..=5 => self.forget(),
            6 => self.rely(),
            7 => self.write_down(),
            8..=9 => {
                let age = self.dice.one_of(&[-3 * HOUR, -3 * HOUR, -HOUR / 2, 0, 1000 * HOUR]);
                self.world.date_packs(age);
            }
            10 => {
                // Within an hour whoever was told so has moved the ref.
                while !self.relying.is_empty() {
                    self.write_down();
                }
                self.world.date_marks(-2 * HOUR);
            }
            11 => drop(fs::remove_file(self.world.index())),
            12 => self.collect_while_something_is_damaged(),
            _ => self.collect(),
        }
    }

    fn store(&mut self) -> Store {
        match self.sharing == Sharing::Network && self.dice.below(2) == 0 {
            true => self.world.open_elsewhere(),
            false => self.world.open(),
        }
    }

    /// A file of which some chunks are new, and others those of earlier files; or one from before.
    fn next_file(&mut self) -> usize {
        if !self.files.is_empty() && self.dice.below(3) == 0 {
            return self.dice.below(self.files.len() as u64) as usize;
        }
        let mut chunks: Vec<Vec<u8>> = Vec::new();
        for _ in 0..1 + self.dice.below(4) {
            let count = 1 + self.dice.below(12) as usize;
            if !self.files.is_empty() && self.dice.below(2) == 0 {
                let from = self.dice.below(self.files.len() as u64) as usize;
                let there = self.files[from].chunks();
                let start = self.dice.below(there.len() as u64) as usize;
                chunks.extend(there[start..].iter().take(count).cloned());
            } else {
                chunks.extend((0..count).map(|_| noise(self.dice.below(u64::MAX), 20 + self.dice.below(300) as usize)));
            }
        }
        self.files.push(Media::of_chunks(chunks));
        self.files.len() - 1
    }

    fn add(&mut self) {
        let file = self.next_file();
        let store = self.store();
        let guard = store.guard().unwrap();
        match self.dice.below(3) {
            0 => self.world.add_alone(&self.files[file]),
            _ => add_to_store(&store, Domain::LOCAL, &self.files[file]),
        }
        self.needed.insert(file);
        drop(guard);
    }

    fn forget(&mut self) {
        let needed: Vec<usize> = self.needed.iter().copied().collect();
        if !needed.is_empty() {
            let file = self.dice.one_of(&needed);
            self.needed.remove(&file);
        }
    }

    /// Somebody is told that a file is there, whether it is needed now or not.
    fn rely(&mut self) {
        if self.files.is_empty() {
            return;
        }
        let file = self.dice.below(self.files.len() as u64) as usize;
        let store = self.store();
        let guard = store.guard().unwrap();
        add_to_store(&store, Domain::LOCAL, &self.files[file]);
        self.relying.push(Relying { file, _guard: guard });
    }

    fn write_down(&mut self) {
        if let Some(Relying { file, .. }) = self.relying.pop() {
            self.needed.insert(file);
        }
    }

    fn options(&mut self) -> CollectOptions {
        // On a share the grace alone protects what a push has written that has not moved its refs.
        let no_grace = self.sharing == Sharing::Machine || self.relying.is_empty();
        let grace = if no_grace && self.dice.below(2) == 0 { 0 } else { 3600 };
        CollectOptions {
            grace: Duration::from_secs(grace),
            dry_run: self.dice.below(8) == 0,
            copy_len_max: self.dice.one_of(&[u64::MAX, u64::MAX, 3000, 0]),
            wait_max: Duration::ZERO,
            linger: Duration::ZERO,
        }
    }

    fn collect(&mut self) {
        let options = self.options();
        let store = self.store();
        // Something happens at one of the places where a collection tells how far it is.
        let when = self.dice.below(12) as u32;
        let what = self.dice.below(4);
        let meanwhile = self.next_file();
        let needed = Mutex::new(self.needed.clone());
        let calls = AtomicU32::new(0);
        let oids: Vec<_> = self.files.iter().map(Media::oid).collect();
        let happens = |_: CollectProgress| {
            if calls.fetch_add(1, Ordering::SeqCst) != when {
                return;
            }
            match what {
                0 => resume_unwind(Box::new("killed")),
                1 => {
                    let other = self.world.open();
                    let guard = other.guard().unwrap();
                    add_to_store(&other, Domain::LOCAL, &self.files[meanwhile]);
                    needed.lock().unwrap().insert(meanwhile);
                    drop(guard);
                }
                2 => drop(needed.lock().unwrap().pop_first()),
                // Another collection: of another machine, on a share.
                _ => {
                    let other = match self.sharing {
                        Sharing::Machine => self.world.open(),
                        Sharing::Network => self.world.open_elsewhere(),
                    };
                    let mut roots = || needed.lock().unwrap().iter().map(|file| Root::File(oids[*file])).collect();
                    let other = collect_in(&other, &options, &mut roots, &|_| {});
                    assert_eq!(other.is_ok(), self.sharing == Sharing::Network || options.dry_run, "{other:?}");
                }
            }
        };
        let mut roots = || needed.lock().unwrap().iter().map(|file| Root::File(oids[*file])).collect();
        let result = catch_unwind(AssertUnwindSafe(|| collect_in(&store, &options, &mut roots, &happens)));
        if let Ok(result) = result {
            result.unwrap_or_else(|error| panic!("seed {}: {error:?}", self.seed));
        }
        self.needed = needed.into_inner().unwrap();
        self.check();
    }

    /// What cannot be read now may be read again later: nothing that it leads to may go meanwhile.
    fn collect_while_something_is_damaged(&mut self) {
        let packs = self.world.packs();
        if packs.is_empty() {
            return;
        }
        let pack = self.dice.one_of(&packs);
        let len = fs::metadata(&pack).unwrap().len();
        let at = match self.dice.below(2) {
            0 => self.dice.below(len),
            _ => len - 1 - self.dice.below(72.min(len)),
        };
        self.world.flip(&pack, at);
        let options = self.options();
        let store = self.store();
        let oids: Vec<_> = self.needed.iter().map(|file| Root::File(self.files[*file].oid())).collect();
        // It may refuse.
        let _ = collect_in(&store, &options, &mut || oids.clone(), &|_| {});
        drop(store);
        if pack.exists() {
            self.world.flip(&pack, at);
        }
        // What was learned of the damage is forgotten.
        let _ = fs::remove_file(self.world.index());
        let _ = fs::remove_file(self.world.path().join("elsewhere.sqlite"));
        self.check();
    }

    fn check(&mut self) {
        let store = self.store();
        for file in self.needed.iter().chain(self.relying.iter().map(|relying| &relying.file)) {
            assert!(reads(&store, &self.files[*file]), "seed {}: file {file} is lost", self.seed);
        }
    }

    /// In the end all that is not needed goes, and nothing is there twice.
    fn settle(&mut self) {
        while !self.relying.is_empty() {
            self.write_down();
        }
        let files: Vec<&Media> = self.needed.iter().map(|file| &self.files[*file]).collect();
        for _ in 0..3 {
            self.world.date_packs(-3 * HOUR);
            self.world.date_marks(-2 * HOUR);
            self.world.collect(&files, &World::options()).unwrap();
        }
        let wanted: BTreeMap<ItemId, usize> =
            files.iter().flat_map(|file| file.items()).map(|(id, plain)| (id, plain.len())).collect();
        let packs = self.world.listing().into_iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "pack"));
        let stored: u64 = packs.map(|(_, len)| len).sum();
        let tables = |count: usize| 72 * (count as u64 + 20);
        let allowed = (wanted.values().sum::<usize>() as u64 + tables(wanted.len())) * 4 / 3 + 1;
        assert!(stored <= allowed, "seed {}: {stored} bytes for {allowed}", self.seed);
        assert!(self.world.marks().is_empty(), "seed {}", self.seed);
        let _ = fs::remove_file(self.world.index());
        self.check();
    }
}
