//! Bits that flip, packs that are cut, lost, swapped or too new, and an index that is none.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use dits_core::item::ItemId;
use dits_core::operations::clean::{CleanOptions, CleanStats, Cleaner, Outcome};
use dits_core::operations::hydrate::write_to;
use dits_core::pack_format::{Domain, TRAILER_LEN};
use dits_core::pointer::Pointer;
use dits_core::store::{PackProblem, ReadError, Sharing, Sources, Store, StoreError};

use super::{chunk_id, manifest_of, noise, only_file, open, options, put, read};

const PLACES: u64 = 200;

pub type Items = Vec<(ItemId, Vec<u8>)>;

/// A small number that the next call gives another of.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 += 1;
        let bytes = blake3::hash(&self.0.to_le_bytes());
        u64::from_le_bytes(bytes.as_bytes()[..8].try_into().unwrap()) % end
    }
}

/// Puts items into one pack: sealed, or the open one.
pub fn fill(dir: &Path, sharing: Sharing, first: u64, count: u64, is_synced: bool) -> Items {
    let store = open(dir, sharing);
    let mut writer = store.writer(Domain::LOCAL);
    let mut items = Items::new();
    for n in first..first + count {
        let plain = if n % 3 == 0 { format!("{n} ").repeat(2000).into_bytes() } else { noise(n, 3000 + n as usize) };
        items.push((chunk_id(&plain), plain.clone()));
        let manifest = manifest_of(&plain);
        items.push((manifest.hash().into(), manifest.encode()));
    }
    for (id, plain) in &items {
        put(&mut writer, *id, plain).unwrap();
    }
    match is_synced {
        true => writer.sync().unwrap(),
        false => writer.commit().unwrap(),
    }
    items
}

/// Two sealed packs and an open one, half of it synced.
fn filled(dir: &Path) -> Items {
    let packs = [
        (Sharing::Network, 0, false),
        (Sharing::Network, 10, false),
        (Sharing::Machine, 20, true),
        (Sharing::Machine, 30, false),
    ];
    packs.into_iter().flat_map(|(sharing, first, is_synced)| fill(dir, sharing, first, 4, is_synced)).collect()
}

pub fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => copy_tree(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

pub fn flip(path: &Path, at: u64, bit: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1 << bit], at).unwrap();
}

fn files_below(dir: &Path, folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir.join("store").join(folder)).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|path| path.to_string_lossy().ends_with(ending));
    paths.sort();
    paths
}

fn remove_index(dir: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(dir.join(format!("index.sqlite{suffix}")));
    }
}

/// Reads every item; what cannot be read must be said to be so. Returns how many cannot.
pub fn lost(store: &Store, items: &Items, what: &str) -> usize {
    let mut lost = 0;
    for (id, expected) in items {
        let result = read(store, id);
        lost += usize::from(result.is_err());
        match result {
            Ok(plain) => assert!(plain == *expected, "{what}: other bytes are served as {id}"),
            Err(ReadError::Missing(named)) => assert_eq!(named, *id, "{what}"),
            Err(ReadError::Damaged { id: named, path } | ReadError::Unreadable { id: named, path, .. }) => {
                assert!(named == *id && path.exists(), "{what}: {named} in {path:?}");
            }
            Err(error) => panic!("{what}: {error:?}"),
        }
    }
    lost
}

/// Brings every item again, as `git add` of the same files does.
fn bring_again(store: &Store, items: &Items, what: &str) {
    let mut writer = store.writer(Domain::LOCAL);
    for (id, plain) in items {
        if !store.has(id).unwrap() {
            put(&mut writer, *id, plain).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        }
    }
    writer.commit().unwrap_or_else(|error| panic!("{what}: {error:?}"));
}

#[test]
fn any_flipped_bit_is_found_or_harmless_and_is_mended_by_adding_again() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = std::env::var("DITS_TEST_SEED").map_or(now, |seed| seed.parse().unwrap());
    eprintln!("DITS_TEST_SEED={seed}");
    let template = tempfile::tempdir().unwrap();
    let items = filled(template.path());
    let mut dice = Dice(seed);
    for _ in 0..PLACES {
        // Nothing here outlives a power loss, so memory does.
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        copy_tree(template.path(), dir.path());
        let mut files = files_below(dir.path(), "packs", ".pack");
        files.extend(files_below(dir.path(), "open", ""));
        files.push(dir.path().join("index.sqlite"));
        let file = files.swap_remove(dice.below(files.len() as u64) as usize);
        let len = fs::metadata(&file).unwrap().len();
        // Half of the places in packs are in the table or trailer, which are short.
        let at = match file.parent().unwrap().ends_with("packs") && dice.below(2) == 0 {
            true => len - 1 - dice.below((TRAILER_LEN + 8 * 68) as u64),
            false => dice.below(len),
        };
        let bit = dice.below(8);
        let what = format!("seed {seed}: bit {bit} at {at} of {len} in {}", file.display());
        flip(&file, at, bit);
        let store = Store::open(options(dir.path(), Sharing::Machine));
        let store = store.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        lost(&store, &items, &what);
        bring_again(&store, &items, &what);
        assert_eq!(lost(&store, &items, &what), 0, "{what}");
        drop(store);
        assert_eq!(lost(&open(dir.path(), Sharing::Machine), &items, &what), 0, "{what}: later");
        remove_index(dir.path());
        assert_eq!(lost(&open(dir.path(), Sharing::Machine), &items, &what), 0, "{what}: without the index");
    }
}

#[test]
fn a_flipped_bit_of_a_payload_is_named_by_item_and_pack() {
    let dir = tempfile::tempdir().unwrap();
    let items = filled(dir.path());
    let (sealed, open_pack) = (files_below(dir.path(), "packs", ".pack"), only_file(dir.path(), "open", ".pack"));
    for path in sealed.iter().chain([&open_pack]) {
        flip(path, 0, 0);
    }
    let store = open(dir.path(), Sharing::Machine);
    let mut named = Vec::new();
    for (id, _) in &items {
        if let Err(error) = read(&store, id) {
            let text = error.to_string();
            let ReadError::Damaged { path, .. } = error else { panic!("{error:?}") };
            assert_eq!(text, format!("{id} is damaged in {}", path.display()));
            named.push(path);
            assert!(!store.has(id).unwrap() && store.has_damage().unwrap());
            assert!(matches!(store.read_stored(id), Err(ReadError::Damaged { .. })));
        }
    }
    named.sort();
    let mut flipped = [sealed, vec![open_pack]].concat();
    flipped.sort();
    assert_eq!(named, flipped, "one item of each");
}

#[test]
fn a_pack_that_the_disk_does_not_give_takes_no_other_with_it() {
    // Opening a folder works, and reading it does not: as a file on a bad sector.
    let not_given = |path: &Path| {
        fs::rename(path, path.with_extension("away")).unwrap();
        fs::create_dir(path).unwrap();
    };
    for folder in ["packs", "open"] {
        let dir = tempfile::tempdir().unwrap();
        let kept = [fill(dir.path(), Sharing::Network, 0, 4, false), fill(dir.path(), Sharing::Machine, 10, 4, true)];
        let (bad, good) = match folder {
            "packs" => (&kept[0], &kept[1]),
            _ => (&kept[1], &kept[0]),
        };
        let path = only_file(dir.path(), folder, if folder == "packs" { ".pack" } else { ".log" });
        let reader = open(dir.path(), Sharing::Machine);
        not_given(&path);
        for has_index in [true, false] {
            if !has_index {
                remove_index(dir.path());
            }
            let store = open(dir.path(), Sharing::Machine);
            assert_eq!(lost(&store, good, folder), 0);
            for (id, _) in bad {
                assert!(!store.has(id).unwrap());
                let error = read(&store, id).unwrap_err();
                let text = "which cannot be read: Is a directory (os error 21)";
                assert!(error.to_string().ends_with(text), "{error}");
                let ReadError::Unreadable { path: named, .. } = error else { panic!("{error:?}") };
                assert_eq!(named, path);
            }
        }
        assert_eq!(lost(&reader, good, folder), 0);
        let store = open(dir.path(), Sharing::Machine);
        bring_again(&store, bad, folder);
        assert_eq!(lost(&store, bad, folder), 0);
        assert_eq!(lost(&open(dir.path(), Sharing::Machine), bad, folder), 0);
    }
}

#[test]
fn what_the_disk_does_not_give_for_a_while_is_there_again_afterwards() {
    let kinds =
        [(Sharing::Network, "packs", ".pack"), (Sharing::Machine, "open", ".log"), (Sharing::Machine, "open", ".pack")];
    for (sharing, folder, ending) in kinds {
        let dir = tempfile::tempdir().unwrap();
        let items = fill(dir.path(), sharing, 0, 4, true);
        let path = only_file(dir.path(), folder, ending);
        let away = path.with_extension("away");
        let store = open(dir.path(), Sharing::Machine);
        fs::rename(&path, &away).unwrap();
        fs::create_dir(&path).unwrap();
        for (id, _) in &items {
            let error = read(&store, id).unwrap_err();
            assert!(
                matches!(error, ReadError::Unreadable { problem: PackProblem::NotRead(_), .. }),
                "{folder} {ending}: {error:?}"
            );
            assert!(!store.has(id).unwrap());
        }
        assert!(store.has_damage().unwrap(), "{folder} {ending}: what is not given now does not count as held");
        assert!(!open(dir.path(), Sharing::Machine).has_damage().unwrap(), "{folder} {ending}: it was written down");
        fs::remove_dir(&path).unwrap();
        fs::rename(&away, &path).unwrap();
        let later = open(dir.path(), Sharing::Machine);
        assert!(items.iter().all(|(id, _)| later.has(id).unwrap()), "{folder} {ending}");
        assert_eq!(store.damaged_items(100).unwrap(), Some(vec![]), "{folder} {ending}");
        assert!(!store.has_damage().unwrap(), "{folder} {ending}");
        assert!(items.iter().all(|(id, _)| store.has(id).unwrap()), "{folder} {ending}");
        assert_eq!(lost(&store, &items, ending), 0);
    }
}

#[test]
fn what_was_found_damaged_counts_as_there_once_it_is_good() {
    let dir = tempfile::tempdir().unwrap();
    let items = fill(dir.path(), Sharing::Network, 0, 4, false);
    let path = only_file(dir.path(), "packs", ".pack");
    let id = items[0].0;
    let store = open(dir.path(), Sharing::Machine);
    for is_asked_for_all in [false, true] {
        flip(&path, 0, 0);
        read(&store, &id).unwrap_err();
        assert!(!store.has(&id).unwrap() && !store.look_again(None, &id).unwrap());
        let later = open(dir.path(), Sharing::Machine);
        assert_eq!(later.damaged_items(100).unwrap(), Some(vec![id]));
        flip(&path, 0, 0);
        match is_asked_for_all {
            false => {
                assert!(!later.has(&id).unwrap() && !later.look_again(Some(Domain([7; 16])), &id).unwrap());
                assert!(later.look_again(Some(Domain::LOCAL), &id).unwrap());
            }
            true => assert_eq!(store.damaged_items(100).unwrap(), Some(vec![])),
        }
        assert!(store.has(&id).unwrap() && later.has(&id).unwrap() && !later.has_damage().unwrap());
    }
}

#[test]
fn a_good_copy_is_served_where_another_is_damaged() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let items = fill(dir.path(), Sharing::Network, 0, 4, false);
    let first = only_file(dir.path(), "packs", ".pack");
    fill(elsewhere.path(), Sharing::Network, 0, 4, false);
    flip(&first, 0, 3);
    let id = items[0].0;
    let store = open(dir.path(), Sharing::Machine);
    let sources = Sources::new(store, vec![open(elsewhere.path(), Sharing::Network)]);
    let mut plain = Vec::new();
    sources.read(&id, &mut plain).unwrap();
    assert!(plain == items[0].1);
    assert_eq!(sources.read_stored(&id).unwrap().id, id);
    assert!(sources.has(&id).unwrap() && !sources.own().has(&id).unwrap());
    bring_again(sources.own(), &items, "a second copy");
    assert!(read(sources.own(), &id).unwrap() == items[0].1, "from the second pack of one store");
    fs::remove_file(first).unwrap();
    assert!(read(&open(dir.path(), Sharing::Machine), &id).unwrap() == items[0].1);
}

#[test]
fn a_whole_pack_written_again_takes_the_place_of_its_damaged_self() {
    let dir = tempfile::tempdir().unwrap();
    let items = fill(dir.path(), Sharing::Network, 0, 4, false);
    let path = only_file(dir.path(), "packs", ".pack");
    let [reader, writer] = [(), ()].map(|()| open(dir.path(), Sharing::Network));
    for at in [1, fs::metadata(&path).unwrap().len() - 10] {
        flip(&path, at, 1);
        let later = open(dir.path(), Sharing::Network);
        assert!(lost(&later, &items, "written again") > 0);
        // Another writer of the very same items, which looked at nothing before.
        let mut again = writer.writer(Domain::LOCAL);
        items.iter().for_each(|(id, plain)| put(&mut again, *id, plain).unwrap());
        again.commit().unwrap();
        assert_eq!(only_file(dir.path(), "packs", ".pack"), path);
        for store in [&writer, &reader] {
            assert_eq!(lost(store, &items, "written again"), 0);
        }
    }
}

#[test]
fn a_pack_that_was_cut_lost_or_swapped_is_named_and_the_others_are_read() {
    for way in ["cut", "cut to nothing", "swapped", "lost"] {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let dir = dirs[0].path();
        let gone = fill(dir, Sharing::Network, 0, 4, false);
        let path = only_file(dir, "packs", ".pack");
        let kept: Items = [(Sharing::Network, 10), (Sharing::Machine, 20)]
            .into_iter()
            .flat_map(|(sharing, first)| fill(dir, sharing, first, 4, false))
            .collect();
        fill(dirs[1].path(), Sharing::Network, 50, 4, false);
        let other = only_file(dirs[1].path(), "packs", ".pack");
        match way {
            "cut" => fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(9000).unwrap(),
            "cut to nothing" => fs::write(&path, b"").unwrap(),
            "swapped" => drop(fs::copy(&other, &path).unwrap()),
            _ => fs::remove_file(&path).unwrap(),
        }
        for has_index in [true, false] {
            if !has_index {
                remove_index(dir);
            }
            let store = open(dir, Sharing::Machine);
            assert_eq!(lost(&store, &kept, way), 0);
            for (id, _) in &gone {
                let error = read(&store, id).unwrap_err();
                assert!(!store.has(id).unwrap());
                assert!(way == "lost" || error.to_string().contains(path.to_str().unwrap()), "{way}: {error}");
                match (way, has_index) {
                    ("lost", _) => assert!(matches!(error, ReadError::Missing(_)), "{error:?}"),
                    (_, true) => assert!(matches!(error, ReadError::Damaged { .. }), "{error:?}"),
                    (_, false) => assert!(matches!(error, ReadError::Unreadable { .. }), "{error:?}"),
                }
            }
        }
        let store = open(dir, Sharing::Machine);
        bring_again(&store, &gone, way);
        assert_eq!(lost(&store, &gone, way), 0);
    }
}

#[test]
fn a_pack_of_a_later_version_is_named_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let sealed = fill(dir.path(), Sharing::Network, 0, 4, false);
    let path = only_file(dir.path(), "packs", ".pack");
    let kept = fill(dir.path(), Sharing::Network, 10, 4, false);
    let growing = fill(dir.path(), Sharing::Machine, 20, 4, true);
    let log = only_file(dir.path(), "open", ".log");
    // Version 1 becomes 3, in the trailer and in the log's header.
    flip(&path, fs::metadata(&path).unwrap().len() - TRAILER_LEN as u64 + 8, 1);
    flip(&log, 8, 1);
    let before = [fs::read(&path).unwrap(), fs::read(&log).unwrap()];
    for has_index in [true, false] {
        if !has_index {
            remove_index(dir.path());
        }
        let store = open(dir.path(), Sharing::Machine);
        assert_eq!(lost(&store, &kept, "a later version"), 0);
        for (items, path) in [(&sealed, &path), (&growing, &log)] {
            for (id, _) in items {
                let error = read(&store, id).unwrap_err();
                assert!(error.to_string().ends_with("which has version 3, which is not known to this version of Dits"));
                let ReadError::Unreadable { path: named, problem, .. } = error else { panic!("{error:?}") };
                assert!(!has_index || named == *path);
                assert_eq!(problem, PackProblem::UnknownVersion(3));
            }
        }
    }
    bring_again(&open(dir.path(), Sharing::Machine), &growing, "a later version");
    assert_eq!([fs::read(&path).unwrap(), fs::read(&log).unwrap()], before);
}

#[test]
fn an_index_that_is_none_is_made_anew() {
    let template = tempfile::tempdir().unwrap();
    let items = filled(template.path());
    let index = template.path().join("index.sqlite");
    let good = fs::read(&index).unwrap();
    let mut later = good.clone();
    later[60..64].copy_from_slice(&7_u32.to_be_bytes());
    let mut read_only = good.clone();
    read_only[18] = 9;
    let mut scrambled = good.clone();
    scrambled[4096..].iter_mut().for_each(|byte| *byte ^= 0x55);
    let bad =
        [b"no index".to_vec(), vec![], vec![0; 9000], good[..good.len() / 2].to_vec(), later, read_only, scrambled];
    for (n, bytes) in bad.iter().enumerate() {
        let what = format!("index {n}");
        fs::write(&index, bytes).unwrap();
        let store = open(template.path(), Sharing::Machine);
        assert_eq!(lost(&store, &items, &what), 0, "{what}");
        bring_again(&store, &vec![(chunk_id(what.as_bytes()), what.clone().into_bytes())], &what);
        drop(store);
        let store = open(template.path(), Sharing::Machine);
        assert_eq!(read(&store, &chunk_id(what.as_bytes())).unwrap(), what.as_bytes());
    }
}

#[test]
fn a_format_file_that_is_damaged_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    for at in 0..13 {
        flip(&dir.path().join("store/format"), at, 1);
        let error = Store::open(options(dir.path(), Sharing::Machine)).unwrap_err();
        assert!(matches!(error, StoreError::NotAStore { .. } | StoreError::UnknownVersion { .. }), "{error:?}");
        assert!(error.to_string().contains(dir.path().join("store").to_str().unwrap()));
        flip(&dir.path().join("store/format"), at, 1);
    }
}

fn clean(sources: &Sources, content: &[u8]) -> (Pointer, CleanStats) {
    let mut writer = sources.own().writer(Domain::LOCAL);
    let mut cleaner = Cleaner::new(sources, &mut writer, CleanOptions::default());
    content.chunks(1 << 20).for_each(|block| cleaner.push(block.to_vec()).unwrap());
    let cleaned = cleaner.finish().unwrap();
    let Outcome::Stored(pointer) = cleaned.outcome else { panic!("{cleaned:?}") };
    (pointer, cleaned.stats)
}

#[test]
fn a_file_found_damaged_is_mended_by_adding_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let content = noise(77, 3 << 20);
    let sources = Sources::new(open(dir.path(), Sharing::Machine), vec![]);
    let (pointer, _) = clean(&sources, &content);
    flip(&only_file(dir.path(), "open", ".pack"), 1_000_000, 5);
    assert!(write_to(&sources, &pointer, &mut Vec::new()).is_err());
    let (again, stats) = clean(&sources, &content);
    assert_eq!((again, stats.new_chunk_count), (pointer, 1));
    let mut out = Vec::new();
    write_to(&sources, &pointer, &mut out).unwrap();
    assert!(out == content);
    assert_eq!(clean(&sources, &content).1.new_bytes, 0);
}
