//! `ditsd restore`.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::backup::{clear, failure, tell};
use super::fsck::{self, Looked};
use super::{Failure, print};
use crate::backup::{self, Progress, Restored};
use crate::clock;

/// Make a server root of a backup, and read all of it once
///
/// Clients see another server with the same certificate: they forget what they were told, and send what the backup lacks with
/// the next push. A restore that is killed is run again, and goes on.
#[derive(Args)]
pub struct Arguments {
    /// The backup
    dir: PathBuf,
    /// The new server root: an empty folder, or one that is not there yet
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// Print one JSON object instead
    #[arg(long)]
    json: bool,
}

/// What was restored is not whole.
#[derive(Debug, thiserror::Error)]
#[error("the backup is restored, and not whole: {missing} packs are missing, {damage} findings of damage")]
struct NotWhole {
    missing: usize,
    damage: u64,
}

/// Restores.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let is_terminal = std::io::stderr().is_terminal();
    let restored = backup::restore(&arguments.dir, &arguments.root, &|at| tell(is_terminal, at));
    if restored.is_ok() {
        tell(is_terminal, Progress::Checking);
    }
    let looked = restored.map_err(failure).and_then(|restored| {
        let looked = fsck::look(&restored.root).map_err(Failure::failed)?;
        restored.root.end_restore().map_err(Failure::failed)?;
        Ok((restored, looked))
    });
    clear(is_terminal);
    let (restored, looked) = looked?;
    print(&if arguments.json { as_json(&restored, &looked) } else { as_text(&restored, &looked) });
    for path in &restored.missing {
        eprintln!("warning: {} is missing", path.display());
    }
    match (restored.missing.len(), looked.damage()) {
        (0, 0) => Ok(()),
        (missing, damage) => Err(Failure::failed(NotWhole { missing, damage }).hint(
            "`ditsd fsck --repair` mends what it can; then `git dits push REMOTE --all` from clones that have the rest",
        )),
    }
}

fn as_json(restored: &Restored, looked: &Looked) -> String {
    let missing: Vec<String> = restored.missing.iter().map(|path| path.display().to_string()).collect();
    let facts = json!({
        "made_at": restored.made_at, "repositories": restored.repositories, "packs": restored.packs,
        "bytes": restored.bytes, "missing": missing, "whole": looked.damage() == 0, "damage": looked.damage(),
    });
    format!("{facts:#}\n")
}

fn as_text(restored: &Restored, looked: &Looked) -> String {
    let hours = clock::now().saturating_sub(restored.made_at) / 3600;
    let how = format!(
        "{} repositories and {} packs of {} bytes, as they were {hours} hours ago\n",
        restored.repositories, restored.packs, restored.bytes
    );
    match looked.damage() {
        0 => how,
        _ => format!("{}{how}", fsck::facts::text(looked, None)),
    }
}
