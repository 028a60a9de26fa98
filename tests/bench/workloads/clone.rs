//! Clones from a server on loopback: one large file, many small ones, and what the first status costs then.

use std::fs;
use std::path::Path;

use super::measure::{MIB, PeakMemory, Report, children_of, median, must, ratio, seconds, timed, warm_memory};
use super::media;
use super::tools::{Bench, Remote, Tool};

/// What is cloned, and how long that may take.
struct Set {
    name: &'static str,
    count: u64,
    file_len: u64,
    to_null: f64,
    to_lfs: f64,
}

const SETS: [Set; 2] = [
    Set { name: "1 GiB in one file", count: 1, file_len: 1024 * MIB, to_null: 0.5, to_lfs: 0.3 },
    Set { name: "10,000 files of 64 KiB", count: 10_000, file_len: 64 * 1024, to_null: 1.5, to_lfs: 0.5 },
];

/// Statuses after the first one that stand for git alone.
const LATER: usize = 5;

/// Measures both sets, the tools taking turns, and the memory of a clone of 4 GiB.
pub fn run(bench: &Bench, report: &mut Report) {
    let mut tools = vec![Tool::Null, Tool::Dits];
    match bench.has_lfs() && bench.has_lfs_server() {
        true => tools.push(Tool::Lfs),
        false => report.row("clone, git-lfs", "not run: git-lfs or rudolfs is missing", ""),
    }
    for set in &SETS {
        one_set(bench, report, &tools, set);
    }
    memory(bench, report);
}

fn one_set(bench: &Bench, report: &mut Report, tools: &[Tool], set: &Set) {
    let remotes: Vec<Remote> = tools.iter().map(|tool| publish(bench, *tool, set.count, set.file_len)).collect();
    let mut clones: Vec<Vec<f64>> = vec![Vec::new(); tools.len()];
    let (mut overhead, mut children) = (Vec::new(), 0);
    for rep in 0..=bench.reps {
        for turn in 0..tools.len() {
            let at = (turn + rep) % tools.len();
            let clone = bench.dir.join("clone");
            warm_memory(&bench.dir);
            let secs = timed(&mut remotes[at].clone(bench, &clone));
            if rep > 0 {
                clones[at].push(secs);
            }
            if tools[at] == Tool::Dits {
                let status = first_status(bench, &clone);
                overhead.push(status.overhead_ms);
                children = children.max(status.children);
            }
            fs::remove_dir_all(clone).expect("git made it");
        }
    }
    for (at, tool) in tools.iter().enumerate() {
        report.row(format!("clone of {}, {}", set.name, tool.name()), seconds(&clones[at]), "");
    }
    let title = |peer: &str| format!("clone of {}, Dits to {peer}", set.name);
    report.at_most(title("null"), ratio(&clones[1], &clones[0]), " ×", set.to_null, "");
    if let Some(lfs) = clones.get(2) {
        report.at_most(title("git-lfs"), ratio(&clones[1], lfs), " ×", set.to_lfs, "");
    }
    let title = format!("first status after clone of {}, to later ones", set.name);
    report.at_most(title, median(&overhead), " ms more", 2.0, "");
    report.at_most(format!("processes it started, {}", set.name), children as f64, "", 0.0, "");
    remotes.into_iter().for_each(Remote::remove);
}

/// Adds, commits and pushes a set; only the remote is left.
fn publish(bench: &Bench, tool: Tool, count: u64, file_len: u64) -> Remote {
    let repo = bench.repository(tool, "published", &["bin"]);
    for number in 0..count {
        let folder = repo.join(format!("folder-{}", number / 100));
        fs::create_dir_all(&folder).expect("the bench directory can be written");
        media::incompressible(&folder.join(format!("{number}.bin")), file_len, 7_000 + number);
    }
    let remote = bench.remote(tool, &format!("remote-{}", tool.name())).expect("the caller asked for its server");
    remote.add_to(bench, &repo);
    must(&mut bench.git(&repo, &["add", "."]));
    must(&mut bench.git(&repo, &["commit", "-qm", "media"]));
    must(&mut bench.git(&repo, &["push", "-q", "origin", "main"]));
    fs::remove_dir_all(repo).expect("it was made above");
    remote
}

struct Status {
    overhead_ms: f64,
    children: usize,
}

/// Compares the first status with those after it, when git knows all files.
fn first_status(bench: &Bench, clone: &Path) -> Status {
    let mut first = bench.git(clone, &["status", "--porcelain"]);
    let trace = bench.dir.join("trace");
    let secs = timed(first.env("GIT_TRACE2_EVENT", &trace));
    let children = children_of(&trace);
    let later: Vec<f64> = (0..LATER)
        .map(|_| timed(bench.git(clone, &["status", "--porcelain"]).env("GIT_TRACE2_EVENT", &trace)))
        .collect();
    fs::remove_file(trace).expect("git wrote it");
    Status { overhead_ms: 1000.0 * (secs - median(&later)), children }
}

fn memory(bench: &Bench, report: &mut Report) {
    let remote = publish(bench, Tool::Dits, 1, 4096 * MIB);
    let clone = bench.dir.join("clone");
    let (git, filter) = (PeakMemory::of("git"), PeakMemory::of("git-dits-filter"));
    let helper = PeakMemory::of("git-remote-dits");
    must(&mut remote.clone(bench, &clone));
    for (name, watched, limit) in [("git", git, 60.0), ("the filter", filter, 128.0), ("the helper", helper, 150.0)] {
        let peak = watched.stop() as f64 / MIB as f64;
        report.at_most(format!("peak memory of {name}, clone of 4 GiB"), peak, " MiB", limit, "");
    }
    fs::remove_dir_all(clone).expect("git made it");
    remote.remove();
}
