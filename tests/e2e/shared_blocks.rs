//! On a file system that shares blocks, a checkout writes no data.

use std::path::Path;
use std::time::{Duration, Instant};

use dits_tests::World;
use dits_tests::media::{MIB, noise};
use dits_tests::needs::needs_root;
use dits_tests::small_disk::SmallDisk;

/// Bytes in use on the file system of `dir`.
fn used(dir: &Path) -> u64 {
    // Of this file system alone: others have much to write while tests run.
    rustix::fs::syncfs(std::fs::File::open(dir).expect("the disk is mounted")).expect("the disk takes it");
    let stat = rustix::fs::statvfs(dir).expect("the disk is mounted");
    (stat.f_blocks - stat.f_bfree) * stat.f_frsize
}

#[test]
fn a_long_file_is_checked_out_without_a_copy_of_its_data() {
    let world = World::new();
    if !needs_root() {
        return;
    }
    let Some(disk) = SmallDisk::sharing_blocks(&world.path("disk"), 512 * MIB as u64) else { return };
    let repo = world.repo("disk/film");
    // A head that would shrink, as sample tables do, and a length that is no multiple of a block.
    let content = [vec![7; 100_000], noise(1, 80 * MIB), vec![1; 777]].concat();
    repo.write("take.bin", &content);
    repo.commit("a take");
    let before = used(disk.dir());
    std::fs::remove_file(repo.dir().join("take.bin")).expect("it is ours");
    // The file system takes its time to free what was removed.
    let started = Instant::now();
    while before - used(disk.dir()) < 70 * MIB as u64 {
        assert!(started.elapsed() < Duration::from_secs(60), "the content was there twice: {before}");
        std::thread::sleep(Duration::from_millis(50));
    }
    let without = used(disk.dir());
    repo.git(&["checkout", "-q", "--", "take.bin"]).ok();
    repo.holds("take.bin", &content);
    let after = used(disk.dir());
    assert!(after - without < 2 * MIB as u64, "the checkout took {} bytes", after - without);
    // The store's copy is another file: a save does not reach it.
    let mut saved = content.clone();
    saved[50 * MIB] ^= 1;
    repo.write("take.bin", &saved);
    repo.git(&["checkout", "-q", "--", "take.bin"]).ok();
    repo.holds("take.bin", &content);
    assert_eq!(repo.git(&["status", "--porcelain"]).ok(), "");
}
