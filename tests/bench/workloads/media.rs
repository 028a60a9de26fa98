//! Content for the benches, the same in every run.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::measure::MIB;

/// Writes `len` bytes that no codec can shrink.
pub fn incompressible(path: &Path, len: u64, seed: u64) {
    let mut file = File::create(path).expect("the bench directory can be written");
    let mut noise = noise(seed);
    let mut block = vec![0; MIB as usize];
    let mut left = len;
    while left > 0 {
        let count = left.min(MIB) as usize;
        noise.fill(&mut block[..count]);
        file.write_all(&block[..count]).expect("the bench directory has room");
        left -= count as u64;
    }
}

/// An endless stream of noise.
pub fn noise(seed: u64) -> blake3::OutputReader {
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof()
}

/// Overwrites 1 MiB at `at` with noise.
pub fn overwrite(path: &Path, at: u64, seed: u64) {
    let mut file = File::options().write(true).open(path).expect("the file is there");
    let mut block = vec![0; MIB as usize];
    noise(seed).fill(&mut block);
    file.seek(SeekFrom::Start(at)).expect("the file can be seeked");
    file.write_all(&block).expect("the bench directory has room");
}

/// Copies `from` to `to` with 1 MiB of noise put in at `at`.
pub fn insert(from: &Path, to: &Path, at: u64, seed: u64) {
    let mut source = File::open(from).expect("the file is there");
    let mut target = File::create(to).expect("the bench directory can be written");
    let mut block = vec![0; MIB as usize];
    noise(seed).fill(&mut block);
    std::io::copy(&mut Read::by_ref(&mut source).take(at), &mut target).expect("the copy works");
    target.write_all(&block).expect("the bench directory has room");
    std::io::copy(&mut source, &mut target).expect("the copy works");
}
