//! Every form that git's index comes in.

use dits_tests::{Repo, World};

use super::scene::{LARGE, SMALL, Scene, asks_nobody, side, take, with};

/// What people do most, in a repository whose index has some form.
fn a_day_in(scene: &Scene<'_>) {
    scene.after(&["switch", "-q", "side"]).shows(&with(take(1), side()), "");
    scene.after(&["reset", "-q", "--hard", "take-0"]).shows(&take(0), "");
    scene.after(&["merge", "-q", "--ff-only", "main"]).shows(&take(2), "");
    scene.remove(LARGE);
    scene.remove(SMALL);
    scene.after(&["checkout", "-q", "--", "."]).shows(&take(2), "");
    assert_eq!(scene.repo().git(&["fsck", "--full"]).ok(), "", "the index is sound");
}

#[test]
fn index_of_version_2_3_and_4() {
    let world = World::new();
    let scene = Scene::new(&world);
    scene.git(&["branch", "side-as-it-was", "side"]);
    for version in ["2", "4"] {
        scene.git(&["config", "index.version", version]);
        scene.git(&["update-index", "--index-version", version]);
        a_day_in(&scene);
        scene.git(&["switch", "-q", "main"]);
        scene.git(&["branch", "-q", "-f", "side", "side-as-it-was"]);
    }
    // An entry that is announced makes it version 3.
    scene.git(&["config", "--unset", "index.version"]);
    scene.git(&["update-index", "--index-version", "2"]);
    scene.write("later.bin", b"announced");
    scene.git(&["add", "-N", "later.bin"]);
    let all = with(take(1), side());
    scene.after(&["switch", "-q", "side"]).shows(&all, " A later.bin");
    let version = std::fs::read(scene.repo().dir().join(".git/index")).expect("it is there")[7];
    assert_eq!(version, 3);
}

#[test]
fn index_without_a_checksum() {
    let world = World::new();
    let scene = Scene::new(&world);
    scene.git(&["config", "index.skipHash", "true"]);
    a_day_in(&scene);
}

#[test]
fn index_that_remembers_untracked_files() {
    let world = World::new();
    let scene = Scene::new(&world);
    scene.git(&["config", "core.untrackedCache", "true"]);
    scene.git(&["update-index", "--force-untracked-cache"]);
    scene.write("new.txt", "not tracked");
    scene.after(&["switch", "-q", "side"]).shows(&with(take(1), side()), "?? new.txt");
    scene.remove("new.txt");
    scene.after(&["switch", "-q", "main"]).shows(&take(2), "");
    a_day_in(&scene);
}

#[test]
fn index_in_two_parts() {
    let world = World::new();
    let scene = Scene::new(&world);
    scene.git(&["config", "core.splitIndex", "true"]);
    scene.git(&["update-index", "--split-index"]);
    let reason = "an index in two parts is left alone";
    scene.after(&["switch", "-q", "side"]).shows_though(reason, &with(take(1), side()), "");
    scene.after(&["reset", "-q", "--hard", "take-0"]).shows_though(reason, &take(0), "");
    scene.after(&["checkout", "-q", "main"]).shows_though(reason, &take(2), "");
    assert_eq!(scene.repo().git(&["fsck", "--full"]).ok(), "");
}

#[test]
fn an_index_of_another_name() {
    let world = World::new();
    let scene = Scene::new(&world);
    let index = world.path("other-index").display().to_string();
    let with_it = |args: &[&str]| scene.repo().call(args).env("GIT_INDEX_FILE", &index);
    with_it(&["read-tree", "take-0"]).run().ok();
    scene.remove(LARGE);
    with_it(&["checkout-index", "-f", "-a"]).run().ok();
    scene.repo().holds(LARGE, &take(0)[0].1);
    with_it(&["reset", "-q", "--hard", "take-1"]).run().ok();
    scene.repo().holds(LARGE, &take(1)[0].1);
    with_it(&["update-index", "-q", "--refresh"]).run().ok();
    let (said, asked) = scene.look_with(with_it(&["status", "--porcelain", "-uno"]));
    assert_eq!(said, "");
    asks_nobody(asked, "checkout into an index of another name");
    // The repository's own index says what it said before.
    scene.after(&["rev-parse", "HEAD"]).shows(&take(1), "MM notes.txt\nMM shots/large.bin\nMM small.bin");
}

#[test]
fn a_repository_of_sha_256() {
    let world = World::new();
    let scene = Scene::set_in(world.repo_of("sha256", "film", &["*.bin"]));
    assert_eq!(scene.repo().head().len(), 64);
    a_day_in(&scene);
    scene.git(&["switch", "-q", "main"]);
    world.git(&["init", "-q", "--bare", "--object-format=sha256", "nas.git"]).ok();
    let url = format!("dits::{}", world.path("nas.git").display());
    scene.repo().push_to(&url);
    let other = Scene::at(Repo::at(&world, world.path("other")));
    let call = world.call("git").args(["clone", "-q", &url, "other"]);
    other.after_call(call).shows(&take(2), "");
}
