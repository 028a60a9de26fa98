//! `ditsd gc`: what nobody needs any more goes, and nothing else.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use dits_core::steps::Step;
use dits_tests::media::{MIB, noise};
use dits_tests::processes;
use dits_tests::{Call, Done, Repo, Server, World};
use rustix::process::Signal;
use serde_json::Value;

/// Longer ago than the grace of 14 days.
const LONG_AGO: Duration = Duration::from_secs(20 * 24 * 60 * 60);

fn gc_call(world: &World, server: &Server) -> Call {
    world.call("ditsd").args(["gc", "--json", "--root"]).args([server.root()])
}

fn gc(world: &World, server: &Server) -> Value {
    facts(&gc_call(world, server).run())
}

fn facts(done: &Done) -> Value {
    serde_json::from_str(&done.ok()).expect("it prints JSON")
}

/// The facts of one repository.
fn of<'v>(facts: &'v Value, repo: &str) -> &'v Value {
    let all = facts["repositories"].as_array().expect("a list");
    all.iter().find(|facts| facts["name"] == repo).unwrap_or_else(|| panic!("no {repo} in {facts}"))
}

fn released(facts: &Value) -> u64 {
    facts["repositories"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|repo| repo["released"].as_u64().expect("a count"))
        .sum()
}

/// Lets weeks pass: for the packs, for git's objects, for what was said and for leases.
fn age(server: &Server) {
    let meta = rusqlite::Connection::open(server.root().join("meta.sqlite")).expect("it is there");
    meta.busy_timeout(Duration::from_secs(30)).expect("set");
    let weeks = "UPDATE held SET said_at = 5, proven_at = 5; UPDATE leases SET expires = 5 WHERE expires < 9000000000";
    meta.execute_batch(weeks).expect("written");
    age_packs(server);
    age_below(&server.root().join("repos"));
}

fn age_packs(server: &Server) {
    ["packs", "open"].into_iter().for_each(|dir| age_below(&server.root().join("store").join(dir)));
}

fn age_below(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            age_below(&path);
        } else if let Ok(file) = File::open(&path) {
            // What is removed meanwhile needs no other time.
            let _ = file.set_modified(SystemTime::now() - LONG_AGO);
        }
    }
}

/// Bytes of all packs, reserved room not counted.
fn stored(server: &Server) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let packs = ["packs", "open"].into_iter().flat_map(|dir| fs::read_dir(server.root().join("store").join(dir)));
    let packs = packs.flatten().flatten().filter(|entry| entry.path().extension().is_some_and(|ext| ext == "pack"));
    packs.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len().min(meta.blocks() * 512)).sum()
}

/// Collects as often as it takes, weeks apart.
fn gc_until_all_went(world: &World, server: &Server) -> u64 {
    (0..3)
        .map(|_| {
            age(server);
            released(&gc(world, server))
        })
        .sum()
}

/// A repository whose `main` has one take and whose `next` has another, pushed.
fn with_two_branches<'w>(world: &'w World, server: &Server) -> (Repo<'w>, [Vec<u8>; 2]) {
    let repo = world.repo("film");
    let takes = [noise(1, MIB), noise(2, MIB)];
    repo.write("main.bin", &takes[0]);
    repo.commit("a take");
    repo.push_to(&server.url("film"));
    // Else git notes in a pack since when each of its objects is not needed, and no test can let weeks pass.
    world.call("git").args(["config", "gc.cruftPacks", "false"]).dir(&server.bare("film")).run().ok();
    repo.git(&["switch", "-q", "-c", "next"]).ok();
    repo.write("next.bin", &takes[1]);
    repo.commit("another take");
    repo.git(&["push", "-q", "origin", "next"]).ok();
    (repo, takes)
}

fn clone_holds(world: &World, server: &Server, name: &str, path: &str, content: &[u8]) {
    let branch = path.trim_end_matches(".bin");
    world.git(&["clone", "-q", "-b", branch, &server.url("film"), name]).ok();
    Repo::at(world, world.path(name)).holds(path, content);
}

#[test]
fn the_media_of_a_deleted_branch_goes_after_two_runs_and_the_grace() {
    let world = World::new();
    let server = world.serve();
    let (repo, takes) = with_two_branches(&world, &server);
    (0..3).for_each(|_| assert_eq!(released(&gc(&world, &server)), 0, "refs name all of it"));
    assert_eq!(gc_until_all_went(&world, &server), 0, "refs name all of it, however old it is");
    let before = stored(&server);
    repo.git(&["push", "-q", "origin", ":next"]).ok();
    assert_eq!(released(&gc(&world, &server)), 0, "git has the pointer still");
    age(&server);
    let dry = facts(&gc_call(&world, &server).args(["--dry-run"]).run());
    assert_eq!(released(&dry), 0, "its pointer is in git until git lets go of it");
    let gone = gc(&world, &server);
    assert_eq!((of(&gone, "film")["released"].as_u64(), of(&gone, "film")["held"].as_u64()), (Some(1), Some(1)));
    assert_eq!(of(&gone, "film")["released_bytes"].as_u64(), Some(MIB as u64));
    let after = stored(&server);
    assert!(after < before - MIB as u64 * 9 / 10, "{before} bytes before, {after} after: {gone}");
    clone_holds(&world, &server, "other", "main.bin", &takes[0]);
    // It is still here, receipt and all: the server's check says that it lacks it, and it is sent again.
    repo.git(&["push", "-q", "origin", "next"]).ok();
    clone_holds(&world, &server, "again", "next.bin", &takes[1]);
}

#[test]
fn what_was_just_said_to_be_held_stays_for_the_push_that_relies_on_it() {
    let world = World::new();
    let server = world.serve();
    let (repo, takes) = with_two_branches(&world, &server);
    repo.git(&["push", "-q", "origin", ":next"]).ok();
    gc(&world, &server);
    age(&server);
    // A client asks, and takes its time. The clock jumps, and a collection runs.
    let asked = repo.git(&["dits", "push", "--dry-run", "--all", "origin"]);
    assert!(asked.ok().contains("2 are there"), "{}", asked.story());
    age(&server);
    assert_eq!(released(&gc(&world, &server)), 0);
    repo.git(&["push", "-q", "origin", "next"]).ok();
    assert_eq!(gc_until_all_went(&world, &server), 0);
    clone_holds(&world, &server, "other", "next.bin", &takes[1]);
}

#[test]
fn a_push_that_was_cut_off_goes_on_after_a_collection() {
    let world = World::new();
    let root = world.path("server");
    let first = Server::start(&world, &root, &[]);
    let port = first.port();
    let (repo, _) = with_two_branches(&world, &first);
    first.stop();
    let take = noise(7, 4 * MIB);
    repo.write("next.bin", &take);
    repo.commit("a longer take");
    let stopped = Server::start_on(&world, &root, port, &[("DITS_STOP_AT", Step::ContentProven.name())]);
    repo.git(&["push", "-q", "origin", "next"]).breaks();
    stopped.wait();
    let server = Server::start_on(&world, &root, port, &[]);
    let before = stored(&server);
    assert_eq!(released(&gc(&world, &server)), 0);
    assert!(stored(&server) + MIB as u64 > before, "what was sent is young");
    // Or nobody came back for weeks: then it is sent anew.
    age(&server);
    gc(&world, &server);
    assert!(stored(&server) + 3 * (MIB as u64) < before, "what nobody proved is gone");
    repo.git(&["push", "-q", "origin", "next"]).ok();
    clone_holds(&world, &server, "other", "next.bin", &take);
}

#[test]
fn what_another_repository_adopted_survives_the_one_that_brought_it() {
    let world = World::new();
    let server = world.serve();
    let (repo, takes) = with_two_branches(&world, &server);
    repo.git(&["push", "-q", &server.url("copy"), "main", "next"]).ok();
    let removed = world.call("ditsd").args(["repo", "rm", "film", "--yes", "--root"]).args([server.root()]).run();
    removed.ok();
    assert_eq!(gc_until_all_went(&world, &server), 0);
    world.git(&["clone", "-q", "-b", "next", &server.url("copy"), "other"]).ok();
    let other = Repo::at(&world, world.path("other"));
    other.holds("main.bin", &takes[0]);
    other.holds("next.bin", &takes[1]);
    let removed = world.call("ditsd").args(["repo", "rm", "copy", "--yes", "--root"]).args([server.root()]).run();
    removed.ok();
    age(&server);
    gc(&world, &server);
    assert!(stored(&server) < 64 * 1024, "{} bytes are left of nothing", stored(&server));
}

#[test]
fn a_repository_whose_text_is_elsewhere_keeps_everything() {
    let world = World::new();
    let server = world.serve();
    let forge = world.bare("forge.git");
    let repo = world.repo("film");
    repo.git(&["config", "dits.url", &server.url("film")]).ok();
    let take = noise(3, MIB);
    repo.write("take.bin", &take);
    repo.commit("a take");
    repo.push_to(&forge.display().to_string());
    // A ref that names nothing of it, as somebody may push it by mistake.
    repo.git(&["push", "-q", &server.url("film"), "HEAD~1:refs/heads/main"]).ok();
    for _ in 0..3 {
        age(&server);
        let facts = gc(&world, &server);
        assert_eq!(of(&facts, "film")["kept_whole"], "text-elsewhere", "{facts}");
        assert_eq!(of(&facts, "film")["held"], 1);
    }
    fs::remove_dir_all(repo.store()).expect("it is ours");
    repo.write("take.bin", b"");
    repo.git(&["reset", "-q", "--hard"]).ok();
    repo.git(&["dits", "pull"]).ok();
    repo.holds("take.bin", &take);
}

#[test]
fn a_collection_killed_at_any_step_is_taken_up_by_the_next() {
    let is_of_it = |step: &&Step| **step == Step::HeldReleased || step.name().starts_with("collect-");
    for step in Step::ALL.iter().filter(is_of_it) {
        let world = World::new();
        let server = world.serve();
        let (repo, takes) = with_two_branches(&world, &server);
        repo.git(&["push", "-q", "origin", ":next"]).ok();
        gc(&world, &server);
        age(&server);
        let killed = gc_call(&world, &server).stop_at(step.name()).run();
        // What only a push beside it brings about is not reached.
        if *step != Step::CollectRescued {
            assert_eq!(killed.status.signal(), Some(9), "{} was not reached: {}", step.name(), killed.story());
        }
        clone_holds(&world, &server, "other", "main.bin", &takes[0]);
        age(&server);
        gc(&world, &server);
        assert!(stored(&server) < MIB as u64 * 3 / 2, "{}: {} bytes are left", step.name(), stored(&server));
        clone_holds(&world, &server, "again", "main.bin", &takes[0]);
        repo.git(&["push", "-q", "origin", "next"]).ok();
        clone_holds(&world, &server, "next-one", "next.bin", &takes[1]);
    }
}

#[test]
fn of_two_collections_at_once_one_is_refused() {
    let world = World::new();
    let server = world.serve();
    with_two_branches(&world, &server);
    let first = gc_call(&world, &server).pause_at(Step::HeldReleased.name()).start();
    let pid = processes::stopped_in(first.group());
    let second = gc_call(&world, &server).run();
    assert_eq!(second.status.code(), Some(3), "{}", second.story());
    assert!(
        second.err().contains("a collection or a backup of ") && second.err().contains("hint: "),
        "{}",
        second.story()
    );
    let _ = rustix::process::kill_process(pid, Signal::CONT);
    first.finish().ok();
}

#[test]
fn collections_beside_pushes_and_clones_take_nothing_away() {
    let world = World::new();
    let server = world.serve();
    let repo = world.repo("film");
    repo.write("main.bin", noise(50, MIB));
    repo.commit("the first take");
    repo.push_to(&server.url("film"));
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let over = || is_over.load(std::sync::atomic::Ordering::Relaxed);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over() {
                // All that nobody has said anything about lately may go at once.
                age(&server);
                gc(&world, &server);
            }
        });
        let pushing = scope.spawn(|| {
            for round in 0..5_u64 {
                // Old chunks come back under new names, and what a branch brought goes with it.
                let name = format!("try-{round}");
                repo.git(&["switch", "-q", "-c", &name, "main"]).ok();
                let content = [noise(50 + round % 2, MIB), noise(60, MIB / 2), noise(round, 100_000)].concat();
                repo.write("main.bin", &content);
                repo.commit(&name);
                repo.git(&["push", "-q", "origin", &name]).ok();
                let clone = format!("clone-{round}");
                world.git(&["clone", "-q", "-b", &name, &server.url("film"), &clone]).ok();
                Repo::at(&world, world.path(&clone)).holds("main.bin", &content);
                if round % 2 == 0 {
                    repo.git(&["push", "-q", "origin", &format!(":{name}")]).ok();
                }
            }
        });
        let pushed = pushing.join();
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        pushed.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    clone_holds(&world, &server, "main-one", "main.bin", &noise(50, MIB));
    for round in [1_u64, 3] {
        let name = format!("try-{round}");
        world.git(&["clone", "-q", "-b", &name, &server.url("film"), &format!("last-{round}")]).ok();
        let content = [noise(50 + round % 2, MIB), noise(60, MIB / 2), noise(round, 100_000)].concat();
        Repo::at(&world, world.path(&format!("last-{round}"))).holds("main.bin", &content);
    }
}

#[test]
fn a_server_gives_the_room_of_removed_packs_back_while_it_runs() {
    let world = World::new();
    let server = world.serve();
    let (repo, _) = with_two_branches(&world, &server);
    // The server has read the pack, and so has it open.
    world.git(&["clone", "-q", "-b", "next", &server.url("film"), "reader"]).ok();
    repo.git(&["push", "-q", "origin", ":next"]).ok();
    gc(&world, &server);
    age(&server);
    assert_eq!(released(&gc(&world, &server)), 1);
    let open_files = format!("/proc/{}/fd", server.pid().as_raw_nonzero());
    if !Path::new(&open_files).is_dir() {
        return;
    }
    processes::until("letting go of removed packs", || {
        let open =
            fs::read_dir(&open_files).expect("it runs").flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
        !open.map(|path| path.display().to_string()).any(|path| path.contains(".pack") && path.ends_with(" (deleted)"))
    });
}

#[test]
fn a_grace_of_less_than_a_day_and_a_root_that_is_none_are_refused() {
    let world = World::new();
    let server = world.serve();
    for grace in ["0s", "23h", "soon", "-1d", "99999999999999999d"] {
        let refused = gc_call(&world, &server).args(["--grace", grace]).run();
        assert_eq!(refused.status.code(), Some(2), "{grace}: {}", refused.story());
    }
    let nowhere = world.call("ditsd").args(["gc", "--root", "nowhere"]).run();
    assert_eq!(nowhere.status.code(), Some(1), "{}", nowhere.story());
    assert!(!world.path("nowhere").exists());
    let empty = facts(&gc_call(&world, &server).run());
    assert_eq!(empty["freed_bytes"], 0);
}

#[test]
fn where_it_cannot_be_told_what_a_repository_needs_nothing_goes() {
    let world = World::new();
    let server = world.serve();
    let (repo, takes) = with_two_branches(&world, &server);
    repo.git(&["push", "-q", "origin", ":next"]).ok();
    gc(&world, &server);
    age(&server);
    // An object is damaged that might have been a pointer.
    let objects = server.bare("film").join("objects");
    let packs: Vec<_> =
        fs::read_dir(objects.join("pack")).expect("git packed it").flatten().map(|entry| entry.path()).collect();
    let saved: Vec<_> = packs.iter().map(|path| (path, fs::read(path).expect("read"))).collect();
    for (path, bytes) in saved.iter().filter(|(path, _)| path.extension().is_some_and(|ext| ext == "pack")) {
        let mut bytes = bytes.clone();
        bytes[20..].fill(0);
        fs::remove_file(path).expect("removed");
        fs::write(path, bytes).expect("written");
    }
    let before = stored(&server);
    let done = gc_call(&world, &server).run();
    let film = of(&facts(&done), "film").clone();
    assert_eq!(
        (film["kept_whole"].as_str(), film["released"].as_u64()),
        (Some("git-failed"), Some(0)),
        "{}",
        done.story()
    );
    assert!(done.err().contains("warning: `git gc` failed in film"), "{}", done.story());
    assert_eq!(stored(&server), before);
    for (path, bytes) in saved {
        let _ = fs::remove_file(path);
        fs::write(path, bytes).expect("written");
    }
    assert_eq!(gc_until_all_went(&world, &server), 1);
    clone_holds(&world, &server, "other", "main.bin", &takes[0]);
}
