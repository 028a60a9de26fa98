//! Which packs are rewritten or removed.
//!
//! **For:** the most room for the fewest bytes written.
//!
//! **May touch:** nothing.
//!
//! **Must hold:** a pack younger than the grace, or one that has entries without marks, is never chosen.

use std::collections::HashMap;

use super::Collection;
use super::survey::{PackName, Surveyed};
use crate::limits::PACK_PAYLOAD_TARGET;
use crate::pack_format::{Domain, ENTRY_LEN};

/// A pack of which one part in so many is dead is rewritten.
const DEAD_PARTS: u64 = 4;
/// A pack with fewer bytes is small.
const SMALL_LEN: u64 = PACK_PAYLOAD_TARGET / 8;
/// So many small packs of one domain are joined.
const JOINED_MIN: usize = 16;

/// A pack that is to go, and what must be written for that.
#[derive(Debug, Clone)]
pub(super) struct Chosen {
    pub pack: Surveyed,
    pub kept_len: u64,
}

impl Chosen {
    /// Bytes that the store is smaller by once the pack is gone.
    fn gain(&self) -> u64 {
        let dead_len = self.pack.payload_len.saturating_sub(self.kept_len);
        dead_len + u64::from(self.pack.entry_count) * ENTRY_LEN as u64 * dead_len / self.pack.payload_len.max(1)
    }
}

impl Collection<'_> {
    /// Chooses packs, those first that cost least for what they give, as long as no more than `copy_len_max`
    /// bytes must be written.
    pub(super) fn choose(&self, copy_len_max: u64) -> Vec<Chosen> {
        let mut chosen = Vec::new();
        let mut small: HashMap<Domain, Vec<Chosen>> = HashMap::new();
        for pack in self.survey.packs.iter().filter(|pack| self.may_go(pack)) {
            let Some((kept_count, kept_len)) = self.marks.kept(pack.no) else { continue };
            let dead_len = pack.payload_len.saturating_sub(kept_len);
            let candidate = Chosen { pack: pack.clone(), kept_len };
            if kept_count == 0 || dead_len.saturating_mul(DEAD_PARTS) >= pack.payload_len {
                chosen.push(candidate);
            } else if pack.payload_len < SMALL_LEN && matches!(pack.name, PackName::Sealed(_)) {
                small.entry(pack.domain).or_default().push(candidate);
            }
        }
        chosen.extend(small.into_values().filter(|packs| packs.len() >= JOINED_MIN).flatten());
        // Those of which nothing is needed first, then by bytes written for each that is freed.
        chosen.sort_by_key(|chosen| (u128::from(chosen.kept_len) << 32) / u128::from(chosen.gain().max(1)));
        let mut left = copy_len_max;
        chosen.retain(|chosen| match left.checked_sub(chosen.kept_len) {
            Some(rest) => {
                left = rest;
                true
            }
            None => false,
        });
        chosen
    }

    /// Bytes that a collection without a limit would free.
    pub fn freeable_len(&self) -> u64 {
        self.choose(u64::MAX).iter().map(Chosen::gain).sum()
    }

    fn may_go(&self, pack: &Surveyed) -> bool {
        // A pack whose time lies ahead is young.
        let is_old = self.now.duration_since(pack.written).is_ok_and(|age| age >= self.grace);
        let is_empty = matches!(pack.name, PackName::Open(_)) && pack.entry_count == 0;
        is_old && !is_empty && !pack.is_condemned && self.marks.entry_count(pack.no) == Some(pack.entry_count)
    }
}
