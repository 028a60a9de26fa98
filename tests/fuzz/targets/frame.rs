//! A stream of frames from a peer that may be anything: whole or in pieces, the same comes out.
#![no_main]

use bytes::{Bytes, BytesMut};
use dits_core::wire::frame::{Frame, FrameError, FrameReader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((piece_len, stream)) = input.split_first() else { return };
    let whole = read(stream, stream.len().max(1));
    let in_pieces = read(stream, usize::from(*piece_len).max(1));
    assert_eq!(whole, in_pieces);
    let mut again = BytesMut::new();
    whole.0.iter().for_each(|frame| frame.write(&mut again));
    assert!(stream.starts_with(&again));
});

fn read(stream: &[u8], piece_len: usize) -> (Vec<Frame>, Option<FrameError>) {
    let mut reader = FrameReader::new();
    let mut frames = Vec::new();
    for piece in stream.chunks(piece_len) {
        reader.push(Bytes::copy_from_slice(piece));
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, reader.finish().err())
}
