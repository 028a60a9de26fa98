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

    fn cut(&self, piece: &[u8]) -> usize {
        let (below, above) = (self.mask_below_average, self.mask_above_average);
        v2020::cut(piece, CHUNK_LEN_MIN, CHUNK_LEN_AVG, CHUNK_LEN_MAX, below, above, below << 1, above << 1).1
    }
}

impl Default for FastCdc {
    fn default() -> FastCdc {
        FastCdc::new()
    }
}
