//! Settings of git that change how it reads and writes files.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use dits_core::pointer::Pointer;
use dits_tests::{Repo, World};

use super::scene::{LARGE, NOTES, SMALL, Scene, side, take, with};

#[test]
fn line_ends_of_media_are_never_changed() {
    let world = World::new();
    let scene = Scene::new(&world);
    let lines = b"one\ntwo\r\nthree\n".repeat(100);
    scene.git(&["config", "core.autocrlf", "true"]);
    scene.write("lines.bin", &lines);
    scene.write("lines.txt", "one\r\ntwo\r\n");
    scene.repo().commit("line ends");
    scene.remove("lines.bin");
    scene.remove("lines.txt");
    let files = vec![("lines.bin", lines), ("lines.txt", b"one\r\ntwo\r\n".to_vec())];
    scene.after(&["checkout", "-q", "--", "."]).shows(&files, "");
    assert_eq!(scene.repo().blob("HEAD:lines.txt"), b"one\ntwo\n");
    scene.after(&["switch", "-q", "side"]).shows(&with(take(1), side())[..2].to_vec(), "");
    scene.after(&["switch", "-q", "main"]).shows(&files, "");
    for eol in ["crlf", "lf"] {
        scene.git(&["config", "core.eol", eol]);
        scene.after(&["reset", "-q", "--hard"]).shows(&files[..1].to_vec(), "");
    }
}

/// A monitor that knows nothing, and says that anything may have changed.
const MONITOR: &str = "#!/bin/sh\nprintf 'token\\0/\\0'\n";
/// A monitor that says that nothing has changed since it was asked first.
const BLIND_MONITOR: &str = "#!/bin/sh\ncase $2 in token) printf 'token\\0' ;; *) printf 'token\\0/\\0' ;; esac\n";

#[test]
fn a_file_system_monitor() {
    let world = World::new();
    let scene = Scene::new(&world);
    let hook = world.path("monitor");
    fs::write(&hook, MONITOR).expect("the folder is ours");
    fs::set_permissions(&hook, PermissionsExt::from_mode(0o755)).expect("it is ours");
    scene.git(&["config", "core.fsmonitor", &hook.display().to_string()]);
    scene.git(&["config", "core.fsmonitorHookVersion", "2"]);
    scene.after(&["switch", "-q", "side"]).shows(&with(take(1), side()), "");
    scene.after(&["switch", "-q", "main"]).shows(&take(2), "");
    scene.write(LARGE, b"edited");
    scene.after(&["update-index", "--fsmonitor"]).shows(&Vec::new(), &format!(" M {LARGE}"));
    scene.after(&["reset", "-q", "--hard", "take-1"]).shows(&take(1), "");
    // What this one says is true as long as only git and Dits write.
    fs::write(&hook, BLIND_MONITOR).expect("the folder is ours");
    scene.after(&["switch", "-q", "--detach", "take-0"]).shows(&take(0), "");
    scene.after(&["switch", "-q", "main"]).shows(&take(1), "");
}

#[test]
fn a_repository_and_a_work_tree_named_by_the_environment() {
    let world = World::new();
    let scene = Scene::new(&world);
    let elsewhere = world.path("elsewhere");
    fs::create_dir(&elsewhere).expect("the folder is ours");
    let git_dir = scene.repo().dir().join(".git");
    let call = |args: &[&str]| world.call("git").args(args).env("GIT_DIR", &git_dir).env("GIT_WORK_TREE", &elsewhere);
    call(&["reset", "-q", "--hard", "take-1"]).run().ok();
    for (path, content) in take(1) {
        assert!(fs::read(elsewhere.join(path)).expect("it is there") == content, "{path}");
    }
    let (said, asked) = scene.look_with(call(&["status", "--porcelain"]));
    assert_eq!(said, "", "and {asked} filters");
    scene.repo().holds(LARGE, &take(2)[0].1);
    fs::remove_file(elsewhere.join(LARGE)).expect("it is ours");
    let options = ["--git-dir", &git_dir.display().to_string(), "--work-tree", &elsewhere.display().to_string()];
    world.call("git").args(options).args(["checkout", "-q", "-f"]).run().ok();
    assert!(fs::read(elsewhere.join(LARGE)).expect("it is there") == take(1)[0].1);
}

#[test]
fn commands_from_a_folder_of_the_work_tree() {
    let world = World::new();
    let scene = Scene::new(&world);
    let from = |args: &[&str]| scene.repo().call(args).dir(&scene.repo().dir().join("shots"));
    scene.remove(LARGE);
    scene.after_call(from(&["checkout", "-q", "--", "large.bin"])).shows(&take(2), "");
    scene.after_call(from(&["switch", "-q", "--detach", "take-0"])).shows(&take(0), "");
    scene.after_call(from(&["stash", "-q"])).shows(&take(0), "");
    scene
        .after_call(from(&["restore", "-q", "--source", "main", "-S", "-W", ":/"]))
        .shows(&take(2), "M  notes.txt\nM  shots/large.bin\nM  small.bin");
}

#[test]
fn attributes_of_folders_count() {
    let world = World::new();
    let scene = Scene::new(&world);
    scene.write("plain/.gitattributes", "*.bin !filter !diff !merge text\n");
    scene.write("plain/words.bin", "only words\n");
    scene.write("media/.gitattributes", "* filter=dits diff=dits -merge -text\n.gitattributes !filter !diff text\n");
    scene.write("media/take", &take(5)[0].1);
    scene.repo().commit("attributes of folders");
    assert_eq!(scene.repo().blob("HEAD:plain/words.bin"), b"only words\n");
    assert!(Pointer::parse(&scene.repo().blob("HEAD:media/take")).is_some());
    scene.git(&["switch", "-q", "side"]);
    let files = vec![("plain/words.bin", b"only words\n".to_vec()), ("media/take", take(5)[0].1.clone())];
    scene.after(&["switch", "-q", "main"]).shows(&files, "");
}

#[test]
fn a_repository_without_attributes_is_left_alone() {
    let world = World::new();
    world.git(&["init", "-q", "plain"]).ok();
    let repo = Repo::at(&world, world.path("plain"));
    repo.write(LARGE, &take(0)[0].1);
    repo.write(NOTES, "text\n");
    repo.commit("no media");
    assert!(repo.blob(&format!("HEAD:{LARGE}")) == take(0)[0].1);
    assert!(!repo.store().exists());
    let scene = Scene::at(repo);
    scene.remove(LARGE);
    scene.after(&["reset", "-q", "--hard"]).shows(&take(0)[..1].to_vec(), "");
    assert!(!scene.repo().dir().join(SMALL).exists());
}
