//! Running the hook that was there before ours.
//!
//! **For:** each hook of Dits: before its own work where it may refuse, after it elsewhere.
//!
//! **May touch:** that hook, as a child.
//!
//! **Must hold:**
//! - it gets the same arguments and the same standard input, and its refusal stands;
//! - two that call each other are not run for ever.

use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use dits_core::repo::Repository;
use dits_core::repo::hooks::{Hook, HookFiles, KEPT_SUFFIX, is_executable};

use crate::report::Failure;

/// Names the kept hook that is being run.
const RUNNING: &str = "GIT_DITS_RUNNING_HOOK";

/// Runs the hook that ours stands before, if there is one, with `input` on its standard input.
pub fn run_kept<A: AsRef<OsStr>>(
    repository: &Repository,
    hook: Hook,
    args: &[A],
    input: Option<&[u8]>,
) -> Result<(), Failure> {
    let HookFiles::Own(dir) = HookFiles::of(repository) else { return Ok(()) };
    let mut kept = dir.join(hook.name()).into_os_string();
    kept.push(KEPT_SUFFIX);
    let kept = PathBuf::from(kept);
    // Git does not run a hook that is not executable. One that calls us again has run its part already.
    if !is_executable(&kept) || std::env::var_os(RUNNING).is_some_and(|running| running == kept) {
        return Ok(());
    }
    let failed = |error: std::io::Error| Failure::new(format!("cannot run {}", kept.display())).because(&error);
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::inherit() };
    let child = Command::new(&kept).args(args).env(RUNNING, &kept).stdin(stdin).spawn();
    let mut child = child.map_err(failed)?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        // A hook need not read what it is told.
        let _ = stdin.write_all(input);
    }
    match child.wait().map_err(failed)?.success() {
        true => Ok(()),
        false => Err(Failure::refused(format!("{} says no", kept.with_file_name(hook.name()).display()))),
    }
}
