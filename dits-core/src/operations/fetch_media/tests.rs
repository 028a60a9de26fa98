//! Remotes that send more than was to be expected.

use super::*;
use crate::codec::Codec;
use crate::hash::ChunkHash;
use crate::manifest::span::ChunkEntry;
use crate::manifest::{ChunkerId, Layout, SpanEntry};
use crate::remote::local::LocalRemote;
use crate::store::{Sharing, Store, StoreOptions};

const CHUNK_LEN: usize = 10;
const SPAN_COUNT: usize = 700;

fn options(dir: &std::path::Path, sharing: Sharing) -> StoreOptions {
    StoreOptions { dir: dir.join("dits"), index: dir.join("dits/index.sqlite"), sharing }
}

/// Stores a file by a manifest that is much longer than it need be.
fn put_described_at_length(store: &Store, seed: u8) -> Pointer {
    let chunk = [seed; CHUNK_LEN];
    let content = chunk.repeat(SPAN_COUNT);
    let span = Span::new(vec![ChunkEntry::new(ChunkHash::of(&chunk), CHUNK_LEN as u32)]).expect("a span");
    let pointer = Pointer { oid: FileHash::of(&content), size: content.len() as u64 };
    let spans = vec![SpanEntry { hash: span.hash(), covers: CHUNK_LEN as u64 }; SPAN_COUNT];
    let manifest = Manifest::new(ChunkerId(1), pointer, Layout::Spans(spans), vec![], vec![]).expect("a manifest");
    let mut writer = store.writer(Domain::LOCAL);
    let (span_id, manifest_id) = (span.hash().into(), manifest.hash().into());
    let chunk_id = ItemId::from(ChunkHash::of(&chunk));
    for (id, plain) in [(chunk_id, chunk.to_vec()), (span_id, span.encode()), (manifest_id, manifest.encode())] {
        let item = NewItem { id, codec: Codec::Raw, plain_len: plain.len() as u32, stored: &plain };
        writer.put(item).expect("stored");
    }
    writer.sync().expect("synced");
    pointer
}

#[test]
fn manifests_that_there_was_no_room_for_are_asked_for_again() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let [share, here] = ["share", "here"].map(|name| dir.path().join(name));
    std::fs::create_dir_all(share.join("objects")).expect("a folder");
    std::fs::write(share.join("HEAD"), "ref: refs/heads/main\n").expect("a file");
    let remote = LocalRemote::open(options(&share, Sharing::Network)).expect("a share");
    let wanted: Vec<Pointer> = (0..3).map(|seed| put_described_at_length(remote.store(), seed)).collect();
    let remote = Remote::Local(Box::new(remote));
    let own = Sources::new(Store::open(options(&here, Sharing::Machine)).expect("a store"), vec![]);
    // By the length of their files all three are asked for at once, and only two fit.
    let fetched = fetch_within(62_000, &own, &remote, &wanted, &|_| {}).expect("fetched");
    assert_eq!(fetched.iter().filter(|fetched| fetched.result.is_ok()).count(), 3, "{fetched:?}");
    for pointer in &wanted {
        assert_eq!(hydrate::completeness(&own, pointer).expect("read"), hydrate::Completeness::Complete);
    }
}
