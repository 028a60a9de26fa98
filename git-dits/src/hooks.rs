//! The hooks of a repository that uses Dits: putting them there, and taking them away.
//!
//! **For:** `install`, `track` and `uninstall`, and the filter, which has a fresh clone get its hooks.
//!
//! **May touch:** the repository's own hooks folder and configuration. Nothing in a folder that
//! `core.hooksPath` names: that one belongs to a team or to another program.
//!
//! **Must hold:**
//! - a hook that was there before is kept, is run too, and comes back when Dits leaves;
//! - git calls each of ours once: from its configuration where it reads hooks there (2.54 and later),
//!   from a file elsewhere;
//! - what cannot be done is said, with the lines to add by hand.

mod config;
mod files;
mod kept;
mod script;

use dits_core::repo::Repository;
use dits_core::repo::hooks::{self, Hook, HookFiles};
use serde::Serialize;

use crate::git::GitVersion;
use crate::here::Here;
use crate::programs::Programs;
use crate::report::{self, Failure};

pub use files::HookError;
pub use kept::run_kept;

/// What became of a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was written.
    Installed,
    /// It was written, and runs the one that was there.
    Chained,
    /// It was there already.
    Unchanged,
    /// It was written to the repository's configuration.
    InConfig,
    /// It has to be added by hand to what `core.hooksPath` names.
    ByHand,
    /// It was removed.
    Removed,
    /// It was removed, and the one that was there before is back.
    Restored,
    /// There was none of ours.
    Absent,
}

/// One hook and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Git's name for it.
    pub hook: &'static str,
    /// What became of it.
    pub state: Outcome,
}

/// Puts all hooks into this repository, and says what the user has to do, if anything.
///
/// A repository whose user forbids it (`dits.installHooks`), and one without a work tree, stay as they are.
pub fn install(here: &Here, repository: &Repository, programs: &Programs) -> Result<Vec<Change>, Failure> {
    if !repository.settings()?.installs_hooks || repository.work_tree().is_none() {
        return Ok(Vec::new());
    }
    let version = GitVersion::of(&here.git)?;
    let place = HookFiles::of(repository);
    let mut changes = Vec::new();
    for hook in Hook::ALL {
        let state = match version.is_some_and(|version| version >= GitVersion::CONFIG_HOOKS) {
            true => install_in_config(here, repository, &place, hook, programs)?,
            false => files::install(&place, hook, &programs.porcelain)?,
        };
        changes.push(Change { hook: hook.name(), state });
    }
    let by_hand: Vec<Hook> = with_state(&changes, Outcome::ByHand);
    match by_hand.is_empty() {
        true => hooks::forget_told(repository)?,
        false => say_by_hand(&place, &by_hand),
    }
    Ok(changes)
}

/// A hook in the configuration does not stand in anybody's way, wherever hook files are.
fn install_in_config(
    here: &Here,
    repository: &Repository,
    place: &HookFiles,
    hook: Hook,
    programs: &Programs,
) -> Result<Outcome, Failure> {
    let own = HookFiles::Own(repository.common_dir().join("hooks"));
    // One of ours that an older git needed would be run as well.
    files::uninstall(&own, hook)?;
    match place.have(hook).map_err(|source| HookError::at(place, hook, source))? {
        true => Ok(Outcome::Unchanged),
        false => Ok(config::install(&here.git, hook, &programs.porcelain)?),
    }
}

/// Takes all hooks away again, wherever they are.
pub fn uninstall(here: &Here, repository: &Repository) -> Result<Vec<Change>, Failure> {
    let own = HookFiles::Own(repository.common_dir().join("hooks"));
    let mut changes = Vec::new();
    for hook in Hook::ALL {
        let from_config = config::uninstall(&here.git, hook)?;
        let state = match files::uninstall(&own, hook)? {
            Outcome::Absent if from_config => Outcome::Removed,
            outcome => outcome,
        };
        changes.push(Change { hook: hook.name(), state });
    }
    hooks::forget_told(repository)?;
    Ok(changes)
}

fn with_state(changes: &[Change], state: Outcome) -> Vec<Hook> {
    let has_state = |hook: &Hook| changes.iter().any(|change| change.hook == hook.name() && change.state == state);
    Hook::ALL.into_iter().filter(has_state).collect()
}

/// Says which lines to add where.
pub fn say_by_hand(place: &HookFiles, lacking: &[Hook]) {
    if let HookFiles::Theirs(dir) = place {
        report::warn(&format!("core.hooksPath names {}, which Dits does not change", dir.display()));
    }
    if !place.dir().is_dir() && place.dir().exists() {
        report::hint("that turns all hooks off, those of Dits included: `git config --unset core.hooksPath`");
        return;
    }
    report::hint("add these lines by hand, a new file with `#!/bin/sh` before them and `chmod +x` after:");
    for hook in lacking {
        report::hint(&format!("    {}: {}", place.by_hand(*hook).display(), hook.call()));
    }
}
