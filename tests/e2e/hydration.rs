//! Large files: out of git's memory, in place before anybody can tell, and never over what somebody saved.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use dits_core::hash::FileHash;
use dits_core::pointer::Pointer;
use dits_core::steps::Step;
use dits_tests::media::{MIB, noise};
use dits_tests::processes::{PeakMemory, stopped_in};
use dits_tests::{Repo, World};
use rustix::process::{Signal, kill_process};

/// A repository with two takes, whose files are gone.
fn emptied<'w>(world: &'w World, takes: &[(&str, &[u8])]) -> Repo<'w> {
    let repo = world.repo("film");
    takes.iter().for_each(|(path, content)| repo.write(path, content));
    repo.commit("takes");
    takes.iter().for_each(|(path, _)| fs::remove_file(repo.dir().join(path)).expect("it is ours"));
    repo
}

/// Asserts that `git status` says this, and asks no filter.
fn status_is(repo: &Repo<'_>, expected: &str) {
    let status = repo.call(&["status", "--porcelain"]).env("GIT_TRACE", "1").run();
    assert_eq!(status.out(), expected, "{}", status.story());
    assert!(!status.err().contains("git-dits-filter"), "status asks the filter: {}", status.story());
}

fn no_other_names(repo: &Repo<'_>, expected: &[&str]) {
    let entries = fs::read_dir(repo.dir()).expect("it is there").flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| ![".git", ".gitattributes"].contains(&name.as_str()));
    names.sort();
    assert_eq!(names, expected);
}

#[test]
fn a_large_file_is_in_nobody_s_memory() {
    let world = World::new();
    let content = noise(1, 300 * MIB);
    let repo = emptied(&world, &[("large.bin", &content)]);
    let checkout = repo.call(&["checkout", "-q", "--", "large.bin"]).start();
    let memory = PeakMemory::of(checkout.group());
    checkout.finish().ok();
    let peaks = memory.stop();
    let peak_of = |start: &str| peaks.iter().filter(|(name, _)| name.starts_with(start)).map(|(_, peak)| *peak).max();
    let (git, filter) = (peaks.get("git").copied().unwrap_or_default(), peak_of("git-dits-filter").unwrap_or_default());
    assert!(git > 0 && filter > 0, "{peaks:?}");
    assert!(git < 60 * MIB as u64, "git took {git} bytes");
    assert!(filter < 128 * MIB as u64, "the filter took {filter} bytes");
    repo.holds("large.bin", &content);
    status_is(&repo, "");
}

#[test]
fn the_first_status_after_a_clone_asks_nobody() {
    let world = World::new();
    let (large, small) = (noise(2, 3 * MIB), noise(3, 40_000));
    let repo = world.repo("film");
    repo.write("large.bin", &large);
    repo.write("small.bin", &small);
    repo.commit("takes");
    let other = world.clone_of(&repo.dir().display().to_string(), "other");
    status_is(&other, "");
    other.holds("large.bin", &large);
    other.holds("small.bin", &small);
    let left = fs::read_dir(other.dir().join(".git/dits/hydration")).expect("there was a journal").count();
    assert_eq!(left, 0, "nothing is left to do");
}

#[test]
fn an_edit_of_another_file_in_the_second_of_a_hydration_is_seen() {
    let world = World::new();
    let (large, small) = (noise(4, 3 * MIB), noise(5, 40_000));
    let repo = emptied(&world, &[("large.bin", &large), ("small.bin", &small)]);
    repo.write("notes.txt", "before");
    repo.commit("with notes, and without takes");
    // In one go, so that all of it falls into one second, most of the time.
    for _ in 0..5 {
        repo.git(&["checkout", "-q", "HEAD~1", "--", "."]).ok();
        repo.write("notes.txt", "behind");
        let mut edited = small.clone();
        edited[7] ^= 1;
        repo.write("small.bin", &edited);
        let status = repo.status();
        assert!(status.contains(" M notes.txt") && status.contains("M small.bin"), "{status}");
        repo.git(&["reset", "-q", "--hard"]).ok();
    }
}

type Save = fn(&Path);

/// How people's programs save a file.
fn saves() -> [(&'static str, Save); 3] {
    [
        ("over", |path| fs::write(path, "saved by the user").expect("it is ours")),
        ("beside", |path| {
            let beside = path.with_extension("tmp");
            fs::write(&beside, "saved by the user").expect("it is ours");
            fs::rename(beside, path).expect("it is ours");
        }),
        ("never", |path| fs::remove_file(path).expect("it is ours")),
    ]
}

#[test]
fn a_save_between_any_two_steps_wins() {
    let content = noise(6, 3 * MIB);
    let steps = [
        Step::HydrationWritten,
        Step::HydrationNamed,
        Step::HydrationSwapped,
        Step::HydrationCleared,
        Step::IndexCopied,
        Step::IndexReplaced,
    ];
    for step in steps {
        for (how, save) in saves() {
            let world = World::new();
            let repo = emptied(&world, &[("take.bin", &content)]);
            let checkout = repo.call(&["checkout", "-q", "--", "."]).pause_at(step.name()).start();
            let filter = stopped_in(checkout.group());
            save(&repo.dir().join("take.bin"));
            kill_process(filter, Signal::CONT).expect("it is stopped");
            let done = checkout.finish();
            done.ok();
            match how {
                "never" => {
                    status_is(&repo, " D take.bin\n");
                    no_other_names(&repo, &[]);
                }
                _ => {
                    repo.holds("take.bin", b"saved by the user");
                    assert_eq!(repo.status(), " M take.bin", "{how} at {}: {}", step.name(), done.story());
                    no_other_names(&repo, &["take.bin"]);
                }
            }
            assert!(repo.git(&["dits", "status"]).ok().find("not hydrated").is_none());
        }
    }
}

#[test]
fn what_became_of_a_path_meanwhile_stays_and_takes_no_other_with_it() {
    let world = World::new();
    let (gone, open) = (noise(7, 3 * MIB), noise(8, 3 * MIB));
    let repo = emptied(&world, &[("gone/a.bin", &gone), ("open/b.bin", &open)]);
    let checkout = repo.call(&["checkout", "-q", "--", "."]).pause_at(Step::HydrationNamed.name()).start();
    let filter = stopped_in(checkout.group());
    fs::remove_dir_all(repo.dir().join("gone")).expect("it is ours");
    std::os::unix::fs::symlink("open", repo.dir().join("gone")).expect("it is ours");
    kill_process(filter, Signal::CONT).expect("it is stopped");
    checkout.finish().ok();
    repo.holds("open/b.bin", &open);
    assert_eq!(fs::read_dir(repo.dir().join("open")).expect("it is there").count(), 1);
    assert!(repo.dir().join("gone").is_symlink());
}

#[test]
fn inline_hydration_writes_everything_before_git_ends() {
    let world = World::new();
    let content = noise(9, 3 * MIB);
    let repo = emptied(&world, &[("take.bin", &content)]);
    let seen = repo.dir().join("../seen");
    let hook = repo.dir().join(".git/hooks/post-checkout");
    fs::create_dir_all(hook.parent().expect("it is in a folder")).expect("it is ours");
    fs::write(&hook, format!("#!/bin/sh\ncp take.bin '{}'\n", seen.display())).expect("it is ours");
    fs::set_permissions(&hook, PermissionsExt::from_mode(0o755)).expect("it is ours");
    repo.git(&["-c", "dits.hydrate=inline", "checkout", "-q", "-f", "HEAD"]).ok();
    assert!(fs::read(&seen).expect("the hook ran") == content);
    status_is(&repo, "");
    fs::remove_file(repo.dir().join("take.bin")).expect("it is ours");
    let wrong = repo.git(&["-c", "dits.hydrate=later", "checkout", "-q", "--", "."]);
    assert!(wrong.fails().contains("dits.hydrate"));
}

#[test]
fn two_checkouts_in_two_work_trees_hydrate_both() {
    let world = World::new();
    let content = noise(10, 3 * MIB);
    let repo = emptied(&world, &[("take.bin", &content)]);
    let first = repo.call(&["checkout", "-q", "--", "."]).pause_at(Step::HydrationNamed.name()).start();
    let filter = stopped_in(first.group());
    repo.git(&["worktree", "add", "-q", "../second"]).ok();
    let second = Repo::at(&world, world.path("second"));
    second.holds("take.bin", &content);
    status_is(&second, "");
    // The same path at the same time: one of the two writes it, and the other finds that out.
    repo.git(&["dits", "pull"]).ok();
    repo.holds("take.bin", &content);
    kill_process(filter, Signal::CONT).expect("it is stopped");
    let done = first.finish();
    done.ok();
    assert!(!done.err().contains("changed meanwhile"), "{}", done.story());
    repo.holds("take.bin", &content);
    assert_eq!(repo.status(), "");
    no_other_names(&repo, &["take.bin"]);
}

#[test]
fn a_checkout_that_is_interrupted_leaves_pointers_and_goes_on() {
    let contents: Vec<_> = (0..4).map(|n| noise(20 + n, 3 * MIB)).collect();
    let paths = ["a.bin", "b.bin", "c.bin", "d.bin"];
    for step in [Step::HydrationWritten, Step::HydrationSwapped, Step::HydrationCleared] {
        let world = World::new();
        let takes: Vec<(&str, &[u8])> = paths.into_iter().zip(contents.iter().map(Vec::as_slice)).collect();
        let repo = emptied(&world, &takes);
        let checkout = repo.call(&["checkout", "-q", "--", "."]).interrupt_at(step.name()).run();
        assert!(
            checkout.err().contains("interrupted") && checkout.err().contains("git dits pull"),
            "{}",
            checkout.story()
        );
        let is_pointer = |path: &&str| Pointer::parse(&repo.read(path)).is_some();
        let left = paths.iter().filter(|path| is_pointer(path)).count();
        assert!(left > 0, "{} was not in time: {}", step.name(), checkout.story());
        no_other_names(&repo, &paths);
        assert_eq!(repo.status(), "", "a pointer in the place of its file is no change");
        repo.git(&["dits", "pull"]).ok();
        takes.iter().for_each(|(path, content)| repo.holds(path, content));
        status_is(&repo, "");
    }
}

#[test]
fn a_pull_that_is_interrupted_while_it_writes_ends_as_shells_expect_and_goes_on() {
    let world = World::new();
    let contents: Vec<_> = (0..4).map(|n| noise(40 + n, 3 * MIB)).collect();
    let paths = ["a.bin", "b.bin", "c.bin", "d.bin"];
    let takes: Vec<(&str, &[u8])> = paths.into_iter().zip(contents.iter().map(Vec::as_slice)).collect();
    let repo = emptied(&world, &takes);
    repo.call(&["checkout", "-q", "--", "."]).env("GIT_DITS_SKIP_SMUDGE", "1").run().ok();
    let pull = world.call("git-dits").args(["pull"]).dir(repo.dir());
    let pull = pull.interrupt_at(Step::HydrationSwapped.name()).run();
    assert_eq!(pull.status.code(), Some(130), "{}", pull.story());
    assert!(pull.err().contains("interrupted") && pull.err().contains("git dits pull"), "{}", pull.story());
    no_other_names(&repo, &paths);
    assert!(paths.iter().any(|path| Pointer::parse(&repo.read(path)).is_some()));
    assert_eq!(repo.status(), "");
    repo.git(&["dits", "pull"]).ok();
    takes.iter().for_each(|(path, content)| repo.holds(path, content));
    status_is(&repo, "");
}

#[test]
fn an_index_that_somebody_holds_is_told_later() {
    let world = World::new();
    let content = noise(30, 3 * MIB);
    let repo = emptied(&world, &[("take.bin", &content)]);
    let checkout = repo.call(&["checkout", "-q", "--", "."]).pause_at(Step::HydrationCleared.name()).start();
    let filter = stopped_in(checkout.group());
    let lock = repo.dir().join(".git/index.lock");
    fs::write(&lock, "").expect("nobody has it");
    kill_process(filter, Signal::CONT).expect("it is stopped");
    let done = checkout.finish();
    done.ok();
    assert!(done.err().contains("index.lock") && done.err().contains("git dits pull"), "{}", done.story());
    repo.holds("take.bin", &content);
    fs::remove_file(lock).expect("it is ours");
    repo.git(&["dits", "pull"]).ok();
    status_is(&repo, "");
}

#[test]
fn what_a_killed_checkout_left_is_hydrated_only_where_it_is_asked_for() {
    let (first, second) = (noise(37, 3 * MIB), noise(38, 3 * MIB));
    for command in [["dits", "checkout", "a.bin"], ["checkout", "--", "a.bin"], ["dits", "pull", "--include=a.bin"]] {
        let world = World::new();
        let repo = emptied(&world, &[("a.bin", &first), ("b.bin", &second)]);
        repo.git(&["config", "dits.installHooks", "false"]).ok();
        repo.git(&["dits", "uninstall", "--local"]).ok();
        repo.call(&["checkout", "-q", "--", "."]).stop_at(Step::HydrationWritten.name()).run();
        if command[0] == "checkout" {
            fs::remove_file(repo.dir().join("a.bin")).expect("it is ours");
        }
        repo.git(&command).ok();
        repo.holds("a.bin", &first);
        assert!(Pointer::parse(&repo.read("b.bin")).is_some(), "nobody asked for b.bin: {command:?}");
        status_is(&repo, "");
        let status = repo.git(&["dits", "status"]).ok();
        assert!(status.contains("b.bin") && status.contains("hydrating it was interrupted"), "{status}");
        assert!(!status.contains("a.bin"), "{status}");
        repo.git(&["dits", "pull"]).ok();
        repo.holds("b.bin", &second);
        status_is(&repo, "");
        no_other_names(&repo, &["a.bin", "b.bin"]);
    }
}

#[test]
fn pointers_that_stay_pointers_are_asked_about_by_nobody() {
    let world = World::new();
    let repo = world.repo("film");
    repo.write("large.bin", noise(31, 3 * MIB));
    repo.write("small.bin", noise(32, 40_000));
    repo.commit("takes");
    let from = repo.dir().display().to_string();
    let clone = world.call("git").args(["clone", "-q", &from, "skipped"]).env("GIT_DITS_SKIP_SMUDGE", "1").run();
    clone.ok();
    status_is(&Repo::at(&world, world.path("skipped")), "");
    fs::remove_dir_all(repo.store()).expect("it is there");
    let other = world.clone_of(&from, "other");
    assert!(Pointer::parse(&other.read("large.bin")).is_some());
    status_is(&other, "");
    assert!(other.git(&["dits", "status"]).ok().contains("large.bin"));
}

#[test]
fn a_file_of_which_the_index_cannot_be_told_keeps_its_time() {
    let world = World::new();
    let repo = emptied(&world, &[("small.bin", &noise(33, 40_000))]);
    repo.git(&["update-index", "--split-index"]).ok();
    repo.git(&["checkout", "-q", "--", "."]).ok();
    let time_of = |path: &str| repo.dir().join(path).metadata().and_then(|meta| meta.modified()).expect("it is there");
    let before = time_of(".git/index").duration_since(time_of("small.bin")).unwrap_or_default();
    assert!(before < std::time::Duration::from_secs(2), "it was dated {before:?} before the index");
    assert_eq!(repo.status(), "");
}

#[test]
fn what_is_done_is_not_done_again_because_something_else_is_missing() {
    let world = World::new();
    let lost = Pointer { oid: FileHash::of(b"lost"), size: 2_000_000 }.to_string();
    let large = noise(33, 3 * MIB);
    let repo = emptied(&world, &[("large.bin", &large), ("lost.bin", lost.as_bytes())]);
    repo.git(&["checkout", "-q", "--", "."]).ok();
    repo.holds("large.bin", &large);
    repo.git(&["dits", "dehydrate", "large.bin"]).ok();
    fs::remove_file(repo.dir().join("lost.bin")).expect("it is ours");
    repo.git(&["checkout", "-q", "--", "lost.bin"]).ok();
    assert!(Pointer::parse(&repo.read("large.bin")).is_some(), "a pointer that somebody made stays one");
}

#[test]
fn a_journal_that_cannot_be_written_costs_git_memory_and_nothing_else() {
    let world = World::new();
    let content = noise(33, 3 * MIB);
    let repo = emptied(&world, &[("take.bin", &content)]);
    fs::write(repo.dir().join(".git/dits/hydration"), "in the way").expect("it is ours");
    let checkout = repo.git(&["checkout", "-q", "--", "."]);
    checkout.ok();
    assert!(checkout.err().contains("hydration") && checkout.err().contains("memory"), "{}", checkout.story());
    repo.holds("take.bin", &content);
    status_is(&repo, "");
}

#[test]
fn a_checkout_that_is_interrupted_while_git_asks_hydrates_nothing() {
    let world = World::new();
    let (first, second) = (noise(34, 3 * MIB), noise(35, 3 * MIB));
    let repo = emptied(&world, &[("a.bin", &first), ("b.bin", &second)]);
    let step = format!("{}:2", Step::HydrationNoted.name());
    let checkout = repo.call(&["checkout", "-q", "--", "."]).interrupt_at(&step).run();
    checkout.breaks();
    assert!(Pointer::parse(&repo.read("a.bin")).is_some(), "{}", checkout.story());
    no_other_names(&repo, &["a.bin"]);
    repo.git(&["checkout", "-q", "--", "."]).ok();
    repo.holds("a.bin", &first);
    repo.holds("b.bin", &second);
    status_is(&repo, "");
    let left = fs::read_dir(repo.dir().join(".git/dits/hydration")).expect("there were journals").count();
    assert_eq!(left, 0, "the journal of the first was taken over");
}

#[test]
fn media_that_is_damaged_here_is_fetched_again() {
    let world = World::new();
    let server = world.serve();
    let content = noise(36, 3 * MIB);
    let repo = world.repo("film");
    repo.write("take.bin", &content);
    repo.commit("a take");
    repo.push_to(&server.url("film"));
    for folder in ["open", "packs"] {
        for entry in fs::read_dir(repo.store().join(folder)).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|end| end == "pack") {
                let mut bytes = fs::read(entry.path()).expect("it is ours");
                bytes[1_000_000] ^= 1;
                fs::write(entry.path(), bytes).expect("it is ours");
            }
        }
    }
    fs::remove_file(repo.dir().join("take.bin")).expect("it is ours");
    let checkout = repo.git(&["checkout", "-q", "--", "."]);
    checkout.ok();
    assert!(!checkout.err().contains("pointer"), "{}", checkout.story());
    repo.holds("take.bin", &content);
    status_is(&repo, "");
}
