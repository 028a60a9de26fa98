//! `git dits hook`: what git itself calls.
//!
//! **For:** the three-line files in a repository's hooks directory.
//!
//! **May touch:** what each hook names.
//!
//! **Must hold:** a hook that was there before Dits runs first, with the same arguments and
//! the same standard input, and its refusal stands.

mod pre_push;
mod pre_receive;

use clap::Subcommand;

use crate::report::{EXIT_STATUSES, Failure};

/// For git itself: run a hook
#[derive(clap::Args)]
#[command(after_help = EXIT_STATUSES)]
pub struct Args {
    #[command(subcommand)]
    hook: Hook,
}

#[derive(Subcommand)]
enum Hook {
    PrePush(pre_push::Args),
    PreReceive(pre_receive::Args),
}

/// Runs the hook.
pub fn run(args: Args) -> Result<(), Failure> {
    match args.hook {
        Hook::PrePush(args) => pre_push::run(&args),
        Hook::PreReceive(args) => pre_receive::run(&args),
    }
}
