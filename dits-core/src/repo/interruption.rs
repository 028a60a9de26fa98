//! Ctrl-C and its kin, once files are being written.
//!
//! **For:** programs that end between two blocks of a file, with nothing half-written left behind.
//!
//! **May touch:** what this process does on `SIGINT`, `SIGTERM` and `SIGHUP`.
//!
//! **Must hold:** until [`Interruption::watch_for`] is called these signals end the process as ever.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Whether somebody asked this process to end.
#[derive(Debug)]
pub struct Interruption(Arc<AtomicBool>);

impl Interruption {
    /// From now on, a signal to end is noted and nothing else.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn watch_for() -> io::Result<Interruption> {
        let asked = Arc::new(AtomicBool::new(false));
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
