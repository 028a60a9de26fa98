//! `git dits inspect`: structure, storage, and what versions share.

use std::path::{Path, PathBuf};

use dits_tests::media::{MoovAt, clip, movie, noise, overwritten};
use dits_tests::needs::needs;
use dits_tests::{Repo, World};
use serde_json::Value;

fn inspect(repo: &Repo<'_>, args: &[&str]) -> Value {
    let done = repo.git(&[&["dits", "inspect", "--json"][..], args].concat());
    serde_json::from_str(&done.ok()).expect("JSON")
}

fn atoms(facts: &Value) -> Vec<&str> {
    let atoms = facts["structure"]["atoms"].as_array().expect("it has a structure");
    atoms.iter().map(|atom| atom["type"].as_str().expect("a name")).collect()
}

#[test]
fn atoms_chunks_and_what_versions_share_are_told() {
    let world = World::new();
    let repo = world.repo("one");
    let payload = noise(1, 3_000_000);
    repo.write("clip.mov", movie(MoovAt::Front, 5000, &payload));
    // Not added yet: nothing is stored for it but while it is looked at.
    let fresh = inspect(&repo, &["clip.mov"]);
    assert_eq!(atoms(&fresh), ["ftyp", "moov", "mdat"]);
    assert_eq!(
        (&fresh["shared"], &fresh["structure"]["atoms"][1]["children"][0]["type"]),
        (&Value::Null, &"udta".into())
    );
    repo.commit("a clip");
    let stored = inspect(&repo, &["clip.mov"]);
    assert_eq!((&stored["oid"], &stored["chunks"]), (&fresh["oid"], &fresh["chunks"]));
    assert_eq!(stored["chunks"]["count"], stored["chunks"]["here"]);
    assert!(stored["chunks"]["raw"].as_u64() > Some(10), "{stored}");

    repo.write("clip.mov", movie(MoovAt::Back, 5000, &overwritten(&payload, 1_000_000, 1000, 2)));
    let changed = inspect(&repo, &["clip.mov"]);
    assert_eq!(atoms(&changed), ["ftyp", "mdat", "moov"]);
    assert_eq!(changed["shared"]["oid"], stored["oid"]);
    repo.commit("moov behind");
    let of_revision = inspect(&repo, &["HEAD:clip.mov"]);
    assert_eq!(of_revision["shared"]["new_bytes"], changed["shared"]["new_bytes"]);
    assert!(of_revision["shared"]["bytes"].as_u64() > Some(2_000_000), "{of_revision}");
    let oid = of_revision["oid"].as_str().expect("an oid");
    let by_oid = inspect(&repo, &[oid, "HEAD^:clip.mov"]);
    assert_eq!(by_oid["shared"]["bytes"], of_revision["shared"]["bytes"]);
    assert_eq!(by_oid["shared"]["with"], "HEAD^:clip.mov");
    let text = repo.git(&["dits", "inspect", "clip.mov"]).ok();
    assert!(text.contains("\n  ftyp at 0, 28 B\n") && text.contains("\nshared    "), "{text}");
}

#[test]
fn what_cannot_be_inspected_is_named() {
    let world = World::new();
    let repo = world.repo("one");
    repo.write("script.txt", "fade in");
    repo.write("empty.mov", "");
    repo.commit("text");
    for what in ["HEAD:script.txt", "nothing.mov", "HEAD:nothing.mov", &"1".repeat(64), "empty.mov"] {
        let done = repo.git(&["dits", "inspect", what]);
        assert_eq!(done.status.code(), Some(1), "{}", done.story());
    }
    // Text that nobody tracks has chunks, but no structure.
    assert_eq!(inspect(&repo, &["script.txt"])["structure"], Value::Null);
}

#[test]
fn tracks_of_a_real_clip_are_told() {
    let Some(clip) = clip() else { return };
    let world = World::new();
    let repo = world.repo("one");
    repo.write("clip.mp4", clip);
    let facts = inspect(&repo, &["clip.mp4"]);
    let tracks = facts["structure"]["tracks"].as_array().expect("it has tracks");
    let [video, audio] = tracks.as_slice() else { panic!("{facts:#}") };
    assert_eq!((&video["kind"], &video["format"]), (&"video".into(), &"avc1".into()));
    assert_eq!((&video["width"], &video["height"], &video["samples"]), (&640.into(), &360.into(), &50.into()));
    assert_eq!((&audio["kind"], &audio["format"]), (&"audio".into(), &"mp4a".into()));
    assert!(
        facts["structure"]["duration_ms"].as_u64().is_some_and(|length| (1900..2200).contains(&length)),
        "{facts:#}"
    );
}

#[test]
fn every_container_of_the_corpus_is_told_in_bounded_memory() {
    let corpus = std::env::var_os("DITS_CORPUS").map(PathBuf::from);
    let corpus = corpus.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"));
    if !needs(corpus.is_dir(), "the corpus is not beside the checkout") {
        return;
    }
    let world = World::without_dits();
    let mut files = Vec::new();
    for folder in ["enc", "fmp4", "heif", "malformed", "mov", "mp4"] {
        files.extend(std::fs::read_dir(corpus.join(folder)).expect("readable").flatten().map(|entry| entry.path()));
    }
    let mut told = 0;
    for file in files.iter().filter(|file| file.metadata().is_ok_and(|meta| meta.len() > 0)) {
        let script = "ulimit -v 2000000; exec git dits inspect --json \"$1\"";
        let done = world.call("sh").args(["-c", script, "sh"]).args([file]).run();
        // A text that shows a pointer has no content to look at.
        match done.status.code() {
            Some(0) => told += 1,
            Some(1) => assert!(done.err().contains("not known here"), "{}", done.story()),
            _ => panic!("{}", done.story()),
        }
    }
    assert!(told > files.len() / 2, "{told} of {}", files.len());
}
