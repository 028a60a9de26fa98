//! `git dits fsck` and `git dits verify`: what is hurt is found, named, and mended from wherever it still is.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use dits_tests::media::{MIB, noise};
use dits_tests::{Done, Repo, Server, World};
use serde_json::Value;

/// Turns one bit of a file.
fn flip(path: &Path, at: u64) {
    let file = fs::File::options().read(true).write(true).open(path).expect("the file is ours");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("it is that long");
    file.write_all_at(&[byte[0] ^ 4], at).expect("the file is ours");
}

/// The files of a store's folder with this ending, the longest first.
fn files(store: &Path, folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(store.join(folder))
        .map(|entries| entries.map(|entry| entry.expect("readable").path()).collect())
        .unwrap_or_default();
    found.retain(|path| path.to_string_lossy().ends_with(ending));
    found.sort_by_key(|path| std::cmp::Reverse(path.metadata().map_or(0, |meta| meta.len())));
    found
}

/// The pack that has most of a store's bytes.
fn pack(repo: &Repo) -> PathBuf {
    let mut packs = files(&repo.store(), "packs", ".pack");
    packs.extend(files(&repo.store(), "open", ".pack"));
    packs.into_iter().max_by_key(|path| path.metadata().map_or(0, |meta| meta.len())).expect("there is a pack")
}

fn json(done: &Done) -> Value {
    serde_json::from_slice(&done.stdout).unwrap_or_else(|error| panic!("{error}: {}", done.story()))
}

fn fsck(repo: &Repo, args: &[&str]) -> (bool, Value) {
    let done = repo.git(&[&["dits", "fsck", "--json"], args].concat());
    let facts = json(&done);
    assert_eq!(facts["whole"].as_bool(), Some(done.status.success()), "{}", done.story());
    (done.status.success(), facts)
}

fn kinds(facts: &Value) -> Vec<String> {
    let findings = facts["findings"].as_array().expect("a list");
    findings.iter().map(|finding| finding["kind"].as_str().expect("a word").to_owned()).collect()
}

/// A repository with two commits of media.
fn film(world: &World) -> (Repo<'_>, Vec<u8>, String) {
    let repo = world.repo("film");
    let content = noise(1, 3 * MIB);
    repo.write("clips/a.bin", &content);
    let commit = repo.commit("a take");
    repo.write("b.bin", noise(2, MIB));
    repo.commit("another take");
    (repo, content, commit)
}

#[test]
fn a_whole_repository_has_no_findings() {
    let world = World::new();
    let (repo, _, _) = film(&world);
    repo.write("notes.bin", b"");
    repo.commit("an empty file");
    let (is_whole, facts) = fsck(&repo, &["--worktree"]);
    assert!(is_whole);
    assert_eq!((facts["files"].as_u64(), facts["elsewhere"].as_u64()), (Some(2), Some(0)));
    assert!(facts["bytes"].as_u64() > Some(4 * MIB as u64), "all of it is read: {facts}");
    assert!(kinds(&facts).is_empty() && facts["work_tree"].as_array().is_some_and(Vec::is_empty), "{facts}");
    let text = repo.git(&["dits", "fsck"]).ok();
    assert!(text.contains("2 files whole"), "{text}");
    repo.git(&["dits", "fsck", "--pointers"]).ok();
    repo.git(&["dits", "fsck", "--objects"]).ok();
}

#[test]
fn a_flipped_bit_is_named_by_file_commit_pack_and_chunk_and_mended_from_the_work_tree() {
    let world = World::new();
    let (repo, content, commit) = film(&world);
    let pack = pack(&repo);
    flip(&pack, MIB as u64);
    let (is_whole, facts) = fsck(&repo, &[]);
    assert!(!is_whole);
    assert_eq!(kinds(&facts), ["bytes"]);
    let broken = &facts["broken"][0];
    assert_eq!((broken["path"].as_str(), broken["commit"].as_str()), (Some("clips/a.bin"), Some(commit.as_str())));
    let part = &broken["parts"][0];
    assert!(part["item"].as_str().is_some_and(|item| item.starts_with("chunk ")), "{facts}");
    assert_eq!(part["copies"][0]["pack"].as_str(), pack.to_str());
    assert_eq!(part["copies"][0]["entry"], facts["findings"][0]["entry"]);
    let text = repo.git(&["dits", "fsck"]);
    let story = text.story();
    assert!(text.fails().contains("clips/a.bin"), "{story}");
    assert!(story.contains("fsck --repair") && text.out().contains("chunk "), "{story}");
    let (is_whole, facts) = fsck(&repo, &["--repair"]);
    assert!(is_whole, "{facts}");
    assert_eq!(facts["repaired"]["from_work_tree"][0].as_str(), Some("clips/a.bin"));
    assert_eq!(facts["repaired"]["set_aside"].as_array().map(Vec::len), Some(1), "{facts}");
    fs::remove_file(repo.dir().join("clips/a.bin")).expect("it is ours");
    repo.git(&["checkout", "-q", "--", "clips/a.bin"]).ok();
    repo.holds("clips/a.bin", &content);
    assert!(fsck(&repo, &["--worktree"]).0);
}

#[test]
fn what_is_hurt_comes_back_from_a_server() {
    let world = World::new();
    let server = world.serve();
    let (repo, content, _) = film(&world);
    repo.push_to(&server.url("film"));
    let clone = world.clone_of(&server.url("film"), "clone");
    // Nothing of it is left in the work tree.
    clone.git(&["dits", "dehydrate", "clips/a.bin", "b.bin"]).ok();
    flip(&pack(&clone), MIB as u64);
    assert!(!fsck(&clone, &[]).0);
    let (is_whole, facts) = fsck(&clone, &["--repair", "--from", "origin"]);
    assert!(is_whole, "{facts}");
    assert_eq!(facts["repaired"]["fetched"].as_array().map(Vec::len), Some(1), "{facts}");
    server.kill();
    clone.git(&["dits", "checkout"]).ok();
    clone.holds("clips/a.bin", &content);
}

#[test]
fn what_is_hurt_comes_back_from_a_share_and_what_is_nowhere_stays_named() {
    let world = World::new();
    let bare = world.bare("nas.git");
    let (repo, content, commit) = film(&world);
    repo.push_to(&format!("dits::{}", bare.display()));
    fs::remove_file(repo.dir().join("clips/a.bin")).expect("it is ours");
    flip(&pack(&repo), MIB as u64);
    let (is_whole, facts) = fsck(&repo, &["--repair"]);
    assert!(is_whole && facts["repaired"]["from_stores"].as_u64() == Some(1), "{facts}");
    repo.git(&["checkout", "-q", "--", "clips/a.bin"]).ok();
    repo.holds("clips/a.bin", &content);
    // The share itself is looked at where it is.
    let at_share = Repo::at(&world, bare.clone());
    assert!(fsck(&at_share, &[]).0);
    assert!(!bare.join("dits/index.sqlite").exists(), "the index of a share is in the user's cache");
    let on_share = files(&bare.join("dits"), "packs", ".pack");
    flip(&on_share[0], MIB as u64);
    let (is_whole, facts) = fsck(&at_share, &["--repair"]);
    assert!(!is_whole);
    assert_eq!(
        (kinds(&facts), facts["broken"][0]["commit"].as_str()),
        (vec!["bytes".to_owned()], Some(commit.as_str()))
    );
    assert!(on_share[0].exists(), "a pack that may be all that there is stays where it is");
}

#[test]
fn packs_that_are_cut_deleted_or_swapped_are_found_and_what_they_had_is_named() {
    let world = World::new();
    for harm in ["cut", "deleted", "swapped", "newer"] {
        let name = format!("film-{harm}");
        let repo = world.repo(&name);
        repo.write("a.bin", noise(9, 2 * MIB));
        repo.commit("a take");
        // A share has sealed packs.
        let bare = world.bare(&format!("{name}.git"));
        repo.push_to(&format!("dits::{}", bare.display()));
        let share = Repo::at(&world, bare.clone());
        let pack = files(&bare.join("dits"), "packs", ".pack").remove(0);
        let bytes = fs::read(&pack).expect("readable");
        let expected = match harm {
            "cut" => {
                fs::write(&pack, &bytes[..bytes.len() / 2]).expect("ours");
                Some("not-a-pack")
            }
            "deleted" => {
                fs::remove_file(&pack).expect("ours");
                None
            }
            "swapped" => {
                let other = world.bare("other.git");
                let others = world.repo("others");
                others.write("x.bin", noise(33, MIB));
                others.commit("theirs");
                others.push_to(&format!("dits::{}", other.display()));
                fs::copy(&files(&other.join("dits"), "packs", ".pack")[0], &pack).expect("ours");
                Some("other-name")
            }
            _ => {
                let mut bytes = bytes.clone();
                let version = bytes.len() - 64;
                bytes[version] = 7;
                fs::write(&pack, bytes).expect("ours");
                Some("unknown-version")
            }
        };
        let (is_whole, facts) = fsck(&share, &[]);
        assert!(!is_whole, "{harm}: {facts}");
        assert!(expected.is_none_or(|kind| kinds(&facts).contains(&kind.to_owned())), "{harm}: {facts}");
        assert_eq!(facts["broken"][0]["path"].as_str(), Some("a.bin"), "{harm}: {facts}");
        // The pushing clone has it all: a push of everything mends the share.
        repo.git(&["dits", "push", "origin", "--all"]).ok();
        let (is_whole, facts) = fsck(&share, &["--repair"]);
        assert!(is_whole && facts["broken"].as_array().is_some_and(Vec::is_empty), "{harm}: {facts}");
    }
}

#[test]
fn an_index_that_is_gone_or_of_another_repository_is_made_anew() {
    let world = World::new();
    let (repo, content, _) = film(&world);
    let other = world.repo("other");
    other.write("x.bin", noise(40, MIB));
    other.commit("theirs");
    let index = repo.store().join("index.sqlite");
    for is_replaced in [false, true] {
        for suffix in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(repo.store().join(format!("index.sqlite{suffix}")));
        }
        if is_replaced {
            fs::copy(other.store().join("index.sqlite"), &index).expect("ours");
        }
        assert!(fsck(&repo, &[]).0);
        fs::remove_file(repo.dir().join("clips/a.bin")).expect("it is ours");
        repo.git(&["checkout", "-q", "--", "clips/a.bin"]).ok();
        repo.holds("clips/a.bin", &content);
    }
    let spoil = |sql: &str| {
        let rows = rusqlite::Connection::open(&index).expect("an index");
        rows.execute(sql, []).expect("changed");
        rows.close().expect("closed");
    };
    spoil("UPDATE items SET entry = entry + 1");
    let (is_whole, facts) = fsck(&repo, &[]);
    assert!(!is_whole && kinds(&facts).contains(&"index-lies".to_owned()), "{facts}");
    spoil("DELETE FROM items WHERE entry > 3");
    let (is_whole, facts) = fsck(&repo, &["--repair"]);
    assert!(is_whole && facts["repaired"]["index"].as_bool() == Some(true), "{facts}");
}

#[test]
fn what_a_remote_has_is_no_loss_and_what_nobody_has_is() {
    let world = World::new();
    let server = world.serve();
    let (repo, _, _) = film(&world);
    repo.push_to(&server.url("film"));
    world
        .call("git")
        .args(["clone", "-q", &server.url("film"), "bare-clone"])
        .env("GIT_DITS_SKIP_SMUDGE", "1")
        .run()
        .ok();
    let clone = Repo::at(&world, world.path("bare-clone"));
    let (is_whole, facts) = fsck(&clone, &[]);
    assert!(is_whole && facts["elsewhere"].as_u64() == Some(2), "{facts}");
    clone.write("mine.bin", noise(50, MIB));
    let mine = clone.commit("mine alone");
    for path in [files(&clone.store(), "open", ""), files(&clone.store(), "packs", "")].concat() {
        fs::remove_file(path).expect("ours");
    }
    let (is_whole, facts) = fsck(&clone, &[]);
    assert!(!is_whole);
    let broken = facts["broken"].as_array().expect("a list");
    assert_eq!(broken.len(), 1, "{facts}");
    assert_eq!((broken[0]["path"].as_str(), broken[0]["commit"].as_str()), (Some("mine.bin"), Some(mine.as_str())));
    assert!(fsck(&clone, &["--repair"]).0, "it is in the work tree still");
}

#[test]
fn a_file_that_changed_behind_gits_back_is_found_only_by_reading_it() {
    let world = World::new();
    let (repo, _, _) = film(&world);
    let path = repo.dir().join("clips/a.bin");
    repo.git(&["config", "core.trustctime", "false"]).ok();
    // Git takes nobody's word for a file that is as young as its index.
    let date = || {
        let file = fs::File::options().write(true).open(&path).expect("ours");
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000)).expect("ours");
    };
    date();
    repo.git(&["add", "clips/a.bin"]).ok();
    flip(&path, 12_345);
    date();
    assert_eq!(repo.status(), "", "git takes it for unchanged");
    assert!(fsck(&repo, &[]).0);
    let (is_whole, facts) = fsck(&repo, &["--worktree"]);
    assert!(!is_whole);
    assert_eq!(facts["work_tree"][0]["kind"].as_str(), Some("other-content"), "{facts}");
    assert!(repo.git(&["dits", "verify", "clips/a.bin"]).fails().contains("no version"));
    // What its owner changed is no finding.
    repo.write("clips/a.bin", b"regraded");
    assert!(fsck(&repo, &["--worktree"]).0);
}

#[test]
fn verify_says_which_version_a_file_is() {
    let world = World::new();
    let (repo, content, first) = film(&world);
    let edited = noise(60, 2 * MIB);
    repo.write("clips/a.bin", &edited);
    repo.commit("an edit");
    let verify = |args: &[&str]| {
        let done = repo.git(&[&["dits", "verify", "--json"], args].concat());
        let facts = json(&done)["files"][0].clone();
        (done.status.success(), facts)
    };
    let (is_good, facts) = verify(&["clips/a.bin"]);
    assert!(is_good && facts["index"].as_bool() == Some(true) && facts["head"].as_bool() == Some(true), "{facts}");
    repo.write("clips/a.bin", &content);
    let (is_good, facts) = verify(&["clips/a.bin"]);
    assert!(is_good && facts["index"].as_bool() == Some(false), "{facts}");
    assert_eq!(facts["version"]["commit"].as_str(), Some(first.as_str()), "{facts}");
    repo.write("clips/a.bin", noise(61, MIB));
    let (is_good, facts) = verify(&["clips/a.bin"]);
    assert!(!is_good && facts["version"].is_null(), "{facts}");
    repo.write("clips/a.bin", &edited);
    repo.git(&["dits", "dehydrate", "clips/a.bin"]).ok();
    let (is_good, facts) = verify(&["clips/a.bin"]);
    assert!(is_good && facts["kind"].as_str() == Some("pointer") && facts["unavailable"].is_null(), "{facts}");
    flip(&pack(&repo), 5 * MIB as u64);
    let (is_good, facts) = verify(&["clips/a.bin"]);
    assert!(!is_good && facts["unavailable"].as_str().is_some_and(|why| why.contains("damaged")), "{facts}");
    assert!(repo.git(&["dits", "verify", "b.bin"]).ok().contains("as in the index and in HEAD"));
}

#[test]
fn a_server_is_looked_at_while_it_runs_and_mended_by_a_push() {
    let world = World::new();
    let server = world.serve();
    let (repo, content, commit) = film(&world);
    repo.push_to(&server.url("group/film"));
    let root = server.root().to_owned();
    let fsck = |args: &[&str]| {
        let args = [&["fsck", "--json", "--root", root.to_str().expect("a plain path")], args].concat();
        let done = world.call("ditsd").args(args).run();
        let facts = json(&done);
        assert_eq!(facts["whole"].as_bool(), Some(done.status.success()), "{}", done.story());
        facts
    };
    let facts = fsck(&[]);
    assert!(facts["whole"].as_bool() == Some(true) && facts["files"].as_u64() == Some(2), "{facts}");
    // A flipped bit: what needs it does not count as held any more, and a push brings it again.
    let mut packs = files(&root.join("store"), "packs", ".pack");
    packs.extend(files(&root.join("store"), "open", ".pack"));
    let pack = packs.into_iter().max_by_key(|path| path.metadata().map_or(0, |meta| meta.len())).expect("a pack");
    flip(&pack, MIB as u64);
    let facts = fsck(&[]);
    assert_eq!(kinds(&facts), ["bytes"]);
    let broken = &facts["broken"][0];
    assert_eq!(broken["repository"].as_str(), Some("group/film"));
    // Chunks of both files come side by side.
    let is_first = broken["path"].as_str() == Some("clips/a.bin");
    let expected = if is_first { ("clips/a.bin", &commit) } else { ("b.bin", &repo.head()) };
    assert_eq!((broken["path"].as_str(), broken["commit"].as_str()), (Some(expected.0), Some(expected.1.as_str())));
    assert_eq!(broken["parts"][0]["copies"][0]["pack"].as_str(), pack.to_str());
    repo.git(&["dits", "push", "origin", "--all"]).ok();
    let facts = fsck(&["--repair"]);
    assert!(facts["whole"].as_bool() == Some(true), "{facts}");
    assert_eq!(facts["repaired"]["set_aside"].as_array().map(Vec::len), Some(1), "{facts}");
    world.clone_of(&server.url("group/film"), "clone").holds("clips/a.bin", &content);
    // Packs that are gone: files that lack them are held no more, so that they are sent again.
    let _ = server.stop();
    for path in [files(&root.join("store"), "open", ""), files(&root.join("store"), "packs", "")].concat() {
        fs::remove_file(path).expect("ours");
    }
    let facts = fsck(&["--repair"]);
    assert!(facts["whole"].as_bool() == Some(false), "refs need what is held no more: {facts}");
    assert_eq!(facts["repaired"]["forgotten"].as_array().map(Vec::len), Some(2), "{facts}");
    let server = Server::start(&world, &root, &[]);
    repo.git(&["remote", "set-url", "origin", &server.url("group/film")]).ok();
    repo.git(&["dits", "push", "origin", "--all"]).ok();
    assert!(fsck(&[])["whole"].as_bool() == Some(true));
    // A repository that is not where it is registered, and one that nobody registered.
    fs::rename(server.bare("group/film"), server.bare("group/other")).expect("ours");
    let facts = fsck(&[]);
    assert_eq!(facts["repositories"].as_array().map(Vec::len), Some(2), "{facts}");
}
