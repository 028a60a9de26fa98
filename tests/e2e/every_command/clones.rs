//! `git clone` and `git fetch` in their ways.

use dits_core::pointer::Pointer;
use dits_tests::{Repo, Server, World};

use super::scene::{Files, LARGE, NOTES, SMALL, Scene, of, side, take, with};

/// The film, and a server that has it.
fn served(world: &World) -> (Server, Scene<'_>) {
    let server = world.serve();
    let scene = Scene::new(world);
    scene.push_to(&server, "film");
    (server, scene)
}

/// Clones with more arguments, and asserts what is then there.
fn clone_shows<'w>(world: &'w World, name: &str, args: &[&str], files: &Files) -> Scene<'w> {
    let scene = Scene::at(Repo::at(world, world.path(name)));
    let call = world.call("git").args(["clone", "-q"]).args(args).args([name]);
    scene.after_call(call).shows(files, "");
    scene
}

#[test]
fn clone_plain_and_of_a_branch() {
    let world = World::new();
    let (server, _) = served(&world);
    let url = server.url("film");
    clone_shows(&world, "plain", &[&url], &take(2));
    clone_shows(&world, "side", &["--branch", "side", &url], &with(take(1), side()));
    clone_shows(&world, "single", &["--single-branch", "--branch", "take-0", &url], &take(0));
    clone_shows(&world, "configured", &["-c", "core.autocrlf=input", "-o", "studio", &url], &take(2));
    let apart = world.path("apart.git").display().to_string();
    clone_shows(&world, "apart", &["--separate-git-dir", &apart, &url], &take(2));
}

#[test]
fn clone_shallow_and_deepened() {
    let world = World::new();
    let (server, _) = served(&world);
    let scene = clone_shows(&world, "shallow", &["--depth", "1", &server.url("film")], &take(2));
    scene.after(&["fetch", "-q", "--unshallow"]).shows(&take(2), "");
    scene.after(&["switch", "-q", "--detach", "HEAD~2"]).shows(&take(0), "");
}

#[test]
fn clone_partial() {
    let world = World::new();
    let (server, _) = served(&world);
    for (name, filter) in [("no-blobs", "--filter=blob:none"), ("small-blobs", "--filter=blob:limit=2k")] {
        let scene = clone_shows(&world, name, &[filter, &server.url("film")], &take(2));
        scene.after(&["switch", "-q", "--detach", "HEAD~1"]).shows(&take(1), "");
    }
}

#[test]
fn clone_without_checkout_and_checkout_later() {
    let world = World::new();
    let (server, _) = served(&world);
    world.git(&["clone", "-q", "--no-checkout", &server.url("film"), "later"]).ok();
    let scene = Scene::at(Repo::at(&world, world.path("later")));
    scene.after(&["checkout", "-q"]).shows(&take(2), "");
}

#[test]
fn clone_bare_and_mirror_serve_work_trees() {
    let world = World::new();
    let (server, _) = served(&world);
    for option in ["--bare", "--mirror"] {
        let name = format!("{}.git", option.trim_start_matches('-'));
        world.git(&["clone", "-q", option, &server.url("film"), &name]).ok();
        let bare = Repo::at(&world, world.path(&name));
        let tree = Scene::at(Repo::at(&world, world.path(&format!("tree{option}"))));
        let dir = tree.repo().dir().display().to_string();
        tree.after_call(bare.call(&["worktree", "add", "-q", &dir, "main"])).shows(&take(2), "");
    }
    // A clone of the mirror finds what the work tree above brought into it, and names what it lacks.
    let mirror = world.path("mirror.git").display().to_string();
    let clone = world.git(&["clone", "-q", "--branch", "side", &mirror, "of-mirror"]);
    clone.ok();
    assert!(clone.err().contains("side.bin") && !clone.err().contains(NOTES), "{}", clone.story());
    let scene = Scene::at(Repo::at(&world, world.path("of-mirror")));
    assert!(Pointer::parse(&scene.repo().read("side.bin")).is_some());
    assert_eq!(scene.look().0, "");
    scene.git(&["remote", "add", "studio", &server.url("film")]);
    scene.after(&["dits", "pull", "studio"]).shows(&with(take(1), side()), "");
}

#[test]
fn clone_on_this_machine() {
    let world = World::new();
    let scene = Scene::new(&world);
    let from = scene.repo().dir().display().to_string();
    clone_shows(&world, "by-path", &[&from], &take(2));
    clone_shows(&world, "copied", &["--no-hardlinks", &from], &take(2));
    let shared = clone_shows(&world, "shared", &["--shared", &from], &take(2));
    shared.after(&["switch", "-q", "--detach", "origin/side"]).shows(&with(take(1), side()), "");
    clone_shows(&world, "by-url", &["--reference", &from, &format!("file://{from}")], &take(2));
}

#[test]
fn clone_with_alternates_takes_media_from_there() {
    let world = World::new();
    let (server, scene) = served(&world);
    let from = scene.repo().dir().display().to_string();
    let url = server.url("film");
    // With the server gone after the refs were had, everything has to come from the alternate.
    world.git(&["clone", "-q", "--reference", &from, "--no-checkout", &url, "beside"]).ok();
    server.stop();
    let beside = Scene::at(Repo::at(&world, world.path("beside")));
    beside.after(&["checkout", "-q"]).shows(&take(2), "");
}

#[test]
fn fetch_brings_refs_and_media_comes_with_the_checkout() {
    let world = World::new();
    let (server, scene) = served(&world);
    let other = clone_shows(&world, "other", &[&server.url("film")], &take(2));
    scene.write_all(&take(3));
    scene.repo().commit("take 3");
    scene.git(&["push", "-q"]);
    other.after(&["fetch", "-q", "--all", "--prune", "--tags"]).shows(&take(2), "");
    other.after(&["merge", "-q", "--ff-only", "FETCH_HEAD"]).shows(&take(3), "");
    assert_ne!(of(&take(3), LARGE), of(&take(2), LARGE));
    other.remove(SMALL);
    server.stop();
    other.after(&["checkout", "-q", "--", SMALL]).shows(&take(3), "");
}
