//! Operations: what the layers below do together.
//!
//! **For:** the programs, which call one of these for what their user asked.
//!
//! **May touch:** what the layers below may.
//!
//! **Must hold:** nothing here speaks SQL, a wire protocol or Git by itself.

mod block_runs;
mod chunk_stream;
pub mod clean;
pub mod collect;
pub mod du;
pub mod fsck;
pub mod hydrate;
pub mod hydrate_tree;
pub mod needed_media;
pub mod outline;
pub mod verify;

pub use chunk_stream::OutlineError;

#[cfg(feature = "remote")]
pub mod confirm_kept;
#[cfg(feature = "remote")]
pub mod fetch_media;
#[cfg(feature = "remote")]
pub mod push_media;
