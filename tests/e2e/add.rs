//! `git add` and `git commit`.

use dits_core::pointer::Pointer;
use dits_tests::World;
use dits_tests::media::{MIB, MoovAt, inserted, movie, noise, overwritten};
use dits_tests::repo::bytes_below;

#[test]
fn an_added_file_becomes_a_pointer_that_names_its_blake3() {
    let world = World::new();
    let repo = world.repo("film");
    let content = noise(1, 3 * MIB);
    repo.write("take.bin", &content);
    repo.commit("a take");
    let pointer = Pointer::parse(&repo.blob("HEAD:take.bin")).expect("a pointer is committed");
    assert_eq!(pointer.oid.to_string(), blake3::hash(&content).to_hex().as_str());
    assert_eq!(pointer.size, content.len() as u64);
    assert_eq!(repo.status(), "");
    repo.holds("take.bin", &content);
}

#[test]
fn text_never_passes_through_dits() {
    let world = World::new();
    let repo = world.repo("film");
    repo.write("notes.txt", "scene one\n");
    repo.commit("notes");
    assert_eq!(repo.blob("HEAD:notes.txt"), b"scene one\n");
    assert!(!repo.store().join("packs").exists() && !repo.store().join("open").exists());
}

#[test]
fn the_empty_file_is_stored_as_itself() {
    let world = World::new();
    let repo = world.repo("film");
    repo.write("empty.bin", b"");
    repo.commit("nothing yet");
    assert_eq!(repo.blob("HEAD:empty.bin"), b"");
    repo.git(&["rm", "-q", "--cached", "empty.bin"]).ok();
    repo.git(&["reset", "-q", "--hard"]).ok();
    repo.holds("empty.bin", b"");
}

#[test]
fn files_of_every_size_around_the_bounds_come_back() {
    let world = World::new();
    let repo = world.repo("film");
    let sizes = [1, 16_383, 16_384, 16_385, 262_144, 262_145, MIB - 1, MIB, MIB + 1, 2 * MIB, 2 * MIB + 1];
    for size in sizes {
        repo.write(&format!("{size}.bin"), noise(size as u64, size));
    }
    repo.commit("many sizes");
    for size in sizes {
        repo.write(&format!("{size}.bin"), b"");
    }
    repo.git(&["reset", "-q", "--hard"]).ok();
    for size in sizes {
        repo.holds(&format!("{size}.bin"), &noise(size as u64, size));
    }
}

#[test]
fn adding_what_is_known_stores_nothing() {
    let world = World::new();
    let repo = world.repo("film");
    let content = noise(2, 4 * MIB);
    repo.write("a.bin", &content);
    repo.commit("first");
    let before = bytes_below(&repo.store());
    repo.write("copies/b.bin", &content);
    repo.commit("a copy");
    assert_eq!(repo.blob("HEAD:a.bin"), repo.blob("HEAD:copies/b.bin"));
    let grown = bytes_below(&repo.store()) - before;
    assert!(grown <= 16 * 1024, "the store grew by {grown} bytes");
}

#[test]
fn an_edit_stores_about_as_much_as_was_edited() {
    let world = World::new();
    let repo = world.repo("film");
    let content = noise(3, 8 * MIB);
    repo.write("a.bin", &content);
    repo.commit("first");
    let edits = [overwritten(&content, 3 * MIB, 64 * 1024, 4), inserted(&content, 5 * MIB + 7, 64 * 1024, 5)];
    for edited in edits {
        let before = bytes_below(&repo.store());
        repo.write("a.bin", &edited);
        repo.commit("an edit");
        let grown = bytes_below(&repo.store()) - before;
        assert!(grown <= 1024 * 1024, "the store grew by {grown} bytes");
        repo.git(&["checkout", "-q", "HEAD~1", "--", "a.bin"]).ok();
        repo.holds("a.bin", &content);
        repo.git(&["checkout", "-q", "HEAD", "--", "a.bin"]).ok();
        repo.holds("a.bin", &edited);
        repo.write("a.bin", &content);
        repo.commit("back");
    }
}

#[test]
fn metadata_that_moves_stores_no_payload_again() {
    let world = World::new();
    let repo = world.repo("film");
    let payload = noise(6, 4 * MIB);
    repo.write("clip.mp4", movie(MoovAt::Back, 200_000, &payload));
    repo.commit("as the camera wrote it");
    let before = bytes_below(&repo.store());
    repo.write("clip.mp4", movie(MoovAt::Front, 200_100, &payload));
    repo.commit("ready for streaming");
    let grown = bytes_below(&repo.store()) - before;
    assert!(grown <= 200_100 + 64 * 1024, "the store grew by {grown} bytes");
}

#[test]
fn a_store_that_cannot_be_written_still_serves_what_is_known() {
    let world = World::new();
    let repo = world.repo("film");
    let content = noise(7, MIB);
    repo.write("a.bin", &content);
    repo.commit("first");
    repo.write("b.bin", &content);
    let pointer = repo.call(&["hash-object", "--path", "b.bin", "b.bin"]).run().ok();
    assert_eq!(pointer, repo.git(&["rev-parse", "HEAD:a.bin"]).ok());
}

#[test]
fn the_single_shot_commands_do_what_the_process_does() {
    let world = World::new();
    let repo = world.repo("film");
    let content = noise(8, 2 * MIB);
    let clean = world.call("git-dits-filter").args(["clean", "a.bin"]).dir(repo.dir()).input(content.clone()).run();
    clean.ok();
    assert!(Pointer::parse(&clean.stdout).is_some());
    let smudge = world.call("git-dits-filter").args(["smudge", "a.bin"]).dir(repo.dir()).input(clean.stdout).run();
    smudge.ok();
    assert!(smudge.stdout == content);
}
