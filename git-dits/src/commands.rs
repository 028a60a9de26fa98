//! The commands, one file each: its arguments, whose comments are the help, and `run`.
//!
//! **For:** dispatching.
//!
//! **May touch:** nothing itself.
//!
//! **Must hold:** verbs and flags are those of `git lfs` where the meaning is the same.

mod auth;
mod checkout;
mod dehydrate;
mod diff;
mod du;
mod env;
mod fetch;
mod fsck;
mod gc;
mod hook;
mod inspect;
mod install;
mod ls_files;
mod prune;
mod pull;
mod push;
mod resolve;
mod roundtrip;
mod status;
pub mod track;
mod uninstall;
mod untrack;
mod verify;

use clap::{Parser, Subcommand};

use crate::progress;
use crate::report::{self, EXIT_STATUSES, Failure};

/// Git for media: keeps large files out of Git's history and at everybody's hand
#[derive(Parser)]
#[command(name = "git dits", bin_name = "git dits", version, after_help = EXIT_STATUSES, subcommand_required = true)]
#[command(arg_required_else_help = true, max_term_width = 100)]
pub struct Command {
    /// Say nothing but facts, failures and warnings
    #[arg(long, short, global = true)]
    quiet: bool,
    /// Show no progress, on a terminal neither
    #[arg(long, global = true)]
    no_progress: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Install(install::Args),
    Uninstall(uninstall::Args),
    Track(track::Args),
    Untrack(untrack::Args),
    Status(status::Args),
    LsFiles(ls_files::Args),
    Env(env::Args),
    Pull(pull::Args),
    Checkout(checkout::Args),
    Dehydrate(dehydrate::Args),
    Fetch(fetch::Args),
    Push(push::Args),
    Prune(prune::Args),
    Fsck(fsck::Args),
    Verify(verify::Args),
    Du(du::Args),
    Resolve(resolve::Args),
    Roundtrip(roundtrip::Args),
    Inspect(inspect::Args),
    Diff(diff::Args),
    Gc(gc::Args),
    Auth(auth::Args),
    Hook(hook::Args),
}

impl Command {
    /// Runs the command that was asked for.
    pub fn run(self) -> Result<(), Failure> {
        if self.quiet {
            report::be_quiet();
        }
        if self.quiet || self.no_progress {
            progress::hide();
        }
        match self.verb {
            Verb::Install(args) => install::run(&args),
            Verb::Uninstall(args) => uninstall::run(&args),
            Verb::Track(args) => track::run(&args),
            Verb::Untrack(args) => untrack::run(&args),
            Verb::Status(args) => status::run(&args),
            Verb::LsFiles(args) => ls_files::run(&args),
            Verb::Env(args) => env::run(&args),
            Verb::Pull(args) => pull::run(&args),
            Verb::Checkout(args) => checkout::run(&args),
            Verb::Dehydrate(args) => dehydrate::run(&args),
            Verb::Fetch(args) => fetch::run(&args),
            Verb::Push(args) => push::run(&args),
            Verb::Prune(args) => prune::run(&args),
            Verb::Fsck(args) => fsck::run(&args),
            Verb::Verify(args) => verify::run(&args),
            Verb::Du(args) => du::run(&args),
            Verb::Resolve(args) => resolve::run(&args),
            Verb::Roundtrip(args) => roundtrip::run(&args),
            Verb::Inspect(args) => inspect::run(&args),
            Verb::Diff(args) => diff::run(&args),
            Verb::Gc(args) => gc::run(&args),
            Verb::Auth(args) => auth::run(&args),
            Verb::Hook(args) => hook::run(args),
        }
    }
}
