//! Processes that are no children of the test, and waiting for what nobody announces.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Pid;

/// How often to look.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);
/// Nothing that a test waits for takes this long unless it never comes.
const TIME_MAX: Duration = Duration::from_secs(60);

/// Waits until something is so.
///
/// # Panics
///
/// If it never is.
pub fn until(what: &str, is_so: impl FnMut() -> bool) {
    assert!(comes_true(TIME_MAX, is_so), "{what} has not happened for {} s", TIME_MAX.as_secs());
}

/// Waits for the processes of a group to end, and returns those that did not in time.
pub fn ending_of(group: Pid, time_max: Duration) -> Vec<String> {
    let mut left = Vec::new();
    comes_true(time_max, || {
        // Asking costs nothing where nobody is left, which is how it should be.
        left = match rustix::process::test_kill_process_group(group) {
            Ok(()) => running(|process| process.group == group),
            Err(_) => Vec::new(),
        };
        left.is_empty()
    });
    left
}

/// Returns true while the process is there and has not ended.
pub fn is_running(pid: Pid) -> bool {
    !running(|process| process.pid == pid).is_empty()
}

fn comes_true(time_max: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let since = Instant::now();
    loop {
        if is_so() {
            return true;
        }
        if since.elapsed() >= time_max {
            return false;
        }
        thread::sleep(LOOK_INTERVAL);
    }
}

/// Waits for a process of a group to be stopped, as at a step where it was told to be, and returns it.
///
/// # Panics
///
/// If none ever is.
pub fn stopped_in(group: Pid) -> Pid {
    let mut stopped = None;
    until("a stop", || {
        stopped = stats().find(|process| process.group == group && process.is_stopped).map(|process| process.pid);
        stopped.is_some()
    });
    stopped.expect("it was waited for")
}

/// Waits for a process to be stopped that has this among the variables of its environment, and returns it.
///
/// # Panics
///
/// If none ever is.
pub fn stopped_with(variable: &str) -> Pid {
    let has_it = |process: &Process| {
        let environment = std::fs::read(format!("/proc/{}/environ", process.pid.as_raw_nonzero())).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|found| found == variable.as_bytes())
    };
    let mut stopped = None;
    until("a stop", || {
        stopped = stats().find(|process| process.is_stopped && has_it(process)).map(|process| process.pid);
        stopped.is_some()
    });
    stopped.expect("it was waited for")
}

/// Watches how much memory the processes of a group take, until it is asked.
pub struct PeakMemory {
    stop: Arc<AtomicBool>,
    watcher: thread::JoinHandle<BTreeMap<String, u64>>,
}

impl PeakMemory {
    /// Starts watching.
    pub fn of(group: Pid) -> PeakMemory {
        let stop = Arc::new(AtomicBool::new(false));
        let until = stop.clone();
        let watcher = thread::spawn(move || {
            let mut peaks = BTreeMap::new();
            while !until.load(Ordering::Relaxed) {
                for process in stats().filter(|process| process.group == group) {
                    if let Some((name, peak)) = peak_of(process.pid) {
                        let known: &mut u64 = peaks.entry(name).or_default();
                        *known = peak.max(*known);
                    }
                }
                thread::sleep(LOOK_INTERVAL);
            }
            peaks
        });
        PeakMemory { stop, watcher }
    }

    /// Stops watching and returns the highest resident size of each program, in bytes, by its name.
    ///
    /// # Panics
    ///
    /// Never, unless the watcher did.
    pub fn stop(self) -> BTreeMap<String, u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.watcher.join().expect("watching does not panic")
    }
}

fn peak_of(pid: Pid) -> Option<(String, u64)> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let kib: u64 = field("VmHWM:")?.split(' ').next()?.parse().ok()?;
    Some((field("Name:")?.to_owned(), kib * 1024))
}

struct Process {
    pid: Pid,
    group: Pid,
    is_stopped: bool,
}

fn stats() -> impl Iterator<Item = Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| parse(&std::fs::read_to_string(entry.path().join("stat")).ok()?))
}

/// The processes that are meant and have not ended, as the kernel describes them.
fn running(is_meant: impl Fn(&Process) -> bool) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let stats = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    stats.filter(|stat| parse(stat).is_some_and(|process| is_meant(&process))).collect()
}

/// Reads a line of `proc_pid_stat(5)`; `None` for a process that has ended and was not waited for.
fn parse(stat: &str) -> Option<Process> {
    // A process that is just ending has the group -1.
    let number = |text: &str| text.parse().ok().filter(|number| *number > 0).and_then(Pid::from_raw);
    // The name stands in brackets and may hold anything, brackets too.
    let (pid, rest) = (stat.split(' ').next()?, stat.rsplit(')').next()?);
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    let group = number(fields.nth(1)?)?;
    (!matches!(state, "Z" | "X")).then_some(Process { pid: number(pid)?, group, is_stopped: state == "T" })
}

/// Has a stopped process go on.
///
/// # Panics
///
/// If there is no such process.
pub fn go_on(process: Pid) {
    rustix::process::kill_process(process, rustix::process::Signal::CONT).expect("it is stopped");
}
