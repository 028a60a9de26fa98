//! A pack on its way to the disk, and to its final name.
//!
//! **For:** filling a pack while the disk still takes in the last one, or what lies before.
//!
//! **May touch:** the pack, through the handle of its writer; one thread that waits for the disk.
//!
//! **Must hold:**
//! - the pack gets its final name only when all of it is on stable storage;
//! - until then it is an open pack like any other, whose side log names every item;
//! - a thread has ended when its `wait` returns.
//!
//! **Format:** `docs/formats/pack-v1.md`, "Write order".

use std::io;
use std::thread::{self, JoinHandle};

use super::error::WriteError;
use super::open_pack::OpenPack;
use crate::hash::PackHash;
use crate::steps::{Step, attempt};

/// What was written to a pack, on its way to the disk.
#[derive(Debug)]
pub(super) struct Syncing(JoinHandle<io::Result<()>>);

impl Syncing {
    /// Starts to sync what was flushed.
    pub fn start(pack: &OpenPack) -> Result<Syncing, WriteError> {
        let file = pack.payload_file()?;
        Ok(Syncing(thread::spawn(move || attempt(Step::PackPayloadSynced, || file.sync_data()))))
    }

    /// Waits until it is on stable storage.
    pub fn wait(self, pack: &OpenPack) -> Result<(), WriteError> {
        let synced = self.0.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        synced.map_err(|source| pack.payload_in_doubt(source))
    }
}

/// A pack with its table, being synced.
#[derive(Debug)]
pub(super) struct Sealing {
    pack: Box<OpenPack>,
    hash: PackHash,
    syncing: Syncing,
}

impl Sealing {
    /// Writes the table of a full pack and starts to sync it.
    pub fn start(mut pack: Box<OpenPack>) -> Result<Sealing, WriteError> {
        let hash = pack.write_table()?;
        let syncing = Syncing::start(&pack)?;
        Ok(Sealing { pack, hash, syncing })
    }

    /// Waits until the pack is on stable storage. It can then be renamed.
    pub fn wait(self) -> Result<(Box<OpenPack>, PackHash), WriteError> {
        self.syncing.wait(&self.pack)?;
        Ok((self.pack, self.hash))
    }
}
