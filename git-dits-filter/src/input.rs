//! What git sends: lines of text, and contents of any length.
//!
//! **For:** getting a content's bytes into large blocks with one read for each packet, and all lines of a request
//! with one read for as many as git has sent.
//!
//! **May touch:** the stream it is handed.
//!
//! **Must hold:** nothing behind a flush is waited for before the caller asks for it, since git
//! waits there for the answer; no line or list of lines is longer than its limit.

use std::io::{self, BufReader, Read};

use dits_core::wire::packet_line::{self, HEADER_LEN, Header, PAYLOAD_LEN_MAX, PacketError};

/// Length of every block of a content but its last, in bytes.
pub const BLOCK_LEN: usize = 4 * 1024 * 1024;

/// Most lines before one flush. Git sends seven; later versions may send more.
const LINES_MAX: usize = 64;

/// A stream from git that cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// It ended in the middle of something.
    #[error("git went away in the middle of a request")]
    Ended,
    /// Reading failed.
    #[error("cannot read what git sends")]
    Read(#[source] io::Error),
    /// It breaks the rules of packet lines.
    #[error("git sent what is not the filter protocol")]
    Packet(#[source] PacketError),
    /// More lines than any request has.
    #[error("git sent more than {LINES_MAX} lines in one request")]
    TooManyLines,
}

impl From<io::Error> for InputError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return InputError::Ended;
        }
        match error.downcast::<PacketError>() {
            Ok(packet) => InputError::Packet(packet),
            Err(error) => InputError::Read(error),
        }
    }
}

/// Lines are read with what stands behind them, up to so many bytes. Longer reads go past the buffer.
const BUFFER_LEN: usize = 4096;

/// The stream from git.
pub struct Input<R> {
    from: BufReader<R>,
}

impl<R: Read> Input<R> {
    /// Reads from `from`, which should not be buffered.
    pub fn new(from: R) -> Input<R> {
        Input { from: BufReader::with_capacity(BUFFER_LEN, from) }
    }

    /// Reads lines up to a flush, each without its line feed. `None` at the end of the stream.
    pub fn lines(&mut self) -> Result<Option<Vec<Vec<u8>>>, InputError> {
        let mut lines = Vec::new();
        let mut payload = Vec::new();
        loop {
            match packet_line::read(&mut self.from, &mut payload, PAYLOAD_LEN_MAX)? {
                None if lines.is_empty() => return Ok(None),
                None => return Err(InputError::Ended),
                Some(Header::Flush) => return Ok(Some(lines)),
                Some(Header::Data(_)) if lines.len() == LINES_MAX => return Err(InputError::TooManyLines),
                Some(Header::Data(_)) => lines.push(packet_line::line(&payload).to_vec()),
                Some(found) => return Err(unexpected(found)),
            }
        }
    }

    /// Begins to read a content.
    pub fn content(&mut self) -> Result<Content<'_, R>, InputError> {
        let mut header = [0; HEADER_LEN];
        self.from.read_exact(&mut header)?;
        let next = expect_data(&header)?;
        Ok(Content { from: &mut self.from, next })
    }
}

/// A content that is being read.
pub struct Content<'a, R> {
    from: &'a mut BufReader<R>,
    /// Length of the payload that comes next; `None` once the flush was read.
    next: Option<usize>,
}

impl<R: Read> Content<'_, R> {
    /// Replaces `block` with the bytes that come next, none at the end. Says whether more follow.
    pub fn fill(&mut self, block: &mut Vec<u8>) -> Result<bool, InputError> {
        // What lies in the block from before is overwritten, and cleared nowhere: that would take
        // as long as reading it.
        let mut filled = 0;
        while let Some(len) = self.next {
            if len == PAYLOAD_LEN_MAX {
                // A full packet: the content is long. Short ones never get a whole block.
                block.reserve_exact((BLOCK_LEN + HEADER_LEN).saturating_sub(block.len()));
            }
            let room = BLOCK_LEN - filled;
            if len > room {
                block.resize(BLOCK_LEN, 0);
                self.from.read_exact(&mut block[filled..])?;
                self.next = Some(len - room);
                return Ok(true);
            }
            // Payload and the header behind it in one read; the next payload overwrites that
            // header, so that payloads lie side by side without being copied.
            let end = filled + len;
            if block.len() < end + HEADER_LEN {
                block.resize(end + HEADER_LEN, 0);
            }
            self.from.read_exact(&mut block[filled..end + HEADER_LEN])?;
            self.next = expect_data(&block[end..end + HEADER_LEN])?;
            filled = end;
        }
        block.truncate(filled);
        Ok(self.next.is_some())
    }
}

fn expect_data(header: &[u8]) -> Result<Option<usize>, InputError> {
    let header = header.try_into().expect("callers pass a header's length");
    match packet_line::decode_header(header).map_err(InputError::Packet)? {
        Header::Data(len) => Ok(Some(len)),
        Header::Flush => Ok(None),
        found => Err(unexpected(found)),
    }
}

fn unexpected(found: Header) -> InputError {
    InputError::Packet(PacketError::Unexpected { found, expected: "a payload or a flush" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(packets: &[&[u8]]) -> Vec<u8> {
        let mut wire = Vec::new();
        for packet in packets {
            packet_line::write(&mut wire, packet).expect("memory takes it");
        }
        packet_line::write_flush(&mut wire).expect("memory takes it");
        wire
    }

    #[test]
    fn a_content_is_put_together() {
        let long: Vec<u8> = (0..BLOCK_LEN * 2 + 12345).map(|at| (at / 7) as u8).collect();
        let packets: Vec<&[u8]> = long.chunks(PAYLOAD_LEN_MAX).collect();
        let wire = sent(&packets);
        let mut input = Input::new(&wire[..]);
        let mut content = input.content().expect("it begins");
        let (mut block, mut got, mut blocks) = (Vec::new(), Vec::new(), 0);
        loop {
            let more = content.fill(&mut block).expect("good packets");
            assert!(block.len() == BLOCK_LEN || !more);
            got.extend_from_slice(&block);
            blocks += 1;
            if !more {
                break;
            }
        }
        assert!(got == long, "the bytes are the same");
        assert_eq!(blocks, 3);
        assert!(!content.fill(&mut block).expect("the end stays the end") && block.is_empty());
    }

    /// Gives what git has sent, as much as is asked for, and fails where git would be waited for.
    struct Sent<'a>(&'a [u8]);

    impl Read for Sent<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            assert!(!self.0.is_empty(), "git waits for the answer, and is waited for");
            self.0.read(into)
        }
    }

    #[test]
    fn nothing_behind_a_flush_is_waited_for() {
        for len in [1, 100, BUFFER_LEN, PAYLOAD_LEN_MAX, PAYLOAD_LEN_MAX + 20] {
            let long = vec![7; len];
            let packets: Vec<&[u8]> = long.chunks(PAYLOAD_LEN_MAX).collect();
            let wire = [sent(&[b"command=clean\n"]), sent(&packets)].concat();
            let mut input = Input::new(Sent(&wire));
            assert_eq!(input.lines().expect("good lines").expect("there are some"), [b"command=clean"]);
            let mut block = Vec::new();
            assert!(!input.content().expect("it begins").fill(&mut block).expect("good packets"));
            assert_eq!(block, long);
        }
    }

    #[test]
    fn an_empty_content_is_one_flush() {
        let mut block = vec![1];
        assert!(!Input::new(&b"0000"[..]).content().expect("begins").fill(&mut block).expect("ends"));
        assert!(block.is_empty());
    }

    #[test]
    fn a_stream_that_breaks_off_or_breaks_the_rules_is_an_error() {
        let mut block = Vec::new();
        let mut fill = |wire: &[u8]| Input::new(wire).content().and_then(|mut content| content.fill(&mut block));
        assert!(matches!(fill(b""), Err(InputError::Ended)));
        assert!(matches!(fill(b"0009abc"), Err(InputError::Ended)));
        assert!(matches!(fill(b"0007abc"), Err(InputError::Ended)));
        assert!(matches!(fill(b"0007abc0001"), Err(InputError::Packet(_))));
        assert!(matches!(fill(b"zzzz"), Err(InputError::Packet(_))));
        let lines = |wire: &[u8]| Input::new(wire).lines();
        assert!(matches!(lines(b""), Ok(None)));
        assert!(matches!(lines(b"0006a\n"), Err(InputError::Ended)));
        assert!(matches!(lines(&b"0006a\n".repeat(100)), Err(InputError::TooManyLines)));
        assert_eq!(lines(b"0007a \n0006\n\n0000").expect("lines"), Some(vec![b"a ".to_vec(), b"\n".to_vec()]));
    }
}
