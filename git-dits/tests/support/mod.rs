//! Snapshots of a call: standard output, standard error and exit status together.
//!
//! **For:** every test of the porcelain.
//!
//! **May touch:** nothing.
//!
//! **Must hold:** what differs from machine to machine is replaced by a name.

use dits_tests::{Done, World, programs};

/// One text of everything that a call said, with the folders of this run replaced.
pub fn story(world: &World, done: &Done) -> String {
    let programs = programs::folder().display().to_string();
    let world = world.path("").display().to_string();
    let text = format!(
        "{}{}exit {}\n",
        String::from_utf8_lossy(&done.stdout),
        prefixed(&String::from_utf8_lossy(&done.stderr)),
        done.status.code().expect("it ended by itself")
    );
    text.replace(&programs, "PROGRAMS").replace(world.trim_end_matches('/'), "WORLD")
}

fn prefixed(stderr: &str) -> String {
    stderr.lines().map(|line| format!("! {line}\n")).collect()
}
