//! Stored bytes of any kind decode to the length they claim or to an error, in bounded memory.
#![no_main]

use dits_core::codec::{Codec, Decoder, Encoder};
use dits_core::limits::CHUNK_LEN_MAX;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(([number, a, b], stored)) = bytes.split_first_chunk::<3>() else { return };
    let mut plain = Vec::new();
    if let Some(codec) = Codec::from_number(*number) {
        let plain_len = usize::from(u16::from_le_bytes([*a, *b])) * 5;
        if Decoder::new().decode(codec, stored, plain_len, &mut plain).is_ok() {
            assert_eq!(plain.len(), plain_len);
        }
        assert!(plain.capacity() <= CHUNK_LEN_MAX * 4 + stored.len());
    }
    let mut encoder = Encoder::new();
    let (codec, encoded) = encoder.encode(bytes);
    assert!(encoded.len() <= bytes.len());
    Decoder::new().decode(codec, encoded, bytes.len(), &mut plain).expect("it was just encoded");
    assert_eq!(plain, bytes);
});
