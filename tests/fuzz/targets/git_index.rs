//! An index that may be anything, and what patching would write into it.
#![no_main]

use dits_core::git_index::{Found, ObjectFormat, StatData, Wanted, find};
use libfuzzer_sys::fuzz_target;

/// The blob of the seeds' files.
const SHA1: &[u8; 20] = b"\x49\x80\xc4\xf1\x71\x5e\xa4\x35\x4d\x49\x19\xbf\x09\x24\xc7\x3d\x95\x59\xe5\x46";
const SHA256: &[u8; 32] = b"\x9c\x2e\x8e\xe2\x6a\x3c\x66\xe0\xed\x61\x4e\xeb\x0f\x55\x80\xcc\
\xc5\xbe\xbb\xd2\x1d\x31\xec\x31\xea\x43\x51\xa2\x09\x43\x1f\x04";
const PATHS: [&[u8]; 5] = [b"four", b"a/three", b"a/b/two", b"a/b/one", b"a"];

fuzz_target!(|bytes: &[u8]| {
    patch(bytes, ObjectFormat::Sha1, SHA1);
    patch(bytes, ObjectFormat::Sha256, SHA256);
});

fn patch(bytes: &[u8], format: ObjectFormat, blob: &[u8]) {
    let wanted = PATHS.map(|path| Wanted { path, blob });
    let Ok(found) = find(bytes, format, &wanted) else { return };
    let stat = StatData { changed: [1; 2], modified: [1; 2], device: 1, inode: 1, user: 1, group: 1, size: 1 };
    let mut patched = bytes.to_vec();
    for Found { wanted_index, offset } in &found {
        stat.write(&mut patched, *offset);
        assert_eq!(&bytes[offset + StatData::LEN..][..blob.len()], blob);
        assert!(*wanted_index < PATHS.len());
    }
    assert!(found.is_sorted_by(|one, next| one.offset + StatData::LEN < next.offset));
    // Stat data is all that changed: the same entries are where they were.
    assert_eq!(find(&patched, format, &wanted), Ok(found));
}
