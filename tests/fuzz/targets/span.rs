//! Whatever decodes as a span encodes the same.
#![no_main]

use dits_core::manifest::span::Span;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(span) = Span::decode(bytes) {
        assert_eq!(span.encode(), bytes);
        assert_eq!(span.covers(), span.entries().iter().map(|entry| u64::from(entry.len)).sum::<u64>());
    }
});
