//! Pushes of histories that are not one straight line of whole commits.

use dits_tests::media::{MIB, noise};
use dits_tests::{Repo, Server, World};

/// A repository of three takes, each an edit of one file, on the server.
fn three_takes<'w>(world: &'w World, server: &Server) -> Repo<'w> {
    let repo = world.repo("film");
    for take in 0..3 {
        repo.write("take.bin", noise(take, 2 * MIB));
        repo.commit("a take");
    }
    repo.push_to(&server.url("film"));
    repo
}

/// Clones with more arguments, adds a take, and pushes it.
fn push_from_clone(world: &World, server: &Server, args: &[&str]) {
    let url = server.url("film");
    world.git(&[&["clone", "-q"], args, &[&url, "partly"]].concat()).ok();
    let partly = Repo::at(world, world.path("partly"));
    partly.holds("take.bin", &noise(2, 2 * MIB));
    partly.write("take.bin", noise(9, 2 * MIB));
    partly.commit("one more");
    partly.git(&["push", "-q", "origin", "main"]).ok();
    world.clone_of(&server.url("film"), "whole").holds("take.bin", &noise(9, 2 * MIB));
}

#[test]
fn a_shallow_clone_pushes() {
    let world = World::new();
    let server = world.serve();
    three_takes(&world, &server);
    push_from_clone(&world, &server, &["--depth", "1"]);
}

#[test]
fn a_partial_clone_pushes() {
    let world = World::new();
    let server = world.serve();
    three_takes(&world, &server);
    push_from_clone(&world, &server, &["--filter=blob:none"]);
}

#[test]
fn a_single_branch_clone_pushes() {
    let world = World::new();
    let server = world.serve();
    let repo = three_takes(&world, &server);
    repo.git(&["push", "-q", "origin", "main~1:refs/heads/other"]).ok();
    push_from_clone(&world, &server, &["--single-branch", "--branch", "main"]);
}

#[test]
fn branches_are_rewound_and_forced() {
    let world = World::new();
    let server = world.serve();
    let repo = three_takes(&world, &server);
    repo.git(&["reset", "-q", "--hard", "HEAD~2"]).ok();
    repo.git(&["push", "-q", "--force"]).ok();
    world.clone_of(&server.url("film"), "rewound").holds("take.bin", &noise(0, 2 * MIB));
    repo.write("take.bin", noise(7, 2 * MIB));
    repo.commit("another way");
    repo.git(&["push", "-q", "--force-with-lease"]).ok();
    world.clone_of(&server.url("film"), "forced").holds("take.bin", &noise(7, 2 * MIB));
}

#[test]
fn refs_are_deleted_and_media_of_a_deleted_branch_may_return() {
    let world = World::new();
    let server = world.serve();
    let repo = three_takes(&world, &server);
    repo.git(&["switch", "-q", "-c", "side"]).ok();
    repo.write("side.bin", noise(5, MIB));
    repo.commit("on the side");
    repo.git(&["push", "-q", "origin", "side"]).ok();
    repo.git(&["push", "-q", "origin", ":side"]).ok();
    repo.git(&["push", "-q", "--atomic", "origin", "side", "main:refs/heads/copy"]).ok();
    repo.git(&["push", "-q", "--delete", "origin", "side", "copy"]).ok();
    let refs = repo.git(&["ls-remote", "--heads", "origin"]).ok();
    assert_eq!(refs.lines().count(), 1, "{refs}");
}

#[test]
fn tags_of_commits_trees_and_blobs_are_pushed() {
    let world = World::new();
    let server = world.serve();
    let repo = three_takes(&world, &server);
    repo.write("tagged.bin", noise(6, MIB));
    repo.git(&["add", "tagged.bin"]).ok();
    let blob = repo.git(&["rev-parse", ":tagged.bin"]).ok();
    let tree = repo.git(&["write-tree"]).ok();
    repo.git(&["tag", "a-blob", &blob]).ok();
    repo.git(&["tag", "-a", "-m", "a tree", "a-tree", &tree]).ok();
    repo.git(&["tag", "-a", "-m", "a take", "a-commit", "HEAD~1"]).ok();
    repo.git(&["push", "-q", "--tags", "origin"]).ok();
    let other = world.clone_of(&server.url("film"), "other");
    other.git(&["checkout", "-q", "a-tree", "--", "tagged.bin"]).ok();
    other.holds("tagged.bin", &noise(6, MIB));
}

#[test]
fn a_mirror_pushes_every_ref() {
    let world = World::new();
    let server = world.serve();
    let repo = three_takes(&world, &server);
    repo.git(&["tag", "v1", "HEAD~1"]).ok();
    repo.git(&["branch", "old", "HEAD~2"]).ok();
    repo.git(&["push", "-q", "--mirror", &server.url("copy")]).ok();
    let other = world.clone_of(&server.url("copy"), "other");
    other.git(&["checkout", "-q", "v1"]).ok();
    other.holds("take.bin", &noise(1, 2 * MIB));
    other.git(&["checkout", "-q", "origin/old"]).ok();
    other.holds("take.bin", &noise(0, 2 * MIB));
}

#[test]
fn older_media_may_be_on_the_server_alone() {
    let world = World::new();
    let server = world.serve();
    three_takes(&world, &server);
    // This clone has the media of the last take only, and pushes a branch from before it.
    let other = world.clone_of(&server.url("film"), "other");
    other.git(&["branch", "older", "HEAD~1"]).ok();
    other.git(&["push", "-q", "origin", "older"]).ok();
    let merged = other.git(&["commit-tree", "-p", "HEAD~2", "-p", "HEAD", "-m", "merged", "HEAD^{tree}"]).ok();
    other.git(&["push", "-q", "origin", &format!("{merged}:refs/heads/merged")]).ok();
}

#[test]
fn a_merge_needs_the_media_of_both_sides() {
    let world = World::new();
    let server = world.serve();
    let repo = three_takes(&world, &server);
    repo.git(&["switch", "-q", "-c", "side", "HEAD~1"]).ok();
    repo.write("side.bin", noise(8, MIB));
    repo.commit("on the side");
    repo.git(&["switch", "-q", "main"]).ok();
    repo.git(&["merge", "-q", "--no-edit", "side"]).ok();
    repo.git(&["push", "-q"]).ok();
    let other = world.clone_of(&server.url("film"), "other");
    other.holds("side.bin", &noise(8, MIB));
    other.holds("take.bin", &noise(2, 2 * MIB));
}
