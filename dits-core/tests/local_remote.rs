//! A share, as those see it who ask what it holds.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

use std::fs;
use std::path::Path;

use dits_core::codec::Codec;
use dits_core::hash::{ChunkHash, FileHash};
use dits_core::item::ItemId;
use dits_core::manifest::span::ChunkEntry;
use dits_core::manifest::{ChunkerId, Layout, Manifest};
use dits_core::pack_format::Domain;
use dits_core::pointer::Pointer;
use dits_core::remote::local::LocalRemote;
use dits_core::store::{NewItem, Sharing, Store, StoreOptions};

const CONTENT: &[u8] = b"some content";

fn share(dir: &Path) -> LocalRemote {
    fs::create_dir(dir.join("objects")).unwrap();
    fs::write(dir.join("HEAD"), "ref: refs/heads/main\n").unwrap();
    let options = StoreOptions { dir: dir.join("dits"), index: dir.join("index.sqlite"), sharing: Sharing::Network };
    LocalRemote::open(options).unwrap()
}

/// The file that is `CONTENT`, if that had `size` bytes.
fn of_size(size: u64) -> Pointer {
    Pointer { oid: FileHash::of(CONTENT), size }
}

/// Puts a manifest of the pointer there, and a chunk that is as long as it says.
fn put(store: &Store, pointer: Pointer) {
    let plain = &CONTENT[..pointer.size as usize];
    let layout = Layout::Inline(vec![ChunkEntry::new(ChunkHash::of(plain), plain.len() as u32)]);
    let manifest = Manifest::new(ChunkerId(1), pointer, layout, vec![], vec![]).unwrap();
    let mut writer = store.writer(Domain::LOCAL);
    let items: [(ItemId, Vec<u8>); 2] =
        [(ChunkHash::of(plain).into(), plain.to_vec()), (manifest.hash().into(), manifest.encode())];
    for (id, plain) in items {
        writer.put(NewItem { id, codec: Codec::Raw, plain_len: plain.len() as u32, stored: &plain }).unwrap();
    }
    writer.sync().unwrap();
}

#[test]
fn a_file_is_held_only_by_the_size_that_its_pointer_says() {
    let dir = tempfile::tempdir().unwrap();
    let share = share(dir.path());
    let len = CONTENT.len() as u64;
    assert!(!share.holds(&of_size(len)).unwrap());
    put(share.store(), of_size(len));
    assert!(share.holds(&of_size(len)).unwrap());
    assert!(!share.holds(&of_size(len - 1)).unwrap() && !share.holds(&of_size(len + 1)).unwrap());
}

#[test]
fn a_manifest_of_another_size_does_not_hide_the_files_own() {
    let dir = tempfile::tempdir().unwrap();
    let share = share(dir.path());
    let len = CONTENT.len() as u64;
    put(share.store(), of_size(len - 5));
    assert!(!share.holds(&of_size(len)).unwrap());
    put(share.store(), of_size(len));
    assert!(share.holds(&of_size(len)).unwrap());
}
