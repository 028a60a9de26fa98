//! The guard against large files that go past Dits, with real git.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use dits_tests::media::noise;
use dits_tests::{Repo, World};

/// Large and binary.
fn large(seed: u64) -> Vec<u8> {
    [vec![0], noise(seed, 1_200_000)].concat()
}

fn commit(repo: &Repo<'_>) -> String {
    let refused = repo.git(&["commit", "-q", "-m", "x"]);
    assert_eq!(refused.status.code(), Some(1), "{}", refused.story());
    refused.fails()
}

#[test]
fn a_large_binary_is_stopped_with_the_commands_that_help() {
    let world = World::new();
    let repo = world.repo("film");
    repo.write("art/Title.PSD", large(1));
    repo.write("take", large(2));
    repo.write("script.txt", "fade in\n".repeat(200_000));
    repo.write("small.dat", vec![0; 1000]);
    repo.write("a.mov", noise(3, 2_000_000));
    repo.git(&["add", "."]).ok();
    assert_eq!(
        commit(&repo),
        "error: 2 large files would go into git's history as they are\n\
         caused by: art/Title.PSD (1.1 MiB): no pattern tracks it\n\
         caused by: take (1.1 MiB): no pattern tracks it\n\
         hint: track them: `git dits track '*.[pP][sS][dD]' && git dits track --filename -- take`\n\
         hint: then `git add --renormalize . && git add .gitattributes`, and commit again\n\
         hint: to commit them as they are, once: `git commit --no-verify`; for good: `PATTERN -filter` in .gitattributes, \
         or dits.guardSize\n"
    );
    let follow = "git dits track '*.[pP][sS][dD]' && git dits track --filename -- take && \
                  git add --renormalize . && git add .gitattributes && git commit -q -m media";
    world.call("sh").args(["-c", follow]).dir(repo.dir()).run().ok();
    assert!(
        repo.blob("HEAD:art/Title.PSD").starts_with(b"dits 1\n") && repo.blob("HEAD:take").starts_with(b"dits 1\n")
    );
    assert_eq!(repo.status(), "");
}

#[test]
fn what_the_user_wants_in_git_goes_there() {
    let world = World::new();
    let repo = world.repo("film");
    repo.write("one.dat", large(1));
    repo.git(&["add", "."]).ok();
    commit(&repo);
    repo.git(&["commit", "-q", "--no-verify", "-m", "once"]).ok();
    repo.write("two.dat", large(2));
    repo.write(".gitattributes", [repo.read(".gitattributes"), b"*.dat -filter\n".to_vec()].concat());
    repo.commit("for good");
    repo.write("three.raw", large(3));
    repo.git(&["add", "."]).ok();
    commit(&repo);
    repo.git(&["config", "dits.guardSize", "4m"]).ok();
    repo.commit("larger ones only");
    repo.git(&["config", "dits.guardSize", "1k"]).ok();
    repo.write("tiny.raw", vec![0; 2000]);
    repo.git(&["add", "."]).ok();
    commit(&repo);
    repo.git(&["config", "dits.guardSize", "0"]).ok();
    repo.commit("no guard");
    repo.git(&["config", "dits.guardSize", "big"]).ok();
    repo.write("a.txt", "a");
    repo.git(&["add", "."]).ok();
    assert!(commit(&repo).contains("dits.guardSize is \"big\""));
}

#[test]
fn the_index_of_the_very_commit_is_judged() {
    let world = World::new();
    let repo = world.repo("film");
    repo.write("a.dat", "small");
    repo.write("b.dat", "small");
    repo.commit("small");
    repo.write("a.dat", large(1));
    repo.write("b.dat", large(2));
    // Not in the index that stays, but in the one of this commit.
    assert!(repo.git(&["commit", "-q", "-a", "-m", "x"]).fails().contains("2 large files"));
    let refused = repo.git(&["commit", "-q", "-m", "x", "--", "b.dat"]).fails();
    assert!(refused.contains("b.dat") && !refused.contains("a.dat"), "{refused}");
    repo.git(&["add", "a.dat"]).ok();
    repo.write("c.txt", "text");
    repo.git(&["add", "c.txt"]).ok();
    repo.git(&["commit", "-q", "-m", "text alone", "--", "c.txt"]).ok();
    assert!(commit(&repo).contains("a.dat"));
}

#[test]
fn what_git_has_already_is_no_news() {
    let world = World::new();
    let repo = world.repo("film");
    repo.write("old.dat", large(1));
    repo.git(&["add", "."]).ok();
    repo.git(&["commit", "-q", "--no-verify", "-m", "old"]).ok();
    repo.git(&["mv", "old.dat", "moved.dat"]).ok();
    repo.git(&["commit", "-q", "-m", "moved"]).ok();
    repo.git(&["commit", "-q", "--amend", "-m", "moved, said better"]).ok();
    // A merge brings what others committed.
    repo.git(&["checkout", "-q", "-b", "theirs"]).ok();
    repo.write("theirs.dat", large(2));
    repo.write("text", "theirs");
    repo.git(&["add", "."]).ok();
    repo.git(&["commit", "-q", "--no-verify", "-m", "theirs"]).ok();
    for command in
        [["merge", "-q", "theirs"], ["cherry-pick", "--no-commit", "theirs"], ["cherry-pick", "-x", "theirs"]]
    {
        repo.git(&["checkout", "-q", "-B", "ours", "main"]).ok();
        repo.write("text", "ours");
        repo.commit("ours");
        repo.git(&command).breaks();
        repo.write("text", "both");
        repo.git(&["add", "text"]).ok();
        match command[1] {
            // Nothing tells git any more where it came from.
            "--no-commit" => assert!(commit(&repo).contains("theirs.dat")),
            _ => drop(repo.git(&["commit", "-q", "-m", "both"]).ok()),
        }
        repo.git(&["reset", "-q", "--hard"]).ok();
    }
}

#[test]
fn what_comes_back_because_its_removal_is_undone_is_no_news() {
    let world = World::new();
    let repo = world.repo("film");
    let commit_text = |text: &str| {
        repo.write("text", text);
        repo.git(&["add", "-A"]).ok();
        repo.git(&["commit", "-q", "--no-verify", "-m", text]).ok();
    };
    repo.write("old.dat", large(1));
    commit_text("with it");
    std::fs::remove_file(repo.dir().join("old.dat")).expect("it is ours");
    commit_text("without it");
    // The same, as a merge does it.
    repo.git(&["checkout", "-q", "-b", "side", "HEAD~1"]).ok();
    repo.git(&["merge", "-q", "--no-ff", "--no-edit", "main"]).ok();
    for (branch, removal) in [("main", vec!["main"]), ("side", vec!["-m", "1", "side"])] {
        repo.git(&["checkout", "-q", "-B", "ours", branch]).ok();
        commit_text("later");
        repo.git(&[vec!["revert"], removal].concat()).breaks();
        repo.write("text", "both");
        repo.write("new.dat", large(2));
        repo.git(&["add", "."]).ok();
        let refused = commit(&repo);
        assert!(refused.contains("new.dat") && !refused.contains("old.dat"), "{refused}");
        repo.git(&["rm", "-q", "-f", "new.dat"]).ok();
        repo.git(&["commit", "-q", "-m", "back again"]).ok();
        repo.holds("old.dat", &large(1));
        repo.git(&["reset", "-q", "--hard"]).ok();
    }
}

#[test]
fn media_that_was_added_without_the_filter_is_stopped() {
    let world = World::new();
    let repo = world.repo("film");
    repo.write("a.mov", large(1));
    let off = ["filter.dits.process=", "filter.dits.clean=", "filter.dits.smudge=", "filter.dits.required=false"];
    let mut args: Vec<&str> = off.iter().flat_map(|setting| ["-c", setting]).collect();
    args.extend(["add", "a.mov"]);
    repo.git(&args).ok();
    let refused = commit(&repo);
    assert!(refused.contains("a.mov (1.1 MiB): was added without the filter of Dits"), "{refused}");
    repo.git(&["add", "--renormalize", "."]).ok();
    repo.git(&["commit", "-q", "-m", "media"]).ok();
}

#[test]
fn the_first_commit_and_odd_names_are_judged_as_well() {
    let world = World::new();
    for format in ["sha1", "sha256"] {
        let name = format!("film-{format}");
        world.git(&["init", "-q", "--object-format", format, &name]).ok();
        let repo = Repo::at(&world, world.path(&name));
        repo.git(&["dits", "track", "*.mov"]).ok();
        let names: [&[u8]; 5] = [b"a b.dat", b"-x.dat", b"it's \"q\".dat", b"line\nend.dat", b"\xff\xfe.dat"];
        for name in names {
            std::fs::write(repo.dir().join(OsStr::from_bytes(name)), large(1)).expect("written");
        }
        repo.git(&["add", "."]).ok();
        let refused = commit(&repo);
        assert!(refused.contains("5 large files") && refused.contains("-x.dat"), "{refused}");
        assert!(refused.contains("`git dits track '*.[dD][aA][tT]'`"), "{refused}");
        repo.git(&["dits", "track", "*.[dD][aA][tT]"]).ok();
        repo.git(&["add", "--renormalize", "."]).ok();
        repo.git(&["commit", "-q", "-m", "media"]).ok();
    }
}

#[test]
fn a_failed_sync_stops_commits_until_it_is_mended() {
    let world = World::new();
    let repo = world.repo("film");
    repo.write("a.mov", noise(1, 200_000));
    repo.git(&["add", "a.mov"]).ok();
    std::fs::write(repo.store().join("unsynced"), "disk on fire\n").expect("written");
    let refused = commit(&repo);
    assert!(refused.contains("caused by: disk on fire") && refused.contains("--no-verify"), "{refused}");
    repo.git(&["add", "--renormalize", "a.mov"]).ok();
    repo.git(&["commit", "-q", "-m", "a take"]).ok();
}

#[test]
fn a_commit_of_media_costs_two_calls_of_git() {
    let world = World::new();
    let repo = world.repo("film");
    repo.write("a.mov", noise(1, 2_000_000));
    repo.git(&["add", "a.mov"]).ok();
    let trace = world.path("trace");
    repo.call(&["commit", "-q", "-m", "a take"]).env("GIT_TRACE", &trace).run().ok();
    let trace = std::fs::read_to_string(trace).expect("git wrote it");
    let calls: Vec<&str> = trace.lines().filter(|line| line.contains("trace: built-in: git ")).collect();
    let ours = calls.iter().filter(|line| line.contains("diff-index") || line.contains("cat-file"));
    assert_eq!(ours.count(), 2, "{trace}");
    let others =
        calls.iter().filter(|line| !["diff-index", "cat-file", "git commit"].iter().any(|it| line.contains(it)));
    assert!(others.clone().all(|line| line.contains("git maintenance") || line.contains("git gc")), "{trace}");
}
