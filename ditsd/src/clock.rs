//! The present time, as the database and receipts have it.
//!
//! **For:** whoever hands the time to a rule or to the database.
//!
//! **May touch:** the system's clock, which may jump.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970 UTC.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
