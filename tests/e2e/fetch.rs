//! `git fetch` and `git pull`.

use dits_tests::World;
use dits_tests::media::{MIB, noise, overwritten};
use dits_tests::repo::bytes_below;

#[test]
fn a_pull_brings_what_others_pushed_and_only_what_is_new() {
    let world = World::new();
    let server = world.serve();
    let repo = world.repo("film");
    let content = noise(1, 6 * MIB);
    repo.write("a.bin", &content);
    repo.commit("a take");
    repo.push_to(&server.url("film"));
    let other = world.clone_of(&server.url("film"), "other");
    let before = bytes_below(&other.store());
    let edited = overwritten(&content, MIB, 64 * 1024, 2);
    repo.write("a.bin", &edited);
    repo.commit("an edit");
    repo.git(&["push", "-q"]).ok();
    other.git(&["pull", "-q"]).ok();
    other.holds("a.bin", &edited);
    let grown = bytes_below(&other.store()) - before;
    assert!(grown <= MIB as u64, "the clone's store grew by {grown} bytes");
}

#[test]
fn a_fetch_alone_brings_media_when_it_is_checked_out() {
    let world = World::new();
    let server = world.serve();
    let repo = world.repo("film");
    repo.push_to(&server.url("film"));
    let other = world.clone_of(&server.url("film"), "other");
    let content = noise(3, 2 * MIB);
    repo.git(&["switch", "-q", "-c", "side"]).ok();
    repo.write("side.bin", &content);
    repo.commit("on the side");
    repo.git(&["push", "-q", "origin", "side"]).ok();
    other.git(&["fetch", "-q"]).ok();
    assert!(bytes_below(&other.store()) < MIB as u64, "git fetch brings no media");
    other.git(&["switch", "-q", "side"]).ok();
    other.holds("side.bin", &content);
}

#[test]
fn media_can_be_fetched_ahead_of_a_checkout_without_the_server() {
    let world = World::new();
    let server = world.serve();
    let repo = world.repo("film");
    let content = noise(4, 2 * MIB);
    repo.push_to(&server.url("film"));
    let other = world.clone_of(&server.url("film"), "other");
    repo.write("a.bin", &content);
    repo.commit("a take");
    repo.git(&["push", "-q"]).ok();
    other.git(&["fetch", "-q"]).ok();
    other.git(&["dits", "fetch", "origin", "origin/main"]).ok();
    server.kill();
    other.git(&["merge", "-q", "origin/main"]).ok();
    other.holds("a.bin", &content);
}
