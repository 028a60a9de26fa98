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

/// Reads a size as people type it: `500`, `10m`, `1.5 GiB`. Units are binary.
pub fn parse(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let split = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit.trim() {
        "" | "b" => 1.0,
        "k" | "kb" | "kib" => 1024.0,
        "m" | "mb" | "mib" => 1024.0 * 1024.0,
        "g" | "gb" | "gib" => 1024.0 * 1024.0 * 1024.0,
        "t" | "tb" | "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let bytes = number.parse::<f64>().ok()? * factor;
    // Beyond this a float does not hold every whole number.
    (bytes <= (1u64 << 53) as f64).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_as_people_type_it() {
        for (text, bytes) in [("0", 0), ("1k", 1024), ("1.5 MiB", 1_572_864), ("2GB", 1 << 31), ("7b", 7)] {
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
        for text in ["", "m", "1.2.3", "-1", "10 apples", "1e9", "99999999t"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_size_has_one_digit_behind_the_point() {
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 20, "1.0 MiB"), ((1 << 30) - 1, "1.0 GiB")]
        {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }
}
