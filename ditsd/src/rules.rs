//! What is allowed, and what follows from what: pure decisions.
//!
//! **For:** the doors, which ask before they act.
//!
//! **May touch:** nothing. Time and randomness come in as arguments.
//!
//! **Must hold:** whatever comes from outside is bounded here before anything else sees it.

pub mod ids;
pub mod lease;
pub mod listening;
pub mod push;
pub mod receipt;
pub mod token;
pub mod versions;
