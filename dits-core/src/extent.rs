//! Places and lengths inside one file.
//!
//! **For:** keeping a position apart from a length, and every sum of the two checked.
//!
//! **May touch:** nothing.
//!
//! **Must hold:** no arithmetic here wraps.

use std::fmt;

/// A run of bytes in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Extent {
    start: u64,
    len: u64,
}

impl Extent {
    /// Makes the extent of `len` bytes from `start`, or `None` where its end passes `u64::MAX`.
    pub fn new(start: u64, len: u64) -> Option<Extent> {
        start.checked_add(len).map(|_| Extent { start, len })
    }

    /// The position of its first byte, in bytes from the start of the file.
    pub fn start(self) -> u64 {
        self.start
    }

    /// Its length in bytes.
    pub fn len(self) -> u64 {
        self.len
    }

    /// Returns true if it covers no byte.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The position just behind its last byte.
    pub fn end(self) -> u64 {
        self.start + self.len
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}..{}", self.start, self.end())
    }
}
