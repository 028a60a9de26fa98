//! `git clone dits://…`.

use dits_core::pointer::Pointer;
use dits_tests::media::{MIB, clip, noise};
use dits_tests::{Repo, World};

#[test]
fn a_clone_has_every_file_whole_and_nothing_changed() {
    let world = World::new();
    let server = world.serve();
    let repo = world.repo("film");
    let contents: Vec<_> = (0..5).map(|n| noise(n, 200_000 + n as usize * MIB)).collect();
    for (n, content) in contents.iter().enumerate() {
        repo.write(&format!("shots/{n}.bin"), content);
    }
    repo.write("notes.txt", "notes");
    repo.commit("shots");
    repo.push_to(&server.url("film"));
    let other = world.clone_of(&server.url("film"), "other");
    for (n, content) in contents.iter().enumerate() {
        other.holds(&format!("shots/{n}.bin"), content);
    }
    assert_eq!(other.status(), "");
}

#[test]
fn a_real_clip_comes_back_bit_for_bit() {
    let Some(clip) = clip() else { return };
    let world = World::new();
    let server = world.serve();
    let repo = world.repo("film");
    repo.write("clip.mp4", clip);
    repo.commit("a clip");
    repo.push_to(&server.url("film"));
    world.clone_of(&server.url("film"), "other").holds("clip.mp4", clip);
}

#[test]
fn a_clone_may_leave_pointers_and_pull_later() {
    let world = World::new();
    let server = world.serve();
    let repo = world.repo("film");
    let content = noise(1, 3 * MIB);
    repo.write("a.bin", &content);
    repo.commit("a take");
    repo.push_to(&server.url("film"));
    let url = server.url("film");
    world.call("git").args(["clone", "-q", &url, "other"]).env("GIT_DITS_SKIP_SMUDGE", "1").run().ok();
    let other = Repo::at(&world, world.path("other"));
    assert!(Pointer::parse(&other.read("a.bin")).is_some());
    assert_eq!(other.status(), "", "a pointer in the place of its file is no change");
    other.git(&["dits", "pull"]).ok();
    other.holds("a.bin", &content);
    assert_eq!(other.status(), "");
}

#[test]
fn a_clone_without_dits_shows_pointers() {
    let world = World::new();
    let repo = world.repo("film");
    repo.write("a.bin", noise(1, MIB));
    repo.commit("a take");
    let stranger = World::without_dits();
    let from = format!("file://{}", repo.dir().display());
    let other = stranger.clone_of(&from, "other");
    assert!(Pointer::parse(&other.read("a.bin")).is_some());
}

#[test]
fn submodules_come_with_their_media() {
    let world = World::new();
    let server = world.serve();
    let part = world.repo("part");
    let content = noise(2, 2 * MIB);
    part.write("part.bin", &content);
    part.commit("a part");
    part.push_to(&server.url("part"));
    let whole = world.repo("whole");
    whole.git(&["submodule", "--quiet", "add", &server.url("part"), "part"]).ok();
    whole.commit("with a part");
    whole.push_to(&server.url("whole"));
    world.git(&["clone", "-q", "--recurse-submodules", &server.url("whole"), "other"]).ok();
    Repo::at(&world, world.path("other")).holds("part/part.bin", &content);
}

#[test]
fn local_clones_and_alternates_read_media_from_where_it_is() {
    let world = World::new();
    let repo = world.repo("film");
    let content = noise(3, 2 * MIB);
    repo.write("a.bin", &content);
    repo.commit("a take");
    let from = repo.dir().display().to_string();
    world.clone_of(&from, "by-path").holds("a.bin", &content);
    world.git(&["clone", "-q", "--shared", &from, "shared"]).ok();
    Repo::at(&world, world.path("shared")).holds("a.bin", &content);
}

#[test]
fn a_clone_names_what_the_server_lost_and_has_everything_else_whole() {
    let world = World::new();
    let server = world.serve();
    let repo = world.repo("film");
    let kept = noise(4, 2 * MIB);
    repo.write("kept.bin", &kept);
    repo.commit("a take");
    repo.push_to(&server.url("film"));
    repo.write("lost.bin", noise(5, 2 * MIB));
    repo.commit("a take that never reaches the server");
    // Past the server's programs, into its folder: no check runs.
    repo.git(&["push", "-q", "--no-verify", &server.bare("film").display().to_string(), "main"]).ok();
    let clone = world.git(&["clone", "-q", &server.url("film"), "other"]);
    clone.ok();
    assert!(clone.err().contains("lost.bin") && !clone.err().contains("kept.bin"), "{}", clone.story());
    let other = Repo::at(&world, world.path("other"));
    other.holds("kept.bin", &kept);
    assert!(Pointer::parse(&other.read("lost.bin")).is_some());
    assert_eq!(other.status(), "");
}
