//! The bar of what takes longer than a second: on a terminal, and nowhere else.

use std::time::Duration;

use dits_core::steps::Step;
use dits_tests::media::{MIB, noise};
use dits_tests::needs::needs;
use dits_tests::processes::{go_on, stopped_with};
use dits_tests::{Call, Repo, World};

/// A little more than the time in which nothing is shown.
const LONG: Duration = Duration::from_millis(1_200);

/// A command line in a shell, with a terminal or without one.
fn call(world: &World, line: &str, has_terminal: bool) -> Call {
    match has_terminal {
        // `script` gives it a terminal of its own, and passes on what is shown there.
        true => world.call("script").args(["-qefc", &format!("stty cols 100 rows 30; {line}"), "/dev/null"]),
        false => world.call("sh").args(["-c", line]),
    }
}

#[test]
fn what_takes_long_shows_bytes_rate_and_time_left_on_a_terminal_and_nothing_elsewhere() {
    let has_script = std::process::Command::new("script").arg("--version").output().is_ok();
    if !needs(has_script, "it needs the program script") {
        return;
    }
    let world = World::new();
    let repo = world.repo("film");
    (0..8).for_each(|n| repo.write(&format!("{n}.bin"), noise(n, 2 * MIB)));
    repo.commit("takes");
    let cases = [
        ("git clone film clone", true, true),
        ("git clone film silent", false, false),
        ("git clone --quiet film quiet", true, false),
        ("git clone --no-progress film no-progress", true, false),
        ("cd pull && git dits pull", true, true),
        ("cd pull-silent && git dits pull", false, false),
        ("cd pull-quiet && git dits --quiet pull", true, false),
        ("cd pull-no-progress && git dits --no-progress pull", true, false),
    ];
    for name in ["pull", "pull-silent", "pull-quiet", "pull-no-progress"] {
        let clone = world.call("git").args(["clone", "-q", "film", name]);
        clone.env("GIT_DITS_SKIP_SMUDGE", "1").run().ok();
    }
    // All stopped in the middle, so that all take long at once.
    let running: Vec<_> = cases
        .iter()
        .enumerate()
        .map(|(number, (line, has_terminal, _))| {
            let call = call(&world, line, *has_terminal).env("TERM", "xterm").env("DITS_TEST_CASE", number.to_string());
            call.pause_at(Step::HydrationWritten.name()).start()
        })
        .collect();
    let stopped: Vec<_> = (0..cases.len()).map(|number| stopped_with(&format!("DITS_TEST_CASE={number}"))).collect();
    std::thread::sleep(LONG);
    stopped.into_iter().for_each(go_on);
    for (running, (line, _, is_shown)) in running.into_iter().zip(cases) {
        let done = running.finish();
        done.ok();
        let shown = format!("{}{}", done.out(), done.err());
        let has_bar = ["hydrating", "MiB", "/s", "to go"].iter().all(|part| shown.contains(part));
        assert_eq!(has_bar, is_shown, "{line}: {}", done.story());
        assert!(is_shown || !shown.contains("to go"), "{line}: {}", done.story());
    }
    for name in ["clone", "pull"] {
        let clone = Repo::at(&world, world.path(name));
        (0..8).for_each(|n| clone.holds(&format!("{n}.bin"), &noise(n, 2 * MIB)));
        assert_eq!(clone.status(), "");
    }
}
