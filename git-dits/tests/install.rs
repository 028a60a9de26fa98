//! `git dits install` and `uninstall`, with real git.

mod support;

use dits_tests::World;
use std::fs;
use support::story;

const INSTALLED: &str = "\
written filter.dits.process = PROGRAMS/git-dits-filter process
written filter.dits.clean = PROGRAMS/git-dits-filter clean %f
written filter.dits.smudge = PROGRAMS/git-dits-filter smudge %f
written filter.dits.required = true
written protocol.dits.allow = always
exit 0
";

#[test]
fn a_second_install_changes_nothing_and_uninstall_undoes_the_first() {
    let world = World::without_dits();
    let before = fs::read(world.home().join(".gitconfig")).expect("there");
    assert_eq!(story(&world, &world.git(&["dits", "install"])), INSTALLED);
    let installed = fs::read(world.home().join(".gitconfig")).expect("there");
    let again = story(&world, &world.git(&["dits", "install"]));
    assert_eq!(again, INSTALLED.replace("written", "unchanged"));
    assert_eq!(fs::read(world.home().join(".gitconfig")).expect("there"), installed);
    assert_eq!(
        story(&world, &world.git(&["dits", "uninstall"])),
        "removed filter.dits.process\nremoved filter.dits.clean\nremoved filter.dits.smudge\n\
         removed filter.dits.required\nremoved protocol.dits.allow\nexit 0\n"
    );
    assert_eq!(fs::read(world.home().join(".gitconfig")).expect("there"), before);
}

#[test]
fn a_setting_of_somebody_else_is_left_alone_unless_forced() {
    let world = World::without_dits();
    world.git(&["config", "--global", "filter.dits.clean", "their-own %f"]).ok();
    assert_eq!(
        story(&world, &world.git(&["dits", "install"])),
        "! error: filter.dits.clean is already set to \"their-own %f\"\n\
         ! hint: if Dits may replace it, run `git dits install --force`\nexit 3\n"
    );
    assert_eq!(world.git(&["config", "--global", "--get-regexp", "dits"]).ok(), "filter.dits.clean their-own %f");
    assert!(world.git(&["dits", "install", "--force"]).ok().contains("replaced filter.dits.clean"));
}

#[test]
fn wrong_usage_ends_with_2_and_the_facts_are_json_where_asked() {
    let world = World::without_dits();
    assert_eq!(world.git(&["dits", "install", "--local", "--system"]).status.code(), Some(2));
    assert_eq!(world.git(&["dits", "no-such-command"]).status.code(), Some(2));
    let nowhere = world.git(&["dits", "install", "--local"]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(nowhere.err().contains("is not in a git repository"), "{}", nowhere.err());
    let facts: serde_json::Value = serde_json::from_str(&world.git(&["dits", "install", "--json"]).ok()).expect("JSON");
    assert_eq!(facts["scope"], "global");
    assert_eq!(facts["settings"][3]["key"], "filter.dits.required");
    assert_eq!(facts["settings"][3]["state"], "written");
    assert_eq!(facts["pre_push"], serde_json::Value::Null);
}

#[test]
fn hooks_come_only_to_repositories_that_use_dits_and_chain_to_those_there() {
    let world = World::without_dits();
    world.git(&["init", "-q", "film"]).ok();
    let repo = dits_tests::Repo::at(&world, world.path("film"));
    let hook = repo.dir().join(".git/hooks/pre-push");
    repo.git(&["dits", "install"]).ok();
    assert!(!hook.exists());
    fs::create_dir_all(hook.parent().expect("a folder")).expect("made");
    fs::write(&hook, "#!/bin/sh\necho theirs: \"$@\" >&2\ncat >&2\nexit 1\n").expect("written");
    fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("set");
    repo.write(".gitattributes", "*.mp4 filter=dits\n");
    assert!(
        repo.git(&["dits", "install"]).ok().ends_with("written pre-push hook, which runs the one that was there first")
    );
    repo.commit("first");
    let bare = world.bare("bare.git");
    let pushed = repo.git(&["push", bare.to_str().expect("a plain path"), "main"]);
    let said = pushed.fails();
    assert!(said.contains("theirs: ") && said.contains("refs/heads/main"), "their hook runs, with its input: {said}");
    assert!(repo.git(&["dits", "uninstall"]).ok().ends_with("the one that was there before is back"));
    assert!(fs::read_to_string(&hook).expect("there").contains("theirs"));
}

#[test]
fn a_hooks_path_of_the_team_is_respected() {
    let world = World::new();
    let repo = world.repo("film");
    repo.git(&["config", "core.hooksPath", ".husky"]).ok();
    let done = repo.git(&["dits", "install"]);
    assert!(done.err().contains("add this line to"), "{}", done.err());
    assert!(!repo.dir().join(".husky").exists());
    repo.write(".husky/pre-push", "#!/bin/sh\ngit dits hook pre-push \"$@\"\n");
    assert_eq!(repo.git(&["dits", "install"]).err(), "");
}
