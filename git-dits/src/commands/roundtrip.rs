//! `git dits roundtrip`: proves that a file comes back bit for bit.
//!
//! **For:** trust, before anything is committed.
//!
//! **May touch:** the files, read only; a temporary store that is gone afterwards.
//!
//! **Must hold:** what comes out is compared with the file on disk byte by byte, not only by
//! its hash; no repository is needed, and none is changed.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dits_core::operations::clean::{CleanOptions, Cleaner, Outcome};
use dits_core::operations::hydrate;
use dits_core::pack_format::Domain;
use dits_core::store::{Sharing, Sources, Store, StoreOptions};
use serde::Serialize;

use crate::out::Out;
use crate::progress::Progress;
use crate::report::{EXIT_STATUSES, Failure};
use crate::sizes::Bytes;

/// Prove that files come back bit for bit: store them in a temporary store, hydrate, compare
#[derive(clap::Args)]
#[command(after_help = EXIT_STATUSES)]
pub struct Args {
    /// The files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Print the facts as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Facts {
    files: Vec<Proof>,
}

#[derive(Serialize)]
struct Proof {
    path: String,
    /// `null` where Git stores the file as it is: the empty file, and a pointer.
    oid: Option<String>,
    size: u64,
    chunks: u64,
    /// Bytes the store grew by; what an earlier file of this run has in common is not in it.
    stored_bytes: u64,
    store_ms: u64,
    hydrate_ms: u64,
}

/// Blocks of this length are read at a time, in bytes.
const BLOCK_LEN: usize = 4 * 1024 * 1024;

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let dir = tempfile::tempdir().map_err(|error| Failure::new("cannot make a temporary folder").because(&error))?;
    let options = StoreOptions {
        dir: dir.path().join("dits"),
        index: dir.path().join("index.sqlite"),
        sharing: Sharing::Machine,
    };
    let sources = Sources::new(Store::open(options)?, Vec::new());
    let mut out = Out::lock();
    let mut files = Vec::new();
    for path in &args.files {
        let proof = prove(&sources, path)?;
        if !args.json {
            out.line(proof.line())?;
        }
        files.push(proof);
    }
    if args.json {
        out.json(&Facts { files })?;
    }
    out.finish()
}

fn prove(sources: &Sources, path: &Path) -> Result<Proof, Failure> {
    let failed = |error: io::Error| Failure::new(format!("cannot read {}", path.display())).because(&error);
    let mut file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let started = Instant::now();
    let mut progress = Progress::of_bytes("storing", size);
    let mut writer = sources.own().writer(Domain::LOCAL);
    let mut cleaner = Cleaner::new(sources, &mut writer, CleanOptions::default());
    loop {
        let mut block = cleaner.spent_block().unwrap_or_else(|| Vec::with_capacity(BLOCK_LEN));
        block.clear();
        let read = (&mut file).take(BLOCK_LEN as u64).read_to_end(&mut block).map_err(failed)?;
        if read == 0 {
            break;
        }
        progress.advance(read as u64);
        cleaner.push(block)?;
    }
    drop(progress);
    let cleaned = cleaner.finish()?;
    let store_time = started.elapsed();
    let mut proof = Proof {
        path: path.display().to_string(),
        oid: None,
        size,
        chunks: cleaned.stats.chunk_count,
        stored_bytes: cleaned.stats.new_bytes,
        store_ms: ms(store_time),
        hydrate_ms: 0,
    };
    if let Outcome::Stored(pointer) = cleaned.outcome {
        let started = Instant::now();
        let file = File::open(path).map_err(failed)?;
        let mut compare = Compare {
            file,
            progress: Progress::of_bytes("comparing", size),
            there: Vec::new(),
            at: 0,
            differs_at: None,
        };
        let written = hydrate::write_to(sources, &pointer, &mut compare);
        if let Some(at) = compare.differs_at {
            return Err(Failure::new(format!("{} came back different from byte {at} on", path.display()))
                .hint("if the file did not change meanwhile, this is a bug in Dits: please report it"));
        }
        written?;
        if compare.at != pointer.size || pointer.size != size {
            return Err(Failure::new(format!("{} changed while it was read", path.display())).hint("run it again"));
        }
        proof.oid = Some(pointer.oid.to_string());
        proof.hydrate_ms = ms(started.elapsed());
    }
    Ok(proof)
}

fn ms(time: Duration) -> u64 {
    time.as_millis().try_into().unwrap_or(u64::MAX)
}

impl Proof {
    fn line(&self) -> String {
        let rate = |ms: u64| Bytes(self.size.saturating_mul(1000) / ms.max(1));
        match &self.oid {
            None => format!("{}: same, stored in Git as it is", self.path),
            Some(_) => format!(
                "{}: same, {} in {} chunks, {} stored, {}/s in, {}/s out",
                self.path,
                Bytes(self.size),
                self.chunks,
                Bytes(self.stored_bytes),
                rate(self.store_ms),
                rate(self.hydrate_ms)
            ),
        }
    }
}

/// Takes what comes out of the store and compares it with the file.
struct Compare {
    file: File,
    progress: Progress,
    there: Vec<u8>,
    at: u64,
    differs_at: Option<u64>,
}

impl Write for Compare {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.there.resize(bytes.len(), 0);
        let same = match self.file.read_exact(&mut self.there) {
            Ok(()) => self.there.iter().zip(bytes).take_while(|(there, came)| there == came).count(),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            Err(error) => return Err(error),
        };
        if same < bytes.len() {
            self.differs_at = Some(self.at + same as u64);
            return Err(io::Error::other("what came out is not what went in"));
        }
        self.at += bytes.len() as u64;
        self.progress.advance(bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
