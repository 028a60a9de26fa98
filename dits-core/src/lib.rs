//! Everything true of chunks, media, stores and remotes.
//!
//! **For:** the four programs of Dits, which read options, call this library and report.
//!
//! **May touch:** what each module's own header names; the library as a whole never prints,
//! never reads the environment and never ends the process.
//!
//! **Must hold:** a module uses only its own layer and those below it
//! (`docs/architecture.md` draws them, `tests/layers` holds them):
//!
//! | layer | modules |
//! |---|---|
//! | 4 operations | [`operations`] |
//! | 3 remote | `remote` |
//! | 2 local disk | `store`, `repo` |
//! | 1 pure bytes | [`item`], [`chunking`], [`media`], [`pointer`], [`manifest`], [`pack_format`], [`codec`], [`git_index`], `wire`, [`hydration_record`] |
//! | 0 words | [`hash`], [`extent`], [`repo_path`], [`remote_url`], [`limits`], [`failure`], [`steps`] |

pub mod extent;
pub mod failure;
pub mod hash;
pub mod limits;
pub mod remote_url;
pub mod repo_path;
pub mod steps;

pub mod chunking;
pub mod codec;
pub mod git_index;
pub mod hydration_record;
pub mod item;
pub mod manifest;
pub mod media;
pub mod pack_format;
pub mod pointer;
pub mod wire;

#[cfg(feature = "disk")]
pub mod repo;

#[cfg(feature = "disk")]
pub mod store;

#[cfg(feature = "disk")]
pub mod operations;

#[cfg(feature = "remote")]
pub mod remote;
