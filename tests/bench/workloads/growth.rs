//! What an edit adds: to the repository, to the server, and on the wire, everything counted.

use std::fs;
use std::path::Path;

use super::measure::{MIB, Report, disk_usage, loopback_bytes, median, must};
use super::media;
use super::tools::{Bench, Server, Tool};

/// Places in the file, in ninths, where it is edited.
const PLACES: u64 = 9;

/// The same for a file so long that every place takes a while.
const PLACES_LARGE: u64 = 3;

/// Bytes that one commit and push added.
struct Growth {
    local: f64,
    server: f64,
    wire: f64,
}

/// Measures 1 and 4 GiB at nine places, and 10 GiB on disk at three.
pub fn run(bench: &Bench, report: &mut Report) {
    one_size(bench, &bench.dir, report, 1, PLACES);
    one_size(bench, &bench.dir, report, 4, PLACES);
    if std::env::var_os("DITS_BENCH_10GIB").is_some() {
        one_size(bench, &std::env::temp_dir(), report, 10, PLACES_LARGE);
    }
}

fn one_size(bench: &Bench, base: &Path, report: &mut Report, gib: u64, places: u64) {
    let dir = tempfile::tempdir_in(base).expect("the bench directory can be written");
    let name = dir.path().strip_prefix(&bench.dir).unwrap_or(dir.path()).to_string_lossy().into_owned();
    let repo = bench.repository(Tool::Dits, &format!("{name}/repo"), &["bin"]);
    let server = bench.ditsd(&format!("{name}/server"));
    must(&mut bench.git(&repo, &["remote", "add", "origin", &format!("dits://{}/film", server.address)]));
    must(&mut bench.git(&repo, &["push", "-q", "origin", "main"]));
    let (clip, len) = (repo.join("clip.bin"), gib * 1024 * MIB);
    media::incompressible(&clip, len, 40 + gib);
    let first = commit_and_push(bench, &repo, &server);
    let share = |bytes: f64| bytes / len as f64;
    report.at_most(format!("first store of {gib} GiB, local"), share(first.local), " × content", 1.003, "");
    report.at_most(format!("first store of {gib} GiB, server"), share(first.server), " × content", 1.003, "");

    let again = commit_and_push(bench, &repo, &server);
    report.at_most(format!("re-add of {gib} GiB, nothing new, local"), again.local / 1024.0, " KiB", 16.0, "");
    report.at_most(format!("re-add of {gib} GiB, nothing new, server"), again.server / 1024.0, " KiB", 16.0, "");

    let place = |number: u64| len / (places + 1) * (number + 1) + 12_345;
    let mut overwritten = Vec::new();
    for number in 0..places {
        media::overwrite(&clip, place(number), 1_000 + number);
        overwritten.push(commit_and_push(bench, &repo, &server));
    }
    rows(report, &format!("1 MiB overwritten in {gib} GiB"), &overwritten, 1.3);

    let (mut inserted, mut behind) = (Vec::new(), Vec::new());
    for number in 0..places {
        let edited = dir.path().join("edited");
        media::insert(&clip, &edited, place(number), 2_000 + number);
        fs::rename(edited, &clip).expect("both are in one directory tree");
        inserted.push(commit_and_push(bench, &repo, &server));
        behind.push((len - place(number)) as f64 / MIB as f64 * 32.0 / MIB as f64);
    }
    rows(report, &format!("1 MiB inserted in {gib} GiB"), &inserted, 1.3 + median(&behind));
    server.stop();
}

fn rows(report: &mut Report, what: &str, growths: &[Growth], limit: f64) {
    let mib = |pick: fn(&Growth) -> f64| median(&growths.iter().map(pick).collect::<Vec<_>>()) / MIB as f64;
    let limit = (limit * 1000.0).round() / 1000.0;
    report.at_most(format!("{what}, local"), mib(|growth| growth.local), " MiB", limit, "");
    report.at_most(format!("{what}, server"), mib(|growth| growth.server), " MiB", limit, "");
    let wire_limit = ((limit + 100.0 / 1024.0) * 1000.0).round() / 1000.0;
    report.at_most(format!("{what}, wire"), mib(|growth| growth.wire), " MiB", wire_limit, "");
}

fn commit_and_push(bench: &Bench, repo: &Path, server: &Server) -> Growth {
    let git_dir = repo.join(".git");
    let (local, remote) = (disk_usage(&git_dir), disk_usage(&server.root));
    must(&mut bench.git(repo, &["add", "clip.bin"]));
    must(&mut bench.git(repo, &["commit", "-q", "--allow-empty", "-m", "edit"]));
    let sent = loopback_bytes();
    must(&mut bench.git(repo, &["push", "-q", "origin", "main"]));
    let wire = loopback_bytes() - sent;
    Growth {
        local: disk_usage(&git_dir) as f64 - local as f64,
        server: disk_usage(&server.root) as f64 - remote as f64,
        wire: wire as f64,
    }
}
