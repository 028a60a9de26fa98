//! What people are told when something fails, and the exit status that goes with it.
//!
//! **For:** one shape for every message of the porcelain: `error:`, `caused by:`, `hint:`.
//!
//! **May touch:** standard error.
//!
//! **Must hold:** a closed pipe is a normal end; a panic is reported as a bug, with status 255.

use std::error::Error;
use std::panic::UnwindSafe;
use std::process::ExitCode;

/// The exit statuses, as every help text ends with them.
pub const EXIT_STATUSES: &str = "\
Exit status:
  0    done
  1    failed
  2    wrong usage
  3    refused (a lock, a permission, a setting of somebody else)
  255  a bug in Dits";

/// How a command ended that did not do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Failed,
    Usage,
    Refused,
    ClosedPipe,
}

/// A failure, in the words the user reads.
///
/// It is not an [`Error`] itself, so that `?` turns any error of the library into one.
#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    message: String,
    causes: Vec<String>,
    hints: Vec<String>,
}

impl Failure {
    /// Something could not be done.
    pub fn new(message: impl Into<String>) -> Failure {
        Failure { kind: Kind::Failed, message: message.into(), causes: Vec::new(), hints: Vec::new() }
    }

    /// The command was called in a way that has no meaning.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure { kind: Kind::Usage, ..Failure::new(message) }
    }

    /// Somebody else's setting, lock or right stands in the way.
    pub fn refused(message: impl Into<String>) -> Failure {
        Failure { kind: Kind::Refused, ..Failure::new(message) }
    }

    /// The reader of standard output went away, which is a normal end.
    pub fn closed_pipe() -> Failure {
        Failure { kind: Kind::ClosedPipe, ..Failure::new("") }
    }

    /// Adds an error and everything that caused it.
    pub fn because(mut self, error: &dyn Error) -> Failure {
        let mut next = Some(error);
        while let Some(cause) = next {
            self.causes.push(cause.to_string());
            next = cause.source();
        }
        self
    }

    /// Adds one cause in words.
    pub fn caused_by(mut self, cause: impl Into<String>) -> Failure {
        self.causes.push(cause.into());
        self
    }

    /// Adds one line on what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hints.push(hint.into());
        self
    }

    /// The whole message as it is printed.
    pub fn text(&self) -> String {
        let mut text = format!("error: {}\n", self.message);
        self.causes.iter().for_each(|cause| text.push_str(&format!("caused by: {cause}\n")));
        self.hints.iter().for_each(|hint| text.push_str(&format!("hint: {hint}\n")));
        text
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Failure {
        let failure = Failure::new(error.to_string());
        match error.source() {
            Some(source) => failure.because(source),
            None => failure,
        }
    }
}

/// Tells the user how a command ended.
fn end(result: Result<(), Failure>) -> ExitCode {
    let Err(failure) = result else { return ExitCode::SUCCESS };
    if failure.kind == Kind::ClosedPipe {
        return ExitCode::SUCCESS;
    }
    eprint!("{}", failure.text());
    ExitCode::from(match failure.kind {
        Kind::Usage => 2,
        Kind::Refused => 3,
        Kind::Failed | Kind::ClosedPipe => 1,
    })
}

/// Says something that is worth knowing but stops nothing.
pub fn warn(message: &str) {
    eprintln!("warning: {message}");
}

/// Says what was done, where standard output is not for that.
pub fn say(message: &str) {
    eprintln!("{message}");
}

/// Says what to do next.
pub fn hint(message: &str) {
    eprintln!("hint: {message}");
}

/// Runs a command; a panic in it is a bug in Dits, and is reported as one.
pub fn guarded(command: impl FnOnce() -> Result<(), Failure> + UnwindSafe) -> ExitCode {
    match std::panic::catch_unwind(command) {
        Ok(result) => end(result),
        Err(_) => {
            eprintln!("error: this is a bug in Dits");
            eprintln!("hint: please report it with the lines above");
            ExitCode::from(255)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read the index")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_failure_lists_its_causes_and_hints_in_order() {
        let failure = Failure::from(Outer(std::io::Error::other("disk on fire"))).hint("use another disk");
        assert_eq!(failure.text(), "error: cannot read the index\ncaused by: disk on fire\nhint: use another disk\n");
    }
}
