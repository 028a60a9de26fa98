//! The golden files: bytes of every stored format that must decode for ever.
//!
//! Each file is compared both ways, so that neither reading nor writing can drift. With
//! `DITS_WRITE_GOLDEN=1` files that do not exist yet are written; none is ever replaced.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

use std::fs;
use std::path::PathBuf;

use dits_core::codec::{Codec, Decoder};
use dits_core::hash::{ChunkHash, FileHash, PageValue, SideTableHash, SpanHash};
use dits_core::item::{ItemId, ItemKind};
use dits_core::limits::BLOCK_LEN;
use dits_core::manifest::block_tree::{block_value, page_value_of, read_page, root_of_only_page};
use dits_core::manifest::span::{ChunkEntry, Span};
use dits_core::manifest::{ChunkerId, Layout, Manifest, SideTableEntry, SpanEntry};
use dits_core::pack_format::{
    Domain, ENTRY_LEN, Entry, LOG_HEADER_LEN, LOG_RECORD_LEN, LogHeader, StoredCheck, TRAILER_LEN, Trailer,
};
use dits_core::pointer::Pointer;

fn golden(name: &str, encoded: &[u8]) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name);
    if std::env::var_os("DITS_WRITE_GOLDEN").is_some() && !path.exists() {
        fs::write(&path, encoded).unwrap();
    }
    let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(bytes == encoded, "{name}: what is written today differs from the golden file");
    bytes
}

/// Content that anyone can make again: byte n is n·n/7 + n/1000, modulo 256.
fn content(len: u64) -> Vec<u8> {
    (0..len).map(|n| (n * n / 7 + n / 1000) as u8).collect()
}

#[test]
fn pointer_v1() {
    let pointer = Pointer { oid: FileHash::of(b"a worked example\n"), size: 17 };
    let bytes = golden("pointer-v1.txt", pointer.to_string().as_bytes());
    assert_eq!(Pointer::parse(&bytes), Some(pointer));
}

fn chunk_entries(count: u32) -> Vec<ChunkEntry> {
    (0..count).map(|n| ChunkEntry::new(ChunkHash::of(&n.to_le_bytes()), 16_384 + n)).collect()
}

#[test]
fn span_v1() {
    let span = Span::new(chunk_entries(130)).unwrap();
    let bytes = golden("span-v1.bin", &span.encode());
    assert_eq!(Span::decode(&bytes), Ok(span));
}

#[test]
fn page_v1() {
    let content = content(2 * BLOCK_LEN + 5);
    let values: Vec<_> = content
        .chunks(BLOCK_LEN as usize)
        .zip(0_u64..)
        .map(|(block, number)| block_value(number * BLOCK_LEN, block))
        .collect();
    let bytes = golden("page-v1.bin", &values.concat());
    assert_eq!(read_page(&bytes), Some(values.clone()));
    assert_eq!(root_of_only_page(&values), FileHash::of(&content));
    assert!(ItemId::from(page_value_of(&bytes).unwrap()).names(&bytes));
}

#[test]
fn manifest_v1_of_one_span() {
    let content = content(100_000);
    let entries = content.chunks(60_000).map(|chunk| ChunkEntry::new(ChunkHash::of(chunk), chunk.len() as u32));
    let pointer = Pointer { oid: FileHash::of(&content), size: 100_000 };
    let manifest = Manifest::new(ChunkerId(1), pointer, Layout::Inline(entries.collect()), vec![], vec![]).unwrap();
    let bytes = golden("manifest-inline-v1.bin", &manifest.encode());
    assert_eq!(Manifest::decode(&bytes), Ok(manifest));
}

#[test]
fn manifest_v1_of_two_spans() {
    let content = content(2 * BLOCK_LEN + 5);
    let pointer = Pointer { oid: FileHash::of(&content), size: content.len() as u64 };
    let spans = [BLOCK_LEN, BLOCK_LEN + 5]
        .map(|covers| SpanEntry { hash: SpanHash::from_bytes([covers as u8 + 1; 32]), covers });
    let side_table = SideTableEntry { kind: 1, len: 12, hash: SideTableHash::from_bytes([9; 32]) };
    let page = PageValue::from_bytes([7; 32]);
    let manifest =
        Manifest::new(ChunkerId(1), pointer, Layout::Spans(spans.to_vec()), vec![page], vec![side_table]).unwrap();
    let bytes = golden("manifest-spans-v1.bin", &manifest.encode());
    assert_eq!(Manifest::decode(&bytes), Ok(manifest));
}

/// One zstd frame, as it was written once: what an encoder makes may change, what it made may not.
const FRAME: &[u8] = &[40, 181, 47, 253, 32, 100, 69, 0, 0, 16, 97, 97, 1, 0, 63, 1, 44];

/// The payload and the entries of the golden pack and its side log.
fn packed() -> (Vec<u8>, Vec<Entry>) {
    let mut payload = Vec::new();
    let mut entries = Vec::new();
    let mut add = |kind: ItemKind, hash: [u8; 32], codec: Codec, stored: &[u8], plain_len: u32| {
        entries.push(Entry {
            id: ItemId { kind, hash },
            codec,
            place: payload.len() as u64,
            stored_len: stored.len() as u32,
            plain_len,
            check: StoredCheck::of(stored),
        });
        payload.extend_from_slice(stored);
    };
    let raw = b"a chunk that is stored as it is";
    add(ItemKind::Chunk, *blake3::hash(raw).as_bytes(), Codec::Raw, raw, raw.len() as u32);
    add(ItemKind::Chunk, *blake3::hash(&[b'a'; 100]).as_bytes(), Codec::Zstd, FRAME, 100);
    let span = Span::new(chunk_entries(2)).unwrap();
    add(ItemKind::Span, *span.hash().as_bytes(), Codec::Raw, &span.encode(), 72);
    (payload, entries)
}

#[test]
fn pack_v1() {
    let (payload, entries) = packed();
    let mut table = Vec::new();
    entries.iter().for_each(|entry| entry.write(&mut table));
    let trailer = Trailer::of(&table, Domain([5; 16]), payload.len() as u64);
    let encoded = [payload, table, trailer.encode().to_vec()].concat();

    let bytes = golden("pack-v1.bin", &encoded);
    let trailer = Trailer::decode(bytes.last_chunk::<TRAILER_LEN>().unwrap(), bytes.len() as u64).unwrap();
    let table = &bytes[trailer.payload_len as usize..bytes.len() - TRAILER_LEN];
    assert_eq!(table.len(), 3 * ENTRY_LEN);
    let mut plain = Vec::new();
    for entry in trailer.check_table(table).unwrap() {
        let stored = &bytes[entry.place as usize..entry.end() as usize];
        Decoder::new().decode(entry.codec, stored, entry.plain_len as usize, &mut plain).unwrap();
        assert!(entry.id.names(&plain));
    }
}

#[test]
fn log_v1() {
    let (_, entries) = packed();
    let header = LogHeader { domain: Domain([5; 16]), name: [6; 16] };
    let mut encoded = header.encode().to_vec();
    for (entry, record_index) in entries.iter().zip(0..) {
        header.write_record(entry, record_index, &mut encoded);
    }
    let bytes = golden("log-v1.bin", &encoded);
    assert_eq!(LogHeader::decode(bytes.first_chunk().unwrap()), Ok(header));
    let records = bytes[LOG_HEADER_LEN..].chunks_exact(LOG_RECORD_LEN);
    let read: Vec<_> = records
        .zip(0..)
        .map(|(record, index)| header.read_record(record.try_into().unwrap(), index).unwrap())
        .collect();
    assert_eq!(read, entries);
}
