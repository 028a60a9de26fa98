//! Top-level atoms of a stream: where the container forces a cut.
//!
//! **For:** keeping the chunks of a payload the same when what stands around it changes.
//!
//! **May touch:** nothing.
//!
//! **Must hold:**
//! - one forward pass over a stream whose end is not known, in any pushes, gives the same
//!   cuts as in one;
//! - memory is constant and each header is looked at once, however many atoms there are;
//! - damage ends the parsing and nothing else.
//!
//! **Format:** `docs/formats/chunking-v1.md`, "Structure rules".

use crate::limits::{MDAT_CUT_LEN_MIN, MOOV_CUT_LEN_MIN};

/// How far an atom reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtomLen {
    /// This many bytes, header included.
    Bytes(u64),
    /// To the end of what holds it.
    ToEnd,
}

/// An atom's type, as its four bytes.
pub type AtomType = [u8; 4];

/// The header of an atom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtomHeader {
    /// The type.
    pub atom_type: AtomType,
    /// Length of the header itself in bytes.
    pub header_len: u8,
    /// Length of the atom.
    pub len: AtomLen,
}

/// What the bytes at the start of an atom turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderReading {
    /// A whole header.
    Header(AtomHeader),
    /// The header goes on behind these bytes.
    NeedsMore,
    /// No header.
    Damaged,
}

/// Longest header of an atom, in bytes.
pub const HEADER_LEN_MAX: usize = 16;
const SHORT_HEADER_LEN: usize = 8;

impl AtomHeader {
    /// Reads the header at the start of `bytes`.
    pub fn read(bytes: &[u8]) -> HeaderReading {
        let Some((short, rest)) = bytes.split_first_chunk::<SHORT_HEADER_LEN>() else {
            return HeaderReading::NeedsMore;
        };
        let atom_type: AtomType = [short[4], short[5], short[6], short[7]];
        if !atom_type.iter().all(|byte| matches!(byte, 0x20..=0x7e | 0xa9)) {
            return HeaderReading::Damaged;
        }
        let (header_len, len) = match u32::from_be_bytes([short[0], short[1], short[2], short[3]]) {
            0 => (SHORT_HEADER_LEN, AtomLen::ToEnd),
            1 => match rest.first_chunk::<8>() {
                Some(long) => (HEADER_LEN_MAX, AtomLen::Bytes(u64::from_be_bytes(*long))),
                None => return HeaderReading::NeedsMore,
            },
            len => (SHORT_HEADER_LEN, AtomLen::Bytes(len.into())),
        };
        match len {
            AtomLen::Bytes(len) if len < header_len as u64 => HeaderReading::Damaged,
            _ => HeaderReading::Header(AtomHeader { atom_type, header_len: header_len as u8, len }),
        }
    }
}

/// Types that a container may begin with.
const FIRST_TYPES: [&AtomType; 14] = [
    b"ftyp", b"styp", b"moov", b"mdat", b"moof", b"sidx", b"wide", b"free", b"skip", b"junk", b"pnot", b"uuid",
    b"emsg", b"prft",
];

/// Returns true if a stream that begins with these bytes (8 are enough) is read as a container.
pub fn begins_as_container(bytes: &[u8]) -> bool {
    match AtomHeader::read(&bytes[..bytes.len().min(HEADER_LEN_MAX)]) {
        HeaderReading::Header(header) => FIRST_TYPES.contains(&&header.atom_type),
        HeaderReading::NeedsMore => bytes.len() >= SHORT_HEADER_LEN && FIRST_TYPES.iter().any(|t| bytes[4..8] == t[..]),
        HeaderReading::Damaged => false,
    }
}

/// Finds the forced cuts of a stream.
///
/// Shape: any pushes in; cuts out in ascending order, each as soon as its atom's header is
/// known, so mostly ahead of the bytes. Position 0 is never among them; positions at or
/// behind the end of the stream may be.
#[derive(Debug, Clone)]
pub struct CutFinder {
    state: State,
    /// Bytes pushed so far.
    pushed: u64,
    last_cut: u64,
}

#[derive(Debug, Clone)]
enum State {
    /// The header of the atom at `start` is being collected.
    Header { start: u64, bytes: [u8; HEADER_LEN_MAX], len: usize },
    /// Nothing to see before `end`.
    Within { end: u64 },
    /// The last atom, of length 0, gives `cut` if the stream reaches `until`.
    LastAtom { cut: u64, until: u64 },
    /// The rest of the stream has no cut.
    Done,
}

impl State {
    fn header_at(start: u64) -> State {
        State::Header { start, bytes: [0; HEADER_LEN_MAX], len: 0 }
    }
}

impl CutFinder {
    /// Makes a finder for one stream.
    pub fn new() -> CutFinder {
        CutFinder { state: State::header_at(0), pushed: 0, last_cut: 0 }
    }

    /// Takes the next bytes of the stream, and appends the cuts that are now known.
    pub fn push(&mut self, bytes: &[u8], cuts: &mut impl Extend<u64>) {
        let block_start = self.pushed;
        self.pushed += bytes.len() as u64;
        loop {
            match &mut self.state {
                State::Header { start, bytes: header, len } => {
                    let at = (*start + *len as u64 - block_start) as usize;
                    let taken = bytes[at..].len().min(HEADER_LEN_MAX - *len);
                    header[*len..*len + taken].copy_from_slice(&bytes[at..at + taken]);
                    *len += taken;
                    let (start, reading) = (*start, AtomHeader::read(&header[..*len]));
                    match reading {
                        HeaderReading::NeedsMore => return,
                        HeaderReading::Damaged => self.state = State::Done,
                        HeaderReading::Header(header) => self.enter(start, header, cuts),
                    }
                }
                State::Within { end } if *end <= self.pushed => self.state = State::header_at(*end),
                State::LastAtom { cut, until } if *until <= self.pushed => {
                    let cut = *cut;
                    self.state = State::Done;
                    self.give(cut, cuts);
                }
                State::Within { .. } | State::LastAtom { .. } | State::Done => return,
            }
        }
    }

    /// Ends the stream: what is not decided by now is no cut.
    pub fn finish(&mut self) {
        self.state = State::Done;
    }

    /// Every cut up to this position, itself included unless it is where a header is being
    /// read, has been given out.
    ///
    /// A chunk that ends here or before is not changed by anything that may follow.
    pub fn settled(&self) -> u64 {
        match &self.state {
            State::Header { start, .. } => *start,
            State::Within { end } => *end,
            State::LastAtom { cut, .. } => *cut,
            State::Done => u64::MAX,
        }
    }

    fn enter(&mut self, start: u64, header: AtomHeader, cuts: &mut impl Extend<u64>) {
        if start == 0 && !FIRST_TYPES.contains(&&header.atom_type) {
            self.state = State::Done;
            return;
        }
        let payload = start.checked_add(header.header_len.into());
        // Where the cut before the atom's weight stands, and from which position on that weight counts.
        let (cut, until) = match &header.atom_type {
            b"mdat" => (payload, payload.and_then(|payload| payload.checked_add(MDAT_CUT_LEN_MIN))),
            b"moov" => (Some(start), start.checked_add(MOOV_CUT_LEN_MIN)),
            _ => (None, None),
        };
        let end = match header.len {
            AtomLen::Bytes(len) => start.checked_add(len),
            AtomLen::ToEnd => {
                self.state = match (cut, until) {
                    (Some(cut), Some(until)) => State::LastAtom { cut, until },
                    _ => State::Done,
                };
                return;
            }
        };
        let Some(end) = end else {
            self.state = State::Done;
            return;
        };
        if let (Some(cut), Some(until)) = (cut, until)
            && until <= end
        {
            self.give(cut, cuts);
            self.give(end, cuts);
        }
        self.state = State::Within { end };
    }

    fn give(&mut self, cut: u64, cuts: &mut impl Extend<u64>) {
        if cut > self.last_cut {
            self.last_cut = cut;
            cuts.extend([cut]);
        }
    }
}

impl Default for CutFinder {
    fn default() -> CutFinder {
        CutFinder::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn atom(atom_type: &[u8; 4], payload_len: usize) -> Vec<u8> {
        let mut bytes = (payload_len as u32 + 8).to_be_bytes().to_vec();
        bytes.extend_from_slice(atom_type);
        bytes.resize(payload_len + 8, b'.');
        bytes
    }

    fn long_atom(atom_type: &[u8; 4], claimed_len: u64, payload_len: usize) -> Vec<u8> {
        let mut bytes = [&1_u32.to_be_bytes(), &atom_type[..], &claimed_len.to_be_bytes()].concat();
        bytes.resize(payload_len + 16, b'.');
        bytes
    }

    fn cuts(parts: &[Vec<u8>]) -> Vec<u64> {
        let stream = parts.concat();
        let whole = cuts_in_pushes(&stream, stream.len().max(1));
        for push_len in [1, 3, 7, 4096] {
            assert_eq!(cuts_in_pushes(&stream, push_len), whole, "pushes of {push_len}");
        }
        whole
    }

    fn cuts_in_pushes(stream: &[u8], push_len: usize) -> Vec<u64> {
        let (mut finder, mut cuts) = (CutFinder::new(), Vec::new());
        for block in stream.chunks(push_len) {
            let settled = finder.settled();
            let known = cuts.len();
            finder.push(block, &mut cuts);
            assert!(cuts[known..].iter().all(|cut| *cut >= settled), "a cut came after its place was settled");
            assert!(finder.settled() >= settled);
        }
        finder.finish();
        assert!(cuts.is_sorted_by(|a, b| a < b));
        cuts.retain(|cut| *cut < stream.len() as u64);
        cuts
    }

    const MDAT: usize = MDAT_CUT_LEN_MIN as usize;
    const MOOV: usize = MOOV_CUT_LEN_MIN as usize;

    #[test]
    fn an_ordinary_file_is_cut_around_its_heavy_atoms() {
        let file = [atom(b"ftyp", 16), atom(b"moov", 70_000 - 8), atom(b"mdat", 300_000), atom(b"uuid", 50)];
        assert_eq!(cuts(&file), [24, 70_024, 70_032, 370_032]);
    }

    #[test]
    fn light_atoms_force_no_cut() {
        assert!(cuts(&[atom(b"ftyp", 16), atom(b"moov", MOOV - 9), atom(b"mdat", MDAT - 1)]).is_empty());
        assert_eq!(cuts(&[atom(b"ftyp", 16), atom(b"moov", MOOV - 8), atom(b"free", 0)]), [24, 24 + MOOV as u64]);
        assert_eq!(cuts(&[atom(b"mdat", MDAT), atom(b"free", 0)]), [8, 8 + MDAT as u64]);
    }

    #[test]
    fn old_quicktime_without_ftyp_is_a_container() {
        for first in [b"wide", b"free", b"skip", b"pnot", b"moov"] {
            assert_eq!(cuts(&[atom(first, 12), atom(b"mdat", MDAT)]), [28], "{first:?}");
        }
    }

    #[test]
    fn other_content_is_no_container() {
        assert!(cuts(&[atom(b"text", 12), atom(b"mdat", MDAT)]).is_empty());
        assert!(cuts(&[b"RIFF....".to_vec(), atom(b"mdat", MDAT)]).is_empty());
        assert!(cuts(&[vec![]]).is_empty());
        assert!(cuts(&[b"\0\0\0".to_vec()]).is_empty());
    }

    #[test]
    fn sixty_four_bit_lengths_are_read() {
        let mdat = long_atom(b"mdat", 16 + MDAT as u64, MDAT);
        assert_eq!(cuts(&[atom(b"ftyp", 0), mdat, atom(b"moov", 100)]), [24, 24 + MDAT as u64]);
        let small = long_atom(b"mdat", 16 + 5, 5);
        assert!(cuts(&[atom(b"ftyp", 0), small, atom(b"moov", 100)]).is_empty());
        // A payload of the least length and an atom of the least length are not the same.
        let mdat = long_atom(b"mdat", MDAT as u64, MDAT - 16);
        assert!(cuts(&[atom(b"ftyp", 0), mdat, atom(b"moov", 100)]).is_empty());
    }

    #[test]
    fn an_atom_to_the_end_counts_what_is_really_there() {
        let to_end = |atom_type: &[u8; 4], len: usize| {
            let mut bytes = atom(atom_type, len);
            bytes[..4].fill(0);
            bytes
        };
        assert_eq!(cuts(&[atom(b"ftyp", 0), to_end(b"mdat", MDAT)]), [16]);
        assert!(cuts(&[atom(b"ftyp", 0), to_end(b"mdat", MDAT - 1)]).is_empty());
        assert_eq!(cuts(&[atom(b"ftyp", 0), to_end(b"moov", MOOV - 8)]), [8]);
        assert!(cuts(&[atom(b"ftyp", 0), to_end(b"moov", MOOV - 9)]).is_empty());
        assert!(cuts(&[atom(b"ftyp", 0), to_end(b"free", MDAT), atom(b"mdat", MDAT)]).is_empty());
    }

    #[test]
    fn many_payloads_are_each_cut() {
        let file = [atom(b"ftyp", 0), atom(b"mdat", MDAT), atom(b"mdat", 10), atom(b"mdat", MDAT), atom(b"free", 0)];
        let len = MDAT as u64;
        assert_eq!(cuts(&file), [16, 16 + len, 16 + len + 18 + 8, 16 + len + 18 + 8 + len]);
    }

    #[test]
    fn fragments_are_one_piece_unless_heavy() {
        let fragment = [atom(b"moof", 700), atom(b"mdat", 9_000)].concat();
        assert!(cuts(&[atom(b"styp", 16), fragment.repeat(40)]).is_empty());
    }

    #[test]
    fn hostile_lengths_stop_the_parsing_and_nothing_else() {
        let before = [atom(b"ftyp", 0), atom(b"mdat", MDAT)].concat();
        let heavy = atom(b"mdat", MDAT);
        let kept = [16, 16 + MDAT as u64];
        for len in 2_u32..8 {
            let bad = [&len.to_be_bytes()[..], b"free"].concat();
            assert_eq!(cuts(&[before.clone(), bad, heavy.clone()]), kept, "{len}");
        }
        for claimed in [0, 15, u64::MAX, u64::MAX - 100] {
            assert_eq!(cuts(&[before.clone(), long_atom(b"mdat", claimed, 0), heavy.clone()]), kept, "{claimed}");
        }
        // A length that merely points far behind the end is an atom cut short.
        let far = long_atom(b"mdat", 1 << 62, 0);
        assert_eq!(cuts(&[before, far, heavy]), [16, 16 + MDAT as u64, 16 + MDAT as u64 + 16]);
    }

    #[test]
    fn junk_behind_the_last_atom_is_a_piece_of_its_own() {
        for junk in [vec![0; 5_000], vec![0xff; 5_000], b"hi".to_vec()] {
            assert_eq!(cuts(&[atom(b"ftyp", 0), atom(b"mdat", MDAT), junk]), [16, 16 + MDAT as u64]);
        }
    }

    #[test]
    fn millions_of_tiny_atoms_leave_nothing_behind() {
        let block = atom(b"free", 0).repeat(100_000);
        let (mut finder, mut cuts) = (CutFinder::new(), Vec::new());
        for _ in 0..20 {
            finder.push(&block, &mut cuts);
        }
        assert!(cuts.is_empty());
        assert_eq!(finder.settled(), 20 * block.len() as u64);
    }

    #[test]
    fn eight_bytes_tell_a_container() {
        assert!(begins_as_container(&atom(b"ftyp", 0)));
        assert!(begins_as_container(b"\0\0\0\x01mdat"));
        assert!(!begins_as_container(b"\0\0\0\x01text"));
        assert!(!begins_as_container(b"\0\0\0\x04ftyp"));
        assert!(!begins_as_container(b"\0\0\0\x20fty"));
    }
}
