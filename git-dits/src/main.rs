//! The porcelain of Dits: `git dits …`.
//!
//! **For:** people. It reads a command line, calls the library and reports.
//!
//! **May touch:** whatever its commands name in their own headers.
//!
//! **Must hold:** facts go to standard output, every other word to standard error, and the
//! exit status is one of those that each help text ends with.

mod attributes_file;
mod changes;
mod collecting;
mod commands;
mod conflicts;
mod durations;
mod filter_config;
mod git;
mod here;
mod hooks;
mod hydrating;
mod making_room;
mod media_address;
mod media_files;
mod out;
mod pointers;
mod presets;
mod programs;
mod progress;
mod report;
mod sizes;
mod unpushed;
mod uploading;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    #[cfg(debug_assertions)]
    if let Ok(request) = std::env::var("DITS_STOP_AT") {
        dits_core::steps::stop_at(&request);
    }
    let command = commands::Command::parse();
    report::guarded(|| command.run())
}
