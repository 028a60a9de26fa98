//! `git dits hook`: what git itself calls.
//!
//! **For:** the hooks of a repository, and the filter where they are lacking.
//!
//! **May touch:** what each hook names.
//!
//! **Must hold:** a hook that was there before Dits runs, too, with the same arguments and the same standard
//! input, and its refusal stands: first where it may stop something, last where it may need content.

mod install;
mod post;
mod pre_commit;
mod pre_push;
mod pre_receive;

use clap::Subcommand;
use dits_core::repo::hooks;

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
    PostCheckout(post::Args),
    PostMerge(post::Args),
    PreCommit(pre_commit::Args),
    PrePush(pre_push::Args),
    PreReceive(pre_receive::Args),
}

/// Runs the hook.
pub fn run(args: Args) -> Result<(), Failure> {
    match args.hook {
        Hook::Install(args) => install::run(&args),
        Hook::PostCheckout(args) => post::run(hooks::Hook::PostCheckout, &args),
        Hook::PostMerge(args) => post::run(hooks::Hook::PostMerge, &args),
        Hook::PreCommit(args) => pre_commit::run(&args),
        Hook::PrePush(args) => pre_push::run(&args),
        Hook::PreReceive(args) => pre_receive::run(&args),
    }
}
