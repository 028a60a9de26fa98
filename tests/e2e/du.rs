//! `git dits du` and `ditsd du`: where the room goes.

use dits_tests::media::{MIB, noise, overwritten};
use dits_tests::{Repo, World};
use serde_json::Value;

fn du(repo: &Repo, args: &[&str]) -> Value {
    let done = repo.git(&[&["dits", "du", "--json"], args].concat());
    serde_json::from_str(&done.ok()).expect("JSON")
}

fn number(facts: &Value, name: &str) -> u64 {
    facts[name].as_u64().unwrap_or_else(|| panic!("no {name} in {facts}"))
}

/// Three commits of media: a clip, an edit of it by somebody else, and what can be compressed.
fn film(world: &World) -> Repo<'_> {
    let repo = world.repo("film");
    let clip = noise(1, 3 * MIB);
    repo.write("clip.bin", &clip);
    repo.commit("a take");
    repo.write("clip.bin", overwritten(&clip, MIB, 64 * 1024, 2));
    repo.git(&["add", "-A"]).ok();
    repo.git(&["commit", "-q", "-m", "graded", "--author", "Mara <mara@example.org>"]).ok();
    repo.write("more/Captions.MP4", "all that is said, again and again\n".repeat(2 * MIB / 34));
    repo.write("readme.txt", "no media");
    repo.git(&["dits", "track", "*.MP4"]).ok();
    repo.commit("captions");
    repo
}

#[test]
fn what_each_version_added_is_told_by_commit_file_author_and_extension() {
    let world = World::new();
    let repo = film(&world);
    let facts = du(&repo, &["--by", "commit"]);
    let groups = facts["groups"].as_array().expect("a list");
    let subjects: Vec<&str> = groups.iter().filter_map(|group| group["subject"].as_str()).collect();
    assert_eq!(subjects, ["a take", "graded", "captions"], "the oldest first");
    let (first, edit, text) = (&groups[0], &groups[1], &groups[2]);
    assert_eq!(first["name"].as_str(), Some(repo.git(&["rev-parse", "HEAD~2"]).ok().as_str()));
    assert!((3 * MIB as u64..3 * MIB as u64 + 50_000).contains(&number(first, "stored_bytes")), "{facts}");
    assert_eq!(number(edit, "logical_bytes"), 3 * MIB as u64);
    assert!((64 * 1024..700_000).contains(&number(edit, "stored_bytes")), "only what changed: {facts}");
    assert!(number(edit, "saved_by_sharing") > 2 * MIB as u64, "{facts}");
    assert!(number(text, "stored_bytes") < 200_000 && number(text, "saved_by_compression") > 100_000, "{facts}");
    let total = &facts["total"];
    assert_eq!((number(total, "files"), number(total, "not_here_bytes")), (3, 0));
    let sum: u64 = groups.iter().map(|group| number(group, "stored_bytes") + number(group, "outline_bytes")).sum();
    assert_eq!(sum, number(total, "stored_bytes") + number(total, "outline_bytes"));
    assert!(number(&facts, "store_bytes") >= sum, "{facts}");
    for (by, expected) in [
        ("file", ["clip.bin", "more/Captions.MP4"]),
        ("extension", ["bin", "mp4"]),
        ("author", ["A Tester <tester@example.org>", "Mara <mara@example.org>"]),
    ] {
        let facts = du(&repo, &["--by", by]);
        let names: Vec<&str> =
            facts["groups"].as_array().expect("a list").iter().filter_map(|group| group["name"].as_str()).collect();
        assert_eq!(names, expected, "the largest first");
    }
    let edit_alone = du(&repo, &["HEAD~2..HEAD~1"]);
    assert_eq!(number(&edit_alone["total"], "stored_bytes"), number(edit, "stored_bytes"));
    assert_eq!(number(&du(&repo, &["HEAD~2"])["total"], "files"), 1);
    assert!(repo.git(&["dits", "du", "nothing"]).fails().contains("no revision nothing"));
    let text = repo.git(&["dits", "du", "--by", "file"]).ok();
    assert!(text.contains("clip.bin") && text.contains("3 files with"), "{text}");
}

#[test]
fn what_is_not_here_is_said_to_be_so() {
    let world = World::new();
    let server = world.serve();
    let repo = film(&world);
    repo.push_to(&server.url("film"));
    world.call("git").args(["clone", "-q", &server.url("film"), "thin"]).env("GIT_DITS_SKIP_SMUDGE", "1").run().ok();
    let thin = Repo::at(&world, world.path("thin"));
    let total = &du(&thin, &[])["total"];
    assert_eq!((number(total, "files"), number(total, "stored_bytes")), (3, 0));
    assert_eq!(number(total, "not_here_bytes"), number(total, "logical_bytes"));
}

#[test]
fn a_server_tells_what_each_repository_takes_and_what_they_share() {
    let world = World::new();
    let server = world.serve();
    let repo = film(&world);
    repo.push_to(&server.url("film"));
    repo.git(&["push", "-q", &server.url("second"), "main"]).ok();
    let root = server.root().display().to_string();
    let done = world.call("ditsd").args(["du", "--json", "--root", &root]).run();
    let facts: Value = serde_json::from_str(&done.ok()).expect("JSON");
    let (film, second) = (&facts["repositories"][0], &facts["repositories"][1]);
    assert_eq!((film["repository"].as_str(), second["repository"].as_str()), (Some("film"), Some("second")));
    assert_eq!((number(film, "files"), number(second, "files")), (3, 3), "{facts}");
    assert!(number(film, "stored_bytes") > 3 * MIB as u64, "{facts}");
    assert!(number(second, "added_bytes") < 50_000, "all of it is there already: {facts}");
    assert!(number(&facts, "store_bytes") > number(&facts["total"], "stored_bytes"), "{facts}");
    let text = world.call("ditsd").args(["du", "--root", &root]).run().ok();
    assert!(text.contains("film: 3 files") && text.contains("second: 3 files"), "{text}");
}
