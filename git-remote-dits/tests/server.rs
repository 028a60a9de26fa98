//! `dits://` through real git, the real helper and a real server.

use std::fs;
use std::path::Path;

use dits_tests::{Repo, Server, World};

const TOKEN: &str = "0123456789abcdef0123";

fn noise(len: usize, seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

/// A repository whose text is on the server, so that the server knows it.
fn known<'w>(world: &'w World, server: &Server) -> Repo<'w> {
    let repo = world.repo("one");
    repo.push_to(&server.url("film"));
    repo
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).expect("free");
    for entry in fs::read_dir(from).expect("there") {
        let entry = entry.expect("read");
        match entry.file_type().expect("read").is_dir() {
            true => copy_folder(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).expect("copied")),
        }
    }
}

/// Puts the server back to what it was before `change`, which pushes.
fn restored_from_before(world: &World, server: Server, change: impl FnOnce()) -> Server {
    let (port, root, backup) = (server.port(), server.root().to_owned(), world.path("backup"));
    assert!(server.stop().success());
    copy_folder(&root, &backup);
    let server = Server::start_on(world, &root, port, &[]);
    change();
    assert!(server.stop().success());
    fs::remove_dir_all(&root).expect("ours");
    fs::rename(&backup, &root).expect("moved");
    Server::start_on(world, &root, port, &[])
}

#[test]
fn media_that_a_restored_server_lost_is_uploaded_again_and_git_hears_one_report() {
    let world = World::new();
    let server = world.serve();
    let repo = known(&world, &server);
    let server = restored_from_before(&world, server, || {
        repo.write("clip.mov", noise(3_000_000, 1));
        repo.commit("a clip");
        repo.git(&["push", "-q"]).ok();
    });
    assert!(repo.store().join("receipts.sqlite").is_file());
    let pushed = repo.call(&["push", "--porcelain"]).env("GIT_TRACE_PACKET", "1").run();
    let refs = pushed.ok();
    assert_eq!(refs.matches("refs/heads/main").count(), 2, "one line for the one ref: {refs}");
    let reports = pushed.err().lines().filter(|line| line.contains("unpack ok") && !line.contains('\\')).count();
    assert_eq!(reports, 1, "{}", pushed.err());
    assert!(!refs.contains("rejected"), "{refs}");
    world.clone_of(&server.url("film"), "two").holds("clip.mov", &noise(3_000_000, 1));
}

#[test]
fn a_receipt_spares_the_upload_but_never_the_servers_own_check() {
    let world = World::new();
    let server = world.serve();
    let repo = known(&world, &server);
    let server = restored_from_before(&world, server, || {
        repo.write("clip.mov", noise(3_000_000, 1));
        repo.commit("a clip");
        repo.git(&["push", "-q"]).ok();
    });
    // Nowhere now: the receipt says that it is there, and the server knows better.
    fs::remove_dir_all(repo.store().join("packs")).ok();
    fs::remove_dir_all(repo.store().join("open")).ok();
    fs::remove_file(repo.store().join("index.sqlite")).ok();
    let before = repo.git(&["ls-remote", "origin"]).ok();
    let refused = repo.git(&["push", "--no-verify"]).fails();
    assert!(refused.contains("clip.mov"), "{refused}");
    // Only the server's check says it so: no question at the gate stopped the push before.
    assert!(refused.contains("[remote rejected] main -> main (pre-receive hook declined)"), "{refused}");
    assert!(refused.contains("needs media that this server lacks"), "{refused}");
    assert!(!refused.contains("hung up") && !refused.contains("disconnect"), "{refused}");
    assert_eq!(repo.git(&["ls-remote", "origin"]).ok(), before);
    drop(server);
}

#[test]
fn a_pointer_of_another_size_is_asked_about_although_its_oid_has_a_receipt() {
    let world = World::new();
    let server = world.serve();
    let repo = known(&world, &server);
    repo.write("clip.mov", noise(300_000, 1));
    repo.commit("a clip");
    repo.git(&["push", "-q"]).ok();
    let before = repo.git(&["ls-remote", "origin"]).ok();
    let pointer = repo.git(&["cat-file", "blob", "HEAD:clip.mov"]).ok() + "\n";
    let wrong = pointer.replace("size 300000", "size 300001");
    let blob = repo.call(&["hash-object", "-w", "--stdin", "--no-filters"]).input(wrong).run().ok();
    repo.git(&["update-index", "--cacheinfo", &format!("100644,{blob},clip.mov")]).ok();
    repo.git(&["commit", "-q", "-m", "a lie"]).ok();
    let refused = repo.git(&["push"]).fails();
    // The gate says it: nothing reached the server's own check.
    assert!(refused.contains("the file of this oid has 300000 bytes, not 300001"), "{refused}");
    assert!(!refused.contains("pre-receive hook declined"), "{refused}");
    assert_eq!(repo.git(&["ls-remote", "origin"]).ok(), before);
}

#[test]
fn damaged_receipts_cost_nothing_but_questions() {
    let world = World::new();
    let server = world.serve();
    let repo = known(&world, &server);
    let receipts = repo.store().join("receipts.sqlite");
    fs::create_dir_all(repo.store()).expect("ours");
    for seed in 1..3 {
        fs::write(&receipts, [0x55; 5000]).expect("ours");
        repo.write("clip.mov", noise(1_500_000, seed));
        repo.commit("a clip");
        assert_eq!(repo.git(&["push", "-q"]).err(), "");
        assert_ne!(fs::metadata(&receipts).expect("made anew").len(), 5000);
    }
    world.clone_of(&server.url("film"), "two").holds("clip.mov", &noise(1_500_000, 2));
}

#[test]
fn a_refusal_at_the_gate_stands_beside_each_ref() {
    let world = World::new();
    let server = world.serve();
    let repo = known(&world, &server);
    repo.write("gone.mov", format!("dits 1\noid blake3:{}\nsize 5\n", "7".repeat(64)));
    repo.commit("names what nobody has");
    for more in [&[][..], &["--atomic"], &["--no-verify"]] {
        let args = [&["push", "origin", "HEAD", "HEAD:side"], more].concat();
        let failed = repo.git(&args).fails();
        assert!(failed.contains("gone.mov in ") && failed.contains(&"7".repeat(64)), "{failed}");
        assert_eq!(failed.matches("! [remote rejected]").count(), 2, "{failed}");
        assert!(!failed.contains("hung up") && !failed.contains("disconnect"), "{failed}");
    }
    repo.git(&["fetch", "-q"]).ok();
    assert_ne!(repo.git(&["rev-parse", "origin/main"]).ok(), repo.head(), "git does not take it for pushed");
}

/// Tells the user's credential helper a token for the server.
fn remember(world: &World, server: &Server, token: &str) {
    let input = format!("protocol=dits\nhost=127.0.0.1:{}\nusername=token\npassword={token}\n\n", server.port());
    world.call("git").args(["credential", "approve"]).input(input).run().ok();
}

fn kept_tokens(world: &World) -> String {
    fs::read_to_string(world.path("tokens")).unwrap_or_default()
}

#[test]
fn a_servers_token_comes_from_gits_credential_helpers() {
    let world = World::new();
    let helper = format!("store --file={}", world.path("tokens").display());
    world.git(&["config", "--global", "credential.helper", &helper]).ok();
    fs::write(world.path("token"), format!("{TOKEN}\n")).expect("ours");
    let token_file = world.path("token");
    let args = ["--token-file", token_file.to_str().expect("utf-8")];
    let server = Server::start_with(&world, &world.path("server"), 0, &args, &[]);
    let repo = world.repo("one");
    repo.write("clip.mov", noise(1_500_000, 1));
    repo.commit("a clip");
    repo.git(&["remote", "add", "origin", &server.url("film")]).ok();
    // Nothing is known, and nobody may be asked.
    let failed = repo.git(&["push", "origin", "HEAD"]).fails();
    assert!(failed.contains("wants a token"), "{failed}");
    remember(&world, &server, "wrong-wrong-wrong-wrong");
    assert!(kept_tokens(&world).contains("wrong"));
    let failed = repo.git(&["push", "origin", "HEAD"]).fails();
    assert!(failed.contains("wants a token"), "{failed}");
    assert_eq!(kept_tokens(&world).trim(), "", "a token that was refused is forgotten");
    remember(&world, &server, TOKEN);
    repo.git(&["push", "-q", "-u", "origin", "HEAD"]).ok();
    assert_eq!(kept_tokens(&world).matches(TOKEN).count(), 1);
    let two = world.clone_of(&server.url("film"), "two");
    two.holds("clip.mov", &noise(1_500_000, 1));
    repo.write("clip.mov", noise(1_500_000, 2));
    repo.commit("a new cut");
    repo.git(&["push", "-q"]).ok();
    two.git(&["pull", "-q"]).ok();
    two.holds("clip.mov", &noise(1_500_000, 2));
}

#[test]
fn a_server_that_a_repository_names_is_reached_only_if_it_is_pinned() {
    let world = World::new();
    let server = world.serve();
    let url = server.url("film");
    let listed = || world.call("git").args(["ls-remote", &url]).env("GIT_PROTOCOL_FROM_USER", "0").run();
    let failed = listed().fails();
    assert!(failed.contains("is not known, and was not named by you"), "{failed}");
    assert!(failed.contains("git dits auth pin 127.0.0.1:"), "{failed}");
    known(&world, &server);
    listed().ok();
}

#[test]
fn a_changed_certificate_is_refused_with_both_fingerprints_and_the_way_on() {
    let world = World::new();
    let server = world.serve();
    let repo = known(&world, &server);
    let (port, root) = (server.port(), server.root().to_owned());
    assert!(server.stop().success());
    fs::remove_dir_all(root.join("tls")).expect("ours");
    let server = Server::start_on(&world, &root, port, &[]);
    let failed = repo.git(&["fetch"]).fails();
    assert!(failed.contains(" has changed: this may be an attack\ncaused by: it was sha256:"), "{failed}");
    assert!(failed.contains("git dits auth pin 127.0.0.1:"), "{failed}");
    drop(server);
}
