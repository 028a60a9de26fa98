//! The store as its callers see it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

#[path = "store/bit_flips.rs"]
mod bit_flips;
#[path = "store/check.rs"]
mod check;
#[path = "store/damage.rs"]
mod damage;
#[path = "store/scarce.rs"]
mod scarce;

use std::fs;
use std::path::Path;

use dits_core::codec::{Codec, Encoder};
use dits_core::hash::{ChunkHash, FileHash};
use dits_core::item::ItemId;
use dits_core::manifest::span::ChunkEntry;
use dits_core::manifest::{ChunkerId, Layout, Manifest};
use dits_core::pack_format::Domain;
use dits_core::pointer::Pointer;
use dits_core::store::{NewItem, PackWriter, ReadError, Sharing, Store, StoreError, StoreOptions, WriteError};

const SHARINGS: [Sharing; 2] = [Sharing::Machine, Sharing::Network];

fn options(dir: &Path, sharing: Sharing) -> StoreOptions {
    StoreOptions { dir: dir.join("store"), index: dir.join("index.sqlite"), sharing }
}

fn open(dir: &Path, sharing: Sharing) -> Store {
    Store::open(options(dir, sharing)).unwrap()
}

/// Bytes that do not compress, other ones for each seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn chunk_id(plain: &[u8]) -> ItemId {
    ChunkHash::of(plain).into()
}

fn put(writer: &mut PackWriter<'_>, id: ItemId, plain: &[u8]) -> Result<(), WriteError> {
    let mut encoder = Encoder::new();
    let (codec, stored) = encoder.encode(plain);
    writer.put(NewItem { id, codec, plain_len: plain.len() as u32, stored })
}

fn read(store: &Store, id: &ItemId) -> Result<Vec<u8>, ReadError> {
    let mut plain = Vec::new();
    store.read(id, &mut plain).map(|()| plain)
}

fn manifest_of(content: &[u8]) -> Manifest {
    let pointer = Pointer { oid: FileHash::of(content), size: content.len() as u64 };
    let layout = Layout::Inline(vec![ChunkEntry::new(ChunkHash::of(content), content.len() as u32)]);
    Manifest::new(ChunkerId(1), pointer, layout, vec![], vec![]).unwrap()
}

/// The one file with this ending below the store's folder.
fn only_file(dir: &Path, folder: &str, ending: &str) -> std::path::PathBuf {
    let files: Vec<_> = fs::read_dir(dir.join("store").join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

#[test]
fn what_was_committed_is_read_again_by_this_and_by_the_next_process() {
    for sharing in SHARINGS {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), sharing);
        let items: Vec<_> = (0..40).map(|n| if n % 2 == 0 { noise(n, 70_000) } else { vec![n as u8; 9_000] }).collect();
        let mut writer = store.writer(Domain::LOCAL);
        for plain in &items {
            put(&mut writer, chunk_id(plain), plain).unwrap();
            put(&mut writer, chunk_id(plain), plain).unwrap();
        }
        assert!(!store.has(&chunk_id(&items[0])).unwrap());
        writer.commit().unwrap();
        let later = open(dir.path(), sharing);
        for plain in &items {
            for store in [&store, &later] {
                let id = chunk_id(plain);
                assert!(store.has(&id).unwrap());
                assert!(store.has_in(Domain::LOCAL, &id).unwrap());
                assert!(!store.has_in(Domain([1; 16]), &id).unwrap());
                assert_eq!(&read(store, &id).unwrap(), plain);
                let stored = store.read_stored(&id).unwrap();
                assert_eq!((stored.id, stored.plain_len as usize), (id, plain.len()));
                assert_eq!(stored.codec == Codec::Zstd, plain.len() == 9_000);
            }
        }
        writer.sync().unwrap();
        let absent = chunk_id(b"absent");
        assert!(matches!(read(&store, &absent), Err(ReadError::Missing(id)) if id == absent));
    }
}

#[test]
fn manifests_are_found_by_the_file_they_are_about() {
    for sharing in SHARINGS {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), sharing);
        let manifest = manifest_of(b"some content");
        let mut writer = store.writer(Domain::LOCAL);
        put(&mut writer, manifest.hash().into(), &manifest.encode()).unwrap();
        writer.commit().unwrap();
        let oid = manifest.pointer().oid;
        assert_eq!(store.manifests_of(&oid).unwrap(), [manifest.hash()]);
        drop(writer);
        drop(store);
        fs::remove_file(dir.path().join("index.sqlite")).unwrap();
        let store = open(dir.path(), sharing);
        assert_eq!(store.manifests_of(&oid).unwrap(), [manifest.hash()]);
        assert_eq!(store.manifests_of(&FileHash::of(b"other")).unwrap(), []);
    }
}

#[test]
fn a_full_pack_is_sealed_and_read_on_through_old_and_new_handles() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Sharing::Machine);
    let reader = open(dir.path(), Sharing::Machine);
    let mut writer = store.writer(Domain::LOCAL);
    let first = noise(0, 200_000);
    put(&mut writer, chunk_id(&first), &first).unwrap();
    writer.commit().unwrap();
    assert_eq!(read(&reader, &chunk_id(&first)).unwrap(), first);
    let plain: Vec<_> = (1..360).map(|n| noise(n, 200_000)).collect();
    for plain in &plain {
        put(&mut writer, chunk_id(plain), plain).unwrap();
    }
    writer.sync().unwrap();
    drop(writer);
    only_file(dir.path(), "packs", ".pack");
    only_file(dir.path(), "open", ".pack");
    let later = open(dir.path(), Sharing::Machine);
    for plain in plain.iter().chain([&first]).step_by(7) {
        for store in [&store, &reader, &later] {
            assert_eq!(&read(store, &chunk_id(plain)).unwrap(), plain);
        }
    }
}

#[test]
fn a_store_is_opened_only_where_there_is_one_of_a_known_version() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Store::open_existing(options(dir.path(), Sharing::Machine)).unwrap().is_none());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    drop(open(dir.path(), Sharing::Machine));
    assert!(Store::open_existing(options(dir.path(), Sharing::Machine)).unwrap().is_some());
    fs::write(dir.path().join("store/format"), "dits store 2\n").unwrap();
    let error = Store::open(options(dir.path(), Sharing::Machine)).unwrap_err();
    assert!(matches!(&error, StoreError::UnknownVersion { found, .. } if found == "dits store 2"), "{error}");
    fs::write(dir.path().join("store/format"), "something").unwrap();
    let error = Store::open(options(dir.path(), Sharing::Machine)).unwrap_err();
    assert!(matches!(error, StoreError::NotAStore { .. }), "{error}");
}

#[test]
fn what_the_disk_does_not_give_does_not_count_as_there_and_is_stored_again() {
    let dir = tempfile::tempdir().unwrap();
    let plain = noise(1, 3000);
    let id = chunk_id(&plain);
    let store = open(dir.path(), Sharing::Machine);
    let mut writer = store.writer(Domain::LOCAL);
    put(&mut writer, id, &plain).unwrap();
    writer.commit().unwrap();
    drop(writer);
    drop(store);
    // A folder can be opened and not read, as a file on a bad sector.
    let pack = only_file(dir.path(), "open", ".pack");
    fs::remove_file(&pack).unwrap();
    fs::create_dir(&pack).unwrap();
    let store = open(dir.path(), Sharing::Machine);
    assert!(matches!(read(&store, &id), Err(ReadError::Unreadable { .. })));
    assert!(!store.has(&id).unwrap());
    let mut writer = store.writer(Domain::LOCAL);
    put(&mut writer, id, &plain).unwrap();
    writer.commit().unwrap();
    assert_eq!(read(&store, &id).unwrap(), plain);
}

#[test]
fn a_format_file_that_a_power_loss_emptied_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (noise(1, 3000), noise(2, 3000));
    let store = open(dir.path(), Sharing::Machine);
    let mut writer = store.writer(Domain::LOCAL);
    put(&mut writer, chunk_id(&first), &first).unwrap();
    writer.sync().unwrap();
    drop(writer);
    let format = dir.path().join("store/format");
    fs::write(&format, "").unwrap();
    let store = open(dir.path(), Sharing::Machine);
    assert_eq!(read(&store, &chunk_id(&first)).unwrap(), first);
    let mut writer = store.writer(Domain::LOCAL);
    put(&mut writer, chunk_id(&second), &second).unwrap();
    writer.commit().unwrap();
    assert_eq!(fs::read_to_string(&format).unwrap(), "dits store 1\n");

    let other = dir.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("format"), "").unwrap();
    let options = StoreOptions { dir: other, ..options(dir.path(), Sharing::Machine) };
    assert!(matches!(Store::open(options), Err(StoreError::NotAStore { .. })));
}

#[test]
fn the_next_writer_goes_on_in_the_pack_that_the_last_one_left() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..5 {
        let store = open(dir.path(), Sharing::Machine);
        let mut writer = store.writer(Domain::LOCAL);
        let plain = noise(n, 50_000);
        put(&mut writer, chunk_id(&plain), &plain).unwrap();
        writer.commit().unwrap();
    }
    let pack = only_file(dir.path(), "open", ".pack");
    assert_eq!(fs::metadata(pack).unwrap().len(), 5 * 50_000, "no reserved room is left behind");
    let store = open(dir.path(), Sharing::Machine);
    for n in 0..5 {
        assert_eq!(read(&store, &chunk_id(&noise(n, 50_000))).unwrap(), noise(n, 50_000));
    }
}

#[test]
fn items_with_impossible_lengths_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Sharing::Machine);
    let mut writer = store.writer(Domain::LOCAL);
    let id = chunk_id(b"x");
    for (codec, plain_len, stored) in [
        (Codec::Raw, 0, vec![]),
        (Codec::Raw, 2, vec![1]),
        (Codec::Zstd, 1, vec![1]),
        (Codec::Zstd, 5, vec![]),
        (Codec::Raw, 300_000, vec![0; 300_000]),
    ] {
        let refused = writer.put(NewItem { id, codec, plain_len, stored: &stored });
        assert!(matches!(refused, Err(WriteError::Malformed(_))), "{refused:?}");
    }
    let id = ItemId { kind: dits_core::item::ItemKind::Manifest, hash: [1; 32] };
    assert!(writer.put(NewItem { id, codec: Codec::Raw, plain_len: 1, stored: b"x" }).is_err());
    put(&mut writer, chunk_id(b"y"), b"y").unwrap();
    writer.commit().unwrap();
}
