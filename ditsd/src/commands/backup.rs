//! `ditsd backup`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{Failure, ProgressLine, print};
use crate::backup::{self, BackupError, Taken};
use crate::root::{Root, RootError};

/// Copy all that is new on the server into a backup; the server may be running
///
/// Each repository is in the backup as it was at one moment, with all of its media. A backup that is killed leaves the snapshots
/// before as they were; the next one goes on. Packs are copied once, for all snapshots.
#[derive(Args)]
pub struct Arguments {
    /// The backup: an empty folder at first, the same one from then on
    dir: PathBuf,
    /// The server root
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// How many snapshots stay, this one counted
    #[arg(long, value_name = "COUNT", default_value = "7", value_parser = clap::value_parser!(u16).range(1..))]
    keep: u16,
    /// Print one JSON object instead
    #[arg(long)]
    json: bool,
}

/// The copy has damage that the server has.
#[derive(Debug, thiserror::Error)]
#[error("{0} packs are damaged on the server, and so in the backup")]
struct Damaged(usize);

/// Makes a backup.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let root = Root::open(&arguments.root).map_err(Failure::failed)?;
    let line = ProgressLine::new();
    let taken = backup::take(&root, &arguments.dir, arguments.keep.into(), &|at| line.tell(at));
    drop(line);
    let taken = taken.map_err(failure)?;
    print(&if arguments.json { as_json(&taken) } else { as_text(&taken) });
    if let Some(error) = &taken.not_removed {
        eprintln!("warning: the snapshot is complete, but what older ones needed is not all removed: {error}");
    }
    for path in &taken.whole_here {
        eprintln!("warning: {} is damaged; the backup has a copy that is whole", path.display());
    }
    for path in &taken.damaged {
        eprintln!("warning: {} is damaged", path.display());
    }
    match taken.damaged.len() {
        0 => Ok(()),
        count => Err(Failure::failed(Damaged(count))
            .hint("the backup is complete but for that; `ditsd fsck --repair` mends what it can")),
    }
}

/// What every failure of a backup or a restore is told with.
pub(super) fn failure(error: BackupError) -> Failure {
    match error {
        BackupError::Root(RootError::CollectionLocked(_) | RootError::Locked(_)) | BackupError::Locked(_) => {
            Failure::refused(error).hint("wait for its end, and run the same command")
        }
        BackupError::Inside { .. } => Failure::usage(error).hint("put it on another disk"),
        BackupError::NotABackup(_) | BackupError::Root(RootError::NotEmpty(_)) => {
            Failure::usage(error).hint("name an empty folder, or one that is not there yet")
        }
        _ => Failure::failed(error),
    }
}

fn as_json(taken: &Taken) -> String {
    let shown = |paths: &[PathBuf]| paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
    let facts = json!({
        "snapshot": taken.number, "snapshots": taken.snapshots, "repositories": taken.repositories,
        "packs": taken.packs, "bytes": taken.bytes, "new_bytes": taken.new_bytes, "removed_packs": taken.removed_packs,
        "damaged": shown(&taken.damaged), "whole_here": shown(&taken.whole_here),
    });
    format!("{facts:#}\n")
}

fn as_text(taken: &Taken) -> String {
    format!(
        "snapshot {}: {} repositories, {} packs of {} bytes, {} of them new; {} snapshots stay, {} packs removed\n",
        taken.number,
        taken.repositories,
        taken.packs,
        taken.bytes,
        taken.new_bytes,
        taken.snapshots.len(),
        taken.removed_packs
    )
}
