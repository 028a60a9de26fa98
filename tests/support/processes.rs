//! Processes that are no children of the test, and waiting for what nobody announces.

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

struct Process {
    pid: Pid,
    group: Pid,
}

/// The processes that are meant and have not ended, as the kernel describes them.
fn running(is_meant: impl Fn(&Process) -> bool) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let stats = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    stats.filter(|stat| parse(stat).is_some_and(|process| is_meant(&process))).collect()
}

/// Reads a line of `proc_pid_stat(5)`; `None` for a process that has ended and was not waited for.
fn parse(stat: &str) -> Option<Process> {
    let number = |text: &str| text.parse().ok().and_then(Pid::from_raw);
    // The name stands in brackets and may hold anything, brackets too.
    let (pid, rest) = (stat.split(' ').next()?, stat.rsplit(')').next()?);
    let mut fields = rest.split_whitespace();
    let is_ended = matches!(fields.next()?, "Z" | "X");
    let group = number(fields.nth(1)?)?;
    (!is_ended).then_some(Process { pid: number(pid)?, group })
}
