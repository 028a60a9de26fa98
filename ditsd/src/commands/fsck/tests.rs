//! One bit flipped anywhere in the database is found, or it is harmless.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use dits_core::codec::Codec;
use dits_core::git_index::ObjectFormat;
use dits_core::hash::{ChunkHash, FileHash};
use dits_core::item::ItemId;
use dits_core::manifest::span::ChunkEntry;
use dits_core::manifest::{ChunkerId, Layout, Manifest};
use dits_core::pointer::Pointer;
use dits_core::repo_path::RepoName;
use dits_core::store::NewItem;

use super::look;
use crate::blobs::Blobs;
use crate::db::{Db, Held, Lease, LeaseId, RepoId};
use crate::git::Git;
use crate::root::Root;

/// Bits that are flipped, one at a time.
const FLIPS: u64 = 300;

fn put(writer: &mut dits_core::store::PackWriter<'_>, id: ItemId, plain: &[u8]) {
    writer.put(NewItem { id, codec: Codec::Raw, plain_len: plain.len() as u32, stored: plain }).unwrap();
}

fn content(n: u64) -> Vec<u8> {
    let mut content = vec![0; 500];
    blake3::Hasher::new().update(&n.to_le_bytes()).finalize_xof().fill(&mut content);
    content
}

/// Two repositories of six files each, two of which they have in common.
fn fill(root: &Root) -> Arc<Db> {
    let db = Arc::new(Db::open(&root.meta()).unwrap());
    let blobs = Blobs::open(root, db.clone()).unwrap();
    let git = Git::new(root.clone()).unwrap();
    let lease = Lease { id: LeaseId([5; 16]), expires: 10, now: 1 };
    for (name, id, first) in [("film", 1, 0_u64), ("other/film", 2, 4)] {
        let name = RepoName::new(name).unwrap();
        let repo = db.ensure_repo(&name, RepoId([id; 16]), 1).unwrap();
        git.ensure(&name, ObjectFormat::Sha1).unwrap();
        let mut writer = blobs.store().writer(repo.domain());
        let mut held = Vec::new();
        for n in first..first + 6 {
            let content = content(n);
            let pointer = Pointer { oid: FileHash::of(&content), size: content.len() as u64 };
            let chunk = ChunkHash::of(&content);
            let layout = Layout::Inline(vec![ChunkEntry::new(chunk, content.len() as u32)]);
            let manifest = Manifest::new(ChunkerId(1), pointer, layout, vec![], vec![]).unwrap();
            match blobs.store().has(&chunk.into()).unwrap() {
                true => blobs.keep_sent(repo.domain(), lease, &[chunk.into()], &[]).unwrap(),
                false => put(&mut writer, chunk.into(), &content),
            }
            put(&mut writer, manifest.hash().into(), &manifest.encode());
            held.push(Held { pointer, manifest: manifest.hash(), proven_at: 1 });
        }
        writer.sync().unwrap();
        db.record_held(repo.key, &held.iter().map(|held| (held, &[][..])).collect::<Vec<_>>()).unwrap();
    }
    db
}

/// What the server would say of every file, in every repository.
fn answers(db: &Db) -> Option<Vec<(RepoName, Vec<Option<Pointer>>)>> {
    let oids: Vec<FileHash> = (0..10).map(|n| FileHash::of(&content(n))).collect();
    let of = |repo: crate::db::RepoRow| {
        let held = db.held(repo.key, &oids).ok()?;
        Some((repo.name, held.into_iter().map(|held| Some(held?.pointer)).collect()))
    };
    db.repos().ok()?.into_iter().map(of).collect()
}

#[test]
fn any_flipped_bit_of_the_database_is_found_or_harmless() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = std::env::var("DITS_TEST_SEED").map_or(now, |seed| seed.parse().unwrap());
    eprintln!("DITS_TEST_SEED={seed}");
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let root = Root::create(dir.path()).unwrap();
    let db = fill(&root);
    let expected = answers(&db);
    db.checkpoint().unwrap();
    drop(db);
    let meta = root.meta();
    let bytes = fs::read(&meta).unwrap();
    assert_eq!(look(&root).unwrap().damage(), 0);
    for n in 0..FLIPS {
        let random = blake3::hash(&[seed.to_le_bytes(), n.to_le_bytes()].concat());
        let random = u64::from_le_bytes(random.as_bytes()[..8].try_into().unwrap());
        // Pages that hold nothing teach nothing: most places are where a byte is.
        let full: Vec<usize> = (0..bytes.len()).filter(|at| n % 4 == 0 || bytes[*at] != 0).collect();
        let at = full[(random >> 3) as usize % full.len()];
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (random & 7);
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(root.dir().join(format!("meta.sqlite{suffix}")));
        }
        fs::write(&meta, &flipped).unwrap();
        let what = format!("seed {seed}: bit {} at {at} of meta.sqlite", random & 7);
        let found = look(&root).unwrap_or_else(|error| panic!("{what}: {error}")).damage();
        let same = Db::open_existing(&meta).is_ok_and(|db| answers(&db) == expected);
        assert!(found > 0 || same, "{what}: neither found nor harmless");
    }
}
