//! `ditsd hook pre-receive`: called by git, through the hook that a server writes.

use std::process::ExitCode;

use clap::Subcommand;

/// Names the server root to a hook.
pub const ROOT_VARIABLE: &str = "DITSD_ROOT";
/// Names the repository to a hook.
pub const REPO_VARIABLE: &str = "DITSD_REPO";
/// Names the file on which a hook leaves word of missing media.
pub const MISSING_VARIABLE: &str = "DITSD_MISSING";

/// For git itself
#[derive(Subcommand)]
pub enum Command {
    /// Check a push before any ref moves
    PreReceive,
}

/// Does what git asked.
pub fn run(command: &Command) -> ExitCode {
    match command {
        Command::PreReceive => ExitCode::SUCCESS,
    }
}
