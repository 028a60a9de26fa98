//! `git dits gc` of a store with a million chunks, half of which nothing needs.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use dits_core::codec::Codec;
use dits_core::hash::{ChunkHash, FileHash};
use dits_core::item::ItemId;
use dits_core::manifest::span::{ChunkEntry, Span};
use dits_core::manifest::{ChunkerId, Layout, Manifest, SpanEntry};
use dits_core::pack_format::Domain;
use dits_core::pointer::Pointer;
use dits_core::store::{NewItem, PackWriter, Sharing, Store, StoreOptions};

use super::measure::{MIB, PeakMemory, Report, must, timed};
use super::tools::{Bench, Tool};

const FILES: u64 = 1000;
const CHUNKS_A_FILE: u64 = 1000;
const CHUNK_LEN: usize = 600;
const SPAN_LEN: usize = 250;

/// Measures a collection that rewrites every pack, and one that finds nothing to do.
pub fn run(bench: &Bench, report: &mut Report) {
    let repo = bench.repository(Tool::Dits, "collect", &["bin"]);
    let store = repo.join(".git/dits");
    let pointers = repo.join("pointers");
    fs::create_dir_all(&pointers).expect("the bench directory can be written");
    fill(&store, &pointers);
    must(&mut bench.git(&repo, &["add", "pointers"]));
    date(&store);
    let mib = |bytes: u64| bytes as f64 / MIB as f64;
    let memory = PeakMemory::of("git-dits");
    let secs = timed(&mut bench.git(&repo, &["dits", "gc"]));
    let what = "gc of 1,000,000 chunks, half of them dead";
    report.at_most(what, secs, " s", 60.0, "");
    report.at_most(format!("{what}, peak memory"), mib(memory.stop()), " MiB", 300.0, "");
    date(&store);
    let secs = timed(&mut bench.git(&repo, &["dits", "gc"]));
    report.row("the same again, nothing to do", format!("{secs:.3} s"), "");
    fs::remove_dir_all(repo).expect("it was made above");
}

/// Stores files of chunks as small as no chunker makes them; of every other one there is a pointer.
fn fill(dir: &Path, pointers: &Path) {
    let options = StoreOptions { dir: dir.into(), index: dir.join("index.sqlite"), sharing: Sharing::Machine };
    let store = Store::open(options).expect("the bench directory can be written");
    let mut writer = store.writer(Domain::LOCAL);
    for number in 0..FILES {
        let (mut content, mut entries) = (Vec::new(), Vec::new());
        for chunk in 0..CHUNKS_A_FILE {
            let mut plain = [0; CHUNK_LEN];
            blake3::Hasher::new().update(&(number << 32 | chunk).to_le_bytes()).finalize_xof().fill(&mut plain);
            let hash = ChunkHash::of(&plain);
            put(&mut writer, hash.into(), &plain);
            content.extend_from_slice(&plain);
            entries.push(ChunkEntry::new(hash, CHUNK_LEN as u32));
        }
        let mut spans = Vec::new();
        for entries in entries.chunks(SPAN_LEN) {
            let span = Span::new(entries.to_vec()).expect("in bounds");
            put(&mut writer, span.hash().into(), &span.encode());
            spans.push(SpanEntry { hash: span.hash(), covers: span.covers() });
        }
        let pointer = Pointer { oid: FileHash::of(&content), size: content.len() as u64 };
        let manifest = Manifest::new(ChunkerId(1), pointer, Layout::Spans(spans), vec![], vec![]).expect("it fits");
        put(&mut writer, manifest.hash().into(), &manifest.encode());
        writer.commit().expect("the bench directory has room");
        if number.is_multiple_of(2) {
            fs::write(pointers.join(number.to_string()), pointer.to_string()).expect("it has room");
        }
    }
    writer.sync().expect("the bench directory has room");
}

fn put(writer: &mut PackWriter<'_>, id: ItemId, plain: &[u8]) {
    let item = NewItem { id, codec: Codec::Raw, plain_len: plain.len() as u32, stored: plain };
    writer.put(item).expect("the bench directory has room");
}

/// Has all packs look two days old.
fn date(store: &Path) {
    let time = SystemTime::now() - Duration::from_secs(2 * 24 * 3600);
    for folder in ["packs", "open"] {
        for entry in fs::read_dir(store.join(folder)).expect("it is there").flatten() {
            let file = File::options().append(true).open(entry.path()).expect("it is ours");
            file.set_modified(time).expect("it is ours");
        }
    }
}
