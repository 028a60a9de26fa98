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
        let name = format!("film-{format}");
        world.git(&["init", "-q", "--object-format", format, &name]).ok();
        let repo = Repo::at(&world, world.path(&name));
        repo.git(&["dits", "track", "*.mov"]).ok();
        repo.commit("media");
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
