//! The Dits daemon: a server for media repositories.
//!
//! **For:** serving Git and media of many repositories to `git-remote-dits`.
//!
//! **May touch:** the server root given with `--root`, the address given with `--listen`,
//! and the `git` program. Standard output carries the ready line of `serve` and the facts
//! that other commands print; everything else goes to standard error.
//!
//! **Must hold:** a ref never names media that the server lacks; nothing from outside is
//! trusted; what was answered as held or stored survives power loss.
//!
//! The doors (`control`, `data`, later `http`) translate. `rules` decides and touches
//! nothing. `db`, `blobs` and `git` remember.

mod commands;

mod collecting;
mod control;
mod data;
mod listen;
mod serve;

mod backup;
mod blobs;
mod clock;
mod db;
mod git;
mod root;
mod rules;

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(debug_assertions)]
    if let Ok(request) = std::env::var("DITS_STOP_AT")
        && !dits_core::steps::stop_at(&request)
    {
        eprintln!("error: DITS_STOP_AT names no step: {request}");
        return ExitCode::from(2);
    }
    commands::run()
}
