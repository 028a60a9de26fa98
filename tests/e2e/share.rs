//! `dits::/path`: a bare repository and a store on a disk or NAS, and no server.

use std::path::Path;

use dits_tests::World;
use dits_tests::media::{MIB, noise};

fn url(bare: &Path) -> String {
    format!("dits::{}", bare.display())
}

#[test]
fn a_path_is_pushed_to_and_cloned_from() {
    let world = World::new();
    let bare = world.bare("nas.git");
    let repo = world.repo("film");
    let content = noise(1, 3 * MIB);
    repo.write("a.bin", &content);
    repo.commit("a take");
    repo.push_to(&url(&bare));
    let other = world.clone_of(&url(&bare), "other");
    other.holds("a.bin", &content);
    other.write("b.bin", noise(2, 2 * MIB));
    other.commit("another take");
    other.git(&["push", "-q"]).ok();
    repo.git(&["pull", "-q"]).ok();
    repo.holds("b.bin", &noise(2, 2 * MIB));
}

#[test]
fn users_of_several_machines_share_one_path() {
    let here = World::new();
    let there = World::new();
    let bare = here.bare("nas.git");
    let repo = here.repo("film");
    repo.push_to(&url(&bare));
    let other = there.clone_of(&url(&bare), "film");
    for round in 0..3 {
        repo.write("here.bin", noise(round * 2, MIB));
        repo.commit("from here");
        repo.git(&["pull", "-q", "--rebase"]).ok();
        repo.git(&["push", "-q"]).ok();
        other.write("there.bin", noise(round * 2 + 1, MIB));
        other.commit("from there");
        other.git(&["pull", "-q", "--rebase"]).ok();
        other.holds("here.bin", &noise(round * 2, MIB));
        other.git(&["push", "-q"]).ok();
    }
    repo.git(&["pull", "-q", "--rebase"]).ok();
    repo.holds("there.bin", &noise(5, MIB));
}

#[test]
fn plain_git_cannot_push_past_the_media() {
    let world = World::new();
    let bare = world.bare("nas.git");
    let repo = world.repo("film");
    repo.push_to(&url(&bare));
    repo.write("a.bin", noise(3, 2 * MIB));
    repo.commit("a take");
    let plain = bare.display().to_string();
    let refused = repo.git(&["push", "-q", "--no-verify", &plain, "main"]);
    assert!(refused.fails().contains("a.bin"), "{}", refused.story());
    repo.git(&["push", "-q", "origin", "main"]).ok();
    repo.git(&["push", "-q", "--no-verify", &plain, "main:refs/heads/copy"]).ok();
}
