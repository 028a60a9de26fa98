//! Sample tables: where the key frames of a file lie.
//!
//! **For:** `git dits inspect`, and side tables for readers that want a key frame's place.
//! No cut depends on them.
//!
//! **May touch:** nothing.
//!
//! **Must hold:** work and memory are bounded by the bytes handed in, whatever counts they
//! claim; tables that contradict themselves give no offsets, never a failure.
//!
//! **Source:** ISO/IEC 14496-12, 8.6 to 8.8.

pub mod fragment;

use super::atoms::{AtomHeader, AtomLen, AtomType, HeaderReading};

/// What a track's tables say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Track {
    /// The track's number in its container.
    pub track_id: u32,
    /// What it carries: `vide`, `soun`, ….
    pub handler: AtomType,
    /// Type of its first sample entry: `avc1`, `apch`, `mp4a`, ….
    pub format: AtomType,
    /// Samples that the size table counts.
    pub sample_count: u32,
    /// Places of samples that can be decoded by themselves, ascending, in bytes from the
    /// start of the file; of samples of one size without a list only the first of each run.
    /// `None` if the tables are missing or contradict themselves.
    pub sync_offsets: Option<Vec<u64>>,
}

/// Reads the tracks of a whole `moov` atom, header included.
pub fn read_moov(moov: &[u8]) -> Vec<Track> {
    let Some((_, payload)) = Atoms(moov).find(|(atom_type, _)| atom_type == b"moov") else { return Vec::new() };
    Atoms(payload).filter(|(atom_type, _)| atom_type == b"trak").map(|(_, trak)| read_trak(trak)).collect()
}

fn read_trak(trak: &[u8]) -> Track {
    let mut track = Track::default();
    if let Some(tkhd) = child(trak, b"tkhd") {
        let at = if tkhd.first() == Some(&1) { 20 } else { 12 };
        track.track_id = u32_at(tkhd, at).unwrap_or_default();
    }
    let Some(mdia) = child(trak, b"mdia") else { return track };
    if let Some(handler) = child(mdia, b"hdlr").and_then(|hdlr| type_at(hdlr, 8)) {
        track.handler = handler;
    }
    let Some(stbl) = child(mdia, b"minf").and_then(|minf| child(minf, b"stbl")) else { return track };
    track.format = child(stbl, b"stsd").and_then(|stsd| type_at(stsd, 12)).unwrap_or_default();
    if let Some(tables) = Tables::read(stbl) {
        track.sample_count = tables.sizes.count();
        track.sync_offsets = tables.sync_offsets();
    }
    track
}

/// The tables of one track; every slice is cut to the count that the table claims.
struct Tables<'m> {
    sizes: Sizes<'m>,
    /// `first chunk, samples per chunk, description` of 12 bytes each.
    runs: &'m [u8],
    chunks: ChunkOffsets<'m>,
    /// Numbers of the sync samples, from 1; without it every sample is one.
    sync: Option<&'m [u8]>,
}

#[derive(Clone, Copy)]
enum Sizes<'m> {
    Constant {
        size: u32,
        count: u32,
    },
    Listed(&'m [u8]),
    /// Fields of 4, 8 or 16 bits.
    Compact {
        bits: u8,
        count: u32,
        fields: &'m [u8],
    },
}

enum ChunkOffsets<'m> {
    Short(&'m [u8]),
    Long(&'m [u8]),
}

impl<'m> Tables<'m> {
    fn read(stbl: &'m [u8]) -> Option<Tables<'m>> {
        let chunks = match (child(stbl, b"stco"), child(stbl, b"co64")) {
            (Some(stco), _) => ChunkOffsets::Short(listed(stco, 4, 4)?),
            (None, Some(co64)) => ChunkOffsets::Long(listed(co64, 4, 8)?),
            (None, None) => return None,
        };
        let sync = match child(stbl, b"stss") {
            Some(stss) => Some(listed(stss, 4, 4)?),
            None => None,
        };
        Some(Tables { sizes: Sizes::read(stbl)?, runs: listed(child(stbl, b"stsc")?, 4, 12)?, chunks, sync })
    }

    /// Walks the chunks of the track. `None` where the tables contradict themselves.
    fn sync_offsets(&self) -> Option<Vec<u64>> {
        let mut offsets = Vec::new();
        let mut sync = SyncSamples { listed: self.sync.map(|listed| listed.chunks_exact(4)), next: None };
        sync.advance();
        let mut runs = self.runs.chunks_exact(12).peekable();
        let mut per_chunk = 0;
        let mut sample: u32 = 0;
        for (chunk_index, chunk_start) in self.chunks.iter().enumerate() {
            while let Some(run) =
                runs.next_if(|run| u32_at(run, 0).is_some_and(|first| first as usize <= chunk_index + 1))
            {
                per_chunk = u32_at(run, 4)?;
            }
            let end = sample.saturating_add(per_chunk).min(self.sizes.count());
            self.sizes.walk(sample..end, chunk_start, &mut sync, &mut offsets)?;
            sample = end;
        }
        offsets.sort_unstable();
        Some(offsets)
    }
}

/// The sync samples of a track in ascending order, counted from 0.
struct SyncSamples<'m> {
    /// `None`: every sample is one.
    listed: Option<std::slice::ChunksExact<'m, u8>>,
    next: Option<u32>,
}

impl SyncSamples<'_> {
    fn advance(&mut self) {
        let Some(listed) = &mut self.listed else { return };
        // The standard asks for ascending numbers; others are passed over.
        let last = self.next;
        self.next = listed
            .by_ref()
            .filter_map(|number| u32_at(number, 0)?.checked_sub(1))
            .find(|sample| last.is_none_or(|last| *sample > last));
    }

    /// Returns true if `sample` is one; samples must be asked for in ascending order.
    fn has(&mut self, sample: u32) -> bool {
        if self.listed.is_none() {
            return true;
        }
        while self.next.is_some_and(|next| next < sample) {
            self.advance();
        }
        self.next == Some(sample)
    }
}

impl<'m> Sizes<'m> {
    fn read(stbl: &'m [u8]) -> Option<Sizes<'m>> {
        if let Some(stsz) = child(stbl, b"stsz") {
            let (size, count) = (u32_at(stsz, 4)?, u32_at(stsz, 8)?);
            return match size {
                0 => Some(Sizes::Listed(listed(stsz, 8, 4)?)),
                _ => Some(Sizes::Constant { size, count }),
            };
        }
        let stz2 = child(stbl, b"stz2")?;
        let (bits, count) = (*stz2.get(7)?, u32_at(stz2, 8)?);
        let len = match bits {
            4 => count.div_ceil(2) as usize,
            8 => count as usize,
            16 => count as usize * 2,
            _ => return None,
        };
        Some(Sizes::Compact { bits, count, fields: stz2.get(12..)?.get(..len)? })
    }

    fn count(&self) -> u32 {
        match self {
            Sizes::Constant { count, .. } | Sizes::Compact { count, .. } => *count,
            Sizes::Listed(listed) => (listed.len() / 4) as u32,
        }
    }

    fn get(&self, sample: u32) -> Option<u32> {
        let at = sample as usize;
        match self {
            Sizes::Constant { size, .. } => Some(*size),
            Sizes::Listed(listed) => u32_at(listed, at * 4),
            Sizes::Compact { bits: 4, fields, .. } => {
                let pair = *fields.get(at / 2)?;
                Some(u32::from(if at.is_multiple_of(2) { pair >> 4 } else { pair & 15 }))
            }
            Sizes::Compact { bits: 8, fields, .. } => fields.get(at).copied().map(u32::from),
            Sizes::Compact { fields, .. } => {
                let field = fields.get(at * 2..at * 2 + 2)?;
                Some(u32::from(u16::from_be_bytes([field[0], field[1]])))
            }
        }
    }

    /// Collects where the sync samples among `samples` lie, which follow each other from `start` on.
    fn walk(
        &self,
        samples: std::ops::Range<u32>,
        start: u64,
        sync: &mut SyncSamples<'_>,
        offsets: &mut Vec<u64>,
    ) -> Option<()> {
        if let Sizes::Constant { size, .. } = self {
            // A count of samples of one size is not backed by bytes of the table: no loop over it.
            if sync.listed.is_none() && !samples.is_empty() {
                offsets.push(start);
            }
            while let Some(next) = sync.next.filter(|next| *next < samples.end) {
                if let Some(index) = next.checked_sub(samples.start) {
                    offsets.push(start.checked_add(u64::from(index) * u64::from(*size))?);
                }
                sync.advance();
            }
            return Some(());
        }
        let mut at = start;
        for sample in samples {
            if sync.has(sample) {
                offsets.push(at);
            }
            at = at.checked_add(self.get(sample)?.into())?;
        }
        Some(())
    }
}

impl ChunkOffsets<'_> {
    fn iter(&self) -> impl Iterator<Item = u64> {
        let (bytes, width) = match self {
            ChunkOffsets::Short(bytes) => (bytes, 4),
            ChunkOffsets::Long(bytes) => (bytes, 8),
        };
        bytes.chunks_exact(width).map(|offset| offset.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }
}

/// The atoms that tile a payload, up to the first that does not fit.
struct Atoms<'m>(&'m [u8]);

impl<'m> Iterator for Atoms<'m> {
    type Item = (AtomType, &'m [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let HeaderReading::Header(header) = AtomHeader::read(self.0) else { return None };
        let len = match header.len {
            AtomLen::ToEnd => self.0.len(),
            AtomLen::Bytes(len) => usize::try_from(len).ok()?,
        };
        let (atom, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some((header.atom_type, &atom[header.header_len.into()..]))
    }
}

/// The payload of the first atom of that type.
fn child<'m>(payload: &'m [u8], atom_type: &AtomType) -> Option<&'m [u8]> {
    Atoms(payload).find(|(found, _)| found == atom_type).map(|(_, payload)| payload)
}

/// The entries of `width` bytes each behind their count, which stands at `count_at`.
fn listed(payload: &[u8], count_at: usize, width: usize) -> Option<&[u8]> {
    let count = u32_at(payload, count_at)? as usize;
    payload.get(count_at + 4..)?.get(..count.checked_mul(width)?)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_be_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(u64::from_be_bytes)
}

fn type_at(bytes: &[u8], at: usize) -> Option<AtomType> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn atom(atom_type: &[u8; 4], payload: &[u8]) -> Vec<u8> {
        [&(payload.len() as u32 + 8).to_be_bytes(), &atom_type[..], payload].concat()
    }

    /// A full atom: version and flags, then 32-bit fields.
    fn table(atom_type: &[u8; 4], fields: &[u32]) -> Vec<u8> {
        atom(atom_type, &[0].iter().chain(fields).flat_map(|field| field.to_be_bytes()).collect::<Vec<_>>())
    }

    fn moov(tables: &[Vec<u8>]) -> Vec<u8> {
        let hdlr = table(b"hdlr", &[0, u32::from_be_bytes(*b"vide"), 0, 0, 0]);
        let minf = atom(b"minf", &atom(b"stbl", &tables.concat()));
        let trak = [table(b"tkhd", &[0, 0, 7]), atom(b"mdia", &[hdlr, minf].concat())].concat();
        atom(b"moov", &atom(b"trak", &trak))
    }

    fn offsets(tables: &[Vec<u8>]) -> Option<Vec<u64>> {
        let tracks = read_moov(&moov(tables));
        let [track] = tracks.as_slice() else { panic!("{tracks:?}") };
        assert_eq!((track.track_id, &track.handler), (7, b"vide"));
        track.sync_offsets.clone()
    }

    fn runs() -> Vec<u8> {
        // Chunks 1 and 2 have two samples, later ones one.
        table(b"stsc", &[2, 1, 2, 1, 3, 1, 1])
    }

    #[test]
    fn listed_sizes_lead_to_every_sample() {
        let sizes = table(b"stsz", &[0, 5, 10, 20, 30, 40, 50]);
        let chunks = table(b"stco", &[3, 1000, 2000, 3000]);
        let tables = [sizes.clone(), runs(), chunks.clone()];
        assert_eq!(offsets(&tables), Some(vec![1000, 1010, 2000, 2030, 3000]));
        let sync = table(b"stss", &[3, 1, 4, 5]);
        assert_eq!(offsets(&[sizes, runs(), chunks, sync]), Some(vec![1000, 2030, 3000]));
    }

    #[test]
    fn compact_sizes_of_every_width_are_read() {
        let chunks = atom(b"co64", &[&[0; 4][..], &1_u32.to_be_bytes(), &(1_u64 << 40).to_be_bytes()].concat());
        let runs = table(b"stsc", &[1, 1, 3, 1]);
        for (bits, fields) in [(4_u32, &[0x12_u8, 0x30][..]), (8, &[1, 2, 3]), (16, &[0, 1, 0, 2, 0, 3])] {
            let header = [0, bits, 3].map(u32::to_be_bytes).concat();
            let sizes = atom(b"stz2", &[&header, fields].concat());
            let at = 1_u64 << 40;
            assert_eq!(offsets(&[sizes, runs.clone(), chunks.clone()]), Some(vec![at, at + 1, at + 3]), "{bits}");
        }
    }

    #[test]
    fn hostile_counts_cost_nothing() {
        let chunks = table(b"stco", &[2, 1000, 2000]);
        let many = table(b"stsc", &[1, 1, u32::MAX, 1]);
        // Four billion samples of one size: only the start of the run is told.
        let constant = table(b"stsz", &[u32::MAX, u32::MAX]);
        assert_eq!(offsets(&[constant.clone(), many.clone(), chunks.clone()]), Some(vec![1000]));
        let sync = table(b"stss", &[1, 3]);
        let third = 1000 + 2 * u64::from(u32::MAX);
        assert_eq!(offsets(&[constant, many.clone(), chunks.clone(), sync]), Some(vec![third]));
        for sizes in [table(b"stsz", &[0, u32::MAX, 1, 2]), table(b"stz2", &[8, u32::MAX, 0])] {
            assert_eq!(offsets(&[sizes, many.clone(), chunks.clone()]), None);
        }
        assert_eq!(offsets(&[table(b"stsz", &[0, 0]), runs(), table(b"stco", &[u32::MAX, 1])]), None);
        assert_eq!(offsets(&[]), None);
    }

    #[test]
    fn offsets_past_the_end_of_numbers_are_no_offsets() {
        let chunks = atom(b"co64", &[&[0; 4][..], &1_u32.to_be_bytes(), &u64::MAX.to_be_bytes()].concat());
        assert_eq!(offsets(&[table(b"stsz", &[0, 2, 9, 9]), table(b"stsc", &[1, 1, 2, 1]), chunks]), None);
    }

    proptest! {
        #[test]
        fn no_tables_panic(
            fields in prop::collection::vec(prop_oneof![Just(u32::MAX), 0_u32..6], 0..12),
            kinds in prop::collection::vec(0_usize..6, 0..8),
        ) {
            let types = [b"stsz", b"stz2", b"stsc", b"stco", b"co64", b"stss"];
            let tables: Vec<_> = kinds.iter().map(|kind| table(types[*kind], &fields)).collect();
            let _ = offsets(&tables);
            let traf = [table(b"tfhd", &fields), table(b"trun", &fields), atom(b"trun", &[0xff; 40])].concat();
            let moof = atom(b"moof", &atom(b"traf", &traf));
            let _ = fragment::read_moof(&moof, u64::MAX - 5, &[]);
        }
    }
}
