//! Sizes and rates as people read them.
//!
//! **For:** every line that tells a person how much.
//!
//! **May touch:** nothing.
//!
//! **Must hold:** units are binary and named so; bytes below 1 KiB are exact.

use std::fmt;

/// A count of bytes that prints as `1.2 GiB`.
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        if self.0 < 1024 {
            return write!(out, "{} B", self.0);
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        // 1023.95 would print as 1024.0.
        while value >= 1023.95 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        write!(out, "{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_one_digit_behind_the_point() {
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 20, "1.0 MiB"), ((1 << 30) - 1, "1.0 GiB")]
        {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }
}
