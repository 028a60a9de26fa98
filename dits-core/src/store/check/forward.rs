//! A file read from front to back, in large pieces.
//!
//! **For:** checking packs as fast as the disk gives them.
//!
//! **May touch:** the file it is given, reading only.
//!
//! **Must hold:** memory is one piece, or the longest item that was asked for.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::store::PackProblem;

/// Bytes that are read at a time.
const PIECE_LEN: usize = 1024 * 1024;

/// The bytes of a file up to `end`, asked for in order.
pub(super) struct Forward<'a> {
    file: &'a File,
    end: u64,
    buffer: Vec<u8>,
    /// Where in the file the buffer starts, and how much of it is filled.
    start: u64,
    filled: usize,
}

impl<'a> Forward<'a> {
    /// Reads the bytes before `end`; what is read meanwhile is kept in `buffer`.
    pub fn new(file: &'a File, end: u64, buffer: Vec<u8>) -> Forward<'a> {
        #[cfg(target_os = "linux")]
        let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Sequential);
        Forward { file, end, buffer, start: 0, filled: 0 }
    }

    /// Returns `len` bytes from `place` on.
    pub fn get(&mut self, place: u64, len: usize) -> Result<&[u8], PackProblem> {
        if place < self.start || place + len as u64 > self.start + self.filled as u64 {
            self.fill(place, len)?;
        }
        let at = (place - self.start) as usize;
        Ok(&self.buffer[at..at + len])
    }

    /// Gives the buffer back.
    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    fn fill(&mut self, place: u64, len: usize) -> Result<(), PackProblem> {
        let left = self.end.saturating_sub(place);
        if (len as u64) > left {
            return Err(PackProblem::Damaged);
        }
        let wanted = left.min(PIECE_LEN.max(len) as u64) as usize;
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        // The start of this item may be at hand.
        let at_hand = place.checked_sub(self.start).filter(|at| *at <= self.filled as u64);
        let kept = match at_hand {
            Some(at) => {
                self.buffer.copy_within(at as usize..self.filled, 0);
                self.filled - at as usize
            }
            None => 0,
        };
        (self.start, self.filled) = (place, kept);
        let read = |buffer: &mut [u8], at| self.file.read_exact_at(buffer, at);
        if read(&mut self.buffer[kept..wanted], place + kept as u64).is_ok() {
            self.filled = wanted;
            return Ok(());
        }
        // One place that the disk does not give is no reason to miss what lies beside it.
        read(&mut self.buffer[..len], place).map_err(|error| PackProblem::of(&error))?;
        self.filled = len;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_in_order_is_given_whole() {
        let mut content = vec![0; 3 * PIECE_LEN + 12_345];
        blake3::Hasher::new().finalize_xof().fill(&mut content);
        let file = tempfile::tempfile().expect("a file");
        file.write_all_at(&content, 0).expect("written");
        for step in [1000, 70_001, PIECE_LEN, 2 * PIECE_LEN + 1] {
            let mut forward = Forward::new(&file, content.len() as u64, Vec::new());
            for from in (0..content.len()).step_by(step) {
                let len = step.min(content.len() - from);
                assert!(forward.get(from as u64, len).expect("there") == &content[from..from + len], "{step} {from}");
            }
            assert_eq!(forward.get(content.len() as u64 - 5, 6), Err(PackProblem::Damaged));
        }
        let mut short = Forward::new(&file, content.len() as u64 + 100, Vec::new());
        assert!(short.get(content.len() as u64 - 10, 10).is_ok(), "what is there is given");
        assert_eq!(short.get(content.len() as u64 - 5, 10), Err(PackProblem::Damaged));
    }
}
