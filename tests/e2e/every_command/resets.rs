//! `git reset` in all its modes.

use dits_tests::World;

use super::scene::{LARGE, NOTES, SMALL, Scene, of, take, with};

const STAGED: &str = "M  notes.txt\nM  shots/large.bin\nM  small.bin";
const CHANGED: &str = " M notes.txt\n M shots/large.bin\n M small.bin";
const NO_SIZE: &str = "git makes entries of which it knows no size, and the files are not what they name";

#[test]
fn reset_soft_and_mixed_leave_the_files() {
    let world = World::new();
    let scene = Scene::new(&world);
    scene.after(&["reset", "-q", "--soft", "take-1"]).shows(&take(2), STAGED);
    scene.after(&["reset", "-q", "--mixed", "take-1"]).shows_though(NO_SIZE, &take(2), CHANGED);
    scene.after(&["reset", "-q", "take-2"]).shows(&take(2), "");
    scene.after(&["reset", "-q", "take-0", "--", SMALL]).shows_though(NO_SIZE, &take(2), &format!("MM {SMALL}"));
}

#[test]
fn reset_hard_brings_everything_back() {
    let world = World::new();
    let scene = Scene::new(&world);
    scene.after(&["reset", "-q", "--hard", "take-0"]).shows(&take(0), "");
    scene.write(LARGE, b"spoilt");
    scene.remove(SMALL);
    scene.git(&["add", LARGE]);
    scene.after(&["reset", "-q", "--hard"]).shows(&take(0), "");
    scene.after(&["reset", "-q", "--hard", "take-2"]).shows(&take(2), "");
    scene.after(&["reset", "-q", "--hard", "take-2"]).shows(&take(2), "");
}

#[test]
fn reset_merge_and_keep_leave_edits_of_other_files() {
    let world = World::new();
    let scene = Scene::new(&world);
    scene.git(&["switch", "-q", "-c", "work"]);
    scene.write(LARGE, of(&take(7), LARGE));
    scene.repo().commit("only the large one");
    let edited = vec![(SMALL, b"edited".to_vec()), (NOTES, b"noted\n".to_vec())];
    scene.write_all(&edited);
    let status = " M notes.txt\n M small.bin";
    scene.after(&["reset", "-q", "--keep", "main"]).shows(&with(take(2), edited.clone()), status);
    scene.git(&["reset", "-q", "--keep", "HEAD@{1}"]);
    scene.after(&["reset", "-q", "--merge", "main"]).shows(&with(take(2), edited), status);
}
