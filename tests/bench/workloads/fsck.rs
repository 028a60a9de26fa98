//! Looking through a store, beside reading the same bytes and hashing them.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::measure::{MIB, PeakMemory, Report, must, ratio, seconds, timed};
use super::media;
use super::tools::{Bench, Tool};

/// What the store has: some files that fill packs of their own, and many that share packs.
const LARGE: (u64, u64) = (2, 512 * MIB);
const SMALL: (u64, u64) = (4000, 256 * 1024);

/// A look may take as long as bare reading and hashing, divided by this.
const SPEED_MIN: f64 = 0.7;

/// Measures a store of 2 GiB.
pub fn run(bench: &Bench, report: &mut Report) {
    let repo = bench.repository(Tool::Dits, "fsck", &["bin"]);
    for (folder, (count, len)) in [("large", LARGE), ("small", SMALL)] {
        fs::create_dir(repo.join(folder)).expect("the bench directory can be written");
        for number in 0..count {
            media::incompressible(&repo.join(folder).join(format!("{number}.bin")), len, 90_000 + len + number);
        }
    }
    must(&mut bench.git(&repo, &["add", "."]));
    must(&mut bench.git(&repo, &["commit", "-qm", "media"]));
    let packs = packs(&repo.join(".git/dits"));
    let (mut bare, mut fsck) = (Vec::new(), Vec::new());
    let memory = PeakMemory::of("git-dits");
    for rep in 0..=bench.reps {
        let read = read_and_hash(&packs);
        let looked = timed(&mut bench.git(&repo, &["dits", "fsck", "--objects"]));
        if rep > 0 {
            bare.push(read);
            fsck.push(looked);
        }
    }
    report.row("read and BLAKE3 of a store of 2 GiB, one thread", seconds(&bare), "");
    report.row("git dits fsck of it", seconds(&fsck), "");
    let slowdown = ratio(&fsck, &bare);
    let speed = format!("({:.2} × its speed; goal ≥ {SPEED_MIN})", 1.0 / slowdown);
    report.at_most("git dits fsck, time to that of bare reading and hashing", slowdown, " ×", 1.0 / SPEED_MIN, speed);
    report.at_most("peak memory of git dits fsck", memory.stop() as f64 / MIB as f64, " MiB", 128.0, "");
    fs::remove_dir_all(repo).expect("it was made above");
}

fn packs(store: &Path) -> Vec<PathBuf> {
    let folders = ["packs", "open"].map(|folder| fs::read_dir(store.join(folder)).expect("a store has both"));
    let files = folders.into_iter().flatten().map(|entry| entry.expect("it can be listed").path());
    files.filter(|path| path.extension().is_some_and(|end| end == "pack")).collect()
}

/// Reads the files from front to back and hashes them, and returns the seconds that took.
fn read_and_hash(files: &[PathBuf]) -> f64 {
    let start = Instant::now();
    let mut piece = vec![0; MIB as usize];
    for path in files {
        let mut file = File::open(path).expect("it was just listed");
        let mut hasher = blake3::Hasher::new();
        loop {
            match file.read(&mut piece).expect("it can be read") {
                0 => break,
                len => {
                    hasher.update(&piece[..len]);
                }
            }
        }
        std::hint::black_box(hasher.finalize());
    }
    start.elapsed().as_secs_f64()
}
