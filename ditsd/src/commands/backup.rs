//! `ditsd backup`.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{Failure, print};
use crate::backup::{self, BackupError, Progress, Taken};
use crate::root::{Root, RootError};

/// Copy all that is new on the server into a backup; the server may be running
///
/// What is in the backup is always the server as it was at one moment. A backup that is killed leaves the one before as
/// it was; the next one goes on. Packs are copied once, whatever comes after.
#[derive(Args)]
pub struct Arguments {
    /// The backup: an empty folder at first, the same one from then on
    dir: PathBuf,
    /// The server root
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
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
    let is_terminal = std::io::stderr().is_terminal();
    let taken = backup::take(&root, &arguments.dir, &|at| tell(is_terminal, at));
    clear(is_terminal);
    let taken = taken.map_err(failure)?;
    print(&if arguments.json { as_json(&taken) } else { as_text(&taken) });
    match taken.damaged.len() {
        0 => Ok(()),
        count => {
            for path in &taken.damaged {
                eprintln!("warning: {} is damaged", path.display());
            }
            Err(Failure::failed(Damaged(count))
                .hint("the backup is complete but for that; `ditsd fsck --repair` mends what it can"))
        }
    }
}

/// What every failure of a backup or a restore is told with.
pub(super) fn failure(error: BackupError) -> Failure {
    match error {
        BackupError::Root(RootError::CollectionLocked(_)) | BackupError::Locked(_) => {
            Failure::refused(error).hint("wait for its end, and run the same command")
        }
        BackupError::Inside(_) => Failure::usage(error).hint("put it on another disk"),
        BackupError::NotABackup(_) | BackupError::Root(RootError::NotEmpty(_)) => {
            Failure::usage(error).hint("name an empty folder, or one that is not there yet")
        }
        _ => Failure::failed(error),
    }
}

/// Shows how far it is, on a terminal.
pub(super) fn tell(is_terminal: bool, at: Progress<'_>) {
    if is_terminal {
        let text = match at {
            Progress::Repository(name) => format!("copying {name}"),
            Progress::Packs { done, total } => format!("packs: {} of {} MiB", done >> 20, total >> 20),
            Progress::Checking => "reading all of it once more".to_owned(),
        };
        eprint!("\r\x1b[K{text}");
    }
}

/// Takes away what was shown.
pub(super) fn clear(is_terminal: bool) {
    if is_terminal {
        eprint!("\r\x1b[K");
    }
}

fn as_json(taken: &Taken) -> String {
    let damaged: Vec<String> = taken.damaged.iter().map(|path| path.display().to_string()).collect();
    let facts = json!({
        "snapshot": taken.number, "repositories": taken.repositories, "packs": taken.packs, "bytes": taken.bytes,
        "new_bytes": taken.new_bytes, "removed_packs": taken.removed_packs, "damaged": damaged,
    });
    format!("{facts:#}\n")
}

fn as_text(taken: &Taken) -> String {
    format!(
        "snapshot {}: {} repositories, {} packs of {} bytes, {} of them new\n",
        taken.number, taken.repositories, taken.packs, taken.bytes, taken.new_bytes
    )
}
