//! Push to a server on loopback: first, and after small edits, against git-lfs.

use std::fs;
use std::path::Path;

use super::measure::{MIB, Report, must, ratio, seconds, timed, warm_memory};
use super::media;
use super::tools::{Bench, Tool};

const LEN: u64 = 1024 * MIB;

/// Seconds of one round: the first push, after an overwrite, after an insertion.
type Round = [f64; 3];

/// Measures the pushes, the tools taking turns.
pub fn run(bench: &Bench, report: &mut Report) {
    let original = bench.dir.join("original.bin");
    media::incompressible(&original, LEN, 5);
    let mut tools = vec![Tool::Dits];
    match bench.has_lfs() && bench.has_lfs_server() {
        true => tools.push(Tool::Lfs),
        false => report.row("push, git-lfs", "not run: git-lfs or rudolfs is missing", ""),
    }
    let mut rounds: Vec<Vec<Round>> = vec![Vec::new(); tools.len()];
    for rep in 0..=bench.reps {
        for turn in 0..tools.len() {
            let at = (turn + rep) % tools.len();
            let round = one(bench, tools[at], &original, rep as u64);
            if rep > 0 {
                rounds[at].push(round);
            }
        }
    }
    let labels =
        [("first push of 1 GiB", 0.8), ("push after 1 MiB overwritten", 0.1), ("push after 1 MiB inserted", 0.3)];
    for (step, (label, limit)) in labels.into_iter().enumerate() {
        let series = |at: usize| rounds[at].iter().map(|round| round[step]).collect::<Vec<f64>>();
        for (at, tool) in tools.iter().enumerate() {
            report.row(format!("{label}, {}", tool.name()), seconds(&series(at)), "");
        }
        if tools.len() > 1 {
            report.at_most(format!("{label}, Dits to git-lfs"), ratio(&series(0), &series(1)), " ×", limit, "");
        }
    }
    fs::remove_file(original).expect("it was made above");
}

fn one(bench: &Bench, tool: Tool, original: &Path, seed: u64) -> Round {
    let repo = bench.repository(tool, "round", &["bin"]);
    let remote = bench.remote(tool, "server").expect("the caller tried it");
    remote.add_to(bench, &repo);
    let clip = repo.join("clip.bin");
    let push = || {
        must(&mut bench.git(&repo, &["add", "clip.bin"]));
        must(&mut bench.git(&repo, &["commit", "-qm", "clip"]));
        warm_memory(&bench.dir);
        timed(&mut bench.git(&repo, &["push", "-q", "origin", "main"]))
    };
    fs::copy(original, &clip).expect("the bench directory has room");
    let first = push();
    media::overwrite(&clip, LEN * 2 / 5, 200 + seed);
    let overwritten = push();
    let edited = bench.dir.join("edited");
    media::insert(&clip, &edited, LEN / 10, 300 + seed);
    fs::rename(edited, &clip).expect("both are on one file system");
    let inserted = push();
    remote.remove();
    fs::remove_dir_all(repo).expect("it was made above");
    [first, overwritten, inserted]
}
