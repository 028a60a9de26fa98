//! `git dits status`: what is to be pushed, by what is known here.

mod support;

use dits_tests::media::noise;
use dits_tests::{Repo, World};
use support::story;

/// The paths that `git dits status` says are to be pushed.
fn not_pushed(repo: &Repo<'_>) -> Vec<String> {
    let facts: serde_json::Value =
        serde_json::from_str(&repo.git(&["dits", "status", "--json"]).ok()).expect("it is JSON");
    let files = facts["not_pushed"]["files"].as_array().expect("there is a remote");
    files.iter().map(|file| file["path"].as_str().expect("a path").to_owned()).collect()
}

#[test]
fn media_is_to_be_pushed_until_the_push() {
    let world = World::new();
    let server = world.serve();
    let repo = world.repo("film");
    repo.write("a.mov", noise(1, 300_000));
    repo.commit("a take");
    assert_eq!(repo.git(&["dits", "status"]).ok(), "On branch main", "there is nowhere to push to");
    repo.git(&["remote", "add", "origin", &server.url("film")]).ok();
    assert_eq!(not_pushed(&repo), ["a.mov"]);
    repo.git(&["push", "-q", "-u", "origin", "main"]).ok();
    assert_eq!(not_pushed(&repo), [""; 0]);
    repo.git(&["mv", "a.mov", "renamed.mov"]).ok();
    repo.write("b.mov", noise(2, 300_000));
    repo.write("script.txt", "fade in");
    repo.commit("another take");
    assert_eq!(
        story(&world, &repo.git(&["dits", "status"])),
        "On branch main\n\nMedia to be pushed to origin:\n    b.mov (293.0 KiB)\nexit 0\n"
    );
    // Nobody is asked, so that a server that is away changes nothing.
    server.kill();
    assert_eq!(not_pushed(&repo), ["b.mov"]);
}

#[test]
fn what_the_server_said_it_holds_is_not_to_be_pushed() {
    let world = World::new();
    let server = world.serve();
    let repo = world.repo("film");
    repo.git(&["dits", "install"]).ok();
    repo.git(&["remote", "add", "origin", &world.bare("forge.git").display().to_string()]).ok();
    repo.git(&["config", "dits.url", &server.url("film")]).ok();
    repo.write("a.mov", noise(1, 300_000));
    repo.commit("a take");
    // The first upload makes the repository on the server, the second finds it there.
    repo.git(&["dits", "push", "origin"]).ok();
    assert_eq!(not_pushed(&repo), [""; 0]);
    repo.write("b.mov", noise(2, 300_000));
    repo.commit("another take");
    assert_eq!(not_pushed(&repo), ["b.mov"]);
    repo.git(&["dits", "push", "origin"]).ok();
    assert_eq!(not_pushed(&repo), [""; 0]);
    // Receipts are no more than a memory: without them the dry run asks, and they are back.
    std::fs::remove_file(repo.store().join("receipts.sqlite")).expect("they were kept");
    assert_eq!(not_pushed(&repo), ["b.mov", "a.mov"]);
    assert_eq!(repo.git(&["dits", "push", "origin", "--dry-run"]).ok(), "0 files to upload, 2 are there");
    assert_eq!(not_pushed(&repo), [""; 0]);
}

#[test]
fn a_server_that_lost_media_is_asked_and_gets_it_again() {
    let world = World::new();
    let server = world.serve();
    let repo = world.repo("film");
    repo.git(&["dits", "install"]).ok();
    repo.git(&["remote", "add", "origin", &world.bare("forge.git").display().to_string()]).ok();
    repo.git(&["config", "dits.url", &server.url("film")]).ok();
    repo.write("a.mov", noise(1, 300_000));
    repo.commit("a take");
    repo.git(&["dits", "push", "origin"]).ok();
    let (root, port) = (server.root().to_owned(), server.port());
    server.kill();
    std::fs::remove_dir_all(&root).expect("it was the server's");
    let server = dits_tests::Server::start_on(&world, &root, port, &[]);
    std::fs::remove_file(world.home().join(".config/dits/known_hosts")).expect("it was pinned");
    let pushed = repo.git(&["push", "-q", "origin", "main"]);
    pushed.ok();
    assert!(pushed.err().contains("1 file of media uploaded"), "{}", pushed.story());
    drop(server);
}

#[test]
fn the_remote_is_the_one_that_git_would_push_to() {
    let world = World::new();
    let repo = world.repo("film");
    for name in ["one", "two"] {
        let bare = world.bare(&format!("{name}.git"));
        repo.git(&["remote", "add", name, &format!("dits::{}", bare.display())]).ok();
    }
    let remote = || -> serde_json::Value {
        let facts: serde_json::Value =
            serde_json::from_str(&repo.git(&["dits", "status", "--json"]).ok()).expect("it is JSON");
        facts["not_pushed"]["remote"].clone()
    };
    assert_eq!(remote(), serde_json::Value::Null, "either may be meant");
    repo.git(&["config", "branch.main.remote", "two"]).ok();
    assert_eq!(remote(), "two");
    repo.git(&["config", "remote.pushDefault", "one"]).ok();
    assert_eq!(remote(), "one");
    repo.git(&["config", "branch.main.pushRemote", "two"]).ok();
    assert_eq!(remote(), "two");
}

#[test]
fn why_a_file_is_a_pointer_is_told() {
    let world = World::new();
    let server = world.serve();
    let repo = world.repo("film");
    for (seed, path) in [(1, "a.mov"), (2, "proxies/b.mov"), (3, "sparse/c.mov")] {
        repo.write(path, noise(seed, 2_000_000));
    }
    repo.commit("takes");
    repo.push_to(&server.url("film"));
    world.git(&["clone", "-q", "--no-checkout", &server.url("film"), "two"]).ok();
    let two = Repo::at(&world, world.path("two"));
    two.git(&["config", "dits.fetchExclude", "proxies"]).ok();
    let url = server.url("film");
    server.kill();
    two.git(&["checkout", "-q", "main"]);
    let reasons = || -> Vec<String> {
        let facts: serde_json::Value =
            serde_json::from_str(&two.git(&["dits", "status", "--json"]).ok()).expect("it is JSON");
        let files = facts["not_hydrated"].as_array().expect("a list").clone();
        files.iter().map(|file| format!("{}: {}", file["path"], file["reason"])).collect()
    };
    let told = reasons();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(
        told[0].contains("cannot connect to") && told[0].contains("; its content is not in the local store"),
        "{told:?}"
    );
    assert!(told[1].contains("dits.fetchInclude or dits.fetchExclude leaves it out; its content is not"), "{told:?}");
    // What a sparse checkout leaves out is neither told nor fetched.
    two.git(&["sparse-checkout", "set", "--no-cone", "/*", "!sparse"]).ok();
    assert_eq!(reasons().len(), 2);
    let port: u16 = url.split(':').nth(2).and_then(|rest| rest.split('/').next()?.parse().ok()).expect("a port");
    let server = dits_tests::Server::start_on(&world, &world.path("server"), port, &[]);
    assert_eq!(two.git(&["dits", "fetch", "--no-progress"]).ok(), "1 file fetched (1.9 MiB)");
    assert!(reasons()[0].ends_with("its content is in the local store\""), "{:?}", reasons());
    two.git(&["dits", "pull"]).ok();
    assert_eq!(reasons().len(), 1);
    assert_eq!(two.git(&["dits", "fetch", "origin", "HEAD"]).ok(), "1 file fetched (1.9 MiB), 1 here already");
    drop(server);
}

#[test]
fn an_interrupted_hydration_is_told_until_somebody_asks_for_it() {
    let world = World::new();
    let repo = world.repo("film");
    repo.write("a.mov", noise(1, 2_000_000));
    repo.commit("a take");
    repo.git(&["dits", "dehydrate", "a.mov"]).ok();
    // The journal of a process that is gone.
    let oid = blake3::hash(&noise(1, 2_000_000)).to_hex();
    repo.write(".git/dits/hydration/00000000000000aa", format!("dits hydration 1\0want {oid} 2000000 a.mov\0"));
    let status = repo.git(&["dits", "status"]).ok();
    let reason = "a.mov (1.9 MiB): hydrating it was interrupted; its content is in the local store";
    assert!(status.contains(reason), "{status}");
    repo.write("b.mov", noise(2, 2_000_000));
    repo.commit("another take");
    std::fs::remove_file(repo.dir().join("b.mov")).expect("it is ours");
    // Nobody asks for the first one here.
    repo.git(&["checkout", "-q", "--", "b.mov"]).ok();
    repo.git(&["checkout", "-q", "-b", "side"]).ok();
    assert!(repo.git(&["dits", "status"]).ok().contains(reason));
    repo.git(&["dits", "pull"]).ok();
    repo.holds("a.mov", &noise(1, 2_000_000));
    assert_eq!(repo.git(&["dits", "status"]).ok(), "On branch side");
    assert_eq!(repo.status(), "");
}
