//! Fragments: the samples that a `moof` describes.
//!
//! **For:** key frames of fragmented files.
//!
//! **May touch:** nothing.
//!
//! **Must hold:** as in the parent module.
//!
//! **Source:** ISO/IEC 14496-12, 8.8.

use super::{Atoms, child, u32_at, u64_at};

/// What a track of a fragmented file assumes where a fragment is silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Defaults {
    /// The track.
    pub track_id: u32,
    /// Bytes of a sample.
    pub sample_size: u32,
    /// Flags of a sample.
    pub sample_flags: u32,
}

/// Samples of one track in one fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackFragment {
    /// The track.
    pub track_id: u32,
    /// Its samples in this fragment.
    pub sample_count: u64,
    /// Places of samples that can be decoded by themselves, ascending, as in
    /// [`Track::sync_offsets`](super::Track::sync_offsets). `None` if the tables contradict themselves.
    pub sync_offsets: Option<Vec<u64>>,
}

const IS_NOT_SYNC: u32 = 0x1_0000;

/// Reads what each track assumes (`mvex`) from a whole `moov` atom, header included.
pub fn read_defaults(moov: &[u8]) -> Vec<Defaults> {
    let Some(mvex) = child(moov, b"moov").and_then(|moov| child(moov, b"mvex")) else { return Vec::new() };
    let trex = Atoms(mvex).filter(|(atom_type, _)| atom_type == b"trex");
    trex.filter_map(|(_, trex)| {
        Some(Defaults { track_id: u32_at(trex, 4)?, sample_size: u32_at(trex, 16)?, sample_flags: u32_at(trex, 20)? })
    })
    .collect()
}

/// Reads the tracks of a whole `moof` atom, header included, which starts at `moof_start` of its file.
pub fn read_moof(moof: &[u8], moof_start: u64, defaults: &[Defaults]) -> Vec<TrackFragment> {
    let Some(payload) = child(moof, b"moof") else { return Vec::new() };
    // Without a base of its own, a track goes on where the one before it ended.
    let mut base = moof_start;
    Atoms(payload)
        .filter(|(atom_type, _)| atom_type == b"traf")
        .filter_map(|(_, traf)| {
            let header = Header::read(child(traf, b"tfhd")?, moof_start, base, defaults)?;
            let mut run = Runs { at: header.base, sample_count: 0, offsets: Vec::new() };
            let truns = Atoms(traf).filter(|(atom_type, _)| atom_type == b"trun");
            let is_sound = truns.map(|(_, trun)| run.read(trun, &header)).all(|read| read.is_some());
            base = run.at;
            run.offsets.sort_unstable();
            let sync_offsets = is_sound.then_some(run.offsets);
            Some(TrackFragment { track_id: header.defaults.track_id, sample_count: run.sample_count, sync_offsets })
        })
        .collect()
}

struct Header {
    base: u64,
    defaults: Defaults,
}

impl Header {
    fn read(tfhd: &[u8], moof_start: u64, follows: u64, defaults: &[Defaults]) -> Option<Header> {
        let flags = u32_at(tfhd, 0)? & 0xff_ffff;
        let track_id = u32_at(tfhd, 4)?;
        let assumed = defaults.iter().find(|defaults| defaults.track_id == track_id);
        let mut header = Header { base: follows, defaults: assumed.copied().unwrap_or_default() };
        header.defaults.track_id = track_id;
        let mut at = 8;
        if flags & 0x2_0000 != 0 {
            header.base = moof_start;
        }
        if flags & 0x1 != 0 {
            header.base = u64_at(tfhd, at)?;
            at += 8;
        }
        // Sample description and duration say nothing about places.
        at += 4 * ((flags & 0x2 != 0) as usize + (flags & 0x8 != 0) as usize);
        if flags & 0x10 != 0 {
            header.defaults.sample_size = u32_at(tfhd, at)?;
            at += 4;
        }
        if flags & 0x20 != 0 {
            header.defaults.sample_flags = u32_at(tfhd, at)?;
        }
        Some(header)
    }
}

struct Runs {
    /// Where the next run starts unless it says otherwise.
    at: u64,
    sample_count: u64,
    offsets: Vec<u64>,
}

impl Runs {
    fn read(&mut self, trun: &[u8], header: &Header) -> Option<()> {
        let flags = u32_at(trun, 0)? & 0xff_ffff;
        let count = u32_at(trun, 4)?;
        self.sample_count += u64::from(count);
        let mut at = 8;
        if flags & 0x1 != 0 {
            self.at = header.base.checked_add_signed(i64::from(u32_at(trun, at)? as i32))?;
            at += 4;
        }
        let mut first_flags = None;
        if flags & 0x4 != 0 {
            first_flags = Some(u32_at(trun, at)?);
            at += 4;
        }
        let has = |flag: u32| 4 * (flags & flag != 0) as usize;
        let (size_at, flags_at) = (has(0x100), has(0x100) + has(0x200));
        let width = flags_at + has(0x400) + has(0x800);
        let default = header.defaults;
        if width == 0 {
            // A count that no bytes stand behind: no loop over it.
            if count > 0 && first_flags.unwrap_or(default.sample_flags) & IS_NOT_SYNC == 0 {
                self.offsets.push(self.at);
            }
            self.at = self.at.checked_add(u64::from(count) * u64::from(default.sample_size))?;
            return Some(());
        }
        let entries = trun.get(at..)?.get(..(count as usize).checked_mul(width)?)?;
        for entry in entries.chunks_exact(width) {
            let own_flags = if flags & 0x400 != 0 { u32_at(entry, flags_at)? } else { default.sample_flags };
            if first_flags.take().unwrap_or(own_flags) & IS_NOT_SYNC == 0 {
                self.offsets.push(self.at);
            }
            let size = if flags & 0x200 != 0 { u32_at(entry, size_at)? } else { default.sample_size };
            self.at = self.at.checked_add(size.into())?;
        }
        Some(())
    }
}
