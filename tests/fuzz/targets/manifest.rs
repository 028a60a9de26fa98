//! Whatever decodes as a manifest encodes the same; so does every page of a block tree.
#![no_main]

use dits_core::manifest::Manifest;
use dits_core::manifest::block_tree::page_value_of;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(manifest) = Manifest::decode(bytes) {
        assert_eq!(manifest.encode(), bytes);
    }
    if page_value_of(bytes).is_some() {
        assert_eq!(bytes.len() % 32, 0);
    }
});
