use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::*;
use crate::repo::environment::Environment;

/// A repository in a folder of its own, with git's own configuration out of the way.
struct TestRepo {
    dir: tempfile::TempDir,
}

fn sh(dir: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.current_dir(dir).args(args).env_clear().env("PATH", std::env::var_os("PATH").expect("a PATH"));
    command.envs([("HOME", "/nonexistent"), ("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_TERMINAL_PROMPT", "0")]);
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "a").env(format!("GIT_{who}_EMAIL"), "a@b");
        command.env(format!("GIT_{who}_DATE"), "1700000000 +0000");
    }
    let output = command.output().expect("git runs");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("utf-8").trim_end().to_owned()
}

fn git_at(dir: &Path) -> GitProgram {
    let env = Environment::new(std::env::vars_os());
    GitProgram::find(&env).expect("git is installed").in_dir(dir)
}

impl TestRepo {
    fn new() -> TestRepo {
        let dir = tempfile::tempdir().expect("a temporary folder");
        sh(dir.path(), &["init", "-q", "-b", "main", "."]);
        TestRepo { dir }
    }

    fn with_filter() -> TestRepo {
        let repo = TestRepo::new();
        repo.commit(&[(".gitattributes", "*.mov filter=dits\n")]);
        repo
    }

    fn git(&self, args: &[&str]) -> String {
        sh(self.dir.path(), args)
    }

    fn commit(&self, files: &[(&str, &str)]) -> GitId {
        for (path, content) in files {
            let path = self.dir.path().join(path);
            std::fs::create_dir_all(path.parent().expect("below the top")).expect("folders");
            std::fs::write(path, content).expect("written");
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "x"]);
        self.id("HEAD")
    }

    fn id(&self, name: &str) -> GitId {
        GitId::parse(self.git(&["rev-parse", name]).as_bytes()).expect("an id")
    }

    fn walk(&self, tips: &[GitId], known: &[GitId]) -> Walked {
        let git = git_at(self.dir.path());
        walk(&git, AttributeCase::Sensitive, tips, &Known::Ids(known.to_vec())).expect("walked")
    }

    fn paths(&self, tips: &[GitId], known: &[GitId]) -> Vec<String> {
        names(&self.walk(tips, known))
    }
}

fn names(walked: &Walked) -> Vec<String> {
    let mut paths: Vec<_> = walked.pointers.iter().map(|found| found.path.to_string()).collect();
    paths.sort();
    paths
}

fn pointer(content: &str) -> String {
    Pointer { oid: FileHash::of(content.as_bytes()), size: content.len() as u64 }.to_string()
}

#[test]
fn new_commits_name_their_pointers_on_our_paths_alone() {
    let repo = TestRepo::with_filter();
    let base = repo.commit(&[("old.mov", &pointer("old"))]);
    let tip = repo.commit(&[
        ("a/new.mov", &pointer("new")),
        ("shown.txt", &pointer("text that shows a pointer")),
        ("same.txt", &pointer("new")),
        ("near.mov", "dits 1\noid blake3:00\nsize 1\n"),
    ]);
    let walked = repo.walk(&[tip], &[base]);
    assert_eq!(names(&walked), ["a/new.mov"]);
    assert_eq!(walked.pointers[0].commit, tip);
    let strays: Vec<_> = walked.strays.iter().map(|stray| (stray.path.to_string(), stray.commit)).collect();
    assert_eq!(strays, [("shown.txt".to_owned(), tip)], "what another path makes media is no stray");
    assert_eq!(repo.paths(&[tip], &[]), ["a/new.mov", "old.mov"]);
    assert!(repo.paths(&[tip], &[tip]).is_empty());
}

#[test]
fn a_file_is_found_once_and_says_what_it_replaces() {
    let repo = TestRepo::with_filter();
    let base = repo.commit(&[("x.mov", &pointer("one"))]);
    repo.commit(&[("x.mov", &pointer("two")), ("y.mov", &pointer("two"))]);
    let tip = repo.commit(&[("z.mov", &pointer("two"))]);
    let walked = repo.walk(&[tip], &[base]);
    assert_eq!(walked.pointers.len(), 1);
    let walked = repo.walk(&[repo.id("HEAD~1")], &[base]);
    let of_x: Vec<_> = walked.pointers.iter().filter_map(|found| found.replaces).collect();
    assert_eq!(of_x, [FileHash::of(b"one")]);
}

#[test]
fn a_second_pointer_with_the_same_oid_and_another_size_is_found_too() {
    let repo = TestRepo::with_filter();
    let wrong = Pointer { oid: FileHash::of(b"one"), size: 1000 };
    let tip = repo.commit(&[("x.mov", &pointer("one")), ("y.mov", &wrong.to_string())]);
    assert_eq!(repo.paths(&[tip], &[]), ["x.mov", "y.mov"]);
}

#[test]
fn known_commits_that_are_not_here_are_passed_over() {
    let repo = TestRepo::with_filter();
    let tip = repo.commit(&[("x.mov", &pointer("one"))]);
    let stale = GitId::parse(b"1234567890123456789012345678901234567890").expect("hex");
    assert_eq!(repo.paths(&[tip], &[stale]), ["x.mov"]);
    let git = git_at(repo.dir.path());
    let missing_tip = walk(&git, AttributeCase::Sensitive, &[stale], &Known::AllRefs);
    assert!(matches!(missing_tip, Err(WalkError::TipMissing(id)) if id == stale));
    let none = walk(&git, AttributeCase::Sensitive, &[tip], &Known::AllRefs).expect("walked");
    assert!(none.pointers.is_empty());
}

#[test]
fn rewound_and_forced_branches_are_walked_from_where_they_part() {
    let repo = TestRepo::with_filter();
    let base = repo.commit(&[("x.mov", &pointer("one"))]);
    let left = repo.commit(&[("x.mov", &pointer("left"))]);
    repo.git(&["reset", "-q", "--hard", &base.to_string()]);
    let right = repo.commit(&[("x.mov", &pointer("right"))]);
    assert!(repo.paths(&[base], &[left]).is_empty());
    let walked = repo.walk(&[right], &[left]);
    assert_eq!(walked.pointers.len(), 1);
    assert_eq!(walked.pointers[0].pointer.oid, FileHash::of(b"right"));
}

#[test]
fn a_merge_brings_what_only_the_merge_has() {
    let repo = TestRepo::with_filter();
    let base = repo.id("HEAD");
    repo.git(&["checkout", "-q", "-b", "side"]);
    repo.commit(&[("side.mov", &pointer("side"))]);
    repo.git(&["checkout", "-q", "main"]);
    repo.commit(&[("main.mov", &pointer("main"))]);
    repo.git(&["merge", "-q", "--no-commit", "--no-ff", "side"]);
    let tip = repo.commit(&[("evil.mov", &pointer("evil"))]);
    assert_eq!(repo.paths(&[tip], &[base]), ["evil.mov", "main.mov", "side.mov"]);
}

#[test]
fn a_merge_of_attributes_and_pointers_makes_them_count() {
    let repo = TestRepo::new();
    let base = repo.commit(&[("x", "x")]);
    repo.git(&["checkout", "-q", "-b", "side"]);
    repo.commit(&[("a.mov", &pointer("a"))]);
    repo.git(&["checkout", "-q", "main"]);
    repo.commit(&[(".gitattributes", "*.mov filter=dits\n")]);
    assert!(repo.paths(&[repo.id("side"), repo.id("main")], &[base]).is_empty());
    repo.git(&["merge", "-q", "--no-ff", "-m", "m", "side"]);
    assert_eq!(repo.paths(&[repo.id("HEAD")], &[base]), ["a.mov"]);
}

#[test]
fn a_change_of_attributes_alone_makes_old_pointers_count_and_reports_no_old_blob() {
    let repo = TestRepo::new();
    let large = "x".repeat(limits_raw() + 1);
    let base = repo.commit(&[("d/a.mov", &pointer("a")), ("d/raw.mov", &large)]);
    let tip = repo.commit(&[("d/.gitattributes", "*.mov filter=dits\n")]);
    let walked = repo.walk(&[tip], &[base]);
    assert_eq!(names(&walked), ["d/a.mov"]);
    assert!(walked.raw_blobs.is_empty());
}

fn limits_raw() -> usize {
    crate::limits::RAW_BLOB_LEN_MAX as usize
}

#[test]
fn a_large_raw_blob_on_our_path_is_reported_where_it_was_added() {
    let repo = TestRepo::with_filter();
    let large = "x".repeat(limits_raw() + 1);
    let tip = repo.commit(&[("raw.mov", &large), ("raw.txt", &large), ("small.mov", &large[1..])]);
    let walked = repo.walk(&[tip], &[]);
    let raw: Vec<_> = walked.raw_blobs.iter().map(|raw| (raw.path.to_string(), raw.commit)).collect();
    assert_eq!(raw, [("raw.mov".to_owned(), tip)]);
}

#[test]
fn tags_of_commits_trees_and_blobs_are_what_they_tag() {
    let repo = TestRepo::with_filter();
    repo.commit(&[("x.mov", &pointer("one"))]);
    repo.git(&["tag", "-a", "-m", "t", "commit", "HEAD"]);
    repo.git(&["tag", "-a", "-m", "t", "tree", "HEAD^{tree}"]);
    repo.git(&["tag", "-a", "-m", "t", "blob", "HEAD:x.mov"]);
    repo.git(&["tag", "-a", "-m", "t", "nested", "commit"]);
    for (tag, found) in [("commit", 1), ("tree", 1), ("nested", 1), ("blob", 0), ("HEAD:x.mov", 0)] {
        assert_eq!(repo.paths(&[repo.id(tag)], &[]).len(), found, "{tag}");
    }
}

#[test]
fn odd_paths_are_walked_as_bytes() {
    let repo = TestRepo::new();
    repo.commit(&[(".gitattributes", "*.mov filter=dits\n"), ("a\nb/.gitattributes", "*.wav filter=dits\n")]);
    let odd = ["a\nb/x y .wav", " lead.mov", "-x.mov", "tab\t\"quote\".mov", "ä.mov", "a missing\n/x.mov"];
    let texts: Vec<_> = odd.iter().map(|path| pointer(path)).collect();
    let files: Vec<_> = odd.iter().zip(&texts).map(|(path, text)| (*path, text.as_str())).collect();
    let tip = repo.commit(&files);
    let mut expected: Vec<_> = odd.iter().map(|path| (*path).to_owned()).collect();
    expected.sort();
    assert_eq!(repo.paths(&[tip], &[]), expected);
}

#[test]
fn macros_and_nested_attributes_count() {
    let repo = TestRepo::new();
    repo.commit(&[
        (".gitattributes", "[attr]media filter=dits -text\n*.mov media\n"),
        ("raw/.gitattributes", "* !filter\n"),
    ]);
    let tip = repo.commit(&[("a.mov", &pointer("a")), ("raw/b.mov", &pointer("b"))]);
    assert_eq!(repo.paths(&[tip], &[]), ["a.mov"]);
}

#[test]
fn what_one_machine_adds_to_the_attributes_does_not_count() {
    let repo = TestRepo::new();
    std::fs::write(repo.dir.path().join(".git/info/attributes"), "*.mov filter=dits\n").expect("written");
    let tip = repo.commit(&[("a.mov", &pointer("a"))]);
    assert!(repo.paths(&[tip], &[]).is_empty());
}

#[test]
fn shallow_and_single_branch_clones_walk_what_they_have() {
    let repo = TestRepo::with_filter();
    repo.commit(&[("one.mov", &pointer("one"))]);
    repo.commit(&[("two.mov", &pointer("two"))]);
    let clone = tempfile::tempdir().expect("a folder");
    let url = format!("file://{}", repo.dir.path().display());
    sh(clone.path(), &["clone", "-q", "--depth=1", "--single-branch", &url, "."]);
    let shallow = TestRepo { dir: clone };
    let cut = shallow.id("HEAD");
    let tip = shallow.commit(&[("three.mov", &pointer("three"))]);
    assert_eq!(shallow.paths(&[tip], &[cut]), ["three.mov"]);
    assert_eq!(shallow.paths(&[tip], &[]), ["one.mov", "three.mov", "two.mov"]);
}

#[test]
fn a_partial_clone_passes_over_what_was_promised() {
    let repo = TestRepo::with_filter();
    repo.commit(&[("one.mov", &pointer("one"))]);
    repo.git(&["config", "uploadpack.allowFilter", "true"]);
    let clone = tempfile::tempdir().expect("a folder");
    let url = format!("file://{}", repo.dir.path().display());
    sh(clone.path(), &["clone", "-q", "--filter=blob:none", "--no-checkout", &url, "."]);
    let partial = TestRepo { dir: clone };
    partial.git(&["checkout", "-q", "HEAD", "--", ".gitattributes"]);
    std::fs::remove_dir_all(repo.dir.path().join(".git")).expect("the promisor goes away");
    let text = pointer("new");
    let blob = {
        std::fs::write(partial.dir.path().join("new"), &text).expect("written");
        partial.git(&["hash-object", "-w", "new"])
    };
    partial.git(&["update-index", "--add", "--cacheinfo", &format!("100644,{blob},new.mov")]);
    let tree = partial.git(&["write-tree", "--missing-ok"]);
    let commit = partial.git(&["commit-tree", "-m", "x", "-p", "HEAD", &tree]);
    let tip = GitId::parse(commit.as_bytes()).expect("an id");
    // Twice: what is made the first time is used the second.
    assert_eq!(partial.paths(&[tip], &[]), ["new.mov"]);
    assert_eq!(partial.paths(&[tip], &[]), ["new.mov"]);
}

#[test]
fn trees_and_the_index_list_every_path() {
    let repo = TestRepo::with_filter();
    repo.commit(&[("a.mov", &pointer("a")), ("sub/b.mov", &pointer("a")), ("c.txt", &pointer("c"))]);
    let git = git_at(&repo.dir.path().join("sub"));
    let paths = |found: Vec<PointerAt>| found.iter().map(|at| at.path.to_string()).collect::<Vec<_>>();
    let tree = pointers_in_tree(&git, AttributeCase::Sensitive, "HEAD").expect("listed");
    assert_eq!(paths(tree), ["a.mov", "sub/b.mov"]);
    std::fs::write(repo.dir.path().join("d.mov"), pointer("d")).expect("written");
    repo.git(&["add", "d.mov"]);
    let index = pointers_in_index(&git, AttributeCase::Sensitive).expect("listed");
    assert_eq!(paths(index), ["a.mov", "d.mov", "sub/b.mov"]);
    for bad in ["no-such", "--all", ""] {
        let error = pointers_in_tree(&git, AttributeCase::Sensitive, bad).expect_err("no tree");
        assert!(matches!(error, WalkError::Revision(_)), "{bad}: {error}");
    }
}

#[test]
fn a_sha256_repository_is_walked_too() {
    let dir = tempfile::tempdir().expect("a folder");
    sh(dir.path(), &["init", "-q", "-b", "main", "--object-format=sha256", "."]);
    let repo = TestRepo { dir };
    let tip = repo.commit(&[(".gitattributes", "*.mov filter=dits\n"), ("a.mov", &pointer("a"))]);
    assert_eq!(repo.paths(&[tip], &[]), ["a.mov"]);
}

/// A tree of trees: `levels` folders deep, ten folders in each, all of them the same; at the
/// bottom what `entry` says, a line for `git mktree`.
fn bomb(repo: &TestRepo, levels: usize, entry: &str) -> String {
    let make = |lines: &str| {
        let mut command = Command::new("git");
        command.current_dir(repo.dir.path()).args(["mktree"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("git runs");
        child.stdin.take().expect("piped").write_all(lines.as_bytes()).expect("written");
        let output = child.wait_with_output().expect("it ends");
        String::from_utf8(output.stdout).expect("hex").trim_end().to_owned()
    };
    (0..levels).fold(make(entry), |below, _| {
        make(&(0..10).map(|name| format!("040000 tree {below}\t{name}\n")).collect::<String>())
    })
}

fn blob(repo: &TestRepo, content: &str) -> String {
    std::fs::write(repo.dir.path().join("blob"), content).expect("written");
    let id = repo.git(&["hash-object", "-w", "blob"]);
    std::fs::remove_file(repo.dir.path().join("blob")).expect("removed");
    id
}

fn commit_of(repo: &TestRepo, tree: &str, parents: &[GitId]) -> GitId {
    let parents: Vec<String> = parents.iter().map(|parent| format!("-p{parent}")).collect();
    let args = ["commit-tree", "-m", "x", tree].into_iter().chain(parents.iter().map(String::as_str));
    GitId::parse(repo.git(&args.collect::<Vec<_>>()).as_bytes()).expect("an id")
}

fn walk_within(repo: &TestRepo, tip: GitId, known: &[GitId], limits: WalkLimits) -> Result<Vec<Walked>, WalkError> {
    let mut all = Vec::new();
    let known = Known::Ids(known.to_vec());
    walk_each(&git_at(repo.dir.path()), AttributeCase::Sensitive, &[tip], &known, limits, &mut |walked| {
        all.push(walked);
        Ok::<_, WalkError>(())
    })?;
    Ok(all)
}

#[test]
fn commits_that_expand_to_too_many_paths_are_refused() {
    let repo = TestRepo::new();
    let text = blob(&repo, "text");
    let tip = commit_of(&repo, &bomb(&repo, 5, &format!("100644 blob {text}\ta.mov\n")), &[]);
    let limits = WalkLimits { paths_max: 20_000, ..WalkLimits::default() };
    let refused = walk_within(&repo, tip, &[], limits).expect_err("10^5 paths");
    assert!(matches!(refused, WalkError::TooManyPaths { max: 20_000 }), "{refused}");
    let limits = WalkLimits { bytes_max: 100_000, ..WalkLimits::default() };
    let refused = walk_within(&repo, tip, &[], limits).expect_err("their names");
    assert!(matches!(refused, WalkError::TooManyBytes { max: 100_000 }), "{refused}");
    assert!(refused.is_too_much());
}

#[cfg(target_os = "linux")]
#[test]
fn a_commit_that_expands_to_more_than_fits_into_memory_is_refused() {
    let repo = TestRepo::new();
    let text = blob(&repo, "text");
    let tip = commit_of(&repo, &bomb(&repo, 12, &format!("100644 blob {text}\ta.mov\n")), &[]);
    let limits = WalkLimits { memory_max: 48 * 1024 * 1024, ..WalkLimits::default() };
    let refused = walk_within(&repo, tip, &[], limits).expect_err("10^12 paths");
    assert!(matches!(refused, WalkError::TooMuchMemory { .. }), "{refused}");
}

#[test]
fn folders_that_expand_to_nothing_do_not_keep_git_busy_for_ever() {
    let repo = TestRepo::new();
    let tip = commit_of(&repo, &bomb(&repo, 12, ""), &[]);
    let limits = WalkLimits { time_max: Duration::from_millis(300), ..WalkLimits::default() };
    let started = Instant::now();
    let refused = walk_within(&repo, tip, &[], limits).expect_err("10^12 empty folders");
    assert!(matches!(refused, WalkError::TooLong { .. }), "{refused}");
    assert!(started.elapsed() < Duration::from_secs(20), "its children were ended");
}

#[test]
fn a_whole_tree_is_looked_at_without_expanding_it() {
    let repo = TestRepo::new();
    let text = blob(&repo, "text");
    let inner = bomb(&repo, 12, &format!("100644 blob {text}\ta.mov\n"));
    let attributes = blob(&repo, "*.mov filter=dits\n");
    let media = blob(&repo, &pointer("media"));
    let lines = |folder: &str| {
        format!("100644 blob {attributes}\t.gitattributes\n100644 blob {media}\tb.mov\n040000 tree {folder}\tz\n")
    };
    let known = commit_of(&repo, &inner, &[]);
    let harmless = bomb(&repo, 0, &lines(&inner));
    assert_eq!(repo.paths(&[GitId::parse(harmless.as_bytes()).expect("an id")], &[]), ["b.mov"]);
    let many = bomb(&repo, 12, &format!("100644 blob {media}\ta.mov\n"));
    let tree = GitId::parse(bomb(&repo, 0, &lines(&many)).as_bytes()).expect("an id");
    let refused = walk_within(&repo, tree, &[known], WalkLimits::default()).expect_err("10^12 pointers");
    assert!(matches!(refused, WalkError::TooManyPaths { .. }), "{refused}");
    assert!(pointers_in_tree(&git_at(repo.dir.path()), AttributeCase::Sensitive, &tree.to_string()).is_err());
}

#[test]
fn folders_nested_deeper_than_any_path_are_refused() {
    let repo = TestRepo::new();
    let text = blob(&repo, "text");
    let mut lines = String::new();
    // One `git mktree` would have to be run for each level; `fast-import` makes them all at once.
    let path = ["d"; crate::limits::TREE_DEPTH_MAX + 2].join("/");
    lines.push_str("commit refs/heads/deep\ncommitter a <a@b> 1700000000 +0000\ndata 1\nx\n");
    lines.push_str(&format!("M 100644 {text} {path}/a.mov\n"));
    fast_import(repo.dir.path(), &lines);
    let tree = repo.id("deep^{tree}");
    let refused = walk_within(&repo, tree, &[], WalkLimits::default()).expect_err("too deep");
    assert!(matches!(refused, WalkError::TreeDepth { .. }), "{refused}");
}

fn fast_import(dir: &Path, stream: &str) {
    let mut command = Command::new("git");
    command.current_dir(dir).args(["fast-import", "--quiet", "--force"]).stdin(Stdio::piped());
    let mut child = command.spawn().expect("git runs");
    child.stdin.take().expect("piped").write_all(stream.as_bytes()).expect("written");
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn a_walk_hands_on_what_it_finds_and_ends_when_it_is_told_to() {
    let repo = TestRepo::with_filter();
    let tip = repo.commit(&[("a.mov", &pointer("a")), ("b.mov", &pointer("b"))]);
    let git = git_at(repo.dir.path());
    let known = Known::Ids(Vec::new());
    let mut calls = 0;
    let ended = walk_each(&git, AttributeCase::Sensitive, &[tip], &known, WalkLimits::default(), &mut |_| {
        calls += 1;
        Err(WalkError::Revision("enough".into()))
    });
    assert!(matches!(ended, Err(WalkError::Revision(_))));
    assert_eq!(calls, 1);
}

#[test]
fn a_link_in_the_place_of_attributes_counts_for_us_as_it_counts_for_git() {
    let repo = TestRepo::new();
    let base = repo.commit(&[("a.mov", &pointer("a")), ("sub/b.mov", &pointer("b")), ("real", "*.mov filter=dits\n")]);
    // Git never follows such a link; in a tree and in the index it takes the link's own text for attributes.
    std::os::unix::fs::symlink("*.mov filter=dits", repo.dir.path().join(".gitattributes")).expect("linked");
    std::os::unix::fs::symlink("../real", repo.dir.path().join("sub/.gitattributes")).expect("linked");
    repo.git(&["add", "-A"]);
    repo.git(&["commit", "-q", "-m", "links"]);
    let ours = ["a.mov", "sub/b.mov"]
        .into_iter()
        .filter(|path| repo.git(&["check-attr", "--cached", "filter", "--", path]).ends_with("filter: dits"));
    assert_eq!(repo.paths(&[repo.id("HEAD")], &[base]), ours.collect::<Vec<_>>());
    let followed = TestRepo::new();
    let base = followed.commit(&[("sub/b.mov", &pointer("b")), ("real", "*.mov filter=dits\n")]);
    std::os::unix::fs::symlink("../real", followed.dir.path().join("sub/.gitattributes")).expect("linked");
    followed.git(&["add", "-A"]);
    followed.git(&["commit", "-q", "-m", "link"]);
    assert!(followed.paths(&[followed.id("HEAD")], &[base]).is_empty(), "the link is not followed");
}

#[test]
fn an_octopus_and_a_merge_that_only_takes_a_side_are_walked() {
    let repo = TestRepo::with_filter();
    let base = repo.id("HEAD");
    let mut sides = Vec::new();
    for side in ["one", "two", "three"] {
        repo.git(&["checkout", "-q", "-b", side, &base.to_string()]);
        sides.push(repo.commit(&[(&format!("{side}.mov"), &pointer(side))]));
    }
    let large = "x".repeat(limits_raw() + 1);
    let evil = [("evil.mov", pointer("evil")), ("raw.mov", large)];
    for (path, content) in &evil {
        std::fs::write(repo.dir.path().join(path), content).expect("written");
    }
    repo.git(&["add", "-A"]);
    let tree = repo.git(&["write-tree"]);
    let tip = commit_of(&repo, &tree, &sides);
    let walked = repo.walk(&[tip], &[base]);
    assert_eq!(names(&walked), ["evil.mov", "one.mov", "three.mov", "two.mov"]);
    assert_eq!(walked.raw_blobs.len(), 1);
}
