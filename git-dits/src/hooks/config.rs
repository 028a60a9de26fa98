//! Hooks in the repository's own configuration, which git reads from 2.54 on.
//!
//! **For:** hooks that never collide with `core.hooksPath`, husky and the like.
//!
//! **May touch:** the repository's configuration, through `git config`.
//!
//! **Must hold:** only what Dits wrote is replaced or removed.

use bstr::{BString, ByteSlice};
use dits_core::repo::git_program::{GitError, GitProgram};
use dits_core::repo::hooks::Hook;
use std::path::Path;

use super::{Outcome, script};
use crate::filter_config::{self, Scope};

/// Writes the hook.
pub fn install(git: &GitProgram, hook: Hook, porcelain: &Path) -> Result<Outcome, GitError> {
    let wanted = script::command(hook, porcelain);
    let has = |key: &str, value: &BString| -> Result<bool, GitError> {
        Ok(filter_config::values(git, Scope::Local, key)?.as_slice() == std::slice::from_ref(value))
    };
    let event = BString::from(hook.name());
    if has(&hook.event_key(), &event)? && has(&hook.command_key(), &wanted)? {
        return Ok(Outcome::Unchanged);
    }
    // The command first: git stops at an event without one.
    for (key, value) in [(hook.command_key(), wanted), (hook.event_key(), event)] {
        filter_config::set(git, Scope::Local, &key, value.as_bstr())?;
    }
    Ok(Outcome::InConfig)
}

/// Removes the hook; says whether there was one of ours.
pub fn uninstall(git: &GitProgram, hook: Hook) -> Result<bool, GitError> {
    filter_config::remove(git, Scope::Local, &hook.event_key(), hook.name())?;
    filter_config::remove(git, Scope::Local, &hook.command_key(), "git-dits")
}
