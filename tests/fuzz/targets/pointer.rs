//! Whatever reads as a pointer is written the same.
#![no_main]

use dits_core::pointer::{Pointer, Reading, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let pointer = Pointer::parse(text);
    match read(text) {
        Reading::Pointer(read) => assert_eq!(pointer, Some(read)),
        _ => assert_eq!(pointer, None),
    }
    if let Some(pointer) = pointer {
        assert_eq!(pointer.to_string().as_bytes(), text);
    }
});
