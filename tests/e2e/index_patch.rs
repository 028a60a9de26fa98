//! Git's index on a disk that does not take a new one stays what it is, and no lock stays there.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use dits_core::hash::FileHash;
use dits_core::pointer::Pointer;
use dits_core::repo::Repository;
use dits_core::repo::environment::Environment;
use dits_core::repo::index_stat::{FileTime, NotPatched, Restat, patch};
use dits_tests::World;
use dits_tests::media::MIB;
use dits_tests::needs::needs_root;
use dits_tests::small_disk::SmallDisk;

const CONTENT: &[u8] = b"not as long as the pointer";

/// A repository with a hydrated file, of which the index does not know, on `disk`.
fn hydrated(world: &World, disk: &Path) -> (Repository, [Restat; 1]) {
    let repo = world.repo("film");
    let pointer = Pointer { oid: FileHash::of(CONTENT), size: CONTENT.len() as u64 };
    repo.write("take.bin", pointer.to_string());
    repo.git(&["add", "take.bin"]).ok();
    fs::copy(repo.dir().join(".git/index"), disk.join("index")).expect("copied");
    repo.write("take.bin", CONTENT);
    let meta = repo.dir().join("take.bin").metadata().expect("there");
    let modified = FileTime { seconds: meta.mtime(), nanoseconds: meta.mtime_nsec() as u32 };
    let file = Restat { path: "take.bin".into(), pointer, size: meta.len(), inode: meta.ino(), modified };
    let env = Environment::new([("GIT_INDEX_FILE".into(), disk.join("index").into_os_string())]);
    (Repository::discover(repo.dir(), env).expect("a repository"), [file])
}

/// Patching fails for what the system says, and leaves the index and no lock.
fn is_left_alone(repo: &Repository, files: &[Restat], disk: &SmallDisk, said: rustix::io::Errno) {
    let index = disk.dir().join("index");
    let before = (fs::read(&index).expect("read"), index.metadata().expect("there").ino());
    match patch(repo, files) {
        Err(NotPatched::Io { source, .. }) => assert_eq!(source.raw_os_error(), Some(said.raw_os_error())),
        other => panic!("{other:?}"),
    }
    assert_eq!((fs::read(&index).expect("read"), index.metadata().expect("there").ino()), before);
    assert!(!disk.dir().join("index.lock").exists());
}

#[test]
fn an_index_on_a_full_disk_is_left_alone_and_patched_once_there_is_room() {
    let world = World::new();
    if !needs_root() {
        return;
    }
    let Some(disk) = SmallDisk::mount(&world.path("disk"), MIB as u64) else { return };
    let (repo, files) = hydrated(&world, disk.dir());
    fs::write(disk.dir().join("ballast"), vec![1; 2 * MIB]).expect_err("it is full");
    is_left_alone(&repo, &files, &disk, rustix::io::Errno::NOSPC);
    disk.resize(8 * MIB as u64);
    assert_eq!(patch(&repo, &files).expect("patched"), 1);
}

#[test]
fn an_index_on_a_disk_that_only_reads_is_left_alone() {
    let world = World::new();
    if !needs_root() {
        return;
    }
    let Some(disk) = SmallDisk::mount(&world.path("disk"), MIB as u64) else { return };
    let (repo, files) = hydrated(&world, disk.dir());
    disk.only_read();
    is_left_alone(&repo, &files, &disk, rustix::io::Errno::ROFS);
}
