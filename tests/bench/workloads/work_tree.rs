//! What people do all day, all media at hand: restore, switch, status after a touch, commit.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::measure::{MIB, Report, median, must, ratio, seconds, timed, warm_memory};
use super::media;
use super::tools::{Bench, Tool};

const LEN: u64 = 1024 * MIB;
const SMALL_COUNT: u64 = 10_000;
const SMALL_LEN: u64 = 64 * 1024;

/// Seconds of one round: restore, switch to the version before, switch back, status after a touch.
type Round = [f64; 4];

/// Measures everything, the tools taking turns.
pub fn run(bench: &Bench, report: &mut Report) {
    let tools = bench.filters();
    one_large(bench, report, &tools);
    touch_many(bench, report, &tools);
    commit(bench, report);
}

fn one_large(bench: &Bench, report: &mut Report, tools: &[Tool]) {
    let originals = [bench.dir.join("first.bin"), bench.dir.join("second.bin")];
    media::incompressible(&originals[0], LEN, 11);
    media::insert(&originals[0], &originals[1], LEN * 2 / 5, 12);
    let mut rounds: Vec<Vec<Round>> = vec![Vec::new(); tools.len()];
    for rep in 0..=bench.reps {
        for turn in 0..tools.len() {
            let at = (turn + rep) % tools.len();
            let round = one_round(bench, tools[at], &originals);
            if rep > 0 {
                rounds[at].push(round);
            }
        }
    }
    let labels =
        [("restore", 0.5), ("switch to the version before", 0.5), ("switch back", 0.5), ("status after touch", 1.4)];
    for (step, (label, limit)) in labels.into_iter().enumerate() {
        let series: Vec<Vec<f64>> =
            rounds.iter().map(|rounds| rounds.iter().map(|round| round[step]).collect()).collect();
        tell(report, tools, &format!("{label}, 1 GiB"), &series, limit);
    }
    originals.iter().for_each(|path| fs::remove_file(path).expect("it was made above"));
}

fn one_round(bench: &Bench, tool: Tool, originals: &[PathBuf; 2]) -> Round {
    let repo = bench.repository(tool, "round", &["bin"]);
    let clip = repo.join("clip.bin");
    for (number, original) in originals.iter().enumerate() {
        fs::copy(original, &clip).expect("the bench directory has room");
        must(&mut bench.git(&repo, &["add", "clip.bin"]));
        must(&mut bench.git(&repo, &["commit", "-qm", &number.to_string()]));
    }
    let measured = |args: &[&str]| {
        warm_memory(&bench.dir);
        timed(&mut bench.git(&repo, args))
    };
    fs::remove_file(&clip).expect("it was just written");
    let restore = measured(&["checkout", "-q", "--", "."]);
    let back = measured(&["checkout", "-q", "HEAD~1"]);
    let forth = measured(&["checkout", "-q", "main"]);
    if tool == Tool::Dits {
        assert_eq!(fs::metadata(&clip).expect("it is there").len(), LEN + MIB, "the content is there, not its pointer");
    }
    touch(&clip);
    let status = measured(&["status", "--porcelain"]);
    fs::remove_dir_all(repo).expect("it was made above");
    [restore, back, forth, status]
}

fn touch_many(bench: &Bench, report: &mut Report, tools: &[Tool]) {
    let mut series = vec![Vec::new(); tools.len()];
    let repos: Vec<PathBuf> = tools
        .iter()
        .map(|tool| {
            let repo = bench.repository(*tool, &format!("many-{}", tool.name()), &["bin"]);
            (0..SMALL_COUNT).for_each(|number| {
                media::incompressible(&repo.join(format!("{number}.bin")), SMALL_LEN, 20_000 + number);
            });
            must(&mut bench.git(&repo, &["add", "."]));
            must(&mut bench.git(&repo, &["commit", "-qm", "many"]));
            repo
        })
        .collect();
    for rep in 0..=bench.reps {
        for turn in 0..tools.len() {
            let at = (turn + rep) % tools.len();
            (0..SMALL_COUNT).for_each(|number| touch(&repos[at].join(format!("{number}.bin"))));
            let secs = timed(&mut bench.git(&repos[at], &["status", "--porcelain"]));
            if rep > 0 {
                series[at].push(secs);
            }
        }
    }
    tell(report, tools, "status after touch, 10,000 files of 64 KiB", &series, 1.4);
    repos.iter().for_each(|repo| fs::remove_dir_all(repo).expect("it was made above"));
}

/// Gives a file another time, and one that is no longer the index's.
fn touch(path: &Path) {
    let file = File::options().write(true).open(path).expect("the file is there");
    file.set_modified(SystemTime::now() - Duration::from_secs(10)).expect("the file is ours");
}

/// Compares a commit of added media with one of git alone.
fn commit(bench: &Bench, report: &mut Report) {
    let repos = [
        bench.repository(Tool::Dits, "commit-dits", &["bin"]),
        bench.repository(Tool::Dits, "commit-plain", &["none"]),
    ];
    let mut series = [Vec::new(), Vec::new()];
    for rep in 0..=bench.reps {
        for (at, repo) in repos.iter().enumerate() {
            let clip = repo.join(format!("{rep}.bin"));
            media::incompressible(&clip, SMALL_LEN, 40_000 + rep as u64);
            touch(&clip);
            must(&mut bench.git(repo, &["add", "."]));
            let hooks = if at == 0 { "core.hooksPath=.git/hooks" } else { "core.hooksPath=/dev/null" };
            let secs = timed(&mut bench.git(repo, &["-c", hooks, "commit", "-qm", "clip"]));
            if rep > 0 {
                series[at].push(secs);
            }
        }
    }
    let more = 1000.0 * (median(&series[0]) - median(&series[1]));
    let detail = format!("({:.1} ms to {:.1} ms)", 1000.0 * median(&series[0]), 1000.0 * median(&series[1]));
    report.at_most("commit after add, hooks included, to git alone", more, " ms more", 15.0, detail);
    repos.iter().for_each(|repo| fs::remove_dir_all(repo).expect("it was made above"));
}

fn tell(report: &mut Report, tools: &[Tool], label: &str, series: &[Vec<f64>], limit: f64) {
    for (at, tool) in tools.iter().enumerate() {
        let to_null = ratio(&series[at], &series[0]);
        report.row(format!("{label}, {}", tool.name()), format!("{}, {to_null:.2} × null", seconds(&series[at])), "");
    }
    let dits = tools.iter().position(|tool| *tool == Tool::Dits).expect("Dits is one of them");
    report.at_most(format!("{label}, Dits to null"), ratio(&series[dits], &series[0]), " ×", limit, "");
}
