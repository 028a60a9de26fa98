//! Saying aloud that a test could not run.

use std::io::Write;

/// Returns true if `is_there`; else says `not run`, and fails where `CI=true`.
///
/// # Panics
///
/// Under `CI=true`, so that a missing tool cannot pass for a passed test.
pub fn needs(is_there: bool, reason: &str) -> bool {
    if !is_there {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "not run: {reason}");
        // Straight to the stream: the test runner would keep the line of a passing test.
        let _ = writeln!(std::io::stderr(), "not run: {reason}");
    }
    is_there
}

/// [`needs`] the rights of root, for mounting a small file system or giving a file away.
pub fn needs_root() -> bool {
    needs(rustix::process::geteuid().is_root(), "it needs the rights of root")
}
