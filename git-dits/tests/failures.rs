//! How commands fail: `error:`, `caused by:`, `hint:`, and the exit status.

mod support;

use dits_tests::media::noise;
use dits_tests::{Done, Repo, World};
use support::story;

/// Commands that need a repository, with arguments that are well formed.
const IN_A_REPOSITORY: [&[&str]; 8] = [
    &["track", "*.mov"],
    &["untrack", "*.mov"],
    &["status"],
    &["ls-files"],
    &["pull"],
    &["fetch"],
    &["push", "origin"],
    &["install", "--local"],
];

fn dits(repo: &Repo<'_>, args: &[&str]) -> Done {
    repo.git(&[&["dits"], args].concat())
}

/// Asserts the exit status, and that every line says what it is.
fn fails(done: &Done, status: i32, message: &str) {
    assert_eq!(done.status.code(), Some(status), "{}", done.story());
    assert!(done.err().starts_with(&format!("error: {message}")), "{}", done.story());
    for line in done.err().lines() {
        let is_known = ["error: ", "caused by: ", "hint: ", "warning: "].iter().any(|start| line.starts_with(start));
        assert!(is_known, "{line:?} says not what it is: {}", done.story());
    }
    assert_eq!(done.out(), "", "facts of what failed are none");
}

#[test]
fn outside_of_a_repository_each_command_says_so_and_ends_with_1() {
    let world = World::new();
    for args in IN_A_REPOSITORY {
        let done = world.git(&[&["dits"], args].concat());
        fails(&done, 1, "");
        assert!(done.err().contains("is not in a git repository"), "{args:?}: {}", done.story());
    }
    assert_eq!(
        story(&world, &world.git(&["dits", "status"])),
        "! error: WORLD is not in a git repository\n! hint: go into one, or make one with `git init`\nexit 1\n"
    );
}

#[test]
fn a_remote_or_a_revision_that_is_none_ends_with_2() {
    let world = World::new();
    let repo = world.repo("film");
    repo.git(&["remote", "add", "origin", &format!("dits::{}", world.bare("nas.git").display())]).ok();
    fails(&dits(&repo, &["push", "nobody"]), 2, "there is no remote \"nobody\"");
    fails(&dits(&repo, &["fetch", "nobody"]), 2, "there is no remote \"nobody\"");
    fails(&dits(&repo, &["pull", "nobody"]), 2, "there is no remote \"nobody\"");
    for args in [&["push", "origin", "nope"][..], &["fetch", "origin", "nope"], &["ls-files", "nope"]] {
        fails(&dits(&repo, args), 2, "there is no revision \"nope\"");
    }
    fails(&dits(&repo, &["push", "origin", "-d", "--", "--upload-pack=x"]), 2, "there is no revision");
}

#[test]
fn wrong_arguments_end_with_2() {
    let world = World::new();
    let repo = world.repo("film");
    for args in [
        &["no-such-command"][..],
        &["push"],
        &["status", "--nope"],
        &["fetch", "--all", "origin", "main"],
        &["roundtrip"],
    ] {
        assert_eq!(dits(&repo, args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn a_server_that_is_away_ends_with_1_and_names_what_is_missing() {
    let world = World::new();
    let server = world.serve();
    let repo = world.repo("film");
    repo.write("a.mov", noise(1, 300_000));
    repo.commit("a take");
    repo.push_to(&server.url("film"));
    let skip = [("GIT_DITS_SKIP_SMUDGE", "1")];
    let clone = world.call("git").args(["clone", "-q", &server.url("film"), "two"]).env(skip[0].0, skip[0].1);
    clone.run().ok();
    let two = Repo::at(&world, world.path("two"));
    let url = server.url("film");
    server.kill();
    for verb in ["fetch", "pull"] {
        let done = dits(&two, &[verb]);
        assert_eq!(done.status.code(), Some(1), "{}", done.story());
        let said = done.err();
        assert!(said.starts_with("error: 1 file could not be fetched\ncaused by: a.mov: "), "{}", done.story());
        assert!(said.contains(&url) && said.contains("\nhint: "), "{}", done.story());
    }
    repo.write("b.mov", noise(2, 300_000));
    repo.commit("another take");
    let done = dits(&repo, &["push", "origin"]);
    assert_eq!(done.status.code(), Some(1), "{}", done.story());
    assert!(done.err().starts_with("error: "), "{}", done.story());
    assert_eq!(done.err().matches("error: ").count(), 1, "once is enough: {}", done.story());
}

#[test]
fn what_is_refused_ends_with_3() {
    let world = World::new();
    let repo = world.repo("film");
    repo.git(&["remote", "add", "origin", &world.bare("forge.git").display().to_string()]).ok();
    repo.write("a.mov", noise(1, 10_000));
    repo.commit("a take");
    fails(&dits(&repo, &["push", "origin"]), 3, "there is no address for media");
    repo.git(&["config", "dits.url", &format!("dits::{}", world.bare("nas.git").display())]).ok();
    repo.write("gone.mov", format!("dits 1\noid blake3:{}\nsize 5\n", "7".repeat(64)));
    repo.commit("names what nobody has");
    let done = dits(&repo, &["push", "origin"]);
    assert_eq!(done.status.code(), Some(3), "{}", done.story());
    assert!(done.err().starts_with("error: cannot push: 1 file of the media cannot be uploaded\n"), "{}", done.story());
    world.git(&["config", "--global", "filter.dits.clean", "their-own %f"]).ok();
    fails(&dits(&repo, &["install"]), 3, "filter.dits.clean is already set");
}

#[test]
fn a_setting_that_makes_no_sense_names_its_key() {
    let world = World::new();
    let repo = world.repo("film");
    repo.git(&["config", "dits.transport", "pigeon"]).ok();
    fails(&dits(&repo, &["status"]), 1, "dits.transport is \"pigeon\", which is none of: auto, quic, grpc");
}

#[test]
fn a_closed_pipe_is_a_normal_end() {
    let world = World::new();
    let repo = world.repo("film");
    repo.write("a.mov", noise(1, 10_000));
    repo.commit("a take");
    // The reader is gone before anything is written.
    let script = "{ git dits ls-files; echo status $? >&2; } | { exec <&-; }";
    let done = world.call("bash").args(["-c", script]).dir(repo.dir()).run();
    assert_eq!(done.err(), "status 0\n", "{}", done.story());
}
