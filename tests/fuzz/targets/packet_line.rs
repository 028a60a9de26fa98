//! A stream of packet lines from a git that may be anything.
#![no_main]

use dits_core::wire::packet_line::{HEADER_LEN, Header, PAYLOAD_LEN_MAX, encode_header, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for max in [16, PAYLOAD_LEN_MAX] {
        let mut rest = bytes;
        let mut payload = Vec::new();
        loop {
            let before = rest;
            let Ok(Some(header)) = read(&mut rest, &mut payload, max) else { break };
            if let Header::Data(len) = header {
                assert!(payload.len() == len && len <= max);
                let header = encode_header(len);
                assert!(before[..HEADER_LEN].eq_ignore_ascii_case(&header));
            }
        }
        assert!(payload.capacity() <= 2 * PAYLOAD_LEN_MAX);
    }
});
