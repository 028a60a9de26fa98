//! Looking for media in many new commits, beside what git itself takes to list them.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use dits_core::hash::FileHash;
use dits_core::pointer::Pointer;
use dits_core::repo::environment::Environment;
use dits_core::repo::git_program::GitProgram;
use dits_core::repo::pointer_walk::{AttributeCase, GitId, Known, walk};

use super::measure::{Report, median, must, timed};
use super::tools::Bench;

const COMMITS: usize = 10_000;
/// Text files, in folders of 40.
const FILES: usize = 2000;

/// Measures a history whose attributes never change, and one in which every tenth commit changes them.
pub fn run(bench: &Bench, report: &mut Report) {
    for (what, attributes_every) in [("attributes that stay", COMMITS), ("attributes that change often", 10)] {
        let repo = bench.dir.join("walk");
        must(bench.command("git", &bench.dir).args(["init", "-q", "--bare"]).arg(&repo));
        let mut import = bench.git(&repo, &["fast-import", "--quiet"]);
        let mut import = import.stdin(Stdio::piped()).spawn().expect("git can be started");
        let stream = history(attributes_every);
        import.stdin.take().expect("piped").write_all(stream.as_bytes()).expect("git reads it");
        assert!(import.wait().expect("git ends").success());
        must(&mut bench.git(&repo, &["repack", "-adq"]));
        measure(bench, report, &repo, what);
        std::fs::remove_dir_all(repo).expect("it was made above");
    }
}

/// A stream for `git fast-import`: three texts a commit, and media in one of a hundred.
pub fn history(attributes_every: usize) -> String {
    let mut stream = String::new();
    let file = |commit: &mut String, path: &str, content: &str| {
        writeln!(commit, "M 100644 inline {path}\ndata {}\n{content}", content.len()).expect("a string takes it");
    };
    for number in 0..COMMITS {
        let mut commit = String::new();
        writeln!(commit, "commit refs/heads/main\ncommitter B <b@example.org> {} +0000", 1_700_000_000 + number)
            .expect("a string takes it");
        writeln!(commit, "data 1\nx").expect("a string takes it");
        if number % attributes_every == 0 {
            let lines = format!("*.mov filter=dits -text\n*.{number} -text\n");
            file(&mut commit, ".gitattributes", &lines);
        }
        let changed = if number == 0 { 0..FILES } else { number * 3..number * 3 + 3 };
        for text in changed {
            let path = format!("folder-{}/text-{}", text * 7 % FILES / 40, text * 7 % FILES);
            file(&mut commit, &path, &format!("text {text} of commit {number}\n"));
        }
        if number % 100 == 0 {
            let pointer = Pointer { oid: FileHash::of(&number.to_le_bytes()), size: 1 << 30 };
            file(&mut commit, &format!("media/shot-{number}.mov"), &pointer.to_string());
        }
        stream.push_str(&commit);
    }
    stream
}

fn measure(bench: &Bench, report: &mut Report, repo: &Path, what: &str) {
    let tip = must(&mut bench.git(repo, &["rev-parse", "main"]));
    let tip = GitId::parse(tip.trim_ascii_end().as_bytes()).expect("git prints a name");
    let git = GitProgram::find(&Environment::new(std::env::vars_os())).expect("git is installed").for_other(repo);
    let (mut objects, mut log, mut walks) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..=bench.reps {
        objects.push(timed(&mut bench.git(repo, &["rev-list", "--objects", "main"])));
        log.push(timed(&mut bench.git(repo, &["log", "--raw", "--format=%H", "main"])));
        let start = Instant::now();
        let walked = walk(&git, AttributeCase::Sensitive, &[tip], &Known::Ids(Vec::new())).expect("it can be walked");
        walks.push(start.elapsed().as_secs_f64());
        assert_eq!(walked.pointers.len(), COMMITS / 100);
    }
    let [objects, log, walks] = [objects, log, walks].map(|secs| median(&secs[1..]));
    let detail = format!("({walks:.2} s; git rev-list --objects {objects:.2} s, git log --raw {log:.2} s)");
    let title = format!("walk of {COMMITS} commits, {what}, to the slower of git's two");
    report.at_most(title, walks / objects.max(log), " ×", 2.0, detail);
}
