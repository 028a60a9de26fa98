//! A file of exactly 4 GiB, whose size git's index cannot hold: it is cut off at 32 bits, and 0 is left.
//!
//! **For:** knowing that it is whole, and what `git status` costs.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use super::measure::{MIB, Report, children_of, must, timed};
use super::tools::{Bench, Tool};

const LEN: u64 = 4096 * MIB;

/// Adds it, commits it, and checks it out again.
pub fn run(bench: &Bench, report: &mut Report) {
    let repo = bench.repository(Tool::Dits, "full-size", &["bin"]);
    let clip = repo.join("clip.bin");
    // Sparse: no byte of it is stored more than once.
    File::create(&clip).and_then(|file| file.set_len(LEN)).expect("the bench directory has room");
    let add = timed(&mut bench.git(&repo, &["add", "clip.bin"]));
    report.row("add of 4 GiB of zeros", format!("{add:.2} s"), "");
    must(&mut bench.git(&repo, &["commit", "-qm", "clip"]));
    status(bench, report, &repo, "add");
    fs::remove_file(&clip).expect("it was made above");
    let checkout = timed(&mut bench.git(&repo, &["checkout", "-q", "--", "."]));
    report.row("checkout of 4 GiB of zeros", format!("{checkout:.2} s"), "");
    status(bench, report, &repo, "checkout");
    assert!(is_all_zeros(&clip), "the file is not whole");
    fs::remove_dir_all(repo).expect("it was made above");
}

/// Twice: what git asked about once it may remember, or not.
fn status(bench: &Bench, report: &mut Report, repo: &Path, after: &str) {
    for (which, limit) in [("first", 1.0), ("second", 0.0)] {
        let trace = bench.dir.join("trace");
        let mut command = bench.git(repo, &["status", "--porcelain"]);
        assert_eq!(must(command.env("GIT_TRACE2_EVENT", &trace)), "", "it is called modified");
        let calls = children_of(&trace) as f64;
        let limit = if after == "checkout" { 0.0 } else { limit };
        report.at_most(format!("{which} status after {after} of 4 GiB"), calls, " filter calls", limit, "");
        fs::remove_file(trace).expect("git wrote it");
    }
}

fn is_all_zeros(path: &Path) -> bool {
    let mut file = File::open(path).expect("it was checked out");
    let mut block = vec![1; MIB as usize];
    let mut len = 0;
    loop {
        match file.read(&mut block).expect("it can be read") {
            0 => return len == LEN,
            read if block[..read].iter().any(|byte| *byte != 0) => return false,
            read => len += read as u64,
        }
    }
}
