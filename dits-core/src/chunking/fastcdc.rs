//! FastCDC with the parameters of chunker 1, and how forced cuts bound it.
//!
//! **For:** the one decision that all chunking is made of: how long is the chunk that
//! starts here.
//!
//! **May touch:** nothing.
//!
//! **Must hold:** a length that is given out stays the same whatever follows in the stream.
//!
//! **Format:** `docs/formats/chunking-v1.md`, "Cutting a piece".

use super::gear::Scan;
use crate::limits::{CHUNK_LEN_AVG, CHUNK_LEN_MAX, CHUNK_LEN_MIN};
use ::fastcdc::v2020::{self, Normalization};

/// What is known about a stream around the chunk that is to be cut.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The first forced cut behind the chunk's start, if one is known.
    pub forced: Option<u64>,
    /// No forced cut below this position remains to be found.
    pub settled: u64,
    /// The bytes at hand are the last of the stream.
    pub ended: bool,
}

/// Length of a chunk, as far as it can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The chunk has this many bytes.
    Ends(usize),
    /// More of the stream is needed.
    NeedsBytes,
    /// The chunk ends here, in bytes from its start, unless the structure cuts it earlier;
    /// that must be settled first.
    NeedsStructure(usize),
}

/// Cuts pieces with the parameters of chunker 1.
#[derive(Debug, Clone, Copy)]
pub struct FastCdc {
    mask_below_average: u64,
    mask_above_average: u64,
}

impl FastCdc {
    /// Prepares the parameters.
    pub fn new() -> FastCdc {
        let (mask_below_average, mask_above_average) = v2020::select_masks(CHUNK_LEN_AVG, Normalization::Level2);
        FastCdc { mask_below_average, mask_above_average }
    }

    /// Says how long the chunk is that starts at `start` in the stream.
    ///
    /// `window` holds the stream's bytes from `start` on, at least one, as far as they are
    /// known.
    pub fn decide(&self, window: &[u8], start: u64, bounds: Bounds) -> Decision {
        if let Some(piece) = bounds.forced.and_then(|cut| self.piece(window, start, cut)) {
            return Decision::Ends(self.cut(piece));
        }
        if bounds.ended {
            return Decision::Ends(self.cut(window));
        }
        if window.len() < CHUNK_LEN_MAX {
            return Decision::NeedsBytes;
        }
        let len = self.cut(&window[..CHUNK_LEN_MAX]);
        match start + len as u64 <= bounds.settled {
            true => Decision::Ends(len),
            false => Decision::NeedsStructure(len),
        }
    }

    /// Returns true if [`FastCdc::decide`] says that the chunk has `len` bytes, as it once did of a chunk with
    /// the same bytes. Only the end of the chunk is looked at: there is no cut before it.
    ///
    /// False may also mean that it cannot be told from this window.
    pub fn confirms(&self, window: &[u8], start: u64, len: usize, bounds: Bounds) -> bool {
        let piece_len = bounds.forced.map_or(CHUNK_LEN_MAX, |cut| (cut - start).min(CHUNK_LEN_MAX as u64) as usize);
        let is_settled = bounds.forced.is_some() || start + len as u64 <= bounds.settled;
        if len >= piece_len || window.len() <= len {
            return len == piece_len && window.len() >= len && is_settled;
        }
        let (center, end) = (piece_len.min(CHUNK_LEN_AVG) & !1, piece_len & !1);
        // The chunk may have been the rest of a piece, whose last odd byte was not looked at.
        let (from, to) = (len.saturating_sub(1).max(CHUNK_LEN_MIN), len + 1);
        let scan = Scan::new(window, CHUNK_LEN_MIN);
        let cut = scan
            .first_in(from, center.min(to), self.mask_below_average)
            .or_else(|| scan.first_in(from.max(center), end.min(to), self.mask_above_average));
        cut == Some(len) && is_settled
    }

    /// The rest of the piece that ends at `cut`, where it lies wholly in the window.
    fn piece<'w>(&self, window: &'w [u8], start: u64, cut: u64) -> Option<&'w [u8]> {
        let len = usize::try_from(cut - start).ok()?;
        window.get(..len)
    }

    /// As `fastcdc::v2020::cut`, which goes byte by byte.
    fn cut(&self, piece: &[u8]) -> usize {
        if piece.len() <= CHUNK_LEN_MIN {
            return piece.len();
        }
        let len = piece.len().min(CHUNK_LEN_MAX);
        // The crate looks at pairs of bytes, and never at the last of an odd number.
        let (center, end) = (len.min(CHUNK_LEN_AVG) & !1, len & !1);
        let scan = Scan::new(piece, CHUNK_LEN_MIN);
        scan.first_in(CHUNK_LEN_MIN, center, self.mask_below_average)
            .or_else(|| scan.first_in(center, end, self.mask_above_average))
            .unwrap_or(len)
    }
}

impl Default for FastCdc {
    fn default() -> FastCdc {
        FastCdc::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn a_chunk_is_confirmed_exactly_where_it_would_be_cut_again(
            seed: u64,
            words in any::<bool>(),
            old_cut in prop::option::of(1_u64..300_000),
            new_cut in prop::option::of(1_u64..300_000),
            end_of_chunk in any::<bool>(),
        ) {
            let mut window = vec![0; 2 * CHUNK_LEN_MAX];
            blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut window);
            if words {
                window.iter_mut().for_each(|byte| *byte &= 1);
            }
            let own = FastCdc::new();
            let bounds = |forced| Bounds { forced, settled: 0, ended: false };
            let old = Bounds { settled: u64::MAX, ..bounds(old_cut) };
            let Decision::Ends(len) = own.decide(&window, 0, old) else { panic!("everything is known") };
            // A piece that ends where the chunk does is as likely as any other.
            let new_cut = if end_of_chunk { Some(len as u64 + seed % 3) } else { new_cut };
            let new = Bounds { settled: u64::MAX, ..bounds(new_cut) };
            prop_assert_eq!(own.confirms(&window, 0, len, new), own.decide(&window, 0, new) == Decision::Ends(len));
            prop_assert!(!own.confirms(&window, 0, len, bounds(None)));
        }

        #[test]
        fn the_cut_is_that_of_the_crate(
            seed: u64,
            len in prop_oneof![1_usize..300_000, CHUNK_LEN_MIN - 3..CHUNK_LEN_MIN + 200, CHUNK_LEN_AVG - 3..CHUNK_LEN_AVG + 3],
            run in prop::option::of((0_usize..200_000, 1_usize..200_000, 0_u8..3)),
            words in any::<bool>(),
        ) {
            let mut piece = vec![0; len];
            blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut piece);
            if words {
                piece.iter_mut().for_each(|byte| *byte &= 3);
            }
            if let Some((from, run_len, byte)) = run {
                let from = from.min(len);
                piece[from..(from + run_len).min(len)].fill(byte);
            }
            let own = FastCdc::new();
            let (below, above) = (own.mask_below_average, own.mask_above_average);
            let crates =
                v2020::cut(&piece, CHUNK_LEN_MIN, CHUNK_LEN_AVG, CHUNK_LEN_MAX, below, above, below << 1, above << 1);
            prop_assert_eq!(own.cut(&piece), crates.1);
        }
    }
}
