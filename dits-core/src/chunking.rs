//! Chunking: where a file is cut, so that two versions of it share what they have in common.
//!
//! **For:** cutting streams of any length in bounded memory, and naming the chunks.
//!
//! **May touch:** nothing. Threads, where there are several, belong to the caller.
//!
//! **Must hold:**
//! - chunks tile the stream, and depend on its bytes alone;
//! - a change to what is cut where is a new [`ChunkerId`].
//!
//! **Format:** `docs/formats/chunking-v1.md`.

pub mod cutter;
pub mod fastcdc;
mod gear;
pub mod hashing;
pub mod segment;
pub mod tree_hasher;

use crate::manifest::ChunkerId;

/// The chunker of this module: FastCDC with the structure rules of version 1.
pub const CHUNKER: ChunkerId = ChunkerId(1);
