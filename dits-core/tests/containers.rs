//! Containers that ffmpeg makes, read by us and by `re_mp4`, which must agree.

use dits_core::media::{metadata, sample_tables, sample_tables::fragment, tree};
use std::io::Write;
use std::process::{Command, Stdio};

/// Makes a clip, or says `not run` where there is no ffmpeg.
fn clip(name: &str, options: &[&str]) -> Option<Vec<u8>> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join(name);
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=160x90:rate=25:duration=3"])
        .args(["-f", "lavfi", "-i", "sine=frequency=440:duration=3"])
        .args(options)
        .arg(&path)
        .stdin(Stdio::null())
        .status();
    match made {
        Ok(status) if status.success() => Some(std::fs::read(&path).expect("the clip was made")),
        _ => {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "not run: ffmpeg cannot make {name}");
            let _ = writeln!(std::io::stderr(), "not run: ffmpeg cannot make {name}");
            None
        }
    }
}

const H264: [&str; 8] = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "10", "-c:a", "aac"];

fn tree_of(bytes: &[u8]) -> tree::AtomTree {
    let read_at = |at: u64, buffer: &mut [u8]| {
        buffer.copy_from_slice(&bytes[at as usize..at as usize + buffer.len()]);
        Ok::<(), std::convert::Infallible>(())
    };
    tree::read(bytes.len() as u64, read_at).expect("reading memory does not fail")
}

fn atoms<'b>(bytes: &'b [u8], atom_type: &[u8; 4]) -> Vec<(u64, &'b [u8])> {
    let tree = tree_of(bytes);
    assert_eq!(tree.junk_from, None);
    let found = tree.atoms.iter().filter(|atom| atom.atom_type == *atom_type);
    found.map(|atom| (atom.extent.start(), &bytes[atom.extent.start() as usize..atom.extent.end() as usize])).collect()
}

fn sync_offsets(bytes: &[u8], track_id: u32) -> Vec<u64> {
    let (_, moov) = atoms(bytes, b"moov")[0];
    let tracks = sample_tables::read_moov(moov);
    let track = tracks.iter().find(|track| track.track_id == track_id).expect("the track is there");
    let mut offsets = track.sync_offsets.clone().expect("the tables are sound");
    let defaults = fragment::read_defaults(moov);
    for (start, moof) in atoms(bytes, b"moof") {
        for part in fragment::read_moof(moof, start, &defaults) {
            if part.track_id == track_id {
                offsets.extend(part.sync_offsets.expect("the tables are sound"));
            }
        }
    }
    offsets
}

fn agrees_with_oracle(bytes: &[u8]) {
    let oracle = re_mp4::Mp4::read_bytes(bytes).expect("the oracle reads healthy clips");
    for (track_id, track) in oracle.tracks() {
        let mut theirs: Vec<u64> =
            track.samples.iter().filter(|sample| sample.is_sync).map(|sample| sample.offset).collect();
        theirs.sort_unstable();
        assert!(!theirs.is_empty());
        assert_eq!(sync_offsets(bytes, *track_id), theirs, "track {track_id}");
    }
}

#[test]
fn key_frames_lie_where_the_oracle_says() {
    let fast = [&H264[..], &["-movflags", "+faststart"]].concat();
    let fragmented = [&H264[..], &["-movflags", "+frag_keyframe+empty_moov+default_base_moof"]].concat();
    let old_fragments = [&H264[..], &["-movflags", "+frag_keyframe+empty_moov"]].concat();
    let prores = ["-c:v", "prores_ks", "-profile:v", "0", "-c:a", "aac"];
    for (name, options) in [
        ("plain.mp4", &H264[..]),
        ("plain.mov", &H264[..]),
        ("fast.mp4", &fast),
        ("fragmented.mp4", &fragmented),
        ("old.mp4", &old_fragments),
        ("prores.mov", &prores),
    ] {
        let Some(bytes) = clip(name, options) else { return };
        agrees_with_oracle(&bytes);
    }
}

#[test]
fn metadata_names_tracks_and_codecs() {
    let Some(bytes) = clip("plain.mp4", &H264) else { return };
    let (_, moov) = atoms(&bytes, b"moov")[0];
    let metadata = metadata::read(moov).expect("the reader knows plain MP4");
    assert!((2900..3200).contains(&metadata.duration_ms), "{metadata:?}");
    let [video, audio] = metadata.tracks.as_slice() else { panic!("{metadata:?}") };
    assert_eq!((video.kind.as_str(), video.width, video.height, video.sample_count), ("video", 160, 90, 75));
    assert_eq!(video.codec.as_deref(), Some("h264"));
    assert_eq!(audio.kind, "audio");
}

#[test]
fn damaged_tables_never_fail() {
    let Some(bytes) = clip("fast.mp4", &H264) else { return };
    let (_, moov) = atoms(&bytes, b"moov")[0];
    for at in 0..moov.len() {
        let mut damaged = moov.to_vec();
        damaged[at] ^= 0xff;
        sample_tables::read_moov(&damaged);
        fragment::read_moof(&damaged, 0, &fragment::read_defaults(&damaged));
        sample_tables::read_moov(&moov[..at]);
        metadata::read(&damaged);
    }
}
