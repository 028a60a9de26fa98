//! Twenty versions of a project file: small edits all over it.

use std::fs;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::measure::{MIB, Report, disk_usage, median, must};
use super::media;
use super::tools::{Bench, Tool};

/// Length of the first version, in bytes.
const LEN: usize = 200 * MIB as usize;
const VERSIONS: u64 = 20;
/// Edits between two versions, and how many of them move what is behind.
const EDITS: usize = 12;
const INSERTIONS: usize = 4;
/// Text and blobs take turns in pieces of this length, in bytes.
const PIECE_LEN: usize = 2 * MIB as usize;

/// Measures what each version adds to the repository, and what a collection makes of all of them.
pub fn run(bench: &Bench, report: &mut Report) {
    let repo = bench.repository(Tool::Dits, "versions", &["project"]);
    let git_dir = repo.join(".git");
    let mut random = StdRng::seed_from_u64(20);
    let mut content = project();
    let mut lens = vec![disk_usage(&git_dir) as f64];
    for version in 0..VERSIONS {
        if version > 0 {
            edit(&mut content, &mut random);
        }
        fs::write(repo.join("film.project"), &content).expect("the bench directory has room");
        must(&mut bench.git(&repo, &["add", "."]));
        must(&mut bench.git(&repo, &["commit", "-q", "-m", "version"]));
        lens.push(disk_usage(&git_dir) as f64);
    }
    let added: Vec<f64> = lens.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let (first, later) = added.split_first().expect("there are twenty");
    let what = "20 versions of a project file of 200 MiB";
    report.row(format!("{what}, the first"), format!("{:.1} MiB", first / MIB as f64), "");
    report.at_most(format!("{what}, each more, median"), median(later) / MIB as f64, " MiB", 0.8, "");
    let all: f64 = added.iter().sum();
    report.at_most(format!("{what}, all"), all / first, " × the first", 1.12, "");
    must(&mut bench.git(&repo, &["dits", "gc", "--grace", "0s"]));
    let (before, after) = (lens[lens.len() - 1], disk_usage(&git_dir) as f64);
    report.at_most(format!("{what}, what a collection adds"), (after - before) / 1024.0, " KiB", 0.0, "");
    for version in [VERSIONS - 1, VERSIONS / 2] {
        let (name, copy) = (format!("HEAD~{version}"), repo.join("film.project"));
        fs::remove_file(&copy).expect("it is there");
        must(&mut bench.git(&repo, &["checkout", "-q", &name, "--", "film.project"]));
        assert!(len_of(&copy) >= LEN as u64, "a version is not whole");
    }
    fs::remove_dir_all(repo).expect("it was made above");
}

fn len_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Half text as editing programs write it, half blobs.
fn project() -> Vec<u8> {
    let mut content = Vec::with_capacity(LEN + (VERSIONS as usize * EDITS) * 4096);
    let mut random = StdRng::seed_from_u64(10);
    let mut blobs = media::noise(10);
    while content.len() < LEN {
        let end = content.len() + PIECE_LEN;
        while content.len() < end {
            let (id, start, length): (u32, u32, u16) = (random.random(), random.random(), random.random());
            let clip = format!(
                "      <clipitem id=\"clip-{id:08x}\">\n        <start>{start}</start>\n        <duration>{length}</duration>\n        <enabled>TRUE</enabled>\n      </clipitem>\n"
            );
            content.extend_from_slice(clip.as_bytes());
        }
        let at = content.len();
        content.resize(at + PIECE_LEN, 0);
        blobs.fill(&mut content[at..]);
    }
    content
}

/// Edits of 16 bytes to 4 KiB at random places.
fn edit(content: &mut Vec<u8>, random: &mut StdRng) {
    for number in 0..EDITS {
        let len = random.random_range(16..=4096);
        let at = random.random_range(0..content.len() - len);
        let bytes: Vec<u8> = (0..len).map(|_| random.random()).collect();
        let replaced = if number < INSERTIONS { at..at } else { at..at + len };
        content.splice(replaced, bytes);
    }
}
