//! Progress of media on its way, on standard error.
//!
//! **For:** transfers that take more than a second.
//!
//! **May touch:** standard error.
//!
//! **Must hold:** nothing is shown where nobody looks, or in the first second.

use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use dits_core::operations::push_media::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A transfer shorter than this shows nothing.
const QUIET: Duration = Duration::from_secs(1);

/// A bar that appears when a transfer turns out to take time.
pub struct Bar {
    verb: &'static str,
    since: Instant,
    is_wanted: bool,
    bar: OnceLock<ProgressBar>,
}

impl Bar {
    /// Makes a bar; `asked` is what git said about progress, if it did.
    pub fn new(verb: &'static str, asked: Option<bool>) -> Bar {
        let is_wanted = asked.unwrap_or(true) && std::io::stderr().is_terminal();
        Bar { verb, since: Instant::now(), is_wanted, bar: OnceLock::new() }
    }

    /// Shows how far it is.
    pub fn show(&self, progress: Progress) {
        if !self.is_wanted || self.since.elapsed() < QUIET {
            return;
        }
        let bar = self.bar.get_or_init(|| self.start(progress.total));
        bar.set_position(progress.done);
    }

    fn start(&self, total: u64) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        let template = "{prefix}: {percent}% ({bytes}/{total_bytes}), {bytes_per_sec}, {eta} left";
        let style = ProgressStyle::with_template(template).expect("the template is well formed");
        bar.set_style(style);
        bar.set_prefix(self.verb);
        bar
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}
