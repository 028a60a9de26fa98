//! A full disk shows as a clean failure, on either side, and nothing is lost.

use std::collections::BTreeSet;

use dits_core::pointer::Pointer;
use dits_core::steps::Step;
use dits_tests::media::{MIB, noise};
use dits_tests::needs::needs_root;
use dits_tests::processes::{go_on, stopped_in};
use dits_tests::small_disk::SmallDisk;
use dits_tests::{Done, Repo, Server, World};

const FULL: u64 = 8 * MIB as u64;
const ROOMY: u64 = 96 * MIB as u64;

#[test]
fn an_add_fails_cleanly_and_succeeds_once_there_is_room() {
    let world = World::new();
    let store = world.path("disk");
    if !needs_root() {
        return;
    }
    let Some(disk) = SmallDisk::mount(&store, FULL) else { return };
    let repo = world.repo("film");
    repo.git(&["config", "dits.storage", &disk.dir().join("dits").display().to_string()]).ok();
    let kept = noise(1, MIB);
    repo.write("kept.bin", &kept);
    repo.commit("while there was room");
    repo.write("large.bin", noise(2, 24 * MIB));
    let failed = repo.git(&["add", "large.bin"]);
    assert!(failed.fails().contains("No space left"), "{}", failed.story());
    assert_eq!(repo.git(&["ls-files", "large.bin"]).ok(), "", "nothing is staged");
    std::fs::remove_file(repo.dir().join("kept.bin")).expect("it is ours");
    repo.git(&["checkout", "-q", "--", "kept.bin"]).ok();
    repo.holds("kept.bin", &kept);
    disk.resize(ROOMY);
    repo.commit("now it fits");
    repo.write("large.bin", b"");
    repo.git(&["checkout", "-q", "--", "large.bin"]).ok();
    repo.holds("large.bin", &noise(2, 24 * MIB));
}

#[test]
fn a_push_fails_cleanly_and_succeeds_once_there_is_room() {
    let world = World::new();
    let root = world.path("disk");
    if !needs_root() {
        return;
    }
    let Some(disk) = SmallDisk::mount(&root, FULL) else { return };
    let server = Server::start(&world, &disk.dir().join("server"), &[]);
    let repo = world.repo("film");
    repo.push_to(&server.url("film"));
    repo.write("large.bin", noise(3, 24 * MIB));
    repo.commit("more than the server can take");
    let failed = repo.git(&["push", "-q"]);
    assert!(failed.fails().contains("error: "), "{}", failed.story());
    world.clone_of(&server.url("film"), "before");
    disk.resize(ROOMY);
    repo.git(&["push", "-q"]).ok();
    world.clone_of(&server.url("film"), "after").holds("large.bin", &noise(3, 24 * MIB));
    // The server must be gone before its disk is.
    server.stop();
}

/// A take of 24 MiB and one of 1 MiB, pushed.
fn pushed_takes<'w>(world: &'w World, server: &Server) -> Repo<'w> {
    let repo = world.repo("film");
    repo.write("kept.bin", noise(4, MIB));
    repo.write("large.bin", noise(5, 24 * MIB));
    repo.commit("two takes");
    repo.push_to(&server.url("film"));
    repo
}

#[test]
fn a_clone_into_a_full_store_leaves_pointers_and_goes_on_once_there_is_room() {
    let world = World::new();
    let store = world.path("disk");
    if !needs_root() {
        return;
    }
    let Some(disk) = SmallDisk::mount(&store, FULL) else { return };
    let server = world.serve();
    pushed_takes(&world, &server);
    let storage = format!("dits.storage={}", disk.dir().join("dits").display());
    let clone = world.git(&["clone", "-q", "-c", &storage, &server.url("film"), "other"]);
    assert!(clone.err().contains("No space left") && clone.err().contains("large.bin"), "{}", clone.story());
    let other = Repo::at(&world, world.path("other"));
    assert!(Pointer::parse(&other.read("large.bin")).is_some(), "{}", clone.story());
    assert_eq!(other.status(), "", "a pointer in the place of its file is no change");
    // Once more while nothing has changed: it fails, and breaks nothing.
    assert!(other.git(&["dits", "pull"]).fails().contains("No space left"));
    assert!(Pointer::parse(&other.read("large.bin")).is_some());
    disk.resize(ROOMY);
    other.git(&["dits", "pull"]).ok();
    other.holds("large.bin", &noise(5, 24 * MIB));
    other.holds("kept.bin", &noise(4, MIB));
    assert_eq!(other.status(), "");
}

/// Clones into a small disk, with the store elsewhere: only the work tree is short of room.
fn clone_to_disk<'w>(world: &'w World, disk: &SmallDisk, server: &Server, env: &[(&str, &str)]) -> (Done, Repo<'w>) {
    let (git_dir, dir) = (world.path("git-dir").display().to_string(), disk.dir().join("other"));
    let to = dir.display().to_string();
    let call = world.call("git").args(["clone", "-q", "--separate-git-dir", &git_dir, &server.url("film"), &to]);
    let clone = env.iter().fold(call, |call, (name, value)| call.env(name, value)).run();
    (clone, Repo::at(world, dir))
}

fn names_in(repo: &Repo<'_>) -> BTreeSet<String> {
    let entries = std::fs::read_dir(repo.dir()).expect("it was cloned").flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_checkout_into_a_full_work_tree_is_named_and_goes_on_once_there_is_room() {
    let world = World::new();
    let tree = world.path("disk");
    if !needs_root() {
        return;
    }
    let Some(disk) = SmallDisk::mount(&tree, FULL) else { return };
    let server = world.serve();
    pushed_takes(&world, &server);
    let (clone, other) = clone_to_disk(&world, &disk, &server, &[]);
    clone.ok();
    assert!(clone.err().contains("large.bin is left as a pointer"), "{}", clone.story());
    assert!(clone.err().contains("No space left") && clone.err().contains("git dits pull"), "{}", clone.story());
    assert!(Pointer::parse(&other.read("large.bin")).is_some());
    assert_eq!(names_in(&other), [".git", ".gitattributes", "kept.bin", "large.bin"].map(str::to_owned).into());
    assert_eq!(other.status(), "", "a pointer in the place of its file is no change");
    disk.resize(ROOMY);
    other.git(&["dits", "pull"]).ok();
    other.holds("large.bin", &noise(5, 24 * MIB));
    other.holds("kept.bin", &noise(4, MIB));
    assert_eq!(other.status(), "");
}

#[test]
fn a_pull_into_a_full_work_tree_leaves_the_pointer_and_no_part_of_the_file() {
    let world = World::new();
    let tree = world.path("disk");
    if !needs_root() {
        return;
    }
    let Some(disk) = SmallDisk::mount(&tree, FULL) else { return };
    let server = world.serve();
    pushed_takes(&world, &server);
    let (clone, other) = clone_to_disk(&world, &disk, &server, &[("GIT_DITS_SKIP_SMUDGE", "1")]);
    clone.ok();
    let before = names_in(&other);
    let pull = other.git(&["dits", "pull"]);
    assert!(pull.fails().contains("No space left") && pull.err().contains("large.bin"), "{}", pull.story());
    assert!(Pointer::parse(&other.read("large.bin")).is_some());
    assert_eq!(names_in(&other), before, "nothing of Dits' own is left");
    assert_eq!(other.status(), "", "a pointer in the place of its file is no change");
    disk.resize(ROOMY);
    other.git(&["dits", "pull"]).ok();
    other.holds("large.bin", &noise(5, 24 * MIB));
    other.holds("kept.bin", &noise(4, MIB));
    assert_eq!(other.status(), "");
}

#[test]
fn a_dehydration_that_cannot_note_what_it_does_ends_and_tells_what_is_done() {
    let world = World::new();
    let repo = world.repo("film");
    if !needs_root() {
        return;
    }
    let Some(disk) = SmallDisk::mount(&repo.dir().join(".git/dits/hydration"), 64 * 1024) else { return };
    // The notes of this one need more than what is left of the block that the journal has.
    let late = format!("{}/late.bin", ["d".repeat(200).as_str(); 14].join("/"));
    repo.write("a.bin", noise(6, MIB));
    repo.write(&late, noise(7, MIB));
    repo.commit("takes");
    let dehydrate = repo.call(&["dits", "dehydrate", "--json", "."]).pause_at(Step::HydrationCleared.name()).start();
    let stopped = stopped_in(dehydrate.group());
    let filler = disk.dir().join("filler");
    std::fs::write(&filler, vec![0; 64 * 1024]).expect_err("the journal takes some of it");
    go_on(stopped);
    let done = dehydrate.finish();
    assert!(done.fails().contains("No space left"), "{}", done.story());
    let facts: serde_json::Value = serde_json::from_slice(&done.stdout).expect("JSON");
    assert_eq!(facts["dehydrated"], serde_json::json!(["a.bin"]), "{}", done.story());
    repo.holds(&late, &noise(7, MIB));
    assert_eq!(repo.status(), "", "git was told, too");
    std::fs::remove_file(&filler).expect("it is ours");
    repo.git(&["dits", "pull"]).ok();
    repo.holds("a.bin", &noise(6, MIB));
    assert_eq!(std::fs::read_dir(disk.dir()).expect("it is there").count(), 0, "nothing is left to do");
}
