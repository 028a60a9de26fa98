//! Putting hooks into a repository that lacks them, on behalf of the filter.
//!
//! **For:** a fresh clone, whose user has not called Dits by name yet.
//!
//! **May touch:** the repository's hooks, and a note of what was told.
//!
//! **Must hold:** it says something only where something is to be done by hand, and says that once.

use dits_core::repo::hooks::{need_attention, note_told};

use crate::here::Here;
use crate::hooks::{self, Outcome};
use crate::programs::Programs;
use crate::report::{self, Failure};

/// Put hooks into this repository where they are lacking
#[derive(clap::Args)]
pub struct Args {}

/// Runs it.
pub fn run(_: &Args) -> Result<(), Failure> {
    let here = Here::find()?;
    let repository = here.repository()?;
    if !need_attention(&repository, repository.settings()?.installs_hooks) {
        return Ok(());
    }
    match hooks::install(&here, &repository, &Programs::find()?) {
        Ok(changes) if changes.iter().all(|change| change.state != Outcome::ByHand) => Ok(()),
        Ok(_) => {
            report::hint("without them a push to another host leaves media behind; this is said once");
            Ok(note_told(&repository)?)
        }
        Err(failure) => {
            // A folder that cannot be written to stays so on the next git command.
            note_told(&repository)?;
            Err(failure.hint("mend that, then run `git dits install`"))
        }
    }
}
