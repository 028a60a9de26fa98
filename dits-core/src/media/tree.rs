//! The atom tree of a file that can be read at any place.
//!
//! **For:** showing people how a container is built, and finding its `moov` and `moof`.
//!
//! **May touch:** nothing; the caller hands in how to read.
//!
//! **Must hold:** depth and number of atoms are bounded, and each header is read once.

use super::atoms::{AtomHeader, AtomLen, AtomType, HEADER_LEN_MAX, HeaderReading, begins_as_container};
use crate::extent::Extent;

/// Deepest nesting that is followed.
pub const DEPTH_MAX: usize = 8;
/// Most atoms of one tree.
pub const ATOMS_MAX: usize = 20_000;

/// Atoms whose payload is nothing but atoms.
const HOLDERS: [&AtomType; 15] = [
    b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"dinf", b"udta", b"mvex", b"moof", b"traf", b"mfra",
    b"gmhd", b"tref", b"iprp",
];

/// One atom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Atom {
    /// Its type.
    pub atom_type: AtomType,
    /// Where it lies in the file, header included, as far as the file goes.
    pub extent: Extent,
    /// Length of its header in bytes.
    pub header_len: u8,
    /// Its header claims more bytes than what holds it has.
    pub is_cut_short: bool,
    /// The atoms in it, where its type holds atoms.
    pub children: Vec<Atom>,
}

impl Atom {
    /// Where its payload lies in the file.
    pub fn payload(&self) -> Extent {
        let skipped = u64::from(self.header_len).min(self.extent.len());
        Extent::new(self.extent.start() + skipped, self.extent.len() - skipped).expect("it lies in the atom")
    }
}

/// The atoms of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AtomTree {
    /// The top-level atoms, in file order.
    pub atoms: Vec<Atom>,
    /// From here on the file is no container: what is there is damage or junk.
    pub junk_from: Option<u64>,
    /// There are more atoms than are listed.
    pub is_truncated: bool,
}

/// Reads the atom tree of a file of `len` bytes. A file that is no container has no atoms.
///
/// `read_at` fills the buffer from that position on; it is never asked for bytes behind `len`.
///
/// # Errors
///
/// What `read_at` returned.
pub fn read<E>(len: u64, mut read_at: impl FnMut(u64, &mut [u8]) -> Result<(), E>) -> Result<AtomTree, E> {
    let mut first = [0; HEADER_LEN_MAX];
    let first = &mut first[..len.min(HEADER_LEN_MAX as u64) as usize];
    read_at(0, first)?;
    if !begins_as_container(first) {
        return Ok(AtomTree::default());
    }
    let mut walk = Walk { read_at, atoms_left: ATOMS_MAX };
    let whole = Extent::new(0, len).expect("it starts at 0");
    let (atoms, junk_from) = walk.atoms_in(whole, 0)?;
    Ok(AtomTree { atoms, junk_from, is_truncated: walk.atoms_left == 0 })
}

struct Walk<R> {
    read_at: R,
    atoms_left: usize,
}

impl<E, R: FnMut(u64, &mut [u8]) -> Result<(), E>> Walk<R> {
    /// The atoms that tile `within`, and where they stop doing so.
    fn atoms_in(&mut self, within: Extent, depth: usize) -> Result<(Vec<Atom>, Option<u64>), E> {
        let mut atoms = Vec::new();
        let mut at = within.start();
        while at < within.end() {
            if self.atoms_left == 0 {
                return Ok((atoms, None));
            }
            let Some(mut atom) = self.atom_at(at, within.end())? else { return Ok((atoms, Some(at))) };
            self.atoms_left -= 1;
            at = atom.extent.end();
            if depth < DEPTH_MAX && HOLDERS.contains(&&atom.atom_type) {
                atom.children = self.atoms_in(atom.payload(), depth + 1)?.0;
            }
            atoms.push(atom);
        }
        Ok((atoms, None))
    }

    fn atom_at(&mut self, start: u64, end: u64) -> Result<Option<Atom>, E> {
        let mut bytes = [0; HEADER_LEN_MAX];
        let bytes = &mut bytes[..(end - start).min(HEADER_LEN_MAX as u64) as usize];
        (self.read_at)(start, bytes)?;
        let HeaderReading::Header(header) = AtomHeader::read(bytes) else { return Ok(None) };
        let room = end - start;
        let (len, is_cut_short) = match header.len {
            AtomLen::ToEnd => (room, false),
            AtomLen::Bytes(len) => (len.min(room), len > room),
        };
        let extent = Extent::new(start, len).expect("it ends by the end of what holds it");
        let (atom_type, header_len) = (header.atom_type, header.header_len);
        Ok(Some(Atom { atom_type, extent, header_len, is_cut_short, children: Vec::new() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn atom(atom_type: &[u8; 4], payload: &[u8]) -> Vec<u8> {
        [&(payload.len() as u32 + 8).to_be_bytes(), &atom_type[..], payload].concat()
    }

    fn tree(bytes: &[u8]) -> AtomTree {
        let read_at = |at: u64, buffer: &mut [u8]| {
            let at = at as usize;
            buffer.copy_from_slice(&bytes[at..at + buffer.len()]);
            Ok::<(), std::convert::Infallible>(())
        };
        read(bytes.len() as u64, read_at).expect("reading memory does not fail")
    }

    #[test]
    fn nested_atoms_are_found_where_they_lie() {
        let file = [atom(b"ftyp", b"isom"), atom(b"moov", &atom(b"trak", &atom(b"tkhd", b"...")))].concat();
        let tree = tree(&file);
        let [ftyp, moov] = tree.atoms.as_slice() else { panic!("{tree:?}") };
        assert_eq!((ftyp.extent.len(), moov.extent.start()), (12, 12));
        let tkhd = &moov.children[0].children[0];
        assert_eq!((&tkhd.atom_type, tkhd.payload()), (b"tkhd", Extent::new(36, 3).expect("in bounds")));
        assert_eq!(tree.junk_from, None);
    }

    #[test]
    fn junk_and_short_files_are_told() {
        let file = [atom(b"ftyp", b"isom"), vec![0; 40]].concat();
        assert_eq!(tree(&file).junk_from, Some(12));
        let cut = &atom(b"mdat", &[1; 100])[..50];
        assert!(tree(cut).atoms[0].is_cut_short);
        assert_eq!(tree(b"plain text, long enough"), AtomTree::default());
        assert_eq!(tree(b""), AtomTree::default());
    }

    #[test]
    fn hostile_nesting_and_counts_are_bounded() {
        let mut nested = atom(b"free", b"");
        for _ in 0..1000 {
            nested = atom(b"moov", &nested);
        }
        assert_eq!(tree(&nested).atoms.len(), 1);
        let many = atom(b"free", b"").repeat(ATOMS_MAX + 10);
        let tree = tree(&many);
        assert_eq!((tree.atoms.len(), tree.is_truncated), (ATOMS_MAX, true));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0_usize..200) {
            let _ = tree(&bytes);
            let start = atom(b"moov", &atom(b"trak", &bytes));
            let _ = tree(&start);
            bytes.splice(0..0, start);
            let len = bytes.len();
            bytes[at % len] ^= 0x81;
            let _ = tree(&bytes);
        }
    }
}
