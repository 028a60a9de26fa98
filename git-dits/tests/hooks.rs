//! Hooks beside those of others, with real git.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use dits_tests::media::noise;
use dits_tests::{Repo, World, programs};

const NAMES: [&str; 4] = ["pre-push", "pre-commit", "post-checkout", "post-merge"];

fn write_hook(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(path, text).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("set");
}

/// All files below a folder of the repository, with their content.
fn files_in(repo: &Repo<'_>, folder: &str) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(repo.dir().join(folder)).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.ends_with(".sample") && entry.path().is_file() {
            files.push((name, fs::read(entry.path()).expect("a file")));
        }
    }
    files.sort();
    files
}

fn names_in(repo: &Repo<'_>, folder: &str) -> Vec<String> {
    files_in(repo, folder).into_iter().map(|(name, _)| name).collect()
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

fn ours() -> Vec<String> {
    sorted(NAMES.map(str::to_owned).into())
}

/// A repository with media on another host.
fn forge(world: &World) -> String {
    let repo = world.repo("film");
    repo.write("a.mov", noise(1, 200_000));
    repo.commit("a take");
    let bare = world.bare("forge.git").display().to_string();
    repo.git(&["push", "-q", "--no-verify", &bare, "main"]).ok();
    bare
}

#[test]
fn a_fresh_clone_has_its_hooks_without_a_word_from_anybody() {
    let world = World::new();
    let bare = forge(&world);
    let cloned = world.git(&["clone", "-q", &bare, "two"]);
    let two = Repo::at(&world, world.path("two"));
    assert!(cloned.status.success() && !cloned.err().contains("hook"), "{}", cloned.story());
    assert_eq!(names_in(&two, ".git/hooks"), ours());
    two.write("b.mov", noise(2, 200_000));
    two.commit("another take");
    let refused = two.git(&["push", "-q", "origin", "main"]).fails();
    assert!(refused.contains("there is no address for media"), "{refused}");
    // A hook that is there costs nothing more: no file is written again.
    let before = fs::metadata(two.dir().join(".git/hooks/pre-push")).expect("there").modified().expect("dated");
    two.git(&["checkout", "-q", "HEAD^"]).ok();
    let after = fs::metadata(two.dir().join(".git/hooks/pre-push")).expect("there").modified().expect("dated");
    assert_eq!(before, after);
}

#[test]
fn no_hook_comes_where_it_is_not_wanted() {
    let world = World::new();
    let bare = forge(&world);
    // Forbidden.
    world.git(&["clone", "-q", "-c", "dits.installHooks=false", &bare, "two"]).ok();
    let two = Repo::at(&world, world.path("two"));
    assert_eq!(names_in(&two, ".git/hooks"), [""; 0]);
    two.git(&["dits", "install"]).ok();
    assert_eq!(names_in(&two, ".git/hooks"), [""; 0]);
    // A repository without media.
    world.git(&["init", "-q", "text"]).ok();
    let text = Repo::at(&world, world.path("text"));
    text.write("a.txt", "a");
    text.commit("text");
    text.git(&["dits", "install"]).ok();
    assert_eq!(names_in(&text, ".git/hooks"), [""; 0]);
    // A bare one, out of which git smudges all the same.
    world.git(&["clone", "-q", "--bare", &bare, "bare"]).ok();
    let folder = world.path("bare");
    let store = world.path("film/.git/dits");
    let archived = world.call("git").args(["-c", &format!("dits.storage={}", store.display())]);
    archived.args(["archive", "-o", "../film.tar", "HEAD"]).dir(&folder).run().ok();
    assert!(!folder.join("hooks/pre-push").exists());
}

#[test]
fn a_hooks_path_of_somebody_else_is_left_alone_and_told_once() {
    let world = World::new();
    let bare = forge(&world);
    let team = world.path("team");
    write_hook(&team.join("commit-msg"), "#!/bin/sh\nexit 0\n");
    world.git(&["config", "--global", "core.hooksPath", &team.display().to_string()]).ok();
    let cloned = world.git(&["clone", "-q", &bare, "two"]);
    cloned.ok();
    assert!(cloned.err().contains("warning: core.hooksPath names"), "{}", cloned.story());
    for name in NAMES {
        let line = format!("hint:     {}: git dits hook {name} \"$@\"", team.join(name).display());
        assert!(cloned.err().contains(&line), "{}", cloned.story());
    }
    let two = Repo::at(&world, world.path("two"));
    assert_eq!(fs::read_dir(&team).expect("listed").count(), 1);
    assert_eq!(names_in(&two, ".git/hooks"), [""; 0]);
    two.write("b.mov", noise(2, 200_000));
    assert_eq!(two.git(&["add", "b.mov"]).err(), "");
    // Added by hand, it is called.
    for name in NAMES {
        write_hook(&team.join(name), &format!("#!/bin/sh\ngit dits hook {name} \"$@\"\n"));
    }
    assert_eq!(two.git(&["dits", "install"]).err(), "");
    two.git(&["commit", "-q", "-m", "another take"]).ok();
    assert!(two.git(&["push", "-q", "origin", "main"]).fails().contains("there is no address for media"));
    // All hooks off.
    world.git(&["config", "--global", "core.hooksPath", "/dev/null"]).ok();
    assert!(two.git(&["dits", "install"]).err().contains("turns all hooks off"));
}

#[test]
fn husky_is_told_apart_from_the_files_that_it_generates() {
    let world = World::new();
    let repo = world.repo("film");
    repo.git(&["dits", "uninstall", "--local"]).ok();
    // As husky 9 sets it up: `h` runs `../<hook>` with the arguments that git gives.
    repo.git(&["config", "core.hooksPath", ".husky/_"]).ok();
    for name in NAMES {
        write_hook(&repo.dir().join(".husky/_").join(name), "#!/usr/bin/env sh\n. \"${0%/*}/h\"\n");
    }
    let h =
        "n=$(basename \"$0\"); s=$(dirname \"$(dirname \"$0\")\")/$n; [ -f \"$s\" ] || exit 0; sh -e \"$s\" \"$@\"\n";
    repo.write(".husky/_/h", h);
    repo.write(".husky/pre-commit", "echo husky >&2\n");
    let before = [files_in(&repo, ".husky"), files_in(&repo, ".husky/_"), files_in(&repo, ".git/hooks")];
    let done = repo.git(&["dits", "install"]);
    assert!(done.err().contains(".husky/pre-push: git dits hook pre-push"), "{}", done.story());
    assert!(!done.err().contains("/_/"), "{}", done.story());
    assert_eq!(before, [files_in(&repo, ".husky"), files_in(&repo, ".husky/_"), files_in(&repo, ".git/hooks")]);
    for name in NAMES {
        repo.write(&format!(".husky/{name}"), format!("echo husky >&2\ngit dits hook {name} \"$@\"\n"));
    }
    assert_eq!(repo.git(&["dits", "install"]).err(), "");
    repo.git(&["add", "."]).ok();
    repo.write("big.dat", [noise(1, 2_000_000), vec![0]].concat());
    repo.git(&["add", "big.dat"]).ok();
    let refused = repo.git(&["commit", "-q", "-m", "too large"]).fails();
    assert!(refused.contains("husky") && refused.contains("big.dat"), "{refused}");
}

#[test]
fn lefthook_runs_first_and_may_write_its_hooks_anew() {
    let world = World::new();
    let repo = world.repo("film");
    let hook = repo.dir().join(".git/hooks/pre-commit");
    let lefthook =
        |version: u32| format!("#!/bin/sh\ncall_lefthook() {{ echo lefthook {version} \"$@\" >&2; }}\ncall_lefthook\n");
    // What `lefthook install` does with a hook that is not its own.
    let install = |version: u32| {
        fs::rename(&hook, hook.with_extension("old")).expect("ours was there");
        write_hook(&hook, &lefthook(version));
    };
    install(1);
    repo.write("a.mov", noise(1, 200_000));
    // The filter notices that git does not run ours any more.
    repo.git(&["add", "a.mov"]).ok();
    assert!(!hook.with_extension("old").exists());
    let committed = repo.git(&["commit", "-q", "-m", "a take"]);
    assert!(committed.err().contains("lefthook 1"), "{}", committed.story());
    install(2);
    repo.git(&["dits", "install"]).ok();
    repo.write("big.dat", vec![0; 2_000_000]);
    repo.git(&["add", "big.dat"]).ok();
    let refused = repo.git(&["commit", "-q", "-m", "too large"]).fails();
    assert!(refused.contains("lefthook 2") && refused.contains("big.dat"), "{refused}");
    repo.git(&["dits", "uninstall", "--local"]).ok();
    assert_eq!(files_in(&repo, ".git/hooks"), [("pre-commit".to_owned(), lefthook(2).into_bytes())]);
}

#[test]
fn the_pre_commit_framework_and_dits_run_each_other_once() {
    let world = World::new();
    let repo = world.repo("film");
    let hook = repo.dir().join(".git/hooks/pre-commit");
    // What `pre-commit install` does: it puts ours aside, and runs it.
    let framework = "#!/bin/sh\n# generated by pre-commit: https://pre-commit.com\necho framework >&2\n\
                     \"$0.legacy\" \"$@\" || exit 1\n";
    fs::rename(&hook, hook.with_extension("legacy")).expect("ours was there");
    write_hook(&hook, framework);
    // Even where both stand before each other.
    let ours = fs::read(hook.with_extension("legacy")).expect("ours");
    write_hook(&repo.dir().join(".git/hooks/pre-commit.before-dits"), framework);
    fs::write(repo.dir().join(".git/hooks/pre-commit.before-dits.legacy"), &ours).expect("written");
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(repo.dir().join(".git/hooks/pre-commit.before-dits.legacy"), executable).expect("set");
    repo.write("a.txt", "a");
    repo.git(&["add", "a.txt"]).ok();
    let committed = repo.git(&["commit", "-q", "-m", "text"]);
    committed.ok();
    assert_eq!(committed.err().matches("framework").count(), 2, "{}", committed.story());
}

#[test]
fn a_hook_that_was_there_hears_what_git_says_and_its_refusal_stands() {
    let world = World::without_dits();
    world.git(&["init", "-q", "film"]).ok();
    let repo = Repo::at(&world, world.path("film"));
    repo.git(&["dits", "install"]).ok();
    assert_eq!(names_in(&repo, ".git/hooks"), [""; 0], "it has no media yet");
    let theirs = [
        ("pre-push", "#!/bin/sh\necho theirs: \"$@\" >&2\ncat >&2\nexit 1\n"),
        ("pre-commit", "#!/bin/sh\necho theirs: no >&2\nexit 1\n"),
    ];
    for (name, text) in theirs {
        write_hook(&repo.dir().join(".git/hooks").join(name), text);
    }
    let before = files_in(&repo, ".git/hooks");
    repo.write(".gitattributes", "*.mp4 filter=dits\n");
    let installed = repo.git(&["dits", "install"]).ok();
    assert!(installed.contains("written pre-push hook, which runs the one that was there"), "{installed}");
    repo.git(&["add", "."]).ok();
    let refused = repo.git(&["commit", "-q", "-m", "first"]).fails();
    assert!(refused.contains("theirs: no") && refused.contains("hooks/pre-commit says no"), "{refused}");
    repo.git(&["commit", "-q", "--no-verify", "-m", "first"]).ok();
    let bare = world.bare("bare.git");
    let refused = repo.git(&["push", bare.to_str().expect("a plain path"), "main"]).fails();
    assert!(refused.contains("theirs: ") && refused.contains("refs/heads/main"), "with its input: {refused}");
    let removed = repo.git(&["dits", "uninstall"]).ok();
    assert_eq!(removed.matches("the one that was there before is back").count(), 2, "{removed}");
    assert_eq!(files_in(&repo, ".git/hooks"), before);
}

#[test]
fn uninstalling_leaves_no_trace() {
    let world = World::without_dits();
    world.git(&["init", "-q", "film"]).ok();
    let repo = Repo::at(&world, world.path("film"));
    let config = || (fs::read(world.home().join(".gitconfig")).expect("there"), repo.read(".git/config"));
    let before = config();
    repo.write(".gitattributes", "*.mp4 filter=dits\n");
    repo.git(&["dits", "install"]).ok();
    assert_eq!(names_in(&repo, ".git/hooks"), ours());
    repo.git(&["dits", "uninstall"]).ok();
    assert_eq!(names_in(&repo, ".git/hooks"), [""; 0]);
    assert_eq!(config(), before);
}

#[test]
fn newer_gits_get_their_hooks_in_the_configuration() {
    let world = World::new();
    let repo = world.repo("film");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let real = std::env::split_paths(&path).map(|dir| dir.join("git")).find(|git| git.is_file()).expect("git");
    let script = format!(
        "#!/bin/sh\nfor arg; do [ \"$arg\" = --version ] && {{ echo git version 2.54.0; exit 0; }}; done\nexec {} \"$@\"\n",
        real.display()
    );
    write_hook(&world.path("newer/git"), &script);
    let mut dirs = vec![world.path("newer"), programs::folder().to_owned()];
    dirs.extend(std::env::split_paths(&path));
    let path = std::env::join_paths(dirs).expect("joined");
    // By its own name: git itself would put its own folder first.
    let newer = |args: &[&str]| world.call("git-dits").args(args).dir(repo.dir()).env("PATH", &path).run();
    repo.git(&["config", "core.hooksPath", "/somewhere/else"]).ok();
    let before = repo.read(".git/config");
    let done = newer(&["install"]);
    assert!(done.ok().contains("written pre-push hook in the repository's configuration"), "{}", done.story());
    assert_eq!(done.err(), "", "no path of anybody is in the way");
    assert_eq!(names_in(&repo, ".git/hooks"), [""; 0], "or git would run them twice");
    assert!(newer(&["install"]).ok().contains("unchanged pre-commit hook"));
    assert_eq!(repo.git(&["config", "hook.dits-pre-commit.event"]).ok(), "pre-commit");
    repo.write("big.dat", vec![0; 2_000_000]);
    repo.git(&["add", "."]).ok();
    let command = repo.git(&["config", "hook.dits-pre-commit.command"]).ok();
    let refused = world.call("sh").args(["-c", &format!("{command} \"$@\"")]).dir(repo.dir()).run().fails();
    assert!(refused.contains("big.dat"), "{refused}");
    newer(&["uninstall", "--local"]).ok();
    assert_eq!(repo.read(".git/config"), before);
}

#[test]
fn all_lines_are_printed_for_those_who_add_them_by_hand() {
    let world = World::new();
    let repo = world.repo("film");
    let before = files_in(&repo, ".git/hooks");
    let done = repo.git(&["dits", "install", "--manual"]);
    for name in NAMES {
        assert!(done.err().contains(&format!("hooks/{name}: git dits hook {name} \"$@\"")), "{}", done.story());
    }
    assert_eq!(files_in(&repo, ".git/hooks"), before);
}

#[test]
fn a_work_tree_of_its_own_and_a_submodule_have_hooks_too() {
    let world = World::new();
    let bare = forge(&world);
    let repo = Repo::at(&world, world.path("film"));
    repo.git(&["worktree", "add", "-q", "../second"]).ok();
    let second = Repo::at(&world, world.path("second"));
    second.write("big.dat", vec![0; 2_000_000]);
    second.git(&["add", "big.dat"]).ok();
    assert!(second.git(&["commit", "-q", "-m", "too large"]).fails().contains("big.dat"));
    world.git(&["init", "-q", "outer"]).ok();
    let outer = Repo::at(&world, world.path("outer"));
    outer.git(&["submodule", "--quiet", "add", &bare, "inner"]).ok();
    assert_eq!(names_in(&outer, ".git/modules/inner/hooks"), ours());
    assert_eq!(names_in(&outer, ".git/hooks"), [""; 0], "the outer one has no media");
    let inner = Repo::at(&world, world.path("outer/inner"));
    inner.write("big.dat", vec![0; 2_000_000]);
    inner.git(&["add", "big.dat"]).ok();
    assert!(inner.git(&["commit", "-q", "-m", "too large"]).fails().contains("big.dat"));
}

#[test]
fn other_hooks_after_a_checkout_or_merge_see_content() {
    let world = World::new();
    let repo = world.repo("film");
    for name in ["post-checkout", "post-merge"] {
        let ours = repo.dir().join(".git/hooks").join(name);
        fs::remove_file(&ours).expect("track put it there");
        write_hook(&ours, &format!("#!/bin/sh\necho {name} \"$#\" \"$(wc -c <a.mov)\" >&2\n"));
    }
    repo.git(&["dits", "install"]).ok();
    repo.write("a.mov", noise(1, 2_500_000));
    repo.commit("one");
    repo.git(&["checkout", "-q", "-b", "side"]).ok();
    repo.write("a.mov", noise(2, 2_700_000));
    repo.commit("two");
    let back = repo.git(&["checkout", "-q", "main"]);
    back.ok();
    assert!(back.err().contains("post-checkout 3 2500000"), "{}", back.story());
    repo.holds("a.mov", &noise(1, 2_500_000));
    let trace = world.path("trace");
    assert_eq!(repo.call(&["status", "--porcelain"]).env("GIT_TRACE", &trace).run().ok(), "");
    let traced = fs::read_to_string(&trace).expect("git wrote it");
    assert!(!traced.contains("git-dits-filter"), "{traced}");
    let merged = repo.git(&["merge", "-q", "side"]);
    merged.ok();
    assert!(merged.err().contains("post-merge 1 2700000"), "{}", merged.story());
    repo.holds("a.mov", &noise(2, 2_700_000));
    assert_eq!(repo.status(), "");
    assert_eq!(fs::read_dir(repo.store().join("hydration")).expect("listed").count(), 0, "nothing is left to do");
}

#[test]
fn a_hook_that_has_nothing_to_do_starts_nothing() {
    let world = World::new();
    let repo = world.repo("film");
    repo.git(&["checkout", "-q", "-b", "side"]).ok();
    let trace = world.path("trace");
    repo.call(&["checkout", "-q", "main"]).env("GIT_TRACE", &trace).run().ok();
    let traced = fs::read_to_string(&trace).expect("git wrote it");
    assert!(traced.contains("post-checkout"), "{traced}");
    assert_eq!(traced.lines().filter(|line| line.contains("trace: built-in: git ")).count(), 1, "{traced}");
    // One that lost its program warns, and the one that was there is run all the same.
    let hook = repo.dir().join(".git/hooks/post-checkout");
    let ours = fs::read_to_string(&hook).expect("there");
    write_hook(&hook, &ours.replace(&programs::folder().display().to_string(), "/gone"));
    write_hook(&repo.dir().join(".git/hooks/post-checkout.before-dits"), "#!/bin/sh\necho theirs >&2\n");
    let out = repo.git(&["checkout", "-q", "side"]);
    out.ok();
    assert!(
        out.err().contains("warning: the post-checkout hook of Dits has lost its program: /gone/git-dits"),
        "{}",
        out.story()
    );
    assert!(out.err().contains("theirs"), "{}", out.story());
}
