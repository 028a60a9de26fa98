//! Codecs: how an item's plain bytes are written down.
//!
//! **For:** storing compressible items small, without spending time on media that is
//! compressed already.
//!
//! **May touch:** nothing.
//!
//! **Must hold:**
//! - an item is stored compressed only where that saves at least [`SAVES_MIN`];
//! - decoding gives exactly the promised number of bytes or an error, and never allocates
//!   by a length that was not bounded before.
//!
//! **Format:** `docs/formats/pack-v1.md`.

use zstd::bulk::{Compressor, Decompressor};

/// How an item's bytes are written down. The numbers are part of the pack format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Codec {
    /// As they are.
    Raw = 0,
    /// One zstd frame.
    Zstd = 1,
}

impl Codec {
    /// Reads a codec's number; `None` for one this version does not know.
    pub fn from_number(number: u8) -> Option<Codec> {
        match number {
            0 => Some(Codec::Raw),
            1 => Some(Codec::Zstd),
            _ => None,
        }
    }
}

/// The stored form of an item cannot be undone.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The decompressor refused the bytes.
    #[error("the stored bytes are not a valid zstd frame of {plain_len} bytes")]
    Zstd {
        /// The promised plain length.
        plain_len: usize,
        /// What the decompressor said.
        source: std::io::Error,
    },
    /// The bytes decode to another length than promised.
    #[error("the stored bytes decode to {actual} bytes instead of {expected}")]
    Length {
        /// The promised plain length.
        expected: usize,
        /// The length they really have.
        actual: usize,
    },
}

/// zstd's level: the best ratio that still keeps up with the disk.
const LEVEL: i32 = 3;
/// Bytes from the middle of an item that the probe compresses.
const PROBE_LEN: usize = 4096;
/// Compressing must save at least one part in this many.
pub const SAVES_MIN: usize = 32;

/// Encodes items, one after another.
pub struct Encoder {
    probe: Compressor<'static>,
    full: Compressor<'static>,
    out: Vec<u8>,
}

impl Encoder {
    /// Makes an encoder; it holds about 2 MiB.
    pub fn new() -> Encoder {
        let compressor = |level| Compressor::new(level).expect("the level is one of zstd's own");
        Encoder { probe: compressor(-1), full: compressor(LEVEL), out: Vec::new() }
    }

    /// Returns the form in which `plain` is best stored.
    ///
    /// The probe looks at a few KiB from the middle; what does not shrink there is stored raw.
    pub fn encode<'a>(&'a mut self, plain: &'a [u8]) -> (Codec, &'a [u8]) {
        if !self.probe_says_yes(plain) {
            return (Codec::Raw, plain);
        }
        self.out.clear();
        self.out.reserve(zstd::zstd_safe::compress_bound(plain.len()));
        match self.full.compress_to_buffer(plain, &mut self.out) {
            Ok(len) if len + plain.len() / SAVES_MIN < plain.len() => (Codec::Zstd, &self.out),
            _ => (Codec::Raw, plain),
        }
    }

    fn probe_says_yes(&mut self, plain: &[u8]) -> bool {
        if plain.len() <= PROBE_LEN {
            return plain.len() >= 64;
        }
        let start = (plain.len() - PROBE_LEN) / 2;
        let sample = &plain[start..start + PROBE_LEN];
        self.out.clear();
        self.out.reserve(zstd::zstd_safe::compress_bound(PROBE_LEN));
        match self.probe.compress_to_buffer(sample, &mut self.out) {
            Ok(len) => len + PROBE_LEN / SAVES_MIN < PROBE_LEN,
            Err(_) => false,
        }
    }
}

impl Default for Encoder {
    fn default() -> Encoder {
        Encoder::new()
    }
}

/// Undoes [`Encoder::encode`], one item after another.
pub struct Decoder {
    zstd: Decompressor<'static>,
}

impl Decoder {
    /// Makes a decoder.
    pub fn new() -> Decoder {
        Decoder { zstd: Decompressor::new().expect("zstd makes a context unless memory is out") }
    }

    /// Puts the plain form of `stored` into `plain`, in place of what was there.
    ///
    /// `plain_len` must be bounded by the caller (see `ItemKind::plain_len_max`).
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if the bytes do not decode to exactly `plain_len` bytes; `plain` is
    /// then of no use.
    pub fn decode(
        &mut self,
        codec: Codec,
        stored: &[u8],
        plain_len: usize,
        plain: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        plain.clear();
        match codec {
            Codec::Raw => plain.extend_from_slice(stored),
            Codec::Zstd => {
                plain.reserve(plain_len);
                self.zstd
                    .decompress_to_buffer(stored, plain)
                    .map_err(|source| DecodeError::Zstd { plain_len, source })?;
            }
        }
        match plain.len() == plain_len {
            true => Ok(()),
            false => Err(DecodeError::Length { expected: plain_len, actual: plain.len() }),
        }
    }
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noise(len: usize) -> Vec<u8> {
        let mut reader = blake3::Hasher::new().finalize_xof();
        let mut bytes = vec![0; len];
        reader.fill(&mut bytes);
        bytes
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(byte: u8, len in 0_usize..100_000, noise_len in 0_usize..100_000) {
            let mut plain = vec![byte; len];
            plain.extend(noise(noise_len));
            let mut encoder = Encoder::new();
            let (codec, stored) = encoder.encode(&plain);
            prop_assert!(stored.len() <= plain.len());
            let mut back = Vec::new();
            Decoder::new().decode(codec, stored, plain.len(), &mut back).expect("it was just encoded");
            prop_assert_eq!(back, plain);
        }
    }

    #[test]
    fn noise_is_stored_raw_and_text_is_not() {
        let mut encoder = Encoder::new();
        assert_eq!(encoder.encode(&noise(65_536)).0, Codec::Raw);
        assert_eq!(encoder.encode(&b"a line of text\n".repeat(5_000)).0, Codec::Zstd);
    }

    #[test]
    fn a_frame_that_lies_about_its_length_is_refused() {
        let mut encoder = Encoder::new();
        let plain = vec![0; 200_000];
        let (codec, stored) = encoder.encode(&plain);
        let stored = stored.to_vec();
        let mut back = Vec::new();
        for claimed in [0, 100, 199_999, 200_001] {
            assert!(Decoder::new().decode(codec, &stored, claimed, &mut back).is_err(), "{claimed}");
            assert!(back.capacity() < 1 << 20);
        }
    }
}
