//! What the add path costs in memory: `cargo bench -p dits-tests --bench pipeline`.
//!
//! Every line is over the same 256 MiB of noise, so that their ratios can be read off:
//! `bare` is the floor (FastCDC, BLAKE3 of each chunk, BLAKE3 of the whole), `one thread`
//! and `two threads` are what a clean does before it stores anything.

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use dits_core::chunking::hashing::HashStage;
use dits_core::codec::Encoder;
use dits_core::limits;
use dits_core::operations::clean::{Given, hash_two};
use fastcdc::v2020::{FastCDC, Normalization};
use std::hint::black_box;
use std::time::Duration;

const LEN: usize = 256 << 20;
const BLOCK_LEN: usize = 4 << 20;

fn noise() -> Vec<u8> {
    let mut bytes = vec![0; LEN];
    blake3::Hasher::new().update(b"dits bench").finalize_xof().fill(&mut bytes);
    bytes
}

fn bare(content: &[u8]) {
    let (min, avg, max) = (limits::CHUNK_LEN_MIN, limits::CHUNK_LEN_AVG, limits::CHUNK_LEN_MAX);
    for chunk in FastCDC::with_level(content, min, avg, max, Normalization::Level2) {
        black_box(blake3::hash(&content[chunk.offset..chunk.offset + chunk.length]));
    }
    black_box(blake3::hash(content));
}

/// As a clean does it: owned blocks in, hashed blocks out.
fn one_thread(blocks: &mut [Vec<u8>]) {
    let mut stage = HashStage::new();
    for block in blocks.iter_mut() {
        let hashed = stage.push(std::mem::take(block));
        black_box(hashed.chunks().count());
        *block = hashed.into_block();
    }
    black_box(stage.finish());
}

fn two_threads(blocks: &mut [Vec<u8>]) {
    let mut stage = HashStage::new();
    for pair in blocks.chunks_mut(2) {
        let [first, second] = pair else { unreachable!("the length is a multiple of two blocks") };
        let given = |block: &mut Vec<u8>| Given { block: std::mem::take(block), earlier: None };
        let hashed = hash_two(&mut stage, given(first), given(second));
        for (block, hashed) in pair.iter_mut().zip(hashed) {
            black_box(hashed.chunks().count());
            *block = hashed.into_block();
        }
    }
    black_box(stage.finish());
}

fn encode(content: &[u8]) {
    let mut encoder = Encoder::new();
    for chunk in content.chunks(limits::CHUNK_LEN_AVG) {
        black_box(encoder.encode(chunk));
    }
}

fn pipeline(criterion: &mut Criterion) {
    let content = noise();
    let mut blocks: Vec<Vec<u8>> = content.chunks(BLOCK_LEN).map(<[u8]>::to_vec).collect();
    let mut group = criterion.benchmark_group("pipeline");
    group.throughput(Throughput::Bytes(LEN as u64)).sampling_mode(SamplingMode::Flat);
    group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    group.bench_function("bare", |bencher| bencher.iter(|| bare(&content)));
    group.bench_function("one thread", |bencher| bencher.iter(|| one_thread(&mut blocks)));
    group.bench_function("two threads", |bencher| bencher.iter(|| two_threads(&mut blocks)));
    group.bench_function("encode noise", |bencher| bencher.iter(|| encode(&content)));
    group.finish();
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
