//! `git dits hook`: what git itself calls.
//!
//! **For:** the hooks of a repository, and the filter where they are lacking.
//!
//! **May touch:** what each hook names.
//!
//! **Must hold:** a hook that was there before Dits runs first, with the same arguments and
//! the same standard input, and its refusal stands.

mod install;
mod pre_commit;
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
    Install(install::Args),
    PreCommit(pre_commit::Args),
    PrePush(pre_push::Args),
    PreReceive(pre_receive::Args),
}

/// Runs the hook.
pub fn run(args: Args) -> Result<(), Failure> {
    match args.hook {
        Hook::Install(args) => install::run(&args),
        Hook::PreCommit(args) => pre_commit::run(&args),
        Hook::PrePush(args) => pre_push::run(&args),
        Hook::PreReceive(args) => pre_receive::run(&args),
    }
}
