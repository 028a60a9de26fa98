//! A progress bar for what takes longer than a second, on a terminal.
//!
//! **For:** commands that read or write many bytes.
//!
//! **May touch:** standard error, if it is a terminal.
//!
//! **Must hold:** nothing is drawn in the first second, nor where nobody looks or wants to.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dits_core::repo::helper_program;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work that ends sooner shows nothing.
const QUIET: Duration = Duration::from_secs(1);

/// Whether somebody asked for none.
static HIDDEN: AtomicBool = AtomicBool::new(false);

/// From here on no bar is shown.
pub fn hide() {
    HIDDEN.store(true, Ordering::Relaxed);
}

/// What the remote helper may show.
pub fn of_helper() -> helper_program::Progress {
    match HIDDEN.load(Ordering::Relaxed) {
        true => helper_program::Progress::Hidden,
        false => helper_program::Progress::Shown,
    }
}

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

    /// Notes how many bytes are done, of how many.
    pub fn set(&mut self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
        self.advance(0);
    }

    /// Says what is going on now.
    pub fn say(&mut self, what: &'static str) {
        self.bar.set_message(what);
        self.advance(0);
    }

    /// Notes that `count` more bytes are done.
    pub fn advance(&mut self, count: u64) {
        let is_wanted = || !HIDDEN.load(Ordering::Relaxed) && std::io::stderr().is_terminal();
        if !self.is_shown && self.started.elapsed() >= QUIET && is_wanted() {
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
