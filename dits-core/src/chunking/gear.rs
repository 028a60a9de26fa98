//! Looking for FastCDC's cut point at several places of a piece at once.
//!
//! **For:** speed. The gear hash of a byte waits for that of the byte before it, so that one scan
//! leaves most of a core idle. But the hash depends on no more than the last 64 bytes: scans
//! that begin at several places, each 64 bytes early, see what one scan would see.
//!
//! **May touch:** nothing.
//!
//! **Must hold:** the cut point is that of `fastcdc::v2020::cut`, for every input.
//!
//! **Format:** `docs/formats/chunking-v1.md`, "Cutting a piece".

use std::array;
use std::sync::LazyLock;

use ::fastcdc::v2020;

/// Bytes that the hash depends on: each shifts it by one of its 64 bits.
const REACH: usize = 64;
/// Scans that run side by side.
const LANES: usize = 4;
/// Bytes of a piece that one scan goes through before all four move on.
const STRIPE: usize = 1024;

static TABLE: LazyLock<[u64; 256]> = LazyLock::new(|| {
    let (table, _) = v2020::get_gear_with_seed(0);
    table.as_ref().try_into().expect("there is one value for every byte")
});

/// The scan of one piece.
pub struct Scan<'p> {
    table: &'static [u64; 256],
    piece: &'p [u8],
    /// Where hashing begins.
    start: usize,
}

impl<'p> Scan<'p> {
    /// Prepares to scan `piece`, the hash being empty at `start`.
    pub fn new(piece: &'p [u8], start: usize) -> Scan<'p> {
        Scan { table: &TABLE, piece, start }
    }

    /// The first place from `from` up to but without `to` whose hash has none of the bits of `mask`.
    pub fn first_in(&self, from: usize, to: usize, mask: u64) -> Option<usize> {
        let mut at = from;
        while at + LANES * STRIPE <= to {
            if let Some(found) = self.first_in_stripes(at, mask) {
                return Some(found);
            }
            at += LANES * STRIPE;
        }
        self.first_behind(self.hash_before(at), at, to, mask)
    }

    #[allow(clippy::needless_range_loop, reason = "one index into four stripes at once")]
    fn first_in_stripes(&self, at: usize, mask: u64) -> Option<usize> {
        let (stripes, _) = self.piece[at..at + LANES * STRIPE].as_chunks::<STRIPE>();
        let stripes: &[[u8; STRIPE]; LANES] = stripes.try_into().expect("that many were taken");
        let mut hashes: [u64; LANES] = array::from_fn(|lane| self.hash_before(at + lane * STRIPE));
        for index in 0..STRIPE {
            let before = hashes;
            for lane in 0..LANES {
                hashes[lane] = self.roll(hashes[lane], stripes[lane][index]);
            }
            if hashes.iter().any(|hash| hash & mask == 0) {
                // Some scan found a place. Those before it may still find one in their rest.
                return (0..LANES).find_map(|lane| {
                    let stripe = at + lane * STRIPE;
                    self.first_behind(before[lane], stripe + index, stripe + STRIPE, mask)
                });
            }
        }
        None
    }

    /// As [`Scan::first_in`], one byte after another, from a place whose hash so far is known.
    fn first_behind(&self, mut hash: u64, from: usize, to: usize, mask: u64) -> Option<usize> {
        let bytes = self.piece.get(from..to)?;
        let found = bytes.iter().position(|byte| {
            hash = self.roll(hash, *byte);
            hash & mask == 0
        })?;
        Some(from + found)
    }

    /// The hash of what lies before `at`.
    fn hash_before(&self, at: usize) -> u64 {
        let from = self.start.max(at.saturating_sub(REACH));
        self.piece[from..at].iter().fold(0, |hash, byte| self.roll(hash, *byte))
    }

    #[inline(always)]
    fn roll(&self, hash: u64, byte: u8) -> u64 {
        (hash << 1).wrapping_add(self.table[usize::from(byte)])
    }
}
