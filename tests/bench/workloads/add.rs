//! `git add` of one large file, and again after a small edit.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::measure::{MIB, Report, median, must, ratio, seconds, timed, warm_memory};
use super::media;
use super::tools::{Bench, Tool};

const LEN: u64 = 1024 * MIB;

/// Measures add and re-add of 1 GiB against the null filter, the tools taking turns.
pub fn run(bench: &Bench, report: &mut Report) {
    let original = bench.dir.join("original.bin");
    media::incompressible(&original, LEN, 1);
    let mut tools = bench.filters();
    if bench.has_xet() {
        tools.push(Tool::Xet);
    }
    let mut first: Vec<Vec<f64>> = vec![Vec::new(); tools.len()];
    let mut again = first.clone();
    for rep in 0..=bench.reps {
        for turn in 0..tools.len() {
            let at = (turn + rep) % tools.len();
            let (add, readd) = one(bench, tools[at], &original, rep as u64);
            // The first round warms caches and is not counted.
            if rep > 0 {
                first[at].push(add);
                again[at].push(readd);
            }
        }
    }
    let dits = tools.iter().position(|tool| *tool == Tool::Dits).expect("Dits is one of them");
    for (at, tool) in tools.iter().enumerate() {
        let name = tool.name();
        report.row(
            format!("add 1 GiB, {name}"),
            format!("{}, {:.2} × null", seconds(&first[at]), ratio(&first[at], &first[0])),
            "",
        );
        report.row(
            format!("re-add after 1 MiB overwritten, {name}"),
            format!("{}, {:.2} × null", seconds(&again[at]), ratio(&again[at], &again[0])),
            "",
        );
    }
    report.at_most("add 1 GiB, Dits to null", ratio(&first[dits], &first[0]), " ×", 2.5, "");
    report.at_most("re-add after 1 MiB overwritten, Dits to null", ratio(&again[dits], &again[0]), " ×", 1.5, "");
    fs::remove_file(original).expect("it was made above");
    on_disk(bench, report, median(&first[dits]));
}

/// Adds the file with one tool, then again with 1 MiB changed; returns both times in seconds.
fn one(bench: &Bench, tool: Tool, original: &Path, seed: u64) -> (f64, f64) {
    let dir = bench.dir.join("round");
    let (file, add): (PathBuf, Box<dyn Fn() -> Command>) = match tool {
        Tool::Xet => {
            fs::create_dir(&dir).expect("the last round was removed");
            let (file, store) = (dir.join("clip.bin"), dir.join("store"));
            let target = file.clone();
            (file, Box::new(move || bench.xet_add(&store, &[&target])))
        }
        _ => {
            let repo = bench.repository(tool, "round", &["bin"]);
            (repo.join("clip.bin"), Box::new(move || bench.git(&repo, &["add", "clip.bin"])))
        }
    };
    fs::copy(original, &file).expect("the bench directory has room");
    warm_memory(&bench.dir);
    let first = timed(&mut add());
    media::overwrite(&file, LEN * 2 / 5, 100 + seed);
    warm_memory(&bench.dir);
    let again = timed(&mut add());
    fs::remove_dir_all(dir).expect("it was made above");
    (first, again)
}

/// Adds on the disk that `DITS_BENCH_DISK` names (default: the system's temporary directory).
fn on_disk(bench: &Bench, report: &mut Report, on_tmpfs: f64) {
    let base = std::env::var_os("DITS_BENCH_DISK").map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(base).expect("the disk can be written");
    let original = dir.path().join("original.bin");
    media::incompressible(&original, LEN, 2);
    let (mut plain, mut adds) = (Vec::new(), Vec::new());
    for _ in 0..bench.reps {
        must(&mut Command::new("sync"));
        let target = dir.path().join("plain");
        let mut copy = Command::new("dd");
        copy.arg(format!("if={}", original.display())).arg(format!("of={}", target.display()));
        plain.push(timed(copy.args(["bs=1M", "conv=fdatasync"])));
        fs::remove_file(&target).expect("it was just written");
        must(&mut Command::new("sync"));
        let repo = dir.path().join("repo");
        must(bench.command("git", dir.path()).args(["init", "-q", "repo"]));
        fs::write(repo.join(".gitattributes"), "*.bin filter=dits -text\n").expect("the repository was just made");
        fs::hard_link(&original, repo.join("clip.bin")).expect("both are on one disk");
        adds.push(timed(&mut bench.git(&repo, &["add", "."])));
        fs::remove_dir_all(&repo).expect("it was made above");
    }
    let floor = median(&plain).max(on_tmpfs);
    report.row("write + fdatasync of 1 GiB on disk", seconds(&plain), "");
    report.at_most(
        "add 1 GiB on disk, to the larger of that and tmpfs",
        median(&adds) / floor,
        " ×",
        1.2,
        seconds(&adds),
    );
}
