//! The hooks after a checkout and after a merge: files that the filter has put off get their content early.
//!
//! **For:** other hooks, and what runs inside git before it ends: they see content, not pointers.
//!
//! **May touch:** files of the work tree that a living process's journal of hydration names; git's index for them; the hook that was
//! there before ours.
//!
//! **Must hold:**
//! - where no journal is there, nothing else is opened and no child is started;
//! - git's index is touched only where git does not write it again: not within a rebase;
//! - what goes wrong is told and stops nothing: the filter tries the same again when git ends.

use std::ffi::OsString;

use dits_core::repo::hooks::Hook;
use dits_core::repo::{Repository, hydration_journal, stores};

use crate::here::Here;
use crate::hooks;
use crate::hydrating::{self, Which};
use crate::report::{self, Failure};

/// Hydrate what a checkout has put off
#[derive(clap::Args)]
pub struct Args {
    /// What git says
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

/// Runs the hook.
pub fn run(hook: Hook, args: &Args) -> Result<(), Failure> {
    let here = Here::find()?;
    let repository = here.repository()?;
    if let Err(failure) = hydrate(&here, &repository) {
        report::warn(&failure.line());
    }
    // Ours first, so that it sees content.
    hooks::run_kept(&repository, hook, &args.args, None)
}

fn hydrate(here: &Here, repository: &Repository) -> Result<(), Failure> {
    // A rebase goes on in the same process, and writes the index that it has read before us.
    let is_rebase = ["rebase-merge", "rebase-apply"].iter().any(|name| repository.git_dir().join(name).exists());
    // Who leaves pointers now does not want the content of those from before either.
    let skips = repository.env().is_true("GIT_DITS_SKIP_SMUDGE");
    let is_nothing = || Ok::<_, Failure>(hydration_journal::entries_of_living(repository.git_dir())?.is_empty());
    if repository.work_tree().is_none() || is_rebase || skips || is_nothing()? {
        return Ok(());
    }
    let sources = stores::open_sources(repository, &repository.settings()?)?;
    let outcome = hydrating::hydrate(here, repository, &sources, Which::Promised)?;
    hydrating::fail_if_left(&outcome)
}
