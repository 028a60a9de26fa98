//! A full disk shows as a clean failure, on either side, and nothing is lost.

use dits_tests::media::{MIB, noise};
use dits_tests::needs::needs_root;
use dits_tests::small_disk::SmallDisk;
use dits_tests::{Server, World};

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
