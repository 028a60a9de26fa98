//! Files that are not what they seem, and names that few people choose.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use dits_core::hash::FileHash;
use dits_core::pointer::Pointer;
use dits_tests::World;
use dits_tests::media::{MIB, noise};

fn example() -> String {
    Pointer { oid: FileHash::of(b"example"), size: 7 }.to_string()
}

#[test]
fn a_text_file_that_shows_a_pointer_is_text() {
    let world = World::new();
    let repo = world.repo("film");
    repo.write("how-it-works.txt", example());
    repo.commit("a text about pointers");
    let bare = world.bare("plain.git");
    repo.push_to(&format!("dits::{}", bare.display()));
    let other = world.clone_of(&format!("dits::{}", bare.display()), "other");
    other.holds("how-it-works.txt", example().as_bytes());
}

#[test]
fn a_valid_pointer_passes_unchanged_and_one_with_more_is_content() {
    let world = World::new();
    let repo = world.repo("film");
    repo.write("a.bin", example());
    repo.git(&["add", "a.bin"]).ok();
    assert_eq!(repo.blob(":a.bin"), example().as_bytes());
    let more = format!("{}and more\n", example());
    repo.write("b.bin", &more);
    let added = repo.git(&["add", "b.bin"]);
    added.ok();
    assert!(added.err().contains("b.bin"), "a pointer with more is worth a warning: {}", added.story());
    let pointer = Pointer::parse(&repo.blob(":b.bin")).expect("it is stored as content");
    assert_eq!(pointer.size, more.len() as u64);
}

#[test]
fn a_pointer_on_a_path_without_the_filter_is_text() {
    let world = World::new();
    let repo = world.repo("film");
    repo.write("real.bin", noise(1, MIB));
    repo.commit("media");
    let pointer = repo.blob("HEAD:real.bin");
    repo.write("copy.txt", &pointer);
    repo.commit("its pointer as text");
    assert_eq!(repo.git(&["rev-parse", "HEAD:copy.txt"]).ok(), repo.git(&["rev-parse", "HEAD:real.bin"]).ok());
    std::fs::remove_file(repo.dir().join("copy.txt")).expect("it is ours");
    repo.git(&["checkout", "-q", "--", "copy.txt"]).ok();
    repo.holds("copy.txt", &pointer);
}

#[test]
fn names_are_bytes() {
    let world = World::new();
    let repo = world.repo("film");
    let names: [&[u8]; 6] =
        [b"trailing .bin", b" leading.bin", b"new\nline.bin", b"\xff\xfe.bin", b"-x.bin", b"quo\"te\\.bin"];
    for (seed, name) in names.iter().enumerate() {
        std::fs::write(repo.dir().join(OsStr::from_bytes(name)), noise(seed as u64, 2 * MIB)).expect("it is ours");
    }
    std::fs::write(repo.dir().join("a.bin "), b"not media: its name ends in a space").expect("it is ours");
    repo.commit("odd names");
    for name in names {
        std::fs::remove_file(repo.dir().join(OsStr::from_bytes(name))).expect("it is ours");
    }
    repo.git(&["reset", "-q", "--hard"]).ok();
    for (seed, name) in names.iter().enumerate() {
        let content = std::fs::read(repo.dir().join(OsStr::from_bytes(name))).expect("it is checked out");
        assert!(content == noise(seed as u64, 2 * MIB), "{name:?}");
    }
    assert_eq!(repo.status(), "");
    assert_eq!(repo.blob("HEAD:a.bin "), b"not media: its name ends in a space");
}

#[test]
fn a_file_that_changes_while_it_is_added_is_seen_as_changed() {
    let world = World::new();
    let repo = world.repo("film");
    let content = noise(9, 3 * MIB);
    repo.write("a.bin", &content);
    // Git pipes what it read; what stands in the work tree by then is something else.
    repo.write("later.bin", noise(10, 3 * MIB));
    let hash = repo.call(&["hash-object", "-w", "--stdin", "--path", "later.bin"]).input(content.clone()).run().ok();
    let pointer = Pointer::parse(&repo.blob(&hash)).expect("it is a pointer");
    assert_eq!(pointer.oid, FileHash::of(&content), "what was piped counts, not what is on disk");
    repo.git(&["update-index", "--add", "--cacheinfo", &format!("100644,{hash},later.bin")]).ok();
    assert!(repo.status().contains("AM later.bin"), "{}", repo.status());
}
