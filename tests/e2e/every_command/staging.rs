//! What goes into the index and out of it.

use std::os::unix::fs::PermissionsExt;

use dits_core::pointer::Pointer;
use dits_tests::World;

use super::scene::{Files, LARGE, NOTES, SIDE, SMALL, Scene, of, side, take, with};

const RENORMALIZED: &str = "git looks once more at a file that it has just made media";

fn renamed(files: &Files, from: &str, to: &'static str) -> Files {
    let files = files.iter().cloned();
    files.map(|(name, content)| if name == from { (to, content) } else { (name, content) }).collect()
}

#[test]
fn add_and_commit() {
    let world = World::new();
    let scene = Scene::new(&world);
    scene.write_all(&side());
    scene.after(&["add", "-A"]).shows(&with(take(2), side()), "A  side.bin\nA  side.txt");
    scene.after(&["commit", "-q", "-m", "beside"]).shows(&with(take(2), side()), "");
    assert!(Pointer::parse(&scene.repo().blob(&format!("HEAD:{SIDE}"))).is_some());
    scene.write_all(&take(3));
    scene.after(&["commit", "-q", "-a", "-m", "take 3"]).shows(&with(take(3), side()), "");
    scene.write_all(&take(4));
    let rest = " M notes.txt\n M small.bin";
    scene.after(&["commit", "-q", "-m", "one of them", "--", LARGE]).shows(&with(take(4), side()), rest);
    scene.after(&["add", "-u"]).shows(&with(take(4), side()), "M  notes.txt\nM  small.bin");
    scene.after(&["commit", "-q", "--amend", "--no-edit"]).shows(&with(take(4), side()), "");
    scene.write("later.bin", b"announced");
    scene.after(&["add", "-N", "later.bin"]).shows(&take(4), " A later.bin");
    scene.after(&["rm", "-q", "--cached", "later.bin"]).shows(&take(4), "?? later.bin");
    scene.after(&["clean", "-fdq"]).shows(&take(4), "");
}

#[test]
fn a_mode_that_changes_keeps_the_content() {
    let world = World::new();
    let scene = Scene::new(&world);
    scene.after(&["update-index", "--chmod=+x", LARGE]).shows(&take(2), &format!("MM {LARGE}"));
    scene.repo().git(&["commit", "-q", "-m", "a tool"]).ok();
    scene.after(&["reset", "-q", "--hard"]).shows(&take(2), "");
    let mode = scene.repo().dir().join(LARGE).metadata().expect("it is there").permissions().mode();
    assert_eq!(mode & 0o111, 0o111, "mode is {mode:o}");
}

#[test]
fn mv_and_rm() {
    let world = World::new();
    let scene = Scene::new(&world);
    let moved = renamed(&take(2), LARGE, "cut/large.bin");
    std::fs::create_dir(scene.repo().dir().join("cut")).expect("the folder is ours");
    scene.after(&["mv", LARGE, "cut/large.bin"]).shows(&moved, &format!("R  {LARGE} -> cut/large.bin"));
    scene.after(&["commit", "-q", "-m", "moved"]).shows(&moved, "");
    scene
        .after(&["mv", "cut", "final"])
        .shows(&renamed(&take(2), LARGE, "final/large.bin"), "R  cut/large.bin -> final/large.bin");
    scene.after(&["rm", "-q", "-f", SMALL]).shows(
        &renamed(&take(2), LARGE, "final/large.bin").into_iter().filter(|(name, _)| *name != SMALL).collect(),
        "R  cut/large.bin -> final/large.bin\nD  small.bin",
    );
    scene.after(&["reset", "-q", "--hard", "take-2"]).shows(&take(2), "");
    scene.after(&["rm", "-q", "--cached", LARGE]).shows(&take(2), &format!("D  {LARGE}\n?? shots/"));
}

#[test]
fn a_media_file_that_is_renamed_to_no_media_is_content_there() {
    let world = World::new();
    let scene = Scene::new(&world);
    scene.git(&["mv", SMALL, "small.raw"]);
    assert!(scene.look().0.starts_with('R'), "what git holds has not changed");
    scene.date("small.raw");
    scene.git(&["add", "--renormalize", "small.raw"]);
    assert!(scene.repo().blob(":small.raw") == of(&take(2), SMALL), "git has the content itself now");
    scene.git(&["commit", "-q", "-m", "no media any more"]);
    scene.git(&["mv", "small.raw", SMALL]);
    scene.git(&["add", "--renormalize", SMALL]);
    assert!(Pointer::parse(&scene.repo().blob(&format!(":{SMALL}"))).is_some());
    scene.after(&["commit", "-q", "-m", "and media again"]).shows(&take(2), "");
}

#[test]
fn add_in_parts_takes_media_as_a_whole() {
    let world = World::new();
    let scene = Scene::new(&world);
    let edited = with(take(2), vec![(LARGE, of(&take(5), LARGE)), (NOTES, b"take 2\nand more\n".to_vec())]);
    scene.write_all(&edited);
    // Notes: yes. The large file is one change that cannot be split: yes.
    let call = scene.repo().call(&["add", "-p"]).input("y\ny\n");
    scene.after_call(call).shows(&edited, "M  notes.txt\nM  shots/large.bin");
    let staged = Pointer::parse(&scene.repo().blob(&format!(":{LARGE}"))).expect("it is a pointer");
    assert_eq!(staged.size, of(&take(5), LARGE).len() as u64);
    let call = scene.repo().call(&["reset", "-q", "-p"]).input("n\ny\n");
    scene.after_call(call).shows_though(
        "git makes an entry of which it knows no size",
        &edited,
        "M  notes.txt\n M shots/large.bin",
    );
    let call = scene.repo().call(&["checkout", "-p"]).input("y\n");
    scene.after_call(call).shows_though(
        "git asks for each file of a patch as for a pipe",
        &with(edited.clone(), vec![(LARGE, of(&take(2), LARGE))]),
        "M  notes.txt",
    );
}

#[test]
fn add_again_stores_what_was_plain() {
    let world = World::new();
    let scene = Scene::new(&world);
    scene.after(&["add", "--renormalize", "."]).shows(&take(2), "");
    scene.write("old.wav", of(&take(7), SMALL));
    scene.repo().commit("not media yet");
    scene.git(&["dits", "track", "*.wav"]);
    scene.git(&["add", ".gitattributes"]);
    let all = with(take(2), vec![("old.wav", of(&take(7), SMALL))]);
    scene.after(&["add", "--renormalize", "."]).shows_though(RENORMALIZED, &all, "M  .gitattributes\nM  old.wav");
    assert!(Pointer::parse(&scene.repo().blob(":old.wav")).is_some());
}
