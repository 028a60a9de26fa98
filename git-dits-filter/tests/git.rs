//! The filter under real git.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use dits_core::hash::FileHash;
use dits_core::pointer::Pointer;

const FILTER: &str = env!("CARGO_BIN_EXE_git-dits-filter");

/// A folder with a home of its own, where git finds this filter and no settings of the user.
struct Sandbox {
    dir: tempfile::TempDir,
    bin: PathBuf,
}

impl Sandbox {
    fn new() -> Sandbox {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let top = dir.path().canonicalize().expect("it exists");
        std::fs::create_dir_all(top.join("home")).expect("a home");
        let bin = top.join("bin");
        std::fs::create_dir_all(&bin).expect("a folder");
        // Not the built one itself, so that the program beside it can be one of the test's own.
        std::fs::copy(FILTER, bin.join("git-dits-filter")).expect("copied");
        let sandbox = Sandbox { dir, bin };
        let filter = sandbox.bin.join("git-dits-filter");
        let filter = filter.to_str().expect("text");
        for (key, value) in [
            ("user.name", "Test"),
            ("user.email", "test@example.com"),
            ("init.defaultBranch", "main"),
            ("protocol.file.allow", "always"),
            ("filter.dits.process", filter),
            ("filter.dits.clean", &format!("{filter} clean %f")),
            ("filter.dits.smudge", &format!("{filter} smudge %f")),
            ("filter.dits.required", "true"),
        ] {
            sandbox.git(".", ["config", "--global", key, value]);
        }
        sandbox
    }

    /// A sandbox with one repository in which `*.bin` is media.
    fn with_repo() -> Sandbox {
        let sandbox = Sandbox::new();
        sandbox.git(".", ["init", "-q", "repo"]);
        sandbox.write("repo/.gitattributes", b"*.bin filter=dits -text\n");
        sandbox
    }

    fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.dir.path().canonicalize().expect("it exists").join(below)
    }

    fn write(&self, below: impl AsRef<Path>, bytes: &[u8]) {
        std::fs::write(self.path(below), bytes).expect("written");
    }

    fn read(&self, below: impl AsRef<Path>) -> Vec<u8> {
        std::fs::read(self.path(below)).expect("readable")
    }

    fn command(&self, program: impl AsRef<OsStr>, dir: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir(self.path(dir));
        command.env("PATH", std::env::var_os("PATH").expect("PATH is set"));
        command.env("HOME", self.path("home")).env("GIT_CONFIG_NOSYSTEM", "1").env("LC_ALL", "C");
        command
    }

    fn try_git<A: AsRef<OsStr>>(&self, dir: &str, args: impl IntoIterator<Item = A>) -> Output {
        self.command("git", dir).args(args).stdin(Stdio::null()).output().expect("git starts")
    }

    fn git<A: AsRef<OsStr>>(&self, dir: &str, args: impl IntoIterator<Item = A>) -> String {
        let args: Vec<OsString> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let output = self.try_git(dir, &args);
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn blob(&self, spec: &OsStr) -> Vec<u8> {
        let output = self.try_git("repo", [OsStr::new("cat-file"), OsStr::new("blob"), spec]);
        assert!(output.status.success(), "{spec:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Puts a program beside the filter that stands in for the one that fetches.
    fn helper(&self, script: &str) {
        let path = self.bin.join("git-remote-dits");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("executable");
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Bytes that do not compress, the same for the same seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(len).collect()
}

fn pointer_text(content: &[u8]) -> Vec<u8> {
    Pointer { oid: FileHash::of(content), size: content.len() as u64 }.to_string().into_bytes()
}

#[test]
fn what_is_added_comes_back_at_checkout_and_clone() {
    let sandbox = Sandbox::with_repo();
    let (old, new) = (noise(1, 9_000_000), noise(2, 100_000));
    sandbox.write("repo/a.bin", &old);
    sandbox.write("repo/empty.bin", b"");
    sandbox.write("repo/text.txt", &pointer_text(&old));
    sandbox.git("repo", ["add", "."]);
    sandbox.git("repo", ["commit", "-qm", "old"]);
    assert_eq!(sandbox.blob("HEAD:a.bin".as_ref()), pointer_text(&old));
    assert_eq!(sandbox.blob("HEAD:empty.bin".as_ref()), b"");
    sandbox.git("repo", ["switch", "-qc", "other"]);
    sandbox.write("repo/a.bin", &new);
    sandbox.git("repo", ["commit", "-qam", "new"]);
    sandbox.git("repo", ["switch", "-q", "main"]);
    assert!(sandbox.read("repo/a.bin") == old);
    sandbox.git("repo", ["checkout", "-q", "other"]);
    assert!(sandbox.read("repo/a.bin") == new);
    assert_eq!(sandbox.git("repo", ["status", "--porcelain"]), "");

    // A clone reads the store of the path it was cloned from.
    sandbox.git(".", ["clone", "-q", "-b", "main", "repo", "clone"]);
    assert!(sandbox.read("clone/a.bin") == old);
    assert_eq!(sandbox.read("clone/empty.bin"), b"");
    assert_eq!(sandbox.read("clone/text.txt"), pointer_text(&old), "text stays text");
    assert_eq!(sandbox.git("clone", ["status", "--porcelain"]), "");
    let archive = sandbox.try_git("clone", ["archive", "--format=tar", "HEAD", "a.bin"]);
    assert!(archive.status.success() && archive.stdout.windows(64).any(|window| window == &old[4096..4160]));
}

#[test]
fn any_path_git_can_hold_goes_through_unchanged() {
    let sandbox = Sandbox::with_repo();
    sandbox.write("repo/.gitattributes", b"* filter=dits -text\n.gitattributes -filter\n");
    let names: [&[u8]; 8] = [b"trailing ", b" leading", b"a\nb\n", b"\"q\"'", b"-dash", b"a=b", b"\xff\xfe", b"tab\t"];
    for (seed, name) in names.iter().enumerate() {
        sandbox.write(OsStr::from_bytes(&[b"repo/", *name].concat()), &noise(seed as u64, 3000));
    }
    sandbox.git("repo", ["add", "."]);
    sandbox.git("repo", ["commit", "-qm", "names"]);
    for (seed, name) in names.iter().enumerate() {
        let spec = OsString::from_vec([b"HEAD:", *name].concat());
        assert_eq!(sandbox.blob(&spec), pointer_text(&noise(seed as u64, 3000)), "{name:?}");
    }
    sandbox.git(".", ["clone", "-q", "repo", "clone"]);
    for (seed, name) in names.iter().enumerate() {
        let below = OsString::from_vec([b"clone/", *name].concat());
        assert!(sandbox.read(below) == noise(seed as u64, 3000), "{name:?}");
    }
}

#[test]
fn content_that_is_a_pointer_stays_as_it_is() {
    let sandbox = Sandbox::with_repo();
    let pointer = pointer_text(b"elsewhere");
    let with_more = [pointer.clone(), b"more\n".to_vec()].concat();
    sandbox.write("repo/p.bin", &pointer);
    sandbox.write("repo/more.bin", &with_more);
    let added = sandbox.try_git("repo", ["add", "."]);
    assert!(added.status.success());
    assert_eq!(sandbox.blob(":p.bin".as_ref()), pointer);
    assert_eq!(sandbox.blob(":more.bin".as_ref()), pointer_text(&with_more));
    assert!(stderr(&added).contains("warning: more.bin begins with a Dits pointer"), "{}", stderr(&added));
}

#[test]
fn media_that_cannot_be_fetched_is_left_as_its_pointer_and_named() {
    let sandbox = Sandbox::with_repo();
    let (here, gone) = (noise(1, 20_000), noise(2, 20_000));
    sandbox.write("repo/a.bin", &here);
    sandbox.write("repo/b.bin", &pointer_text(&gone));
    sandbox.write("repo/c.bin", &here);
    sandbox.write("repo/d.bin", &pointer_text(&gone));
    sandbox.git("repo", ["add", "."]);
    sandbox.git("repo", ["commit", "-qm", "x"]);
    sandbox.helper("while read oid size; do echo $oid >>$HOME/asked; echo \"$oid missing the server is away\"; done");

    let cloned = sandbox.try_git(".", ["clone", "-q", "repo", "clone"]);
    assert!(cloned.status.success(), "{}", stderr(&cloned));
    assert!(sandbox.read("clone/a.bin") == here && sandbox.read("clone/c.bin") == here);
    assert_eq!(sandbox.read("clone/b.bin"), pointer_text(&gone));
    let told = stderr(&cloned);
    assert!(told.contains("warning: b.bin is left as a pointer\ncaused by: the server is away\n"), "{told}");
    assert!(told.contains("hint: `git dits pull`"), "{told}");
    assert_eq!(sandbox.read("home/asked"), format!("{}\n", FileHash::of(&gone)).into_bytes(), "asked once");
    assert_eq!(sandbox.git("clone", ["status", "--porcelain"]), "");

    sandbox.git(".", ["config", "--global", "dits.onMissing", "fail"]);
    let failed = sandbox.try_git(".", ["clone", "-q", "repo", "strict"]);
    assert!(!failed.status.success());
    assert!(stderr(&failed).contains("error: cannot get the content of b.bin"), "{}", stderr(&failed));
    assert!(sandbox.read("strict/a.bin") == here && sandbox.read("strict/c.bin") == here, "the others are there");

    let archive = sandbox.try_git("repo", ["archive", "--format=tar", "HEAD"]);
    assert!(!archive.status.success(), "no archive silently holds a pointer");
}

#[test]
fn damage_deep_inside_a_long_file_leaves_its_pointer_and_the_other_files_come() {
    let sandbox = Sandbox::with_repo();
    let (long, other) = (noise(1, 4_000_000), noise(2, 20_000));
    sandbox.write("repo/a.bin", &long);
    sandbox.git("repo", ["add", "."]);
    let mut packs = Vec::new();
    for folder in ["open", "packs"] {
        let listed = std::fs::read_dir(sandbox.path("repo/.git/dits").join(folder));
        packs.extend(listed.into_iter().flatten().flatten().map(|entry| entry.path()));
    }
    let pack = packs.iter().find(|path| path.extension().is_some_and(|end| end == "pack")).expect("a pack");
    let mut bytes = std::fs::read(pack).expect("ours");
    bytes[3_500_000] ^= 1;
    std::fs::write(pack, bytes).expect("ours");
    sandbox.write("repo/b.bin", &other);
    sandbox.git("repo", ["add", "."]);
    sandbox.git("repo", ["commit", "-qm", "x"]);
    for name in ["repo/a.bin", "repo/b.bin"] {
        std::fs::remove_file(sandbox.path(name)).expect("ours");
    }
    sandbox.helper("while read oid size; do echo $oid >>$HOME/asked; echo \"$oid missing the server is away\"; done");

    let checkout = sandbox.try_git("repo", ["checkout", "-q", "--", "."]);
    let told = stderr(&checkout);
    assert!(checkout.status.success(), "{told}");
    assert!(told.contains("warning: a.bin is left as a pointer\ncaused by: ") && told.contains("damaged"), "{told}");
    assert!(told.contains("hint: `git dits pull`"), "{told}");
    assert_eq!(sandbox.read("repo/a.bin"), pointer_text(&long));
    assert!(sandbox.read("repo/b.bin") == other);
    assert_eq!(sandbox.read("home/asked"), format!("{}\n", FileHash::of(&long)).into_bytes(), "asked once");
}

#[test]
fn chosen_files_are_left_as_pointers_without_a_word() {
    let sandbox = Sandbox::with_repo();
    let content = noise(1, 20_000);
    sandbox.write("repo/a.bin", &content);
    sandbox.write("repo/b.bin", &content);
    sandbox.write("repo/.ditsconfig", b"[dits]\n\tfetchExclude = a.bin\n");
    sandbox.git("repo", ["add", "."]);
    sandbox.git("repo", ["commit", "-qm", "x"]);
    sandbox.git(".", ["clone", "-q", "repo", "clone"]);
    assert_eq!(sandbox.read("clone/a.bin"), pointer_text(&content));
    assert!(sandbox.read("clone/b.bin") == content);
    let mut clone = sandbox.command("git", ".");
    let clone = clone.args(["clone", "-q", "repo", "skipped"]).env("GIT_DITS_SKIP_SMUDGE", "1").output();
    assert_eq!(stderr(&clone.expect("git starts")), "");
    assert_eq!(sandbox.read("skipped/b.bin"), pointer_text(&content));
}

#[test]
fn plain_content_on_a_path_of_ours_passes_and_is_told_of() {
    let sandbox = Sandbox::with_repo();
    let (short, long) = (b"short".to_vec(), noise(3, 5_000_000));
    sandbox.write("repo/a.bin", &short);
    sandbox.write("repo/b.bin", &long);
    let off = ["-c", "filter.dits.process=", "-c", "filter.dits.clean=", "-c", "filter.dits.required=false"];
    sandbox.git("repo", off.iter().chain(&["add", "."]));
    sandbox.git("repo", off.iter().chain(&["commit", "-qm", "x"]));
    let cloned = sandbox.try_git(".", ["clone", "-q", "repo", "clone"]);
    assert!(cloned.status.success());
    assert!(sandbox.read("clone/a.bin") == short && sandbox.read("clone/b.bin") == long);
    let told = stderr(&cloned);
    assert!(told.contains("and 1 more should be a pointer, but was committed as plain content"), "{told}");
}

#[test]
fn two_adds_at_once_lose_nothing_even_in_a_shared_store() {
    let sandbox = Sandbox::with_repo();
    sandbox.git(".", ["init", "-q", "second"]);
    sandbox.write("second/.gitattributes", b"*.bin filter=dits -text\n");
    let shared = sandbox.path("shared");
    sandbox.git(".", [OsStr::new("config"), "--global".as_ref(), "dits.storage".as_ref(), shared.as_os_str()]);
    let mut running = Vec::new();
    for (number, dir) in [(0, "repo"), (1, "second")] {
        sandbox.write(format!("{dir}/same.bin"), &noise(7, 2_000_000));
        sandbox.write(format!("{dir}/own.bin"), &noise(10 + number, 2_000_000));
        running.push(sandbox.command("git", dir).args(["add", "."]).spawn().expect("git starts"));
    }
    // In one repository at once, without the index that two adds would fight over.
    for number in 0..2 {
        let name = format!("loose{number}.bin");
        sandbox.write(format!("repo/{name}"), &noise(20 + number, 2_000_000));
        let mut hash = sandbox.command("git", "repo");
        running.push(hash.args(["hash-object", "-w", &name]).stdout(Stdio::null()).spawn().expect("git starts"));
    }
    for mut child in running {
        assert!(child.wait().expect("waited").success());
    }
    sandbox.git("repo", ["add", "."]);
    for dir in ["repo", "second"] {
        sandbox.git(dir, ["commit", "-qm", "x"]);
        std::fs::remove_file(sandbox.path(format!("{dir}/same.bin"))).expect("removed");
        std::fs::remove_file(sandbox.path(format!("{dir}/own.bin"))).expect("removed");
        sandbox.git(dir, ["reset", "-q", "--hard"]);
        assert!(sandbox.read(format!("{dir}/same.bin")) == noise(7, 2_000_000));
    }
    std::fs::remove_file(sandbox.path("repo/loose1.bin")).expect("removed");
    sandbox.git("repo", ["checkout", "-q", "."]);
    assert!(sandbox.read("repo/loose1.bin") == noise(21, 2_000_000));
    assert!(sandbox.read("second/own.bin") == noise(11, 2_000_000));
}

#[test]
fn a_filter_killed_while_it_stores_loses_nothing_of_before() {
    let sandbox = Sandbox::with_repo();
    sandbox.write("repo/a.bin", &noise(1, 1_000_000));
    sandbox.git("repo", ["add", ".gitattributes", "a.bin"]);
    for (seed, step) in
        ["pack-payload-written", "pack-log-written", "pack-indexed", "pack-payload-synced"].into_iter().enumerate()
    {
        sandbox.write("repo/b.bin", &noise(100 + seed as u64, 3_000_000));
        let mut add = sandbox.command("git", "repo");
        let killed = add.args(["add", "b.bin"]).env("DITS_STOP_AT", step).output().expect("git starts");
        let is_before_the_answer = step != "pack-payload-synced";
        assert_eq!(killed.status.success(), !is_before_the_answer, "{step}: {}", stderr(&killed));
        sandbox.git("repo", ["add", "b.bin"]);
    }
    sandbox.git("repo", ["commit", "-qam", "x"]);
    let cloned = sandbox.try_git(".", ["clone", "-q", "repo", "clone"]);
    assert_eq!(stderr(&cloned), "");
    assert!(sandbox.read("clone/a.bin") == noise(1, 1_000_000));
    assert!(sandbox.read("clone/b.bin") == noise(103, 3_000_000));
}

#[test]
fn what_a_file_rests_on_is_synced_whoever_stored_it() {
    let sandbox = Sandbox::with_repo();
    sandbox.write("repo/a.bin", &noise(1, 300_000));
    sandbox.git("repo", ["add", ".gitattributes", "a.bin"]);
    // Nothing that can be opened: whoever syncs all open packs hears of it.
    let log = sandbox.path("repo/.git/dits/open").join(format!("{}.log", "a7".repeat(16)));
    let _log = std::os::unix::net::UnixListener::bind(log).expect("a socket");
    sandbox.write("repo/same.bin", &noise(1, 300_000));
    let added = sandbox.try_git("repo", ["add", "same.bin"]);
    assert!(stderr(&added).contains("may not survive a power loss"), "{}", stderr(&added));
    assert!(sandbox.path("repo/.git/dits/unsynced").exists());
}

#[test]
fn a_file_that_changes_while_it_is_added_shows_as_modified_and_is_stored_whole() {
    let sandbox = Sandbox::with_repo();
    let path = sandbox.path("repo/a.bin");
    std::fs::write(&path, noise(1, 20_000_000)).expect("written");
    let mut adding = sandbox.command("git", "repo").args(["add", "a.bin"]).spawn().expect("git starts");
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).expect("open");
    while adding.try_wait().expect("waited").is_none() {
        file.write_all(b"x").expect("written");
        std::thread::yield_now();
    }
    file.write_all(b"end").expect("written");
    drop(file);
    let pointer = Pointer::parse(&sandbox.blob(":a.bin".as_ref())).expect("a pointer");
    assert!(sandbox.git("repo", ["status", "--porcelain"]).contains("AM a.bin"));
    let content = sandbox.try_git("repo", ["cat-file", "--filters", ":a.bin"]).stdout;
    assert_eq!((FileHash::of(&content), content.len() as u64), (pointer.oid, pointer.size));
}

#[test]
fn one_file_at_a_time_gives_the_same() {
    let sandbox = Sandbox::with_repo();
    let content = noise(5, 300_000);
    let run = |args: &[&str], input: &[u8]| {
        let mut command = sandbox.command(sandbox.bin.join("git-dits-filter"), "repo");
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the filter starts");
        // A filter that refuses what it gets may be gone before it got all.
        let _ = child.stdin.take().expect("a pipe").write_all(input);
        child.wait_with_output().expect("waited")
    };
    let cleaned = run(&["clean", "x.bin"], &content);
    assert_eq!((cleaned.status.code(), cleaned.stdout.as_slice()), (Some(0), pointer_text(&content).as_slice()));
    let smudged = run(&["smudge", "x.bin"], &cleaned.stdout);
    assert!(smudged.status.success() && smudged.stdout == content);
    let missing = run(&["smudge", "x.bin"], &pointer_text(b"gone"));
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("caused by: git-remote-dits is neither beside"), "{}", stderr(&missing));
    assert_eq!(run(&["frobnicate"], b"").status.code(), Some(2));
    assert!(String::from_utf8_lossy(&run(&["--version"], b"").stdout).starts_with("git-dits-filter "));
    let garbage = run(&[], b"garbage, not packets");
    assert_eq!(garbage.status.code(), Some(1));
    assert!(stderr(&garbage).contains("what is not the filter protocol"), "{}", stderr(&garbage));
}
