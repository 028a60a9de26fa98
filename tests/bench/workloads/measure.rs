//! Timing, counting and the table.
//!
//! **For:** every workload; a figure that is printed came through here.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes in a MiB.
pub const MIB: u64 = 1 << 20;

/// One row of the table.
struct Row {
    what: String,
    measured: String,
    goal: String,
}

/// The rows so far.
#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
    printed: usize,
}

impl Report {
    /// Adds a row; `goal` is empty where there is none.
    pub fn row(&mut self, what: impl Into<String>, measured: impl Into<String>, goal: impl Into<String>) {
        self.rows.push(Row { what: what.into(), measured: measured.into(), goal: goal.into() });
    }

    /// Adds a figure that must not exceed `limit`, and says whether it does.
    pub fn at_most(&mut self, what: impl Into<String>, value: f64, unit: &str, limit: f64, detail: impl AsRef<str>) {
        let verdict = if value <= limit { "met" } else { "NOT MET" };
        self.row(what, format!("{value:.3}{unit} {}", detail.as_ref()), format!("≤ {limit}{unit}: {verdict}"));
    }

    /// Prints what was added since the last call to standard error, for someone watching.
    pub fn print_new(&mut self) {
        for row in &self.rows[self.printed..] {
            eprintln!("{} | {} | {}", row.what, row.measured, row.goal);
        }
        self.printed = self.rows.len();
    }

    /// Prints the whole table to standard output.
    pub fn print(&self) {
        let mut out = String::from("| what | measured | goal |\n|---|---|---|\n");
        for row in &self.rows {
            let _ = writeln!(out, "| {} | {} | {} |", row.what, row.measured, row.goal);
        }
        let _ = std::io::Write::write_all(&mut std::io::stdout(), out.as_bytes());
    }
}

/// Runs a command to its end and returns the seconds it took; a failure ends the bench.
pub fn timed(command: &mut Command) -> f64 {
    let start = Instant::now();
    let output = command.output().expect("the program can be started");
    let secs = start.elapsed().as_secs_f64();
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
    secs
}

/// Bytes that [`warm_memory`] touches: more than any measured step writes.
const WARM_LEN: u64 = 3 << 30;

/// Has the system hold free memory that was used a moment ago.
///
/// A virtual machine gives free memory back to its host after seconds, and the tool that writes first pays for
/// getting it again: up to a second for each GiB, whoever it is.
pub fn warm_memory(dir: &Path) {
    let path = dir.join("warm");
    let block = vec![1; 1 << 20];
    let mut file = fs::File::create(&path).expect("the bench directory has room");
    for _ in 0..WARM_LEN >> 20 {
        std::io::Write::write_all(&mut file, &block).expect("the bench directory has room");
    }
    fs::remove_file(path).expect("it was just made");
}

/// Runs a command to its end and returns what it printed; a failure ends the bench.
pub fn must(command: &mut Command) -> String {
    let output = command.output().expect("the program can be started");
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The middle value.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => sorted[len / 2],
        len => (sorted[len / 2 - 1] + sorted[len / 2]) / 2.0,
    }
}

/// `1.23 s (1.20–1.31)`.
pub fn seconds(values: &[f64]) -> String {
    let (min, max) = values.iter().fold((f64::MAX, 0.0_f64), |(min, max), value| (min.min(*value), max.max(*value)));
    format!("{:.2} s ({min:.2}–{max:.2})", median(values))
}

/// The median of the ratios of two series taken in turns, pair by pair.
pub fn ratio(values: &[f64], base: &[f64]) -> f64 {
    median(&values.iter().zip(base).map(|(value, base)| value / base).collect::<Vec<_>>())
}

/// How many processes git started, by the trace2 events it wrote to `trace`.
pub fn children_of(trace: &Path) -> usize {
    let events = fs::read_to_string(trace).expect("git wrote it");
    events.lines().filter(|line| line.contains(r#""event":"child_start""#)).count()
}

/// Bytes that a directory takes on its file system, everything counted.
pub fn disk_usage(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => disk_usage(&entry.path()),
            Ok(meta) => meta.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

/// Bytes that the loopback interface has carried so far.
pub fn loopback_bytes() -> u64 {
    let counters = fs::read_to_string("/proc/net/dev").expect("Linux counts its interfaces");
    let line = counters.lines().find_map(|line| line.trim().strip_prefix("lo:")).expect("there is a loopback");
    line.split_whitespace().next().and_then(|bytes| bytes.parse().ok()).expect("a number of bytes")
}

/// Watches the peak memory of every process of one name until it is asked.
pub struct PeakMemory {
    stop: Arc<AtomicBool>,
    watcher: thread::JoinHandle<u64>,
}

impl PeakMemory {
    /// Starts watching programs called `name`.
    pub fn of(name: &str) -> PeakMemory {
        let stop = Arc::new(AtomicBool::new(false));
        let (name, until) = (name.chars().take(15).collect::<String>(), stop.clone());
        let watcher = thread::spawn(move || {
            let mut peak = 0;
            while !until.load(Ordering::Relaxed) {
                peak = peak.max(peak_of(&name));
                thread::sleep(Duration::from_millis(10));
            }
            peak
        });
        PeakMemory { stop, watcher }
    }

    /// Stops watching and returns the highest resident size seen, in bytes.
    pub fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.watcher.join().expect("the watcher does not fail")
    }
}

fn peak_of(name: &str) -> u64 {
    let processes = fs::read_dir("/proc").expect("Linux lists its processes");
    let peak = |entry: fs::DirEntry| {
        let comm = fs::read_to_string(entry.path().join("comm")).ok()?;
        if comm.trim_end() != name {
            return None;
        }
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    processes.flatten().filter_map(peak).max().unwrap_or(0) * 1024
}
