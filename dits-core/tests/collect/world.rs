//! A store, files to put into it, and hands to change what time and damage change.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use dits_core::codec::Codec;
use dits_core::hash::{ChunkHash, FileHash};
use dits_core::item::{ItemId, ItemKind};
use dits_core::manifest::span::{ChunkEntry, Span};
use dits_core::manifest::{ChunkerId, Layout, Manifest, SpanEntry};
use dits_core::operations::collect::{CollectError, CollectOptions, CollectProgress, Collected, Root, collect};
use dits_core::pack_format::Domain;
use dits_core::pointer::Pointer;
use dits_core::store::{NewItem, PackWriter, Sharing, Store, StoreOptions};

/// In seconds.
pub const HOUR: i64 = 3600;
/// Entries of one span of a file here.
const SPAN_LEN: usize = 6;

/// Bytes that do not compress, other ones for each seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A file, cut.
#[derive(Debug, Clone)]
pub struct Media {
    chunks: Vec<Vec<u8>>,
}

impl Media {
    pub fn of_chunks(chunks: Vec<Vec<u8>>) -> Media {
        Media { chunks }
    }

    pub fn chunks(&self) -> &[Vec<u8>] {
        &self.chunks
    }

    pub fn content(&self) -> Vec<u8> {
        self.chunks.concat()
    }

    pub fn len(&self) -> usize {
        self.chunks.iter().map(Vec::len).sum()
    }

    pub fn oid(&self) -> FileHash {
        FileHash::of(&self.content())
    }

    fn spans(&self) -> Vec<Span> {
        let entries = |chunks: &[Vec<u8>]| {
            chunks.iter().map(|chunk| ChunkEntry::new(ChunkHash::of(chunk), chunk.len() as u32)).collect()
        };
        self.chunks.chunks(SPAN_LEN).map(|chunks| Span::new(entries(chunks)).unwrap()).collect()
    }

    pub fn manifest(&self) -> Manifest {
        let pointer = Pointer { oid: self.oid(), size: self.len() as u64 };
        let spans = self.spans();
        let layout = match spans.len() {
            1 => Layout::Inline(spans[0].entries().to_vec()),
            _ => {
                Layout::Spans(spans.iter().map(|span| SpanEntry { hash: span.hash(), covers: span.covers() }).collect())
            }
        };
        Manifest::new(ChunkerId(1), pointer, layout, vec![], vec![]).unwrap()
    }

    /// All its items, in the order in which they are stored.
    pub fn items(&self) -> Vec<(ItemId, Vec<u8>)> {
        let mut items: Vec<(ItemId, Vec<u8>)> =
            self.chunks.iter().map(|chunk| (ChunkHash::of(chunk).into(), chunk.clone())).collect();
        let spans = self.spans();
        if spans.len() > 1 {
            items.extend(spans.iter().map(|span| (span.hash().into(), span.encode())));
        }
        let manifest = self.manifest();
        items.push((manifest.hash().into(), manifest.encode()));
        items
    }

    pub fn ids(&self) -> Vec<ItemId> {
        self.items().into_iter().map(|(id, _)| id).collect()
    }

    pub fn item_count(&self) -> u64 {
        self.ids().into_iter().collect::<BTreeSet<_>>().len() as u64
    }
}

fn put(writer: &mut PackWriter<'_>, id: ItemId, plain: &[u8]) {
    writer.put(NewItem { id, codec: Codec::Raw, plain_len: plain.len() as u32, stored: plain }).unwrap();
}

pub struct World {
    dir: tempfile::TempDir,
    sharing: Sharing,
}

impl World {
    pub fn new(sharing: Sharing) -> World {
        World { dir: tempfile::tempdir().unwrap(), sharing }
    }

    /// A world in memory, where that can be had: nothing here is about a disk that is slow.
    pub fn in_memory(sharing: Sharing) -> World {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        World { dir: dir.unwrap(), sharing }
    }

    /// A collection of all that is old enough by an hour.
    pub fn options() -> CollectOptions {
        CollectOptions { grace: Duration::from_secs(3600), linger: Duration::ZERO, ..CollectOptions::default() }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn index(&self) -> PathBuf {
        self.path().join("index.sqlite")
    }

    pub fn open(&self) -> Store {
        open(self.path(), &self.index(), self.sharing)
    }

    /// The same store as another machine sees it.
    pub fn open_elsewhere(&self) -> Store {
        open(self.path(), &self.path().join("elsewhere.sqlite"), self.sharing)
    }

    /// Another file for each seed.
    pub fn file(&self, seed: u64, chunk_count: usize) -> Media {
        let chunk = |n: usize| noise(seed * 1000 + n as u64, 200 + n * 37 % 900);
        Media { chunks: (0..chunk_count).map(chunk).collect() }
    }

    /// A file that has all but the first `changed` chunks of another.
    pub fn file_like(&self, seed: u64, chunk_count: usize, changed: usize) -> Media {
        let mut file = self.file(seed, chunk_count);
        file.chunks[..changed].clone_from_slice(&self.file(seed + 500, changed).chunks);
        file
    }

    /// Stores a file as `git add` does.
    pub fn add(&self, file: &Media) {
        add_to_store(&self.open(), Domain::LOCAL, file);
    }

    pub fn add_to(&self, domain: Domain, file: &Media) {
        add_to_store(&self.open(), domain, file);
    }

    /// Stores a file in sealed packs that have nothing else.
    pub fn add_alone(&self, file: &Media) {
        match self.sharing {
            Sharing::Network => self.add(file),
            Sharing::Machine => self.add_file_pack(file),
        }
    }

    /// Stores the chunks of a file in a pack of its own.
    pub fn add_file_pack(&self, file: &Media) {
        let store = self.open();
        let mut writer = store.writer(Domain::LOCAL);
        writer.begin_file();
        for (id, plain) in file.items() {
            if !store.has(&id).unwrap() {
                put(&mut writer, id, &plain);
            }
        }
        writer.end_file().unwrap();
        writer.commit().unwrap();
    }

    /// Stores a file whether or not it is there, and another behind it.
    pub fn add_twice(&self, file: &Media, other: &Media) {
        let store = self.open();
        let mut writer = store.writer(Domain::LOCAL);
        file.items().iter().chain(&other.items()).for_each(|(id, plain)| put(&mut writer, *id, plain));
        writer.commit().unwrap();
    }

    /// Stores what describes a file in another pack than its chunks.
    pub fn add_spans_apart(&self, file: &Media) {
        let store = self.open();
        let mut writer = store.writer(Domain::LOCAL);
        writer.begin_file();
        let (chunks, rest): (Vec<_>, Vec<_>) = file.items().into_iter().partition(|(id, _)| id.kind == ItemKind::Chunk);
        chunks.iter().for_each(|(id, plain)| put(&mut writer, *id, plain));
        writer.end_file().unwrap();
        writer.commit().unwrap();
        rest.iter().for_each(|(id, plain)| put(&mut writer, *id, plain));
        writer.commit().unwrap();
    }

    pub fn reads(&self, file: &Media) -> bool {
        self.reads_from(&self.open(), file)
    }

    /// Returns true if the file can be read, by a manifest that the store itself names.
    pub fn reads_from(&self, store: &Store, file: &Media) -> bool {
        reads(store, file)
    }

    pub fn has_all_of(&self, store: &Store, file: &Media) -> bool {
        store.has_each(&file.ids()).unwrap().iter().all(|has| *has)
    }

    pub fn has_anything_of(&self, file: &Media) -> bool {
        let store = self.open();
        let mut plain = Vec::new();
        file.ids().iter().any(|id| store.read(id, &mut plain).is_ok())
    }

    pub fn collect(&self, files: &[&Media], options: &CollectOptions) -> Result<Collected, CollectError> {
        let roots: Vec<Root> = files.iter().map(|file| Root::File(file.oid())).collect();
        self.collect_with(options, &mut || roots.clone(), &|_| {})
    }

    /// Collects until all is done, an hour later where that is needed.
    pub fn collect_whole(&self, files: &[&Media]) -> Collected {
        let mut facts = self.collect(files, &World::options()).unwrap();
        if facts.waiting_packs > 0 {
            self.date_marks(-2 * HOUR);
            let later = self.collect(files, &World::options()).unwrap();
            facts.removed_packs += later.removed_packs;
            facts.removed_len += later.removed_len;
            facts.written_len += later.written_len;
            facts.waiting_packs = later.waiting_packs;
        }
        facts
    }

    pub fn collect_with(
        &self,
        options: &CollectOptions,
        roots: &mut dyn FnMut() -> Vec<Root>,
        progress: &(dyn Fn(CollectProgress) + Sync),
    ) -> Result<Collected, CollectError> {
        collect_in(&self.open(), options, roots, progress)
    }

    /// Gives all packs a time that lies so many seconds from now.
    pub fn date_packs(&self, secs: i64) {
        self.date(&["packs", "open"], secs);
    }

    pub fn date_marks(&self, secs: i64) {
        self.date(&["condemned"], secs);
    }

    fn date(&self, folders: &[&str], secs: i64) {
        let by = Duration::from_secs(secs.unsigned_abs());
        let now = SystemTime::now();
        let time = if secs < 0 { now - by } else { now + by };
        for path in folders.iter().flat_map(|folder| list(&self.path().join("store").join(folder))) {
            File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
        }
    }

    pub fn packs(&self) -> Vec<PathBuf> {
        let mut packs = list(&self.path().join("store/packs"));
        packs.sort();
        packs
    }

    pub fn marks(&self) -> Vec<PathBuf> {
        list(&self.path().join("store/condemned"))
    }

    /// Every file of the store, with its length.
    pub fn listing(&self) -> BTreeSet<(PathBuf, u64)> {
        let folders = ["store", "store/packs", "store/open", "store/condemned"];
        let paths = folders.iter().flat_map(|folder| list(&self.path().join(folder)));
        paths.filter(|path| path.is_file()).map(|path| (path.clone(), fs::metadata(path).unwrap().len())).collect()
    }

    /// The pack that has the spans of a file.
    pub fn pack_of_spans(&self, file: &Media) -> PathBuf {
        let span = file.spans()[0].encode();
        let has_it = |path: &PathBuf| fs::read(path).unwrap().windows(span.len()).any(|window| window == span);
        let folders = ["store/packs", "store/open"].iter().flat_map(|folder| list(&self.path().join(folder)));
        folders.filter(|path| path.extension().is_some_and(|ending| ending == "pack")).find(has_it).unwrap()
    }

    pub fn flip(&self, path: &Path, at: u64) {
        flip(path, at, 1);
    }

    /// Damages every byte of a file; twice is as never.
    pub fn flip_all_of(&self, path: &Path) {
        flip(path, 0, fs::metadata(path).unwrap().len() as usize);
    }
}

pub fn open(dir: &Path, index: &Path, sharing: Sharing) -> Store {
    Store::open(StoreOptions { dir: dir.join("store"), index: index.to_owned(), sharing }).unwrap()
}

pub fn collect_in(
    store: &Store,
    options: &CollectOptions,
    roots: &mut dyn FnMut() -> Vec<Root>,
    progress: &(dyn Fn(CollectProgress) + Sync),
) -> Result<Collected, CollectError> {
    let mut hand_out = |take: &mut dyn FnMut(Root) -> Result<(), CollectError>| roots().into_iter().try_for_each(take);
    collect(store, options, &mut hand_out, progress)
}

pub fn add_to_store(store: &Store, domain: Domain, file: &Media) {
    let mut writer = store.writer(domain);
    for (id, plain) in file.items() {
        if !store.has_in(domain, &id).unwrap() {
            put(&mut writer, id, &plain);
        }
    }
    writer.commit().unwrap();
}

pub fn reads(store: &Store, file: &Media) -> bool {
    let mut plain = Vec::new();
    let manifests = store.manifests_of(&file.oid()).unwrap();
    manifests.iter().any(|hash| {
        let Ok(()) = store.read(&(*hash).into(), &mut plain) else { return false };
        let Ok(manifest) = Manifest::decode(&plain) else { return false };
        let mut content = Vec::new();
        let mut read = |entries: &[ChunkEntry], plain: &mut Vec<u8>| {
            entries
                .iter()
                .all(|entry| store.read(&entry.hash.into(), plain).map(|()| content.extend_from_slice(plain)).is_ok())
        };
        let is_whole = match manifest.layout() {
            Layout::Inline(entries) => read(entries, &mut plain),
            Layout::Spans(spans) => spans.iter().all(|named| {
                store.read(&named.hash.into(), &mut plain).is_ok()
                    && read(Span::decode(&plain).unwrap().entries(), &mut plain)
            }),
        };
        is_whole && content == file.content()
    })
}

fn flip(path: &Path, at: u64, len: usize) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let time = file.metadata().unwrap().modified().unwrap();
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, at).unwrap();
    bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
    file.write_all_at(&bytes, at).unwrap();
    file.set_modified(time).unwrap();
}

fn list(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).map(|entries| entries.map(|entry| entry.unwrap().path()).collect()).unwrap_or_default()
}
