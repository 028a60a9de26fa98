//! Media made on the spot: noise, edits, hand-built atoms, clips by ffmpeg.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::needs::needs;
use crate::programs;

/// One mebibyte, in bytes.
pub const MIB: usize = 1024 * 1024;

/// Returns `len` bytes that do not compress and are the same for the same seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Returns `content` with `len` bytes from `at` on replaced by noise.
pub fn overwritten(content: &[u8], at: usize, len: usize, seed: u64) -> Vec<u8> {
    let mut content = content.to_vec();
    content[at..at + len].copy_from_slice(&noise(seed, len));
    content
}

/// Returns `content` with `len` bytes of noise put in at `at`.
pub fn inserted(content: &[u8], at: usize, len: usize, seed: u64) -> Vec<u8> {
    [&content[..at], &noise(seed, len), &content[at..]].concat()
}

/// One atom: length, kind, body.
pub fn atom(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len() + 8).expect("a test's atom is small");
    [&len.to_be_bytes()[..], kind, body].concat()
}

/// Where the metadata of a hand-built movie stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoovAt {
    /// Before the payload, as for streaming.
    Front,
    /// Behind the payload, as cameras write it.
    Back,
}

/// A movie of hand-built atoms: enough for a parser of atoms, too little for a player.
pub fn movie(moov_at: MoovAt, moov_len: usize, payload: &[u8]) -> Vec<u8> {
    let ftyp = atom(b"ftyp", b"isom\0\0\x02\0isomiso2mp41");
    let moov = atom(b"moov", &atom(b"udta", &noise(77, moov_len)));
    let mdat = atom(b"mdat", payload);
    match moov_at {
        MoovAt::Front => [ftyp, moov, mdat].concat(),
        MoovAt::Back => [ftyp, mdat, moov].concat(),
    }
}

/// Two seconds of H.264 with sound, made by ffmpeg once for each run; `None`, and `not run`, without ffmpeg.
pub fn clip() -> Option<&'static [u8]> {
    static CLIP: OnceLock<Option<Vec<u8>>> = OnceLock::new();
    CLIP.get_or_init(|| {
        if !needs(programs::is_installed("ffmpeg"), "ffmpeg is needed to make a clip") {
            return None;
        }
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let path = dir.path().join("clip.mp4");
        ffmpeg(&["-f", "lavfi", "-i", "testsrc2=s=640x360:r=25:d=2", "-f", "lavfi", "-i", "sine=d=2"], &path);
        Some(fs::read(&path).expect("ffmpeg wrote it"))
    })
    .as_deref()
}

/// Runs ffmpeg with these inputs and options.
///
/// # Panics
///
/// If ffmpeg fails.
pub fn ffmpeg(args: &[&str], output: &PathBuf) {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-loglevel", "error", "-y", "-threads", "1"]).args(args);
    command.args(["-fflags", "+bitexact", "-flags", "+bitexact"]).arg(output);
    let done = command.stdin(Stdio::null()).output().expect("ffmpeg can be started");
    assert!(done.status.success(), "ffmpeg failed: {}", String::from_utf8_lossy(&done.stderr));
}
