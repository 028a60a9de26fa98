//! `dits::/path` through real git, the real helper and the real filter.

use std::fs;
use std::path::Path;

use dits_tests::{Repo, World};

fn noise(len: usize, seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

fn url(world: &World) -> String {
    format!("dits::{}", world.path("share").display())
}

/// A repository with one clip, pushed to a share that the push makes.
fn pushed(world: &World) -> Repo<'_> {
    let repo = world.repo("one");
    repo.write("clip.mov", noise(3_000_000, 1));
    repo.commit("a clip");
    repo.push_to(&url(world));
    repo
}

fn pack_count(world: &World) -> usize {
    fs::read_dir(world.path("share/dits/packs")).map_or(0, Iterator::count)
}

#[test]
fn the_first_push_makes_the_share_and_a_clone_is_whole_and_clean() {
    let world = World::new();
    pushed(&world);
    let two = world.clone_of(&url(&world), "two");
    two.holds("clip.mov", &noise(3_000_000, 1));
    assert_eq!(two.status(), "");
    two.write("clip.mov", noise(2_000_000, 2));
    two.commit("another cut");
    two.git(&["push", "-q"]).ok();
    let one = Repo::at(&world, world.path("one"));
    one.git(&["pull", "-q"]).ok();
    one.holds("clip.mov", &noise(2_000_000, 2));
}

#[test]
fn a_push_of_media_that_is_nowhere_is_refused_with_its_name_also_without_hooks() {
    let world = World::new();
    let repo = pushed(&world);
    let before = repo.git(&["ls-remote", "origin"]).ok();
    repo.write("gone.mov", format!("dits 1\noid blake3:{}\nsize 5\n", "7".repeat(64)));
    repo.commit("names what nobody has");
    let failed = repo.git(&["push", "--no-verify", "origin", "HEAD"]).fails();
    assert!(failed.contains("gone.mov") && failed.contains(&"7".repeat(64)), "{failed}");
    assert!(failed.contains("[remote rejected] HEAD -> main (cannot push: 1 file"), "{failed}");
    assert!(!failed.contains("hung up") && !failed.contains("disconnect"), "{failed}");
    assert_eq!(repo.git(&["ls-remote", "origin"]).ok(), before);
    // Plain git, past the helper, meets the hook of the share.
    let path = world.path("share");
    let failed = repo.git(&["push", "--no-verify", path.to_str().expect("utf-8"), "HEAD"]).fails();
    assert!(failed.contains("gone.mov") && failed.contains("lacks media"), "{failed}");
    assert_eq!(repo.git(&["ls-remote", "origin"]).ok(), before);
}

#[test]
fn a_share_whose_hook_is_missing_gets_it_back_from_the_next_push() {
    let world = World::new();
    let repo = pushed(&world);
    let hook = world.path("share/hooks/pre-receive");
    fs::remove_file(&hook).expect("the hook was there");
    repo.write("notes.txt", "x");
    repo.commit("text");
    repo.git(&["push", "-q"]).ok();
    assert!(hook.is_file());
}

#[test]
fn a_share_that_is_not_mounted_is_not_made_anew() {
    let world = World::new();
    let repo = pushed(&world);
    fs::rename(world.path("share"), world.path("away")).expect("the share was there");
    fs::create_dir(world.path("share")).expect("free");
    let failed = repo.git(&["push", "origin", "HEAD"]).fails();
    assert!(failed.contains("any more\n") && failed.contains("hint: is the disk or the share mounted?"), "{failed}");
    assert_eq!(fs::read_dir(world.path("share")).expect("still there").count(), 0);
    world.git(&["init", "-q", "--bare", "share"]).ok();
    repo.git(&["push", "-q", "origin", "HEAD"]).ok();
}

#[test]
fn a_folder_that_holds_something_else_is_no_share() {
    let world = World::new();
    fs::create_dir(world.path("share")).expect("free");
    fs::write(world.path("share/holiday.jpg"), "x").expect("ours");
    let repo = world.repo("one");
    let failed = repo.git(&["push", &url(&world), "HEAD:main"]).fails();
    assert!(failed.contains("neither empty nor a bare git repository"), "{failed}");
    assert_eq!(fs::read_dir(world.path("share")).expect("still there").count(), 1);
    let failed = world.git(&["clone", &format!("{}x", url(&world)), "two"]).fails();
    assert!(failed.contains("there is no repository at"), "{failed}");
}

#[test]
fn two_machines_push_at_once_and_nothing_is_lost() {
    let world = World::new();
    pushed(&world);
    std::thread::scope(|scope| {
        for machine in 0..2_u8 {
            let world = &world;
            scope.spawn(move || {
                let name = format!("machine{machine}");
                let repo = world.clone_of(&url(world), &name);
                repo.git(&["checkout", "-q", "-b", &name]).ok();
                repo.write(&format!("{name}.mov"), noise(2_500_000, 10 + machine));
                repo.write("both.mov", noise(1_500_000, 20));
                repo.commit("media");
                repo.git(&["push", "-q", "origin", &name]).ok();
            });
        }
    });
    for machine in 0..2_u8 {
        let name = format!("machine{machine}");
        world.git(&["clone", "-q", "-b", &name, &url(&world), &format!("check{machine}")]).ok();
        let check = Repo::at(&world, world.path(&format!("check{machine}")));
        check.holds(&format!("{name}.mov"), &noise(2_500_000, 10 + machine));
        check.holds("both.mov", &noise(1_500_000, 20));
    }
}

#[test]
fn an_interrupted_push_goes_on_and_sends_nothing_twice() {
    let world = World::new();
    let repo = pushed(&world);
    let packs = pack_count(&world);
    repo.write("next.mov", noise(3_000_000, 3));
    repo.commit("more");
    for (step, more) in [("whole-pack-written", 0), ("whole-pack-renamed", 1)] {
        let killed = repo.call(&["push", "-q"]).env("DITS_STOP_AT", step).run();
        killed.fails();
        assert_eq!(repo.git(&["ls-remote", "origin", "main"]).ok().split_whitespace().next(), Some(&*parent(&repo)));
        assert_eq!(pack_count_of_sealed(&world.path("share/dits/packs")), packs + more, "{step}");
    }
    repo.git(&["push", "-q"]).ok();
    assert_eq!(pack_count_of_sealed(&world.path("share/dits/packs")), packs + 1);
    world.clone_of(&url(&world), "two").holds("next.mov", &noise(3_000_000, 3));
}

fn parent(repo: &Repo<'_>) -> String {
    repo.git(&["rev-parse", "HEAD~1"]).ok()
}

fn pack_count_of_sealed(packs: &Path) -> usize {
    let names = fs::read_dir(packs).expect("there").map(|entry| entry.expect("read").file_name());
    names.filter(|name| name.len() == 64 + ".pack".len()).count()
}

#[test]
fn deletions_tags_dry_runs_forced_pushes_and_atomic_ones_are_gits_own_work() {
    let world = World::new();
    let repo = pushed(&world);
    let refs = |repo: &Repo<'_>| repo.git(&["ls-remote", "origin"]).ok();
    let before = refs(&repo);
    repo.write("clip.mov", noise(1_000_000, 4));
    repo.commit("a new cut");
    repo.git(&["push", "-q", "--dry-run"]).ok();
    assert_eq!(refs(&repo), before);
    repo.git(&["tag", "-a", "-m", "x", "blob", "HEAD:clip.mov"]).ok();
    repo.git(&["tag", "-a", "-m", "x", "tree", "HEAD^{tree}"]).ok();
    repo.git(&["push", "-q", "--atomic", "origin", "main", "HEAD:refs/heads/side", "blob", "tree"]).ok();
    repo.git(&["push", "-q", "origin", ":side"]).ok();
    repo.git(&["push", "-q", "--force-with-lease", "origin", "HEAD~1:main"]).ok();
    let after = refs(&repo);
    assert!(after.contains("refs/tags/tree") && after.contains("refs/tags/blob") && !after.contains("side"), "{after}");
    world.clone_of(&url(&world), "two").holds("clip.mov", &noise(3_000_000, 1));
}

#[test]
fn shallow_partial_and_single_branch_clones_push() {
    let world = World::new();
    let one = pushed(&world);
    one.git(&["branch", "other"]).ok();
    one.git(&["push", "-q", "origin", "other"]).ok();
    for (number, how) in ["--depth=1", "--filter=blob:none", "--single-branch"].into_iter().enumerate() {
        let name = format!("clone{number}");
        world.git(&["clone", "-q", how, &url(&world), &name]).ok();
        let clone = Repo::at(&world, world.path(&name));
        clone.write(&format!("{name}.mov"), noise(1_200_000, 30 + number as u8));
        clone.commit(how);
        clone.git(&["push", "-q"]).ok();
    }
    let check = world.clone_of(&url(&world), "check");
    (0..3).for_each(|number| check.holds(&format!("clone{number}.mov"), &noise(1_200_000, 30 + number)));
}

#[test]
fn history_whose_media_is_only_on_the_share_is_pushed_on() {
    let world = World::new();
    pushed(&world);
    let skip = world.call("git").args(["clone", "-q", &url(&world), "two"]).env("GIT_DITS_SKIP_SMUDGE", "1").run();
    skip.ok();
    let two = Repo::at(&world, world.path("two"));
    two.write("notes.txt", "x");
    two.git(&["add", "notes.txt"]).ok();
    two.git(&["commit", "-q", "-m", "text"]).ok();
    two.git(&["push", "-q"]).ok();
}

#[test]
fn what_a_repository_chose_is_not_reached() {
    let world = World::new();
    pushed(&world);
    let call = world.call("git").args(["ls-remote", &url(&world)]).env("GIT_PROTOCOL_FROM_USER", "0").run();
    let failed = call.fails();
    assert!(failed.contains("was not named by you"), "{failed}");
}

#[test]
fn a_hook_that_never_asks_dits_refuses_the_push_and_says_what_to_do() {
    let world = World::new();
    let repo = pushed(&world);
    let hook = world.path("share/hooks/pre-receive");
    fs::write(&hook, "#!/bin/sh\nexit 0\n").expect("the hook was there");
    repo.write("clip.mov", noise(1_000_000, 3));
    repo.commit("another cut");
    let failed = repo.git(&["push", "origin", "HEAD"]).fails();
    assert!(failed.contains("hooks/pre-receive is another hook") && failed.contains("hint: "), "{failed}");
    fs::write(&hook, "#!/bin/sh\nexec git dits hook pre-receive\n").expect("the hook was there");
    repo.git(&["push", "-q", "origin", "HEAD"]).ok();
}

#[cfg(unix)]
#[test]
fn a_share_of_another_user_is_used_and_runs_nothing_of_its_own() {
    use std::os::unix::fs::{PermissionsExt, chown};
    if !dits_tests::needs::needs_root() {
        return;
    }
    let world = World::new();
    let repo = pushed(&world);
    let marker = world.path("marker");
    let evil = format!("#!/bin/sh\necho ran > {}\n", marker.display());
    for hook in ["pre-receive", "update", "post-receive", "reference-transaction", "post-update"] {
        let hook = world.path("share/hooks").join(hook);
        fs::write(&hook, &evil).expect("the share is ours still");
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("it is a file");
    }
    chown(world.path("share"), Some(4321), None).expect("root may");
    let two = world.clone_of(&url(&world), "two");
    two.holds("clip.mov", &noise(3_000_000, 1));
    two.write("clip.mov", noise(1_000_000, 4));
    two.commit("another cut");
    two.git(&["push", "-q"]).ok();
    two.write("gone.mov", format!("dits 1\noid blake3:{}\nsize 5\n", "7".repeat(64)));
    two.commit("names what nobody has");
    assert!(two.git(&["push", "--no-verify"]).fails().contains("gone.mov"));
    assert!(!marker.exists(), "a hook of the share ran");
    let config = world.path("share/config");
    let before = fs::read_to_string(&config).expect("there is one");
    fs::write(&config, format!("{before}[uploadpack]\n\tpackObjectsHook = {}\n", marker.display())).expect("written");
    let failed = repo.git(&["fetch", "origin"]).fails();
    assert!(failed.contains("uploadpack.packobjectshook") && failed.contains("hint: "), "{failed}");
}
