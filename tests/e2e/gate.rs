//! A ref never names media that the remote lacks.

use dits_tests::media::{MIB, noise};
use dits_tests::{Repo, Server, World};

/// A clone whose last commit names media that is nowhere.
fn with_lost_media<'w>(world: &'w World, server: &Server) -> Repo<'w> {
    let repo = world.repo("film");
    repo.push_to(&server.url("film"));
    repo.write("shots/lost.bin", noise(1, 2 * MIB));
    repo.commit("a take that is lost");
    std::fs::remove_dir_all(repo.store()).expect("the store is there");
    // A file that still stood there would be stored again as soon as git looks whether it changed.
    std::fs::remove_file(repo.dir().join("shots/lost.bin")).expect("it is ours");
    repo
}

fn head_of(world: &World, server: &Server, name: &str) -> String {
    let call = world.call("git").args(["rev-parse", "--verify", "-q", name]).dir(&server.bare("film"));
    call.run().out().trim().to_owned()
}

#[test]
fn a_push_without_its_media_is_refused_whatever_is_skipped() {
    let world = World::new();
    let server = world.serve();
    let repo = with_lost_media(&world, &server);
    let before = head_of(&world, &server, "refs/heads/main");
    for args in
        [&["push", "-q"][..], &["push", "-q", "--no-verify"], &["push", "-q", "--no-verify", "origin", "HEAD:new"]]
    {
        let refused = repo.git(args);
        assert!(refused.fails().contains("shots/lost.bin"), "{}", refused.story());
    }
    assert_eq!(head_of(&world, &server, "refs/heads/main"), before);
    assert_eq!(head_of(&world, &server, "refs/heads/new"), "");
}

#[test]
fn media_that_comes_back_lets_the_push_through() {
    let world = World::new();
    let server = world.serve();
    let repo = with_lost_media(&world, &server);
    repo.git(&["push", "-q"]).fails();
    repo.write("found.bin", noise(1, 2 * MIB));
    repo.git(&["add", "found.bin"]).ok();
    repo.git(&["push", "-q"]).ok();
    world.clone_of(&server.url("film"), "other").holds("shots/lost.bin", &noise(1, 2 * MIB));
}

#[test]
fn media_confirmed_on_the_server_may_be_missing_here() {
    let world = World::new();
    let server = world.serve();
    let repo = world.repo("film");
    repo.write("a.bin", noise(2, 2 * MIB));
    repo.commit("a take");
    repo.push_to(&server.url("film"));
    std::fs::remove_dir_all(repo.store()).expect("the store is there");
    repo.git(&["mv", "a.bin", "b.bin"]).ok();
    repo.git(&["commit", "-q", "-m", "renamed"]).ok();
    repo.git(&["push", "-q"]).ok();
}

#[test]
fn what_was_committed_without_filters_is_refused() {
    let world = World::new();
    let server = world.serve();
    let repo = world.repo("film");
    repo.push_to(&server.url("film"));
    repo.write("raw.bin", noise(3, 2 * MIB));
    let raw = repo.git(&["hash-object", "-w", "--no-filters", "raw.bin"]).ok();
    repo.git(&["update-index", "--add", "--cacheinfo", &format!("100644,{raw},raw.bin")]).ok();
    repo.git(&["commit", "-q", "--no-verify", "-m", "by a client without filters"]).ok();
    let refused = repo.git(&["push", "-q", "--no-verify"]);
    assert!(refused.fails().contains("raw.bin"), "{}", refused.story());
}

#[test]
fn media_named_only_by_an_older_commit_of_the_push_counts_too() {
    let world = World::new();
    let server = world.serve();
    let repo = with_lost_media(&world, &server);
    repo.git(&["rm", "-q", "shots/lost.bin"]).ok();
    repo.git(&["commit", "-q", "-m", "gone again"]).ok();
    let refused = repo.git(&["push", "-q", "--no-verify"]);
    assert!(refused.fails().contains("shots/lost.bin"), "{}", refused.story());
}
