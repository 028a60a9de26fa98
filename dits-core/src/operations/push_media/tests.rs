use std::path::Path;

use super::*;
use crate::git_index::ObjectFormat;
use crate::hash::FileHash;
use crate::operations::clean::{CleanOptions, Cleaner, Outcome};
use crate::operations::fetch_media::{NotFetched, fetch_media};
use crate::operations::hydrate;
use crate::pack_format::Domain;
use crate::pointer::Pointer;
use crate::remote::local::{self, LocalRemote};
use crate::repo::environment::Environment;
use crate::repo::git_program::GitProgram;
use crate::repo::pointer_walk::GitId;
use crate::repo_path::RepoPath;
use crate::store::{Sharing, Store, StoreOptions};

/// Two machines and a share.
struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let world = World { dir: tempfile::tempdir().expect("a folder") };
        let git = GitProgram::find(&Environment::new(std::env::vars_os())).expect("git is installed");
        local::create(&world.path("share"), &git, ObjectFormat::Sha1).expect("a share");
        world
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// A machine's own store.
    fn machine(&self, name: &str) -> Sources {
        let dir = self.path(name);
        let options = StoreOptions { index: dir.join("index.sqlite"), dir, sharing: Sharing::Machine };
        Sources::new(Store::open(options).expect("a store"), Vec::new())
    }

    /// The share as seen by a machine.
    fn share(&self, machine: &str) -> Remote {
        let (dir, index) = (self.path("share/dits"), self.path(&format!("{machine}-cache")).join("share.sqlite"));
        let options = StoreOptions { dir, index, sharing: Sharing::Network };
        Remote::Local(Box::new(LocalRemote::open(options).expect("a share")))
    }
}

fn noise(len: usize, seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

fn add(sources: &Sources, content: &[u8]) -> Found {
    let mut writer = sources.own().writer(Domain::LOCAL);
    let mut cleaner = Cleaner::new(sources, &mut writer, CleanOptions::default());
    content.chunks(60_000).for_each(|block| cleaner.push(block.to_vec()).expect("stored"));
    let Outcome::Stored(pointer) = cleaner.finish().expect("stored").outcome else { panic!("content is stored") };
    found(pointer)
}

fn found(pointer: Pointer) -> Found {
    let commit = GitId::parse(&[b'a'; 40]).expect("hex");
    Found { pointer, path: RepoPath::new("x.mov").expect("a path"), commit, replaces: None }
}

fn push(sources: &Sources, remote: &Remote, wanted: &[Found]) -> Pushed {
    push_media(sources, remote, wanted, &|_| {}).expect("pushed")
}

fn fetch_and_read(world: &World, machine: &str, found: &Found) -> Vec<u8> {
    let sources = world.machine(machine);
    let fetched = fetch_media(&sources, &world.share(machine), &[found.pointer], &|_| {}).expect("fetched");
    assert_eq!(fetched[0].result, Ok(()));
    let mut content = Vec::new();
    hydrate::write_to(&sources, &found.pointer, &mut content).expect("written");
    content
}

#[test]
fn what_one_machine_pushes_another_fetches_bit_for_bit() {
    let world = World::new();
    let one = world.machine("one");
    let (long, short) = (noise(40 << 20, 1), noise(1000, 2));
    let wanted = [add(&one, &long), add(&one, &short)];
    let seen = std::sync::Mutex::new(Progress::default());
    let tell = |progress| *seen.lock().expect("no panic") = progress;
    let pushed = push_media(&one, &world.share("one"), &wanted, &tell).expect("pushed");
    assert_eq!((pushed.receipts.len(), pushed.failed.len()), (2, 0));
    assert!(pushed.sent_bytes >= long.len() as u64);
    let seen = *seen.lock().expect("no panic");
    assert_eq!((seen.done, seen.total, seen.moved), (long.len() as u64 + 1000, seen.done, pushed.sent_bytes));
    assert!(fetch_and_read(&world, "two", &wanted[0]) == long);
    assert!(fetch_and_read(&world, "two", &wanted[1]) == short);
}

#[test]
fn a_fetch_syncs_also_what_another_process_stored_and_never_synced() {
    let world = World::new();
    let file = add(&world.machine("one"), &noise(5000, 9));
    push(&world.machine("one"), &world.share("one"), std::slice::from_ref(&file));
    fetch_and_read(&world, "two", &file);
    // Nothing that can be opened: whoever syncs all open packs hears of it.
    let _log = std::os::unix::net::UnixListener::bind(world.path("two/open").join(format!("{}.log", "a7".repeat(16))));
    let again = fetch_media(&world.machine("two"), &world.share("two"), &[file.pointer], &|_| {});
    assert!(matches!(again, Err(crate::operations::fetch_media::FetchError::Store(_))), "{again:?}");
}

#[test]
fn a_manifest_from_outside_that_leads_to_another_content_is_not_stored() {
    let world = World::new();
    let content = noise(5000, 9);
    let chunk = crate::hash::ChunkHash::of(&content);
    let pointer = Pointer { oid: FileHash::of(b"another"), size: 5000 };
    let layout = crate::manifest::Layout::Inline(vec![crate::manifest::span::ChunkEntry::new(chunk, 5000)]);
    let manifest = crate::manifest::Manifest::new(crate::manifest::ChunkerId(1), pointer, layout, vec![], vec![])
        .expect("well formed");
    let (dir, index) = (world.path("share/dits"), world.path("liar.sqlite"));
    let share = Store::open(StoreOptions { dir, index, sharing: Sharing::Network }).expect("a share");
    let mut writer = share.writer(Domain::LOCAL);
    for (id, plain) in [(chunk.into(), content), (manifest.hash().into(), manifest.encode())] {
        let plain_len = plain.len() as u32;
        let item = crate::store::NewItem { id, codec: crate::codec::Codec::Raw, plain_len, stored: &plain };
        writer.put(item).expect("stored");
    }
    writer.sync().expect("synced");
    let two = world.machine("two");
    for _ in 0..2 {
        let fetched = fetch_media(&two, &world.share("two"), &[pointer], &|_| {}).expect("asked");
        assert_eq!(fetched[0].result, Err(NotFetched::WrongManifest));
        assert_eq!(two.manifests_of(&pointer.oid).expect("readable"), []);
    }
}

#[test]
fn a_second_push_sends_only_what_changed() {
    let world = World::new();
    let one = world.machine("one");
    let mut content = noise(24 << 20, 3);
    let first = add(&one, &content);
    push(&one, &world.share("one"), std::slice::from_ref(&first));
    let again = push(&one, &world.share("one"), std::slice::from_ref(&first));
    assert_eq!((again.sent_item_count, again.receipts.len()), (0, 1));
    content[9 << 20..10 << 20].copy_from_slice(&noise(1 << 20, 4));
    let edited = add(&one, &content);
    let pushed = push(&one, &world.share("one"), std::slice::from_ref(&edited));
    assert!(pushed.sent_bytes < 1400 << 10, "{} bytes were sent", pushed.sent_bytes);
    assert!(fetch_and_read(&world, "two", &edited) == content);
}

#[test]
fn media_missing_here_but_held_there_is_no_error_and_missing_on_both_sides_is() {
    let world = World::new();
    let there = add(&world.machine("one"), &noise(5000, 5));
    push(&world.machine("one"), &world.share("one"), std::slice::from_ref(&there));
    let nowhere = found(Pointer { oid: FileHash::of(b"nowhere"), size: 7 });
    let pushed = push(&world.machine("two"), &world.share("two"), &[there, nowhere.clone()]);
    assert_eq!(pushed.receipts.len(), 1);
    assert_eq!(pushed.failed, [(nowhere.clone(), NotPushed::Missing)]);
    let two = world.machine("two");
    let fetched = fetch_media(&two, &world.share("two"), &[nowhere.pointer], &|_| {}).expect("asked");
    assert_eq!(fetched[0].result, Err(NotFetched::NotHeld));
}

#[test]
fn a_pointer_with_the_oid_of_a_held_file_and_another_size_is_not_held() {
    let world = World::new();
    let one = world.machine("one");
    let file = add(&one, &noise(5000, 5));
    push(&one, &world.share("one"), std::slice::from_ref(&file));
    let wrong = found(Pointer { size: 6000, ..file.pointer });
    let pushed = push(&one, &world.share("one"), &[file.clone(), wrong.clone()]);
    assert_eq!(pushed.receipts.len(), 1);
    assert_eq!(pushed.failed, [(wrong, NotPushed::Missing)]);
}

#[test]
fn a_push_goes_on_where_an_interrupted_one_stopped() {
    let world = World::new();
    let one = world.machine("one");
    let content = noise(20 << 20, 6);
    let wanted = add(&one, &content);
    let share = world.share("one");
    // An interrupted push left chunks, and nothing above them.
    let manifest = one.manifests_of(&wanted.pointer.oid).expect("known")[0];
    let items = all_items(&one, manifest);
    let chunks = items.iter().filter(|id| id.kind == crate::item::ItemKind::Chunk);
    let half: Vec<_> = chunks.take(items.len() / 2).copied().collect();
    share.upload(&mut half.iter().map(|id| one.read_stored(id)), &|_| {}).expect("uploaded");
    assert_eq!(share.held(&[wanted.pointer]).expect("asked"), [Holding::No]);
    let pushed = push(&one, &share, std::slice::from_ref(&wanted));
    assert!(pushed.sent_item_count <= (items.len() - half.len()) as u64 + 1);
    assert_eq!(pushed.receipts.len(), 1);
    assert_eq!(share.missing(&[manifest.into()]).expect("asked"), [false]);
    assert!(fetch_and_read(&world, "two", &wanted) == content);
}

fn all_items(sources: &Sources, manifest: ManifestHash) -> Vec<ItemId> {
    let mut plain = Vec::new();
    sources.read(&manifest.into(), &mut plain).expect("read");
    let mut items = Vec::new();
    for part in crate::manifest::Manifest::decode(&plain).expect("a manifest").parts() {
        items.push(part.id);
        if part.id.kind == crate::item::ItemKind::Span {
            sources.read(&part.id, &mut plain).expect("read");
            let span = crate::manifest::span::Span::decode(&plain).expect("a span");
            items.extend(span.entries().iter().map(|entry| ItemId::from(entry.hash)));
        }
    }
    items
}

#[test]
fn a_share_that_lost_a_chunk_is_mended_by_the_next_push() {
    let world = World::new();
    let one = world.machine("one");
    let content = noise(30 << 20, 7);
    let wanted = add(&one, &content);
    let share = world.share("one");
    let manifest = one.manifests_of(&wanted.pointer.oid).expect("known")[0];
    // Spans, pages and manifest are there, so the share says that it needs no chunk.
    let above: Vec<_> = all_items(&one, manifest);
    let above = above.iter().filter(|id| id.kind != crate::item::ItemKind::Chunk).map(|id| one.read_stored(id));
    let mut above = above.chain([one.read_stored(&manifest.into())]);
    share.upload(&mut above, &|_| {}).expect("uploaded");
    let pushed = push(&one, &share, std::slice::from_ref(&wanted));
    assert_eq!((pushed.receipts.len(), pushed.failed.len()), (1, 0));
    assert!(fetch_and_read(&world, "two", &wanted) == content);
}

#[test]
fn bytes_that_are_not_what_their_name_says_never_reach_a_share() {
    let world = World::new();
    let one = world.machine("one");
    let wanted = add(&one, &noise(5000, 8));
    let manifest = one.manifests_of(&wanted.pointer.oid).expect("known")[0];
    let chunk = all_items(&one, manifest)[0];
    let mut item = one.read_stored(&chunk).expect("read");
    item.bytes[0] ^= 1;
    let share = world.share("one");
    let error = share.upload(&mut [Ok(item)].into_iter(), &|_| {}).expect_err("refused");
    assert!(matches!(error, RemoteError::WrongContent { id } if id == chunk));
    assert_eq!(share.missing(&[chunk]).expect("asked"), [true]);
}

#[test]
fn only_an_empty_folder_or_a_bare_repository_becomes_a_share() {
    let world = World::new();
    let git = GitProgram::find(&Environment::new(std::env::vars_os())).expect("git is installed");
    std::fs::create_dir(world.path("used")).expect("made");
    std::fs::write(world.path("used/file"), "x").expect("written");
    let refused = local::create(&world.path("used"), &git, ObjectFormat::Sha1);
    assert!(matches!(refused, Err(local::ShareError::NotARepository { .. })));
    std::fs::create_dir(world.path("empty")).expect("made");
    local::create(&world.path("empty"), &git, ObjectFormat::Sha1).expect("made");
    local::create(&world.path("empty"), &git, ObjectFormat::Sha1).expect("there already");
    assert!(is_executable(&world.path("empty/hooks/pre-receive")));
    assert!(!world.path("empty/hooks/pre-push.sample").exists());
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o111 == 0o111)
}
