//! What the add path costs in memory: `cargo bench --workspace --bench pipeline`.
//!
//! Every line is over the same 256 MiB of noise, so that their ratios can be read off:
//! `bare` is the floor (FastCDC, BLAKE3 of each chunk, BLAKE3 of the whole), `one thread`
//! and `two threads` are what a clean does before it stores anything. The `clip` lines are over an
//! H.264 clip made with ffmpeg: what trying to compress adds where nothing can be gained.

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

/// As `one_thread`, and each chunk in the form in which it is stored.
fn one_thread_encoded(blocks: &mut [Vec<u8>]) {
    let (mut stage, mut encoder) = (HashStage::new(), Encoder::new());
    for block in blocks.iter_mut() {
        let hashed = stage.push(std::mem::take(block));
        for (_, bytes) in hashed.chunks() {
            black_box(encoder.encode(bytes));
        }
        *block = hashed.into_block();
    }
    black_box(stage.finish());
}

/// Some 64 MB of H.264 at a camera's rate.
fn clip() -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("clip.mp4");
    let mut ffmpeg = std::process::Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=1920x1080:rate=30,noise=alls=40:allf=t"]);
    ffmpeg.args(["-t", "10", "-c:v", "libx264", "-preset", "ultrafast", "-b:v", "50M"]).arg(&path);
    assert!(ffmpeg.status().expect("ffmpeg is installed").success());
    std::fs::read(path).expect("ffmpeg wrote it")
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
    group.finish();

    let clip = clip();
    let mut blocks: Vec<Vec<u8>> = clip.chunks(BLOCK_LEN).map(<[u8]>::to_vec).collect();
    let mut group = criterion.benchmark_group("clip");
    group.throughput(Throughput::Bytes(clip.len() as u64)).sampling_mode(SamplingMode::Flat);
    group.sample_size(20).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    group.bench_function("not compressed", |bencher| bencher.iter(|| one_thread(&mut blocks)));
    group.bench_function("tried with zstd", |bencher| bencher.iter(|| one_thread_encoded(&mut blocks)));
    group.finish();
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
