//! The scripts that the README names.

use std::fs;

use dits_tests::World;
use dits_tests::media::{MIB, noise};
use dits_tests::processes::{is_running, until};
use rustix::process::{Pid, Signal};

#[test]
fn the_quickstart_versions_given_files_and_leaves_a_server() {
    let world = World::without_dits();
    let file = world.path("take one.bin");
    fs::write(&file, noise(1, 6 * MIB)).expect("the folder is ours");
    let top = world.path("quickstart");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/quickstart");
    let mut call = world.call(script).args([&file]).env("DITS_PROFILE", "dev").env("DITS_QUICKSTART_DIR", &top);
    // The build needs the user's toolchain and the downloads that are there already.
    for name in ["CARGO_HOME", "RUSTUP_HOME", "CARGO_TARGET_DIR"] {
        if let Some(value) = std::env::var_os(name) {
            call = call.env(name, value);
        }
    }
    let home = std::env::var_os("HOME").unwrap_or_default();
    let call = match std::env::var_os("CARGO_HOME") {
        None => call.env("CARGO_HOME", std::path::Path::new(&home).join(".cargo")),
        Some(_) => call,
    };
    let call = match std::env::var_os("RUSTUP_HOME") {
        None => call.env("RUSTUP_HOME", std::path::Path::new(&home).join(".rustup")),
        Some(_) => call,
    };
    let done = call.run();
    let pid = fs::read_to_string(top.join("server.pid")).unwrap_or_default();
    let pid = pid.trim().parse().ok().and_then(Pid::from_raw);
    let is_left_running = pid.is_some_and(|pid| rustix::process::kill_process(pid, Signal::TERM).is_ok());
    // It writes into the world's folder until it has ended.
    pid.into_iter().for_each(|pid| until("the end of the server", || !is_running(pid)));
    done.ok();
    assert!(is_left_running, "{}", done.story());
    assert_eq!(done.out().matches("bit for bit").count(), 2, "{}", done.story());
    let edited = fs::read(top.join("elsewhere/take one.bin")).expect("it was cloned");
    assert!(edited != noise(1, 6 * MIB) && edited.len() == 6 * MIB);
}
