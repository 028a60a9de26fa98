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
    assert_eq!(facts["hooks"], serde_json::json!([]));
}
