//! Text on a host that knows nothing of Dits, media on a real `ditsd`.

use dits_tests::media::noise;
use dits_tests::{Repo, Server, World};

/// A repository whose text goes to a bare repository without Dits.
fn repo<'w>(world: &'w World, name: &str) -> Repo<'w> {
    let bare = world.bare("forge.git");
    let repo = world.repo(name);
    repo.git(&["dits", "install"]).ok();
    repo.git(&["remote", "add", "origin", &bare.display().to_string()]).ok();
    repo
}

/// The commands of a message that begin like this.
fn hinted<'t>(message: &'t str, start: &str) -> &'t str {
    let command = message.lines().filter(|line| line.starts_with("hint: ")).find_map(|line| {
        let (_, command) = line.split_once('`')?;
        command.strip_suffix('`').filter(|command| command.starts_with(start))
    });
    command.unwrap_or_else(|| panic!("no hint with {start:?}: {message}"))
}

fn commit_url(repo: &Repo<'_>, server: &Server, name: &str) {
    repo.git(&["config", "-f", ".ditsconfig", "dits.url", &server.url(name)]).ok();
    repo.commit("where media goes");
}

#[test]
fn a_push_of_text_alone_needs_no_server() {
    let world = World::new();
    let repo = repo(&world, "one");
    repo.git(&["config", "dits.url", "dits://127.0.0.1:1/nowhere"]).ok();
    repo.write("script.txt", "fade in");
    repo.commit("text");
    repo.git(&["push", "-q", "-u", "origin", "HEAD"]).ok();
    repo.git(&["push", "-q", "origin", "HEAD:refs/heads/twice"]).ok();
    repo.git(&["push", "-q", "origin", ":twice"]).ok();
}

#[test]
fn media_goes_to_its_server_and_comes_back_in_a_clone() {
    let world = World::new();
    let server = world.serve();
    let one = repo(&world, "one");
    commit_url(&one, &server, "film");
    let content = noise(1, 3_000_000);
    one.write("clip.mov", &content);
    one.commit("a clip");
    // Nobody is there to be asked: the message has the very command.
    let refused = one.git(&["push", "-q", "-u", "origin", "HEAD"]).fails();
    assert_eq!(one.git(&["ls-remote", "origin"]).ok(), "");
    let confirm = hinted(&refused, "git config dits.url").to_owned();
    world.call("sh").args(["-c", &confirm]).dir(one.dir()).run().ok();
    let pushed = one.git(&["push", "-q", "-u", "origin", "HEAD"]);
    pushed.ok();
    assert!(pushed.err().contains("1 file of media uploaded"), "{}", pushed.story());
    // Nothing new to upload: a second branch is silent.
    assert_eq!(one.git(&["push", "-q", "origin", "HEAD:refs/heads/again"]).err(), "");

    let two = world.clone_of(&world.path("forge.git").display().to_string(), "two");
    assert!(two.read("clip.mov").starts_with(b"dits 1\n"));
    let refused = two.git(&["dits", "pull"]);
    assert_eq!(refused.status.code(), Some(3), "{}", refused.story());
    let confirm = hinted(&refused.fails(), "git config dits.url").to_owned();
    world.call("sh").args(["-c", &confirm]).dir(two.dir()).run().ok();
    two.git(&["dits", "pull"]).ok();
    two.holds("clip.mov", &content);
    assert_eq!(two.status(), "");
}

#[test]
fn another_committed_address_stops_with_the_way_on() {
    let world = World::new();
    let server = world.serve();
    let repo = repo(&world, "one");
    commit_url(&repo, &server, "film");
    for key in ["dits.url", "dits.committedUrl"] {
        repo.git(&["config", key, &server.url("film")]).ok();
    }
    repo.write("clip.mov", noise(2, 100_000));
    repo.commit("a clip");
    repo.git(&["push", "-q", "-u", "origin", "HEAD"]).ok();
    commit_url(&repo, &server, "elsewhere");
    // Text alone still goes.
    repo.git(&["push", "-q", "origin", "HEAD"]).ok();
    repo.write("clip.mov", noise(3, 100_000));
    repo.commit("another cut");
    let refused = repo.git(&["push", "-q", "origin", "HEAD"]).fails();
    assert!(refused.contains("now names another address"), "{refused}");
    assert!(!server.bare("elsewhere").exists());
    let accept = hinted(&refused, "git config dits.url").to_owned();
    world.call("sh").args(["-c", &accept]).dir(repo.dir()).run().ok();
    repo.git(&["push", "-q", "origin", "HEAD"]).ok();
    assert!(server.bare("elsewhere").exists());
}

#[test]
fn media_that_is_nowhere_and_media_stored_plain_stop_the_push() {
    let world = World::new();
    let server = world.serve();
    let repo = repo(&world, "one");
    repo.git(&["config", "dits.url", &server.url("film")]).ok();
    repo.write("gone.mov", format!("dits 1\noid blake3:{}\nsize 5\n", "7".repeat(64)));
    repo.commit("names what nobody has");
    let refused = repo.git(&["push", "origin", "HEAD"]).fails();
    assert!(refused.contains("gone.mov in ") && refused.contains(&"7".repeat(64)), "{refused}");
    assert_eq!(repo.git(&["dits", "push", "origin"]).status.code(), Some(3));
    repo.git(&["reset", "-q", "--hard", "HEAD^"]).ok();
    repo.write("raw.mov", noise(4, 2_000_000));
    let off = ["-c", "filter.dits.clean=", "-c", "filter.dits.process=", "-c", "filter.dits.required=false"];
    repo.git(&[&off[..], &["add", "raw.mov"]].concat()).ok();
    repo.git(&[&off[..], &["commit", "-q", "--no-verify", "-m", "raw"]].concat()).ok();
    let refused = repo.git(&["push", "origin", "HEAD"]).fails();
    assert!(refused.contains("raw.mov in ") && refused.contains("renormalize"), "{refused}");
    assert_eq!(repo.git(&["ls-remote", "origin"]).ok(), "");
}

#[test]
fn without_any_address_the_message_says_how_to_set_one() {
    let world = World::new();
    let repo = repo(&world, "one");
    repo.write("clip.mov", noise(5, 10_000));
    repo.commit("a clip");
    let refused = repo.git(&["push", "origin", "HEAD"]).fails();
    assert!(refused.contains("git config dits.url dits://HOST/REPOSITORY"), "{refused}");
    assert_eq!(repo.git(&["dits", "push", "origin"]).status.code(), Some(3));
}

#[test]
fn media_alone_is_pushed_by_git_dits_push() {
    let world = World::new();
    let server = world.serve();
    let repo = repo(&world, "one");
    repo.git(&["config", "dits.url", &server.url("film")]).ok();
    repo.write("clip.mov", noise(6, 1_000_000));
    repo.write("same.mov", noise(6, 1_000_000));
    repo.commit("a clip");
    let facts = |args: &[&str]| -> serde_json::Value {
        let done = repo.git(&[&["dits", "push", "--json"][..], args].concat());
        serde_json::from_str(&done.ok()).expect("JSON")
    };
    let dry = facts(&["--dry-run", "origin"]);
    assert_eq!((&dry["held"], dry["lacking"].as_array().map(Vec::len)), (&0.into(), Some(1)));
    assert_eq!(dry["lacking"][0]["size"], 1_000_000);
    let pushed = facts(&["origin"]);
    assert_eq!((&pushed["held"], &pushed["sent"], &pushed["to"]), (&1.into(), &1.into(), &server.url("film").into()));
    assert!(pushed["sent_bytes"].as_u64().expect("a number") > 1_000_000);
    let again = repo.git(&["dits", "push", "--all", &server.url("film")]).ok();
    assert_eq!(again, "0 files uploaded (0 B sent), 1 file there");
    assert_eq!(repo.git(&["dits", "push", "nobody"]).status.code(), Some(2));
    assert_eq!(repo.git(&["dits", "push", "origin", "no-such-branch"]).status.code(), Some(2));
}
