//! Killed at each step of a collection: all that is needed is there, and the next one goes on.
//!
//! The test binary runs itself as the process that is killed (`kill -9`, by the step).

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use std::os::unix::process::ExitStatusExt;

use dits_core::operations::collect::Root;
use dits_core::steps::{Step, stop_at};
use dits_core::store::Sharing;

use super::world::{HOUR, Media, World, collect_in, open};

const DIR: &str = "DITS_COLLECT_DIR";
const STOP: &str = "DITS_COLLECT_STOP";

const STEPS: [Step; 5] =
    [Step::CollectCopied, Step::CollectCondemned, Step::CollectRescued, Step::CollectRemoved, Step::CollectDone];

/// What is needed, and what is not.
fn files(world: &World) -> [Media; 3] {
    [world.file(1, 30), world.file_like(1, 30, 15), world.file(7, 20)]
}

fn sharing(dir: &Path) -> Sharing {
    match dir.join("is-network").exists() {
        true => Sharing::Network,
        false => Sharing::Machine,
    }
}

/// The process that is killed; an ordinary test run passes it by.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    if let Ok(step) = std::env::var(STOP) {
        assert!(stop_at(&step));
    }
    let [kept, ..] = files(&World::new(Sharing::Machine));
    let store = open(&dir, &dir.join("index.sqlite"), sharing(&dir));
    collect_in(&store, &World::options(), &mut || vec![Root::File(kept.oid())], &|_| {}).unwrap();
}

fn collect(dir: &Path, stop: Option<&str>) -> ExitStatus {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "killed::child", "--test-threads=1"]).env(DIR, dir).env_remove(STOP);
    command.envs(stop.map(|stop| (STOP, stop))).stdout(Stdio::null()).status().unwrap()
}

#[test]
fn a_collection_killed_at_any_step_loses_nothing_and_the_next_one_ends_it() {
    for sharing in [Sharing::Machine, Sharing::Network] {
        for step in STEPS {
            let world = World::new(sharing);
            if sharing == Sharing::Network {
                std::fs::write(world.path().join("is-network"), "").unwrap();
            }
            let [kept, like, gone] = files(&world);
            world.add_twice(&kept, &gone);
            world.add_file_pack(&like);
            world.date_packs(-3 * HOUR);
            if sharing == Sharing::Network && !matches!(step, Step::CollectCopied | Step::CollectCondemned) {
                assert!(collect(world.path(), None).success());
                world.date_marks(-2 * HOUR);
            }
            let status = collect(world.path(), Some(step.name()));
            assert_eq!(status.signal(), Some(9), "{} was not reached: {status}", step.name());
            assert!(world.reads(&kept), "{sharing:?} {}", step.name());
            // The index may be deleted at any time.
            if step == Step::CollectCondemned {
                std::fs::remove_file(world.index()).unwrap();
                assert!(world.reads(&kept));
            }
            for _ in 0..2 {
                // A pack that was sealed is as young as that.
                world.date_packs(-3 * HOUR);
                assert!(collect(world.path(), None).success());
                assert!(world.reads(&kept), "{sharing:?} {}", step.name());
                world.date_marks(-2 * HOUR);
            }
            assert!(!world.has_anything_of(&gone) && world.marks().is_empty(), "{sharing:?} {}", step.name());
            std::fs::remove_file(world.index()).unwrap();
            assert!(world.reads(&kept) && !world.has_anything_of(&gone), "{sharing:?} {}", step.name());
        }
    }
}

#[test]
fn every_step_of_a_collection_is_killed_at() {
    for step in Step::ALL.iter().filter(|step| step.name().starts_with("collect-")) {
        assert!(STEPS.contains(step), "{}", step.name());
    }
}
