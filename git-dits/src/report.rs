//! What people are told, and the exit status that goes with it.
//!
//! **For:** every message of the porcelain.
//!
//! **May touch:** standard error.
//!
//! **Must hold:** a panic is reported as a bug, with status 255.

use std::panic::UnwindSafe;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use dits_core::failure::DONE;
pub use dits_core::failure::Failure;

/// The exit statuses, as every help text ends with them.
pub const EXIT_STATUSES: &str = "\
Exit status:
  0    done
  1    failed
  2    wrong usage
  3    refused (a lock, a permission, a setting of somebody else)
  255  a bug in Dits";

/// The exit status of a program that was interrupted, as shells have it.
pub const INTERRUPTED: u8 = 130;

/// Says something that is worth knowing but stops nothing.
pub fn warn(message: &str) {
    eprintln!("warning: {message}");
}

/// Says what the library found worth a warning: whole lines, or nothing.
pub fn lines(text: &str) {
    eprint!("{text}");
}

/// Whether only facts, failures and warnings are wanted.
static QUIET: AtomicBool = AtomicBool::new(false);

/// From here on nothing is said but facts, failures and warnings.
pub fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Says what failed, in words that are no [`Failure`]'s.
pub fn error(message: &str) {
    eprintln!("error: {message}");
}

/// Says what was done, where standard output is not for that.
pub fn say(message: &str) {
    if !QUIET.load(Ordering::Relaxed) {
        eprintln!("{message}");
    }
}

/// Says what to do next.
pub fn hint(message: &str) {
    say(&format!("hint: {message}"));
}

/// Runs a command and tells the user how it ended; a panic in it is a bug in Dits.
pub fn guarded(command: impl FnOnce() -> Result<(), Failure> + UnwindSafe) -> ExitCode {
    let ended = std::panic::catch_unwind(command).unwrap_or_else(|_| Err(Failure::bug()));
    ended.map_or_else(
        |failure| {
            eprint!("{}", failure.text());
            ExitCode::from(failure.code())
        },
        |()| ExitCode::from(DONE),
    )
}
