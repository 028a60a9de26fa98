//! More than one work tree, and work trees of which only a part is there.

use dits_tests::{Repo, World};

use super::scene::{LARGE, NOTES, SIDE, SMALL, Scene, side, take, with};

#[test]
fn worktrees_are_added_moved_and_removed() {
    let world = World::new();
    let scene = Scene::new(&world);
    let second = Scene::at(Repo::at(&world, world.path("second")));
    let add = ["worktree", "add", "-q", "../second", "side"];
    second.after_call(scene.repo().call(&add)).shows(&with(take(1), side()), "");
    second.after(&["switch", "-q", "--detach", "take-0"]).shows(&take(0), "");
    scene.after(&["worktree", "list"]).shows(&take(2), "");
    let third = Scene::at(Repo::at(&world, world.path("third")));
    third.after_call(scene.repo().call(&["worktree", "move", "../second", "../third"])).shows(&take(0), "");
    third.write(SMALL, b"edited");
    let refused = scene.repo().git(&["worktree", "remove", "../third"]);
    assert!(refused.fails().contains("modified or untracked"), "{}", refused.story());
    third.git(&["checkout", "-q", "--", "."]);
    scene.after(&["worktree", "remove", "../third"]).shows(&take(2), "");
    assert!(!third.repo().dir().exists());
}

/// Turns on a sparse checkout, with and without cones, and off again.
fn is_sparse_and_whole_again(scene: &Scene<'_>, set: &[&str]) {
    let only_notes = take(2)[2..].to_vec();
    scene.after(set).shows(&only_notes, "");
    assert!(!scene.repo().dir().join(LARGE).exists());
    scene.after(&["switch", "-q", "--detach", "take-1"]).shows(&take(1)[2..].to_vec(), "");
    assert!(!scene.repo().dir().join(LARGE).exists());
    scene.git(&["switch", "-q", "main"]);
    scene.after(&["sparse-checkout", "disable"]).shows(&take(2), "");
}

#[test]
fn sparse_checkout_by_patterns() {
    let world = World::new();
    let scene = Scene::new(&world);
    is_sparse_and_whole_again(&scene, &["sparse-checkout", "set", "--no-cone", "/*", "!*.bin"]);
    scene.git(&["sparse-checkout", "set", "--no-cone", "*.txt"]);
    scene.after(&["sparse-checkout", "add", "*.bin"]).shows(&take(2), "");
}

#[test]
fn sparse_checkout_by_cones() {
    let world = World::new();
    let scene = Scene::new(&world);
    scene.after(&["sparse-checkout", "set", "--cone"]).shows(&take(2)[1..].to_vec(), "");
    assert!(!scene.repo().dir().join(LARGE).exists());
    scene.after(&["switch", "-q", "side"]).shows(&with(take(1)[1..].to_vec(), side()), "");
    scene.after(&["sparse-checkout", "set", "shots"]).shows(&with(take(1), side()), "");
    scene.after(&["sparse-checkout", "reapply"]).shows(&with(take(1), side()), "");
    scene.after(&["sparse-checkout", "disable"]).shows(&with(take(1), side()), "");
}

#[test]
fn sparse_index() {
    let world = World::new();
    let scene = Scene::new(&world);
    let there = take(2)[1..].to_vec();
    scene.after(&["sparse-checkout", "set", "--cone", "--sparse-index"]).shows(&there, "");
    assert!(scene.git(&["ls-files", "--sparse"]).contains("shots/\n"), "the folder is one entry");
    scene.after(&["switch", "-q", "side"]).shows(&with(take(1)[1..].to_vec(), side()), "");
    scene.remove(SIDE);
    scene.after(&["checkout", "-q", "--", SIDE]).shows(&with(take(1)[1..].to_vec(), side()), "");
    scene.after(&["switch", "-q", "main"]).shows(&there, "");
    assert!(scene.git(&["ls-files", "--sparse"]).contains("shots/\n"), "the folder is one entry");
    scene.after(&["sparse-checkout", "disable"]).shows(&take(2), "");
    assert!(scene.repo().dir().join(NOTES).exists());
}
