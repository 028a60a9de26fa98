//! `git push dits://…`.

use dits_tests::World;
use dits_tests::media::{MIB, noise, overwritten};
use dits_tests::repo::bytes_below;

#[test]
fn a_push_brings_media_and_history_to_the_server() {
    let world = World::new();
    let server = world.serve();
    let repo = world.repo("film");
    let content = noise(1, 3 * MIB);
    repo.write("a.bin", &content);
    let head = repo.commit("a take");
    repo.push_to(&server.url("group/film"));
    let bare = server.bare("group/film");
    let there = world.call("git").args(["rev-parse", "main"]).dir(&bare).run().ok();
    assert_eq!(there, head);
    let stored = bytes_below(&server.root().join("store"));
    assert!(stored >= content.len() as u64, "the server stored {stored} bytes");
}

/// Loose ones are not synced, and a `git gc` beside the push may take away the folder that one is moved into.
#[test]
fn what_a_server_is_sent_stays_in_packs() {
    let world = World::new();
    let server = world.serve();
    let repo = world.repo("film");
    repo.push_to(&server.url("film"));
    for version in 0..3 {
        repo.write("script.txt", format!("version {version}\n"));
        repo.commit("a version");
        repo.git(&["push", "-q", "origin", "HEAD"]).ok();
    }
    let folders = std::fs::read_dir(server.bare("film").join("objects")).expect("there").flatten();
    let mut names: Vec<String> = folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    assert_eq!(names, ["info", "pack"]);
}

#[test]
fn a_repository_of_sha_256_makes_the_remote_one_by_its_first_push() {
    let world = World::new();
    let server = world.serve();
    let share = format!("dits::{}", world.path("nas/film.git").display());
    let repo = world.repo_of("sha256", "film", &["*.bin"]);
    let content = noise(7, 3 * MIB);
    repo.write("a.bin", &content);
    let head = repo.commit("a take");
    assert_eq!(head.len(), 64);
    for (name, url) in [("from-server", server.url("group/film")), ("from-share", share)] {
        repo.git(&["push", "-q", &url, "HEAD:main"]).ok();
        let other = world.clone_of(&url, name);
        other.holds("a.bin", &content);
        assert_eq!(other.git(&["rev-parse", "--show-object-format", "HEAD"]).ok(), format!("sha256\n{head}"));
        assert_eq!(other.status(), "");
        other.write("a.bin", &content[MIB..]);
        let later = other.commit("cut");
        other.git(&["push", "-q"]).ok();
        repo.git(&["fetch", "-q", &url, "main"]).ok();
        assert_eq!(repo.git(&["rev-parse", "FETCH_HEAD"]).ok(), later);
    }
    // What is there already keeps its format, and git says so.
    let plain = world.repo("plain");
    plain.write("a.bin", &content);
    plain.commit("a take");
    assert!(plain.git(&["push", "-q", &server.url("group/film"), "HEAD:other"]).fails().contains("hash algorithm"));
}

#[test]
fn media_that_is_pushed_first_does_not_say_how_objects_are_named() {
    let world = World::new();
    let server = world.serve();
    let repo = world.repo_of("sha256", "film", &["*.bin"]);
    let content = noise(8, MIB);
    repo.write("a.bin", &content);
    repo.commit("a take");
    repo.git(&["remote", "add", "origin", &server.url("film")]).ok();
    repo.git(&["dits", "push", "origin"]).ok();
    repo.git(&["push", "-q", "origin", "HEAD:main"]).ok();
    world.clone_of(&server.url("film"), "clone").holds("a.bin", &content);
}

#[test]
fn what_the_server_has_is_not_sent_again() {
    let world = World::new();
    let server = world.serve();
    let repo = world.repo("film");
    let content = noise(2, 6 * MIB);
    repo.write("a.bin", &content);
    repo.commit("a take");
    repo.push_to(&server.url("film"));
    let store = server.root().join("store");
    let before = bytes_below(&store);
    repo.write("copy.bin", &content);
    repo.commit("a copy");
    repo.git(&["push", "-q"]).ok();
    assert!(bytes_below(&store) - before <= 16 * 1024);
    repo.write("a.bin", overwritten(&content, 2 * MIB, 64 * 1024, 3));
    repo.commit("an edit");
    repo.git(&["push", "-q"]).ok();
    let grown = bytes_below(&store) - before;
    assert!(grown <= MIB as u64, "the server's store grew by {grown} bytes");
}

#[test]
fn a_dry_run_sends_nothing() {
    let world = World::new();
    let server = world.serve();
    let repo = world.repo("film");
    repo.write("a.bin", noise(4, 2 * MIB));
    repo.commit("a take");
    repo.git(&["remote", "add", "origin", &server.url("film")]).ok();
    repo.git(&["push", "-q", "--dry-run", "origin", "main"]).ok();
    assert!(bytes_below(&server.root().join("store")) < MIB as u64);
}

#[test]
fn the_data_may_travel_over_grpc_alone() {
    let world = World::new();
    let server = world.serve();
    let repo = world.repo("film");
    let content = noise(5, 3 * MIB);
    repo.write("a.bin", &content);
    repo.commit("a take");
    repo.git(&["config", "dits.transport", "grpc"]).ok();
    repo.push_to(&server.url("film"));
    world.git(&["clone", "-q", "-c", "dits.transport=grpc", &server.url("film"), "other"]).ok();
    dits_tests::Repo::at(&world, world.path("other")).holds("a.bin", &content);
}

#[test]
fn a_push_to_a_server_that_is_gone_fails_and_can_be_repeated() {
    let world = World::new();
    let server = world.serve();
    let (port, url) = (server.port(), server.url("film"));
    let repo = world.repo("film");
    repo.write("a.bin", noise(6, MIB));
    repo.commit("a take");
    assert!(server.stop().success(), "SIGTERM stops it cleanly");
    repo.git(&["remote", "add", "origin", &url]).ok();
    let failed = repo.git(&["push", "-q", "origin", "main"]);
    assert!(failed.fails().contains("error: "), "{}", failed.story());
    let _server = dits_tests::Server::start_on(&world, &world.path("server"), port, &[]);
    repo.git(&["push", "-q", "origin", "main"]).ok();
}

#[test]
fn a_changed_certificate_is_refused_with_the_way_out() {
    let world = World::new();
    let server = world.serve();
    let port = server.port();
    let repo = world.repo("film");
    repo.push_to(&server.url("film"));
    server.kill();
    let _other = dits_tests::Server::start_on(&world, &world.path("another"), port, &[]);
    let refused = repo.git(&["ls-remote", "origin"]);
    assert!(refused.fails().contains("git dits auth pin"), "{}", refused.story());
}
