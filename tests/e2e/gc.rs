//! `git dits gc`: what Git still has a pointer of stays, all else goes, whoever is at work meanwhile.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use dits_tests::media::{MIB, noise};
use dits_tests::repo::{age_packs as age, bytes_below};
use dits_tests::{Done, Repo, World, processes};

/// In seconds.
const HOUR: u64 = 3600;

fn packs_len(store: &Path) -> u64 {
    ["packs", "open"].iter().map(|folder| bytes_below(&store.join(folder))).sum()
}

/// What git keeps for its own two weeks goes now.
fn forget_unreachable(repo: &Repo<'_>) {
    repo.git(&["reflog", "expire", "--expire=now", "--all"]).ok();
    repo.git(&["gc", "-q", "--prune=now"]).ok();
}

/// A repository with a take of 1 MiB, and one of 3 MiB that nothing names.
fn with_dead_media(world: &World) -> Repo<'_> {
    let repo = world.repo("film");
    repo.write("a.bin", noise(1, MIB));
    repo.commit("kept");
    repo.write("b.bin", noise(2, 3 * MIB));
    repo.git(&["add", "b.bin"]).ok();
    repo.git(&["rm", "-q", "--cached", "b.bin"]).ok();
    repo.git(&["gc", "-q", "--prune=now"]).ok();
    repo
}

fn facts(done: &Done) -> serde_json::Value {
    serde_json::from_str(&done.ok()).unwrap_or_else(|error| panic!("{error}: {}", done.story()))
}

fn gc(repo: &Repo<'_>) -> serde_json::Value {
    facts(&repo.git(&["dits", "gc", "--json"]))
}

#[test]
fn media_that_git_has_no_pointer_of_goes_after_a_day_and_all_other_stays() {
    let world = World::new();
    let repo = world.repo("film");
    let contents: Vec<Vec<u8>> = (0..6).map(|seed| noise(seed, 2 * MIB)).collect();
    repo.write("a.bin", &contents[0]);
    repo.commit("kept");
    repo.write("b.bin", &contents[1]);
    repo.commit("only the reflog has it");
    repo.git(&["reset", "-q", "--hard", "HEAD~1"]).ok();
    repo.write("a.bin", &contents[2]);
    repo.git(&["stash", "-q"]).ok();
    repo.write("added.bin", &contents[3]);
    repo.git(&["add", "added.bin"]).ok();
    repo.git(&["worktree", "add", "-q", "../second", "-b", "second"]).ok();
    let second = Repo::at(&world, world.path("second"));
    second.write("there.bin", &contents[4]);
    second.git(&["add", "there.bin"]).ok();
    // Seen by `git diff`, and never added: git has no pointer of it.
    repo.write("a.bin", &contents[5]);
    repo.git(&["diff", "--stat"]).ok();
    let before = packs_len(&repo.store());
    assert!(before > 12 * MIB as u64);
    // Everything is young.
    assert_eq!(gc(&repo)["freed_bytes"], 0);
    age(&repo.store(), 25 * HOUR);
    let rehearsed = facts(&repo.git(&["dits", "gc", "--dry-run", "--json"]));
    assert_eq!(packs_len(&repo.store()), before);
    assert!(rehearsed["freeable_bytes"].as_u64() == Some(0), "less than a quarter is dead: {rehearsed}");
    assert!(rehearsed["dead_bytes"].as_u64() >= Some(2 * MIB as u64), "{rehearsed}");
    // Once git itself lets go of what only the reflog and nothing has, that goes too.
    repo.write("a.bin", &contents[0]);
    forget_unreachable(&repo);
    let done = gc(&repo);
    assert!(done["freed_bytes"].as_u64() >= Some(4 * MIB as u64 - 100_000), "{done}");
    assert_eq!(done["waiting_packs"], 0);
    assert!(packs_len(&repo.store()) < before - 3 * MIB as u64);
    repo.holds("added.bin", &contents[3]);
    fs::remove_file(repo.dir().join("added.bin")).expect("ours");
    repo.git(&["checkout", "-q", "--", "added.bin"]).ok();
    repo.holds("added.bin", &contents[3]);
    fs::remove_file(second.dir().join("there.bin")).expect("ours");
    second.git(&["checkout", "-q", "--", "there.bin"]).ok();
    second.holds("there.bin", &contents[4]);
    // `git stash pop` wants the reflog that was expired.
    repo.git(&["checkout", "-q", "refs/stash", "--", "a.bin"]).ok();
    repo.holds("a.bin", &contents[2]);
    repo.git(&["dits", "gc"]).ok();
}

#[test]
fn people_read_how_much_was_freed_and_what_a_dry_run_would_free() {
    let world = World::new();
    let repo = with_dead_media(&world);
    age(&repo.store(), 2 * HOUR);
    let dry = repo.git(&["dits", "gc", "--dry-run", "--grace", "1h"]).ok();
    assert!(dry.starts_with("3.0 MiB would be freed; 1.0 MiB are needed"), "{dry}");
    let done = repo.git(&["dits", "gc", "--grace=1h"]).ok();
    assert!(done.starts_with("3.0 MiB freed; 1.0 MiB are needed"), "{done}");
    assert!(repo.git(&["dits", "gc", "--grace", "5"]).fails().contains("a number and a unit"));
}

#[test]
fn an_add_that_was_told_that_an_old_chunk_is_there_keeps_it() {
    let world = World::new();
    let repo = world.repo("film");
    // So long that it has a pack of its own.
    let old = noise(1, 65 * MIB);
    repo.write("a.bin", &old);
    repo.git(&["add", "a.bin"]).ok();
    repo.git(&["rm", "-q", "--cached", "a.bin"]).ok();
    repo.git(&["gc", "-q", "--prune=now"]).ok();
    age(&repo.store(), 25 * HOUR);
    // The filter has been told that most of it is there, and has not answered git.
    let content = [old, noise(2, MIB)].concat();
    repo.write("a.bin", &content);
    let adding = repo.call(&["add", "a.bin"]).pause_at("pack-log-written").start();
    let filter = processes::stopped_in(adding.group());
    let collecting = repo.call(&["dits", "gc"]).start();
    processes::until("the pack is condemned", || {
        fs::read_dir(repo.store().join("condemned")).is_ok_and(|marks| marks.count() > 0)
    });
    // It would have ended by then if it did not wait for the filter.
    let (started, note) = (Instant::now(), repo.store().join("collected"));
    processes::until("it ends", || note.exists() || started.elapsed() > Duration::from_secs(3));
    assert!(!note.exists() && packs_len(&repo.store()) > 65 * MIB as u64);
    processes::go_on(filter);
    adding.finish().ok();
    collecting.finish().ok();
    assert!(fs::read_dir(repo.store().join("condemned")).expect("there").next().is_none(), "it has ended");
    repo.git(&["commit", "-qm", "a take"]).ok();
    fs::remove_file(repo.dir().join("a.bin")).expect("ours");
    repo.git(&["checkout", "-q", "--", "a.bin"]).ok();
    repo.holds("a.bin", &content);
}

#[test]
fn a_shared_store_keeps_what_any_of_its_repositories_needs() {
    let world = World::new();
    let storage = world.path("media");
    let repos = ["one", "two"].map(|name| {
        let repo = world.repo(name);
        repo.git(&["config", "dits.storage", &storage.display().to_string()]).ok();
        repo
    });
    let contents = [noise(1, 2 * MIB), noise(2, 2 * MIB)];
    for (repo, content) in repos.iter().zip(&contents) {
        repo.write("a.bin", content);
        repo.commit("a take");
    }
    age(&storage, 25 * HOUR);
    assert_eq!(gc(&repos[0])["repositories"].as_array().map(Vec::len), Some(2));
    for (repo, content) in repos.iter().zip(&contents) {
        fs::remove_file(repo.dir().join("a.bin")).expect("ours");
        repo.git(&["checkout", "-q", "--", "a.bin"]).ok();
        repo.holds("a.bin", content);
    }
    // One that cannot be read stops it, until somebody says that it is gone for good.
    fs::rename(world.path("two"), world.path("moved")).expect("ours");
    age(&storage, 25 * HOUR);
    let before = packs_len(&storage);
    let refused = repos[0].git(&["dits", "gc"]);
    let said = refused.fails();
    assert!(said.contains("two/.git") && said.contains("git dits gc --forget"), "{said}");
    assert_eq!(packs_len(&storage), before);
    let git_dir = fs::canonicalize(world.path("one")).expect("there").with_file_name("two").join(".git");
    repos[0].git(&["dits", "gc", "--forget", &git_dir.display().to_string()]).ok();
    repos[0].git(&["dits", "gc", "--forget", &git_dir.display().to_string()]).fails();
    assert!(gc(&repos[0])["freed_bytes"].as_u64() >= Some(2 * MIB as u64 - 100_000));
}

#[test]
fn a_clone_that_reads_from_another_store_keeps_what_it_needs_there() {
    let world = World::new();
    let hub = world.repo("hub");
    let content = noise(1, 3 * MIB);
    hub.write("a.bin", &content);
    hub.commit("a take");
    hub.git(&["branch", "-q", "take"]).ok();
    let clone = world.clone_of(&hub.dir().display().to_string(), "clone");
    clone.holds("a.bin", &content);
    hub.git(&["checkout", "-q", "--orphan", "new"]).ok();
    hub.git(&["rm", "-qrf", "."]).ok();
    hub.git(&["commit", "-q", "--allow-empty", "-m", "empty"]).ok();
    hub.git(&["branch", "-qD", "main", "take"]).ok();
    forget_unreachable(&hub);
    age(&hub.store(), 25 * HOUR);
    gc(&hub);
    fs::remove_file(clone.dir().join("a.bin")).expect("ours");
    clone.git(&["checkout", "-q", "--", "a.bin"]).ok();
    clone.holds("a.bin", &content);
}

#[test]
fn a_share_whose_text_is_elsewhere_keeps_everything() {
    let world = World::new();
    let (forge, bare) = (world.bare("forge.git"), world.bare("nas.git"));
    let url = format!("dits::{}", bare.display());
    let repo = world.repo("film");
    repo.git(&["config", "dits.url", &url]).ok();
    let content = noise(1, 2 * MIB);
    repo.write("a.bin", &content);
    repo.commit("a take");
    repo.push_to(&forge.display().to_string());
    let refused = || {
        age(&bare.join("dits"), 15 * 24 * HOUR);
        let refused = repo.git(&["dits", "gc", &url]);
        assert_eq!(refused.status.code(), Some(3), "{}", refused.story());
        assert!(refused.err().contains("nobody can tell which media"), "{}", refused.story());
    };
    refused();
    // A ref that names nothing of it, as somebody may push it by mistake.
    repo.git(&["push", "-q", &url, "HEAD~1:refs/heads/side"]).ok();
    refused();
    fs::remove_file(bare.join("dits/text-elsewhere")).expect("it was noted");
    repo.git(&["push", "-q", &url, ":side"]).ok();
    // Nor is there anything to tell it where no ref is.
    refused();
    let other = world.clone_of(&forge.display().to_string(), "other");
    other.git(&["config", "dits.url", &url]).ok();
    other.git(&["dits", "pull"]).ok();
    other.holds("a.bin", &content);
}

#[test]
fn a_share_is_collected_by_its_own_refs_and_a_server_is_not() {
    let world = World::new();
    let bare = world.bare("nas.git");
    let url = format!("dits::{}", bare.display());
    let repo = world.repo("film");
    let contents = [noise(1, 2 * MIB), noise(2, 2 * MIB)];
    repo.write("a.bin", &contents[0]);
    repo.commit("a take");
    repo.push_to(&url);
    repo.git(&["checkout", "-q", "-b", "side"]).ok();
    repo.write("b.bin", &contents[1]);
    repo.commit("another");
    repo.git(&["push", "-q", "origin", "side"]).ok();
    repo.git(&["push", "-q", "origin", ":side"]).ok();
    let share = Repo::at(&world, bare.clone());
    forget_unreachable(&share);
    let store = bare.join("dits");
    age(&store, 15 * 24 * HOUR);
    let condemned = facts(&repo.git(&["dits", "gc", "origin", "--json"]));
    assert_eq!((condemned["removed_packs"].as_u64(), condemned["waiting_packs"].as_u64()), (Some(0), Some(1)));
    // Pushed again meanwhile: nothing of it counts as there.
    repo.git(&["push", "-q", "origin", "side:again"]).ok();
    age(&store, 15 * 24 * HOUR);
    let done = facts(&repo.git(&["dits", "gc", &url, "--json"]));
    assert_eq!((done["removed_packs"].as_u64(), done["waiting_packs"].as_u64()), (Some(1), Some(0)), "{done}");
    let other = world.clone_of(&url, "other");
    other.holds("a.bin", &contents[0]);
    other.git(&["checkout", "-q", "again"]).ok();
    other.holds("b.bin", &contents[1]);
    let refused = repo.git(&["dits", "gc", "dits://example.org/film"]);
    assert!(refused.fails().contains("ditsd gc"), "{}", refused.story());
    assert!(repo.git(&["dits", "gc", "nowhere"]).fails().contains("neither a share"));
}

#[test]
fn a_store_that_has_grown_is_swept_behind_a_commit() {
    let world = World::new();
    let repo = with_dead_media(&world);
    age(&repo.store(), 25 * HOUR);
    let collected = repo.store().join("collected");
    let commit = || {
        repo.write("text", format!("{:?}", SystemTime::now()));
        repo.git(&["add", "text"]).ok();
        repo.git(&["commit", "-qm", "text"]).ok();
    };
    commit();
    assert!(!collected.exists(), "it has not grown enough");
    // As long as it says, with nothing in it: names that are no pack's are passed over.
    let filler = repo.store().join("packs/filler");
    fs::File::create(&filler).expect("ours").set_len(2 << 30).expect("a hole");
    repo.git(&["config", "dits.autoCollect", "false"]).ok();
    commit();
    repo.git(&["config", "--unset", "dits.autoCollect"]).ok();
    assert!(!collected.exists());
    // git asks the filter about it, which then runs until the commit ends.
    repo.write("a.bin", noise(1, MIB));
    commit();
    processes::until("the sweep has ended", || collected.exists());
    fs::remove_file(&filler).expect("ours");
    assert!(packs_len(&repo.store()) < 2 * MIB as u64);
    let note = fs::read(&collected).expect("there");
    commit();
    assert_eq!(fs::read(&collected).expect("there"), note, "not twice a day");
    repo.git(&["dits", "gc", "--auto"]).ok();
}

#[test]
fn a_store_that_has_grown_is_swept_behind_a_push() {
    let world = World::new();
    let server = world.serve();
    let repo = with_dead_media(&world);
    repo.push_to(&server.url("film"));
    age(&repo.store(), 25 * HOUR);
    // As long as it says, with nothing in it.
    let filler = repo.store().join("packs/filler");
    fs::File::create(&filler).expect("ours").set_len(2 << 30).expect("a hole");
    repo.git(&["push", "-q", "origin", "HEAD:refs/heads/again"]).ok();
    processes::until("the sweep has ended", || repo.store().join("collected").exists());
    fs::remove_file(&filler).expect("ours");
    assert!(packs_len(&repo.store()) < 2 * MIB as u64);
    repo.holds("a.bin", &noise(1, MIB));
}

#[test]
fn an_object_that_git_removes_while_they_are_listed_stops_no_collection() {
    let world = World::new();
    let repo = with_dead_media(&world);
    fs::write(repo.dir().join("loose"), "nothing names it\n").expect("ours");
    let id = repo.git(&["hash-object", "-w", "loose"]).ok();
    let (folder, name) = id.trim().split_at(2);
    let object = repo.dir().join(".git/objects").join(folder).join(name);
    // It is listed, and gone when it is asked for.
    let path = world.path_with_git_that("--batch", &format!("sleep 1; rm -f '{}'", object.display()));
    age(&repo.store(), 25 * HOUR);
    // Below `git dits` the search path begins with git's own programs.
    world.call("git-dits").args(["gc"]).dir(repo.dir()).env("PATH", path).run().ok();
    assert!(!object.exists() && packs_len(&repo.store()) < 2 * MIB as u64);
}

/// Where a store is found again by a path with other letters in it.
#[test]
fn a_repository_with_odd_letters_in_its_path_is_looked_at() {
    let world = World::new();
    let storage = world.path("media");
    let name: PathBuf = "100%\nfilm".into();
    let repo = world.repo(&name.display().to_string());
    repo.git(&["config", "dits.storage", &storage.display().to_string()]).ok();
    let content = noise(1, MIB);
    repo.write("a.bin", &content);
    repo.commit("a take");
    age(&storage, 25 * HOUR);
    let other = world.repo("other");
    other.git(&["config", "dits.storage", &storage.display().to_string()]).ok();
    other.write("b.bin", noise(2, 100));
    other.commit("small");
    gc(&other);
    fs::remove_file(repo.dir().join("a.bin")).expect("ours");
    repo.git(&["checkout", "-q", "--", "a.bin"]).ok();
    repo.holds("a.bin", &content);
}
