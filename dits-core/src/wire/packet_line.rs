//! Packet lines: git's framing of short messages.
//!
//! **For:** the filter protocol, and the command list at the start of a push.
//!
//! **May touch:** nothing but the streams it is handed.
//!
//! **Must hold:** malformed framing is an error that says what stood there, never a panic, and
//! nothing is allocated by a length that was not checked.
//!
//! **Format:** `gitprotocol-common(5)`: four hex digits that count themselves, then the payload.
//! `0000` is a flush, `0001` a delimiter, `0002` the end of a response.

use std::io::{self, Read, Write};

/// Length of a packet's header, in bytes.
pub const HEADER_LEN: usize = 4;
/// Longest packet, its header included, in bytes (git's `LARGE_PACKET_MAX`).
pub const PACKET_LEN_MAX: usize = 65520;
/// Longest payload of one packet, in bytes.
pub const PAYLOAD_LEN_MAX: usize = PACKET_LEN_MAX - HEADER_LEN;
/// The header of a flush packet.
pub const FLUSH: [u8; HEADER_LEN] = *b"0000";

/// What a header announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// The end of a section.
    Flush,
    /// A mark between parts of a section.
    Delimiter,
    /// The end of a response.
    ResponseEnd,
    /// A payload of this many bytes, at most [`PAYLOAD_LEN_MAX`].
    Data(usize),
}

/// A stream that breaks the rules of packet lines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Four bytes that are no hex number, or a number that is no length.
    #[error("{:?} is not the length of a packet", String::from_utf8_lossy(.0))]
    Length([u8; HEADER_LEN]),
    /// A packet that may not stand here.
    #[error("{found:?} came where {expected} was expected")]
    Unexpected {
        /// What came.
        found: Header,
        /// What should have come.
        expected: &'static str,
    },
    /// A payload too long for what it should be.
    #[error("a line of {len} bytes is longer than the {max} allowed")]
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// The longest allowed.
        max: usize,
    },
}

/// Reads a header's four bytes.
///
/// # Errors
///
/// [`PacketError::Length`] for anything but a hex number that can be a packet's length.
pub fn decode_header(header: [u8; HEADER_LEN]) -> Result<Header, PacketError> {
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as usize);
    let len = header.iter().try_fold(0, |len, byte| Some(len * 16 + digit(*byte)?));
    match len {
        Some(0) => Ok(Header::Flush),
        Some(1) => Ok(Header::Delimiter),
        Some(2) => Ok(Header::ResponseEnd),
        Some(len @ HEADER_LEN..=PACKET_LEN_MAX) => Ok(Header::Data(len - HEADER_LEN)),
        _ => Err(PacketError::Length(header)),
    }
}

/// Writes the header of a payload of `payload_len` bytes, at most [`PAYLOAD_LEN_MAX`].
pub fn encode_header(payload_len: usize) -> [u8; HEADER_LEN] {
    debug_assert!(payload_len <= PAYLOAD_LEN_MAX, "callers split payloads");
    let len = payload_len + HEADER_LEN;
    let digit = |shift: u32| b"0123456789abcdef"[(len >> shift) & 15];
    [digit(12), digit(8), digit(4), digit(0)]
}

/// Reads one packet: its payload goes into `payload`, which is cleared first and never grows
/// past `max` bytes. `None` at the end of the stream.
///
/// # Errors
///
/// [`PacketError`], as the inner error of an `InvalidData`, for bad framing and payloads over
/// `max`; `UnexpectedEof` for a stream that ends inside a packet; and what reading gives.
pub fn read(from: &mut impl Read, payload: &mut Vec<u8>, max: usize) -> io::Result<Option<Header>> {
    payload.clear();
    let mut header = [0; HEADER_LEN];
    let mut filled = 0;
    while filled < HEADER_LEN {
        match from.read(&mut header[filled..]) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => filled += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let header = decode_header(header)?;
    if let Header::Data(len) = header {
        if len > max {
            return Err(PacketError::TooLong { len, max }.into());
        }
        payload.resize(len, 0);
        from.read_exact(payload)?;
    }
    Ok(Some(header))
}

/// Writes `payload` as one packet, which it must fit in.
///
/// # Errors
///
/// What writing gives, and [`PacketError::TooLong`] as an `InvalidData`.
pub fn write(to: &mut impl Write, payload: &[u8]) -> io::Result<()> {
    if payload.len() > PAYLOAD_LEN_MAX {
        return Err(PacketError::TooLong { len: payload.len(), max: PAYLOAD_LEN_MAX }.into());
    }
    to.write_all(&encode_header(payload.len()))?;
    to.write_all(payload)
}

/// Writes `text` and a line feed as one packet.
///
/// # Errors
///
/// As [`write`].
pub fn write_line(to: &mut impl Write, text: &[u8]) -> io::Result<()> {
    let mut line = Vec::with_capacity(text.len() + 1);
    line.extend_from_slice(text);
    line.push(b'\n');
    write(to, &line)
}

/// Writes a flush packet.
///
/// # Errors
///
/// What writing gives.
pub fn write_flush(to: &mut impl Write) -> io::Result<()> {
    to.write_all(&FLUSH)
}

/// A text line's content: exactly one line feed is taken off its end, if there is one.
pub fn line(payload: &[u8]) -> &[u8] {
    payload.strip_suffix(b"\n").unwrap_or(payload)
}

impl From<PacketError> for io::Error {
    fn from(error: PacketError) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn decoding_undoes_encoding(len in 0..=PAYLOAD_LEN_MAX) {
            prop_assert_eq!(decode_header(encode_header(len)), Ok(Header::Data(len)));
        }

        #[test]
        fn any_four_bytes_are_a_header_or_an_error(bytes in any::<[u8; 4]>()) {
            if let Ok(Header::Data(len)) = decode_header(bytes) {
                prop_assert!(len <= PAYLOAD_LEN_MAX);
            }
        }

        #[test]
        fn any_stream_ends_cleanly(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut from = &bytes[..];
            let mut payload = Vec::new();
            while let Ok(Some(_)) = read(&mut from, &mut payload, 50) {
                prop_assert!(payload.len() <= 50);
            }
        }
    }

    #[test]
    fn the_bounds_of_a_length_are_exact() {
        assert_eq!(decode_header(*b"0000"), Ok(Header::Flush));
        assert_eq!(decode_header(*b"0001"), Ok(Header::Delimiter));
        assert_eq!(decode_header(*b"0002"), Ok(Header::ResponseEnd));
        assert_eq!(decode_header(*b"0004"), Ok(Header::Data(0)));
        assert_eq!(decode_header(*b"FFf0"), Ok(Header::Data(PAYLOAD_LEN_MAX)));
        for bad in [b"0003", b"fff1", b"ffff", b"+123", b" 123", b"12g4"] {
            assert_eq!(decode_header(*bad), Err(PacketError::Length(*bad)));
        }
    }

    #[test]
    fn one_line_feed_is_taken_off_and_nothing_else() {
        assert_eq!(line(b"pathname=a \n\n"), b"pathname=a \n");
        assert_eq!(line(b" x "), b" x ");
    }

    #[test]
    fn packets_are_written_and_read() {
        let mut wire = Vec::new();
        write_line(&mut wire, b"status=success").expect("written");
        write_flush(&mut wire).expect("written");
        assert_eq!(wire, b"0013status=success\n0000");
        let (mut from, mut payload) = (&wire[..], Vec::new());
        assert_eq!(read(&mut from, &mut payload, 100).expect("a packet"), Some(Header::Data(15)));
        assert_eq!(line(&payload), b"status=success");
        assert_eq!(read(&mut from, &mut payload, 100).expect("a packet"), Some(Header::Flush));
        assert_eq!(read(&mut from, &mut payload, 100).expect("the end"), None);
        assert!(read(&mut &b"00"[..], &mut payload, 100).is_err());
        assert!(read(&mut &b"0009ab"[..], &mut payload, 100).is_err());
        assert!(read(&mut &b"0009abcde"[..], &mut payload, 4).is_err());
    }
}
