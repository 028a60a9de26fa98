//! Media containers: what ISO-BMFF and QuickTime files say about themselves.
//!
//! **For:** cutting a file where its container has seams ([`atoms`]), and telling people
//! what is in it ([`tree`], [`sample_tables`], [`metadata`]).
//!
//! **May touch:** nothing.
//!
//! **Must hold:** no input panics, hangs, or allocates by a length it only claims; a file
//! that is damaged or no container at all is as welcome as any other.

pub mod atoms;
pub mod metadata;
pub mod sample_tables;
pub mod tree;
