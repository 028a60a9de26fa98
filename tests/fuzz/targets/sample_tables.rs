//! A `moov` of any bytes: its tracks, its atoms, its metadata.
#![no_main]

use std::convert::Infallible;

use dits_core::media::{metadata, sample_tables, tree};
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: {
        // The metadata reader is guarded: a panic of the library below it is caught and becomes `None`. The
        // fuzzer's own hook would end the process there; one that nobody catches still does.
        std::panic::set_hook(Box::new(|_| {}));
    },
    |bytes: &[u8]| {
        read(bytes);
        // The fuzzer need not find out that the first atom must be a moov.
        let len = (bytes.len() as u32).saturating_add(8).to_be_bytes();
        read(&[&len[..], b"moov", bytes].concat());
    }
);

fn read(file: &[u8]) {
    let _ = sample_tables::read_moov(file);
    let _ = metadata::read(file);
    let read_at = |at: u64, out: &mut [u8]| {
        out.copy_from_slice(&file[at as usize..][..out.len()]);
        Ok::<(), Infallible>(())
    };
    let Ok(_tree) = tree::read(file.len() as u64, read_at);
}
