//! How long a client may rely on what it was told is here.
//!
//! **For:** answers to "which of these are missing".

/// How long a lease holds, in seconds: a push over a slow line takes a night.
pub const LEASE_SECS: u32 = 24 * 60 * 60;

/// When a lease given now ends, in seconds since 1970 UTC.
pub fn expires(now: u64) -> u64 {
    now.saturating_add(LEASE_SECS.into())
}
