//! Ctrl-C at a terminal: everything ends, nothing is half-written, and going on works.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use dits_core::pointer::Pointer;
use dits_core::steps::Step;
use dits_tests::media::{MIB, noise};
use dits_tests::processes::{go_on, is_running, stopped_in, until};
use dits_tests::repo::bytes_below;
use dits_tests::{Done, Repo, Server, World};
use rustix::process::{Signal, kill_process};

/// Git dies of the signal, whose name a shell shows as 130; Dits' own programs do too.
fn was_interrupted(done: &Done) {
    let is_so = done.status.signal() == Some(2) || done.status.code() == Some(130);
    assert!(is_so, "it was not interrupted: {}", done.story());
}

/// Nothing that stands in the way of the next command, and no file of Dits' own.
fn is_tidy(repo: &Repo<'_>) {
    assert!(!repo.dir().join(".git/index.lock").exists(), "index.lock is left");
    let known = ["take.bin", ".git", ".gitattributes"];
    let entries = std::fs::read_dir(repo.dir()).expect("the folder is ours").flatten();
    let others: Vec<_> =
        entries.map(|entry| entry.file_name()).filter(|name| !known.iter().any(|k| k == name)).collect();
    assert!(others.is_empty(), "{others:?} lie in the work tree");
}

fn pushed_take<'w>(world: &'w World, server: &Server, content: &[u8]) -> Repo<'w> {
    let repo = world.repo("film");
    repo.write("take.bin", content);
    repo.commit("a take");
    repo.push_to(&server.url("film"));
    repo
}

#[test]
fn an_add_that_is_interrupted_stages_nothing_half_stored_and_can_be_repeated() {
    let content = noise(1, 6 * MIB);
    for step in [Step::PackPayloadWritten, Step::PackLogWritten, Step::PackIndexed, Step::PackLogSynced] {
        let world = World::new();
        let repo = world.repo("film");
        repo.write("take.bin", &content);
        let add = repo.call(&["add", "take.bin"]).interrupt_at(step.name()).run();
        was_interrupted(&add);
        is_tidy(&repo);
        // The sync comes when git has the whole answer, and may have staged it.
        if step != Step::PackLogSynced {
            assert_eq!(repo.git(&["ls-files", "take.bin"]).ok(), "", "{}", step.name());
        }
        repo.commit("going on");
        repo.write("take.bin", b"");
        repo.git(&["reset", "-q", "--hard"]).ok();
        repo.holds("take.bin", &content);
    }
}

#[test]
fn a_push_to_a_server_that_is_interrupted_moves_no_ref_and_goes_on() {
    let world = World::new();
    let server = world.serve();
    let content = noise(2, 96 * MIB);
    let repo = world.repo("film");
    repo.push_to(&server.url("film"));
    repo.write("take.bin", &content);
    let head = repo.commit("a take");
    let store = server.root().join("store");
    let push = repo.call(&["push", "-q"]).start();
    until("an upload", || bytes_below(&store) > 2 * MIB as u64);
    let push = push.interrupt();
    was_interrupted(&push);
    is_tidy(&repo);
    let there = world.git(&["ls-remote", &server.url("film"), "main"]).ok();
    assert!(!there.contains(&head), "the ref moved");
    repo.git(&["push", "-q"]).ok();
    world.clone_of(&server.url("film"), "other").holds("take.bin", &content);
}

#[test]
fn a_push_to_a_share_that_is_interrupted_moves_no_ref_and_goes_on() {
    for step in [Step::WholePackWritten, Step::WholePackRenamed] {
        let world = World::new();
        let content = noise(3, 3 * MIB);
        let repo = world.repo("film");
        let url = format!("dits::{}", world.bare("nas.git").display());
        repo.push_to(&url);
        repo.write("take.bin", &content);
        let head = repo.commit("a take");
        was_interrupted(&repo.call(&["push", "-q"]).interrupt_at(step.name()).run());
        is_tidy(&repo);
        assert!(!world.git(&["ls-remote", &url, "main"]).ok().contains(&head), "{} moved the ref", step.name());
        repo.git(&["push", "-q"]).ok();
        world.clone_of(&url, "other").holds("take.bin", &content);
    }
}

#[test]
fn a_clone_that_is_interrupted_leaves_nothing_half_written() {
    let world = World::new();
    let server = world.serve();
    let content = noise(4, 6 * MIB);
    pushed_take(&world, &server, &content);
    for step in [Step::PackOpened, Step::PackLogWritten, Step::PackIndexed] {
        let name = format!("at-{}", step.name());
        let clone = world.call("git").args(["clone", "-q", &server.url("film"), &name]);
        let clone = clone.interrupt_at(step.name()).run();
        was_interrupted(&clone);
        let other = Repo::at(&world, world.path(&name));
        // Git keeps what it cloned once it checks out, and says how to go on.
        assert!(clone.err().contains("git restore --source=HEAD"), "{}", clone.story());
        is_tidy(&other);
        is_whole_or_absent(&other.dir().join("take.bin"), &content);
        other.git(&["restore", "--source=HEAD", "--staged", "--worktree", ":/"]).ok();
        other.holds("take.bin", &content);
        assert_eq!(other.status(), "");
    }
}

#[test]
fn a_pull_that_is_interrupted_leaves_pointers_and_goes_on() {
    let world = World::new();
    let server = world.serve();
    let content = noise(5, 6 * MIB);
    pushed_take(&world, &server, &content);
    for step in [Step::PackPayloadWritten, Step::PackLogWritten, Step::PackIndexed] {
        let name = format!("at-{}", step.name());
        let clone = world.call("git").args(["clone", "-q", &server.url("film"), &name]);
        clone.env("GIT_DITS_SKIP_SMUDGE", "1").run().ok();
        let other = Repo::at(&world, world.path(&name));
        was_interrupted(&other.call(&["dits", "pull"]).interrupt_at(step.name()).run());
        is_tidy(&other);
        assert!(Pointer::parse(&other.read("take.bin")).is_some(), "{}", step.name());
        other.git(&["dits", "pull"]).ok();
        other.holds("take.bin", &content);
        assert_eq!(other.status(), "");
    }
}

#[test]
fn dehydrating_that_is_interrupted_tells_of_what_is_done_and_leaves_the_rest() {
    let world = World::new();
    let repo = world.repo("film");
    let takes = [("a.bin", noise(6, MIB)), ("b.bin", noise(7, MIB)), ("c.bin", noise(8, MIB))];
    takes.iter().for_each(|(path, content)| repo.write(path, content));
    repo.commit("takes");
    // Through git, which passes on to its child the signal that the terminal has sent to both.
    let step = format!("{}:2", Step::HydrationSwapped.name());
    let dehydrate = repo.call(&["dits", "dehydrate", "."]).interrupt_at(&step).run();
    was_interrupted(&dehydrate);
    assert!(dehydrate.out().starts_with("2 files dehydrated"), "{}", dehydrate.story());
    assert!(dehydrate.err().contains("interrupted; the files before are dehydrated"), "{}", dehydrate.story());
    assert!(Pointer::parse(&repo.read("b.bin")).is_some());
    repo.holds("c.bin", &takes[2].1);
    assert_eq!(repo.status(), "");
    assert_eq!(std::fs::read_dir(repo.dir().join(".git/dits/hydration")).expect("it was made").count(), 0);
    repo.git(&["dits", "pull"]).ok();
    takes.iter().for_each(|(path, content)| repo.holds(path, content));
}

#[test]
fn a_second_ctrl_c_ends_at_once_what_the_first_one_has_not_ended() {
    for is_pressed_again in [false, true] {
        let world = World::new();
        let repo = world.repo("film");
        let content = noise(6, MIB);
        repo.write("take.bin", &content);
        repo.commit("a take");
        // A git that hangs, and does not hear of Ctrl-C.
        let path = world.path_with_git_that("ls-files", "kill -STOP $$");
        let dehydrate = world.call("git-dits").args(["dehydrate", "."]).dir(repo.dir()).env("PATH", path).start();
        let (program, git) = (dehydrate.group(), stopped_in(dehydrate.group()));
        let press = || kill_process(program, Signal::INT);
        press().expect("it is there");
        if is_pressed_again {
            // Those that come too soon to be a second one change nothing.
            until("the end of it", || press().is_err() || !is_running(program));
        }
        go_on(git);
        let done = dehydrate.finish();
        match is_pressed_again {
            true => assert_eq!(done.status.signal(), Some(2), "{}", done.story()),
            false => assert_eq!(done.status.code(), Some(130), "{}", done.story()),
        }
        repo.holds("take.bin", &content);
        is_tidy(&repo);
    }
}

fn is_whole_or_absent(path: &Path, content: &[u8]) {
    if let Ok(found) = std::fs::read(path) {
        assert!(found == content || Pointer::parse(&found).is_some(), "{} bytes of a file", found.len());
    }
}
