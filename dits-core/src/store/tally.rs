//! Counting items once, however often they are named.
//!
//! **For:** saying how much room files take, of which most share their items.
//!
//! **May touch:** packs, reading only, and the index.
//!
//! **Must hold:** memory is a bit for each entry of the packs that are counted in.

use std::collections::HashMap;

use super::error::StoreError;
use super::find::Located;
use super::{Store, lock};
use crate::item::ItemId;

/// What counting an item came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tallied {
    /// It was not counted before.
    New {
        /// Bytes that it takes in a pack.
        stored_len: u32,
        /// Bytes that it has.
        plain_len: u32,
    },
    /// It was.
    Again,
    /// The store has it not.
    Absent,
}

/// Which items of a store were counted.
#[derive(Debug)]
pub struct Tally<'s> {
    store: &'s Store,
    /// By pack, a bit for each entry.
    seen: HashMap<i64, Vec<u64>>,
}

impl<'s> Tally<'s> {
    /// Nothing is counted yet.
    pub fn new(store: &'s Store) -> Tally<'s> {
        Tally { store, seen: HashMap::new() }
    }

    /// Counts items, of several copies one.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be used.
    pub fn count(&mut self, ids: &[ItemId]) -> Result<Vec<Tallied>, StoreError> {
        let located = self.store.find_each(ids)?;
        Ok(located
            .into_iter()
            .map(|Located(found)| {
                let copies = found.copies.iter().map(|copy| (copy.place.pack_no, copy.place.entry_no, copy.entry));
                match copies.min_by_key(|(pack_no, entry_no, _)| (*pack_no, *entry_no)) {
                    None => Tallied::Absent,
                    Some((pack_no, entry_no, entry)) => match self.see(pack_no, entry_no) {
                        true => Tallied::New { stored_len: entry.stored_len, plain_len: entry.plain_len },
                        false => Tallied::Again,
                    },
                }
            })
            .collect())
    }

    /// Sets the bit of an entry; returns true if it was not set.
    fn see(&mut self, pack_no: i64, entry_no: u32) -> bool {
        let bits = self.seen.entry(pack_no).or_default();
        let at = entry_no as usize / 64;
        if bits.len() <= at {
            bits.resize(at + 1, 0);
        }
        let is_new = bits[at] >> (entry_no % 64) & 1 == 0;
        bits[at] |= 1 << (entry_no % 64);
        is_new
    }
}

impl Store {
    /// Bytes and number of the packs of the store.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if its folders cannot be listed.
    pub fn room_taken(&self) -> Result<(u64, u64), StoreError> {
        lock(&self.known).refresh(&self.layout)?;
        let sealed = self.layout.list_sealed()?.into_iter().map(|hash| self.layout.sealed_pack(&hash));
        let open = self.layout.list_logs()?.into_iter().map(|name| self.layout.open_pack(&name));
        let lens = sealed.chain(open).filter_map(|path| std::fs::metadata(path).ok().map(|metadata| metadata.len()));
        Ok(lens.fold((0, 0), |(bytes, count), len| (bytes + len, count + 1)))
    }
}
