//! `git dits prune`: what a remote keeps goes here, and comes back when it is wanted.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use dits_tests::media::{MIB, noise};
use dits_tests::{Call, Done, Repo, World};
use serde_json::Value;

fn prune(repo: &Repo<'_>, args: &[&str]) -> Value {
    let done = repo.git(&[&["dits", "prune", "--json"], args].concat());
    serde_json::from_str(&done.ok()).expect("it prints JSON")
}

/// The oids of a list in the facts.
fn oids(facts: &Value, list: &str) -> Vec<String> {
    let all = facts[list].as_array().expect("a list").iter();
    all.map(|file| file["oid"].as_str().expect("an oid").to_owned()).collect()
}

fn oid(content: &[u8]) -> String {
    blake3::hash(content).to_hex().to_string()
}

/// The reasons for which files are left.
fn reasons(facts: &Value) -> Vec<String> {
    let all = facts["left"].as_array().expect("a list").iter();
    all.map(|file| file["reason"].as_str().expect("a reason").to_owned()).collect()
}

/// Lets hours pass for the packs of a store.
fn age(store: &Path) {
    for dir in ["packs", "open"] {
        for entry in fs::read_dir(store.join(dir)).into_iter().flatten().flatten() {
            let file = File::open(entry.path()).expect("it is ours");
            file.set_modified(SystemTime::now() - Duration::from_secs(7 * 3600)).expect("set");
        }
    }
}

fn stored(store: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let packs = ["packs", "open"].into_iter().flat_map(|dir| fs::read_dir(store.join(dir))).flatten().flatten();
    let packs = packs.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "pack"));
    packs.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len().min(meta.blocks() * 512)).sum()
}

fn take(number: u64) -> Vec<u8> {
    noise(number, MIB)
}

/// A repository of which three versions of a take were pushed, with receipts.
fn with_three_versions<'w>(world: &'w World, url: &str) -> Repo<'w> {
    let repo = world.repo("film");
    repo.push_to(url);
    for version in 1..=3 {
        repo.write("take.bin", take(version));
        repo.commit("a version");
    }
    repo.git(&["push", "-q", "origin", "HEAD"]).ok();
    age(&repo.store());
    repo
}

#[test]
fn earlier_versions_that_a_server_keeps_are_freed_and_come_back() {
    let world = World::new();
    let server = world.serve();
    let repo = with_three_versions(&world, &server.url("film"));
    let before = stored(&repo.store());
    let dry = prune(&repo, &["--dry-run"]);
    assert_eq!((oids(&dry, "freed").len(), stored(&repo.store())), (2, before), "{dry}");
    assert!(dry["freed_bytes"].as_u64() > Some(2 * MIB as u64 * 9 / 10), "{dry}");
    assert!(dry["freed"].as_array().expect("a list").iter().all(|file| file["path"] == "take.bin"), "{dry}");
    let told = repo.git(&["dits", "prune", "--dry-run", "--verbose"]).ok();
    let first = repo.git(&["rev-parse", "HEAD~2"]).ok();
    let line = format!("would be freed: take.bin in {} ({}, 1.0 MiB)", first.trim(), oid(&take(1)));
    assert!(told.lines().any(|told| told == line), "{told}");
    let done = prune(&repo, &[]);
    let mut expected = [oid(&take(1)), oid(&take(2))];
    expected.sort_unstable();
    assert_eq!(oids(&done, "freed"), expected);
    assert_eq!((done["needed"].as_u64(), oids(&done, "left").len()), (Some(1), 0), "{done}");
    assert!(stored(&repo.store()) < before - 2 * MIB as u64 * 9 / 10, "{} of {before}", stored(&repo.store()));
    repo.git(&["checkout", "-q", "HEAD~2"]).ok();
    repo.holds("take.bin", &take(1));
    repo.git(&["checkout", "-q", "main"]).ok();
    repo.holds("take.bin", &take(3));
    assert_eq!(repo.status(), "");
}

#[test]
fn what_may_be_needed_here_stays_although_the_server_keeps_it() {
    let world = World::new();
    let server = world.serve();
    let repo = with_three_versions(&world, &server.url("film"));
    // One branch has it all, and is pushed.
    repo.git(&["switch", "-q", "-c", "side"]).ok();
    for (name, number) in
        [("indexed.bin", 10), ("stashed.bin", 11), ("elsewhere.bin", 12), ("recent.bin", 13), ("merged.bin", 14)]
    {
        repo.write(name, take(number));
    }
    repo.commit("everything");
    repo.git(&["push", "-q", "origin", "side"]).ok();
    repo.git(&["rm", "-q", "indexed.bin", "stashed.bin", "elsewhere.bin", "recent.bin", "merged.bin"]).ok();
    repo.commit("nothing of it");
    repo.git(&["push", "-q", "origin", "side"]).ok();
    repo.git(&["switch", "-q", "main"]).ok();
    // The stash has one of them, the index one, a work tree one, and a branch of today one.
    repo.git(&["checkout", "-q", "side~1", "--", "stashed.bin"]).ok();
    repo.git(&["stash", "push", "-q"]).ok();
    repo.git(&["worktree", "add", "-q", "--no-checkout", "--detach", "../tree", "main"]).ok();
    let tree = Repo::at(&world, world.path("tree"));
    tree.git(&["checkout", "-q", "main"]).fails();
    tree.git(&["read-tree", "main"]).ok();
    tree.git(&["checkout", "-q", "side~1", "--", "elsewhere.bin"]).ok();
    repo.git(&["switch", "-q", "-c", "today"]).ok();
    repo.git(&["checkout", "-q", "side~1", "--", "recent.bin"]).ok();
    let date =
        format!("@{} +0000", SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs());
    repo.call(&["commit", "-q", "-m", "today"]).env("GIT_COMMITTER_DATE", date).run().ok();
    repo.git(&["push", "-q", "origin", "today"]).ok();
    repo.git(&["switch", "-q", "main"]).ok();
    // A merge stops in the middle.
    repo.git(&["switch", "-q", "-c", "theirs", "main~1"]).ok();
    repo.git(&["checkout", "-q", "side~1", "--", "merged.bin"]).ok();
    repo.write("take.bin", take(3));
    repo.write("script.txt", "theirs\n");
    repo.commit("theirs");
    repo.git(&["switch", "-q", "-c", "ours", "main"]).ok();
    repo.write("script.txt", "ours\n");
    repo.commit("ours");
    repo.git(&["push", "-q", "origin", "theirs", "ours"]).ok();
    repo.git(&["merge", "-q", "theirs"]).fails();
    repo.git(&["branch", "-q", "-D", "theirs"]).ok();
    repo.git(&["checkout", "-q", "side~1", "--", "indexed.bin"]).ok();
    age(&repo.store());
    let freed = oids(&prune(&repo, &[]), "freed");
    let mut expected = [oid(&take(1)), oid(&take(2))];
    expected.sort_unstable();
    assert_eq!(freed, expected);
    // With all of that gone, it may go.
    repo.git(&["merge", "--abort"]).ok();
    repo.git(&["reset", "-q", "--hard"]).ok();
    repo.git(&["stash", "drop", "-q"]).ok();
    repo.git(&["worktree", "remove", "--force", "../tree"]).ok();
    repo.git(&["update-ref", "-d", "ORIG_HEAD"]).ok();
    repo.git(&["config", "dits.fetchRecentDays", "0"]).ok();
    let facts = prune(&repo, &["--dry-run"]);
    assert_eq!(oids(&facts, "freed").len(), 5, "{facts}");
}

/// Prunes with a helper that does something in the repository once the remote has answered.
fn prune_call(world: &World, repo: &Repo<'_>, then: &str) -> Call {
    let programs = world.path("programs");
    fs::create_dir(&programs).expect("made");
    for name in ["git-dits", "git-dits-filter"] {
        fs::copy(dits_tests::programs::folder().join(name), programs.join(name)).expect("copied");
    }
    let helper = dits_tests::programs::folder().join("git-remote-dits");
    let script = format!("#!/bin/sh\n'{}' \"$@\" && {{ {then}; }} >&2\n", helper.display());
    fs::write(programs.join("git-remote-dits"), script).expect("written");
    fs::set_permissions(programs.join("git-remote-dits"), fs::Permissions::from_mode(0o755)).expect("set");
    world.call(&programs.join("git-dits").display().to_string()).dir(repo.dir()).args(["prune", "--json"])
}

#[test]
fn what_another_repository_adds_while_the_remote_is_asked_stays() {
    let world = World::new();
    let server = world.serve();
    let storage = world.path("storage");
    world.git(&["config", "--global", "dits.storage", &storage.display().to_string()]).ok();
    let repo = with_three_versions(&world, &server.url("film"));
    let other = world.repo("other");
    other.write("mine.bin", take(9));
    other.commit("its own");
    age(&storage);
    // What it adds is in the store: it gets a pointer, and nothing else.
    other.write("same.bin", take(1));
    let add = format!("git -C '{}' add same.bin", other.dir().display());
    let facts: Value = serde_json::from_str(&prune_call(&world, &repo, &add).run().ok()).expect("it prints JSON");
    assert_eq!(oids(&facts, "freed"), [oid(&take(2))], "{facts}");
    fs::remove_file(other.dir().join("same.bin")).expect("ours");
    other.git(&["checkout", "-q", "--", "same.bin"]).ok();
    other.holds("same.bin", &take(1));
}

#[test]
fn what_is_checked_out_while_the_remote_is_asked_stays() {
    let world = World::new();
    let server = world.serve();
    let repo = with_three_versions(&world, &server.url("film"));
    // One that ended before its time: what it condemned could go at once.
    repo.call(&["dits", "prune"]).stop_at("collect-condemned").run().breaks();
    let done = prune_call(&world, &repo, "git checkout -q HEAD~2");
    let facts: Value = serde_json::from_str(&done.run().ok()).expect("it prints JSON");
    assert_eq!(oids(&facts, "freed"), [oid(&take(2))]);
    assert_eq!(facts["needed"].as_u64(), Some(2), "{facts}");
    drop(server);
    fs::remove_file(repo.dir().join("take.bin")).expect("ours");
    repo.git(&["checkout", "-q", "--", "take.bin"]).ok();
    repo.holds("take.bin", &take(1));
}

#[test]
fn what_was_not_pushed_stays_although_another_branch_of_the_server_keeps_it() {
    let world = World::new();
    let server = world.serve();
    let repo = with_three_versions(&world, &server.url("film"));
    repo.git(&["switch", "-q", "-c", "mine", "main~1"]).ok();
    repo.write("take.bin", take(1));
    repo.commit("back to the first");
    repo.git(&["switch", "-q", "main"]).ok();
    assert_eq!(oids(&prune(&repo, &[]), "freed"), [oid(&take(2))]);
}

#[test]
fn a_remote_whose_receipts_do_not_agree_frees_nothing() {
    let world = World::new();
    let server = world.serve();
    let repo = with_three_versions(&world, &server.url("film"));
    let before = stored(&repo.store());
    let path = repo.store().join("receipts.sqlite");
    let honest = fs::read(&path).expect("there are receipts");
    let other = "the remote says something else than its receipt";
    for (change, reason) in [
        ("UPDATE receipts SET mac = zeroblob(32)", other),
        ("UPDATE receipts SET manifest = zeroblob(32)", other),
        ("UPDATE receipts SET proven_at = proven_at + 1", other),
        ("UPDATE receipts SET size = size + 1", "no receipt of the remote is known here"),
        ("DELETE FROM receipts", "no receipt of the remote is known here"),
    ] {
        fs::write(&path, &honest).expect("it is ours");
        let receipts = rusqlite::Connection::open(&path).expect("a database");
        receipts.execute_batch(change).expect("changed");
        drop(receipts);
        let facts = prune(&repo, &[]);
        assert_eq!((oids(&facts, "freed").len(), reasons(&facts)), (0, vec![reason.to_owned(); 2]), "{change}");
    }
    assert_eq!(stored(&repo.store()), before);
    // Asking for all of them gives them back.
    repo.git(&["dits", "push", "--all", "origin"]).ok();
    assert_eq!(oids(&prune(&repo, &[]), "freed").len(), 2);
}

#[test]
fn a_server_that_says_something_else_than_its_receipts_frees_nothing() {
    let world = World::new();
    let server = world.serve();
    let repo = with_three_versions(&world, &server.url("film"));
    for lie in ["proven_at = proven_at + 1", "manifest = zeroblob(32)", "size = size + 1"] {
        let meta = rusqlite::Connection::open(server.root().join("meta.sqlite")).expect("it is there");
        meta.busy_timeout(Duration::from_secs(30)).expect("set");
        meta.execute_batch("CREATE TEMP TABLE truth AS SELECT * FROM held").expect("copied");
        meta.execute_batch(&format!("UPDATE held SET {lie}")).expect("written");
        let facts = prune(&repo, &[]);
        assert_eq!(oids(&facts, "freed"), [""; 0], "{lie}: {facts}");
        assert_eq!(reasons(&facts).len(), 2, "{lie}: {facts}");
        meta.execute_batch("DELETE FROM held; INSERT INTO held SELECT * FROM truth; DROP TABLE truth")
            .expect("written");
    }
    assert_eq!(oids(&prune(&repo, &["--dry-run"]), "freed").len(), 2);
}

#[test]
fn what_no_ref_of_the_server_names_any_more_stays() {
    let world = World::new();
    let server = world.serve();
    let repo = with_three_versions(&world, &server.url("film"));
    // Somebody else moves the branch back, and this clone has not heard of it.
    world.clone_of(&server.url("film"), "other").git(&["push", "-q", "-f", "origin", "HEAD~3:main"]).ok();
    let facts = prune(&repo, &[]);
    assert_eq!(reasons(&facts), ["no ref of the remote keeps it"; 2]);
    assert_eq!(oids(&facts, "freed").len(), 0);
}

#[test]
fn what_the_server_cannot_show_again_stays_where_that_is_asked() {
    let world = World::new();
    let server = world.serve();
    let repo = with_three_versions(&world, &server.url("film"));
    let verified = prune(&repo, &["--verify-remote", "--dry-run"]);
    assert_eq!(oids(&verified, "freed").len(), 2, "{verified}");
    damage(&server.root().join("store"), &take(1));
    let facts = prune(&repo, &["--verify-remote"]);
    assert_eq!((oids(&facts, "freed"), oids(&facts, "left")), (vec![oid(&take(2))], vec![oid(&take(1))]), "{facts}");
    assert_eq!(reasons(&facts), ["the remote cannot show it whole"]);
}

/// Changes a byte of `content` where the packs of a store have it.
fn damage(store: &Path, content: &[u8]) {
    for dir in ["open", "packs"] {
        for entry in fs::read_dir(store.join(dir)).into_iter().flatten().flatten() {
            let mut bytes = fs::read(entry.path()).expect("it is ours");
            if let Some(at) = bytes.windows(100).position(|window| window == &content[..100]) {
                bytes[at] ^= 1;
                fs::write(entry.path(), bytes).expect("it is ours");
                return;
            }
        }
    }
    panic!("no pack has it");
}

#[test]
fn what_another_repository_of_the_store_names_stays_and_one_that_cannot_be_read_stops_it() {
    let world = World::new();
    let server = world.serve();
    let storage = world.path("storage");
    world.git(&["config", "--global", "dits.storage", &storage.display().to_string()]).ok();
    let repo = world.repo("film");
    repo.push_to(&server.url("film"));
    for version in 1..=3 {
        repo.write("take.bin", take(version));
        repo.commit("a version");
    }
    repo.git(&["push", "-q", "origin", "HEAD"]).ok();
    let other = world.repo("other");
    other.write("same.bin", take(1));
    other.commit("the same take");
    age(&storage);
    assert_eq!(oids(&prune(&repo, &["--dry-run"]), "freed"), [oid(&take(2))]);
    fs::rename(world.path("other"), world.path("away")).expect("moved");
    let refused = repo.git(&["dits", "prune"]);
    assert_eq!(refused.status.code(), Some(3), "{}", refused.story());
    assert!(refused.err().contains("cannot tell what the repository "), "{}", refused.story());
    fs::rename(world.path("away"), world.path("other")).expect("moved back");
    prune(&repo, &[]);
    other.write("same.bin", b"");
    other.git(&["reset", "-q", "--hard"]).ok();
    other.holds("same.bin", &take(1));
}

#[test]
fn a_share_keeps_what_its_refs_name() {
    let world = World::new();
    let url = format!("dits::{}", world.bare("nas.git").display());
    let repo = with_three_versions(&world, &url);
    repo.git(&["push", "-q", "origin", "HEAD"]).ok();
    let facts = prune(&repo, &["--verify-remote"]);
    assert_eq!(oids(&facts, "freed").len(), 2, "{facts}");
    repo.git(&["checkout", "-q", "HEAD~2"]).ok();
    repo.holds("take.bin", &take(1));
}

/// All parts are there by their names: nobody has read them since.
#[test]
fn a_share_that_has_rotted_frees_nothing_that_rotted() {
    let world = World::new();
    let share = world.bare("nas.git");
    let repo = with_three_versions(&world, &format!("dits::{}", share.display()));
    damage(&share.join("dits"), &take(1));
    let facts = prune(&repo, &[]);
    assert_eq!(oids(&facts, "freed"), [oid(&take(2))], "{facts}");
    assert_eq!(reasons(&facts), ["the remote cannot show it whole"]);
    repo.git(&["checkout", "-q", "HEAD~2"]).ok();
    repo.holds("take.bin", &take(1));
}

#[test]
fn where_text_is_elsewhere_the_server_of_the_media_keeps_it() {
    let world = World::new();
    let server = world.serve();
    let forge = world.bare("forge.git");
    let repo = world.repo("film");
    repo.git(&["dits", "install"]).ok();
    repo.git(&["config", "dits.url", &server.url("film")]).ok();
    repo.git(&["remote", "add", "origin", &forge.display().to_string()]).ok();
    for version in 1..=3 {
        repo.write("take.bin", take(version));
        repo.commit("a version");
        repo.git(&["push", "-q", "-u", "origin", "HEAD"]).ok();
    }
    repo.git(&["dits", "push", "--all", "origin"]).ok();
    age(&repo.store());
    assert_eq!(oids(&prune(&repo, &[]), "freed").len(), 2);
    repo.git(&["checkout", "-q", "HEAD~2"]).ok();
    repo.git(&["dits", "pull"]).ok();
    repo.holds("take.bin", &take(1));
}

#[test]
fn without_a_remote_that_can_be_asked_nothing_is_freed() {
    let world = World::new();
    let repo = world.repo("film");
    repo.write("take.bin", take(1));
    repo.commit("a take");
    let refused: Done = repo.git(&["dits", "prune"]);
    assert_eq!(refused.status.code(), Some(3), "{}", refused.story());
    let unknown = repo.git(&["dits", "prune", "--remote", "nowhere"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", unknown.story());
    repo.git(&["remote", "add", "origin", "dits://127.0.0.1:1/film"]).ok();
    repo.write("take.bin", take(2));
    repo.commit("another");
    repo.git(&["update-ref", "refs/remotes/origin/main", "HEAD"]).ok();
    let before = stored(&repo.store());
    repo.git(&["dits", "prune"]).fails();
    assert_eq!(stored(&repo.store()), before);
}
