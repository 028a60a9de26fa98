//! Names that few people choose, and patterns that match either case.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use dits_core::pointer::Pointer;
use dits_tests::World;
use dits_tests::media::noise;

use super::scene::{Scene, take};

const NAMES: [&[u8]; 9] = [
    b"two words.bin",
    b" leading and trailing .bin",
    b"new\nline.bin",
    b"tab\tand\x07bell.bin",
    b"quo\"te'and\\back.bin",
    b"\xff\xfe no text.bin",
    b"--force.bin",
    b"$(touch x);`y`.bin",
    "Gr\u{fc}\u{df}e \u{1f3ac}.bin".as_bytes(),
];

/// Large and small in turn, in a folder that has an odd name too.
fn content(seed: usize) -> Vec<u8> {
    noise(seed as u64, if seed.is_multiple_of(2) { 1_100_000 } else { 50_000 })
}

fn paths(scene: &Scene<'_>) -> Vec<PathBuf> {
    let folder = scene.repo().dir().join(OsStr::from_bytes(b" odd\n\xfefolder"));
    std::fs::create_dir_all(&folder).expect("the folder is ours");
    let top = scene.repo().dir();
    let place = |(n, name)| if n % 3 == 0 { folder.join(name) } else { top.join(name) };
    NAMES.iter().map(|name| OsStr::from_bytes(name)).enumerate().map(place).collect()
}

#[test]
fn names_are_bytes_in_every_command() {
    let world = World::new();
    let scene = Scene::new(&world);
    let paths = paths(&scene);
    for (seed, path) in paths.iter().enumerate() {
        std::fs::write(path, content(seed)).expect("the folder is ours");
    }
    scene.repo().commit("odd names");
    let are_whole = |command: &[&str]| {
        scene.after(command).shows(&take(2), "");
        for (seed, path) in paths.iter().enumerate() {
            assert!(std::fs::read(path).expect("it is there") == content(seed), "{path:?} after {command:?}");
        }
    };
    scene.git(&["switch", "-q", "--detach", "take-2"]);
    are_whole(&["switch", "-q", "main"]);
    paths.iter().for_each(|path| std::fs::remove_file(path).expect("it is ours"));
    are_whole(&["checkout", "-q", "--", "."]);
    paths.iter().for_each(|path| std::fs::write(path, b"spoilt").expect("it is ours"));
    are_whole(&["reset", "-q", "--hard"]);
    paths.iter().for_each(|path| std::fs::write(path, b"put aside").expect("it is ours"));
    are_whole(&["stash", "-q"]);
    scene.git(&["worktree", "add", "-q", "../second"]);
    are_whole(&["worktree", "list"]);
    let second = scene.repo().dir().join("../second");
    for (seed, path) in paths.iter().enumerate() {
        let path = second.join(path.strip_prefix(scene.repo().dir()).expect("it is in it"));
        assert!(std::fs::read(&path).expect("it is there") == content(seed), "{path:?}");
    }
}

#[test]
fn patterns_of_presets_match_either_case() {
    let world = World::new();
    let scene = Scene::new(&world);
    scene.git(&["dits", "track", "--preset", "video"]);
    let names = ["C0001.MP4", "c0002.mp4", "Mixed.MoV"];
    names.iter().enumerate().for_each(|(seed, name)| scene.write(name, content(seed)));
    scene.repo().commit("from a camera");
    for (seed, name) in names.iter().enumerate() {
        assert!(Pointer::parse(&scene.repo().blob(&format!("HEAD:{name}"))).is_some(), "{name}");
        scene.remove(name);
        scene.after(&["checkout", "-q", "--", name]).shows(&vec![(name, content(seed))], "");
    }
}

#[test]
fn patterns_ignore_case_where_the_file_system_does() {
    let world = World::new();
    let scene = Scene::new(&world);
    scene.git(&["config", "core.ignoreCase", "true"]);
    scene.write("LOUD.BIN", content(0));
    scene.repo().commit("in capitals");
    assert!(Pointer::parse(&scene.repo().blob("HEAD:LOUD.BIN")).is_some());
    scene.remove("LOUD.BIN");
    scene.after(&["checkout", "-q", "--", "LOUD.BIN"]).shows(&vec![("LOUD.BIN", content(0))], "");
    scene.remove("LOUD.BIN");
    scene.after(&["reset", "-q", "--hard"]).shows(&vec![("LOUD.BIN", content(0))], "");
}
