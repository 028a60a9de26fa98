//! Disks that take media and do not keep it: what was added is brought to safety, or named.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use dits_core::steps::Step;
use dits_tests::media::{MIB, noise};
use dits_tests::{Repo, Server, World};

/// Writes a file that is so old that git need not look at its content twice.
fn write_old(repo: &Repo<'_>, path: &str, content: &[u8]) {
    repo.write(path, content);
    let file = File::options().write(true).open(repo.dir().join(path)).expect("it was just written");
    file.set_modified(SystemTime::now() - Duration::from_secs(3600)).expect("it is ours");
}

/// Adds files with a disk that fails the sync at `step`, and commits them.
fn add_on_a_bad_disk(repo: &Repo<'_>, paths: &[&str], step: Step) {
    let added = repo.call(&[&["add"], paths].concat()).stop_at(&format!("fail@{}", step.name())).run();
    assert!(added.err().contains("what was added may not survive a power loss"), "{}", added.story());
    let refused = repo.git(&["commit", "-q", "-m", "on a bad disk"]).fails();
    assert!(refused.contains("the store could not be synced"), "{refused}");
    repo.git(&["commit", "-q", "--no-verify", "-m", "on a bad disk"]).ok();
}

fn open_packs(repo: &Repo<'_>, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(repo.store().join("open")).expect("the folder is there");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == ending));
    paths
}

/// The pack that a failed sync left in doubt.
fn doubted(repo: &Repo<'_>) -> PathBuf {
    let marks = open_packs(repo, "doubt");
    assert_eq!(marks.len(), 1, "{marks:?}");
    marks[0].with_extension("pack")
}

fn overwrite(path: &PathBuf) {
    let len = fs::metadata(path).expect("it is there").len();
    fs::write(path, vec![0; len as usize]).expect("it is ours");
}

fn is_refused(repo: &Repo<'_>) {
    let refused = repo.git(&["push", "-q"]).fails();
    assert!(refused.contains("media that was added is not safely on the disk"), "{refused}");
    assert!(refused.contains("hint: see to the disk, then run `git add --renormalize .`"), "{refused}");
}

fn is_pushed(repo: &Repo<'_>, clone: &str) -> PathBuf {
    repo.git(&["push", "-q"]).ok();
    assert!(!repo.store().join("unsynced").exists());
    let url = repo.git(&["remote", "get-url", "origin"]).ok();
    repo.world().clone_of(url.trim(), clone).dir().to_owned()
}

#[test]
fn what_a_failed_sync_left_in_doubt_is_stored_again_by_the_next_add() {
    let world = World::new();
    let repo = world.repo("film");
    repo.push_to(&format!("dits::{}", world.bare("nas.git").display()));
    for (seed, step) in [(1, Step::PackPayloadSynced), (2, Step::PackLogSynced)] {
        let content = noise(seed, 3 * MIB);
        write_old(&repo, "take.bin", &content);
        add_on_a_bad_disk(&repo, &["take.bin"], step);
        let pack = doubted(&repo);
        is_refused(&repo);
        repo.git(&["add", "--renormalize", "take.bin"]).ok();
        assert!(!pack.exists() && open_packs(&repo, "doubt").is_empty(), "it reads well, and may be gone tomorrow");
        repo.write("take.bin", b"");
        repo.git(&["reset", "-q", "--hard"]).ok();
        repo.holds("take.bin", &content);
        let clone = is_pushed(&repo, step.name());
        assert!(fs::read(clone.join("take.bin")).expect("readable") == content);
    }
}

#[test]
fn what_a_failed_sync_lost_is_stored_again_from_the_files_and_pushes_wait_for_it() {
    let world = World::new();
    let repo = world.repo("film");
    repo.push_to(&format!("dits::{}", world.bare("nas.git").display()));
    let files = [("a.bin", noise(1, 2 * MIB)), ("b.bin", noise(2, 2 * MIB))];
    files.iter().for_each(|(path, content)| write_old(&repo, path, content));
    add_on_a_bad_disk(&repo, &["a.bin", "b.bin"], Step::PackPayloadSynced);
    let pack = doubted(&repo);
    // What the system did not write is gone with the page cache.
    overwrite(&pack);
    let added = repo.git(&["add", "--renormalize", "a.bin"]);
    assert!(added.err().contains("and some of it is lost"), "{}", added.story());
    assert_eq!(fs::read_to_string(doubted(&repo).with_extension("doubt")).expect("readable"), "given up\n");
    is_refused(&repo);
    repo.git(&["add", "--renormalize", "b.bin"]).ok();
    assert!(!pack.exists(), "everything in it is elsewhere now");
    let clone = is_pushed(&repo, "clone");
    for (path, content) in &files {
        assert!(fs::read(clone.join(path)).expect("readable") == *content);
    }
    write_old(&repo, "c.bin", &noise(3, MIB));
    let added = repo.git(&["add", "c.bin"]);
    assert_eq!((added.ok(), added.err()), (String::new(), String::new()), "nothing is missing any more");
}

#[test]
fn content_stays_in_the_work_tree_until_the_store_is_synced() {
    let world = World::new();
    let repo = world.repo("film");
    let content = noise(5, 2 * MIB);
    write_old(&repo, "take.bin", &content);
    add_on_a_bad_disk(&repo, &["take.bin"], Step::PackPayloadSynced);
    let stays = || {
        let refused = repo.git(&["dits", "dehydrate", "."]);
        assert_eq!(refused.status.code(), Some(3), "{}", refused.story());
        assert!(refused.err().contains("the local store could not be synced"), "{}", refused.story());
        repo.holds("take.bin", &content);
        assert!(repo.store().join("unsynced").exists());
    };
    stays();
    // Without the mark, what is in doubt is looked at, and what the system did not write is not there.
    fs::remove_file(repo.store().join("unsynced")).expect("it is ours");
    overwrite(&doubted(&repo));
    stays();
    repo.git(&["add", "--renormalize", "."]).ok();
    repo.git(&["dits", "dehydrate", "."]).ok();
    repo.git(&["dits", "checkout"]).ok();
    repo.holds("take.bin", &content);
}

#[test]
fn a_server_goes_on_after_a_failed_sync_and_says_held_only_of_what_is_safe() {
    let world = World::new();
    let root = world.path("server");
    let fail = format!("fail@{}", Step::PackPayloadSynced.name());
    let server = Server::start(&world, &root, &[("DITS_STOP_AT", &fail)]);
    let repo = world.repo("film");
    let content = noise(4, 3 * MIB);
    repo.write("take.bin", &content);
    repo.commit("a take");
    repo.git(&["remote", "add", "origin", &server.url("film")]).ok();
    // Whether the helper tries once more by itself is its own affair.
    let first = repo.git(&["push", "-q", "-u", "origin", "HEAD"]);
    if !first.status.success() {
        repo.git(&["push", "-q", "-u", "origin", "HEAD"]).ok();
    }
    let log = server.log();
    let (_, named) = log.split_once("/store/open/").unwrap_or_else(|| panic!("no sync failed: {log}"));
    assert!(named[37..].starts_with(": Input/output error"), "{named}");
    let open = fs::read_dir(root.join("store/open")).expect("the folder is there");
    let names: Vec<_> = open.map(|entry| entry.expect("readable").file_name().into_string().expect("text")).collect();
    assert!(!names.iter().any(|name| name.ends_with(".doubt") || name.starts_with(&named[..32])), "{names:?}");
    world.clone_of(&server.url("film"), "clone").holds("take.bin", &content);
}
