//! The payload of a pack that is being written.
//!
//! **For:** appending items with about one system call each, into room that was reserved.
//!
//! **May touch:** the one file it was given.
//!
//! **Must hold:** what was appended is in the file once [`Payload::flush`] returned.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::fs::{FallocateFlags, FsWord, fallocate, fstatfs};

use super::error::WriteError;

/// Bytes that are collected before they are written; a longer item is written as it is.
const BUFFER_LEN: usize = 64 * 1024;
/// Most room that is reserved ahead, in bytes.
const ROOM_LEN_MAX: u64 = 8 * 1024 * 1024;
/// Least room that is reserved ahead, in bytes.
const ROOM_LEN_MIN: u64 = 256 * 1024;

/// The type of a tmpfs, from Linux's `linux/magic.h`.
const TMPFS_MAGIC: FsWord = 0x0102_1994;

/// A payload under construction.
#[derive(Debug)]
pub(super) struct Payload {
    file: File,
    path: PathBuf,
    buffer: Vec<u8>,
    written: u64,
    reserved: u64,
    can_reserve: bool,
}

impl Payload {
    /// Goes on at `end`, where the payload in `file` ends.
    pub fn new(file: File, path: PathBuf, end: u64) -> Payload {
        // A tmpfs has no extents to lay out, and would clear every page that it is about to fill.
        let can_reserve = !fstatfs(&file).is_ok_and(|stat| stat.f_type == TMPFS_MAGIC);
        Payload { file, path, buffer: Vec::new(), written: end, reserved: end, can_reserve }
    }

    /// Where the next item will start.
    pub fn end(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Appends bytes.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        if self.buffer.len() + bytes.len() <= BUFFER_LEN {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        self.flush()?;
        self.write(bytes)
    }

    /// Writes what was collected.
    pub fn flush(&mut self) -> Result<(), WriteError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let buffer = std::mem::take(&mut self.buffer);
        self.write(&buffer)?;
        self.buffer = buffer;
        self.buffer.clear();
        Ok(())
    }

    /// Reads what was appended before.
    pub fn read_back(&mut self, place: u64, bytes: &mut [u8]) -> Result<(), WriteError> {
        self.flush()?;
        self.file.read_exact_at(bytes, place).map_err(|source| WriteError::io(&self.path, source))
    }

    /// Cuts the file off behind the last byte written.
    pub fn trim(&mut self) -> Result<(), WriteError> {
        if self.reserved > self.written {
            self.file.set_len(self.written).map_err(|source| WriteError::io(&self.path, source))?;
            self.reserved = self.written;
        }
        Ok(())
    }

    /// Waits until what was written is on stable storage.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Another handle on the same file.
    pub fn another_handle(&self) -> Result<File, WriteError> {
        self.file.try_clone().map_err(|source| WriteError::io(&self.path, source))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let end = self.written + bytes.len() as u64;
        self.reserve(end);
        self.file.write_all_at(bytes, self.written).map_err(|source| WriteError::io(&self.path, source))?;
        self.written = end;
        self.reserved = self.reserved.max(end);
        Ok(())
    }

    /// Reserves room up to `end` and some more. A file system that cannot, or has no such
    /// room left, has the last word when the bytes themselves are written.
    fn reserve(&mut self, end: u64) {
        if !self.can_reserve || end <= self.reserved {
            return;
        }
        let room = (end / 4).clamp(ROOM_LEN_MIN, ROOM_LEN_MAX);
        let len = end + room - self.reserved;
        match fallocate(&self.file, FallocateFlags::empty(), self.reserved, len) {
            Ok(()) => self.reserved += len,
            Err(_) => self.can_reserve = false,
        }
    }
}
