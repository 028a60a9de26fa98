//! Commands that show or hand out content, and write no work tree.

use dits_core::hash::FileHash;
use dits_tests::World;

use super::scene::{LARGE, NOTES, SMALL, Scene, of, take, with};

/// Nothing that a command for people prints is ever the content itself.
fn is_short(text: &str) {
    assert!(text.len() < 4000, "{} bytes, starting {:?}", text.len(), text.get(..200));
}

#[test]
fn archive_gives_content() {
    let world = World::new();
    let scene = Scene::new(&world);
    for (args, list) in [
        (["archive", "--format=tar", "take-1"].as_slice(), &take(1)),
        (&["archive", "--format=tar", "HEAD", "--", "shots", SMALL], &take(2)[..2].to_vec()),
    ] {
        let archive = scene.repo().git(args);
        archive.ok();
        for (path, content) in list {
            let file = world.call("tar").args(["-xO", path]).input(archive.stdout.clone()).run();
            file.ok();
            assert!(file.stdout == *content, "{path}");
        }
    }
    let gz = world.path("film.tar.gz").display().to_string();
    scene.after(&["archive", "--prefix=film/", "-o", &gz, "HEAD"]).shows(&take(2), "");
    let file = world.call("tar").args(["-xzO", "-f", &gz, &format!("film/{LARGE}")]).run();
    file.ok();
    assert!(file.stdout == of(&take(2), LARGE));
}

#[test]
fn archive_fails_where_content_is_missing() {
    let world = World::new();
    let scene = Scene::new(&world);
    std::fs::remove_dir_all(scene.repo().store()).expect("the store is there");
    let archive = scene.repo().git(&["archive", "--format=tar", "HEAD"]);
    assert!(archive.fails().contains(LARGE), "a pointer would be taken for the content: {}", archive.story());
}

#[test]
fn diff_names_what_changed_and_shows_no_content() {
    let world = World::new();
    let scene = Scene::new(&world);
    scene.after(&["diff", "--exit-code"]).shows(&take(2), "");
    let new = of(&take(5), LARGE);
    scene.write(LARGE, &new);
    let diff = scene.git(&["diff"]);
    is_short(&diff);
    assert!(diff.contains(&format!("b/{LARGE}")) && diff.contains(&FileHash::of(&new).to_string()), "{diff}");
    assert_eq!(scene.git(&["diff", "--name-only"]), LARGE);
    is_short(&scene.git(&["diff", "--stat"]));
    is_short(&scene.git(&["diff", "--binary"]));
    scene.git(&["add", LARGE]);
    assert_eq!(scene.git(&["diff", "--cached", "--name-status"]), format!("M\t{LARGE}"));
    let changed = with(take(2), vec![(LARGE, new)]);
    scene.after(&["diff", "HEAD"]).shows(&changed, &format!("M  {LARGE}"));
    scene.git(&["mv", LARGE, "shots/renamed.bin"]);
    let renamed = scene.git(&["diff", "--cached", "-M", "--name-status", "take-2"]);
    assert!(renamed.starts_with('R') || renamed.contains("shots/renamed.bin"), "{renamed}");
}

#[test]
fn log_show_blame_and_grep_show_pointers() {
    let world = World::new();
    let scene = Scene::new(&world);
    let log = scene.git(&["log", "-p", "--", LARGE]);
    is_short(&log);
    for number in 0..3 {
        assert!(log.contains(&FileHash::of(&of(&take(number), LARGE)).to_string()), "{log}");
    }
    is_short(&scene.git(&["show", "--stat", "-p", "HEAD"]));
    assert_eq!(scene.git(&["log", "--format=%s", "--follow", "--", LARGE]).lines().count(), 3);
    let blame = scene.git(&["blame", "-s", LARGE]);
    assert_eq!(blame.lines().count(), 3, "the lines of the pointer: {blame}");
    assert_eq!(scene.git(&["blame", "-s", "HEAD", "--", LARGE]), blame);
    assert!(scene.git(&["grep", "take 2"]).contains(NOTES));
    assert!(scene.git(&["log", "-S", "take 1", "--format=%s"]).contains("a take"));
    scene.after(&["shortlog", "-s", "HEAD"]).shows(&take(2), "");
}

#[test]
fn cat_file_gives_content_where_filters_are_asked_for() {
    let world = World::new();
    let scene = Scene::new(&world);
    let content = scene.repo().git(&["cat-file", "--filters", &format!("take-0:{LARGE}")]);
    content.ok();
    assert!(content.stdout == of(&take(0), LARGE));
    let textconv = scene.repo().git(&["cat-file", "--textconv", &format!("take-0:{LARGE}")]);
    textconv.ok();
    assert!(textconv.stdout.len() < 1000);
    let tool = "test \"$(wc -c <\"$LOCAL\")\" -gt 1000000 && test \"$(wc -c <\"$REMOTE\")\" -gt 1000000 && echo both are content";
    let tool = format!("difftool.its.cmd={tool}");
    let shown = scene.git(&["-c", &tool, "difftool", "-y", "-t", "its", "take-0", "take-1", "--", LARGE]);
    assert_eq!(shown, "both are content");
    scene.after(&["checkout-index", "-f", "--prefix=../export/", LARGE, SMALL]).shows(&take(2), "");
    assert!(std::fs::read(world.path("export").join(LARGE)).expect("exported") == of(&take(2), LARGE));
}
