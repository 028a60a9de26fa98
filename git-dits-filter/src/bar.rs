//! A progress bar of one line, without the weight of a library: this program starts with every git command.
//!
//! **For:** hydrations that take longer than a second, on a terminal.
//!
//! **May touch:** standard error, if it is a terminal; on Linux, the command line of the git that started this.
//!
//! **Must hold:** nothing is drawn in the first second, where nobody looks, nor where git was told to be quiet.

use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Work that ends sooner shows nothing.
const QUIET: Duration = Duration::from_secs(1);
/// Time between two looks of the bar.
const INTERVAL: Duration = Duration::from_millis(100);

/// Bytes that are done, of those there are.
pub struct Bar {
    total: u64,
    done: AtomicU64,
    started: Instant,
    drawn: Mutex<Drawn>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Drawn {
    NotYet,
    Last(Instant),
    /// Nobody wants to see it.
    Never,
}

impl Bar {
    /// Begins with `total` bytes to go.
    pub fn new(total: u64) -> Bar {
        Bar { total, done: AtomicU64::new(0), started: Instant::now(), drawn: Mutex::new(Drawn::NotYet) }
    }

    /// Notes that `count` more bytes are done, and draws the bar now and then.
    pub fn advance(&self, count: u64) {
        let done = self.done.fetch_add(count, Ordering::Relaxed) + count;
        let passed = self.started.elapsed();
        // Who draws, draws for all.
        if passed < QUIET {
            return;
        }
        let Ok(mut drawn) = self.drawn.try_lock() else { return };
        match *drawn {
            Drawn::NotYet if is_unwanted() => *drawn = Drawn::Never,
            Drawn::Last(last) if last.elapsed() < INTERVAL => {}
            Drawn::NotYet | Drawn::Last(_) => {
                *drawn = Drawn::Last(Instant::now());
                // Nobody is left to see a terminal that is gone.
                let _ = write!(io::stderr(), "\r{}\x1b[K", line(done, self.total, passed));
            }
            Drawn::Never => {}
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Ok(Drawn::Last(_)) = self.drawn.get_mut() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(done: u64, total: u64, passed: Duration) -> String {
    let rate = done as f64 / passed.as_secs_f64().max(0.001);
    let percent = done.min(total) * 100 / total.max(1);
    let to_go = total.saturating_sub(done) as f64 / rate.max(1.0);
    let (done, total, rate) = (size(done as f64), size(total as f64), size(rate));
    format!("hydrating: {percent}% ({done} of {total}), {rate}/s, {} to go", time(to_go))
}

fn size(bytes: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let power = ((bytes.max(1.0).log2() / 10.0) as usize).min(units.len() - 1);
    let scaled = bytes / 1024_f64.powi(power as i32);
    match scaled < 10.0 && power > 0 {
        true => format!("{scaled:.1} {}", units[power]),
        false => format!("{scaled:.0} {}", units[power]),
    }
}

fn time(seconds: f64) -> String {
    let seconds = seconds.min(359_999.0).round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{}:{:02} min", seconds / 60, seconds % 60),
        _ => format!("{}:{:02} h", seconds / 3600, seconds / 60 % 60),
    }
}

/// Whether nobody looks, or somebody told git to be quiet.
pub fn is_unwanted() -> bool {
    !io::stderr().is_terminal() || command_lines().any(|line| asks_for_quiet(&line))
}

/// Whether a git command was told to show no progress.
fn asks_for_quiet(line: &[u8]) -> bool {
    let args = line.split(|byte| *byte == 0).skip(1).take_while(|arg| *arg != b"--");
    let is_quiet = |arg: &[u8]| {
        let is_short = arg.len() <= 4 && arg.starts_with(b"-") && arg[1..].iter().all(u8::is_ascii_lowercase);
        matches!(arg, b"--quiet" | b"--no-progress") || is_short && arg.contains(&b'q')
    };
    args.into_iter().any(is_quiet)
}

/// The command lines of git's processes above this one, and of the shell between, as far as they can be known.
#[cfg(target_os = "linux")]
fn command_lines() -> impl Iterator<Item = Vec<u8>> {
    /// A `git pull` runs a `git merge`, which runs a shell, which runs this.
    const ABOVE_MAX: usize = 5;
    let mut pid = std::os::unix::process::parent_id();
    let lines = std::iter::from_fn(move || {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in brackets and may hold anything, brackets too; state and parent follow.
        pid = stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()?;
        let program = line.split(|byte| *byte == 0).next()?.rsplit(|byte| *byte == b'/').next()?.to_owned();
        (program.starts_with(b"git") || program.ends_with(b"sh")).then_some(line)
    });
    lines.take(ABOVE_MAX)
}

#[cfg(not(target_os = "linux"))]
fn command_lines() -> impl Iterator<Item = Vec<u8>> {
    std::iter::empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_how_fast_and_how_long() {
        let told = line(512 << 20, 4 << 30, Duration::from_secs(2));
        assert_eq!(told, "hydrating: 12% (512 MiB of 4.0 GiB), 256 MiB/s, 14 s to go");
        assert_eq!(line(0, 0, Duration::ZERO), "hydrating: 0% (0 B of 0 B), 0 B/s, 0 s to go");
        assert_eq!((time(61.0), time(7261.0)), ("1:01 min".into(), "2:01 h".into()));
    }

    #[test]
    fn git_that_was_told_to_be_quiet_is_known() {
        for line in
            ["git\0clone\0-q\0url", "git\0checkout\0--quiet", "git\0clone\0--no-progress\0url", "git\0switch\0-qf"]
        {
            assert!(asks_for_quiet(line.as_bytes()), "{line}");
        }
        for line in ["git\0checkout\0--\0-q", "git\0clone\0url", "sh\0-c\0git-dits-filter process", "git\0-c\0q=1"] {
            assert!(!asks_for_quiet(line.as_bytes()), "{line}");
        }
    }
}
