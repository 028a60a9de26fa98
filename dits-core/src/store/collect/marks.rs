//! Which entries are needed: three bits for each.
//!
//! **For:** telling what is dead in a store of any size, in memory that is small beside it.
//!
//! **May touch:** nothing.
//!
//! **Must hold:** of an item that is needed at least one copy is kept; what came after the marks
//! were made has none, and is not taken for dead.

use std::collections::{HashMap, HashSet};

use super::super::find::Copy;
use crate::item::{ItemId, ItemKind};
use crate::pack_format::Domain;

/// Most items that are remembered to have been walked without a mark on a copy of their own.
const ELSEWHERE_MAX: usize = 64 * 1024;

/// A bit for each entry of a pack.
#[derive(Debug, Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn new(count: u32) -> Bits {
        Bits(vec![0; (count as usize).div_ceil(64)])
    }

    fn get(&self, at: u32) -> bool {
        self.0.get(at as usize / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    /// Sets a bit, and returns true if it was not set. Those beyond the end stay as they are.
    fn set(&mut self, at: u32) -> bool {
        let Some(word) = self.0.get_mut(at as usize / 64) else { return false };
        let is_new = *word >> (at % 64) & 1 == 0;
        *word |= 1 << (at % 64);
        is_new
    }
}

/// What is needed of one pack.
#[derive(Debug)]
struct PackMarks {
    /// Copies of items that are needed.
    live: Bits,
    /// Those that a reader would take, and that nobody may do without.
    kept: Bits,
    /// Manifests and spans whose own parts are marked as well, for the domain of the pack.
    walked: Bits,
    entry_count: u32,
    kept_count: u32,
    kept_len: u64,
}

/// What is needed of a store.
#[derive(Debug, Default)]
pub(super) struct Marks {
    packs: HashMap<i64, PackMarks>,
    /// Manifests and spans that were walked for a domain that has no marked copy of them.
    elsewhere: HashSet<(Domain, ItemId)>,
    live_count: u64,
}

impl Marks {
    /// Makes room for the marks of a pack that has `entry_count` entries now.
    pub fn add_pack(&mut self, no: i64, entry_count: u32) {
        let bits = || Bits::new(entry_count);
        let marks = PackMarks { live: bits(), kept: bits(), walked: bits(), entry_count, kept_count: 0, kept_len: 0 };
        self.packs.insert(no, marks);
    }

    /// How many items were found to be needed.
    pub fn live_count(&self) -> u64 {
        self.live_count
    }

    /// Marks an item of `domain`, of which these copies are in the store.
    ///
    /// What a pack of the domain has is kept there; what none has is kept wherever it is.
    pub fn mark(&mut self, domain: Domain, copies: &[Copy]) {
        let is_own = |copy: &&Copy| copy.pack.domain == domain;
        let wanted: Vec<&Copy> = match copies.iter().any(|copy| is_own(&copy)) {
            true => copies.iter().filter(is_own).collect(),
            false => copies.iter().collect(),
        };
        // A page's name does not fix its length: each may be the one that is meant.
        let mut lens: Vec<u32> = wanted.iter().map(|copy| copy.entry.plain_len).collect();
        lens.sort_unstable();
        lens.dedup();
        for len in lens {
            let of_len = wanted.iter().filter(|copy| copy.entry.plain_len == len);
            if let Some(best) = of_len.min_by_key(|copy| rank(copy)) {
                self.keep(best);
            }
        }
        let mut is_new = false;
        for Copy { place, .. } in copies {
            let marks = self.packs.get_mut(&place.pack_no);
            is_new |= marks.is_some_and(|marks| marks.live.set(place.entry_no));
        }
        self.live_count += u64::from(is_new);
    }

    fn keep(&mut self, Copy { place, entry, .. }: &Copy) {
        if let Some(marks) = self.packs.get_mut(&place.pack_no)
            && marks.kept.set(place.entry_no)
        {
            marks.kept_count += 1;
            marks.kept_len += u64::from(entry.stored_len);
        }
    }

    /// Returns true if all that a manifest or span names was marked for `domain`.
    pub fn is_walked(&self, domain: Domain, id: &ItemId, copies: &[Copy]) -> bool {
        debug_assert!(matches!(id.kind, ItemKind::Manifest | ItemKind::Span));
        let is_marked = |Copy { pack, place, .. }: &Copy| {
            pack.domain == domain
                && self.packs.get(&place.pack_no).is_some_and(|marks| marks.walked.get(place.entry_no))
        };
        copies.iter().any(is_marked) || self.elsewhere.contains(&(domain, *id))
    }

    /// Notes that all that a manifest or span names was marked for `domain`.
    pub fn note_walked(&mut self, domain: Domain, id: &ItemId, copies: &[Copy]) {
        let mut is_noted = false;
        for Copy { pack, place, .. } in copies.iter().filter(|copy| copy.pack.domain == domain) {
            if let Some(marks) = self.packs.get_mut(&place.pack_no) {
                marks.walked.set(place.entry_no);
                is_noted |= place.entry_no < marks.entry_count && pack.domain == domain;
            }
        }
        if !is_noted {
            if self.elsewhere.len() >= ELSEWHERE_MAX {
                self.elsewhere.clear();
            }
            self.elsewhere.insert((domain, *id));
        }
    }

    /// Returns true if the entry is a copy of an item that is needed.
    pub fn is_live(&self, no: i64, entry_no: u32) -> bool {
        self.packs.get(&no).is_some_and(|marks| marks.live.get(entry_no))
    }

    /// Returns true if the entry is the copy that is to stay.
    pub fn is_kept(&self, no: i64, entry_no: u32) -> bool {
        self.packs.get(&no).is_some_and(|marks| marks.kept.get(entry_no))
    }

    /// How many entries of a pack are to stay, and how many bytes they have; `None` for a pack without marks.
    pub fn kept(&self, no: i64) -> Option<(u32, u64)> {
        self.packs.get(&no).map(|marks| (marks.kept_count, marks.kept_len))
    }

    /// How many entries a pack had when the marks were made.
    pub fn entry_count(&self, no: i64) -> Option<u32> {
        self.packs.get(&no).map(|marks| marks.entry_count)
    }
}

/// Copies are kept in this order: good ones, in packs that stay, and sealed packs before those that grow.
fn rank(copy: &Copy) -> (bool, bool, bool, i64, u32) {
    let Copy { pack, place, .. } = copy;
    (place.is_damaged, place.is_condemned, !pack.is_sealed(), place.pack_no, place.entry_no)
}
