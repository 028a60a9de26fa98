//! One sealed pack against its own checks, without a store around it.
//!
//! **For:** copies of packs.
//!
//! **May touch:** the file it is given, reading only.
//!
//! **Must hold:** memory is one piece of the table and the longest item.

use std::fs::File;

use super::forward::Forward;
use super::records::{PIECE_ENTRIES, Records};
use crate::hash::PackHash;
use crate::pack_format::StoredCheck;

/// Returns true if the file is the pack of this name, and every byte of it what it was.
pub fn is_whole(file: &File, name: &PackHash) -> bool {
    let Ok(records) = Records::of_sealed(file, name) else { return false };
    let Records::Table { trailer, .. } = &records else { return false };
    let mut forward = Forward::new(file, trailer.payload_len, Vec::new());
    let (mut from, mut bytes) = (0, Vec::new());
    while from < records.count() {
        let to = records.count().min(from + PIECE_ENTRIES);
        let Ok(entries) = records.entries(from, to, &mut bytes) else { return false };
        let is_good = entries.iter().all(|entry| {
            entry.as_ref().is_some_and(|entry| {
                let stored = forward.get(entry.place, entry.stored_len as usize);
                stored.is_ok_and(|stored| StoredCheck::of(stored) == entry.check)
            })
        });
        if !is_good {
            return false;
        }
        from = to;
    }
    true
}
