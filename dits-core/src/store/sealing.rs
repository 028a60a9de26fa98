//! A full pack on its way to its final name.
//!
//! **For:** filling the next pack while the disk still takes in the last one.
//!
//! **May touch:** the pack, through the handle of its writer; one thread that waits for the disk.
//!
//! **Must hold:**
//! - the pack gets its final name only when all of it is on stable storage;
//! - until then it is an open pack like any other, whose side log names every item;
//! - the thread has ended when [`Sealing::wait`] returns.
//!
//! **Format:** `docs/formats/pack-v1.md`, "Write order".

use std::io;
use std::thread::{self, JoinHandle};

use super::error::WriteError;
use super::open_pack::OpenPack;
use crate::hash::PackHash;
use crate::steps::{Step, attempt};

/// A pack with its table, being synced.
#[derive(Debug)]
pub(super) struct Sealing {
    pack: Box<OpenPack>,
    hash: PackHash,
    syncing: JoinHandle<io::Result<()>>,
}

impl Sealing {
    /// Writes the table of a full pack and starts to sync it.
    pub fn start(mut pack: Box<OpenPack>) -> Result<Sealing, WriteError> {
        let hash = pack.write_table()?;
        let file = pack.payload_file()?;
        let syncing = thread::spawn(move || attempt(Step::PackPayloadSynced, || file.sync_data()));
        Ok(Sealing { pack, hash, syncing })
    }

    /// Waits until the pack is on stable storage. It can then be renamed.
    pub fn wait(self) -> Result<(Box<OpenPack>, PackHash), WriteError> {
        let synced = self.syncing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        synced.map_err(|source| self.pack.payload_in_doubt(source))?;
        Ok((self.pack, self.hash))
    }
}
