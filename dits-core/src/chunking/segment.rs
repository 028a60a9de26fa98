//! Cutting a block of a stream ahead of its turn.
//!
//! **For:** letting a second thread work on the next block while the first still cuts the
//! one before: chunks depend on nothing before their start, so the two meet again at the
//! first cut that they have in common.
//!
//! **May touch:** nothing.
//!
//! **Must hold:** every chunk here is one that a cutter standing at its start would cut.
//!
//! **Format:** `docs/formats/chunking-v1.md`, "Several threads".

use super::fastcdc::{Bounds, Decision, FastCdc};

/// Chunks of one block, cut from its first byte on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Where each chunk starts in the block, and where the last one ends.
    edges: Vec<usize>,
}

impl Segment {
    /// Cuts `block`, which starts at `start` in its stream, as far as it can be told without
    /// what follows it. `bounds` says what bounds a chunk at a position of the stream.
    pub fn cut(block: &[u8], start: u64, bounds: impl Fn(u64) -> Bounds, mut sink: impl FnMut(&[u8])) -> Segment {
        Segment::cut_again(block, start, 0, bounds, |_| None, |_, bytes| sink(bytes))
    }

    /// As [`Segment::cut`], from `first` on, for a block that was cut before as a part of another stream.
    ///
    /// `known` gives the length of the chunk that then started so many bytes into the block: one that
    /// bounds of this stream do not change is not looked for again.
    pub fn cut_again(
        block: &[u8],
        start: u64,
        first: usize,
        bounds: impl Fn(u64) -> Bounds,
        known: impl Fn(usize) -> Option<usize>,
        mut sink: impl FnMut(usize, &[u8]),
    ) -> Segment {
        let fastcdc = FastCdc::new();
        let mut edges = vec![first];
        let mut at = first;
        while at < block.len() {
            let (rest, position) = (&block[at..], start + at as u64);
            let bounds = bounds(position);
            let len = match known(at).filter(|len| fastcdc.confirms(rest, position, *len, bounds)) {
                Some(len) => len,
                None => match fastcdc.decide(rest, position, bounds) {
                    Decision::Ends(len) => len,
                    Decision::NeedsBytes | Decision::NeedsStructure(_) => break,
                },
            };
            sink(at, &rest[..len]);
            at += len;
            edges.push(at);
        }
        Segment { edges }
    }

    /// Which of the chunks starts at `at`, counted from 0; the end of the last one counts too.
    pub fn chunk_starting_at(&self, at: usize) -> Option<usize> {
        self.edges.binary_search(&at).ok()
    }

    /// Where the chunk with the number `index` starts; for the number behind the last, where that one ends.
    pub fn start_of(&self, index: usize) -> usize {
        self.edges[index]
    }

    /// Where the last chunk ends.
    pub fn end(&self) -> usize {
        *self.edges.last().expect("the first edge is always there")
    }
}
