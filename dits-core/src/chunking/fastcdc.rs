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
