//! Several at once.

use dits_tests::media::{MIB, noise};
use dits_tests::{Repo, World};

#[test]
fn two_adds_at_once_share_one_store() {
    let world = World::new();
    let repo = world.repo("film");
    let shared = noise(0, 4 * MIB);
    let trees: Vec<_> = (0..3).map(|n| work_tree(&world, &repo, n)).collect();
    for (n, tree) in trees.iter().enumerate() {
        tree.write("shared.bin", &shared);
        tree.write("own.bin", noise(n as u64 + 1, 4 * MIB));
    }
    let adds: Vec<_> = trees.iter().map(|tree| tree.call(&["add", "-A"]).start()).collect();
    for add in adds {
        add.finish().ok();
    }
    for (n, tree) in trees.iter().enumerate() {
        tree.git(&["commit", "-q", "-m", "added at once"]).ok();
        tree.write("shared.bin", b"");
        tree.write("own.bin", b"");
        tree.git(&["reset", "-q", "--hard"]).ok();
        tree.holds("shared.bin", &shared);
        tree.holds("own.bin", &noise(n as u64 + 1, 4 * MIB));
    }
}

fn work_tree<'w>(world: &'w World, repo: &Repo<'w>, n: usize) -> Repo<'w> {
    let (name, path) = (format!("tree{n}"), format!("../tree{n}"));
    repo.git(&["worktree", "add", "-q", "-b", &name, &path]).ok();
    Repo::at(world, world.path(&name))
}

#[test]
fn two_pushes_at_once_of_the_same_media_both_arrive() {
    let world = World::new();
    let server = world.serve();
    let first = world.repo("first");
    first.push_to(&server.url("film"));
    let clones: Vec<_> = (0..3).map(|n| world.clone_of(&server.url("film"), &format!("clone{n}"))).collect();
    for (n, clone) in clones.iter().enumerate() {
        clone.git(&["switch", "-q", "-c", &format!("side{n}")]).ok();
        clone.write("shared.bin", noise(0, 4 * MIB));
        clone.write("own.bin", noise(n as u64 + 1, 2 * MIB));
        clone.commit("a take");
    }
    let pushes: Vec<_> = clones.iter().map(|clone| clone.call(&["push", "-q", "origin", "HEAD"]).start()).collect();
    for push in pushes {
        push.finish().ok();
    }
    let other = world.clone_of(&server.url("film"), "other");
    for n in 0..3 {
        other.git(&["switch", "-q", &format!("side{n}")]).ok();
        other.holds("shared.bin", &noise(0, 4 * MIB));
        other.holds("own.bin", &noise(n + 1, 2 * MIB));
    }
}

#[test]
fn of_two_pushes_to_one_branch_one_wins_and_the_other_can_follow() {
    let world = World::new();
    let server = world.serve();
    world.repo("first").push_to(&server.url("film"));
    let clones: Vec<_> = (0..2).map(|n| world.clone_of(&server.url("film"), &format!("clone{n}"))).collect();
    for (n, clone) in clones.iter().enumerate() {
        clone.write(&format!("{n}.bin"), noise(n as u64, 2 * MIB));
        clone.commit("a take");
    }
    let pushes: Vec<_> = clones.iter().map(|clone| clone.call(&["push", "-q"]).start()).collect();
    let won: Vec<_> = pushes.into_iter().map(|push| push.finish().status.success()).collect();
    assert_eq!(won.iter().filter(|won| **won).count(), 1, "{won:?}");
    let late = &clones[won.iter().position(|won| !won).expect("one lost")];
    late.git(&["pull", "-q", "--rebase"]).ok();
    late.git(&["push", "-q"]).ok();
    let other = world.clone_of(&server.url("film"), "other");
    for n in 0..2 {
        other.holds(&format!("{n}.bin"), &noise(n, 2 * MIB));
    }
}
