//! `git stash`.

use dits_tests::World;

use super::scene::{Files, LARGE, SMALL, Scene, side, take, with};

const NO_SIZE: &str = "git makes entries of which it knows no size, and the files are not what they name";

const AS_FOR_A_PIPE: &str =
    "git takes a path back by a patch, asks as for a pipe, and writes it in the second of the index";

fn edits() -> Files {
    vec![(LARGE, take(8)[0].1.clone()), (SMALL, b"edited".to_vec())]
}

const CHANGED: &str = " M shots/large.bin\n M small.bin";

#[test]
fn stash_and_pop() {
    let world = World::new();
    let scene = Scene::new(&world);
    scene.write_all(&edits());
    scene.after(&["stash", "-q"]).shows(&take(2), "");
    scene.after(&["stash", "pop", "-q"]).shows_though(NO_SIZE, &with(take(2), edits()), CHANGED);
    scene.after(&["stash", "-q"]).shows(&take(2), "");
    scene.after(&["stash", "apply", "-q"]).shows_though(NO_SIZE, &with(take(2), edits()), CHANGED);
    assert_eq!(scene.git(&["stash", "list"]).lines().count(), 1, "apply keeps it");
}

#[test]
fn stash_of_what_is_staged() {
    let world = World::new();
    let scene = Scene::new(&world);
    scene.write_all(&edits());
    scene.git(&["add", LARGE]);
    scene.after(&["stash", "-q"]).shows(&take(2), "");
    let status = "M  shots/large.bin\n M small.bin";
    scene.after(&["stash", "pop", "-q", "--index"]).shows_though(NO_SIZE, &with(take(2), edits()), status);
    let kept = with(take(2), edits()[..1].to_vec());
    scene.after(&["stash", "-q", "--keep-index"]).shows(&kept, "M  shots/large.bin");
}

#[test]
fn stash_of_untracked_media() {
    let world = World::new();
    let scene = Scene::new(&world);
    scene.write_all(&side());
    scene.after(&["stash", "-q", "-u"]).shows(&take(2), "");
    assert!(!scene.repo().dir().join("side.bin").exists());
    scene.after(&["stash", "pop", "-q"]).shows(&with(take(2), side()), "?? side.bin\n?? side.txt");
}

#[test]
fn stash_of_a_path_and_into_a_branch() {
    let world = World::new();
    let scene = Scene::new(&world);
    scene.write_all(&edits());
    let rest = with(take(2), edits()[1..].to_vec());
    scene.after(&["stash", "push", "-q", "--", LARGE]).shows_though(AS_FOR_A_PIPE, &rest, " M small.bin");
    scene.git(&["checkout", "-q", "--", SMALL]);
    let back = with(take(2), edits()[..1].to_vec());
    scene.after(&["stash", "branch", "again"]).shows_though(NO_SIZE, &back, " M shots/large.bin");
}
