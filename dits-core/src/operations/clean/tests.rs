use super::*;
use crate::chunking::tree_hasher::Hashed;
use crate::hash::FileHash;
use crate::item::ItemKind;
use crate::manifest::span::{ChunkEntry, Span};
use crate::manifest::{Layout, Manifest};
use crate::pack_format::Domain;
use crate::store::{Sharing, Store, StoreOptions};
use proptest::prelude::*;
use tempfile::TempDir;

const MIB: usize = 1 << 20;

struct World {
    dir: TempDir,
    sources: Sources,
}

fn world() -> World {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let sources = open(&dir);
    World { dir, sources }
}

fn open(dir: &TempDir) -> Sources {
    let store = dir.path().join("store");
    let options = StoreOptions { index: store.join("index.sqlite"), dir: store, sharing: Sharing::Machine };
    Sources::new(Store::open(options).expect("a new store"), Vec::new())
}

impl World {
    fn clean(&self, content: &[u8], block_len: usize, hash_threads: usize) -> Result<Cleaned, CleanError> {
        let mut writer = self.sources.own().writer(Domain::LOCAL);
        let mut cleaner = Cleaner::new(&self.sources, &mut writer, CleanOptions { hash_threads });
        for block in content.chunks(block_len) {
            let mut buffer = cleaner.spent_block().unwrap_or_default();
            buffer.clear();
            buffer.extend_from_slice(block);
            cleaner.push(buffer)?;
        }
        cleaner.finish()
    }

    /// Adds a file at a path, where an earlier version of it may have been added.
    fn store_at(&self, path: &[u8], content: &[u8], block_len: usize) -> (Pointer, CleanStats) {
        let mut writer = self.sources.own().writer(Domain::LOCAL);
        let mut cleaner = Cleaner::new(&self.sources, &mut writer, CleanOptions::default()).at(path);
        content.chunks(block_len).for_each(|block| cleaner.push(block.to_vec()).expect("the store can be written"));
        let cleaned = cleaner.finish().expect("the store can be written");
        let Outcome::Stored(pointer) = cleaned.outcome else { panic!("{cleaned:?}") };
        (pointer, cleaned.stats)
    }

    fn store(&self, content: &[u8]) -> (Pointer, CleanStats) {
        let cleaned = self.clean(content, 4 * MIB, 2).expect("the store can be written");
        match cleaned.outcome {
            Outcome::Stored(pointer) => (pointer, cleaned.stats),
            other => panic!("{other:?}"),
        }
    }

    fn manifest_of_new(&self, content: &[u8]) -> Manifest {
        let (pointer, _) = self.store(content);
        self.manifest(&pointer)
    }

    fn read(&self, id: ItemId) -> Vec<u8> {
        let mut plain = Vec::new();
        self.sources.read(&id, &mut plain).expect("the item is there");
        plain
    }

    fn manifest(&self, pointer: &Pointer) -> Manifest {
        let manifests = self.sources.manifests_of(&pointer.oid).expect("the store can be read");
        let [only] = manifests.as_slice() else { panic!("{manifests:?}") };
        Manifest::decode(&self.read((*only).into())).expect("a valid manifest")
    }

    fn entries(&self, manifest: &Manifest) -> Vec<ChunkEntry> {
        match manifest.layout() {
            Layout::Inline(entries) => entries.clone(),
            Layout::Spans(spans) => spans
                .iter()
                .flat_map(|entry| {
                    let span = Span::decode(&self.read(entry.hash.into())).expect("a valid span");
                    assert_eq!(span.covers(), entry.covers);
                    span.entries().to_vec()
                })
                .collect(),
        }
    }

    /// Everything that a pointer stands for is there and leads back to the content.
    fn check(&self, pointer: &Pointer, content: &[u8]) {
        assert_eq!(*pointer, Pointer { oid: FileHash::of(content), size: content.len() as u64 });
        let manifest = self.manifest(pointer);
        let mut rest = content;
        for entry in self.entries(&manifest) {
            let (bytes, behind) = rest.split_at(entry.len as usize);
            assert!(self.read(entry.hash.into()) == bytes);
            rest = behind;
        }
        assert!(rest.is_empty());
        let page_lens = content.chunks(limits::PAGE_COVERS as usize).map(|page| page.len().div_ceil(MIB));
        for (value, blocks) in manifest.pages().iter().zip(page_lens) {
            if blocks > 1 {
                assert_eq!(self.read((*value).into()).len(), blocks * 32);
            }
        }
    }
}

fn noise(seed: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

#[test]
fn files_of_every_size_class_come_back() {
    let world = world();
    let content = noise(1, 12 * MIB);
    for len in [1, 99, 15 << 10, 16 << 10, 64 << 10, 256 << 10, MIB - 1, MIB, MIB + 1, 8 * MIB, 12 * MIB - 5] {
        let (pointer, _) = world.store(&content[..len]);
        world.check(&pointer, &content[..len]);
    }
}

impl World {
    /// Adds a file whose length is said before.
    fn store_expected(&self, content: &[u8]) -> Pointer {
        let mut writer = self.sources.own().writer(Domain::LOCAL);
        let cleaner = Cleaner::new(&self.sources, &mut writer, CleanOptions::default());
        let mut cleaner = cleaner.expecting(content.len() as u64);
        content.chunks(4 * MIB).for_each(|block| cleaner.push(block.to_vec()).expect("the store can be written"));
        let cleaned = cleaner.finish().expect("the store can be written");
        writer.sync().expect("the store can be written");
        let Outcome::Stored(pointer) = cleaned.outcome else { panic!("{cleaned:?}") };
        pointer
    }

    /// Sealed packs that begin with this content, and how many there are.
    fn packs_of(&self, content: &[u8]) -> (usize, usize) {
        let packs = std::fs::read_dir(self.dir.path().join("store/packs")).expect("the store has packs");
        let packs: Vec<_> = packs.map(|pack| std::fs::read(pack.expect("listed").path()).expect("a pack")).collect();
        (packs.iter().filter(|pack| pack.starts_with(content)).count(), packs.len())
    }
}

#[test]
fn a_long_file_that_is_new_is_a_pack_byte_for_byte() {
    let world = world();
    // The head would shrink, as a sample table does; the rest would not.
    let content = [vec![7; 200 << 10], noise(1, 66 * MIB)].concat();
    let pointer = world.store_expected(&content);
    world.check(&pointer, &content);
    assert_eq!(world.packs_of(&content), (1, 1));
    // The next version has only what is new of it, and that is in no pack of its own.
    let mut edited = content.clone();
    edited[30 * MIB..31 * MIB].copy_from_slice(&noise(2, MIB));
    let pointer = world.store_expected(&edited);
    world.check(&pointer, &edited);
    assert_eq!(world.packs_of(&content), (1, 1));
}

#[test]
fn a_file_that_shrinks_or_repeats_itself_is_put_into_packs_of_the_usual_length() {
    let world = world();
    let shrinking = vec![1; 66 * MIB];
    let pointer = world.store_expected(&shrinking);
    world.check(&pointer, &shrinking);
    assert_eq!(world.packs_of(&shrinking).0, 0);
    let half = noise(3, 40 * MIB);
    let repeating = [half.clone(), half].concat();
    let pointer = world.store_expected(&repeating);
    world.check(&pointer, &repeating);
    assert_eq!(world.packs_of(&repeating).0, 0);
}

#[test]
fn pages_are_stored_at_every_edge_of_256_mib() {
    let world = world();
    // Cheap content: one chunk again and again, but blocks that differ.
    let mut content = vec![0; 257 * MIB];
    content.chunks_mut(MIB).enumerate().for_each(|(number, block)| block[0] = number as u8);
    for len in [255 * MIB, 256 * MIB, 256 * MIB + 1, 257 * MIB] {
        let (pointer, _) = world.store(&content[..len]);
        world.check(&pointer, &content[..len]);
        assert_eq!(world.manifest(&pointer).pages().len(), len.div_ceil(256 * MIB));
    }
}

#[test]
fn spans_end_where_their_rule_says() {
    let world = world();
    let content = noise(2, 44 * MIB);
    let (pointer, stats) = world.store(&content);
    world.check(&pointer, &content);
    assert!(stats.chunk_count > limits::SPAN_ENTRIES_MAX as u64);
    let manifest = world.manifest(&pointer);
    let Layout::Spans(spans) = manifest.layout() else { panic!("a file of many chunks has spans") };
    let (last, others) = spans.split_last().expect("there are spans");
    assert!(others.iter().all(|span| world.read(span.hash.into()).len() >= limits::SPAN_ENTRIES_MIN * 36));
    assert!(!world.read(last.hash.into()).is_empty());
}

#[test]
fn one_span_is_inlined_up_to_its_last_entry() {
    // Constant runs give chunks of the greatest length, so the count is known.
    for (chunk_count, is_inline) in [(127, true), (128, true), (511, true), (512, true), (513, false)] {
        let mut recipe = recipe::Recipe::default();
        let entry = ChunkEntry::new(crate::hash::ChunkHash::from_bytes([1; 32]), 1);
        let spans: Vec<_> = (0..chunk_count).filter_map(|_| recipe.push(entry)).collect();
        let hashed = Hashed::OneBlock(FileHash::of(b"x"));
        let described = recipe.finish(hashed, chunk_count).expect("the parts fit");
        assert_eq!(described.last_span.is_none(), is_inline, "{chunk_count}");
        assert_eq!(spans.is_empty(), is_inline);
        assert_eq!(matches!(described.manifest.layout(), Layout::Inline(_)), is_inline);
    }
}

#[test]
fn cleaning_again_writes_nothing() {
    let world = world();
    let content = noise(3, 20 * MIB);
    let (pointer, first) = world.store(&content);
    assert_eq!(first.new_chunk_count, first.chunk_count);
    let again = World { sources: open(&world.dir), dir: world.dir };
    let (same, second) = again.store(&content);
    assert_eq!((same, second.new_chunk_count, second.new_bytes), (pointer, 0, 0));
}

#[test]
fn an_edit_stores_little_more_than_itself() {
    let world = world();
    let mut content = noise(4, 40 * MIB);
    world.store(&content);
    content[17 * MIB..18 * MIB].copy_from_slice(&noise(5, MIB));
    let (pointer, stats) = world.store(&content);
    assert!(stats.new_bytes < 13 * MIB as u64 / 10, "{stats:?}");
    world.check(&pointer, &content);
    content.splice(3 * MIB..3 * MIB, noise(6, 1000));
    let (pointer, stats) = world.store(&content);
    assert!(stats.new_bytes < 300_000, "{stats:?}");
    world.check(&pointer, &content);
}

#[test]
fn the_empty_file_and_pointers_stay_as_they_are() {
    let world = world();
    let clean = |content: &[u8]| world.clean(content, 7, 1).expect("nothing fails");
    assert_eq!(clean(b"").outcome, Outcome::Empty);
    let pointer = Pointer { oid: FileHash::of(b"example"), size: 7 }.to_string();
    assert_eq!(clean(pointer.as_bytes()).outcome, Outcome::AlreadyPointer(pointer.clone().into_bytes()));
    assert_eq!(clean(pointer.as_bytes()).outcome.bytes(), pointer.as_bytes());
    let written = std::fs::read_dir(world.dir.path().join("store/open")).map_or(0, Iterator::count);
    assert_eq!(written, 0, "nothing was written for them");
}

#[test]
fn what_only_looks_like_a_pointer_is_content_with_a_warning() {
    let world = world();
    let pointer = Pointer { oid: FileHash::of(b"example"), size: 7 }.to_string();
    for (content, warning) in [
        (format!("{pointer}more"), Some(CleanWarning::PointerWithMore)),
        (format!("{pointer}{}", "more".repeat(100_000)), Some(CleanWarning::PointerWithMore)),
        (pointer.replace("dits 1", "dits 2"), Some(CleanWarning::UnknownPointerVersion)),
        (pointer.replace("blake3", "sha256"), None),
    ] {
        let cleaned = world.clean(content.as_bytes(), MIB, 1).expect("nothing fails");
        assert_eq!(cleaned.warning, warning);
        let Outcome::Stored(pointer) = cleaned.outcome else { panic!("{:?}", cleaned.outcome) };
        world.check(&pointer, content.as_bytes());
    }
}

#[test]
fn pointers_with_conflict_markers_are_refused() {
    let world = world();
    let pointer = Pointer { oid: FileHash::of(b"example"), size: 7 }.to_string();
    let conflict = format!("<<<<<<< HEAD\n{pointer}=======\n{pointer}>>>>>>> other\n");
    for block_len in [7, MIB] {
        let refused = world.clean(conflict.as_bytes(), block_len, 1);
        assert!(matches!(refused, Err(CleanError::Conflicted)), "{refused:?}");
    }
    let long = conflict.repeat(100);
    let cleaned = world.clean(long.as_bytes(), MIB, 1).expect("it is too long to be one");
    assert!(matches!(cleaned.outcome, Outcome::Stored(_)));
}

#[test]
fn a_store_that_cannot_be_written_fails_the_file() {
    let world = world();
    let open = world.dir.path().join("store/open");
    let _ = std::fs::remove_dir_all(&open);
    std::fs::write(&open, b"in the way").expect("a file in place of the folder");
    assert!(world.clean(&noise(7, MIB), MIB, 1).is_err());
}

#[test]
fn every_kind_of_item_is_written_once() {
    let world = world();
    let content = noise(8, 44 * MIB);
    let mut writer = world.sources.own().writer(Domain::LOCAL);
    let mut pointers = Vec::new();
    for _ in 0..2 {
        let mut cleaner = Cleaner::new(&world.sources, &mut writer, CleanOptions::default());
        cleaner.push(content.clone()).expect("the store can be written");
        pointers.push(cleaner.finish().expect("the store can be written"));
    }
    assert_eq!(pointers[0].outcome, pointers[1].outcome);
    assert_eq!(pointers[1].stats.new_bytes, 0);
    let Outcome::Stored(pointer) = pointers[0].outcome else { panic!("stored") };
    let manifest = ItemId { kind: ItemKind::Manifest, hash: *world.manifest(&pointer).hash().as_bytes() };
    assert!(world.sources.has(&manifest).expect("the store can be read"));
}

#[test]
fn an_edit_is_compared_with_the_version_before() {
    let world = world();
    let content = noise(9, 40 * MIB + 77);
    let mut edited = content.clone();
    edited[20 * MIB + 5..21 * MIB].fill(1);
    let (first, stats) = world.store_at(b"film/take 1.mov", &content, 4 * MIB);
    assert_eq!(stats.same_len, 0);
    world.check(&first, &content);
    let (second, stats) = world.store_at(b"film/take 1.mov", &edited, 4 * MIB);
    assert!(stats.same_len >= 32 * MIB as u64, "{stats:?}");
    assert!(stats.new_bytes < 2 * MIB as u64, "{stats:?}");
    world.check(&second, &edited);
    assert_eq!(world.manifest(&second), super::tests::world().manifest_of_new(&edited));
    // However short the blocks are that come, the first megabytes are compared too.
    assert!(world.store_at(b"film/take 1.mov", &edited, MIB).1.same_len >= 39 * MIB as u64);
    // Nothing was new this time, and nothing was the same as at another path.
    assert_eq!(world.store_at(b"film/take 1.mov", &edited, 4 * MIB).1.new_bytes, 0);
    assert_eq!(world.store_at(b"film/take 2.mov", &edited, 4 * MIB).1.same_len, 0);
}

#[test]
fn whatever_the_version_before_was_the_manifest_is_the_same() {
    let content = noise(10, 19 * MIB + 12_345);
    let (head, tail) = content.split_at(9 * MIB + 1_000);
    let edits: Vec<Vec<u8>> = vec![
        [head, &[5; 3], tail].concat(),
        [head, &tail[MIB..]].concat(),
        head.to_vec(),
        [&content[..], &noise(11, 3 * MIB)].concat(),
        [&noise(12, MIB), &content[MIB..]].concat(),
        noise(13, 12 * MIB),
    ];
    let world = world();
    for edit in edits.iter().chain([&content]).chain(&edits) {
        for block_len in [4 * MIB, MIB, 3_000_000] {
            let (pointer, _) = world.store_at(b"clip", edit, block_len);
            world.check(&pointer, edit);
            assert_eq!(world.manifest(&pointer), super::tests::world().manifest_of_new(edit));
        }
    }
}

#[test]
fn a_chunk_that_is_gone_is_stored_again_though_its_block_is_the_same() {
    let world = world();
    let content = noise(14, 20 * MIB);
    let (pointer, _) = world.store_at(b"clip", &content, 4 * MIB);
    let chunk = world.entries(&world.manifest(&pointer))[100];
    let open = std::fs::read_dir(world.dir.path().join("store/open")).expect("the store has open packs");
    let mut packs = open.map(|entry| entry.expect("an entry").path());
    let pack = packs.find(|path| path.extension() == Some("pack".as_ref())).expect("one is open");
    let bytes = std::fs::read(&pack).expect("the pack can be read");
    let plain = world.read(chunk.hash.into());
    let at = bytes.windows(64).position(|window| window == &plain[..64]).expect("the chunk is stored as it is");
    let mut damaged = bytes;
    damaged[at] ^= 1;
    std::fs::write(&pack, damaged).expect("the pack can be written");
    assert!(world.sources.read(&chunk.hash.into(), &mut Vec::new()).is_err());
    let (again, stats) = world.store_at(b"clip", &content, 4 * MIB);
    assert_eq!((again, stats.new_chunk_count), (pointer, 1));
    assert!(stats.same_len >= 12 * MIB as u64, "{stats:?}");
    world.check(&pointer, &content);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn blocks_and_threads_change_nothing(
        seed: u8,
        len in 1_usize..20 * MIB,
        run_len in 0_usize..6 * MIB,
        block_len in prop_oneof![Just(MIB), Just(4 * MIB), 100_000_usize..3 * MIB],
        hash_threads in 1_usize..3,
    ) {
        let world = world();
        let mut content = noise(seed, len);
        let run = len / 2..(len / 2 + run_len).min(len);
        content[run].fill(seed);
        let cleaned = world.clean(&content, block_len, hash_threads).expect("the store can be written");
        let Outcome::Stored(pointer) = cleaned.outcome else { panic!("stored") };
        world.check(&pointer, &content);
        let one = super::tests::world();
        let (other, stats) = (one.clean(&content, usize::MAX, 1).expect("written").outcome, cleaned.stats);
        prop_assert_eq!(other, Outcome::Stored(pointer));
        prop_assert_eq!(one.manifest(&pointer), world.manifest(&pointer));
        prop_assert!(stats.chunk_count > 0);
    }
}
