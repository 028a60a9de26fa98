//! From a stored file back to its content, and the proof that it is the file.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

use std::io::{Read, Seek};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use dits_core::codec::Codec;
use dits_core::hash::{ChunkHash, FileHash, ManifestHash, SideTableHash};
use dits_core::item::{ItemId, ItemKind};
use dits_core::limits::BLOCK_LEN;
use dits_core::manifest::block_tree::{Page, TreeBuilder, block_value};
use dits_core::manifest::span::{ChunkEntry, Span};
use dits_core::manifest::{ChunkerId, Layout, Manifest, SideTableEntry, SpanEntry};
use dits_core::operations::OutlineError;
use dits_core::operations::hydrate::{Completeness, HydrateError, completeness, write_file, write_to};
use dits_core::operations::verify::{ProveError, prove};
use dits_core::pack_format::Domain;
use dits_core::pointer::Pointer;
use dits_core::store::{NewItem, PackWriter, ReadError, Sharing, Sources, Store, StoreOptions};
use proptest::prelude::*;

const MIB: usize = BLOCK_LEN as usize;

fn open(dir: &Path) -> Store {
    Store::open(StoreOptions { dir: dir.join("store"), index: dir.join("index.sqlite"), sharing: Sharing::Machine })
        .unwrap()
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn put(writer: &mut PackWriter<'_>, id: ItemId, plain: &[u8]) {
    writer.put(NewItem { id, codec: Codec::Raw, plain_len: plain.len() as u32, stored: plain }).unwrap();
}

/// A file's items, ready to be stored.
struct File {
    items: Vec<(ItemId, Vec<u8>)>,
    manifest: ManifestHash,
    pointer: Pointer,
}

impl File {
    /// Cuts the content every `chunk_len` bytes, and puts `span_len` chunks into a span.
    fn new(content: &[u8], chunk_len: usize, span_len: usize) -> File {
        let pointer = Pointer { oid: FileHash::of(content), size: content.len() as u64 };
        File::claiming(content, pointer, chunk_len, span_len)
    }

    /// As `new`, but with a pointer that may be a lie.
    fn claiming(content: &[u8], pointer: Pointer, chunk_len: usize, span_len: usize) -> File {
        let mut items = Vec::new();
        let mut entries = Vec::new();
        for chunk in content.chunks(chunk_len) {
            let hash = ChunkHash::of(chunk);
            entries.push(ChunkEntry::new(hash, chunk.len() as u32));
            items.push((hash.into(), chunk.to_vec()));
        }
        let layout = match entries.len() <= span_len {
            true => Layout::Inline(entries),
            false => {
                let spans = entries.chunks(span_len).map(|entries| Span::new(entries.to_vec()).unwrap());
                let mut named = Vec::new();
                for span in spans {
                    named.push(SpanEntry { hash: span.hash(), covers: span.covers() });
                    items.push((span.hash().into(), span.encode()));
                }
                Layout::Spans(named)
            }
        };
        let mut builder = TreeBuilder::default();
        let mut pages: Vec<Page> = Vec::new();
        for (block, bytes) in content.chunks(MIB).enumerate() {
            pages.extend(builder.push(block_value(block as u64 * BLOCK_LEN, bytes)));
        }
        let tree = builder.finish();
        pages.extend(tree.iter().filter_map(|tree| tree.last_page.clone()));
        for page in &pages {
            items.extend(page.bytes.iter().map(|bytes| (page.value.into(), bytes.clone())));
        }
        let side = b"a side table".to_vec();
        let side_hash = SideTableHash::from_bytes(*blake3::hash(&side).as_bytes());
        let side_tables = vec![SideTableEntry { kind: 7, len: side.len() as u32, hash: side_hash }];
        items.push((side_hash.into(), side));
        let pages = pages.iter().map(|page| page.value).collect();
        let manifest = Manifest::new(ChunkerId(9), pointer, layout, pages, side_tables).unwrap();
        items.push((manifest.hash().into(), manifest.encode()));
        File { items, manifest: manifest.hash(), pointer }
    }

    fn store(&self, store: &Store, domain: Domain) {
        self.store_where(store, domain, |_| true);
    }

    fn store_where(&self, store: &Store, domain: Domain, is_wanted: impl Fn(&ItemId) -> bool) {
        let mut writer = store.writer(domain);
        for (id, plain) in self.items.iter().filter(|(id, _)| is_wanted(id)) {
            put(&mut writer, *id, plain);
        }
        writer.commit().unwrap();
    }
}

fn hydrated(sources: &Sources, pointer: &Pointer) -> Result<Vec<u8>, HydrateError> {
    let mut out = Vec::new();
    write_to(sources, pointer, &mut out).map(|()| out)
}

/// What comes out into a file, on that many threads, and how many bytes were said to be written.
fn filed(sources: &Sources, pointer: &Pointer, threads: usize) -> Result<(Vec<u8>, u64), HydrateError> {
    let mut file = tempfile::tempfile().unwrap();
    let told = AtomicU64::new(0);
    write_file(sources, pointer, &file, threads, &|count| {
        told.fetch_add(count, Ordering::Relaxed);
        ControlFlow::Continue(())
    })?;
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    Ok((bytes, told.into_inner()))
}

fn nothing(_: &ItemId) -> bool {
    false
}

#[test]
fn what_was_stored_comes_back_and_is_proven() {
    for (len, chunk_len, span_len) in
        [(1, 1, 1), (MIB, 70_000, 8), (MIB + 1, 70_000, 512), (5 * MIB + 77, 100_000, 7), (2 * MIB, 65_536, 4)]
    {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let content = noise(len as u64, len);
        let file = File::new(&content, chunk_len, span_len);
        file.store(&store, Domain::LOCAL);
        assert_eq!(prove(&store, Domain::LOCAL, &file.manifest, None, &nothing).unwrap(), file.pointer);
        let again = prove(&store, Domain::LOCAL, &file.manifest, Some(&file.manifest), &nothing);
        assert_eq!(again.unwrap(), file.pointer);
        let sources = Sources::new(store, vec![]);
        assert_eq!(completeness(&sources, &file.pointer).unwrap(), Completeness::Complete);
        assert!(hydrated(&sources, &file.pointer).unwrap() == content, "{len} bytes");
        for threads in [1, 3] {
            assert!(filed(&sources, &file.pointer, threads).unwrap() == (content.clone(), len as u64), "{len} bytes");
        }
    }
}

#[test]
fn a_damaged_chunk_is_named_by_a_proof_and_passed_over_for_a_good_copy() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let content = noise(3, 3 * MIB + 5);
    let file = File::new(&content, 100_000, 8);
    file.store(&store, Domain::LOCAL);
    let pack = std::fs::read_dir(dir.path().join("store/open")).unwrap().map(|entry| entry.unwrap().path());
    let pack = pack.into_iter().find(|path| path.extension() == Some("pack".as_ref())).unwrap();
    let mut bytes = std::fs::read(&pack).unwrap();
    bytes[1_234_567] ^= 4;
    std::fs::write(&pack, bytes).unwrap();
    let error = prove(&store, Domain::LOCAL, &file.manifest, None, &nothing).unwrap_err();
    let chunk = ItemId::from(ChunkHash::of(&content[1_200_000..1_300_000]));
    let OutlineError::Read(ReadError::Damaged { id, .. }) = (match error {
        ProveError::Outline(error) => error,
        other => panic!("{other:?}"),
    }) else {
        panic!("the chunk is damaged")
    };
    assert_eq!(id, chunk);
    file.store_where(&store, Domain([7; 16]), |id| *id == chunk);
    let accepted = |id: &ItemId| *id == chunk;
    assert_eq!(prove(&store, Domain::LOCAL, &file.manifest, None, &accepted).unwrap(), file.pointer);
}

#[test]
fn a_file_that_is_written_on_all_cores_has_no_damaged_byte() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let content = noise(3, 40 * MIB + 5);
    let file = File::new(&content, 100_000, 128);
    file.store(&open(dirs[0].path()), Domain::LOCAL);
    let pack = std::fs::read_dir(dirs[0].path().join("store/open")).unwrap().map(|entry| entry.unwrap().path());
    let pack = pack.into_iter().find(|path| path.extension() == Some("pack".as_ref())).unwrap();
    let mut bytes = std::fs::read(&pack).unwrap();
    bytes[21_234_567] ^= 4;
    std::fs::write(&pack, bytes).unwrap();
    let chunk = ItemId::from(ChunkHash::of(&content[21_200_000..21_300_000]));
    for threads in [1, 3] {
        let alone = Sources::new(open(dirs[0].path()), vec![]);
        let error = filed(&alone, &file.pointer, threads).unwrap_err();
        let HydrateError::Outline(OutlineError::Read(ReadError::Damaged { id, .. })) = error else {
            panic!("the chunk is damaged: {error:?}")
        };
        assert_eq!(id, chunk);
    }
    file.store_where(&open(dirs[1].path()), Domain::LOCAL, |id| *id == chunk);
    let both = Sources::new(open(dirs[0].path()), vec![open(dirs[1].path())]);
    assert!(filed(&both, &file.pointer, 3).unwrap().0 == content);
}

#[test]
fn writing_a_file_stops_when_it_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let file = File::new(&noise(4, 40 * MIB), 100_000, 128);
    file.store(&store, Domain::LOCAL);
    let small = File::new(&noise(5, 300_000), 100_000, 128);
    small.store(&store, Domain::LOCAL);
    let sources = Sources::new(store, vec![]);
    for (pointer, threads) in [(file.pointer, 1), (file.pointer, 3), (small.pointer, 1)] {
        let told = AtomicU64::new(0);
        let stopped = write_file(&sources, &pointer, &tempfile::tempfile().unwrap(), threads, &|count| match told
            .fetch_add(count, Ordering::Relaxed)
            + count
            >= 200_000
        {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        });
        assert!(matches!(stopped, Err(HydrateError::Stopped)), "{stopped:?}");
        assert!(told.into_inner() <= 200_000 + threads as u64 * 200_000, "it went on");
    }
}

#[test]
fn every_missing_part_is_named() {
    let content = noise(1, 3 * MIB);
    let file = File::new(&content, 100_000, 9);
    for (left_out, plain) in &file.items {
        // One of each kind but chunks, and a few chunks.
        if left_out.kind == ItemKind::Chunk && plain[0] > 60 {
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        file.store_where(&store, Domain::LOCAL, |id| id != left_out);
        match prove(&store, Domain::LOCAL, &file.manifest, None, &nothing) {
            Err(ProveError::Missing(items)) => assert_eq!(items, [*left_out]),
            other => panic!("{left_out}: {other:?}"),
        }
        let sources = Sources::new(store, vec![]);
        let expected = match left_out.kind {
            ItemKind::Manifest => Completeness::NoManifest,
            ItemKind::Page | ItemKind::SideTable => Completeness::Complete,
            ItemKind::Chunk | ItemKind::Span => Completeness::Missing { items: vec![*left_out] },
        };
        assert_eq!(completeness(&sources, &file.pointer).unwrap(), expected);
        assert_eq!(hydrated(&sources, &file.pointer).is_ok(), expected == Completeness::Complete);
    }
}

#[test]
fn parts_of_another_domain_count_only_where_they_are_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let file = File::new(&noise(2, 2 * MIB), 100_000, 9);
    let (theirs, ours) = (Domain([1; 16]), Domain([2; 16]));
    file.store(&store, theirs);
    assert!(matches!(prove(&store, ours, &file.manifest, None, &nothing), Err(ProveError::Missing(_))));
    prove(&store, ours, &file.manifest, None, &|_| true).unwrap();
    prove(&store, theirs, &file.manifest, None, &nothing).unwrap();
}

#[test]
fn a_manifest_that_lies_about_its_content_is_never_proven() {
    let content = noise(3, 3 * MIB);
    let other = Pointer { oid: FileHash::of(b"other"), size: content.len() as u64 };
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let honest = File::new(&content, 100_000, 9);
    honest.store(&store, Domain::LOCAL);
    for liar in [
        File::claiming(&content, other, 100_000, 9),
        File::claiming(&content[..MIB], Pointer { size: MIB as u64, ..other }, 100_000, 9),
    ] {
        liar.store(&store, Domain::LOCAL);
        for base in [None, Some(&honest.manifest)] {
            let result = prove(&store, Domain::LOCAL, &liar.manifest, base, &nothing);
            assert!(matches!(result, Err(ProveError::Mismatch { .. })), "{result:?}");
        }
        let sources = Sources::new(open(dir.path()), vec![]);
        assert!(matches!(filed(&sources, &liar.pointer, 2), Err(HydrateError::WrongContent { .. })));
        let sources = Sources::new(open(dir.path()), vec![]);
        liar.store(sources.own(), Domain::LOCAL);
        assert!(hydrated(&sources, &liar.pointer).is_err());
    }
}

/// A file of two blocks, the first `len` bytes in chunks of one byte, by one span that is named often.
fn cut_into_crumbs(len: usize) -> File {
    let (content, crumbs) = (vec![7; 2 * MIB], len / 512);
    let [crumb, rest] = [1, 128 * 1024].map(|len| ChunkEntry::new(ChunkHash::of(&content[..len]), len as u32));
    let last = (2 * MIB - crumbs * 512) % (128 * 1024);
    let last = ChunkEntry::new(ChunkHash::of(&content[..last]), last as u32);
    let spans = [vec![crumb; 512], vec![rest], vec![last]].map(|entries| Span::new(entries).unwrap());
    let named = |span: &Span| SpanEntry { hash: span.hash(), covers: span.covers() };
    let mut file = File::new(&content, 128 * 1024, 8);
    let mut layout = vec![named(&spans[0]); crumbs];
    layout.extend(vec![named(&spans[1]); (2 * MIB - crumbs * 512) / (128 * 1024)]);
    layout.push(named(&spans[2]));
    let pages = Manifest::decode(&file.items.last().unwrap().1).unwrap().pages().to_vec();
    let manifest = Manifest::new(ChunkerId(1), file.pointer, Layout::Spans(layout), pages, vec![]).unwrap();
    file.items.extend([crumb, rest, last].map(|e| (e.hash.into(), content[..e.len as usize].to_vec())));
    file.items.extend(spans.iter().map(|span| (span.hash().into(), span.encode())));
    file.items.push((manifest.hash().into(), manifest.encode()));
    File { manifest: manifest.hash(), ..file }
}

#[test]
fn a_block_of_more_chunks_than_there_may_be_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let [fair, few, many] = [512, 1024, MIB - 512].map(cut_into_crumbs);
    for file in [&fair, &few, &many] {
        file.store(&store, Domain::LOCAL);
    }
    let proved = |file: &File| prove(&store, Domain::LOCAL, &file.manifest, None, &nothing);
    assert_eq!(proved(&fair).unwrap(), fair.pointer);
    for file in [&few, &many] {
        let Err(ProveError::Outline(error)) = proved(file) else { panic!("proven") };
        assert!(matches!(error, OutlineError::TooManyChunks { block: 0 }), "{error}");
    }
}

#[test]
fn a_manifest_that_leads_elsewhere_hides_no_good_one() {
    let (content, wrong) = (noise(1, 2 * MIB), noise(2, 2 * MIB));
    let file = File::new(&content, 70_000, 8);
    let liar = File::claiming(&wrong, file.pointer, 70_000, 8);
    let dir = tempfile::tempdir().unwrap();
    let sources = Sources::new(open(dir.path()), vec![]);
    liar.store(sources.own(), Domain::LOCAL);
    file.store(sources.own(), Domain::LOCAL);
    assert!(hydrated(&sources, &file.pointer).unwrap() == content);
    assert_eq!(sources.manifests_of(&file.pointer.oid).unwrap(), [file.manifest]);

    let dir = tempfile::tempdir().unwrap();
    let sources = Sources::new(open(dir.path()), vec![]);
    liar.store(sources.own(), Domain::LOCAL);
    assert!(matches!(hydrated(&sources, &file.pointer), Err(HydrateError::WrongContent { .. })));
    assert_eq!(completeness(&sources, &file.pointer).unwrap(), Completeness::NoManifest);
    file.store(sources.own(), Domain::LOCAL);
    assert!(hydrated(&sources, &file.pointer).unwrap() == content);
}

#[test]
fn a_page_from_another_level_of_the_tree_counts_as_missing() {
    let content = noise(4, 4 * MIB);
    let file = File::new(&content, 100_000, 9);
    let (page_id, page) = file.items.iter().find(|(id, _)| id.kind == ItemKind::Page).unwrap();
    let values: Vec<[u8; 32]> = page.chunks_exact(32).map(|value| value.try_into().unwrap()).collect();
    let merge = |left, right| blake3::hazmat::merge_subtrees_non_root(left, right, blake3::hazmat::Mode::Hash);
    let shorter = [merge(&values[0], &values[1]), merge(&values[2], &values[3])].concat();
    assert!(page_id.names(&shorter), "both forms have one id");

    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut writer = store.writer(Domain::LOCAL);
    put(&mut writer, *page_id, &shorter);
    writer.commit().unwrap();
    drop(writer);
    file.store_where(&store, Domain::LOCAL, |id| id != page_id);
    match prove(&store, Domain::LOCAL, &file.manifest, None, &nothing) {
        Err(ProveError::Missing(items)) => assert_eq!(items, [*page_id]),
        other => panic!("{other:?}"),
    }
    file.store(&store, Domain::LOCAL);
    prove(&store, Domain::LOCAL, &file.manifest, None, &nothing).unwrap();
}

#[test]
fn a_part_that_the_own_store_lacks_is_read_from_another() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let content = noise(5, 2 * MIB);
    let file = File::new(&content, 100_000, 9);
    let mut is_here = false;
    for dir in &dirs {
        is_here = !is_here;
        file.store_where(&open(dir.path()), Domain::LOCAL, |id| (id.hash[0] < 128) == is_here);
    }
    let sources = Sources::new(open(dirs[0].path()), vec![open(dirs[1].path())]);
    assert_eq!(completeness(&sources, &file.pointer).unwrap(), Completeness::Complete);
    assert!(hydrated(&sources, &file.pointer).unwrap() == content);
    assert!(filed(&sources, &file.pointer, 2).unwrap().0 == content);
    let alone = Sources::new(open(dirs[0].path()), vec![]);
    assert_ne!(completeness(&alone, &file.pointer).unwrap(), Completeness::Complete);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// A block that is taken from the base must never be another one's.
    #[test]
    fn a_proof_on_any_base_agrees_with_a_proof_on_none(
        len in MIB + 1..4 * MIB,
        edit in 0_usize..4 * MIB,
        grows_by in 0_usize..2 * MIB,
        lies: bool,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let content = noise(6, len);
        let base = File::new(&content, 90_000, 9);
        base.store(&store, Domain::LOCAL);
        let mut edited = content.clone();
        edited.extend(noise(7, grows_by));
        let at = edit % edited.len();
        edited[at] ^= 1;
        let honest = Pointer { oid: FileHash::of(&edited), size: edited.len() as u64 };
        let lie = Pointer { oid: base.pointer.oid, ..honest };
        let file = File::claiming(&edited, if lies { lie } else { honest }, 90_000, 9);
        file.store(&store, Domain::LOCAL);
        let alone = prove(&store, Domain::LOCAL, &file.manifest, None, &nothing).is_ok();
        let on_base = prove(&store, Domain::LOCAL, &file.manifest, Some(&base.manifest), &nothing);
        prop_assert_eq!(alone, !lies);
        prop_assert_eq!(on_base.is_ok(), !lies, "{:?}", on_base);
    }
}
