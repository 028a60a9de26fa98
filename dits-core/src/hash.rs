//! The names things have: 32 bytes of BLAKE3 each, one type for each thing.
//!
//! **For:** telling a chunk from a span from a file where all three are 32 bytes.
//!
//! **May touch:** nothing.
//!
//! **Must hold:** a hash is written as 64 lower-case hex digits and read from nothing else.

use std::fmt;
use std::str::FromStr;

/// Text that is not 64 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected 64 lower-case hex digits")]
pub struct HexError;

fn write_hex(bytes: &[u8], out: &mut fmt::Formatter<'_>) -> fmt::Result {
    for byte in bytes {
        write!(out, "{byte:02x}")?;
    }
    Ok(())
}

/// Reads exactly 64 lower-case hex digits.
///
/// # Errors
///
/// [`HexError`] for any other text, upper case included: each value has one spelling.
pub fn parse_hex(text: &[u8]) -> Result<[u8; 32], HexError> {
    fn digit(byte: u8) -> Result<u8, HexError> {
        match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(HexError),
        }
    }
    if text.len() != 64 {
        return Err(HexError);
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(bytes)
}

macro_rules! hashes {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Wraps 32 bytes that were read from a format or computed by its rule.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Returns the 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, out)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, concat!(stringify!($name), "("))?;
                write_hex(&self.0[..6], out)?;
                write!(out, "…)")
            }
        }

        impl FromStr for $name {
            type Err = HexError;
            fn from_str(text: &str) -> Result<Self, HexError> {
                parse_hex(text.as_bytes()).map(Self)
            }
        }
    )*};
}

hashes! {
    /// BLAKE3 of a file's whole content: the `oid` of a pointer, and what `b3sum` prints.
    FileHash;
    /// BLAKE3 of one chunk's plain bytes.
    ChunkHash;
    /// BLAKE3 of one span's plain bytes.
    SpanHash;
    /// BLAKE3 of one manifest's plain bytes.
    ManifestHash;
    /// BLAKE3 of one side table's plain bytes.
    SideTableHash;
    /// BLAKE3 chaining value of the part of a file that one page of its block tree covers.
    PageValue;
    /// BLAKE3 of a sealed pack's table and trailer: the pack's file name.
    PackHash;
}

impl ChunkHash {
    /// Hashes a chunk's plain bytes.
    pub fn of(plain: &[u8]) -> Self {
        Self(*blake3::hash(plain).as_bytes())
    }
}

impl FileHash {
    /// Hashes a whole content that is at hand in memory.
    pub fn of(content: &[u8]) -> Self {
        Self(*blake3::hash(content).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_has_exactly_one_spelling() {
        let hash = ChunkHash::of(b"x");
        assert_eq!(hash.to_string().parse::<ChunkHash>(), Ok(hash));
        assert_eq!(hash.to_string().to_uppercase().parse::<ChunkHash>(), Err(HexError));
        assert_eq!(hash.to_string()[1..].parse::<ChunkHash>(), Err(HexError));
        assert_eq!(format!("{hash} ").parse::<ChunkHash>(), Err(HexError));
    }
}
