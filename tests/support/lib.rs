//! What end-to-end tests need: real git, real programs, and a world of their own.
//!
//! **For:** `tests/e2e` and the benches.
//!
//! **May touch:** a temporary folder for each [`World`], a `tmpfs` where a test asks for a
//! full disk, and programs it started itself.
//!
//! **Must hold:**
//! - no test sees the user's configuration, home or agents, nor leaves a process behind;
//! - nothing sleeps: what takes time is waited for, and what takes too long is a failure;
//! - what cannot run here says `not run`, and fails where `CI=true`.

#![allow(clippy::expect_used, reason = "a broken test environment is a failed test")]

pub mod call;
pub mod media;
pub mod needs;
pub mod processes;
pub mod programs;
pub mod repo;
pub mod server;
pub mod small_disk;
pub mod world;

pub use call::{Call, Done};
pub use repo::Repo;
pub use server::Server;
pub use world::World;
