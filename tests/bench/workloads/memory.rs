//! Peak memory of the filter, the helper and the server as files grow.

use std::fs;

use super::measure::{MIB, PeakMemory, Report, must};
use super::media;
use super::tools::{Bench, Tool};

/// Adds files of 1, 2 and 4 GiB, and pushes the largest.
fn one_size(bench: &Bench, report: &mut Report, gib: u64, push: bool) {
    let repo = bench.repository(Tool::Dits, "memory", &["bin"]);
    media::incompressible(&repo.join("clip.bin"), gib * 1024 * MIB, 3 + gib);
    let filter = PeakMemory::of("git-dits-filter");
    must(&mut bench.git(&repo, &["add", "clip.bin"]));
    let mib = |bytes: u64| bytes as f64 / MIB as f64;
    report.at_most(format!("peak memory of the filter, add of {gib} GiB"), mib(filter.stop()), " MiB", 128.0, "");
    if push {
        fs::remove_file(repo.join("clip.bin")).expect("it was made above");
        must(&mut bench.git(&repo, &["commit", "-qm", "clip"]));
        let server = bench.ditsd("memory-server");
        let url = format!("dits://{}/film", server.address);
        let (helper, ditsd) = (PeakMemory::of("git-remote-dits"), PeakMemory::of("ditsd"));
        must(&mut bench.git(&repo, &["push", "-q", &url, "main"]));
        report.at_most(format!("peak memory of the helper, push of {gib} GiB"), mib(helper.stop()), " MiB", 150.0, "");
        report.at_most(format!("peak memory of the server, push of {gib} GiB"), mib(ditsd.stop()), " MiB", 150.0, "");
        server.stop();
        fs::remove_dir_all(bench.dir.join("memory-server")).expect("the server made it");
    }
    fs::remove_dir_all(repo).expect("it was made above");
}

/// Measures every size.
pub fn run(bench: &Bench, report: &mut Report) {
    for (gib, push) in [(1, false), (2, false), (4, true)] {
        one_size(bench, report, gib, push);
    }
}
