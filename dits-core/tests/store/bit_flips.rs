//! One bit flipped anywhere in a store is found by a look through it, or it is harmless, and no wrong byte is ever
//! handed out.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use dits_core::hash::{FileHash, ManifestHash};
use dits_core::pack_format::Domain;
use dits_core::pointer::Pointer;
use dits_core::remote::Receipt;
use dits_core::remote::receipts::Receipts;
use dits_core::store::{Finding, Problem, Rest, Sharing, Store, StoreError};

use super::damage::{Dice, Items, copy_tree, fill, flip, lost};
use super::options;

/// Bits that are flipped, one at a time.
const FLIPS: u64 = 1000;
/// Threads that do so.
const THREADS: u64 = 2;

fn seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = std::env::var("DITS_TEST_SEED").map_or(now, |seed| seed.parse().unwrap());
    eprintln!("DITS_TEST_SEED={seed}");
    seed
}

/// Nothing here outlives a power loss, so memory does.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// Two sealed packs, an open one that is synced and one that is not, an index, receipts.
fn template(dir: &Path) -> (Items, Vec<Pointer>) {
    let packs = [
        (Sharing::Network, 0, false),
        (Sharing::Network, 10, false),
        (Sharing::Machine, 20, true),
        (Sharing::Machine, 30, false),
    ];
    let items = packs.into_iter().flat_map(|(sharing, first, is_synced)| fill(dir, sharing, first, 3, is_synced));
    let items: Items = items.collect();
    let pointers: Vec<Pointer> =
        (0..20_u64).map(|n| Pointer { oid: FileHash::of(&n.to_le_bytes()), size: n + 1 }).collect();
    let mut receipts = Receipts::open(&dir.join("receipts"), [1; 16], [2; 16]).unwrap();
    let receipt = |pointer: &Pointer| Receipt {
        oid: pointer.oid,
        size: pointer.size,
        manifest: ManifestHash::from_bytes([3; 32]),
        proven_at: 1,
        mac: vec![4; 32],
    };
    receipts.keep(&pointers[..10].iter().map(receipt).collect::<Vec<_>>()).unwrap();
    (items, pointers)
}

fn files_of(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        match entry.is_dir() {
            true => files.extend(files_of(&entry)),
            false => files.push(entry),
        }
    }
    files.retain(|path| fs::metadata(path).unwrap().len() > 0);
    files.sort();
    files
}

/// Looks through the store; returns what was found, and how many items are lost.
fn looked_at(store: &Store, items: &Items, what: &str) -> (Vec<Finding>, usize) {
    let mut findings = Vec::new();
    store.check(&|domain| domain == Domain::LOCAL, &mut |finding| findings.push(finding), &|_| {}).unwrap();
    for (id, _) in items {
        let has = store.has(id).unwrap();
        let mut plain = Vec::new();
        assert!(!has || store.read(id, &mut plain).is_ok(), "{what}: {id} counts as there and is not");
    }
    (findings, lost(store, items, what))
}

fn one_flip(dir: &Path, items: &Items, pointers: &[Pointer], file: &Path, what: &str) {
    // Receipts prove nothing; a wrong one must not be about another file.
    if let Ok(receipts) = Receipts::open(&dir.join("receipts"), [1; 16], [2; 16])
        && let Ok(known) = receipts.known(pointers)
    {
        assert!(known.iter().all(|pointer| pointers[..10].contains(pointer)), "{what}");
    }
    let store = match Store::open(options(dir, Sharing::Machine)) {
        Ok(store) => store,
        Err(StoreError::UnknownVersion { .. } | StoreError::NotAStore { .. }) if file.ends_with("format") => return,
        Err(error) => panic!("{what}: {error:?}"),
    };
    let (findings, gone) = looked_at(&store, items, what);
    assert!(!findings.is_empty() || gone == 0, "{what}: {gone} items are lost and nothing was found");
    if findings.iter().any(|finding| matches!(finding.problem, Problem::UnknownVersion(_))) {
        // It may be what it says, and is left as it is.
        return;
    }
    let all_packs: Vec<PathBuf> = files_of(&dir.join("store"));
    store.mend_packs(&all_packs, Rest::Wanting, &|domain| domain == Domain::LOCAL).unwrap();
    let (_, gone_then) = looked_at(&store, items, what);
    assert!(gone_then <= gone.min(1), "{what}: {gone} items were lost, {gone_then} after mending");
}

#[test]
fn any_flipped_bit_is_found_or_harmless_and_costs_one_item_at_most() {
    let seed = seed();
    let made = scratch();
    let (items, pointers) = template(made.path());
    let files: Vec<PathBuf> =
        files_of(made.path()).into_iter().map(|path| path.strip_prefix(made.path()).unwrap().to_owned()).collect();
    let flip_some = |thread: u64| {
        let mut dice = Dice(seed.wrapping_add(thread << 32));
        for _ in 0..FLIPS / THREADS {
            let dir = scratch();
            copy_tree(made.path(), dir.path());
            let file = dir.path().join(&files[dice.below(files.len() as u64) as usize]);
            let len = fs::metadata(&file).unwrap().len();
            // Half of the places are near the end, where tables and trailers are.
            let at = match dice.below(2) {
                0 => len - 1 - dice.below(len.min(700)),
                _ => dice.below(len),
            };
            let bit = dice.below(8);
            let what = format!("seed {seed}: bit {bit} at {at} of {len} in {}", file.display());
            flip(&file, at, bit);
            one_flip(dir.path(), &items, &pointers, &file, &what);
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || flip_some(thread))).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}
