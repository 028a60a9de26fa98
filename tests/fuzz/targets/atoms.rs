//! Streams that may be containers: forced cuts ascend and do not depend on how the stream arrives.
#![no_main]

use dits_core::media::atoms::{CutFinder, begins_as_container};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((piece_len, stream)) = input.split_first() else { return };
    let whole = cuts(stream, stream.len().max(1));
    assert!(whole.is_sorted_by(|a, b| a < b));
    assert_ne!(whole.first(), Some(&0));
    assert_eq!(whole, cuts(stream, usize::from(*piece_len).max(1)));
    if !begins_as_container(stream) {
        assert!(whole.is_empty());
    }
});

fn cuts(stream: &[u8], piece_len: usize) -> Vec<u64> {
    let mut finder = CutFinder::new();
    let mut cuts = Vec::new();
    for piece in stream.chunks(piece_len) {
        finder.push(piece, &mut cuts);
    }
    finder.finish();
    cuts
}
