//! `ditsd backup` and `ditsd restore`: a server comes back as it was at one moment.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use dits_core::limits::PACK_PAYLOAD_TARGET;
use dits_core::pack_format::LogHeader;
use dits_core::steps::Step;
use dits_core::store::copies::PackFiles;
use dits_core::store::{NewItem, Sharing, Store, StoreOptions};
use dits_tests::media::{MIB, noise};
use dits_tests::needs::needs_root;
use dits_tests::small_disk::SmallDisk;
use dits_tests::{Call, Done, Repo, Server, World, processes};
use rustix::process::Signal;
use serde_json::Value;

fn backup_call(world: &World, root: &Path, name: &str) -> Call {
    world.call("ditsd").args(["backup", "--json", "--root"]).args([root]).args([world.path(name)])
}

fn restore_call(world: &World, name: &str, root: &str) -> Call {
    world.call("ditsd").args(["restore", "--json", "--root"]).args([world.path(root), world.path(name)])
}

fn facts(done: &Done) -> Value {
    serde_json::from_str(&done.ok()).expect("it prints JSON")
}

fn backup(world: &World, server: &Server) -> Value {
    facts(&backup_call(world, server.root(), "backup").run())
}

fn restore(world: &World, root: &str) -> Value {
    let facts = facts(&restore_call(world, "backup", root).run());
    assert_eq!((&facts["whole"], facts["bad"].as_array().map(Vec::len)), (&Value::Bool(true), Some(0)), "{facts}");
    facts
}

/// A repository with one take on the server.
fn with_a_take<'w>(world: &'w World, server: &Server, name: &str, seed: u64) -> Repo<'w> {
    let repo = world.repo(name);
    repo.write("take.bin", noise(seed, MIB));
    repo.commit("a take");
    repo.push_to(&server.url(name));
    repo.git(&["push", "-q", "origin", "HEAD"]).ok();
    repo
}

fn add_take(repo: &Repo<'_>, path: &str, content: &[u8]) {
    repo.write(path, content);
    repo.commit("another take");
    repo.git(&["push", "-q", "origin", "HEAD"]).ok();
}

/// Fills a pack of the server and flips a bit in it; returns its path, what it was, and what it is.
fn with_a_damaged_pack(world: &World, server: &Server) -> (PathBuf, Vec<u8>, Vec<u8>) {
    let film = with_a_take(world, server, "film", 1);
    add_take(&film, "long.bin", &noise(2, PACK_PAYLOAD_TARGET as usize + MIB));
    let pack = first_in(&server.root().join("store/packs")).expect("one is sealed");
    let good = fs::read(&pack).expect("read");
    let mut bad = good.clone();
    bad[1000] ^= 1;
    fs::write(&pack, &bad).expect("written");
    (pack, good, bad)
}

fn first_in(dir: &Path) -> Option<PathBuf> {
    fs::read_dir(dir).expect("there").flatten().map(|entry| entry.path()).next()
}

/// Refs of a bare repository, with what they name.
fn refs(world: &World, bare: &Path) -> String {
    world.git(&["-C", &bare.display().to_string(), "for-each-ref"]).ok()
}

#[test]
fn a_server_comes_back_from_a_backup_that_was_made_while_it_ran() {
    let world = World::new();
    let server = world.serve();
    let film = with_a_take(&world, &server, "film", 1);
    // The same media in another repository, and history in other formats and refs.
    let other = with_a_take(&world, &server, "serie/other", 1);
    film.git(&["tag", "-a", "-m", "final", "v1"]).ok();
    film.git(&["push", "-q", "origin", "v1", "HEAD:refs/heads/side", "HEAD:refs/review/7"]).ok();
    let sha256 = world.repo_of("sha256", "sha256", &["*.bin"]);
    sha256.write("take.bin", noise(3, MIB));
    sha256.commit("a take");
    sha256.push_to(&server.url("sha256"));
    sha256.git(&["push", "-q", "origin", "HEAD"]).ok();
    world.git(&["-C", &server.bare("film").display().to_string(), "symbolic-ref", "HEAD", "refs/heads/side"]).ok();
    let done = backup(&world, &server);
    assert_eq!((done["snapshot"].as_u64(), done["repositories"].as_u64()), (Some(1), Some(3)), "{done}");
    let wanted: Vec<String> =
        ["film", "serie/other", "sha256"].iter().map(|name| refs(&world, &server.bare(name))).collect();
    let port = server.port();
    server.kill();
    restore(&world, "new");
    let mode = fs::metadata(world.path("new/tls/key.pem")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // In the place of the old one, with its certificate: nobody is asked about it.
    let server = Server::start_on(&world, &world.path("new"), port, &[]);
    let found: Vec<String> =
        ["film", "serie/other", "sha256"].iter().map(|name| refs(&world, &server.bare(name))).collect();
    assert_eq!(found, wanted);
    let clone = world.clone_of(&server.url("film"), "clone");
    clone.holds("take.bin", &noise(1, MIB));
    assert_eq!(clone.git(&["branch", "--show-current"]).ok().trim(), "side");
    world.clone_of(&server.url("serie/other"), "clone-of-other").holds("take.bin", &noise(1, MIB));
    world.clone_of(&server.url("sha256"), "clone-of-sha256").holds("take.bin", &noise(3, MIB));
    add_take(&film, "second.bin", &noise(4, MIB));
    add_take(&other, "second.bin", &noise(4, MIB));
    clone.git(&["pull", "-q", "origin", "main"]).ok();
    clone.holds("second.bin", &noise(4, MIB));
}

/// Clients hold receipts for what the restored server never saw.
#[test]
fn what_was_pushed_after_the_backup_comes_back_with_the_next_push() {
    let world = World::new();
    let server = world.serve();
    let film = with_a_take(&world, &server, "film", 1);
    backup(&world, &server);
    add_take(&film, "late.bin", &noise(2, 3 * MIB));
    let port = server.port();
    server.kill();
    restore(&world, "new");
    let server = Server::start_on(&world, &world.path("new"), port, &[]);
    assert!(!refs(&world, &server.bare("film")).contains(&film.head()), "it is older than the push");
    film.git(&["push", "-q", "origin", "HEAD"]).ok();
    world.clone_of(&server.url("film"), "clone").holds("late.bin", &noise(2, 3 * MIB));
}

#[test]
fn a_backup_copies_what_is_new_and_keeps_what_its_snapshots_need() {
    let world = World::new();
    let server = world.serve();
    let film = with_a_take(&world, &server, "film", 1);
    // A pack is full.
    let long = noise(2, PACK_PAYLOAD_TARGET as usize + MIB);
    add_take(&film, "long.bin", &long);
    let kept = |count: &str| facts(&backup_call(&world, server.root(), "backup").args(["--keep", count]).run());
    let first = kept("2");
    assert!(first["new_bytes"].as_u64() > Some(long.len() as u64), "{first}");
    let same = kept("2");
    assert_eq!((same["new_bytes"].as_u64(), same["snapshot"].as_u64()), (Some(0), Some(2)), "{same}");
    let before = refs(&world, &server.bare("film"));
    add_take(&film, "small.bin", &noise(3, MIB));
    let small = kept("2");
    assert!(small["new_bytes"].as_u64() < Some(16 * MIB as u64), "{small}");
    assert_eq!(small["snapshots"], serde_json::json!([2, 3]), "{small}");
    // A pack that is gone from the server stays as long as a snapshot needs it.
    let path = first_in(&world.path("backup/packs")).expect("one is sealed");
    let lost = server.root().join("store/packs").join(path.file_name().expect("a name"));
    fs::rename(&lost, world.path("gone")).expect("moved");
    assert_eq!(kept("2")["removed_packs"].as_u64(), Some(0));
    let older = restore_call(&world, "backup", "older").args(["--snapshot", "3"]).run();
    assert_eq!(facts(&older)["whole"], Value::Bool(true), "{}", older.story());
    assert_ne!(refs(&world, &world.path("older/repos/film.git")), before);
    let gone = restore_call(&world, "backup", "oldest").args(["--snapshot", "2"]).run();
    assert!(gone.fails().contains("no such complete snapshot"), "{}", gone.story());
    let less = kept("1");
    assert_eq!((less["removed_packs"].as_u64(), first_in(&world.path("backup/packs"))), (Some(1), None), "{less}");
    let mirror = first_in(&world.path("backup/git")).expect("one");
    let names = refs(&world, &mirror);
    assert!(!names.is_empty() && names.lines().all(|line| line.contains("refs/snapshots/5/")), "{names}");
}

#[test]
fn what_comes_in_while_a_backup_runs_leaves_it_whole() {
    for step in [Step::BackupRefsFetched, Step::BackupDatabaseCopied, Step::BackupOpenPacksCopied] {
        let world = World::new();
        let server = world.serve();
        let film = with_a_take(&world, &server, "film", 1);
        let before = refs(&world, &server.bare("film"));
        let running = backup_call(&world, server.root(), "backup").pause_at(step.name()).start();
        let pid = processes::stopped_in(running.group());
        // Seals the pack that is open, and begins another.
        add_take(&film, "late.bin", &noise(2, PACK_PAYLOAD_TARGET as usize + MIB));
        let late = with_a_take(&world, &server, "late", 3);
        for command in [&["gc"][..], &["fsck", "--repair"]] {
            let refused = world.call("ditsd").args(command).args(["--root"]).args([server.root()]).run();
            assert_eq!(refused.status.code(), Some(3), "{}", refused.story());
        }
        let _ = rustix::process::kill_process(pid, Signal::CONT);
        running.finish().ok();
        restore(&world, "new");
        let server = Server::start(&world, &world.path("new"), &[]);
        assert_eq!(refs(&world, &server.bare("film")), before);
        world.clone_of(&server.url("film"), "clone").holds("take.bin", &noise(1, MIB));
        late.git(&["push", "-q", &server.url("late"), "HEAD"]).ok();
        world.clone_of(&server.url("late"), "clone-of-late").holds("take.bin", &noise(3, MIB));
    }
}

/// Takes the items out of the open packs of a store, removes those, and stores the items again.
fn store_in_other_packs(dir: &Path) {
    let packs = PackFiles::of(dir).open().expect("listed");
    let mut items = Vec::new();
    for pack in &packs {
        let (log, payload) = (fs::read(&pack.log).expect("read"), fs::read(&pack.payload).expect("read"));
        let (header, records) = log.split_first_chunk().expect("it has a header");
        let header = LogHeader::decode(header).expect("it is one");
        for (record, number) in records.as_chunks().0.iter().zip(0..) {
            let entry = header.read_record(record, number).expect("it is one");
            let at = entry.place as usize;
            items.push((header.domain, entry, payload[at..at + entry.stored_len as usize].to_vec()));
        }
        fs::remove_file(&pack.payload).expect("removed");
        fs::remove_file(&pack.log).expect("removed");
    }
    let options = StoreOptions { dir: dir.into(), index: dir.join("index.sqlite"), sharing: Sharing::Machine };
    let store = Store::open(options).expect("opened");
    for (domain, entry, stored) in &items {
        let mut writer = store.writer(*domain);
        let item = NewItem { id: entry.id, codec: entry.codec, plain_len: entry.plain_len, stored };
        writer.put(item).expect("stored");
        writer.sync().expect("synced");
    }
    assert!(!items.is_empty());
}

/// As after a failed sync, when a server stores what a pack held in another one.
#[test]
fn what_moves_to_another_pack_after_packs_were_listed_is_in_the_backup() {
    let world = World::new();
    let server = world.serve();
    with_a_take(&world, &server, "film", 1);
    let running = backup_call(&world, server.root(), "backup").pause_at("backup-open-packs-listed").start();
    let pid = processes::stopped_in(running.group());
    let root = server.root().to_owned();
    server.kill();
    store_in_other_packs(&root.join("store"));
    let _ = rustix::process::kill_process(pid, Signal::CONT);
    running.finish().ok();
    restore(&world, "new");
}

#[test]
fn a_backup_killed_at_any_step_leaves_the_one_before_and_the_next_goes_on() {
    for step in Step::ALL.iter().filter(|step| step.name().starts_with("backup-")) {
        let world = World::new();
        let server = world.serve();
        let film = with_a_take(&world, &server, "film", 1);
        backup(&world, &server);
        let before = refs(&world, &server.bare("film"));
        add_take(&film, "second.bin", &noise(2, MIB));
        let killed = backup_call(&world, server.root(), "backup").stop_at(step.name()).run();
        assert_eq!(killed.status.signal(), Some(9), "{} was not reached: {}", step.name(), killed.story());
        let now = refs(&world, &server.bare("film"));
        let wanted = if *step == Step::BackupListed { &now } else { &before };
        restore(&world, "new");
        assert_eq!(&refs(&world, &world.path("new/repos/film.git")), wanted, "{}", step.name());
        backup(&world, &server);
        restore(&world, "newer");
        let server = Server::start(&world, &world.path("newer"), &[]);
        assert_eq!(refs(&world, &server.bare("film")), now);
        world.clone_of(&server.url("film"), "clone").holds("second.bin", &noise(2, MIB));
    }
}

#[test]
fn a_restore_killed_at_any_step_goes_on_and_is_not_served_before_its_end() {
    let world = World::new();
    let server = world.serve();
    with_a_take(&world, &server, "film", 1);
    backup(&world, &server);
    for step in Step::ALL.iter().filter(|step| step.name().starts_with("restore-")) {
        let root = format!("root-{}", step.name());
        let killed = restore_call(&world, "backup", &root).stop_at(step.name()).run();
        assert_eq!(killed.status.signal(), Some(9), "{} was not reached: {}", step.name(), killed.story());
        if *step != Step::RestoreEnded {
            let served = world.call("ditsd").args(["serve", "--root"]).args([world.path(&root)]).run();
            assert!(served.fails().contains("has not ended"), "{}", served.story());
        }
        if *step == Step::RestoreRepositoriesFilled {
            // As one leaves it that is killed while it writes to the database: a log that its copy knows nothing of.
            let (meta, other) = (world.path(&root).join("meta.sqlite"), world.path("other.sqlite"));
            fs::copy(&meta, &other).expect("copied");
            let open = rusqlite::Connection::open(&other).expect("opened");
            open.execute_batch("PRAGMA journal_mode = WAL; DELETE FROM held; DELETE FROM repos;").expect("written");
            fs::copy(world.path("other.sqlite-wal"), meta.with_extension("sqlite-wal")).expect("copied");
        }
        if *step == Step::RestoreEnded {
            // It can be served, and is never restored over.
            let again = restore_call(&world, "backup", &root).run();
            assert!(again.fails().contains("is not empty"), "{}", again.story());
        } else {
            restore(&world, &root);
        }
        let server = Server::start(&world, &world.path(&root), &[]);
        world.clone_of(&server.url("film"), &format!("clone-{}", step.name())).holds("take.bin", &noise(1, MIB));
    }
}

#[test]
fn a_pack_that_is_damaged_is_told_of_and_copied_again_once_it_is_mended() {
    let world = World::new();
    let server = world.serve();
    let (pack, good, bad) = with_a_damaged_pack(&world, &server);
    for _ in 0..2 {
        let done = backup_call(&world, server.root(), "backup").run();
        assert_eq!(done.status.code(), Some(1), "{}", done.story());
        assert!(done.err().contains("is damaged") && done.err().contains("hint: "), "{}", done.story());
    }
    // One that is cut off today takes nothing from the copy of yesterday.
    fs::write(&pack, &bad[..5000]).expect("written");
    backup_call(&world, server.root(), "backup").run().fails();
    let restored = restore_call(&world, "backup", "new").run();
    assert_eq!(restored.status.code(), Some(1), "{}", restored.story());
    assert!(restored.err().contains("not whole"), "{}", restored.story());
    let len = fs::metadata(world.path("new/store/packs").join(pack.file_name().expect("a name"))).expect("there").len();
    assert_eq!(len, good.len() as u64);
    fs::write(&pack, &good).expect("written");
    backup(&world, &server);
    restore(&world, "newer");
    // Damage comes too late for what is in the backup.
    fs::write(&pack, &bad[..5000]).expect("written");
    let told = backup_call(&world, server.root(), "backup").run();
    assert!(told.ok().contains("whole_here") && told.err().contains("a copy that is whole"), "{}", told.story());
    restore(&world, "newest");
}

#[test]
fn a_copy_that_the_disk_of_the_backup_cut_off_is_made_again() {
    let world = World::new();
    let server = world.serve();
    let (pack, good, _) = with_a_damaged_pack(&world, &server);
    fs::write(&pack, &good).expect("written");
    backup(&world, &server);
    let copy = first_in(&world.path("backup/packs")).expect("a pack");
    fs::write(&copy, &good[..5000]).expect("written");
    let again = backup(&world, &server);
    assert_eq!(again["whole_here"], serde_json::json!([]), "{again}");
    assert_eq!(fs::read(&copy).expect("read").len(), good.len());
    restore(&world, "new");
}

/// A backup that was killed says in no list what was damaged.
#[test]
fn a_damaged_pack_that_a_killed_backup_copied_is_looked_at_again() {
    let world = World::new();
    let server = world.serve();
    let (pack, good, _) = with_a_damaged_pack(&world, &server);
    backup_call(&world, server.root(), "backup").stop_at("backup-packs-copied").run().breaks();
    backup_call(&world, server.root(), "backup").run().fails();
    fs::write(&pack, &good).expect("written");
    backup(&world, &server);
    restore(&world, "new");
}

#[test]
fn a_backup_whose_files_are_damaged_or_missing_says_so() {
    let world = World::new();
    let server = world.serve();
    let film = with_a_take(&world, &server, "film", 1);
    add_take(&film, "long.bin", &noise(2, PACK_PAYLOAD_TARGET as usize + MIB));
    backup(&world, &server);
    let snapshot = world.path("backup/snapshots/1");
    let flip = |path: &Path| {
        let mut bytes = fs::read(path).expect("read");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        fs::write(path, bytes).expect("written");
    };
    flip(&snapshot.join("meta.sqlite"));
    let done = restore_call(&world, "backup", "new").run();
    assert!(done.fails().contains("meta.sqlite is damaged"), "{}", done.story());
    assert!(!world.path("new").exists());
    flip(&snapshot.join("meta.sqlite"));
    let pack = first_in(&world.path("backup/packs")).expect("a pack");
    fs::rename(&pack, world.path("aside")).expect("moved");
    let done = restore_call(&world, "backup", "lacking").run();
    assert!(done.fails().contains("is missing or damaged"), "{}", done.story());
    fs::rename(world.path("aside"), &pack).expect("moved");
    flip(&pack);
    assert!(restore_call(&world, "backup", "flipped").run().fails().contains("not whole"));
    flip(&pack);
    for lost in ["tls/key.pem", "open"] {
        let path = snapshot.join(lost);
        fs::rename(&path, world.path("aside")).expect("moved");
        let done = restore_call(&world, "backup", &format!("without-{}", lost.len())).run();
        assert!(done.fails().contains("is missing or damaged"), "{}", done.story());
        fs::rename(world.path("aside"), &path).expect("moved");
    }
    let list = fs::read_to_string(snapshot.join("list.json")).expect("read");
    for (bad, why) in [
        (list.replace("\"version\": 1", "\"version\": 2"), "has version 2"),
        (list.replace("\"packs\"", "\"pakcs\""), "list.json is damaged"),
        (list.replace("\"film\"", "\"../film\""), "list.json is damaged"),
        (list.replace("refs/heads/main", "refs/heads/mean"), "list.json is damaged"),
    ] {
        assert_ne!(bad, list, "{why}");
        fs::write(snapshot.join("list.json"), bad).expect("written");
        let done = restore_call(&world, "backup", "bad").run();
        assert!(done.fails().contains(why), "{}", done.story());
    }
    fs::write(snapshot.join("list.json"), list).expect("written");
    restore(&world, "good");
}

#[test]
fn what_is_no_backup_and_what_is_in_use_is_refused() {
    let world = World::new();
    let server = world.serve();
    with_a_take(&world, &server, "film", 1);
    let refused = |call: Call, code: i32, why: &str| {
        let done = call.run();
        assert_eq!(done.status.code(), Some(code), "{}", done.story());
        assert!(done.err().contains(why) && done.err().contains("error: "), "{}", done.story());
    };
    let inside = world.call("ditsd").args(["backup", "--root"]).args([server.root(), &server.root().join("backup")]);
    refused(inside, 2, "inside");
    let inside = world.call("ditsd").args(["backup", "backup", "--root", "."]).dir(server.root());
    refused(inside, 2, "inside");
    fs::create_dir(world.path("thesis")).expect("made");
    fs::write(world.path("thesis/thesis.tex"), "x").expect("written");
    refused(backup_call(&world, server.root(), "thesis"), 2, "neither empty nor a backup");
    refused(restore_call(&world, "thesis", "new"), 2, "neither empty nor a backup");
    refused(restore_call(&world, "nowhere", "new"), 2, "neither empty nor a backup");
    let running = backup_call(&world, server.root(), "backup").pause_at("backup-refs-fetched").start();
    let pid = processes::stopped_in(running.group());
    refused(backup_call(&world, server.root(), "backup"), 3, "another ditsd uses the backup");
    refused(backup_call(&world, server.root(), "second"), 3, "a collection or a backup of");
    refused(restore_call(&world, "backup", "new"), 3, "another ditsd uses the backup");
    let _ = rustix::process::kill_process(pid, Signal::KILL);
    drop(running.finish());
    refused(restore_call(&world, "backup", "new"), 1, "no such complete snapshot");
    backup(&world, &server);
    refused(restore_call(&world, "backup", "thesis"), 2, "is not empty");
    fs::write(world.path("backup/format"), "dits backup 2\n").expect("written");
    refused(restore_call(&world, "backup", "new"), 1, "does not know");
    refused(backup_call(&world, server.root(), "backup"), 1, "does not know");
    assert_eq!(fs::read_dir(world.path("thesis")).expect("there").count(), 1);
}

/// Two tries of a restore, and a newer snapshot in between.
#[test]
fn a_restore_that_goes_on_mixes_no_two_snapshots() {
    let world = World::new();
    let server = world.serve();
    let film = with_a_take(&world, &server, "film", 1);
    let gone = with_a_take(&world, &server, "gone", 2);
    backup(&world, &server);
    restore_call(&world, "backup", "new").stop_at("restore-repositories-filled").run().breaks();
    add_take(&film, "second.bin", &noise(3, MIB));
    gone.git(&["push", "-q", "origin", "HEAD:refs/heads/other"]).ok();
    world.call("ditsd").args(["repo", "rm", "gone", "--yes", "--root"]).args([server.root()]).run().ok();
    backup(&world, &server);
    restore(&world, "new");
    assert!(!world.path("new/repos/gone.git").exists());
    let server = Server::start(&world, &world.path("new"), &[]);
    world.clone_of(&server.url("film"), "clone").holds("second.bin", &noise(3, MIB));
}

#[test]
fn locks_that_git_left_in_a_backup_stop_nothing() {
    let world = World::new();
    let server = world.serve();
    let film = with_a_take(&world, &server, "film", 1);
    backup(&world, &server);
    let mirror = first_in(&world.path("backup/git")).expect("one");
    fs::create_dir_all(mirror.join("refs/snapshots/2/heads")).expect("made");
    for lock in ["packed-refs.lock", "config.lock", "refs/snapshots/2/heads/main.lock"] {
        fs::write(mirror.join(lock), "").expect("written");
    }
    add_take(&film, "second.bin", &noise(2, MIB));
    let done = backup_call(&world, server.root(), "backup").run();
    assert!(done.ok().contains("\"snapshot\": 2") && !done.err().contains("warning"), "{}", done.story());
    restore(&world, "new");
}

/// On another machine the files are somebody else's, and the medium may be one that cannot be written to.
#[test]
fn a_backup_of_another_user_that_cannot_be_written_to_is_restored() {
    let world = World::new();
    if !needs_root() {
        return;
    }
    let server = world.serve();
    with_a_take(&world, &server, "film", 1);
    let Some(disk) = SmallDisk::mount(&world.path("disk"), 64 * MIB as u64) else { return };
    backup_call(&world, server.root(), "disk/backup").run().ok();
    let owned = std::process::Command::new("chown").args(["-R", "65534"]).arg(disk.dir()).status();
    assert!(owned.expect("it can be started").success());
    disk.only_read();
    let facts = facts(&restore_call(&world, "disk/backup", "new").run());
    assert_eq!(facts["whole"], Value::Bool(true), "{facts}");
}

#[test]
fn a_full_disk_leaves_the_backup_before_and_the_next_one_goes_on() {
    let world = World::new();
    if !needs_root() {
        return;
    }
    let server = world.serve();
    let film = with_a_take(&world, &server, "film", 1);
    let Some(disk) = SmallDisk::mount(&world.path("disk"), 24 * MIB as u64) else { return };
    backup_call(&world, server.root(), "disk/backup").run().ok();
    add_take(&film, "large.bin", &noise(2, 30 * MIB));
    let failed = backup_call(&world, server.root(), "disk/backup").run();
    assert!(failed.fails().contains("No space left"), "{}", failed.story());
    facts(&restore_call(&world, "disk/backup", "before").run());
    assert!(!refs(&world, &world.path("before/repos/film.git")).contains(&film.head()));
    disk.resize(200 * MIB as u64);
    backup_call(&world, server.root(), "disk/backup").run().ok();
    facts(&restore_call(&world, "disk/backup", "after").run());
    assert!(refs(&world, &world.path("after/repos/film.git")).contains(&film.head()));
}
