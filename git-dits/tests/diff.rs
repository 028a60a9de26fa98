//! `git dits diff`, with real git.

use dits_tests::media::{MoovAt, movie, noise, overwritten};
use dits_tests::{Done, Repo, World, media};

fn json(done: &Done) -> serde_json::Value {
    done.ok();
    serde_json::from_slice(&done.stdout).unwrap_or_else(|error| panic!("{error}: {}", done.story()))
}

fn film(world: &World) -> Repo<'_> {
    let repo = world.repo("film");
    repo.write("cut.mov", movie(MoovAt::Back, 100_000, &noise(1, 3_000_000)));
    repo.write("still.bin", noise(2, 500_000));
    repo.write("note.txt", "text");
    repo.commit("one");
    repo
}

#[test]
fn an_edit_is_told_in_chunks_and_structure() {
    let world = World::new();
    let repo = film(&world);
    repo.write("cut.mov", movie(MoovAt::Front, 100_000, &overwritten(&noise(1, 3_000_000), 1_000_000, 10, 9)));
    repo.write("note.txt", "more text");
    std::fs::remove_file(repo.dir().join("still.bin")).expect("there");
    let told = repo.git(&["dits", "diff"]).ok();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[0], "modified cut.mov (3.0 MiB -> 3.0 MiB)");
    assert_eq!(lines[1], "    atoms    ftyp mdat moov -> ftyp moov mdat");
    assert!(lines[2].starts_with("    chunks   ") && lines[2].contains(" shared (2."), "{told}");
    assert_eq!(lines[3..], ["deleted  still.bin (488.3 KiB)"]);
    let facts = json(&repo.git(&["dits", "diff", "--json", "--", "cut.mov"]));
    let file = &facts["files"][0];
    assert!(file["chunks"]["shared_bytes"].as_u64() > Some(2_800_000), "{file}");
    assert!(file["chunks"]["new_bytes"].as_u64() < Some(400_000), "{file}");
    assert_eq!(repo.git(&["dits", "diff", "--cached"]).ok(), "");
    repo.git(&["add", "-A"]).ok();
    assert_eq!(repo.git(&["dits", "diff"]).ok(), "");
    assert_eq!(repo.git(&["dits", "diff", "--staged"]).ok(), told);
    assert_eq!(repo.git(&["dits", "diff", "HEAD"]).ok(), told);
    repo.git(&["commit", "-q", "-m", "two"]).ok();
    for args in [&["HEAD^", "HEAD"][..], &["HEAD^..HEAD"], &["HEAD^.."], &["HEAD^", "HEAD", "--", "."]] {
        assert_eq!(repo.git(&[&["dits", "diff"], args].concat()).ok(), told, "{args:?}");
    }
    let back = repo.git(&["dits", "diff", "HEAD", "HEAD^", "still.bin"]).ok();
    assert_eq!(back, "new      still.bin (488.3 KiB)");
}

#[test]
fn a_file_that_only_looks_modified_is_none() {
    let world = World::new();
    let repo = film(&world);
    let file = std::fs::File::options().write(true).open(repo.dir().join("cut.mov")).expect("there");
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("dated");
    repo.write("still.bin", repo.blob("HEAD:still.bin"));
    assert_eq!(repo.git(&["dits", "diff"]).ok(), "");
}

#[test]
fn what_is_not_here_is_said_and_not_fetched() {
    let world = World::new();
    let repo = film(&world);
    repo.push_to(&format!("dits::{}", world.bare("nas.git").display()));
    repo.write("cut.mov", noise(3, 600_000));
    repo.commit("two");
    repo.git(&["push", "-q"]).ok();
    let url = format!("dits::{}", world.path("nas.git").display());
    world.call("git").args(["clone", "-q", &url, "two"]).env("GIT_DITS_SKIP_SMUDGE", "1").run().ok();
    std::fs::rename(world.path("nas.git"), world.path("away")).expect("ours");
    let two = Repo::at(&world, world.path("two"));
    assert_eq!(
        two.git(&["dits", "diff", "HEAD^", "HEAD"]).ok(),
        "modified cut.mov (3.0 MiB -> 585.9 KiB)\n    before   not here: get it with `git dits fetch`\n    \
         after    not here: get it with `git dits fetch`"
    );
    let facts = json(&two.git(&["dits", "diff", "--json", "HEAD^", "HEAD"]));
    assert_eq!(facts["files"][0]["chunks"], serde_json::Value::Null);
}

#[test]
fn tracks_and_duration_of_a_clip_are_compared() {
    let Some(clip) = media::clip() else { return };
    let world = World::new();
    let repo = world.repo("film");
    repo.write("clip.mp4", clip);
    repo.commit("one");
    let shorter = world.path("shorter.mp4");
    media::ffmpeg(
        &["-i", &repo.dir().join("clip.mp4").display().to_string(), "-an", "-t", "1", "-c", "copy"],
        &shorter,
    );
    repo.write("clip.mp4", std::fs::read(&shorter).expect("ffmpeg wrote it"));
    let told = repo.git(&["dits", "diff"]).ok();
    assert!(told.contains("    duration 2.") && told.contains("    - track 2   audio mp4a"), "{told}");
    assert!(told.contains("    + track 1   video avc1"), "{told}");
}

#[test]
fn wrong_usage_and_odd_names_are_told_apart() {
    let world = World::new();
    let repo = film(&world);
    assert_eq!(repo.git(&["dits", "diff", "HEAD", "HEAD", "HEAD"]).status.code(), Some(2));
    repo.write("HEAD", "text");
    for name in ["-x.mov", "it's \"q\".mov", " sp ace\n.mov"] {
        repo.write(name, noise(4, 200_000));
    }
    repo.git(&["add", "-A"]).ok();
    let facts = json(&repo.git(&["dits", "diff", "--json", "--cached", "--", "*.mov"]));
    let paths: Vec<&str> =
        facts["files"].as_array().expect("a list").iter().filter_map(|it| it["path"].as_str()).collect();
    assert_eq!(paths, [" sp ace\n.mov", "-x.mov", "it's \"q\".mov"]);
    assert_eq!(repo.git(&["dits", "diff", "--cached", "--", "-x.mov"]).ok(), "new      -x.mov (195.3 KiB)");
}
