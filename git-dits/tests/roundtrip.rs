//! `git dits roundtrip`, without any repository.

use dits_tests::World;
use std::fs;

#[test]
fn a_file_comes_back_bit_for_bit() {
    let world = World::without_dits();
    let content: Vec<u8> = (0..700_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(world.path("clip.bin"), &content).expect("written");
    fs::write(world.path("empty.bin"), b"").expect("written");
    let done = world.git(&["dits", "roundtrip", "--json", "clip.bin", "empty.bin"]);
    let facts: serde_json::Value = serde_json::from_str(&done.ok()).expect("JSON");
    assert_eq!(facts["files"][0]["size"], content.len());
    assert_eq!(facts["files"][0]["oid"], blake3::hash(&content).to_hex().to_string());
    assert_eq!(facts["files"][1]["oid"], serde_json::Value::Null);
    let text = world.git(&["dits", "roundtrip", "clip.bin"]).ok();
    assert!(text.starts_with("clip.bin: same, 2.7 MiB in "), "{text}");
    let missing = world.git(&["dits", "roundtrip", "nothing.bin"]);
    assert_eq!(missing.status.code(), Some(1));
    assert_eq!(missing.err(), "error: cannot read nothing.bin\ncaused by: No such file or directory (os error 2)\n");
    assert_eq!(world.git(&["dits", "roundtrip"]).status.code(), Some(2));
}
