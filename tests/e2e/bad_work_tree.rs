//! Work trees in which things go wrong while media is on its way: each file is whole or a pointer, somebody is
//! told, and `git dits pull` finishes the job.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use dits_core::pointer::Pointer;
use dits_core::steps::Step;
use dits_tests::media::{MIB, noise};
use dits_tests::processes::stopped_in;
use dits_tests::{Call, Done, Repo, Server, World};
use rustix::process::{Signal, geteuid, kill_process};

const TAKE: &str = "shots/take.bin";

fn take() -> Vec<u8> {
    noise(1, 2 * MIB)
}

/// A repository whose one take is gone from the work tree.
fn emptied(world: &World) -> Repo<'_> {
    let repo = world.repo("film");
    repo.write(TAKE, take());
    repo.commit("a take");
    fs::remove_file(repo.dir().join(TAKE)).expect("it is ours");
    repo
}

/// Checks the take out, and does something when the filter has reached a step.
fn checkout_with(repo: &Repo<'_>, step: Step, meanwhile: impl FnOnce(&Path)) -> Done {
    let checkout = repo.call(&["checkout", "-q", "--", "."]).pause_at(step.name()).start();
    let filter = stopped_in(checkout.group());
    meanwhile(&repo.dir().join(TAKE));
    kill_process(filter, Signal::CONT).expect("it is stopped");
    checkout.finish()
}

/// Nothing of Dits' own stands beside the take.
fn is_alone(repo: &Repo<'_>) {
    let entries = fs::read_dir(repo.dir().join("shots")).expect("it is there").flatten();
    let names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(names, ["take.bin"]);
}

fn is_pointer(repo: &Repo<'_>) -> bool {
    Pointer::parse(&repo.read(TAKE)).is_some()
}

fn pull_finishes(repo: &Repo<'_>) {
    repo.git(&["dits", "pull"]).ok();
    repo.holds(TAKE, &take());
    is_alone(repo);
    assert_eq!(repo.status(), "");
}

/// A clone without its take, and the server that has it.
fn pushed<'w>(world: &'w World, content: &[u8]) -> (Server, Repo<'w>) {
    let server = world.serve();
    let film = world.repo("film");
    film.write("notes.txt", "notes\n");
    film.commit("notes");
    film.push_to(&server.url("film"));
    film.write(TAKE, content);
    film.commit("a take");
    film.git(&["push", "-q", "origin", "HEAD:takes"]).ok();
    let clone = world.clone_of(&server.url("film"), "clone");
    (server, clone)
}

#[test]
fn without_a_network_pointers_are_left_and_named() {
    let world = World::new();
    let (server, clone) = pushed(&world, &take());
    let (root, port) = (server.root().to_owned(), server.port());
    server.stop();
    let switch = clone.git(&["switch", "-q", "takes"]);
    switch.ok();
    assert!(switch.err().contains(TAKE) && switch.err().contains("git dits pull"), "{}", switch.story());
    assert!(is_pointer(&clone));
    assert_eq!(clone.status(), "", "a pointer in the place of its file is no change");
    let status = clone.git(&["dits", "status"]).ok();
    assert!(status.contains(TAKE), "{status}");
    assert!(clone.git(&["dits", "pull"]).fails().contains(TAKE));
    assert!(is_pointer(&clone));
    let _server = Server::start_on(&world, &root, port, &[]);
    pull_finishes(&clone);
}

#[test]
fn a_server_that_goes_away_half_way_leaves_a_pointer() {
    let world = World::new();
    let content = noise(2, 24 * MIB);
    let (server, clone) = pushed(&world, &content);
    let (root, port) = (server.root().to_owned(), server.port());
    let switch = clone.call(&["switch", "-q", "takes"]).pause_at(Step::PackOpened.name()).start();
    let helper = stopped_in(switch.group());
    server.kill();
    kill_process(helper, Signal::CONT).expect("it is stopped");
    let switch = switch.finish();
    switch.ok();
    assert!(switch.err().contains(TAKE) && switch.err().contains("git dits pull"), "{}", switch.story());
    assert!(is_pointer(&clone), "{}", switch.story());
    is_alone(&clone);
    assert_eq!(clone.status(), "");
    let _server = Server::start_on(&world, &root, port, &[]);
    clone.git(&["dits", "pull"]).ok();
    clone.holds(TAKE, &content);
    assert_eq!(clone.status(), "");
}

#[test]
fn a_folder_or_a_link_in_the_place_of_the_file_stays() {
    let steps = [Step::HydrationWritten, Step::HydrationNamed];
    for step in steps {
        let world = World::new();
        let repo = emptied(&world);
        let done = checkout_with(&repo, step, |path| {
            fs::remove_file(path).expect("it is ours");
            fs::create_dir(path).expect("it is ours");
            fs::write(path.join("inside"), "kept").expect("it is ours");
        });
        done.ok();
        assert!(done.err().contains(TAKE), "{} at {}", done.story(), step.name());
        repo.holds(&format!("{TAKE}/inside"), b"kept");
        is_alone(&repo);
        fs::remove_dir_all(repo.dir().join(TAKE)).expect("it is ours");
        repo.git(&["checkout", "-q", "--", "."]).ok();
        pull_finishes(&repo);

        let world = World::new();
        let repo = emptied(&world);
        let outside = world.path("outside");
        fs::write(&outside, repo.blob(&format!("HEAD:{TAKE}"))).expect("the folder is ours");
        let done = checkout_with(&repo, step, |path| {
            fs::remove_file(path).expect("it is ours");
            symlink(&outside, path).expect("it is ours");
        });
        done.ok();
        assert!(repo.dir().join(TAKE).is_symlink(), "{}", done.story());
        assert!(Pointer::parse(&fs::read(&outside).expect("it is there")).is_some(), "what it points to is as it was");
        is_alone(&repo);
    }
}

/// Every edit in place keeps the file's inode, so that only its bytes tell.
#[test]
fn edits_of_the_pointer_in_place_are_saves_too() {
    type Edit = fn(&Path);
    let edits: [(&str, Edit); 3] = [
        ("more", |path| {
            let mut file = File::options().append(true).open(path).expect("it is ours");
            file.write_all(b"and more\n").expect("it is ours");
        }),
        ("another", |path| {
            let text = fs::read_to_string(path).expect("it is a pointer");
            let other = if text.contains("blake3:0") { "blake3:1" } else { "blake3:0" };
            let at = text.find("blake3:").expect("it has an oid");
            fs::write(path, format!("{}{other}{}", &text[..at], &text[at + other.len()..])).expect("it is ours");
        }),
        ("nothing", |path| fs::write(path, "").expect("it is ours")),
    ];
    for step in [Step::HydrationWritten, Step::HydrationNamed] {
        for (what, edit) in edits {
            let world = World::new();
            let repo = emptied(&world);
            let mut saved = Vec::new();
            let done = checkout_with(&repo, step, |path| {
                edit(path);
                saved = fs::read(path).expect("it is there");
            });
            done.ok();
            assert!(repo.read(TAKE) == saved, "{what} at {}: {}", step.name(), done.story());
            assert!(repo.status().starts_with(" M"), "{what}: {}", done.story());
            is_alone(&repo);
        }
    }
}

#[test]
fn a_program_that_has_the_pointer_open_goes_on_reading_it() {
    let world = World::new();
    let repo = emptied(&world);
    let mut open = None;
    checkout_with(&repo, Step::HydrationWritten, |path| open = Some(File::open(path).expect("it is there"))).ok();
    let mut text = Vec::new();
    open.expect("it was opened").read_to_end(&mut text).expect("it can be read");
    assert!(Pointer::parse(&text).is_some(), "not a mixture");
    repo.holds(TAKE, &take());
    assert_eq!(repo.status(), "");
}

#[test]
fn an_index_that_is_damaged_meanwhile_is_left_as_it_is() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 4] = [
        ("cut short", |index| index.truncate(index.len() - 30)),
        ("an extension of an impossible length", |index| {
            let tree = index.windows(4).position(|bytes| bytes == b"TREE").expect("it has one");
            index[tree + 4] = 0xff;
        }),
        ("a count of entries that is wrong", |index| index[8] = 0x7f),
        ("not an index", |index| index[..4].copy_from_slice(b"DIRX")),
    ];
    for (what, damage) in damages {
        let world = World::new();
        let repo = emptied(&world);
        repo.git(&["status"]).ok();
        let index = repo.dir().join(".git/index");
        let (mut damaged, mut is_taken_by_git) = (Vec::new(), false);
        let done = checkout_with(&repo, Step::HydrationCleared, |_| {
            damaged = fs::read(&index).expect("it is there");
            damage(&mut damaged);
            fs::write(&index, &damaged).expect("it is ours");
            is_taken_by_git = repo.git(&["ls-files"]).status.success();
        });
        done.ok();
        // Git itself takes some damage for an index, and writes it anew when it is asked to look at a file.
        if !is_taken_by_git {
            assert!(fs::read(&index).expect("it is there") == damaged, "{what}: {}", done.story());
        }
        assert!(!repo.dir().join(".git/index.lock").exists(), "{what}");
        repo.holds(TAKE, &take());
        fs::remove_file(&index).expect("it is ours");
        repo.git(&["reset", "-q"]).ok();
        pull_finishes(&repo);
    }
}

/// A call of git by somebody who is bound by the permissions of files, as root is not.
fn bound(repo: &Repo<'_>, args: &[&str]) -> Call {
    match geteuid().is_root() {
        true => {
            let call = repo.world().call("setpriv").args(["--bounding-set=-dac_override,-dac_read_search", "git"]);
            call.args(args).dir(repo.dir())
        }
        false => repo.call(args),
    }
}

#[test]
fn a_folder_that_may_not_be_written_to_keeps_its_pointer() {
    let world = World::new();
    let repo = emptied(&world);
    repo.call(&["checkout", "-q", "--", "."]).env("GIT_DITS_SKIP_SMUDGE", "1").run().ok();
    let shots = repo.dir().join("shots");
    fs::set_permissions(&shots, PermissionsExt::from_mode(0o555)).expect("it is ours");
    let pull = bound(&repo, &["dits", "pull"]).run();
    assert!(pull.fails().contains(TAKE) && pull.err().contains("ermission denied"), "{}", pull.story());
    assert!(is_pointer(&repo));
    is_alone(&repo);
    assert_eq!(repo.status(), "", "a pointer in the place of its file is no change");
    fs::set_permissions(&shots, PermissionsExt::from_mode(0o755)).expect("it is ours");
    pull_finishes(&repo);
}

#[test]
fn a_file_that_cannot_be_dehydrated_stops_no_other() {
    let world = World::new();
    let repo = world.repo("film");
    repo.write(TAKE, take());
    repo.write("z/other.bin", noise(2, MIB));
    repo.commit("takes");
    let shots = repo.dir().join("shots");
    fs::set_permissions(&shots, PermissionsExt::from_mode(0o555)).expect("it is ours");
    let dehydrate = bound(&repo, &["dits", "dehydrate", "--json", "."]).run();
    assert!(dehydrate.fails().contains("ermission denied"), "{}", dehydrate.story());
    let facts: serde_json::Value = serde_json::from_slice(&dehydrate.stdout).expect("JSON");
    assert_eq!(facts["dehydrated"], serde_json::json!(["z/other.bin"]), "{facts}");
    assert_eq!(facts["left"][0]["path"], TAKE, "{facts}");
    repo.holds(TAKE, &take());
    fs::set_permissions(&shots, PermissionsExt::from_mode(0o755)).expect("it is ours");
    assert_eq!(repo.status(), "");
    repo.git(&["dits", "dehydrate", "."]).ok();
    assert!(is_pointer(&repo));
    pull_finishes(&repo);
}

#[test]
fn a_checkout_into_a_folder_that_may_not_be_written_to_leaves_nothing() {
    let world = World::new();
    let repo = emptied(&world);
    let shots = repo.dir().join("shots");
    fs::set_permissions(&shots, PermissionsExt::from_mode(0o555)).expect("it is ours");
    let refused = bound(&repo, &["checkout", "-q", "--", "."]).run();
    assert!(refused.fails().contains(TAKE), "{}", refused.story());
    assert_eq!(fs::read_dir(&shots).expect("it is there").count(), 0);
    fs::set_permissions(&shots, PermissionsExt::from_mode(0o755)).expect("it is ours");
    repo.git(&["checkout", "-q", "--", "."]).ok();
    pull_finishes(&repo);
}

#[test]
fn pointers_that_were_merged_as_text_are_refused_and_either_side_can_be_taken() {
    let world = World::new();
    let repo = world.repo("film");
    repo.write(".gitattributes", "*.bin filter=dits\n");
    repo.write(TAKE, take());
    repo.commit("a take, by attributes that somebody wrote by hand");
    repo.git(&["switch", "-q", "-c", "other"]).ok();
    let other = noise(4, 2 * MIB + 1);
    repo.write(TAKE, &other);
    repo.commit("another");
    repo.git(&["switch", "-q", "main"]).ok();
    repo.write(TAKE, noise(5, 2 * MIB + 2));
    repo.commit("one more");
    repo.git(&["merge", "-q", "other"]).fails();
    assert!(repo.read(TAKE).windows(7).any(|bytes| bytes == b"<<<<<<<"), "git wrote its markers into the pointer");
    assert!(repo.status().contains(&format!("UU {TAKE}")));
    for args in [["add", "."].as_slice(), &["commit", "-q", "-a", "-m", "unseen"]] {
        let refused = repo.git(args);
        assert!(refused.fails().contains("conflict markers"), "{}", refused.story());
        assert!(refused.err().contains(&format!("git checkout --theirs {TAKE}")), "{}", refused.story());
    }
    repo.git(&["checkout", "-q", "--theirs", TAKE]).ok();
    repo.holds(TAKE, &other);
    repo.git(&["add", TAKE]).ok();
    repo.git(&["commit", "-q", "--no-edit"]).ok();
    repo.holds(TAKE, &other);
    assert_eq!(repo.status(), "");
}
