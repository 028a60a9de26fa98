//! Changes that travel as patches and bundles.

use dits_tests::{Repo, World};

use super::scene::{LARGE, SIDE, Scene, side, take, with};

const AS_FOR_A_PIPE: &str = "git asks for each file of a patch as for a pipe, and writes it in the second of the index";

#[test]
fn apply() {
    let world = World::new();
    let scene = Scene::new(&world);
    let patch = world.path("a.patch").display().to_string();
    scene.git(&["diff", "--binary", "--output", &patch, "take-2", "take-1"]);
    let changed = " M notes.txt\n M shots/large.bin\n M small.bin";
    scene.after(&["apply", &patch]).shows(&take(1), changed);
    scene.after(&["apply", "-R", &patch]).shows_though(AS_FOR_A_PIPE, &take(2), "");
    let staged = "M  notes.txt\nM  shots/large.bin\nM  small.bin";
    scene.after(&["apply", "--index", &patch]).shows_though(AS_FOR_A_PIPE, &take(1), staged);
    scene.git(&["reset", "-q", "--hard"]);
    scene.after(&["apply", "--cached", &patch]).shows_though(
        "git makes entries of which it knows no size, and the files are not what they name",
        &take(2),
        "MM notes.txt\nMM shots/large.bin\nMM small.bin",
    );
}

#[test]
fn am_applies_what_format_patch_made() {
    let world = World::new();
    let scene = Scene::new(&world);
    let out = world.path("patches").display().to_string();
    for option in ["--binary", "--no-binary"] {
        scene.git(&["format-patch", "-q", "-o", &out, option, "take-0..side"]);
        let patches: Vec<_> = std::fs::read_dir(&out).expect("it was made").flatten().collect();
        let bytes: u64 = patches.iter().map(|patch| patch.metadata().expect("it is there").len()).sum();
        assert!(patches.len() == 2 && bytes < 10_000, "patches hold pointers, not {bytes} bytes");
        let mut paths: Vec<_> = patches.iter().map(|patch| patch.path().display().to_string()).collect();
        paths.sort();
        scene.git(&["switch", "-q", "--detach", "take-0"]);
        let am = [&["am", "-q", "-3"], paths.iter().map(String::as_str).collect::<Vec<_>>().as_slice()].concat();
        scene.after(&am).shows_though(AS_FOR_A_PIPE, &with(take(1), side()), "");
    }
}

#[test]
fn am_stops_at_what_does_not_apply() {
    let world = World::new();
    let scene = Scene::new(&world);
    let patch = world.path("a.patch").display().to_string();
    scene.git(&["format-patch", "-q", "-1", "--output", &patch, "clash"]);
    let stopped = scene.repo().git(&["am", "-q", &patch]);
    assert!(stopped.fails().contains(LARGE), "{}", stopped.story());
    scene.after(&["am", "--abort"]).shows(&take(2), "");
    let stopped = scene.repo().git(&["am", "-q", "-3", &patch]);
    stopped.fails();
    let conflict = "UU shots/large.bin\nUU small.bin";
    assert_eq!(scene.look().0, conflict, "{}", stopped.story());
    scene.after(&["am", "--abort"]).shows(&take(2), "");
}

#[test]
fn a_bundle_holds_pointers_and_media_comes_from_the_server() {
    let world = World::new();
    let server = world.serve();
    let scene = Scene::new(&world);
    scene.push_to(&server, "film");
    let bundle = world.path("film.bundle").display().to_string();
    scene.after(&["bundle", "create", "-q", &bundle, "--all"]).shows(&take(2), "");
    scene.git(&["bundle", "verify", "-q", &bundle]);
    let clone = world.git(&["clone", "-q", "-b", "side", &bundle, "of-bundle"]);
    clone.ok();
    assert!(clone.err().contains(SIDE) && clone.err().contains("git dits pull"), "{}", clone.story());
    let other = Scene::at(Repo::at(&world, world.path("of-bundle")));
    other.git(&["remote", "set-url", "origin", &server.url("film")]);
    other.after(&["dits", "pull"]).shows(&with(take(1), side()), "");
}
