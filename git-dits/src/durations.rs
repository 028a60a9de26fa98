//! Durations as people type them.
//!
//! **For:** options that say how long.
//!
//! **May touch:** nothing.
//!
//! **Must hold:** a number without a unit is refused, but for 0: nobody means the same by it.

use std::time::Duration;

/// Reads a duration: `90s`, `10m`, `36h`, `2 days`, `2w`, `0`.
pub fn parse(text: &str) -> Option<Duration> {
    let text = text.trim().to_ascii_lowercase();
    let split = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().ok()?;
    let secs = match unit.trim() {
        "" if number == 0 => 0,
        "s" | "second" | "seconds" => 1,
        "m" | "min" | "minute" | "minutes" => 60,
        "h" | "hour" | "hours" => 3600,
        "d" | "day" | "days" => 24 * 3600,
        "w" | "week" | "weeks" => 7 * 24 * 3600,
        _ => return None,
    };
    number.checked_mul(secs).map(Duration::from_secs)
}

/// As [`parse`], for the command line.
pub fn argument(text: &str) -> Result<Duration, String> {
    parse(text).ok_or_else(|| "a number and a unit: 90s, 10m, 36h, 2d, 2w".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_read_as_people_type_it() {
        for (text, secs) in
            [("0", 0), ("90s", 90), ("10 m", 600), ("36H", 129_600), ("2 days", 172_800), ("1w", 604_800)]
        {
            assert_eq!(parse(text), Some(Duration::from_secs(secs)), "{text}");
        }
        for text in ["", "5", "d", "-1d", "1.5h", "2 months", "99999999999999999999w"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
