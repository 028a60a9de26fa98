//! Items: what a pack holds and what crosses the wire, whatever its kind.
//!
//! **For:** code that stores, finds, sends and checks bytes by name without caring what they mean.
//!
//! **May touch:** nothing.
//!
//! **Must hold:** [`ItemId::names`] is the only place that says how an item is checked
//! against its name.

use std::fmt;

use crate::hash::{ChunkHash, ManifestHash, PageValue, SideTableHash, SpanHash};
use crate::limits;

/// What an item is. The numbers are part of the pack format and of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ItemKind {
    /// A piece of a file's content.
    Chunk = 1,
    /// A run of chunk entries.
    Span = 2,
    /// A page of a block tree.
    Page = 3,
    /// How a file is put together.
    Manifest = 4,
    /// Facts for readers that no content depends on, key frames for example.
    SideTable = 5,
}

impl ItemKind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [ItemKind; 5] =
        [ItemKind::Chunk, ItemKind::Span, ItemKind::Page, ItemKind::Manifest, ItemKind::SideTable];

    /// Reads a kind's number; `None` for one this version does not know.
    pub fn from_number(number: u8) -> Option<ItemKind> {
        ItemKind::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    /// The longest plain form an item of this kind may have, in bytes.
    pub const fn plain_len_max(self) -> usize {
        match self {
            ItemKind::Chunk => limits::CHUNK_LEN_MAX,
            ItemKind::Span => limits::SPAN_ENTRIES_MAX * 36,
            ItemKind::Page => limits::PAGE_BLOCKS_MAX * 32,
            ItemKind::Manifest => limits::MANIFEST_LEN_MAX,
            ItemKind::SideTable => limits::SIDE_TABLE_LEN_MAX,
        }
    }
}

impl fmt::Display for ItemKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            ItemKind::Chunk => "chunk",
            ItemKind::Span => "span",
            ItemKind::Page => "page",
            ItemKind::Manifest => "manifest",
            ItemKind::SideTable => "side table",
        })
    }
}

/// An item's name: its kind and the 32 bytes that its content must match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemId {
    /// What the item is.
    pub kind: ItemKind,
    /// BLAKE3 of the plain bytes; for a page, the chaining value its entries merge to.
    pub hash: [u8; 32],
}

impl ItemId {
    /// Returns true if `plain` is what this id names.
    pub fn names(&self, plain: &[u8]) -> bool {
        match self.kind {
            ItemKind::Page => {
                crate::manifest::block_tree::page_value_of(plain).is_some_and(|value| *value.as_bytes() == self.hash)
            }
            _ => *blake3::hash(plain).as_bytes() == self.hash,
        }
    }
}

impl fmt::Display for ItemId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.kind, ChunkHash::from_bytes(self.hash))
    }
}

macro_rules! item_ids {
    ($($hash:ident => $kind:ident,)*) => {$(
        impl From<$hash> for ItemId {
            fn from(hash: $hash) -> ItemId {
                ItemId { kind: ItemKind::$kind, hash: *hash.as_bytes() }
            }
        }
    )*};
}

item_ids! {
    ChunkHash => Chunk,
    SpanHash => Span,
    PageValue => Page,
    ManifestHash => Manifest,
    SideTableHash => SideTable,
}
