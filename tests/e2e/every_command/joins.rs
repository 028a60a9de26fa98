//! `git merge`, `git pull`, `git cherry-pick`, `git revert` and their conflicts.

use dits_tests::World;

use super::scene::{LARGE, SMALL, Scene, clash, of, side, take, with};

const CONFLICT: &str = "UU shots/large.bin\nUU small.bin";

#[test]
fn merge_forward_and_true() {
    let world = World::new();
    let scene = Scene::new(&world);
    scene.git(&["switch", "-q", "-c", "behind", "take-0"]);
    scene.after(&["merge", "-q", "--ff-only", "main"]).shows(&take(2), "");
    scene.git(&["reset", "-q", "--hard", "take-0"]);
    scene.after(&["merge", "-q", "--no-ff", "--no-edit", "main"]).shows(&take(2), "");
    scene.after(&["merge", "-q", "--no-edit", "side"]).shows(&with(take(2), side()), "");
    scene.git(&["reset", "-q", "--hard", "take-2"]);
    let added = "A  side.bin\nA  side.txt";
    scene.after(&["merge", "-q", "--squash", "side"]).shows(&with(take(2), side()), added);
}

#[test]
fn a_conflict_leaves_ours_whole_and_either_side_can_be_taken() {
    let world = World::new();
    let scene = Scene::new(&world);
    scene.after_conflict(&["merge", "-q", "clash"]).shows(&take(2), CONFLICT);
    scene.after(&["checkout", "-q", "--theirs", "--", LARGE, SMALL]).shows(&with(take(2), clash()), CONFLICT);
    scene
        .after(&["checkout", "-q", "--ours", "--", SMALL])
        .shows(&with(take(2), vec![(LARGE, of(&clash(), LARGE))]), CONFLICT);
    scene.git(&["add", LARGE, SMALL]);
    let joined = with(take(2), vec![(LARGE, of(&clash(), LARGE))]);
    scene.after(&["commit", "-q", "--no-edit"]).shows(&joined, "");
}

#[test]
fn a_merge_tool_gets_content_of_each_side() {
    let world = World::new();
    let scene = Scene::new(&world);
    scene.after_conflict(&["merge", "-q", "clash"]).shows(&take(2), CONFLICT);
    let sides = "cmp \"$LOCAL\" shots/large.bin || cmp \"$LOCAL\" small.bin; cp \"$REMOTE\" \"$MERGED\"";
    scene.git(&["config", "merge.tool", "its"]);
    scene.git(&["config", "mergetool.its.cmd", sides]);
    scene.git(&["config", "mergetool.its.trustExitCode", "true"]);
    scene.git(&["config", "mergetool.keepBackup", "false"]);
    let solved = with(take(2), clash());
    let staged = "M  shots/large.bin\nM  small.bin";
    scene.after(&["mergetool", "--no-prompt"]).shows_though(
        "the tool writes the files in the second of the index",
        &solved,
        staged,
    );
}

#[test]
fn a_merge_is_aborted() {
    let world = World::new();
    let scene = Scene::new(&world);
    scene.after_conflict(&["merge", "-q", "clash"]).shows(&take(2), CONFLICT);
    scene.git(&["checkout", "-q", "--theirs", "--", LARGE, SMALL]);
    scene.after(&["merge", "--abort"]).shows(&take(2), "");
}

#[test]
fn a_side_is_preferred() {
    let world = World::new();
    let scene = Scene::new(&world);
    scene.after(&["merge", "-q", "--no-edit", "-X", "theirs", "clash"]).shows(&with(take(2), clash()), "");
    scene.git(&["reset", "-q", "--hard", "main~1"]);
    scene.git(&["reset", "-q", "--hard", "take-2"]);
    scene.after(&["merge", "-q", "--no-edit", "-s", "ours", "clash"]).shows(&take(2), "");
}

#[test]
fn pull_forward_merging_and_rebasing() {
    let world = World::new();
    let server = world.serve();
    let scene = Scene::new(&world);
    scene.push_to(&server, "film");
    let other = Scene::at(world.clone_of(&server.url("film"), "other"));
    other.write_all(&take(3));
    other.repo().commit("take 3");
    other.git(&["push", "-q"]);
    scene.after(&["pull", "-q"]).shows(&take(3), "");
    other.write_all(&take(4));
    other.repo().commit("take 4");
    other.git(&["push", "-q"]);
    scene.write_all(&side());
    scene.repo().commit("beside");
    scene.git(&["branch", "mine"]);
    scene.after(&["pull", "-q", "--no-rebase", "--no-edit"]).shows(&with(take(4), side()), "");
    scene.git(&["reset", "-q", "--hard", "mine"]);
    scene.after(&["pull", "-q", "--rebase"]).shows(&with(take(4), side()), "");
    scene.git(&["reset", "-q", "--hard", "mine"]);
    scene.write("side.txt", "edited\n");
    scene
        .after(&["pull", "-q", "--rebase", "--autostash"])
        .shows(&with(with(take(4), side()), vec![("side.txt", b"edited\n".to_vec())]), " M side.txt");
}

#[test]
fn cherry_pick_and_its_conflict() {
    let world = World::new();
    let scene = Scene::new(&world);
    scene.after(&["cherry-pick", "side"]).shows(&with(take(2), side()), "");
    scene.after_conflict(&["cherry-pick", "clash"]).shows(&with(take(2), side()), CONFLICT);
    scene.git(&["checkout", "-q", "--theirs", "--", LARGE, SMALL]);
    scene.git(&["add", LARGE, SMALL]);
    let picked = with(with(take(2), side()), clash());
    scene.after(&["-c", "core.editor=true", "cherry-pick", "--continue"]).shows(&picked, "");
    scene
        .after(&["cherry-pick", "-n", "take-1..take-2", "-X", "theirs"])
        .shows(&with(take(2), side()), "M  shots/large.bin\nM  small.bin");
}

#[test]
fn revert_and_its_conflict() {
    let world = World::new();
    let scene = Scene::new(&world);
    scene.after(&["revert", "--no-edit", "HEAD"]).shows(&take(1), "");
    scene.after(&["revert", "--no-edit", "HEAD"]).shows(&take(2), "");
    scene
        .after_conflict(&["revert", "--no-edit", "take-1"])
        .shows(&take(2)[..2].to_vec(), &format!("UU notes.txt\n{CONFLICT}"));
    scene.after(&["revert", "--abort"]).shows(&take(2), "");
}
