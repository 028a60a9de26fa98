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

/// Says whether `text` is what git leaves where it merged two pointers as if they were text: lines of
/// pointers, with its markers between them.
pub fn is_conflicted(text: &[u8]) -> bool {
    let is_marker = |line: &[u8], marker: &[u8]| {
        line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with(b" "))
    };
    let mut lines = text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let has = |marker: &[u8]| text.split(|byte| *byte == b'\n').any(|line| is_marker(line.trim_ascii_end(), marker));
    let is_of_it = |line: &[u8]| {
        [b"<<<<<<<", b"|||||||", b"=======", b">>>>>>>"].iter().any(|marker| is_marker(line, *marker))
            || [b"dits ".as_slice(), OID, &SIZE[1..]].iter().any(|field| line.starts_with(field))
            || line.is_empty()
    };
    text.len() <= limits::CONFLICTED_POINTER_LEN_MAX
        && has(b"<<<<<<<")
        && has(b">>>>>>>")
        && text.windows(OID.len()).any(|bytes| bytes == OID)
        && lines.all(is_of_it)
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
        assert!(!is_conflicted(text.as_bytes()));
        assert_eq!(read(format!("{text}more").as_bytes()), Reading::PointerWithMore);
        assert_eq!(read(text.replace("dits 1", "dits 2").as_bytes()), Reading::UnknownVersion);
    }
    /// What git 2.47 writes, whichever way `merge.conflictStyle` is set.
    #[test]
    fn pointers_that_were_merged_as_text_are_told() {
        let (ours, theirs) = (example().to_string(), Pointer { size: 8, ..example() }.to_string());
        let (ours, theirs) = (ours.strip_prefix("dits 1\n").unwrap(), theirs.strip_prefix("dits 1\n").unwrap());
        for text in [
            format!("dits 1\n<<<<<<< HEAD\n{ours}=======\n{theirs}>>>>>>> other\n"),
            format!("dits 1\n<<<<<<< ours\n{ours}||||||| 1a2b3c4\n{ours}=======\n{theirs}>>>>>>> a branch\n"),
            format!("<<<<<<< HEAD\ndits 1\n{ours}=======\ndits 1\n{theirs}>>>>>>> other\n"),
            format!("<<<<<<< HEAD\ndits 1\n{ours}=======\n>>>>>>> other\n"),
        ] {
            assert!(is_conflicted(text.as_bytes()), "{text}");
            assert!(is_conflicted(text.replace('\n', "\r\n").as_bytes()), "{text}");
            assert_eq!(read(text.as_bytes()), Reading::Content);
            for other in
                [format!("{text}and a line\n"), text.replace("oid blake3", "oid sha256"), text.replace('>', "")]
            {
                assert!(!is_conflicted(other.as_bytes()), "{other}");
            }
            assert!(!is_conflicted(text.repeat(20).as_bytes()), "too long");
        }
    }
}
