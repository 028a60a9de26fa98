//! `git dits env` as a doctor: what is broken, and whether what it says mends it.

use std::fs;

use dits_tests::media::noise;
use dits_tests::{Repo, World};

/// What is broken, and what is odd, each with the way to mend it.
fn problems(repo: &Repo<'_>) -> (Vec<String>, Vec<String>) {
    let done = repo.git(&["dits", "env", "--json"]);
    let facts: serde_json::Value = serde_json::from_slice(&done.stdout).expect("JSON");
    let (mut broken, mut odd) = (Vec::new(), Vec::new());
    for problem in facts["problems"].as_array().expect("a list") {
        let text = |key: &str| problem[key].as_str().expect("text").to_owned();
        assert!(!text("mend").is_empty());
        let list = if problem["broken"] == true { &mut broken } else { &mut odd };
        list.push(format!("{} | {}", text("what"), text("mend")));
    }
    assert_eq!(done.status.code(), Some(i32::from(!broken.is_empty())), "{}", done.story());
    // Where the programs of a test are, programs with windows do not look.
    odd.retain(|what| !what.contains("where programs with windows may not look"));
    (broken, odd)
}

fn broken(repo: &Repo<'_>) -> Vec<String> {
    let (broken, odd) = problems(repo);
    assert_eq!(odd, [""; 0], "besides {broken:?}");
    broken
}

fn odd(repo: &Repo<'_>) -> Vec<String> {
    let (broken, odd) = problems(repo);
    assert_eq!(broken, [""; 0], "besides {odd:?}");
    odd
}

/// Asserts that there is one problem, that its words begin like this, and that it is mended with what it says.
fn one_to_be_mended(repo: &Repo<'_>, start: &str) {
    let found = broken(repo);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with(start), "{found:?}");
    let (_, command) = found[0].split_once(" | run `").unwrap_or_else(|| panic!("no command: {found:?}"));
    let (command, _) = command.split_once('`').expect("it ends");
    repo.world().call("sh").args(["-c", command]).dir(repo.dir()).run().ok();
    assert_eq!(broken(repo), [""; 0]);
}

#[test]
fn a_good_setup_has_no_problems() {
    let world = World::new();
    let repo = world.repo("film");
    repo.write("a.mov", noise(1, 100_000));
    repo.commit("a take");
    assert_eq!(problems(&repo), (Vec::new(), Vec::new()));
    world.git(&["clone", "-q", "film", "two"]).ok();
    assert_eq!(problems(&Repo::at(&world, world.path("two"))), (Vec::new(), Vec::new()));
    let outside = world.git(&["dits", "env"]);
    assert!(!outside.ok().contains("broken"), "{}", outside.story());
}

#[test]
fn settings_of_the_filter_are_compared_with_what_is_here() {
    let world = World::without_dits();
    world.git(&["init", "-q", "film"]).ok();
    let repo = Repo::at(&world, world.path("film"));
    let found = broken(&repo);
    assert_eq!(found.len(), 5, "{found:?}");
    assert!(found[0].starts_with("filter.dits.process is not set | run `git dits install`"), "{found:?}");
    repo.git(&["dits", "install"]).ok();
    assert_eq!(broken(&repo), [""; 0]);
    world.git(&["config", "--global", "--unset", "filter.dits.required"]).ok();
    one_to_be_mended(&repo, "filter.dits.required is not set");
    world.git(&["config", "--global", "filter.dits.clean", "'/gone it'\\''s/git-dits-filter' clean %f"]).ok();
    one_to_be_mended(&repo, "filter.dits.clean names /gone it's/git-dits-filter, which is gone");
    repo.git(&["config", "filter.dits.required", "false"]).ok();
    assert!(broken(&repo)[0].starts_with("filter.dits.required is \"false\", not \"true\""));
    repo.git(&["config", "--unset", "filter.dits.required"]).ok();
    world.git(&["config", "--global", "diff.dits.textconv", "cat"]).ok();
    assert!(odd(&repo)[0].starts_with("diff.dits.textconv"));
}

#[test]
fn a_helper_that_git_does_not_find_is_named_with_the_link_that_helps() {
    let world = World::new();
    let repo = world.repo("film");
    let path = std::env::var_os("PATH").expect("a PATH");
    let programs = dits_tests::programs::folder();
    let others = std::env::split_paths(&path).filter(|dir| dir != programs && !dir.join("git-remote-dits").is_file());
    let path = std::env::join_paths(others).expect("joined");
    let porcelain = programs.join("git-dits");
    let done = world.call(porcelain.to_str().expect("text")).args(["env"]).env("PATH", &path).dir(repo.dir()).run();
    assert!(done.out().contains("git does not find git-remote-dits"), "{}", done.story());
    assert!(done.out().contains("sudo ln -s"), "{}", done.story());
    assert_eq!(done.status.code(), Some(1));
}

#[test]
fn hooks_that_are_missing_or_of_others_are_named() {
    let world = World::new();
    let repo = world.repo("film");
    let hook = repo.dir().join(".git/hooks/pre-push");
    fs::remove_file(&hook).expect("track put it there");
    one_to_be_mended(&repo, "these hooks are missing: pre-push");
    let ours = fs::read_to_string(&hook).expect("it is back");
    let programs = dits_tests::programs::folder().display().to_string();
    fs::write(&hook, ours.replace(&programs, "/opt/older")).expect("written");
    one_to_be_mended(&repo, "the pre-push hook calls another git-dits");
    repo.git(&["config", "core.hooksPath", "/dev/null"]).ok();
    assert!(broken(&repo)[0].starts_with("core.hooksPath names /dev/null, where Dits is not called"));
    repo.git(&["config", "--unset", "core.hooksPath"]).ok();
    // Hooks that only a newer git than this one reads.
    for hook in ["pre-push", "pre-commit", "post-checkout", "post-merge"] {
        fs::remove_file(repo.dir().join(".git/hooks").join(hook)).expect("it was there");
        repo.git(&["config", &format!("hook.dits-{hook}.event"), hook]).ok();
        repo.git(&["config", &format!("hook.dits-{hook}.command"), "git-dits hook"]).ok();
    }
    assert!(broken(&repo)[0].starts_with("these hooks are missing: "));
    repo.git(&["config", "dits.installHooks", "false"]).ok();
    assert!(odd(&repo)[0].contains("as dits.installHooks wants"));
}

#[test]
fn attributes_that_are_missing_doubled_or_not_enough_are_named() {
    let world = World::new();
    let repo = world.repo("film");
    repo.write("a.mov", noise(1, 100_000));
    repo.commit("a take");
    let good = repo.read(".gitattributes");
    repo.write(".gitattributes", "*.mov filter=dits -merge\n");
    let found = odd(&repo);
    assert!(found[0].starts_with("without -text git may change line ends in media: a.mov"), "{found:?}");
    repo.git(&["config", "core.autocrlf", "true"]).ok();
    assert_eq!(broken(&repo).len(), 1);
    repo.git(&["dits", "track", "*.mov"]).ok();
    assert_eq!(broken(&repo), [""; 0], "which completes the line");
    repo.write(".gitattributes", "*.mov filter=dits -text\n");
    assert!(odd(&repo)[0].starts_with("without -merge a conflict leaves marks in pointers: a.mov"));
    repo.write(".gitattributes", [&good[..], b"*.mov filter=lfs diff=lfs merge=lfs -text\n"].concat());
    let found = problems(&repo).0;
    assert!(
        found[0].starts_with(".gitattributes sends *.mov through two filters, dits and lfs | run `git lfs"),
        "{found:?}"
    );
    repo.write(".gitattributes", "*.bin filter=dits -merge -text\n");
    let found = broken(&repo);
    assert!(found[0].starts_with("no pattern tracks these pointers any more, so that they stay pointers: a.mov"));
    repo.write(".gitattributes", [&good[..], b"*.mov -filter\n"].concat());
    assert_eq!(broken(&repo), [""; 0]);
    repo.write(".gitattributes", &good);
    repo.write(".git/info/attributes", "*.wav filter=dits -text -merge\n");
    one_to_be_mended(&repo, ".git/info/attributes makes *.wav media on this machine alone");
}

#[test]
fn settings_of_the_repository_are_looked_through() {
    let world = World::new();
    let repo = world.repo("film");
    let with = |key: &str, value: &str, find: &dyn Fn(&Repo<'_>) -> Vec<String>| {
        repo.git(&["config", key, value]).ok();
        let found = find(&repo);
        repo.git(&["config", "--unset", key]).ok();
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    };
    assert!(
        with("dits.fetchExlude", "a", &odd).starts_with("nothing reads dits.fetchExlude; is dits.fetchExclude meant?")
    );
    assert!(with("dits.transport", "pigeon", &broken).starts_with("dits.transport is \"pigeon\""));
    assert!(with("core.splitIndex", "true", &odd).starts_with("git's index is split"));
    assert!(with("merge.renormalize", "true", &odd).starts_with("merge.renormalize"));
    repo.write(".ditsconfig", "[dits]\n\turl = dits://studio/film\n");
    assert!(odd(&repo)[0].contains("run `git config dits.url dits://studio/film`"));
    fs::remove_file(repo.dir().join(".ditsconfig")).expect("there");
    fs::create_dir_all(repo.store()).expect("made");
    fs::write(repo.store().join("unsynced"), "disk on fire\n").expect("written");
    assert!(broken(&repo)[0].starts_with("the store could not be synced: disk on fire"));
}

#[test]
fn an_index_is_split_as_long_as_it_says_so() {
    let world = World::new();
    let repo = world.repo("film");
    repo.git(&["update-index", "--split-index"]).ok();
    let found = odd(&repo);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("git's index is split"), "{found:?}");
    let (_, command) = found[0].split_once("run `").expect("a command");
    let command = command.trim_end_matches('`');
    world.call("sh").args(["-c", command]).dir(repo.dir()).run().ok();
    let names = fs::read_dir(repo.dir().join(".git")).expect("there").flatten().map(|entry| entry.file_name());
    assert!(names.into_iter().any(|name| name.to_string_lossy().starts_with("sharedindex.")), "git leaves its file");
    assert_eq!(odd(&repo), [""; 0]);
}

#[test]
fn no_password_is_shown() {
    let world = World::new();
    let repo = world.repo("film");
    repo.git(&["remote", "add", "origin", "https://ann:secret@forge/film.git"]).ok();
    let shown = repo.git(&["dits", "env"]).ok();
    assert!(shown.contains("https://forge/film.git") && !shown.contains("secret"), "{shown}");
}
