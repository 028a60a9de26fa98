//! The cuts of chunker 1 on streams that anyone can make again. They must never change:
//! a change to them is a new chunker id (`docs/formats/chunking-v1.md`).

use dits_core::chunking::cutter::Cutter;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/cuts-v1.txt");

/// `len` bytes of BLAKE3's extended output over `seed`.
fn noise(seed: &str, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn atom(atom_type: &[u8; 4], payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32 + 8).to_be_bytes(), &atom_type[..], payload].concat()
}

fn streams() -> Vec<(&'static str, Vec<u8>)> {
    let noise_of_4_mib = noise("dits cuts noise", 4 << 20);
    let low_entropy = noise("dits cuts low entropy", 4 << 20).iter().map(|byte| byte & 3).collect();
    let mut container = atom(b"ftyp", b"qt  \0\0\0\0qt  ");
    container.extend(atom(b"moov", &noise("dits cuts moov", 90_000)));
    container.extend(atom(b"free", &[0; 100]));
    container.extend(atom(b"mdat", &noise("dits cuts mdat", 1_000_001)));
    container.extend(atom(b"uuid", &noise("dits cuts uuid", 20_000)));
    vec![
        ("noise", noise_of_4_mib),
        ("low-entropy", low_entropy),
        ("zeros", vec![0; 1_000_001]),
        ("text", b"All footage is to be kept.\n".repeat(40_000)),
        ("container", container),
    ]
}

fn cuts_of(stream: &[u8]) -> String {
    let (mut cutter, mut lens) = (Cutter::new(), Vec::new());
    stream.chunks(1 << 20).for_each(|block| cutter.push(block, |chunk| lens.push(chunk.bytes.len().to_string())));
    cutter.finish(|chunk| lens.push(chunk.bytes.len().to_string()));
    lens.join(" ")
}

#[test]
fn the_cuts_of_chunker_1_never_change() {
    let golden = std::fs::read_to_string(GOLDEN).expect("the golden cuts are there");
    let golden: Vec<&str> = golden.lines().filter(|line| !line.starts_with('#')).collect();
    let actual: Vec<String> = streams()
        .iter()
        .map(|(name, stream)| format!("{name} {} {}: {}", stream.len(), blake3::hash(stream), cuts_of(stream)))
        .collect();
    assert_eq!(golden, actual, "\n{}\n", actual.join("\n"));
}
