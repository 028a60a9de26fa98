//! `kill -9` at every named step of every write order, and then going on with nothing lost.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use dits_core::limits::PACK_PAYLOAD_TARGET;
use dits_core::pointer::Pointer;
use dits_core::steps::Step;
use dits_tests::media::{MIB, noise};
use dits_tests::processes;
use dits_tests::repo::{age_packs, bytes_below};
use dits_tests::{Repo, Server, World};
use rustix::process::Signal;

/// Who is killed, doing what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scene {
    /// The filter, cleaning a file.
    Add,
    /// The filter, at the end of a checkout.
    Checkout,
    /// `git dits dehydrate`.
    Dehydrate,
    /// `git dits resolve`.
    Resolve,
    /// The helper, pushing to a path.
    Share,
    /// The helper, fetching media into the local store.
    Fetch,
    /// The porcelain, collecting the local store.
    Collect,
    /// The server, receiving a push of a new repository.
    Push,
    /// The server, receiving media that another repository has.
    PushOfSharedMedia,
    /// A collection of the server's root: `server_gc.rs`.
    ServerGc,
    /// A backup of the server's root, and the way back: `backup.rs`.
    Backup,
}

/// Where each step is stopped at. The compiler holds that none is forgotten.
fn scenes(step: Step) -> &'static [Scene] {
    use Scene::{Add, Backup, Checkout, Collect, Dehydrate, Fetch, Push, PushOfSharedMedia, Resolve, ServerGc, Share};
    match step {
        Step::PackOpened | Step::PackPayloadWritten | Step::PackLogWritten | Step::PackIndexed => &[Add, Fetch, Push],
        Step::PackPayloadSynced | Step::PackLogSynced => &[Add, Push],
        Step::PackTableWritten | Step::PackRenamed | Step::PackLogRemoved => &[Add, Push],
        Step::WholePackWritten | Step::WholePackRenamed => &[Share],
        Step::CollectCopied
        | Step::CollectCondemned
        | Step::CollectRescued
        | Step::CollectRemoved
        | Step::CollectDone => &[Collect],
        Step::RepoRegistered | Step::RepoCreated | Step::ContentProven | Step::HeldRecorded => &[Push],
        Step::PresenceRecorded => &[PushOfSharedMedia],
        Step::HeldReleased => &[ServerGc],
        Step::BackupRefsFetched
        | Step::BackupDatabaseCopied
        | Step::BackupOpenPacksListed
        | Step::BackupOpenPacksCopied
        | Step::BackupPacksCopied
        | Step::BackupListed
        | Step::RestorePacksCopied
        | Step::RestoreRepositoriesFilled
        | Step::RestoreEnded => &[Backup],
        Step::HydrationNoted => &[Checkout],
        Step::HydrationWritten
        | Step::HydrationNamed
        | Step::HydrationSwapped
        | Step::HydrationCleared
        | Step::IndexCopied
        | Step::IndexReplaced => &[Checkout, Dehydrate],
        Step::ResolveSetAside | Step::ResolveStaged | Step::ResolveCheckedOut => &[Resolve],
    }
}

fn steps_of(scene: Scene) -> impl Iterator<Item = Step> {
    Step::ALL.iter().copied().filter(move |step| scenes(*step).contains(&scene))
}

/// Content that reaches the step: a pack is sealed, and the next one opened, only when it is full.
fn content_for(step: Step) -> Vec<u8> {
    let seals = matches!(step, Step::PackOpened | Step::PackTableWritten | Step::PackRenamed | Step::PackLogRemoved);
    let len = if seals { PACK_PAYLOAD_TARGET as usize + 2 * MIB } else { 3 * MIB };
    noise(step as u64 + 100, len)
}

/// Asserts that both takes come out of the store itself.
fn has_both(repo: &Repo<'_>, content: &[u8]) {
    repo.write("before.bin", b"");
    repo.write("take.bin", b"");
    repo.git(&["reset", "-q", "--hard"]).ok();
    repo.holds("before.bin", &noise(1, MIB));
    repo.holds("take.bin", content);
}

fn with_a_take_from_before<'w>(world: &'w World, name: &str) -> Repo<'w> {
    let repo = world.repo(name);
    repo.write("before.bin", noise(1, MIB));
    repo.commit("stored before the crash");
    repo
}

#[test]
fn the_filter_killed_at_any_step_loses_nothing() {
    for step in steps_of(Scene::Add) {
        let world = World::new();
        let repo = with_a_take_from_before(&world, "film");
        let content = content_for(step);
        repo.write("take.bin", &content);
        // By itself, so that its own end is seen; then under git, whose exit status may be decided by then.
        let call = world.call("git-dits-filter").args(["clean", "take.bin"]).dir(repo.dir());
        let killed = call.input(content.clone()).stop_at(step.name()).run();
        assert_eq!(killed.status.signal(), Some(9), "{} was not reached: {}", step.name(), killed.story());
        repo.call(&["add", "take.bin"]).stop_at(step.name()).run();
        repo.commit("going on");
        has_both(&repo, &content);
    }
}

/// Asserts that a checkout is as if nothing had happened: whole files, no other names, and a status that asks nobody.
fn is_as_checked_out(repo: &Repo<'_>, takes: &[(&str, Vec<u8>)]) {
    takes.iter().for_each(|(path, content)| repo.holds(path, content));
    nothing_is_left(repo);
    let status = repo.call(&["status", "--porcelain"]).env("GIT_TRACE", "1").run();
    assert_eq!(status.ok(), "");
    assert!(!status.err().contains("git-dits-filter"), "status asks the filter: {}", status.story());
}

fn nothing_is_left(repo: &Repo<'_>) {
    let names = fs::read_dir(repo.dir()).expect("the folder is ours").flatten().map(|entry| entry.file_name());
    let hidden: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with(".dits-")).collect();
    assert!(hidden.is_empty(), "{hidden:?} are left");
    let journals = fs::read_dir(repo.dir().join(".git/dits/hydration")).expect("there were some").count();
    assert_eq!(journals, 0, "journals are left");
}

#[test]
fn the_filter_killed_at_any_step_of_a_checkout_leaves_whole_files_or_pointers() {
    let takes: Vec<(&str, Vec<u8>)> =
        ["a.bin", "b.bin", "c.bin"].into_iter().zip(7..).map(|(path, seed)| (path, noise(seed, 3 * MIB))).collect();
    for (step, nth) in steps_of(Scene::Checkout).flat_map(|step| [(step, 1), (step, 2)]) {
        // The index is patched once.
        if nth == 2 && matches!(step, Step::IndexCopied | Step::IndexReplaced) {
            continue;
        }
        let world = World::new();
        let repo = world.repo("film");
        // Or the hook would do it, and be killed in the filter's place.
        repo.git(&["config", "dits.installHooks", "false"]).ok();
        repo.git(&["dits", "uninstall", "--local"]).ok();
        takes.iter().for_each(|(path, content)| repo.write(path, content));
        repo.commit("takes");
        takes.iter().for_each(|(path, _)| fs::remove_file(repo.dir().join(path)).expect("it is ours"));
        let checkout = repo.call(&["checkout", "-q", "--", "."]).stop_at(&format!("{}:{nth}", step.name())).run();
        let at_rest = |path: &str| fs::read(repo.dir().join(path)).unwrap_or_default();
        for (path, content) in &takes {
            let found = at_rest(path);
            let is_sound = found == *content || Pointer::parse(&found).is_some();
            // Killed before it answered, the filter takes git with it.
            assert!(is_sound || found.is_empty() && step == Step::HydrationNoted, "{path}: {}", checkout.story());
        }
        let was_reached =
            fs::read_dir(repo.dir().join(".git/dits/hydration")).is_ok_and(|mut left| left.next().is_some());
        assert!(was_reached, "{} was not reached: {}", step.name(), checkout.story());
        if step == Step::HydrationNoted {
            repo.git(&["checkout", "-q", "--", "."]).ok();
        }
        repo.git(&["dits", "pull"]).ok();
        is_as_checked_out(&repo, &takes);
    }
}

#[test]
fn a_clone_of_which_the_filter_is_killed_at_any_step_is_finished_by_a_pull() {
    let takes: Vec<(&str, Vec<u8>)> =
        ["a.bin", "b.bin"].into_iter().zip(7..).map(|(path, seed)| (path, noise(seed, 2 * MIB))).collect();
    let world = World::new();
    let repo = world.repo("film");
    takes.iter().for_each(|(path, content)| repo.write(path, content));
    repo.commit("takes");
    for step in steps_of(Scene::Checkout) {
        let name = format!("at-{}", step.name());
        let clone = world.call("git").args(["clone", "-q", &repo.dir().display().to_string(), &name]);
        let clone = clone.stop_at(step.name()).run();
        let other = Repo::at(&world, world.path(&name));
        let left = fs::read_dir(other.dir().join(".git/dits/hydration")).map_or(0, Iterator::count);
        assert!(left > 0, "{} was not reached: {}", step.name(), clone.story());
        for (path, content) in &takes {
            let found = fs::read(other.dir().join(path)).unwrap_or_default();
            let is_sound = found == *content || Pointer::parse(&found).is_some();
            // Killed before it answered, the filter takes git with it.
            assert!(is_sound || found.is_empty() && step == Step::HydrationNoted, "{path}: {}", clone.story());
        }
        if step == Step::HydrationNoted {
            // As git says when it could not check out.
            other.git(&["restore", "--source=HEAD", "--staged", "--worktree", ":/"]).ok();
        }
        other.git(&["dits", "pull"]).ok();
        is_as_checked_out(&other, &takes);
    }
}

#[test]
fn dehydrating_killed_at_any_step_leaves_whole_files_or_pointers_and_no_other_name_for_long() {
    let takes: Vec<(&str, Vec<u8>)> =
        ["a.bin", "b.bin"].into_iter().zip(7..).map(|(path, seed)| (path, noise(seed, 2 * MIB))).collect();
    for (step, nth) in steps_of(Scene::Dehydrate).flat_map(|step| [(step, 1), (step, 2)]) {
        // The index is patched once.
        if nth == 2 && matches!(step, Step::IndexCopied | Step::IndexReplaced) {
            continue;
        }
        let world = World::new();
        let repo = world.repo("film");
        takes.iter().for_each(|(path, content)| repo.write(path, content));
        repo.commit("takes");
        let dehydrate = world.call("git-dits").args(["dehydrate", "."]).dir(repo.dir());
        let killed = dehydrate.stop_at(&format!("{}:{nth}", step.name())).run();
        assert_eq!(killed.status.signal(), Some(9), "{} was not reached: {}", step.name(), killed.story());
        for (path, content) in &takes {
            let found = repo.read(path);
            assert!(found == *content || Pointer::parse(&found).is_some(), "{path}: {}", killed.story());
        }
        // Whatever is done next: all comes back, or all goes.
        match nth {
            1 => {
                repo.git(&["dits", "pull"]).ok();
                takes.iter().for_each(|(path, content)| repo.holds(path, content));
            }
            _ => {
                repo.git(&["dits", "dehydrate", "."]).ok();
                takes.iter().for_each(|(path, _)| assert!(Pointer::parse(&repo.read(path)).is_some(), "{path}"));
            }
        }
        assert_eq!(repo.status(), "", "{}:{nth}", step.name());
        nothing_is_left(&repo);
    }
}

/// `main` and `side` are in conflict on two files; a third one was deleted on `side`.
fn in_conflict<'w>(world: &'w World, ours: &[u8], theirs: &[u8]) -> Repo<'w> {
    let repo = world.repo("film");
    let commit = |content: &[u8]| {
        ["a.bin", "b.bin", "gone.bin"].iter().for_each(|path| repo.write(path, content));
        repo.commit("a cut");
    };
    commit(&noise(7, MIB));
    repo.git(&["checkout", "-q", "-b", "side"]).ok();
    commit(theirs);
    repo.git(&["rm", "-q", "gone.bin"]).ok();
    repo.commit("one less");
    repo.git(&["checkout", "-q", "main"]).ok();
    commit(ours);
    repo.git(&["merge", "-q", "side"]).breaks();
    repo
}

#[test]
fn resolving_killed_at_any_step_puts_back_what_it_set_aside_and_says_so() {
    let (ours, theirs) = (noise(8, 2 * MIB), noise(9, 3 * MIB));
    let told = "is as it was before a `git dits resolve` that ended early";
    for (step, nth) in steps_of(Scene::Resolve).flat_map(|step| [(step, 1), (step, 2)]) {
        // Each file is set aside by itself.
        if nth == 2 && step != Step::ResolveSetAside {
            continue;
        }
        let world = World::new();
        let repo = in_conflict(&world, &ours, &theirs);
        let resolve = world.call("git-dits").args(["resolve", "--theirs", "."]).dir(repo.dir());
        let killed = resolve.stop_at(&format!("{}:{nth}", step.name())).run();
        assert_eq!(killed.status.signal(), Some(9), "{} was not reached: {}", step.name(), killed.story());
        let pull = repo.git(&["dits", "pull"]);
        pull.ok();
        nothing_is_left(&repo);
        let (put_back, is_staged): (&[&str], bool) = match step {
            Step::ResolveSetAside => (&["a.bin", "b.bin"][..nth], false),
            Step::ResolveStaged => (&["a.bin", "b.bin", "gone.bin"], true),
            _ => (&["gone.bin"], true),
        };
        put_back.iter().for_each(|path| repo.holds(path, &ours));
        for path in ["a.bin", "b.bin", "gone.bin"] {
            let is_told = pull.err().contains(&format!("{path} {told}"));
            assert_eq!(is_told, put_back.contains(&path), "{path} at {}: {}", step.name(), pull.story());
        }
        // As the warning says.
        assert_eq!(repo.git(&["ls-files", "--unmerged"]).ok().is_empty(), is_staged, "{}", step.name());
        match is_staged {
            false => drop(repo.git(&["dits", "resolve", "--theirs", "."]).ok()),
            true => {
                repo.git(&["restore", "a.bin", "b.bin"]).ok();
                fs::remove_file(repo.dir().join("gone.bin")).expect("it was put back");
            }
        }
        ["a.bin", "b.bin"].iter().for_each(|path| repo.holds(path, &theirs));
        assert_eq!(repo.status(), "M  a.bin\nM  b.bin\nD  gone.bin", "{}:{nth}", step.name());
    }
}

#[test]
fn git_killed_in_a_checkout_takes_nothing_with_it() {
    let takes = [("a.bin", noise(7, 3 * MIB)), ("b.bin", noise(8, 3 * MIB))];
    for step in [Step::HydrationNoted, Step::HydrationNamed, Step::HydrationSwapped, Step::IndexCopied] {
        let world = World::new();
        let repo = world.repo("film");
        takes.iter().for_each(|(path, content)| repo.write(path, content));
        repo.commit("takes");
        takes.iter().for_each(|(path, _)| fs::remove_file(repo.dir().join(path)).expect("it is ours"));
        let checkout = repo.call(&["checkout", "-q", "--", "."]).pause_at(step.name()).start();
        let (git, filter) = (checkout.group(), processes::stopped_in(checkout.group()));
        let _ = rustix::process::kill_process(git, Signal::KILL);
        let _ = rustix::process::kill_process(filter, Signal::CONT);
        checkout.finish();
        // Git's own, left as by any git that is killed.
        if step == Step::HydrationNoted {
            fs::remove_file(repo.dir().join(".git/index.lock")).expect("git had it");
            repo.git(&["checkout", "-q", "--", "."]).ok();
        }
        repo.git(&["dits", "pull"]).ok();
        is_as_checked_out(&repo, &takes);
    }
}

#[test]
fn an_index_that_is_deleted_after_a_crash_is_made_again() {
    let world = World::new();
    let repo = with_a_take_from_before(&world, "film");
    let content = noise(2, 3 * MIB);
    repo.write("take.bin", &content);
    repo.call(&["add", "take.bin"]).stop_at(Step::PackLogWritten.name()).run().breaks();
    repo.commit("going on");
    for entry in fs::read_dir(repo.store()).expect("the store is there").flatten() {
        if entry.file_name().to_string_lossy().starts_with("index.sqlite") {
            fs::remove_file(entry.path()).expect("it is ours");
        }
    }
    has_both(&repo, &content);
}

#[test]
fn the_helper_killed_while_it_shares_loses_nothing() {
    for step in steps_of(Scene::Share) {
        let world = World::new();
        let repo = with_a_take_from_before(&world, "film");
        let url = format!("dits::{}", world.bare("nas.git").display());
        repo.push_to(&url);
        let content = content_for(step);
        repo.write("take.bin", &content);
        let head = repo.commit("a take");
        repo.call(&["push", "-q"]).stop_at(step.name()).run().breaks();
        let there = world.git(&["ls-remote", &url, "main"]).ok();
        assert!(!there.contains(&head), "{} moved the ref", step.name());
        repo.git(&["push", "-q"]).ok();
        has_both(&world.clone_of(&url, "other"), &content);
    }
}

#[test]
fn the_helper_killed_while_it_fetches_loses_nothing() {
    let world = World::new();
    let server = world.serve();
    let repo = with_a_take_from_before(&world, "film");
    let content = noise(3, 3 * MIB);
    repo.write("take.bin", &content);
    repo.commit("a take");
    repo.push_to(&server.url("film"));
    for step in steps_of(Scene::Fetch) {
        let name = format!("at-{}", step.name());
        let clone = world.call("git").args(["clone", "-q", &server.url("film"), &name]);
        clone.env("GIT_DITS_SKIP_SMUDGE", "1").run().ok();
        let other = Repo::at(&world, world.path(&name));
        let wanted = format!("{} {}\n", blake3::hash(&content).to_hex(), content.len());
        let fetch = world.call("git-remote-dits").args(["fetch-media"]).dir(other.dir());
        let killed = fetch.input(wanted).stop_at(step.name()).run();
        assert_eq!(killed.status.signal(), Some(9), "{} was not reached: {}", step.name(), killed.story());
        other.git(&["dits", "pull"]).ok();
        has_both(&other, &content);
    }
}

#[test]
fn a_collection_killed_at_any_step_loses_nothing_and_the_next_one_ends_it() {
    for step in steps_of(Scene::Collect) {
        let world = World::new();
        let repo = with_a_take_from_before(&world, "film");
        let content = content_for(step);
        repo.write("gone.bin", noise(2, 4 * MIB));
        repo.git(&["add", "gone.bin"]).ok();
        repo.git(&["rm", "-q", "-f", "gone.bin"]).ok();
        repo.git(&["gc", "-q", "--prune=now"]).ok();
        repo.write("take.bin", &content);
        repo.commit("a take");
        let day = 25 * 3600;
        age_packs(&repo.store(), day);
        let killed = repo.call(&["dits", "gc"]).stop_at(step.name()).run();
        killed.breaks();
        assert!(killed.err().contains("signal 9") || killed.status.signal() == Some(9), "{}", killed.story());
        has_both(&repo, &content);
        age_packs(&repo.store(), day);
        repo.git(&["dits", "gc"]).ok();
        age_packs(&repo.store(), day);
        repo.git(&["dits", "gc"]).ok();
        assert!(bytes_below(&repo.store().join("packs")) + bytes_below(&repo.store().join("open")) < 5 * MIB as u64);
        fs::remove_file(repo.store().join("index.sqlite")).expect("it may be deleted at any time");
        has_both(&repo, &content);
    }
}

#[test]
fn the_server_killed_at_any_step_loses_nothing() {
    for step in steps_of(Scene::Push).chain(steps_of(Scene::PushOfSharedMedia)) {
        let world = World::new();
        let root = world.path("server");
        let repo = with_a_take_from_before(&world, "film");
        let content = content_for(step);
        repo.write("take.bin", &content);
        repo.commit("a take");
        // The certificate, and with it the pin, is there before; in one scene another repository's media too.
        let first = Server::start(&world, &root, &[]);
        if scenes(step).contains(&Scene::PushOfSharedMedia) {
            repo.git(&["push", "-q", &first.url("another"), "main"]).ok();
        }
        let port = first.port();
        first.stop();
        let server = Server::start_on(&world, &root, port, &[("DITS_STOP_AT", step.name())]);
        let url = server.url("film");
        repo.git(&["remote", "add", "origin", &url]).ok();
        let push = repo.git(&["push", "-q", "-u", "origin", "main"]);
        let end = server.wait();
        assert_eq!(end.signal(), Some(9), "{} was not reached: {}", step.name(), push.story());
        let _again = Server::start_on(&world, &root, port, &[]);
        repo.git(&["push", "-q", "-u", "origin", "main"]).ok();
        has_both(&world.clone_of(&url, "other"), &content);
    }
}

#[test]
fn the_client_killed_in_a_push_goes_on_where_it_was() {
    let world = World::new();
    let server = world.serve();
    let repo = with_a_take_from_before(&world, "film");
    let content = noise(4, 24 * MIB);
    repo.write("take.bin", &content);
    repo.commit("a take");
    repo.git(&["remote", "add", "origin", &server.url("film")]).ok();
    repo.call(&["push", "-q", "-u", "origin", "main"]).start().kill();
    repo.git(&["push", "-q", "-u", "origin", "main"]).ok();
    has_both(&world.clone_of(&server.url("film"), "other"), &content);
}

#[test]
fn the_pages_of_the_formats_name_exactly_the_steps_there_are() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ has a parent").join("docs");
    let pages: Vec<PathBuf> = ["formats", "protocols"].iter().flat_map(|folder| pages_in(&docs.join(folder))).collect();
    let named: BTreeSet<String> = pages.iter().flat_map(|page| steps_named_in(page)).collect();
    let known: BTreeSet<String> = Step::ALL.iter().map(|step| step.name().to_owned()).collect();
    assert_eq!(named, known, "left: named in a \"Write order\" of docs/formats; right: in steps.rs");
}

fn pages_in(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).map(|entries| entries.flatten().map(|entry| entry.path()).collect()).unwrap_or_default()
}

/// The words in backticks that look like a step's name, below headings that speak of a write order.
fn steps_named_in(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).expect("pages are text");
    let mut is_write_order = false;
    let mut named = Vec::new();
    for line in text.lines() {
        if line.starts_with('#') {
            is_write_order = line.to_lowercase().contains("write order");
        }
        let spans = line.split('`').skip(1).step_by(2).filter(|_| is_write_order);
        let is_name = |span: &&str| span.contains('-') && span.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        named.extend(spans.filter(is_name).filter(|span| !span.starts_with('-')).map(str::to_owned));
    }
    named
}
