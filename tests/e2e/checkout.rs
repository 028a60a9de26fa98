//! `git checkout` and everything else that writes a work tree.

use std::os::unix::fs::PermissionsExt;

use dits_core::pointer::Pointer;
use dits_tests::media::{MIB, noise};
use dits_tests::{Repo, World};

/// Two branches that differ in a small and in a large file.
fn two_versions(world: &World) -> (Repo<'_>, [Vec<u8>; 2], [Vec<u8>; 2]) {
    let repo = world.repo("film");
    let small = [noise(1, 40_000), noise(2, 50_000)];
    let large = [noise(3, 3 * MIB), noise(4, 2 * MIB)];
    for version in 0..2 {
        repo.write("small.bin", &small[version]);
        repo.write("large.bin", &large[version]);
        repo.commit("a version");
        repo.git(&["branch", &format!("v{version}")]).ok();
    }
    (repo, small, large)
}

#[test]
fn switching_branches_brings_each_version_whole() {
    let world = World::new();
    let (repo, small, large) = two_versions(&world);
    for version in [0, 1, 0] {
        repo.git(&["switch", "-q", &format!("v{version}")]).ok();
        repo.holds("small.bin", &small[version]);
        repo.holds("large.bin", &large[version]);
        assert_eq!(repo.status(), "");
    }
}

#[test]
fn every_command_that_writes_files_writes_them_whole() {
    let world = World::new();
    let (repo, small, large) = two_versions(&world);
    repo.write("small.bin", b"spoilt");
    repo.write("large.bin", b"spoilt");
    repo.git(&["reset", "-q", "--hard"]).ok();
    repo.holds("large.bin", &large[1]);
    repo.git(&["restore", "--source", "v0", "large.bin", "small.bin"]).ok();
    repo.holds("large.bin", &large[0]);
    repo.git(&["stash", "-q"]).ok();
    repo.holds("large.bin", &large[1]);
    repo.git(&["stash", "pop", "-q"]).ok();
    repo.holds("large.bin", &large[0]);
    repo.holds("small.bin", &small[0]);
    repo.git(&["reset", "-q", "--hard"]).ok();
    repo.git(&["worktree", "add", "-q", "../second", "v0"]).ok();
    let second = Repo::at(&world, world.path("second"));
    second.holds("large.bin", &large[0]);
    assert_eq!(second.status(), "");
    repo.git(&["checkout", "-q", "--detach", "v0"]).ok();
    repo.write("notes.txt", "n");
    repo.commit("beside");
    repo.git(&["rebase", "-q", "v1"]).ok();
    repo.holds("large.bin", &large[1]);
}

#[test]
fn an_edit_of_the_same_size_is_seen_right_after_a_checkout() {
    let world = World::new();
    let (repo, _, large) = two_versions(&world);
    repo.git(&["switch", "-q", "v0"]).ok();
    let mut edited = large[0].clone();
    edited[MIB] ^= 1;
    repo.write("large.bin", &edited);
    assert_eq!(repo.status(), " M large.bin");
}

#[test]
fn an_archive_holds_content() {
    let world = World::new();
    let (repo, _, large) = two_versions(&world);
    let archive = repo.git(&["archive", "--format=tar", "HEAD", "large.bin"]);
    archive.ok();
    let file = world.call("tar").args(["-xO"]).input(archive.stdout).run();
    assert!(file.stdout == large[1]);
}

#[test]
fn the_executable_bit_is_kept() {
    let world = World::new();
    let repo = world.repo("film");
    let content = noise(5, 2 * MIB);
    repo.write("tool.bin", &content);
    std::fs::set_permissions(repo.dir().join("tool.bin"), PermissionsExt::from_mode(0o755)).expect("it is ours");
    repo.commit("a tool");
    std::fs::remove_file(repo.dir().join("tool.bin")).expect("it is ours");
    repo.git(&["checkout", "-q", "--", "tool.bin"]).ok();
    repo.holds("tool.bin", &content);
    let mode = repo.dir().join("tool.bin").metadata().expect("it is there").permissions().mode();
    assert_eq!(mode & 0o111, 0o111, "mode is {mode:o}");
}

#[test]
fn a_symlink_in_the_place_of_a_file_is_not_followed() {
    let world = World::new();
    let repo = world.repo("film");
    repo.write("shots/a.bin", noise(6, 2 * MIB));
    repo.commit("a shot");
    let outside = world.path("outside");
    std::fs::create_dir(&outside).expect("the folder is ours");
    std::fs::remove_dir_all(repo.dir().join("shots")).expect("the folder is ours");
    std::os::unix::fs::symlink(&outside, repo.dir().join("shots")).expect("the folder is ours");
    repo.git(&["checkout", "-q", "--", "shots/a.bin"]).ok();
    assert_eq!(std::fs::read_dir(&outside).expect("it is there").count(), 0, "nothing is written outside");
    repo.holds("shots/a.bin", &noise(6, 2 * MIB));
}

#[test]
fn media_that_is_nowhere_leaves_its_pointer_and_says_so() {
    let world = World::new();
    let repo = world.repo("film");
    repo.write("lost.bin", noise(7, 2 * MIB));
    repo.write("kept.txt", "text");
    repo.commit("two files");
    std::fs::remove_dir_all(repo.store()).expect("the store is there");
    std::fs::remove_file(repo.dir().join("lost.bin")).expect("it is ours");
    std::fs::remove_file(repo.dir().join("kept.txt")).expect("it is ours");
    let checkout = repo.git(&["checkout", "-q", "--", "."]);
    checkout.ok();
    assert!(checkout.err().contains("lost.bin") && checkout.err().contains("git dits pull"), "{}", checkout.story());
    assert!(Pointer::parse(&repo.read("lost.bin")).is_some());
    repo.holds("kept.txt", b"text");
    std::fs::remove_file(repo.dir().join("lost.bin")).expect("it is ours");
    let strict = repo.git(&["-c", "dits.onMissing=fail", "checkout", "-q", "--", "lost.bin"]);
    assert!(strict.fails().contains("lost.bin"));
}
