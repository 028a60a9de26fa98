//! Remotes: where media goes and comes from.
//!
//! **For:** asking a remote what it holds, and moving items to and from it.
//!
//! **May touch:** sockets, and other stores on disk. Never decides policy.

pub mod answers;
pub mod proto;
pub mod server;
