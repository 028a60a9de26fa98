//! `ditsd restore`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::backup::failure;
use super::fsck::{self, Looked};
use super::{Failure, ProgressLine, print};
use crate::backup::{self, Restored};
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
    /// The snapshot, as `ls DIR/snapshots` names it; the newest unless given
    #[arg(long, value_name = "NUMBER")]
    snapshot: Option<u64>,
    /// Print one JSON object instead
    #[arg(long)]
    json: bool,
}

/// What was restored is not whole.
#[derive(Debug, thiserror::Error)]
#[error(
    "the backup is restored, and not whole: {bad} of its files are missing or damaged, {damage} findings of damage"
)]
struct NotWhole {
    bad: usize,
    damage: u64,
}

/// Restores.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let line = ProgressLine::new();
    let restored = backup::restore(&arguments.dir, &arguments.root, arguments.snapshot, &|at| line.tell(at));
    let restored = restored.map_err(failure)?;
    line.say("reading all of it once more");
    let looked = fsck::look(&restored.root).map_err(Failure::failed)?;
    restored.root.end_restore().map_err(Failure::failed)?;
    drop(line);
    print(&if arguments.json { as_json(&restored, &looked) } else { as_text(&restored, &looked) });
    for path in &restored.bad {
        eprintln!("warning: {} is missing or damaged", path.display());
    }
    for name in &restored.text_elsewhere {
        eprintln!("warning: the text of {name} is on another host: run `git dits push --all` in clones of it");
    }
    match (restored.bad.len(), looked.damage()) {
        (0, 0) => Ok(()),
        (bad, damage) => Err(Failure::failed(NotWhole { bad, damage }).hint(
            "`ditsd fsck --repair` mends what it can; then `git dits push REMOTE --all` from clones that have the rest",
        )),
    }
}

fn as_json(restored: &Restored, looked: &Looked) -> String {
    let bad: Vec<String> = restored.bad.iter().map(|path| path.display().to_string()).collect();
    let facts = json!({
        "made_at": restored.made_at, "repositories": restored.repositories, "packs": restored.packs,
        "bytes": restored.bytes, "bad": bad, "text_elsewhere": restored.text_elsewhere,
        "whole": looked.damage() == 0, "damage": looked.damage(),
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
