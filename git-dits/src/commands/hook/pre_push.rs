//! The pre-push hook: media goes to its server before text goes to another host.
//!
//! **For:** remotes that know nothing of Dits. A push to a Dits remote needs no hook: its
//! remote helper uploads the media itself.
//!
//! **May touch:** a hook that was there before ours.
//!
//! **Must hold:** text whose media nobody else can get is not pushed.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use crate::here::Here;
use crate::hook_files::{self, PRE_PUSH};
use crate::report::Failure;

/// Upload the media of a push to another host
#[derive(clap::Args)]
pub struct Args {
    /// The remote's name, or its address where it has none
    remote: String,
    /// The remote's address
    url: String,
}

/// Runs the hook.
pub fn run(args: &Args) -> Result<(), Failure> {
    let mut updates = Vec::new();
    std::io::stdin().read_to_end(&mut updates)?;
    let here = Here::find()?;
    run_kept(&here, args, &updates)?;
    if args.url.starts_with("dits:") {
        return Ok(());
    }
    Err(Failure::refused(format!("this version of Dits cannot upload media for {}", args.remote)))
}

/// Runs the hook that ours stands before.
fn run_kept(here: &Here, args: &Args, updates: &[u8]) -> Result<(), Failure> {
    let hooks_dir = crate::git::path(&here.git, &["rev-parse", "--path-format=absolute", "--git-path", "hooks"])?;
    let Some(kept) = hook_files::kept(&hooks_dir) else { return Ok(()) };
    let failed = |error: std::io::Error| Failure::new(format!("cannot run {}", kept.display())).because(&error);
    let child = Command::new(&kept).args([&args.remote, &args.url]).stdin(Stdio::piped()).spawn();
    let mut child = child.map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A hook need not read what it is told.
        let _ = stdin.write_all(updates);
    }
    match child.wait().map_err(failed)?.success() {
        true => Ok(()),
        false => Err(Failure::refused(format!("{} says no", kept.with_file_name(PRE_PUSH).display()))),
    }
}
