//! Whole-process benches: real git, and Dits beside a null filter, git-lfs and hf-xet.
//!
//! **For:** the table in `docs/performance.md`. Every figure is measured in this run, the
//! tools taking turns; nothing is compared with a figure of another run or machine.
//!
//! `cargo bench --workspace --bench workloads -- [WORKLOAD…]`; without a name all run.
//! `DITS_BENCH_DIR` is where (default: tmpfs), `DITS_BENCH_REPS` how often (default 5),
//! `DITS_BENCH_XET` a Python with hf-xet, `DITS_BENCH_RUDOLFS` the LFS server's program;
//! a peer that is not there is left out and named as such.

mod add;
mod clips;
mod clone;
mod collect;
mod compressible;
mod fsck;
mod full_size;
mod growth;
mod measure;
mod media;
mod memory;
mod push;
mod tools;
mod versions;
mod walk;
mod work_tree;

use measure::Report;

/// A bench that prints its own rows.
type Workload = fn(&tools::Bench, &mut Report);

const WORKLOADS: [(&str, Workload); 13] = [
    ("add", add::run),
    ("memory", memory::run),
    ("full-size", full_size::run),
    ("growth", growth::run),
    ("versions", versions::run),
    ("clips", clips::run),
    ("compressible", compressible::run),
    ("push", push::run),
    ("clone", clone::run),
    ("work-tree", work_tree::run),
    ("walk", walk::run),
    ("collect", collect::run),
    ("fsck", fsck::run),
];

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    if let Some(unknown) = wanted.iter().find(|name| WORKLOADS.iter().all(|(known, _)| known != name)) {
        let known: Vec<&str> = WORKLOADS.iter().map(|(name, _)| *name).collect();
        eprintln!("error: no workload is called {unknown}\nhint: choose from {}", known.join(", "));
        std::process::exit(2);
    }
    let bench = tools::Bench::prepare();
    let mut report = Report::default();
    for (name, workload) in WORKLOADS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            eprintln!("== {name}");
            workload(&bench, &mut report);
            report.print_new();
        }
    }
    report.print();
}
