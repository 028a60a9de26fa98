//! Media that zstd can shrink, and media that it cannot.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::measure::{MIB, Report, disk_usage, must};
use super::tools::{Bench, Tool};

/// Stores WAV, float EXR and 8-bit TIFF made by ffmpeg, and measures what is left of them.
pub fn run(bench: &Bench, report: &mut Report) {
    let repo = bench.repository(Tool::Dits, "compressible", &["wav", "exr", "tif"]);
    make(&repo);
    let raw: u64 = media_len(&repo);
    let before = disk_usage(&repo.join(".git"));
    must(&mut bench.git(&repo, &["add", "."]));
    let stored = disk_usage(&repo.join(".git")) - before;
    report.at_most(
        format!("WAV, EXR and TIFF, {} MiB, stored", raw / MIB),
        stored as f64 / raw as f64,
        " of raw",
        0.45,
        "",
    );
    fs::remove_dir_all(repo).expect("it was made above");
}

fn make(dir: &Path) {
    let ffmpeg = |args: &[&str]| {
        must(Command::new("ffmpeg").current_dir(dir).args(["-v", "error", "-y"]).args(args));
    };
    // Tones with a little noise, as a voice track has, 24 bit in two channels.
    ffmpeg(&[
        "-f",
        "lavfi",
        "-i",
        "aevalsrc='0.2*sin(220*2*PI*t)*sin(0.7*t)+0.0005*(random(0)-0.5)|0.2*sin(330*2*PI*t)+0.0005*(random(1)-0.5)':s=48000:d=300",
        "-c:a",
        "pcm_s24le",
        "voice.wav",
    ]);
    let frames = ["-f", "lavfi", "-i", "testsrc2=s=2048x1152:r=12:d=1,noise=alls=2:allf=t"];
    ffmpeg(&[&frames[..], &["-pix_fmt", "gbrpf32le", "-compression", "none", "frame-%02d.exr"]].concat());
    ffmpeg(&[&frames[..], &["-pix_fmt", "rgb24", "-compression_algo", "raw", "frame-%02d.tif"]].concat());
}

fn media_len(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).expect("it was just made");
    entries
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .filter(|meta| meta.is_file())
        .map(|meta| meta.len())
        .sum()
}
