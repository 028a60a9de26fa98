//! Cutting a stream that arrives in blocks.
//!
//! **For:** chunking in one pass without copying more than the seams between blocks.
//!
//! **May touch:** nothing.
//!
//! **Must hold:**
//! - the same stream gives the same chunks however it is split into blocks;
//! - at most 512 KiB and the block at hand are kept.
//!
//! **Format:** `docs/formats/chunking-v1.md`.

use std::collections::VecDeque;

use super::fastcdc::{Bounds, Decision, FastCdc};
use super::segment::Segment;
use crate::limits::CHUNK_LEN_MAX;
use crate::media::atoms::CutFinder;

/// What the structure of a stream says, as far as it has been read.
#[derive(Debug, Clone, Default)]
pub struct Structure {
    finder: CutFinder,
    cuts: VecDeque<u64>,
    ended: bool,
}

impl Structure {
    /// Reads the next bytes of the stream.
    pub fn push(&mut self, block: &[u8]) {
        self.finder.push(block, &mut self.cuts);
    }

    /// Ends the stream.
    pub fn finish(&mut self) {
        self.finder.finish();
        self.ended = true;
    }

    /// Says what bounds a chunk that starts at `start`.
    pub fn bounds(&self, start: u64) -> Bounds {
        let forced = self.cuts.iter().copied().find(|cut| *cut > start);
        Bounds { forced, settled: self.finder.settled(), ended: self.ended }
    }

    fn forget_before(&mut self, start: u64) {
        while self.cuts.front().is_some_and(|cut| *cut <= start) {
            self.cuts.pop_front();
        }
    }
}

/// Where the bytes of a chunk lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Partly in blocks before this one.
    Seam,
    /// In this block, that many bytes from its start.
    Block(usize),
}

/// A chunk that was just cut.
#[derive(Debug, Clone, Copy)]
pub struct Chunk<'b> {
    /// Its bytes.
    pub bytes: &'b [u8],
    /// Where they lie.
    pub place: Place,
}

/// Cuts one stream into chunks.
#[derive(Debug, Default)]
pub struct Cutter {
    fastcdc: FastCdc,
    structure: Structure,
    /// The stream's bytes that belong to no chunk yet.
    carry: Vec<u8>,
    /// Position of the first of them.
    start: u64,
    /// Below this settled position nothing new can be decided.
    wait_for: u64,
}

impl Cutter {
    /// Makes a cutter for one stream.
    pub fn new() -> Cutter {
        Cutter::default()
    }

    /// Takes the next block of the stream, and hands every chunk that is now complete to `sink`.
    pub fn push(&mut self, block: &[u8], sink: impl FnMut(Chunk<'_>)) {
        self.structure.push(block);
        self.cut(block, sink);
    }

    /// Cuts the next block, whose structure was read before.
    pub fn cut(&mut self, block: &[u8], mut sink: impl FnMut(Chunk<'_>)) {
        let Some(at) = self.cut_seam(block, &mut sink) else { return };
        let done = self.cut_block(block, at, &mut sink);
        self.carry.extend_from_slice(&block[done..]);
    }

    /// As [`Cutter::cut`], using the chunks of `ahead` from the first one that both have.
    ///
    /// `ahead` must be cut from this very block, bounded by this stream's structure. Where
    /// the cuts meet, `adopted` is called once with the number of `ahead`'s first valid
    /// chunk, and `sink` no more.
    pub fn cut_with(
        &mut self,
        block: &[u8],
        ahead: &Segment,
        mut sink: impl FnMut(Chunk<'_>),
        mut adopted: impl FnMut(usize),
    ) {
        let Some(mut at) = self.cut_seam(block, &mut sink) else { return };
        loop {
            if let Some(index) = ahead.chunk_starting_at(at) {
                adopted(index);
                self.start += (ahead.end() - at) as u64;
                self.structure.forget_before(self.start);
                at = ahead.end();
                break;
            }
            let Some(len) = self.decide(&block[at..]) else { break };
            sink(Chunk { bytes: &block[at..at + len], place: Place::Block(at) });
            at += len;
        }
        self.carry.extend_from_slice(&block[at..]);
    }

    /// Reads the structure of the next block, so that it can be cut ahead of its turn.
    ///
    /// The block is then given to [`Cutter::cut`] or [`Cutter::cut_with`], after those before it.
    pub fn read_structure(&mut self, block: &[u8]) {
        self.structure.push(block);
    }

    /// Position of the first byte that belongs to no chunk yet.
    pub fn position(&self) -> u64 {
        self.start
    }

    /// What the structure says so far.
    pub fn structure(&self) -> &Structure {
        &self.structure
    }

    /// Ends the stream, and hands its last chunks to `sink`.
    pub fn finish(mut self, mut sink: impl FnMut(Chunk<'_>)) {
        self.structure.finish();
        let carry = std::mem::take(&mut self.carry);
        let mut at = 0;
        while let Some(len) = self.decide(&carry[at..]) {
            sink(Chunk { bytes: &carry[at..at + len], place: Place::Seam });
            at += len;
        }
    }

    /// Cuts the chunks that begin before `block`. Returns where the first chunk in the block
    /// starts, or `None` if the whole block was carried over.
    fn cut_seam(&mut self, block: &[u8], sink: &mut impl FnMut(Chunk<'_>)) -> Option<usize> {
        if self.carry.is_empty() {
            return Some(0);
        }
        let mut carry = std::mem::take(&mut self.carry);
        let carried_len = carry.len();
        let copied_len = block.len().min(CHUNK_LEN_MAX);
        carry.extend_from_slice(&block[..copied_len]);
        let mut at = 0;
        while at < carried_len {
            let Some(len) = self.decide(&carry[at..]) else { break };
            sink(Chunk { bytes: &carry[at..at + len], place: Place::Seam });
            at += len;
        }
        if at >= carried_len {
            let in_block = at - carried_len;
            carry.clear();
            self.carry = carry;
            return Some(in_block);
        }
        carry.drain(..at);
        carry.extend_from_slice(&block[copied_len..]);
        self.carry = carry;
        None
    }

    fn cut_block(&mut self, block: &[u8], mut at: usize, sink: &mut impl FnMut(Chunk<'_>)) -> usize {
        while let Some(len) = self.decide(&block[at..]) {
            sink(Chunk { bytes: &block[at..at + len], place: Place::Block(at) });
            at += len;
        }
        at
    }

    /// Length of the next chunk, if it is known; the cutter then stands behind it.
    fn decide(&mut self, window: &[u8]) -> Option<usize> {
        if window.is_empty() {
            return None;
        }
        self.structure.forget_before(self.start);
        let bounds = self.structure.bounds(self.start);
        if bounds.forced.is_none() && !bounds.ended && bounds.settled < self.wait_for {
            return None;
        }
        match self.fastcdc.decide(window, self.start, bounds) {
            Decision::Ends(len) => {
                self.start += len as u64;
                Some(len)
            }
            Decision::NeedsBytes => None,
            Decision::NeedsStructure(len) => {
                self.wait_for = self.start + len as u64;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{CHUNK_LEN_MIN, MDAT_CUT_LEN_MIN, MOOV_CUT_LEN_MIN};
    use proptest::prelude::*;

    fn noise(seed: u8, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
        bytes
    }

    fn atom(atom_type: &[u8; 4], payload: &[u8]) -> Vec<u8> {
        [&(payload.len() as u32 + 8).to_be_bytes(), &atom_type[..], payload].concat()
    }

    fn lens(stream: &[u8], push_lens: &[usize]) -> Vec<usize> {
        let (mut cutter, mut lens, mut rest) = (Cutter::new(), Vec::new(), stream);
        let mut at = 0;
        let mut check = |chunk: Chunk<'_>, lens: &mut Vec<usize>| {
            assert_eq!(chunk.bytes, &stream[at..at + chunk.bytes.len()], "chunks tile the stream");
            at += chunk.bytes.len();
            lens.push(chunk.bytes.len());
        };
        for push_len in push_lens.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (block, more) = rest.split_at((*push_len).min(rest.len()));
            cutter.push(block, |chunk| check(chunk, &mut lens));
            assert!(cutter.carry.len() <= 2 * CHUNK_LEN_MAX + MDAT_CUT_LEN_MIN as usize + block.len());
            rest = more;
        }
        cutter.finish(|chunk| check(chunk, &mut lens));
        assert_eq!(lens.iter().sum::<usize>(), stream.len());
        lens
    }

    /// As `lens`, every second block cut ahead of its turn as a second thread would.
    fn lens_with_segments(stream: &[u8], block_len: usize) -> Vec<usize> {
        let (mut cutter, mut lens) = (Cutter::new(), Vec::new());
        let mut position = 0;
        for pair in stream.chunks(2 * block_len) {
            let (first, second) = pair.split_at(block_len.min(pair.len()));
            cutter.read_structure(first);
            cutter.read_structure(second);
            let structure = cutter.structure().clone();
            let mut ahead_lens = Vec::new();
            let second_start = (position + first.len()) as u64;
            let ahead =
                Segment::cut(second, second_start, |at| structure.bounds(at), |bytes| ahead_lens.push(bytes.len()));
            cutter.cut(first, |chunk| lens.push(chunk.bytes.len()));
            let mut adopted = Vec::new();
            cutter.cut_with(
                second,
                &ahead,
                |chunk| lens.push(chunk.bytes.len()),
                |index| adopted = ahead_lens[index..].to_vec(),
            );
            lens.extend(adopted);
            position += pair.len();
        }
        cutter.finish(|chunk| lens.push(chunk.bytes.len()));
        lens
    }

    /// Streams of every make: noise, runs that have no cut, containers, containers cut short.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            (any::<u8>(), 1_usize..600_000).prop_map(|(seed, len)| noise(seed, len)),
            (any::<u8>(), 1_usize..900_000).prop_map(|(byte, len)| vec![byte; len]),
            (any::<u8>(), 1_usize..400_000).prop_map(|(seed, len)| atom(b"mdat", &noise(seed, len))),
            (any::<u8>(), 1_usize..200_000).prop_map(|(seed, len)| atom(b"moov", &noise(seed, len))),
            (1_usize..3_000).prop_map(|count| atom(b"free", b"").repeat(count)),
            Just(b"\0\0\0\0mdat".to_vec()),
            Just(b"\0\0\0\0moov".to_vec()),
            Just(b"\0\0\0\x01mdat\0\0\0\0\0\x08\0\0".to_vec()),
        ];
        (any::<bool>(), prop::collection::vec(part, 1..5), 0_usize..3_000_000).prop_map(
            |(container, parts, len_max)| {
                let mut stream = if container { atom(b"ftyp", b"qt  \0\0\0\0") } else { Vec::new() };
                parts.iter().for_each(|part| stream.extend(part));
                stream.truncate(len_max);
                stream
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn chunks_tile_any_stream_however_it_is_pushed(
            stream in stream(),
            push_lens in prop::collection::vec(prop_oneof![2000_usize..300_000, 1_usize..40_000], 1..6),
        ) {
            let whole = lens(&stream, &[usize::MAX]);
            prop_assert!(whole.iter().all(|len| (1..=CHUNK_LEN_MAX).contains(len)));
            prop_assert_eq!(lens(&stream, &push_lens), whole);
        }

        #[test]
        fn segments_that_meet_again_give_the_same_chunks(stream in stream(), block_len in 10_000_usize..1_500_000) {
            prop_assert_eq!(lens_with_segments(&stream, block_len), lens(&stream, &[usize::MAX]));
        }
    }

    #[test]
    fn single_bytes_make_the_same_chunks() {
        let ftyp = atom(b"ftyp", b"qt  ");
        for end in [&b"\0\0\0\0mdat"[..], b"\0\0\0\0moov", b"\0\0\0\x04mdat"] {
            let stream = [&ftyp[..], &noise(1, 90_000), &atom(b"wide", b""), end, &noise(2, 300_000)].concat();
            assert_eq!(lens(&stream, &[1]), lens(&stream, &[usize::MAX]));
            let stream = [&ftyp[..], end, &noise(2, 300_000)].concat();
            assert_eq!(lens(&stream, &[1]), lens(&stream, &[usize::MAX]));
        }
    }

    #[test]
    fn runs_that_never_meet_are_cut_from_the_front() {
        let stream = vec![0; 5_000_000];
        assert_eq!(lens_with_segments(&stream, 1_000_001), lens(&stream, &[usize::MAX]));
    }

    #[test]
    fn a_payload_is_cut_the_same_wherever_it_stands() {
        let payload = noise(3, 900_000);
        let mdat = atom(b"mdat", &payload);
        let alone = lens(&payload, &[usize::MAX]);
        let moov = atom(b"moov", &noise(4, MOOV_CUT_LEN_MIN as usize));
        let small_moov = atom(b"moov", &noise(5, 300));
        for around in [(&moov, &small_moov), (&small_moov, &moov)] {
            let stream = [&atom(b"ftyp", b"mp42")[..], around.0, &mdat, around.1].concat();
            let lens = lens(&stream, &[100_000]);
            assert!(lens.windows(alone.len()).any(|run| run == alone), "{lens:?} hold {alone:?}");
        }
    }

    #[test]
    fn only_the_last_chunk_of_a_piece_is_short() {
        let lens = lens(&noise(6, 4_000_000), &[77_777]);
        let (_, others) = lens.split_last().expect("there are chunks");
        assert!(others.iter().all(|len| *len >= CHUNK_LEN_MIN));
    }
}
