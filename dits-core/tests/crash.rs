//! Killed at each step of the write order: nothing committed is lost, and writing goes on.
//!
//! The test binary runs itself as the process that is killed (`kill -9`, by the step).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]
#![cfg(debug_assertions)]

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use dits_core::codec::Codec;
use dits_core::hash::ChunkHash;
use dits_core::item::ItemId;
use dits_core::pack_format::Domain;
use dits_core::steps::{Step, stop_at};
use dits_core::store::{NewItem, ReadError, Sharing, Store, StoreOptions};

/// Together they fill one pack and begin another.
const ITEM_COUNT: u64 = 290;
const ITEM_LEN: usize = 250_000;
const COMMIT_EVERY: u64 = 40;

const DIR: &str = "DITS_CRASH_DIR";
const STOP: &str = "DITS_CRASH_STOP";
const FIRST: &str = "DITS_CRASH_FIRST";

/// The steps of stores on a disk of this machine, and those of stores that are shared.
const MACHINE: [Step; 9] = [
    Step::PackOpened,
    Step::PackPayloadWritten,
    Step::PackLogWritten,
    Step::PackPayloadSynced,
    Step::PackLogSynced,
    Step::PackIndexed,
    Step::PackTableWritten,
    Step::PackRenamed,
    Step::PackLogRemoved,
];
const NETWORK: [Step; 3] = [Step::WholePackWritten, Step::WholePackRenamed, Step::PackIndexed];

fn item(n: u64) -> Vec<u8> {
    let mut plain = vec![n as u8; ITEM_LEN];
    plain[..8].copy_from_slice(&n.to_le_bytes());
    plain
}

fn open(dir: &Path) -> Store {
    let sharing = match dir.join("is-network").exists() {
        true => Sharing::Network,
        false => Sharing::Machine,
    };
    Store::open(StoreOptions { dir: dir.join("store"), index: dir.join("index.sqlite"), sharing }).unwrap()
}

/// The process that is killed; an ordinary test run passes it by.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let store = open(&dir);
    if let Ok(step) = std::env::var(STOP) {
        assert!(stop_at(&step));
    }
    let mut committed = fs::OpenOptions::new().create(true).append(true).open(dir.join("committed")).unwrap();
    let mut writer = store.writer(Domain::LOCAL);
    for n in first..first + ITEM_COUNT {
        let plain = item(n);
        let id = ItemId::from(ChunkHash::of(&plain));
        if !store.has(&id).unwrap() {
            writer.put(NewItem { id, codec: Codec::Raw, plain_len: ITEM_LEN as u32, stored: &plain }).unwrap();
        }
        if (n + 1).is_multiple_of(COMMIT_EVERY) {
            writer.commit().unwrap();
            writeln!(committed, "{}", n / COMMIT_EVERY).unwrap();
        }
    }
    writer.sync().unwrap();
    store.sync().unwrap();
    writeln!(committed, "all").unwrap();
}

fn start(dir: &Path, stop: Option<&str>, first: u64) -> Child {
    command(dir, first).envs(stop.map(|stop| (STOP, stop))).spawn().unwrap()
}

fn command(dir: &Path, first: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--test-threads=1"]).env(DIR, dir).env(FIRST, first.to_string());
    command.env_remove(STOP).stdout(Stdio::null());
    command
}

/// The numbers of the items that were reported as committed.
fn committed(dir: &Path) -> Vec<u64> {
    let text = fs::read_to_string(dir.join("committed")).unwrap_or_default();
    text.lines()
        .filter(|line| *line != "all")
        .flat_map(|line| {
            let batch: u64 = line.parse().unwrap();
            batch * COMMIT_EVERY..(batch + 1) * COMMIT_EVERY
        })
        .collect()
}

fn assert_readable(dir: &Path, items: impl IntoIterator<Item = u64>) {
    let store = open(dir);
    let mut plain = Vec::new();
    for n in items {
        let id = ItemId::from(ChunkHash::of(&item(n)));
        assert!(store.has(&id).unwrap(), "item {n}");
        store.read(&id, &mut plain).unwrap();
    }
}

fn file_count(dir: &Path, folder: &str) -> usize {
    fs::read_dir(dir.join("store").join(folder)).unwrap().count()
}

fn kill_at(step: Step, nth: u32, is_network: bool, loses_index: bool) {
    let dir = tempfile::tempdir().unwrap();
    if is_network {
        fs::write(dir.path().join("is-network"), "").unwrap();
    }
    let stop = format!("{}:{nth}", step.name());
    let status = start(dir.path(), Some(&stop), 0).wait().unwrap();
    assert_eq!(status.signal(), Some(9), "{stop} was not reached: {status}");
    if loses_index {
        for suffix in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(dir.path().join(format!("index.sqlite{suffix}")));
        }
    }
    assert_readable(dir.path(), committed(dir.path()));
    assert!(start(dir.path(), None, 0).wait().unwrap().success(), "after {stop}");
    assert_readable(dir.path(), 0..ITEM_COUNT);
    if !is_network {
        // One pack is full and one is open, with its log; nothing is left over.
        assert_eq!((file_count(dir.path(), "packs"), file_count(dir.path(), "open")), (1, 2), "after {stop}");
    }
}

#[test]
fn a_process_killed_at_any_step_loses_nothing_committed() {
    for step in MACHINE {
        kill_at(step, 1, false, step == Step::PackLogWritten);
    }
    kill_at(Step::PackLogWritten, 3, false, false);
    kill_at(Step::PackIndexed, 4, false, true);
    for step in NETWORK {
        kill_at(step, 2, true, step == Step::WholePackRenamed);
    }
}

#[test]
fn every_step_of_the_store_is_killed_at() {
    let of_the_store = |step: &&Step| step.name().starts_with("pack-") || step.name().starts_with("whole-pack-");
    for step in Step::ALL.iter().filter(of_the_store) {
        assert!(MACHINE.contains(step) || NETWORK.contains(step), "{}", step.name());
    }
}

#[test]
fn two_processes_writing_at_once_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let children = [0, 150].map(|first| start(dir.path(), None, first));
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_readable(dir.path(), 0..150 + ITEM_COUNT);
    fs::remove_file(dir.path().join("index.sqlite")).unwrap();
    assert_readable(dir.path(), 0..150 + ITEM_COUNT);
}

#[test]
fn after_a_power_loss_records_without_their_bytes_keep_nobody_from_storing_again() {
    let dir = tempfile::tempdir().unwrap();
    // Committed, never synced, and then half of the bytes are gone although the log is there.
    start(dir.path(), Some("pack-indexed:2"), 0).wait().unwrap();
    let pack = fs::read_dir(dir.path().join("store/open"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "pack"))
        .unwrap();
    fs::OpenOptions::new().write(true).open(&pack).unwrap().set_len(30 * ITEM_LEN as u64 + 5).unwrap();
    let store = open(dir.path());
    let id = |n| ItemId::from(ChunkHash::of(&item(n)));
    assert!(store.has(&id(29)).unwrap());
    assert!(!store.has(&id(30)).unwrap());
    assert!(matches!(store.read(&id(30), &mut Vec::new()), Err(ReadError::Damaged { path, .. }) if path == pack));
    drop(store);
    assert!(start(dir.path(), None, 0).wait().unwrap().success());
    assert_readable(dir.path(), 0..ITEM_COUNT);
}

#[test]
fn what_another_process_commits_is_found_by_a_store_that_is_open_already() {
    for is_network in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        if is_network {
            fs::write(dir.path().join("is-network"), "").unwrap();
        }
        let here = open(dir.path());
        let id = |n| ItemId::from(ChunkHash::of(&item(n)));
        assert!(!here.has(&id(0)).unwrap());
        assert!(start(dir.path(), None, 0).wait().unwrap().success());
        let mut plain = Vec::new();
        for n in [0, ITEM_COUNT - 1] {
            here.read(&id(n), &mut plain).unwrap();
            assert!(plain == item(n) && here.has(&id(n)).unwrap());
        }
    }
}

#[test]
fn two_writers_one_of_them_killed_and_a_reader_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let reader = open(dir.path());
    let mut killed = start(dir.path(), Some("pack-log-written:3"), 0);
    let mut other = start(dir.path(), None, 4 * COMMIT_EVERY);
    let mut plain = Vec::new();
    loop {
        for n in committed(dir.path()).into_iter().step_by(13) {
            let id = ItemId::from(ChunkHash::of(&item(n)));
            reader.read(&id, &mut plain).unwrap_or_else(|error| panic!("item {n}: {error}"));
            assert!(plain == item(n));
        }
        if other.try_wait().unwrap().is_some() {
            break;
        }
    }
    assert_eq!(killed.wait().unwrap().signal(), Some(9));
    assert!(other.wait().unwrap().success());
    assert!(start(dir.path(), None, 0).wait().unwrap().success(), "a writer that goes on");
    assert_readable(dir.path(), 0..4 * COMMIT_EVERY + ITEM_COUNT);
    committed(dir.path())
        .iter()
        .for_each(|n| reader.read(&ItemId::from(ChunkHash::of(&item(*n))), &mut plain).unwrap());
}

#[test]
fn a_pack_whose_sync_failed_is_never_gone_on_with_and_its_items_move_to_another() {
    // The first sync is that of the full pack, the second that of the one behind it.
    for nth in [1, 2] {
        let dir = tempfile::tempdir().unwrap();
        let failed = command(dir.path(), 0)
            .env(STOP, format!("fail@{}:{nth}", Step::PackPayloadSynced.name()))
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert_eq!(failed.code(), Some(101), "the sync did not fail");
        let open = dir.path().join("store/open");
        let names = |ending: &str| -> Vec<PathBuf> {
            let paths = fs::read_dir(&open).unwrap().map(|entry| entry.unwrap().path());
            paths.filter(|path| path.extension().is_some_and(|extension| extension == ending)).collect()
        };
        let doubts = names("doubt");
        assert_eq!(doubts.len(), 1);
        let pack = doubts[0].with_extension("pack");
        let before = fs::metadata(&pack).unwrap();
        // A writer that only commits goes on elsewhere. The index is no help: it may be deleted.
        fs::remove_file(dir.path().join("index.sqlite")).unwrap();
        start(dir.path(), Some("pack-indexed"), ITEM_COUNT).wait().unwrap();
        assert_eq!(fs::metadata(&pack).unwrap().modified().unwrap(), before.modified().unwrap());
        assert!(start(dir.path(), None, 0).wait().unwrap().success());
        assert!(!pack.exists() && names("doubt").is_empty());
        assert_readable(dir.path(), 0..ITEM_COUNT);
    }
}
