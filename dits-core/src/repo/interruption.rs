//! Ctrl-C and its kin, once files are being written.
//!
//! **For:** programs that end between two blocks of a file, with nothing half-written left behind.
//!
//! **May touch:** what this process does on `SIGINT`, `SIGTERM` and `SIGHUP`; a thread.
//!
//! **Must hold:**
//! - until [`Interruption::watch_for`] is called these signals end the process as ever;
//! - a second Ctrl-C ends it at once: all that it does must survive that, as it does a crash.

use std::io::{self, Read};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// What comes so soon after a `SIGINT` is no second Ctrl-C: git passes on to its children the one that it gets itself, and
/// a terminal sends it to both.
const PASSED_ON_WITHIN: Duration = Duration::from_secs(1);

/// Whether somebody asked this process to end.
#[derive(Debug)]
pub struct Interruption(Arc<AtomicBool>);

impl Interruption {
    /// From now on, a signal to end is noted and nothing else; only `SIGINT` after a first one ends the process at once.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn watch_for() -> io::Result<Interruption> {
        let asked = Arc::new(AtomicBool::new(false));
        let (mut pressed, note) = io::pipe()?;
        signal_hook::low_level::pipe::register(SIGINT, note)?;
        // It holds its end of the pipe for good, and writing to the other end is no error.
        thread::Builder::new().spawn(move || {
            let mut first = None;
            while pressed.read_exact(&mut [0]).is_ok() {
                let now = Instant::now();
                if is_second(*first.get_or_insert(now), now) {
                    // Fails for what is no signal only.
                    let _ = signal_hook::low_level::emulate_default_handler(SIGINT);
                }
            }
        })?;
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, asked.clone())?;
        }
        Ok(Interruption(asked))
    }

    /// Whether a signal has come.
    pub fn was_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Says whether to go on, as whoever watches a hydration is asked.
    pub fn go_on(&self) -> ControlFlow<()> {
        match self.was_asked() {
            false => ControlFlow::Continue(()),
            true => ControlFlow::Break(()),
        }
    }
}

/// Whether a `SIGINT` that comes now is somebody's second Ctrl-C, and not the `first` one once more.
fn is_second(first: Instant, now: Instant) -> bool {
    now.saturating_duration_since(first) >= PASSED_ON_WITHIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ctrl_c_that_is_passed_on_is_no_second_one_and_a_later_one_is() {
        let first = Instant::now();
        for (millis, is_so) in [(0, false), (1, false), (999, false), (1_000, true), (3_600_000, true)] {
            assert_eq!(is_second(first, first + Duration::from_millis(millis)), is_so, "after {millis} ms");
        }
        assert!(!is_second(first + Duration::from_millis(1), first), "a clock that stands still");
    }
}
