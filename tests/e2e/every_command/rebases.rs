//! `git rebase` in its ways, and `git bisect run`.

use dits_tests::World;

use super::scene::{LARGE, NOTES, SMALL, Scene, clash, of, take, with};

/// A branch of two commits beside `main`: one that adds, one that changes what it added.
fn branch_of_two(scene: &Scene<'_>) {
    scene.git(&["switch", "-q", "side"]);
    scene.write("side.bin", of(&take(30), LARGE));
    scene.repo().commit("once more");
}

#[test]
fn rebase_plain_and_onto() {
    let world = World::new();
    let scene = Scene::new(&world);
    branch_of_two(&scene);
    let rebased = with(take(2), vec![("side.bin", of(&take(30), LARGE))]);
    scene.after(&["rebase", "-q", "main"]).shows(&rebased, "");
    let onto = with(take(0), vec![("side.bin", of(&take(30), LARGE))]);
    scene.after(&["rebase", "-q", "--onto", "take-0", "main"]).shows(&onto, "");
}

#[test]
fn rebase_by_patches() {
    let world = World::new();
    let scene = Scene::new(&world);
    branch_of_two(&scene);
    let rebased = with(take(2), vec![("side.bin", of(&take(30), LARGE))]);
    scene.after(&["rebase", "-q", "--apply", "main"]).shows_though(
        "git asks for each file of a patch as for a pipe, and writes it in the second of the index",
        &rebased,
        "",
    );
}

#[test]
fn rebase_with_commands_in_between() {
    let world = World::new();
    let scene = Scene::new(&world);
    branch_of_two(&scene);
    let rebased = with(take(2), vec![("side.bin", of(&take(30), LARGE))]);
    let log = world.path("seen");
    let exec = format!("git log -1 --format=%s >>'{}'", log.display());
    scene.after(&["rebase", "-q", "--exec", &exec, "main"]).shows(&rebased, "");
    assert_eq!(std::fs::read_to_string(&log).expect("it ran"), "side\nonce more\n");
    // A command may itself be one that writes the work tree.
    scene.git(&["reset", "-q", "--hard", "ORIG_HEAD"]);
    let exec = "git checkout -q -f HEAD && git stash list";
    scene.after(&["rebase", "-q", "--exec", exec, "main"]).shows(&rebased, "");
}

#[test]
fn commands_within_a_rebase_see_content_where_they_have_to() {
    let world = World::new();
    let scene = Scene::new(&world);
    branch_of_two(&scene);
    let expected = world.path("expected");
    std::fs::write(&expected, of(&take(2), LARGE)).expect("the folder is ours");
    let exec = format!("cmp '{LARGE}' '{}'", expected.display());
    let rebased = with(take(2), vec![("side.bin", of(&take(30), LARGE))]);
    let inline = ["-c", "dits.hydrate=inline", "rebase", "-q", "--exec", &exec, "main"];
    scene.after(&inline).shows(&rebased, "");
}

#[test]
fn rebase_interactive_joins_and_stops() {
    let world = World::new();
    let scene = Scene::new(&world);
    branch_of_two(&scene);
    let rebased = with(take(2), vec![("side.bin", of(&take(30), LARGE))]);
    let editing = |script: &str, args: &[&str]| {
        scene.repo().call(args).env("GIT_SEQUENCE_EDITOR", script).env("GIT_EDITOR", "true")
    };
    let squash = editing("sed -i '2s/^pick/squash/'", &["rebase", "-q", "-i", "main"]);
    scene.after_call(squash).shows(&rebased, "");
    assert_eq!(scene.git(&["rev-list", "--count", "main..HEAD"]), "1");
    let edit = editing("sed -i '1s/^pick/edit/'", &["rebase", "-q", "-i", "take-1"]);
    scene.after_call(edit).shows(&take(2), "");
    scene.write(SMALL, of(&take(9), SMALL));
    scene.git(&["commit", "-q", "-a", "--amend", "--no-edit"]);
    scene.after(&["rebase", "--continue"]).shows(&with(rebased, vec![(SMALL, of(&take(9), SMALL))]), "");
}

#[test]
fn rebase_puts_edits_aside() {
    let world = World::new();
    let scene = Scene::new(&world);
    branch_of_two(&scene);
    scene.write("side.bin", of(&take(31), LARGE));
    scene.write("side.txt", "edited\n");
    let rebased = with(take(2), vec![("side.bin", of(&take(31), LARGE)), ("side.txt", b"edited\n".to_vec())]);
    scene.after(&["rebase", "-q", "--autostash", "main"]).shows_though(
        "git makes entries of which it knows no size, and the files are not what they name",
        &rebased,
        " M side.bin\n M side.txt",
    );
}

#[test]
fn a_conflict_of_a_rebase_is_solved_or_given_up() {
    let world = World::new();
    let scene = Scene::new(&world);
    let conflict = "UU shots/large.bin\nUU small.bin";
    scene.git(&["switch", "-q", "clash"]);
    // In a rebase `ours` is what the commits are put on.
    scene.after_conflict(&["rebase", "-q", "main"]).shows(&take(2), conflict);
    scene.after(&["rebase", "--abort"]).shows(&with(take(1), clash()), "");
    scene.after_conflict(&["rebase", "-q", "main"]).shows(&take(2), conflict);
    scene.git(&["checkout", "-q", "--theirs", "--", LARGE, SMALL]);
    scene.git(&["add", LARGE, SMALL]);
    let solved = with(take(2), clash());
    scene.after(&["-c", "core.editor=true", "rebase", "--continue"]).shows(&solved, "");
}

#[test]
fn bisect_sees_each_commit_whole() {
    let world = World::new();
    let scene = Scene::new(&world);
    let good = world.path("good");
    scene.write(NOTES, "one more\n");
    scene.repo().commit("one more");
    scene.git(&["bisect", "start", "HEAD", "take-0"]);
    // `cmp` calls good what is the same as take 0, so that take 1 is found.
    std::fs::write(&good, of(&take(0), LARGE)).expect("the folder is ours");
    let found = scene.git(&["bisect", "run", "cmp", "-s", LARGE, &good.display().to_string()]);
    let first = scene.git(&["rev-parse", "take-1"]);
    assert!(found.contains(&format!("{first} is the first bad commit")), "{found}");
    scene.after(&["bisect", "reset"]).shows(&take(2)[..2].to_vec(), "");
}
