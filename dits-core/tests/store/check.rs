//! Looking through a store: what is wrong is found and named, and what is good can be saved.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use dits_core::item::ItemId;
use dits_core::pack_format::{Domain, ENTRY_LEN, TRAILER_LEN};
use dits_core::store::{Checked, Finding, Problem, Rest, Severity, Sharing, Store};

use super::damage::{Items, fill, flip};
use super::{noise, only_file, open, put, read};

fn is_local(domain: Domain) -> bool {
    domain == Domain::LOCAL
}

fn check(store: &Store) -> (Checked, Vec<Finding>) {
    let mut findings = Vec::new();
    let last = RefCell::new(None);
    let checked = store.check(&is_local, &mut |finding| findings.push(finding), &|progress| {
        assert!(progress.done <= progress.total);
        *last.borrow_mut() = Some(progress);
    });
    let checked = checked.unwrap();
    let damage = findings.iter().filter(|finding| finding.problem.severity() == Severity::Damage).count() as u64;
    assert_eq!((checked.damage, checked.odd), (damage, findings.len() as u64 - damage));
    (checked, findings)
}

fn problems(store: &Store) -> Vec<Problem> {
    check(store).1.into_iter().map(|finding| finding.problem).collect()
}

/// Where the stored bytes of an item stand in a file: the tests look for them.
fn place_of(path: &Path, plain: &[u8]) -> u64 {
    let bytes = fs::read(path).unwrap();
    bytes.windows(64).position(|window| *window == plain[..64]).expect("stored as it is") as u64
}

/// An item that is stored as it is.
fn raw_item(items: &Items) -> &(ItemId, Vec<u8>) {
    items.iter().find(|(_, plain)| plain.len() > 3000 && plain[0] != b'D').unwrap()
}

fn sealed(dir: &Path, first: u64) -> Items {
    fill(dir, Sharing::Network, first, 4, false)
}

#[test]
fn a_whole_store_has_no_findings_and_all_of_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let count = sealed(dir.path(), 1).len() + fill(dir.path(), Sharing::Machine, 20, 4, true).len();
    let (checked, findings) = check(&open(dir.path(), Sharing::Machine));
    assert_eq!(findings, []);
    assert_eq!((checked.packs, checked.items, checked.is_index_wrong), (2, count as u64, false));
    let files = [only_file(dir.path(), "packs", ".pack"), only_file(dir.path(), "open", ".pack")];
    let bytes: u64 = files.iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    let table = (count / 2 * ENTRY_LEN + TRAILER_LEN) as u64;
    assert_eq!(checked.bytes, bytes - table);
}

#[test]
fn a_flipped_bit_is_named_with_pack_entry_and_item_and_counts_as_absent_until_it_is_good_again() {
    for sharing in [Sharing::Network, Sharing::Machine] {
        let dir = tempfile::tempdir().unwrap();
        let items = fill(dir.path(), sharing, 1, 4, true);
        let folder = if sharing == Sharing::Network { "packs" } else { "open" };
        let path = only_file(dir.path(), folder, ".pack");
        let (id, plain) = raw_item(&items);
        let place = place_of(&path, plain);
        flip(&path, place + 100, 3);
        let store = open(dir.path(), sharing);
        assert!(store.has(id).unwrap(), "nobody has looked yet");
        let (checked, findings) = check(&store);
        let [finding] = &findings[..] else { panic!("{findings:?}") };
        let entry_no = items.iter().position(|(other, _)| other == id).map(|at| at as u32);
        assert_eq!((finding.entry_no, finding.item, &finding.problem), (entry_no, Some(*id), &Problem::Bytes));
        assert_eq!(finding.path, path);
        assert_eq!((checked.damaged_items, store.has(id).unwrap()), (1, false));
        assert_eq!(store.unusable_copies(id).unwrap(), [(path.clone(), entry_no)]);
        flip(&path, place + 100, 3);
        let (checked, findings) = check(&open(dir.path(), sharing));
        assert_eq!((checked.cleared_items, findings), (1, vec![]));
        assert!(store.has(id).unwrap());
    }
}

#[test]
fn packs_that_are_cut_renamed_swapped_or_too_new_are_each_called_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    sealed(dir.path(), 1);
    let one = only_file(dir.path(), "packs", ".pack");
    let bytes = fs::read(&one).unwrap();
    let with = |bytes: &[u8]| {
        fs::write(&one, bytes).unwrap();
        problems(&open(dir.path(), Sharing::Network))
    };
    assert!(matches!(with(&bytes[..bytes.len() - 1])[..], [Problem::NotAPack]));
    assert!(matches!(with(b"")[..], [Problem::NotAPack]));
    let trailer = bytes.len() - TRAILER_LEN;
    let changed = |at: usize, value: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        bytes
    };
    assert!(matches!(with(&changed(trailer + 8, 9))[..], [Problem::UnknownVersion(9)]));
    assert!(matches!(with(&changed(trailer + 12, 99))[..], [Problem::Length { .. }]));
    assert!(matches!(with(&changed(trailer - 30, !bytes[trailer - 30]))[..], [Problem::Table]));
    assert!(matches!(with(&changed(trailer + 20, 7))[..], [Problem::Table]));
    assert_eq!(with(&bytes), []);
    let other = tempfile::tempdir().unwrap();
    sealed(other.path(), 50);
    let theirs = fs::read(only_file(other.path(), "packs", ".pack")).unwrap();
    assert!(matches!(with(&theirs)[..], [Problem::OtherName(_)]));
    fs::remove_file(&one).unwrap();
    fs::create_dir(&one).unwrap();
    assert!(matches!(problems(&open(dir.path(), Sharing::Network))[..], [Problem::NotRead(_)]));
}

/// The first file of this ending whose name does not begin with `but`.
fn only_of(dir: &Path, ending: &str, but: &str) -> PathBuf {
    let is_it = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.len() > 30 && name.ends_with(ending) && !name.starts_with(but)
    };
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).find(is_it).unwrap()
}

#[test]
fn what_does_not_belong_into_a_store_is_odd() {
    let dir = tempfile::tempdir().unwrap();
    sealed(dir.path(), 1);
    fill(dir.path(), Sharing::Machine, 20, 4, true);
    let store = dir.path().join("store");
    let name = "0123456789abcdef0123456789abcdef";
    let tmp = store.join(format!("packs/tmp-{name}"));
    for file in ["packs/holiday.jpg", "open/x.log"] {
        fs::write(store.join(file), "x").unwrap();
    }
    for file in [format!("open/{name}.log"), format!("open/{name}.doubt"), format!("format-{name}")] {
        fs::write(store.join(file), "").unwrap();
    }
    let now = fs::File::create(&tmp).unwrap();
    let count = |store: &Store, problem: &Problem| problems(store).iter().filter(|found| *found == problem).count();
    let opened = open(dir.path(), Sharing::Machine);
    assert_eq!((count(&opened, &Problem::Foreign), count(&opened, &Problem::Left)), (2, 3));
    now.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(count(&opened, &Problem::Left), 4, "nobody writes to it any more");
    let mut writer = opened.writer(Domain([7; 16]));
    let plain = noise(1, 5000);
    put(&mut writer, super::chunk_id(&plain), &plain).unwrap();
    writer.sync().unwrap();
    drop(writer);
    assert_eq!(count(&opened, &Problem::OtherDomain(Domain([7; 16]))), 1);
    assert_eq!(check(&opened).0.damage, 0, "{:?}", check(&opened).1);
    fs::remove_file(only_of(&store.join("open"), ".log", name)).unwrap();
    assert_eq!(count(&opened, &Problem::NoLog), 1, "nothing says what is in the pack");
}

#[test]
fn a_record_is_torn_only_where_nothing_good_stands_behind_it() {
    let record = |n: u64| 48 + 72 * n + 20;
    let dir = tempfile::tempdir().unwrap();
    let items = fill(dir.path(), Sharing::Machine, 1, 4, false);
    let log = only_file(dir.path(), "open", ".log");
    let last = items.len() as u64 - 1;
    flip(&log, record(last), 0);
    assert_eq!(problems(&open(dir.path(), Sharing::Machine)), [Problem::Torn]);
    flip(&log, record(last), 0);
    flip(&log, record(2), 0);
    assert!(problems(&open(dir.path(), Sharing::Machine)).contains(&Problem::Record));
    flip(&log, record(2), 0);
    let synced = tempfile::tempdir().unwrap();
    fill(synced.path(), Sharing::Machine, 1, 4, true);
    flip(&only_file(synced.path(), "open", ".log"), record(last), 0);
    let found = problems(&open(synced.path(), Sharing::Machine));
    assert!(found.contains(&Problem::Record), "what was synced is not torn: {found:?}");
}

#[test]
fn rows_that_are_missing_or_lie_are_counted_and_mended_by_a_new_index() {
    let dir = tempfile::tempdir().unwrap();
    let items = [sealed(dir.path(), 1), fill(dir.path(), Sharing::Machine, 20, 4, true)].concat();
    let store = open(dir.path(), Sharing::Machine);
    for (sql, expected) in [
        ("DELETE FROM items WHERE entry = 1", vec![Problem::IndexLacks(2)]),
        ("DELETE FROM manifests WHERE entry = 1", vec![Problem::IndexLacks(2)]),
        ("INSERT INTO items VALUES (x'00112233445566778899aabbccddeeff', 1, 1)", vec![Problem::IndexLies(1)]),
        ("INSERT INTO items VALUES (x'00112233445566778899aabbccddeeff', 1, 1000)", vec![Problem::IndexLies(1)]),
        ("INSERT INTO items VALUES (x'00112233445566778899aabbccddeeff', 99, 1)", vec![Problem::IndexLies(1)]),
        ("UPDATE items SET entry = 3 WHERE entry = 2", vec![Problem::IndexLacks(2), Problem::IndexLies(2)]),
    ] {
        let index = rusqlite::Connection::open(dir.path().join("index.sqlite")).unwrap();
        index.execute(sql, []).unwrap();
        drop(index);
        let (checked, findings) = check(&store);
        let found: Vec<Problem> = findings.into_iter().map(|finding| finding.problem).collect();
        assert_eq!((found, checked.is_index_wrong), (expected, true), "{sql}");
        store.make_index_anew().unwrap();
        assert_eq!(problems(&store), [], "{sql}");
    }
    items.iter().for_each(|(id, plain)| assert!(read(&store, id).unwrap() == *plain));
}

/// Damages a pack in some way, and returns how many of its items are gone for good.
fn mended(damage: impl Fn(&Path, &Items) -> u64, rest: Rest) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    let items = sealed(dir.path(), 1);
    let path = only_file(dir.path(), "packs", ".pack");
    let before = fs::read(&path).unwrap();
    let lost = damage(&path, &items);
    let damaged = fs::read(&path).unwrap();
    let store = open(dir.path(), Sharing::Network);
    let paths: Vec<PathBuf> = check(&store).1.into_iter().map(|finding| finding.path).collect();
    let mended = store.mend_packs(&paths, rest, &is_local).unwrap();
    let there = items.iter().filter(|(id, plain)| read(&store, id).is_ok_and(|read| read == *plain)).count() as u64;
    assert_eq!(there, items.len() as u64 - lost);
    if mended.left.is_empty() {
        assert_eq!(problems(&store), [], "what was set aside is no part of the store");
        let kept = mended.set_aside.iter().map(|path| fs::read(path).unwrap());
        assert!(kept.chain([before]).any(|bytes| bytes == damaged || lost == 0), "nothing is thrown away");
    }
    (mended.set_aside, mended.left)
}

#[test]
fn what_is_good_in_a_damaged_pack_is_saved_and_the_pack_is_set_aside_only_if_nobody_needs_the_rest() {
    let payload = |path: &Path, items: &Items| {
        flip(path, place_of(path, &raw_item(items).1) + 7, 1);
        1
    };
    let (set_aside, left) = mended(payload, Rest::Whole);
    assert!(set_aside.len() == 1 && set_aside[0].parent().unwrap().ends_with("damaged") && left.is_empty());
    let (set_aside, left) = mended(payload, Rest::Wanting);
    assert!(set_aside.is_empty() && left.len() == 1);
}

#[test]
fn a_pack_with_a_damaged_table_or_trailer_gives_what_proves_itself() {
    let from_end = |back: u64| move |path: &Path, _: &Items| flip_at_end(path, back);
    // The name, the payload's length, the count, the magic, the domain's last byte.
    for back in [3, 38, 59, 70] {
        mended(from_end(back), Rest::Whole);
    }
    // The last entry's check, its lengths, and its hash: its bytes say what it is.
    let table = TRAILER_LEN as u64;
    for back in [table + 3, table + 40] {
        mended(from_end(back), Rest::Whole);
    }
}

fn flip_at_end(path: &Path, back: u64) -> u64 {
    flip(path, fs::metadata(path).unwrap().len() - back, 2);
    0
}

#[test]
fn a_pack_under_another_name_gets_its_own_back() {
    let dir = tempfile::tempdir().unwrap();
    let items = sealed(dir.path(), 1);
    let path = only_file(dir.path(), "packs", ".pack");
    let other = path.with_file_name(format!("{}.pack", "ab".repeat(32)));
    fs::rename(&path, &other).unwrap();
    let store = open(dir.path(), Sharing::Network);
    assert!(!store.has(&items[0].0).unwrap());
    let mended = store.mend_packs(&[other], Rest::Whole, &is_local).unwrap();
    assert_eq!(mended.renamed, [path]);
    assert_eq!(problems(&store), []);
    items.iter().for_each(|(id, plain)| assert!(read(&store, id).unwrap() == *plain));
}

#[test]
fn an_open_pack_is_saved_though_its_log_has_lost_its_header() {
    let dir = tempfile::tempdir().unwrap();
    let items = fill(dir.path(), Sharing::Machine, 1, 4, true);
    let log = only_file(dir.path(), "open", ".log");
    flip(&log, 2, 2);
    let store = open(dir.path(), Sharing::Machine);
    let (_, findings) = check(&store);
    assert_eq!(findings.len(), 1);
    let mended = store.mend_packs(&[findings[0].path.clone()], Rest::Wanting, &is_local).unwrap();
    assert_eq!((mended.saved_items, mended.set_aside.len()), (items.len() as u64, 1));
    assert_eq!(problems(&store), []);
    items.iter().for_each(|(id, plain)| assert!(read(&store, id).unwrap() == *plain));
}
