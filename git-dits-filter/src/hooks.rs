//! Having hooks put into a repository that lacks them: a fresh clone.
//!
//! **For:** pushes to another host, which leave media behind without the pre-push hook.
//!
//! **May touch:** the `git-dits` beside this program, as a child.
//!
//! **Must hold:**
//! - where the hooks are in place it costs a few small reads and starts nothing;
//! - nothing that goes wrong here is a failure of the filter.

use std::path::Path;
use std::process::{Command, Stdio};

use dits_core::repo::Repository;
use dits_core::repo::config::Settings;
use dits_core::repo::hooks::need_attention;

const PORCELAIN: &str = "git-dits";

/// Has the hooks put there, if some are lacking and the user allows it.
pub fn ensure(own: Option<&Path>, repo: &Repository, settings: &Settings) {
    if !need_attention(repo, settings.installs_hooks) {
        return;
    }
    let porcelain = own.map(|own| own.with_file_name(PORCELAIN).with_extension(std::env::consts::EXE_EXTENSION));
    let Some(porcelain) = porcelain.filter(|path| path.is_file()) else { return };
    // Standard output is a protocol. The child says itself what the user has to know, and it is waited
    // for, so that nothing changes in the repository once git has ended.
    let child = Command::new(porcelain).args(["hook", "install"]).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    if let Ok(mut child) = child {
        let _ = child.wait();
    }
}
