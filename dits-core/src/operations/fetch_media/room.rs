//! What a fetch holds in memory at once, whatever the remote sends.
//!
//! **For:** manifests, spans, pages and side tables on their way: all but chunks are held until
//! what they name is here.
//!
//! **May touch:** nothing.
//!
//! **Must hold:** what is held stays below a bound that the remote has no part in.

use crate::item::{ItemId, ItemKind};
use crate::store::StoredItem;

/// Parts of manifests that are asked for at once.
const PARTS_MAX: usize = 1024;
/// Most bytes that the parts of one batch may have, as long as their kinds may be.
const PARTS_LEN_MAX: usize = 32 * 1024 * 1024;

/// Manifests as they arrive, as many as there is room for.
#[derive(Debug)]
pub(super) struct Arrived {
    /// What there was room for; one there always is.
    pub items: Vec<StoredItem>,
    /// What has to be asked for again, each by itself.
    pub again: Vec<ItemId>,
    room: usize,
}

impl Arrived {
    /// Makes room for manifests of `room` bytes.
    pub fn with_room(room: usize) -> Arrived {
        Arrived { items: Vec::new(), again: Vec::new(), room }
    }

    /// Keeps what came, or lets go of it. It counts as long as it is once decoded.
    pub fn take(&mut self, item: StoredItem) {
        match self.room.checked_sub(item.plain_len as usize) {
            None if !self.items.is_empty() => self.again.push(item.id),
            left => {
                self.room = left.unwrap_or(0);
                self.items.push(item);
            }
        }
    }
}

/// Parts that are fetched together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    ids: Vec<ItemId>,
    len: usize,
}

impl Batch {
    /// Adds a part; returns what is to be fetched before another is added.
    pub fn push(&mut self, id: ItemId) -> Option<Vec<ItemId>> {
        // Chunks are stored as they come.
        let len = if id.kind == ItemKind::Chunk { 0 } else { id.kind.plain_len_max() };
        self.len += len;
        self.ids.push(id);
        let is_full = self.ids.len() >= PARTS_MAX || self.len + ItemKind::SideTable.plain_len_max() > PARTS_LEN_MAX;
        is_full.then(|| self.take())
    }

    /// What is left.
    pub fn take(&mut self) -> Vec<ItemId> {
        std::mem::take(self).ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codec;
    use crate::limits::{MANIFEST_LEN_MAX, SIDE_TABLES_MAX};

    fn id(kind: ItemKind, n: usize) -> ItemId {
        ItemId { kind, hash: *blake3::hash(&n.to_le_bytes()).as_bytes() }
    }

    /// A manifest that is nothing as it comes, and as long as can be once it is decoded.
    fn longest(n: usize) -> StoredItem {
        let plain_len = MANIFEST_LEN_MAX as u32;
        StoredItem { id: id(ItemKind::Manifest, n), codec: Codec::Zstd, plain_len, bytes: vec![0; 100] }
    }

    #[test]
    fn manifests_longer_than_there_is_room_for_are_let_go_of_and_asked_for_again() {
        let mut arrived = Arrived::with_room(2 * MANIFEST_LEN_MAX);
        (0..256).for_each(|n| arrived.take(longest(n)));
        assert_eq!(arrived.items, [longest(0), longest(1)]);
        assert_eq!(arrived.again, (2..256).map(|n| longest(n).id).collect::<Vec<_>>());
        let mut arrived = Arrived::with_room(0);
        arrived.take(longest(0));
        assert_eq!((arrived.items.len(), arrived.again.len()), (1, 0), "one by itself always fits");
    }

    #[test]
    fn a_batch_of_parts_is_bounded_by_number_and_by_what_they_may_be_long() {
        let batches = |kind, count| {
            let mut batch = Batch::default();
            let mut batches: Vec<_> = (0..count).filter_map(|n| batch.push(id(kind, n))).collect();
            batches.push(batch.take());
            assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), count);
            batches.iter().map(|batch| batch.len() * kind.plain_len_max()).max()
        };
        assert_eq!(batches(ItemKind::SideTable, 10 * SIDE_TABLES_MAX), Some(PARTS_LEN_MAX));
        assert_eq!(batches(ItemKind::Span, 3000), Some(PARTS_MAX * ItemKind::Span.plain_len_max()));
        assert!(PARTS_MAX * ItemKind::Span.plain_len_max() <= PARTS_LEN_MAX);
    }
}
