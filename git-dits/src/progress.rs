//! A progress bar for what takes longer than a second, on a terminal.
//!
//! **For:** commands that read or write many bytes.
//!
//! **May touch:** standard error, if it is a terminal.
//!
//! **Must hold:** nothing is drawn in the first second, nor where nobody looks.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work that ends sooner shows nothing.
const QUIET: Duration = Duration::from_secs(1);

/// A bar that shows up when the work turns out to be long.
pub struct Progress {
    bar: ProgressBar,
    started: Instant,
    is_shown: bool,
}

impl Progress {
    /// Starts with `total` bytes to go.
    pub fn of_bytes(what: &'static str, total: u64) -> Progress {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        let style = ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} to go");
        bar.set_style(style.expect("the template is a constant that reads well"));
        bar.set_message(what);
        Progress { bar, started: Instant::now(), is_shown: false }
    }

    /// Notes that `count` more bytes are done.
    pub fn advance(&mut self, count: u64) {
        if !self.is_shown && self.started.elapsed() >= QUIET && std::io::stderr().is_terminal() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.is_shown = true;
        }
        self.bar.inc(count);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
