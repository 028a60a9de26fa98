//! Pointers: what Git stores in place of a media file.
//!
//! **For:** turning a file's hash and size into the text that is committed, and back.
//!
//! **May touch:** nothing.
//!
//! **Must hold:** exactly one text is valid for each pair of hash and size, and that text
//! depends on the content alone.
//!
//! **Format:** `docs/formats/pointer-v1.md`.

use std::fmt;

use crate::hash::{FileHash, parse_hex};
use crate::limits;

/// A file's identity: what its pointer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pointer {
    /// BLAKE3 of the whole content.
    pub oid: FileHash,
    /// Length of the content in bytes, never 0: the empty file is stored as itself.
    pub size: u64,
}

const FIRST_LINE: &[u8] = b"dits 1\n";
const OID: &[u8] = b"oid blake3:";
const SIZE: &[u8] = b"\nsize ";

/// What a short text turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Exactly a valid pointer.
    Pointer(Pointer),
    /// A valid pointer with something behind it: content, but worth a warning.
    PointerWithMore,
    /// A first line that names a pointer version this program does not know.
    UnknownVersion,
    /// Anything else.
    Content,
}

impl Pointer {
    /// Reads a pointer; `None` for any text that is not exactly one.
    pub fn parse(text: &[u8]) -> Option<Pointer> {
        match read(text) {
            Reading::Pointer(pointer) => Some(pointer),
            _ => None,
        }
    }
}

/// Says what `text` is. Only the first [`limits::POINTER_LEN_MAX`] bytes are looked at.
pub fn read(text: &[u8]) -> Reading {
    let Some(rest) = text.strip_prefix(FIRST_LINE) else {
        return unknown_version(text);
    };
    match read_fields(rest) {
        Some((pointer, [])) => Reading::Pointer(pointer),
        Some(_) => Reading::PointerWithMore,
        None => Reading::Content,
    }
}

fn unknown_version(text: &[u8]) -> Reading {
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let is_version = line.strip_prefix(b"dits ").is_some_and(|number| {
        (1..=9).contains(&number.len()) && number.iter().all(u8::is_ascii_digit) && number[0] != b'0'
    });
    let follows = text.get(line.len()..).is_some_and(|rest| rest.starts_with(b"\noid "));
    match is_version && follows && text.len() < limits::POINTER_LEN_MAX {
        true => Reading::UnknownVersion,
        false => Reading::Content,
    }
}

fn read_fields(rest: &[u8]) -> Option<(Pointer, &[u8])> {
    let rest = rest.strip_prefix(OID)?;
    let oid = FileHash::from_bytes(parse_hex(rest.get(..64)?).ok()?);
    let rest = rest[64..].strip_prefix(SIZE)?;
    let digit_count = rest.iter().take(20).take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = rest.split_at(digit_count);
    let rest = rest.strip_prefix(b"\n")?;
    if digits.first()? == &b'0' {
        return None;
    }
    let size: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (size <= limits::FILE_LEN_MAX).then_some((Pointer { oid, size }, rest))
}

impl fmt::Display for Pointer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "dits 1\noid blake3:{}\nsize {}\n", self.oid, self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn example() -> Pointer {
        Pointer { oid: FileHash::of(b"example"), size: 7 }
    }

    proptest! {
        #[test]
        fn parsing_undoes_writing(oid: [u8; 32], size in 1..=limits::FILE_LEN_MAX) {
            let pointer = Pointer { oid: FileHash::from_bytes(oid), size };
            let text = pointer.to_string();
            prop_assert!(text.len() < limits::POINTER_LEN_MAX);
            prop_assert_eq!(Pointer::parse(text.as_bytes()), Some(pointer));
        }

        #[test]
        fn whatever_parses_is_written_the_same(mut at in 0_usize..90, byte: u8) {
            let mut text = example().to_string().into_bytes();
            at %= text.len();
            text[at] = byte;
            if let Some(pointer) = Pointer::parse(&text) {
                prop_assert_eq!(pointer.to_string().into_bytes(), text);
            }
        }
    }

    #[test]
    fn near_misses_are_content() {
        let text = example().to_string();
        for wrong in [
            text.replace('\n', "\r\n"),
            text.replace("size 7", "size 07"),
            text.replace("size 7", "size 0"),
            text.replace("size 7", "size +7"),
            text.replace("size 7", "size 99999999999999999999"),
            text.trim_end().to_owned(),
            format!(" {text}"),
            text.to_uppercase(),
            String::new(),
        ] {
            assert_eq!(read(wrong.as_bytes()), Reading::Content, "{wrong:?}");
        }
        assert_eq!(read(format!("{text}more").as_bytes()), Reading::PointerWithMore);
        assert_eq!(read(text.replace("dits 1", "dits 2").as_bytes()), Reading::UnknownVersion);
    }
}
