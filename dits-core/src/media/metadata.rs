//! What a `moov` says about its tracks, for people.
//!
//! **For:** `git dits inspect`. Nothing that is stored depends on it.
//!
//! **May touch:** nothing.
//!
//! **Must hold:** any `moov`, however odd or hostile, gives facts or none, never a failure.
//! The reader behind this (crate `mp4`) panics on some and runs in circles on others, so it
//! runs guarded and may only read so often.

use super::tree::{self, Atom};
use crate::limits::MOOV_READ_MAX;
use mp4::{Mp4Reader, Mp4Track, TrackType};
use std::io::{self, Cursor, Read, Seek, SeekFrom};

/// What is known about a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Length of the presentation in milliseconds.
    pub duration_ms: u64,
    /// Its tracks, by id.
    pub tracks: Vec<TrackMetadata>,
}

/// What is known about a track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackMetadata {
    /// The track's number in its container.
    pub track_id: u32,
    /// What it carries: `video`, `audio`, `subtitle` or the container's own word.
    pub kind: String,
    /// The codec, where the reader knows it.
    pub codec: Option<String>,
    /// Picture width in pixels, 0 for none.
    pub width: u16,
    /// Picture height in pixels, 0 for none.
    pub height: u16,
    /// ISO 639-2 code.
    pub language: String,
    /// Samples in the track's own tables.
    pub sample_count: u32,
    /// Length in milliseconds.
    pub duration_ms: u64,
}

/// Reads beyond one for each byte that a sound atom may take.
const READS_SPARE: u64 = 4096;

/// A file type atom for containers that have none: the reader asks for one.
const FTYP: &[u8; 20] = b"\0\0\0\x14ftypisom\0\0\0\0isom";

/// Reads what a whole `moov` atom, header included, says. `None` for one that is too long
/// or that the reader does not understand.
pub fn read(moov: &[u8]) -> Option<Metadata> {
    if moov.len() as u64 > MOOV_READ_MAX || !is_whole(moov) {
        return None;
    }
    // The reader is dropped with everything it made, so nothing half done is seen again.
    std::panic::catch_unwind(|| read_unguarded(moov)).ok().flatten()
}

/// Whether every atom lies in the one that holds it: the reader reserves memory by the lengths it is told.
fn is_whole(moov: &[u8]) -> bool {
    fn fits(atom: &Atom) -> bool {
        !atom.is_cut_short && atom.children.iter().all(fits)
    }
    let read_at = |at: u64, buffer: &mut [u8]| {
        let start = at as usize;
        buffer.copy_from_slice(&moov[start..start + buffer.len()]);
        Ok::<(), std::convert::Infallible>(())
    };
    let Ok(tree) = tree::read(moov.len() as u64, read_at);
    !tree.is_truncated && tree.atoms.iter().all(fits)
}

fn read_unguarded(moov: &[u8]) -> Option<Metadata> {
    let stream = [FTYP, moov].concat();
    let len = stream.len() as u64;
    // A sound table is read field by field, each of at least a byte, and once.
    let reads_left = len + READS_SPARE;
    let container = Mp4Reader::read_header(Rationed { stream: Cursor::new(stream), reads_left }, len).ok()?;
    let mvhd = &container.moov.mvhd;
    let duration_ms = milliseconds(mvhd.duration, mvhd.timescale);
    let mut tracks: Vec<TrackMetadata> = container.tracks().values().map(track).collect();
    tracks.sort_by_key(|track| track.track_id);
    Some(Metadata { duration_ms, tracks })
}

/// A stream that fails once it was read or moved too often: damage can send the reader back
/// to where it was, again and again.
struct Rationed {
    stream: Cursor<Vec<u8>>,
    reads_left: u64,
}

impl Rationed {
    fn spend(&mut self) -> io::Result<()> {
        self.reads_left = self.reads_left.checked_sub(1).ok_or(io::ErrorKind::QuotaExceeded)?;
        Ok(())
    }
}

impl Read for Rationed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.spend()?;
        self.stream.read(buffer)
    }
}

impl Seek for Rationed {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.spend()?;
        self.stream.seek(to)
    }
}

fn track(track: &Mp4Track) -> TrackMetadata {
    let mdhd = &track.trak.mdia.mdhd;
    let handler = &track.trak.mdia.hdlr.handler_type;
    TrackMetadata {
        track_id: track.track_id(),
        kind: match track.track_type() {
            Ok(TrackType::Video) => "video".to_owned(),
            Ok(TrackType::Audio) => "audio".to_owned(),
            Ok(TrackType::Subtitle) => "subtitle".to_owned(),
            Err(_) => handler.to_string(),
        },
        codec: track.media_type().ok().map(|codec| codec.to_string()),
        width: track.width(),
        height: track.height(),
        language: track.language().to_owned(),
        sample_count: track.trak.mdia.minf.stbl.stsz.sample_count,
        duration_ms: milliseconds(mdhd.duration, mdhd.timescale),
    }
}

fn milliseconds(duration: u64, timescale: u32) -> u64 {
    let milliseconds = u128::from(duration) * 1000 / u128::from(timescale.max(1));
    u64::try_from(milliseconds).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_moov_has_no_metadata() {
        assert_eq!(read(b""), None);
        assert_eq!(read(b"\0\0\0\x08moov"), None);
        assert_eq!(read(b"\xff\xff\xff\xffmoov"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_fail(payload in prop::collection::vec(any::<u8>(), 0..200)) {
            let len = (payload.len() as u32 + 8).to_be_bytes();
            let _ = read(&[&len[..], b"moov", &payload].concat());
        }
    }
}
