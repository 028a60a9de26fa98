//! `git dits uninstall`: takes back what `git dits install` wrote.
//!
//! **For:** leaving git as it was.
//!
//! **May touch:** one git configuration file, and the hooks of the repository around the
//! current directory.
//!
//! **Must hold:** nothing that Dits did not write is removed.

use serde::Serialize;

use super::install::ScopeArgs;
use crate::filter_config;
use crate::here::Here;
use crate::hook_files::{self, Outcome};
use crate::out::Out;
use crate::report::{EXIT_STATUSES, Failure};

/// Take back what `git dits install` wrote
#[derive(clap::Args)]
#[command(after_help = EXIT_STATUSES)]
pub struct Args {
    #[command(flatten)]
    scope: ScopeArgs,
    /// Leave the repository around the current directory alone
    #[arg(long)]
    skip_repo: bool,
    /// Print the facts as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Facts {
    scope: &'static str,
    removed: Vec<&'static str>,
    pre_push: Option<Outcome>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let here = Here::find()?;
    let scope = args.scope.scope();
    let mut removed = Vec::new();
    for (key, mark) in filter_config::keys() {
        if filter_config::remove(&here.git, scope, key, mark)? {
            removed.push(key);
        }
    }
    let pre_push = match args.skip_repo || here.repository_if_any()?.is_none() {
        true => None,
        false => Some(hook_files::uninstall(&hook_files::place_here(&here.git)?)?),
    };
    let facts = Facts { scope: scope.name(), removed, pre_push };
    let mut out = Out::lock();
    if args.json {
        out.json(&facts)?;
        return out.finish();
    }
    for key in &facts.removed {
        out.line(format_args!("removed {key}"))?;
    }
    match facts.pre_push {
        Some(Outcome::Removed) => out.line("removed pre-push hook")?,
        Some(Outcome::Restored) => out.line("removed pre-push hook; the one that was there before is back")?,
        _ => {}
    }
    out.finish()
}
