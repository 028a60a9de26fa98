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
use crate::hooks::{self, Change, Outcome};
use crate::out::Out;
use crate::report::{self, EXIT_STATUSES, Failure};

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
    hooks: Vec<Change>,
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
    let repository = if args.skip_repo { None } else { here.repository_if_any()? };
    let hooks = match &repository {
        Some(repository) => hooks::uninstall(&here, repository)?,
        None => Vec::new(),
    };
    let facts = Facts { scope: scope.name(), removed, hooks };
    let mut out = Out::lock();
    if args.json {
        out.json(&facts)?;
        return out.finish();
    }
    for key in &facts.removed {
        out.line(format_args!("removed {key}"))?;
    }
    for Change { hook, state } in &facts.hooks {
        match state {
            Outcome::Removed => out.line(format_args!("removed {hook} hook"))?,
            Outcome::Restored => {
                out.line(format_args!("removed {hook} hook; the one that was there before is back"))?;
            }
            _ => {}
        }
    }
    out.finish()?;
    let is_left = filter_config::effective(&here.git, "filter.dits.process")?.is_some();
    if repository.is_some_and(|repository| repository.work_tree().is_some()) && is_left {
        report::warn("git still calls the filter, by settings elsewhere, and the filter puts hooks back");
        report::hint("to have none in this repository, run `git config dits.installHooks false`");
    }
    Ok(())
}
