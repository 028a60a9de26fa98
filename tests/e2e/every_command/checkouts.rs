//! `git checkout`, `git switch` and `git restore`.

use dits_tests::World;

use super::scene::{LARGE, SIDE, SMALL, Scene, of, side, take, with};

#[test]
fn checkout_of_branches_and_commits() {
    let world = World::new();
    let scene = Scene::new(&world);
    scene.after(&["checkout", "-q", "side"]).shows(&with(take(1), side()), "");
    scene.after(&["checkout", "-q", "main"]).shows(&take(2), "");
    assert!(!scene.repo().dir().join(SIDE).exists());
    scene.after(&["checkout", "-q", "take-0"]).shows(&take(0), "");
    scene.after(&["checkout", "-q", "--detach", "main"]).shows(&take(2), "");
    scene.after(&["checkout", "-q", "-b", "again", "take-1"]).shows(&take(1), "");
    scene.after(&["checkout", "-q", "-B", "again", "take-0"]).shows(&take(0), "");
    scene
        .after(&["checkout", "-q", "--orphan", "fresh", "take-2"])
        .shows(&take(2), "A  .gitattributes\nA  notes.txt\nA  shots/large.bin\nA  small.bin");
}

#[test]
fn checkout_of_paths() {
    let world = World::new();
    let scene = Scene::new(&world);
    scene.remove(LARGE);
    scene.remove(SMALL);
    scene.after(&["checkout", "-q", "--", "."]).shows(&take(2), "");
    scene.write(LARGE, b"spoilt");
    scene.after(&["checkout", "-q", "--", LARGE]).shows(&take(2), "");
    let staged = format!("M  {LARGE}");
    let older = with(take(2), vec![(LARGE, of(&take(0), LARGE))]);
    scene.after(&["checkout", "-q", "take-0", "--", LARGE]).shows(&older, &staged);
    scene.after(&["checkout", "-q", "-f", "HEAD"]).shows(&take(2), "");
}

#[test]
fn checkout_keeps_what_was_edited_where_it_can() {
    let world = World::new();
    let scene = Scene::new(&world);
    scene.write("own.bin", b"mine");
    scene.after(&["checkout", "-q", "side"]).shows(&with(take(1), side()), "?? own.bin");
    scene.write(SIDE, b"edited");
    let done = scene.repo().git(&["checkout", "-q", "main"]);
    assert!(done.fails().contains(SIDE), "{}", done.story());
    scene.repo().holds(SIDE, b"edited");
}

#[test]
fn switch() {
    let world = World::new();
    let scene = Scene::new(&world);
    scene.after(&["switch", "-q", "side"]).shows(&with(take(1), side()), "");
    scene.after(&["switch", "-q", "-"]).shows(&take(2), "");
    scene.after(&["switch", "-q", "--detach", "take-1"]).shows(&take(1), "");
    scene.after(&["switch", "-q", "-c", "new", "take-0"]).shows(&take(0), "");
    scene.write(LARGE, b"given up");
    scene.after(&["switch", "-q", "--discard-changes", "main"]).shows(&take(2), "");
}

#[test]
fn restore() {
    let world = World::new();
    let scene = Scene::new(&world);
    scene.write(LARGE, b"spoilt");
    scene.remove(SMALL);
    scene.after(&["restore", "."]).shows(&take(2), "");
    let edited = with(take(2), vec![(SMALL, b"a new one".to_vec())]);
    scene.write_all(&edited[2..].to_vec());
    scene.git(&["add", SMALL]);
    scene.after(&["restore", "--staged", SMALL]).shows_though(
        "git makes an entry of which it knows no size, and the file is not what it names",
        &edited,
        &format!(" M {SMALL}"),
    );
    scene.git(&["restore", SMALL]);
    let older = with(take(2), vec![(LARGE, of(&take(0), LARGE))]);
    scene.after(&["restore", "--source", "take-0", LARGE]).shows(&older, &format!(" M {LARGE}"));
    let all = ["restore", "--source", "take-1", "--staged", "--worktree", "."];
    scene.after(&all).shows(&take(1), "M  notes.txt\nM  shots/large.bin\nM  small.bin");
}

#[test]
fn an_edit_of_the_same_size_shows_after_each() {
    let world = World::new();
    let scene = Scene::new(&world);
    for args in [["checkout", "-q", "take-1"], ["switch", "-q", "main"], ["reset", "-q", "--hard"]] {
        scene.git(&args);
        for path in [LARGE, SMALL] {
            let mut edited = scene.repo().read(path);
            edited[5000] ^= 1;
            scene.repo().write(path, &edited);
            assert_eq!(scene.look().0, format!(" M {path}"), "{args:?}");
            scene.git(&["checkout", "-q", "--", path]);
        }
    }
}
