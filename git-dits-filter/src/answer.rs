//! What the filter answers: statuses, and contents of any length.
//!
//! **For:** sending a content in large writes while it is being put together.
//!
//! **May touch:** the stream it is handed.
//!
//! **Must hold:** as long as a content has not filled its buffer nothing of it was sent, so
//! that the answer can still become another one.
//!
//! **Format:** `docs/protocols/filter-v2.md`.

use std::io::{self, Write};

use dits_core::wire::packet_line::{self, FLUSH, HEADER_LEN, PACKET_LEN_MAX};

/// Packets that are sent in one write.
const PACKETS_PER_WRITE: usize = 16;
/// Longest content of which nothing is sent before its end, in bytes.
pub const HELD_BACK_MAX: u64 = ((PACKETS_PER_WRITE - 1) * (PACKET_LEN_MAX - HEADER_LEN)) as u64;

/// A status line's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The content follows, or followed.
    Success,
    /// This request failed.
    Error,
    /// The content comes once git asks again.
    Delayed,
}

impl Status {
    fn line(self) -> &'static [u8] {
        match self {
            Status::Success => b"status=success",
            Status::Error => b"status=error",
            Status::Delayed => b"status=delayed",
        }
    }
}

/// Writes a status that no content follows.
pub fn status(to: &mut impl Write, status: Status) -> io::Result<()> {
    let mut wire = Vec::with_capacity(32);
    put_status(&mut wire, status)?;
    to.write_all(&wire)
}

/// Writes a whole content that is at hand.
pub fn content(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let mut content = ContentWriter::new(to);
    content.write_all(bytes)?;
    content.finish()
}

/// Writes lines and a success behind them: the handshake, and lists of paths.
pub fn lines<L: AsRef<[u8]>>(to: &mut impl Write, lines: impl IntoIterator<Item = L>) -> io::Result<()> {
    let mut wire = Vec::new();
    for line in lines {
        packet_line::write_line(&mut wire, line.as_ref())?;
    }
    packet_line::write_flush(&mut wire)?;
    to.write_all(&wire)
}

fn put_status(wire: &mut Vec<u8>, status: Status) -> io::Result<()> {
    packet_line::write_line(wire, status.line())?;
    packet_line::write_flush(wire)
}

/// Sends a content as it is written: success, packets, and at the end whether that held.
pub struct ContentWriter<'a, W: Write> {
    to: &'a mut W,
    wire: Vec<u8>,
    /// Where in `wire` the packet that is being filled begins.
    packet_at: usize,
    was_sent: bool,
}

impl<'a, W: Write> ContentWriter<'a, W> {
    /// Begins an answer; nothing is sent yet.
    pub fn new(to: &'a mut W) -> Self {
        let mut wire = Vec::new();
        put_status(&mut wire, Status::Success).expect("a status is short and memory takes it");
        let packet_at = wire.len();
        wire.extend_from_slice(&FLUSH);
        ContentWriter { to, wire, packet_at, was_sent: false }
    }

    /// Ends the content well.
    pub fn finish(mut self) -> io::Result<()> {
        self.end_packet();
        // The content's flush, and an empty second status list: the first one holds.
        self.wire.extend_from_slice(&FLUSH);
        self.wire.extend_from_slice(&FLUSH);
        self.to.write_all(&self.wire)
    }

    /// Gives the content up: true if nothing of it was sent, so that another answer can be
    /// given; else git is told to throw away what it got.
    pub fn give_up(mut self) -> io::Result<bool> {
        if !self.was_sent {
            return Ok(true);
        }
        self.end_packet();
        self.wire.extend_from_slice(&FLUSH);
        put_status(&mut self.wire, Status::Error)?;
        self.to.write_all(&self.wire)?;
        Ok(false)
    }

    fn end_packet(&mut self) {
        let payload_len = self.wire.len() - self.packet_at - HEADER_LEN;
        match payload_len {
            0 => self.wire.truncate(self.packet_at),
            _ => self.wire[self.packet_at..][..HEADER_LEN].copy_from_slice(&packet_line::encode_header(payload_len)),
        }
    }

    fn begin_packet(&mut self) -> io::Result<()> {
        if self.wire.len() + PACKET_LEN_MAX > PACKETS_PER_WRITE * PACKET_LEN_MAX {
            self.to.write_all(&self.wire)?;
            self.wire.clear();
            self.was_sent = true;
        }
        self.packet_at = self.wire.len();
        self.wire.extend_from_slice(&FLUSH);
        Ok(())
    }
}

impl<W: Write> Write for ContentWriter<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut room = PACKET_LEN_MAX - (self.wire.len() - self.packet_at);
        if room == 0 {
            self.end_packet();
            self.begin_packet()?;
            room = PACKET_LEN_MAX - HEADER_LEN;
        }
        let len = room.min(bytes.len());
        self.wire.extend_from_slice(&bytes[..len]);
        Ok(len)
    }

    /// Does nothing: what is held back is what can still be taken back.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Input;

    fn received(wire: &[u8]) -> (Vec<Vec<u8>>, Vec<u8>, Vec<Vec<u8>>) {
        let mut from = wire;
        let mut input = Input::new(&mut from);
        let first = input.lines().expect("lines").expect("a status");
        let mut bytes = Vec::new();
        let mut block = Vec::new();
        let mut content = input.content().expect("a content");
        loop {
            let more = content.fill(&mut block).expect("packets");
            bytes.extend_from_slice(&block);
            if !more {
                break;
            }
        }
        let last = input.lines().expect("lines").expect("a second status");
        assert!(from.is_empty(), "nothing is sent behind an answer");
        (first, bytes, last)
    }

    #[test]
    fn contents_of_any_length_arrive() {
        for len in [0, 1, 65515, 65516, 65517, 2 * 65516, 16 * 65516, 3_000_001] {
            let bytes: Vec<u8> = (0..len).map(|at| (at / 3) as u8).collect();
            let mut wire = Vec::new();
            content(&mut wire, &bytes).expect("memory takes it");
            let (first, got, last) = received(&wire);
            assert_eq!(first, [b"status=success"]);
            assert!(got == bytes, "{len}");
            assert!(last.is_empty());
        }
    }

    #[test]
    fn a_content_is_given_up_before_or_behind_its_first_write() {
        let mut wire = Vec::new();
        let mut short = ContentWriter::new(&mut wire);
        short.write_all(&[1; 900_000]).expect("memory takes it");
        assert!(short.give_up().expect("memory takes it"));
        assert!(wire.is_empty(), "nothing was sent");
        let mut long = ContentWriter::new(&mut wire);
        long.write_all(&[1; 1_200_000]).expect("memory takes it");
        assert!(!long.give_up().expect("memory takes it"));
        let (first, got, last) = received(&wire);
        assert_eq!((first, last), (vec![b"status=success".to_vec()], vec![b"status=error".to_vec()]));
        assert!(got.len() <= 1_200_000);
    }
}
