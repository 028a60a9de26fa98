//! `git dits resolve` in every kind of conflict, with real git.

use dits_tests::media::noise;
use dits_tests::{Repo, World};

fn base() -> Vec<u8> {
    noise(1, 1_500_000)
}

fn ours() -> Vec<u8> {
    noise(2, 1_400_000)
}

fn theirs() -> Vec<u8> {
    noise(3, 1_300_000)
}

/// `main` and `side` with another `a b/cut.mov` each; `main` is checked out.
fn film(world: &World) -> Repo<'_> {
    let repo = world.repo("film");
    repo.write("a b/cut.mov", base());
    repo.write("gone.mov", base());
    repo.commit("the first cut");
    repo.git(&["checkout", "-q", "-b", "side"]).ok();
    repo.write("a b/cut.mov", theirs());
    repo.write("gone.mov", theirs());
    repo.write("new.mov", theirs());
    repo.commit("their cut");
    repo.git(&["checkout", "-q", "main"]).ok();
    repo.write("a b/cut.mov", ours());
    repo.git(&["rm", "-q", "gone.mov"]).ok();
    repo.write("new.mov", ours());
    repo.commit("our cut");
    repo
}

fn resolve(repo: &Repo<'_>, args: &[&str]) -> (String, String) {
    let done = repo.git(&[&["dits", "resolve"], args].concat());
    (done.ok(), done.err())
}

/// Asserts that no conflict is left and that git finds the work tree as its index says.
fn is_settled(repo: &Repo<'_>) {
    assert_eq!(repo.git(&["ls-files", "--unmerged"]).ok(), "");
    assert_eq!(repo.git(&["diff", "--name-only"]).ok(), "");
}

#[test]
fn a_merge_is_resolved_with_ours_theirs_or_both() {
    let world = World::new();
    let repo = film(&world);
    repo.git(&["merge", "-q", "side"]).breaks();
    let (done, said) = resolve(&repo, &["--theirs", "a b/cut.mov"]);
    assert_eq!(done, "resolved a b/cut.mov with theirs");
    let id = |name: &str| repo.git(&["rev-parse", "--short=7", name]).ok();
    let sides = format!("ours is {} (our cut); theirs is {} (their cut)\n", id("HEAD"), id("side"));
    assert!(said.starts_with(&sides), "{said}");
    repo.holds("a b/cut.mov", &theirs());
    let (done, _) = resolve(&repo, &["--both", "new.mov"]);
    assert_eq!(done, "resolved new.mov: ours there, theirs in new.theirs.mov");
    repo.holds("new.mov", &ours());
    repo.holds("new.theirs.mov", &theirs());
    // Deleted on our side: both sides can be taken, in turn.
    let (done, _) = resolve(&repo, &["--ours", "gone.mov"]);
    assert_eq!(done, "resolved gone.mov with ours: deleted");
    assert!(!repo.dir().join("gone.mov").exists());
    is_settled(&repo);
    repo.git(&["commit", "-q", "-m", "merged"]).ok();
    assert_eq!(repo.status(), "");
    assert!(repo.blob("HEAD:new.theirs.mov").starts_with(b"dits 1\n"));
    assert_eq!(repo.blob("HEAD:a b/cut.mov"), repo.blob("side:a b/cut.mov"));
}

#[test]
fn in_a_rebase_theirs_is_the_users_own_commit_and_that_is_said() {
    let world = World::new();
    let repo = film(&world);
    repo.git(&["rebase", "-q", "side"]).breaks();
    let (_, said) = resolve(&repo, &["--theirs", "."]);
    assert!(said.contains("ours is ") && said.contains("(their cut); theirs is "), "{said}");
    assert!(said.contains("(our cut), the commit of yours that is moved"), "{said}");
    repo.holds("a b/cut.mov", &ours());
    repo.holds("new.mov", &ours());
    assert!(!repo.dir().join("gone.mov").exists(), "it was deleted by that commit");
    is_settled(&repo);
    repo.call(&["rebase", "--continue"]).env("GIT_EDITOR", "true").run().ok();
    assert_eq!(repo.status(), "");
}

#[test]
fn a_cherry_pick_and_a_stash_are_resolved_as_well() {
    let world = World::new();
    let repo = film(&world);
    repo.git(&["cherry-pick", "side"]).breaks();
    let (_, said) = resolve(&repo, &["--ours", "a b"]);
    assert!(said.contains("(our cut); theirs is ") && said.contains("(their cut)"), "{said}");
    repo.holds("a b/cut.mov", &ours());
    repo.git(&["cherry-pick", "--abort"]).ok();
    repo.write("a b/cut.mov", base());
    repo.git(&["stash", "-q"]).ok();
    repo.write("a b/cut.mov", noise(4, 1_200_000));
    repo.commit("another cut");
    repo.git(&["stash", "pop", "-q"]).breaks();
    let (_, said) = resolve(&repo, &["--theirs", "a b/cut.mov"]);
    assert!(said.contains("theirs is what is being put in: a stash, a patch"), "{said}");
    repo.holds("a b/cut.mov", &base());
    is_settled(&repo);
}

#[test]
fn nothing_is_overwritten_and_nothing_else_is_touched() {
    let world = World::new();
    let repo = film(&world);
    let refused = repo.git(&["dits", "resolve", "--ours", "a b/cut.mov"]);
    assert!(refused.fails().contains("there is no conflict on media at a b/cut.mov"));
    assert_eq!(repo.git(&["dits", "resolve", "a b/cut.mov"]).status.code(), Some(2), "a side has to be named");
    repo.git(&["merge", "-q", "side"]).breaks();
    repo.write("new.theirs.mov", "mine");
    let refused = repo.git(&["dits", "resolve", "--both", "new.mov"]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(refused.err().contains("new.theirs.mov is there already"), "{}", refused.story());
    assert_eq!(repo.read("new.theirs.mov"), b"mine");
    let refused = repo.git(&["dits", "resolve", "--both", "gone.mov"]);
    assert!(refused.fails().contains("keep the file with --theirs, or delete it with --ours"), "{}", refused.story());
    assert_eq!(repo.git(&["ls-files", "--unmerged"]).ok().lines().count(), 7, "all is as it was");
    let (done, _) = resolve(&repo, &["--theirs", "gone.mov", "gone.mov"]);
    assert_eq!(done.lines().count(), 1);
    repo.holds("gone.mov", &theirs());
    let facts = resolve(&repo, &["--both", "--json", "a b"]).0;
    let facts: serde_json::Value = serde_json::from_str(&facts).expect("JSON");
    assert_eq!(facts["during"], "merge");
    assert_eq!(facts["theirs"]["what"], "their cut");
    assert_eq!(facts["resolved"][0]["theirs_at"], "a b/cut.theirs.mov");
}

#[test]
fn odd_names_and_other_hashes_are_resolved() {
    use std::os::unix::ffi::OsStrExt;
    let world = World::new();
    for format in ["sha1", "sha256"] {
        let repo = world.repo_of(format, &format!("film-{format}"), &["*.mov"]);
        let names: [&[u8]; 5] = [b"-x.mov", b"it's \"q\".mov", b"line\nend.mov", b"\xff\xfe.mov", b"*.mov"];
        let write = |content: &[u8]| {
            for name in names {
                std::fs::write(repo.dir().join(std::ffi::OsStr::from_bytes(name)), content).expect("written");
            }
        };
        repo.git(&["checkout", "-q", "-b", "side"]).ok();
        write(&theirs());
        repo.commit("theirs");
        repo.git(&["checkout", "-q", "main"]).ok();
        write(&ours());
        repo.commit("ours");
        repo.git(&["merge", "-q", "side"]).breaks();
        let one = repo.git(&["dits", "resolve", "--theirs", "--", "-x.mov", "*.mov"]).ok();
        assert_eq!(one.lines().count(), 2, "a name is no pattern: {one}");
        resolve(&repo, &["--both", "."]);
        for name in names {
            let content = std::fs::read(repo.dir().join(std::ffi::OsStr::from_bytes(name))).expect("there");
            let is_theirs = name == b"-x.mov" || name == b"*.mov";
            assert!(content == if is_theirs { theirs() } else { ours() }, "{}", name.escape_ascii());
        }
        repo.holds("it's \"q\".theirs.mov", &theirs());
        is_settled(&repo);
    }
}

fn is_refused(repo: &Repo<'_>, args: &[&str], why: &str) {
    let before = repo.git(&["ls-files", "--stage"]).ok();
    let refused = repo.git(&[&["dits", "resolve"], args].concat());
    assert_eq!(refused.status.code(), Some(3), "{}", refused.story());
    assert!(refused.err().contains(why), "{}", refused.story());
    assert_eq!(repo.git(&["ls-files", "--stage"]).ok(), before, "nothing is staged");
}

#[test]
fn what_was_saved_in_a_conflict_is_kept_whatever_side_is_asked_for() {
    let world = World::new();
    let repo = film(&world);
    repo.git(&["merge", "-q", "side"]).breaks();
    // As long as a version, and behind another path that could be resolved.
    let saved = noise(5, 1_300_000);
    repo.write("new.mov", &saved);
    let why = "new.mov holds something saved that is no version of the conflict";
    for flag in ["--ours", "--theirs", "--both"] {
        is_refused(&repo, &[flag, "a b", "new.mov"], why);
        repo.holds("new.mov", &saved);
        repo.holds("a b/cut.mov", &ours());
        assert!(!repo.dir().join("a b/cut.theirs.mov").exists());
    }
    // What would go is looked at as well.
    repo.write("gone.mov", "short");
    is_refused(&repo, &["--ours", "gone.mov"], "gone.mov holds something saved");
    repo.holds("gone.mov", b"short");
    // A link and a folder are somebody's as well.
    std::fs::remove_file(repo.dir().join("gone.mov")).expect("removed");
    std::os::unix::fs::symlink("new.mov", repo.dir().join("gone.mov")).expect("linked");
    is_refused(&repo, &["--ours", "gone.mov"], "gone.mov holds something saved");
    std::fs::remove_file(repo.dir().join("gone.mov")).expect("removed");
    repo.write("gone.mov/mine.txt", "mine");
    is_refused(&repo, &["--theirs", "gone.mov"], "something that is no file stands at gone.mov");
    assert_eq!(repo.read("gone.mov/mine.txt"), b"mine");
    // The way out that is named.
    repo.git(&["add", "--", "new.mov"]).ok();
    repo.holds("new.mov", &saved);
    assert_eq!(repo.git(&["ls-files", "--unmerged", "new.mov"]).ok(), "");
}

#[test]
fn what_is_saved_while_a_conflict_is_resolved_stays() {
    // While versions are looked at, while nothing stands at the path, and where a file is about to go.
    for (during, path, side, is_resolved) in [
        ("cat-file", "new.mov", "--theirs", false),
        ("update-index", "new.mov", "--theirs", true),
        ("update-index", "new.mov", "--both", true),
        ("update-index", "gone.mov", "--ours", true),
    ] {
        let world = World::new();
        let repo = film(&world);
        repo.git(&["merge", "-q", "side"]).breaks();
        let save = format!("printf saved > '{}'", repo.dir().join(path).display());
        let call = world.call("git-dits").args(["resolve", side, "a b", path]).dir(repo.dir());
        let done = call.env("PATH", world.path_with_git_that(during, &save)).run();
        repo.holds(path, b"saved");
        let unmerged = repo.git(&["ls-files", "--unmerged", path]).ok();
        assert_eq!(unmerged.is_empty(), is_resolved, "{}", done.story());
        if !is_resolved {
            assert_eq!(done.status.code(), Some(3), "{}", done.story());
        }
        if side == "--theirs" {
            repo.holds("a b/cut.mov", &if is_resolved { theirs() } else { ours() });
        }
        assert!(hidden(&repo).is_empty(), "{:?}", hidden(&repo));
    }
}

#[test]
fn every_path_gets_back_what_can_go_back_and_the_rest_is_named() {
    let world = World::new();
    let repo = film(&world);
    repo.git(&["merge", "-q", "side"]).breaks();
    let before = repo.git(&["ls-files", "--stage"]).ok();
    // The first of two paths is taken while git fails.
    let fails = format!("printf saved > '{}'; exit 1", repo.dir().join("gone.mov").display());
    let call = world.call("git-dits").args(["resolve", "--theirs", "gone.mov", "new.mov"]).dir(repo.dir());
    let failed = call.env("PATH", world.path_with_git_that("update-index", &fails)).run();
    let said = failed.fails();
    let [kept] = &hidden(&repo)[..] else { panic!("{:?}: {}", hidden(&repo), failed.story()) };
    assert!(said.contains(&format!("gone.mov back; it is kept in {}", repo.dir().join(kept).display())), "{said}");
    assert!(said.contains("hint: `git dits pull` puts back what it can"), "{said}");
    repo.holds("gone.mov", b"saved");
    repo.holds("new.mov", &ours());
    assert_eq!(repo.git(&["ls-files", "--stage"]).ok(), before, "nothing is staged");
    // What is kept is a version of the conflict, and the path has what was saved.
    repo.git(&["dits", "pull"]).ok();
    assert!(hidden(&repo).is_empty(), "{:?}", hidden(&repo));
    repo.holds("gone.mov", b"saved");
}

#[test]
fn files_that_git_could_not_write_are_named_and_can_be_had() {
    let world = World::new();
    let repo = film(&world);
    repo.git(&["merge", "-q", "side"]).breaks();
    let call = world.call("git-dits").args(["resolve", "--theirs", "."]).dir(repo.dir());
    let failed = call.env("PATH", world.path_with_git_that("checkout-index", "exit 1")).run();
    let said = failed.fails();
    for path in ["a b/cut.mov", "gone.mov", "new.mov"] {
        assert!(said.contains(&format!("caused by: {path}\n")), "{said}");
    }
    assert!(said.contains("hint: get them with `git restore`, then run `git dits pull`"), "{said}");
    repo.git(&["restore", "a b/cut.mov", "gone.mov", "new.mov"]).ok();
    repo.git(&["dits", "pull"]).ok();
    ["a b/cut.mov", "gone.mov", "new.mov"].iter().for_each(|path| repo.holds(path, &theirs()));
    assert!(hidden(&repo).is_empty(), "{:?}", hidden(&repo));
    is_settled(&repo);
}

#[test]
fn a_path_that_a_side_has_deleted_stays_deleted_where_git_could_not_write_others() {
    let world = World::new();
    let repo = film(&world);
    repo.git(&["merge", "-q", "side"]).breaks();
    let call = world.call("git-dits").args(["resolve", "--ours", "."]).dir(repo.dir());
    let failed = call.env("PATH", world.path_with_git_that("checkout-index", "exit 1")).run();
    let said = failed.fails();
    assert!(said.contains("caused by: new.mov\n") && !said.contains("gone.mov"), "{said}");
    assert_eq!(hidden(&repo).len(), 1, "what stood at new.mov: {:?}", hidden(&repo));
    repo.git(&["restore", "a b/cut.mov", "new.mov"]).ok();
    let pulled = repo.git(&["dits", "pull"]);
    assert!(!pulled.err().contains("gone.mov"), "{}", pulled.story());
    assert!(!repo.dir().join("gone.mov").exists(), "it came back");
    ["a b/cut.mov", "new.mov"].iter().for_each(|path| repo.holds(path, &ours()));
    assert!(hidden(&repo).is_empty(), "{:?}", hidden(&repo));
    is_settled(&repo);
}

/// `a.mov` in conflict, of which ours is the content and theirs is empty.
fn with_an_empty_side(world: &World) -> Repo<'_> {
    let repo = world.repo("film");
    let commit = |content: Vec<u8>| {
        repo.write("a.mov", content);
        repo.commit("a cut");
    };
    commit(base());
    repo.git(&["checkout", "-q", "-b", "side"]).ok();
    commit(Vec::new());
    repo.git(&["checkout", "-q", "main"]).ok();
    commit(ours());
    repo.git(&["merge", "-q", "side"]).breaks();
    repo
}

#[test]
fn a_file_without_a_pointer_that_git_could_not_write_is_named() {
    let world = World::new();
    let repo = with_an_empty_side(&world);
    let call = world.call("git-dits").args(["resolve", "--theirs", "a.mov"]).dir(repo.dir());
    let failed = call.env("PATH", world.path_with_git_that("checkout-index", "exit 1")).run();
    assert!(failed.fails().contains("caused by: a.mov\n"), "{}", failed.story());
    assert!(failed.err().contains("hint: get them with `git restore`"), "{}", failed.story());
    assert_eq!(failed.out(), "", "nothing is resolved");
    assert_eq!(hidden(&repo).len(), 1, "what stood there: {:?}", hidden(&repo));
    repo.git(&["restore", "a.mov"]).ok();
    repo.git(&["dits", "pull"]).ok();
    repo.holds("a.mov", b"");
    assert!(hidden(&repo).is_empty(), "{:?}", hidden(&repo));
    is_settled(&repo);
}

#[test]
fn a_file_without_a_pointer_is_told_from_what_is_saved_meanwhile() {
    let world = World::new();
    let repo = with_an_empty_side(&world);
    let save = format!("printf saved > '{}'", repo.dir().join("a.mov").display());
    let call = world.call("git-dits").args(["resolve", "--theirs", "a.mov"]).dir(repo.dir());
    let done = call.env("PATH", world.path_with_git_that("update-index", &save)).run();
    done.ok();
    assert!(done.err().contains("warning: a.mov was saved meanwhile and was left as it is"), "{}", done.story());
    repo.holds("a.mov", b"saved");
}

#[test]
fn a_link_as_a_side_is_a_file_that_is_there() {
    let world = World::new();
    let repo = world.repo("film");
    let link = |to: &str| {
        let _ = std::fs::remove_file(repo.dir().join("a.mov"));
        std::os::unix::fs::symlink(to, repo.dir().join("a.mov")).expect("linked");
        repo.commit("a link");
    };
    link("one.mov");
    repo.git(&["checkout", "-q", "-b", "side"]).ok();
    repo.git(&["rm", "-q", "a.mov"]).ok();
    repo.commit("no link");
    repo.git(&["checkout", "-q", "main"]).ok();
    link("two.mov");
    repo.git(&["merge", "-q", "side"]).breaks();
    assert_eq!(resolve(&repo, &["--ours", "a.mov"]).0, "resolved a.mov with ours");
    assert_eq!(std::fs::read_link(repo.dir().join("a.mov")).expect("a link").to_str(), Some("two.mov"));
    assert!(hidden(&repo).is_empty(), "{:?}", hidden(&repo));
    is_settled(&repo);
}

#[test]
fn nothing_that_git_is_asked_stands_in_the_way_once_the_sides_are_staged() {
    let world = World::new();
    let repo = film(&world);
    repo.git(&["merge", "-q", "side"]).breaks();
    let fails = "test -n \"$(git ls-files --unmerged)\" || exit 1";
    let call = world.call("git-dits").args(["resolve", "--theirs", "."]).dir(repo.dir());
    let done = call.env("PATH", world.path_with_git_that("cat-file", fails)).run();
    ["a b/cut.mov", "gone.mov", "new.mov"].iter().for_each(|path| repo.holds(path, &theirs()));
    assert!(hidden(&repo).is_empty(), "{:?}: {}", hidden(&repo), done.story());
    is_settled(&repo);
}

/// Temporary names of ours in the work tree.
fn hidden(repo: &Repo<'_>) -> Vec<String> {
    let names = std::fs::read_dir(repo.dir()).expect("there").flatten().map(|entry| entry.file_name());
    names.map(|name| name.to_string_lossy().into_owned()).filter(|name| name.starts_with(".dits-")).collect()
}

#[test]
fn any_version_of_the_conflict_gives_way() {
    let world = World::new();
    let repo = film(&world);
    repo.git(&["merge", "-q", "side"]).breaks();
    let pointer = |name: &str| repo.blob(name);
    for standing in
        [base(), theirs(), pointer("main~1:a b/cut.mov"), pointer("main:a b/cut.mov"), pointer("side:a b/cut.mov")]
    {
        repo.write("a b/cut.mov", &standing);
        resolve(&repo, &["--ours", "a b/cut.mov"]);
        repo.holds("a b/cut.mov", &ours());
        repo.git(&["checkout", "-q", "--merge", "--", "a b/cut.mov"]).ok();
    }
    std::fs::remove_file(repo.dir().join("a b/cut.mov")).expect("removed");
    resolve(&repo, &["--theirs", "a b/cut.mov"]);
    repo.holds("a b/cut.mov", &theirs());
}

#[test]
fn what_git_made_of_pointers_that_it_merged_as_text_gives_way() {
    let world = World::new();
    let repo = film(&world);
    repo.write(".git/info/attributes", "*.mov merge\n");
    repo.git(&["merge", "-q", "side"]).breaks();
    assert!(repo.read("a b/cut.mov").starts_with(b"dits 1\n<<<<<<<"), "git wrote its markers");
    resolve(&repo, &["--theirs", "a b/cut.mov"]);
    repo.holds("a b/cut.mov", &theirs());
}

#[test]
fn files_that_git_holds_itself_are_told_from_what_was_saved() {
    let world = World::new();
    let repo = world.repo("film");
    let commit = |content: Vec<u8>| {
        repo.write("a.raw", content);
        repo.commit("a cut");
    };
    commit(noise(1, 20_000));
    repo.git(&["checkout", "-q", "-b", "side"]).ok();
    commit(noise(2, 30_000));
    repo.git(&["checkout", "-q", "main"]).ok();
    commit(noise(3, 40_000));
    repo.git(&["merge", "-q", "side"]).breaks();
    repo.write(".git/info/attributes", "*.raw filter=dits -merge -text\n");
    let saved = noise(5, 40_000);
    repo.write("a.raw", &saved);
    is_refused(&repo, &["--theirs", "a.raw"], "a.raw holds something saved");
    repo.holds("a.raw", &saved);
    repo.write("a.raw", noise(3, 40_000));
    resolve(&repo, &["--theirs", "a.raw"]);
    repo.holds("a.raw", &noise(2, 30_000));
}

#[test]
fn nothing_is_removed_or_replaced_through_a_linked_folder() {
    let world = World::new();
    let repo = film(&world);
    repo.git(&["rm", "-q", "a b/cut.mov"]).ok();
    repo.git(&["commit", "-q", "-m", "no cut"]).ok();
    repo.git(&["merge", "-q", "side"]).breaks();
    let elsewhere = world.path("elsewhere");
    std::fs::rename(repo.dir().join("a b"), &elsewhere).expect("moved");
    std::os::unix::fs::symlink(&elsewhere, repo.dir().join("a b")).expect("linked");
    is_refused(&repo, &["--theirs", "a b/cut.mov"], "a link or a file stands where the folder of a b/cut.mov belongs");
    let (done, _) = resolve(&repo, &["--ours", "a b/cut.mov"]);
    assert_eq!(done, "resolved a b/cut.mov with ours: deleted");
    assert!(std::fs::read(elsewhere.join("cut.mov")).expect("it is still there") == theirs());
    assert!(repo.dir().join("a b").is_symlink());
    assert_eq!(repo.git(&["ls-files", "--unmerged", "a b/cut.mov"]).ok(), "");
}

#[test]
fn a_file_that_both_sides_have_moved_away_is_resolved() {
    let world = World::new();
    for format in ["sha1", "sha256"] {
        let repo = world.repo_of(format, &format!("film-{format}"), &["*.mov"]);
        repo.write("a.mov", base());
        repo.commit("the first cut");
        repo.git(&["checkout", "-q", "-b", "side"]).ok();
        repo.git(&["mv", "a.mov", "theirs.mov"]).ok();
        repo.commit("theirs");
        repo.git(&["checkout", "-q", "main"]).ok();
        repo.git(&["mv", "a.mov", "ours.mov"]).ok();
        repo.commit("ours");
        repo.git(&["merge", "-q", "side"]).breaks();
        assert_eq!(resolve(&repo, &["--ours", "a.mov"]).0, "resolved a.mov with ours: deleted");
        resolve(&repo, &["--ours", "."]);
        repo.holds("ours.mov", &base());
        assert!(!repo.dir().join("theirs.mov").exists());
        is_settled(&repo);
    }
}
