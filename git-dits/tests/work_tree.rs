//! `git dits checkout` and `dehydrate`, with real git.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use dits_core::steps::Step;
use dits_tests::media::noise;
use dits_tests::processes::{go_on, stopped_in};
use dits_tests::{Done, Repo, World, repo};

/// Asserts that `git status` finds nothing, and asks no filter for that.
fn is_clean_and_asks_nobody(repo: &Repo<'_>) {
    let trace = repo.world().path("trace");
    let done = repo.call(&["status", "--porcelain"]).env("GIT_TRACE", &trace).run();
    assert_eq!(done.ok(), "");
    let trace = std::fs::read_to_string(&trace).expect("git wrote it");
    assert!(!trace.contains("git-dits-filter"), "{trace}");
    std::fs::remove_file(repo.world().path("trace")).expect("it is ours");
}

fn json(done: &Done) -> serde_json::Value {
    serde_json::from_slice(&done.stdout).unwrap_or_else(|error| panic!("{error}: {}", done.story()))
}

/// Writes a file that is so old that git is sure of it.
fn write_old(repo: &Repo<'_>, path: &Path, content: &[u8]) {
    let path = repo.dir().join(path);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    std::fs::write(&path, content).expect("ours");
    let file = File::options().write(true).open(path).expect("it was just written");
    file.set_modified(SystemTime::now() - Duration::from_secs(3600)).expect("it is ours");
}

/// Two takes and a still, an hour old.
fn film(world: &World) -> Repo<'_> {
    let repo = world.repo("film");
    for (seed, path, len) in [(1, "a/one.mov", 1_500_000), (2, "a/two.mov", 1_200_000), (3, "b/three.mov", 100_000)] {
        write_old(&repo, Path::new(path), &noise(seed, len));
    }
    repo.commit("takes");
    repo
}

#[test]
fn content_goes_and_comes_back_and_git_sees_no_change() {
    let world = World::new();
    let repo = film(&world);
    let before = repo::bytes_below(&repo.dir().join("a"));
    let done = repo.git(&["dits", "dehydrate", "a"]);
    assert_eq!(done.ok(), "2 files dehydrated (2.6 MiB freed)");
    assert!(done.err().contains("`git dits pull` brings content back"));
    assert!(before - repo::bytes_below(&repo.dir().join("a")) > 2_600_000);
    assert!(repo.read("a/one.mov").starts_with(b"dits 1\n"));
    repo.holds("b/three.mov", &noise(3, 100_000));
    is_clean_and_asks_nobody(&repo);
    // What is a pointer stays one until somebody asks.
    repo.git(&["checkout", "-q", "-b", "other"]).ok();
    repo.write("note.txt", "x");
    repo.commit("text");
    assert!(repo.read("a/one.mov").starts_with(b"dits 1\n"));
    assert_eq!(repo.git(&["dits", "checkout", "a/one.mov"]).ok(), "1 file hydrated (1.4 MiB)");
    repo.holds("a/one.mov", &noise(1, 1_500_000));
    assert!(repo.read("a/two.mov").starts_with(b"dits 1\n"));
    assert_eq!(repo.git(&["dits", "checkout"]).ok(), "1 file hydrated (1.1 MiB)");
    repo.holds("a/two.mov", &noise(2, 1_200_000));
    assert_eq!(repo.status(), "");
    assert_eq!(repo.git(&["dits", "checkout"]).ok(), "0 files hydrated (0 B)");
}

#[test]
fn what_was_changed_or_has_no_other_copy_stays() {
    let world = World::new();
    let repo = film(&world);
    repo.write("a/one.mov", noise(4, 1_500_000));
    repo.write("b/new.mov", noise(5, 1_500_000));
    let done = repo.git(&["dits", "dehydrate", "--json", "."]);
    assert_eq!(done.status.code(), Some(1), "{}", done.story());
    let facts = json(&done);
    assert_eq!(facts["dehydrated"], serde_json::json!(["a/two.mov", "b/three.mov"]));
    assert_eq!(facts["left"][0]["path"], "a/one.mov");
    assert_eq!(facts["left"][0]["reason"], "it is not what git's index names");
    repo.holds("a/one.mov", &noise(4, 1_500_000));
    repo.holds("b/new.mov", &noise(5, 1_500_000));
    repo.git(&["checkout", "-q", "--", "a/one.mov"]).ok();
    // The store lost everything: the files of the work tree are all there is.
    repo.git(&["dits", "checkout"]).ok();
    std::fs::remove_dir_all(repo.store()).expect("it is ours");
    let left = repo.git(&["dits", "dehydrate", "a"]).fails();
    assert!(left.contains("a/one.mov: the local store lacks it"), "{left}");
    repo.holds("a/one.mov", &noise(1, 1_500_000));
}

#[test]
fn neither_a_damaged_store_nor_what_a_server_once_said_is_another_copy() {
    let world = World::new();
    let server = world.serve();
    let repo = film(&world);
    assert_eq!(repo.git(&["dits", "--quiet", "dehydrate", "b"]).err(), "");
    repo.git(&["dits", "checkout", "b"]).ok();
    damage_packs(&repo);
    let left = repo.git(&["dits", "dehydrate", "a/one.mov"]).fails();
    assert!(left.contains("what the local store has of it cannot be read"), "{left}");
    // Stored and pushed again, it was held there at that time.
    std::fs::remove_dir_all(repo.store()).expect("it is ours");
    repo.git(&["add", "--renormalize", "."]).ok();
    repo.push_to(&server.url("film"));
    repo.git(&["dits", "push", "-q", "--all", "--dry-run", "origin"]).ok();
    // What is damaged here is here: no pull would fetch it, whatever the server holds.
    damage_packs(&repo);
    let left = repo.git(&["dits", "dehydrate", "a/one.mov"]).fails();
    assert!(left.contains("what the local store has of it cannot be read"), "{left}");
    repo.holds("a/one.mov", &noise(1, 1_500_000));
    for folder in ["packs", "open"] {
        let _ = std::fs::remove_dir_all(repo.store().join(folder));
    }
    let left = repo.git(&["dits", "dehydrate", "a"]).fails();
    assert!(left.contains("a/one.mov: the local store lacks it") && left.contains("`git dits fetch`"), "{left}");
    repo.holds("a/one.mov", &noise(1, 1_500_000));
    repo.git(&["dits", "fetch"]).ok();
    assert_eq!(repo.git(&["dits", "dehydrate", "a"]).ok(), "2 files dehydrated (2.6 MiB freed)");
    for folder in ["packs", "open"] {
        let _ = std::fs::remove_dir_all(repo.store().join(folder));
    }
    let missing = repo.git(&["dits", "checkout", "--json"]);
    assert_eq!(json(&missing)["missing"][0]["path"], "a/one.mov");
    assert!(missing.err().contains("hint: get them with `git dits pull`"), "{}", missing.story());
    repo.git(&["dits", "pull"]).ok();
    repo.holds("a/one.mov", &noise(1, 1_500_000));
    assert_eq!(repo.status(), "");
}

fn damage_packs(repo: &Repo<'_>) {
    for entry in walk(&repo.store()) {
        if entry.extension().is_some_and(|extension| extension == "pack") {
            let len = entry.metadata().expect("a pack").len();
            let mut bytes = std::fs::read(&entry).expect("readable");
            bytes[(len / 2) as usize] ^= 0x55;
            bytes[(len / 3) as usize] ^= 0x55;
            let writable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
            std::fs::set_permissions(&entry, writable).expect("ours");
            std::fs::write(&entry, bytes).expect("ours");
        }
    }
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.path().is_dir() {
            true => found.extend(walk(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}

/// Dehydrates `a/one.mov` and `a/two.mov`, and does something when the pointers stand and git's index does not know yet.
fn dehydrate_with(repo: &Repo<'_>, meanwhile: impl FnOnce()) -> Done {
    let pause = format!("{}:2", Step::HydrationCleared.name());
    let dehydrate = repo.call(&["dits", "dehydrate", "a"]).pause_at(&pause).start();
    let stopped = stopped_in(dehydrate.group());
    meanwhile();
    go_on(stopped);
    dehydrate.finish()
}

#[test]
fn what_is_saved_before_the_index_knows_stays_unstaged() {
    for is_split in [false, true] {
        let world = World::new();
        let repo = film(&world);
        if is_split {
            repo.git(&["update-index", "--split-index"]).ok();
        }
        dehydrate_with(&repo, || repo.write("a/one.mov", "saved by the user")).ok();
        repo.holds("a/one.mov", b"saved by the user");
        // Nothing is staged, and of the other file git knows.
        assert_eq!(repo.status(), " M a/one.mov", "split: {is_split}");
    }
}

#[test]
fn what_cannot_go_back_to_its_place_is_named_at_once_and_by_whoever_comes_next() {
    let world = World::new();
    let repo = film(&world);
    let dehydrate = repo.call(&["dits", "dehydrate", "b"]).pause_at(Step::HydrationSwapped.name()).start();
    let stopped = stopped_in(dehydrate.group());
    // A program that has the file open writes on, and another one saves.
    let names = std::fs::read_dir(repo.dir().join("b")).expect("there").flatten();
    let mut hidden = names.filter(|entry| entry.file_name().to_string_lossy().starts_with(".dits-"));
    let hidden = hidden.next().expect("the content has a temporary name").path();
    std::fs::write(&hidden, "first").expect("ours");
    repo.write("b/new", "second");
    std::fs::rename(repo.dir().join("b/new"), repo.dir().join("b/three.mov")).expect("ours");
    go_on(stopped);
    let done = dehydrate.finish();
    let kept = format!("is kept in {}", hidden.display());
    assert!(done.fails().contains(&kept), "{}", done.story());
    let pull = repo.git(&["dits", "pull"]);
    assert!(pull.err().contains(&kept), "{}", pull.story());
    repo.holds("b/three.mov", b"first");
    assert_eq!(std::fs::read(&hidden).expect("it is kept"), b"second");
}

#[test]
fn a_checkout_into_a_split_index_stages_no_save_either() {
    let world = World::new();
    let repo = film(&world);
    repo.git(&["dits", "dehydrate", "a"]).ok();
    repo.git(&["update-index", "--split-index"]).ok();
    let pause = format!("{}:2", Step::HydrationCleared.name());
    let checkout = repo.call(&["dits", "checkout", "a"]).pause_at(&pause).start();
    let stopped = stopped_in(checkout.group());
    repo.write("a/one.mov", "saved by the user");
    go_on(stopped);
    checkout.finish().ok();
    repo.holds("a/one.mov", b"saved by the user");
    assert_eq!(repo.status(), " M a/one.mov");
}

#[test]
fn a_damaged_index_is_not_written_anew() {
    let world = World::new();
    let repo = film(&world);
    let index = repo.dir().join(".git/index");
    let mut bytes = std::fs::read(&index).expect("there");
    *bytes.last_mut().expect("a checksum") ^= 1;
    let done = dehydrate_with(&repo, || std::fs::write(&index, &bytes).expect("ours"));
    assert!(done.err().contains("git's index cannot be told of the files"), "{}", done.story());
    assert_eq!(std::fs::read(&index).expect("there"), bytes);
}

#[test]
fn odd_names_are_found_from_any_folder_and_wrong_ones_are_named() {
    let world = World::new();
    let repo = world.repo("film");
    let names: [&[u8]; 5] = [b"-x.mov", b"it's \"q\".mov", b"line\nend.mov", b"\xff\xfe.mov", b" sp ace .mov"];
    for name in names {
        write_old(&repo, &Path::new("in").join(std::ffi::OsStr::from_bytes(name)), &noise(1, 300_000));
    }
    repo.commit("odd names");
    let inside = repo.dir().join("in");
    let one = repo.call(&["dits", "dehydrate", "--", "-x.mov"]).dir(&inside).run();
    assert_eq!(one.ok(), "1 file dehydrated (293.0 KiB freed)");
    assert_eq!(repo.call(&["dits", "dehydrate", "."]).dir(&inside).run().ok(), "4 files dehydrated (1.1 MiB freed)");
    is_clean_and_asks_nobody(&repo);
    assert_eq!(repo.call(&["dits", "checkout", "*.mov"]).dir(&inside).run().ok(), "5 files hydrated (1.4 MiB)");
    for name in names {
        let content = std::fs::read(inside.join(std::ffi::OsStr::from_bytes(name))).expect("there");
        assert!(content == noise(1, 300_000));
    }
    let wrong = repo.git(&["dits", "checkout", "nothing.mov"]).fails();
    assert!(wrong.contains("there is no media at nothing.mov"), "{wrong}");
    assert_eq!(repo.git(&["dits", "dehydrate"]).status.code(), Some(2));
}
