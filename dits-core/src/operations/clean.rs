//! Clean: a file's content goes into the store, its pointer comes out.
//!
//! **For:** what `git add`, `git status` and `git diff` ask of the filter.
//!
//! **May touch:** the store, through the one writer that it is handed; threads for hashing
//! a long file.
//!
//! **Must hold:**
//! - a pointer is returned only when every item that it stands for is in the store and
//!   written down (`PackWriter::commit`);
//! - the order of writes is chunks, spans, pages, manifest;
//! - what the store has is not written again, so a clean with nothing new writes nothing;
//! - memory is bounded, whatever the length of the file.

mod earlier;
mod hashing;
mod recipe;
mod storing;
#[cfg(test)]
mod tests;

use super::block_runs;
use crate::item::ItemId;
use crate::limits;
use crate::manifest::ManifestError;
use crate::pointer::{self, Pointer, Reading};
use crate::store::{PackWriter, Sources, StoreError, WriteError};
use earlier::EarlierFile;
use hashing::Hashing;
pub use hashing::{Given, hash_two};
use storing::Storing;

/// How a file is cleaned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanOptions {
    /// Threads that hash a long file beside the calling one: 1 or 2.
    pub hash_threads: usize,
}

impl Default for CleanOptions {
    fn default() -> CleanOptions {
        CleanOptions { hash_threads: block_runs::threads().min(2) }
    }
}

/// What was done to the store for one file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CleanStats {
    /// Chunks that the file has.
    pub chunk_count: u64,
    /// Those of them that the store did not have.
    pub new_chunk_count: u64,
    /// Stored bytes of all items that the store did not have.
    pub new_bytes: u64,
    /// Bytes that were the same as in the version that was added at the same path before.
    pub same_len: u64,
}

/// What a content became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The empty file, which is stored as itself.
    Empty,
    /// The content is a valid pointer and stays as it is.
    AlreadyPointer(Vec<u8>),
    /// The content is in the store, and this stands for it.
    Stored(Pointer),
}

impl Outcome {
    /// The bytes that Git is to store.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Outcome::Empty => Vec::new(),
            Outcome::AlreadyPointer(bytes) => bytes.clone(),
            Outcome::Stored(pointer) => pointer.to_string().into_bytes(),
        }
    }
}

/// Something that is no failure, but that the user should hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CleanWarning {
    /// A valid pointer has something behind it, and was stored as content.
    #[error("begins with a Dits pointer but has more behind it; it was stored as content")]
    PointerWithMore,
    /// A pointer of a later version was stored as content.
    #[error("looks like a Dits pointer of a version that this program does not know; it was stored as content")]
    UnknownPointerVersion,
}

/// What cleaning gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleaned {
    /// What the content became.
    pub outcome: Outcome,
    /// What was done for it.
    pub stats: CleanStats,
    /// What the user should hear.
    pub warning: Option<CleanWarning>,
}

/// Why a content could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum CleanError {
    /// Nothing longer can be described.
    #[error("the file is longer than {} bytes", limits::FILE_LEN_MAX)]
    TooLong,
    /// The store could not be asked.
    #[error("cannot look up {id} in the store")]
    LookUp {
        /// What was looked for.
        id: ItemId,
        /// Why not.
        source: StoreError,
    },
    /// An item could not be written.
    #[error("cannot write {id} to the store")]
    Write {
        /// What was written.
        id: ItemId,
        /// Why not.
        source: WriteError,
    },
    /// What was written could not be made visible.
    #[error("cannot complete the write to the store")]
    Commit(#[source] WriteError),
    /// The file has more parts than a manifest can name.
    #[error("the file cannot be described by a manifest")]
    Manifest(#[source] ManifestError),
    /// Git merged two pointers as if they were text; storing that would lose both sides.
    #[error("it is no content, but pointers with conflict markers between them")]
    Conflicted,
    /// An earlier failure left this file incomplete.
    #[error("the file was given up after an earlier failure")]
    GivenUp,
}

/// Cleans one file.
///
/// Shape: blocks of any length in, in file order, then [`Cleaner::finish`]. Blocks of
/// 4 MiB (any multiple of 1 MiB) are fastest; they are owned so that another thread can
/// read the next one meanwhile, and [`Cleaner::spent_block`] gives them back.
pub struct Cleaner<'s, 'w> {
    /// Where the file stands, so that the version that was added there before is compared.
    path: Option<Vec<u8>>,
    earlier: Option<EarlierFile<'w>>,
    hashing: Hashing,
    storing: Storing<'s, 'w>,
    /// The first bytes, enough to tell a pointer, and one with conflict markers in it.
    head: Vec<u8>,
    len: u64,
    spent: Vec<Vec<u8>>,
    has_failed: bool,
}

/// Buffers that are kept for the caller.
const SPENT_MAX: usize = 4;

impl<'s, 'w> Cleaner<'s, 'w> {
    /// Starts a file. What `known` has is not written again; all else goes to `writer`.
    ///
    /// `known` must hold only stores that stay as long as the writer's own: a chunk that is
    /// there is relied on.
    pub fn new(known: &'w Sources, writer: &'w mut PackWriter<'s>, options: CleanOptions) -> Cleaner<'s, 'w> {
        Cleaner {
            path: None,
            earlier: None,
            hashing: Hashing::new(options.hash_threads),
            storing: Storing::new(known, writer),
            head: Vec::new(),
            len: 0,
            spent: Vec::new(),
            has_failed: false,
        }
    }

    /// Says where the file stands: what is the same as when it was added there before is then neither
    /// cut nor hashed in chunks again. The outcome is the same.
    pub fn at(mut self, path: &[u8]) -> Cleaner<'s, 'w> {
        self.path = Some(path.to_owned());
        self
    }

    /// Says how long the content will probably be, in bytes: a long file that is new and cannot be compressed
    /// gets a pack of its own, byte for byte. A wrong length costs nothing.
    pub fn expecting(mut self, len: u64) -> Cleaner<'s, 'w> {
        self.storing.expect(len);
        self
    }

    /// Takes the next block of the content.
    ///
    /// # Errors
    ///
    /// [`CleanError`]; the file is then given up, and every later call fails too.
    pub fn push(&mut self, block: Vec<u8>) -> Result<(), CleanError> {
        if self.has_failed {
            return Err(CleanError::GivenUp);
        }
        let head_left = (limits::CONFLICTED_POINTER_LEN_MAX + 1 - self.head.len()).min(block.len());
        self.head.extend_from_slice(&block[..head_left]);
        self.len += block.len() as u64;
        let pushed = match self.len <= limits::FILE_LEN_MAX {
            true => self.hash_and_store(block),
            false => Err(CleanError::TooLong),
        };
        self.has_failed = pushed.is_err();
        pushed
    }

    /// A buffer that was pushed and is needed no more, for the caller to fill again.
    ///
    /// It has its old bytes: a caller that overwrites them need not pay for clearing it.
    pub fn spent_block(&mut self) -> Option<Vec<u8>> {
        self.spent.pop()
    }

    /// Ends the content. What it became is in the store when this returns.
    ///
    /// # Errors
    ///
    /// [`CleanError`]; items that were written by then stay in the store and are found again.
    pub fn finish(mut self) -> Result<Cleaned, CleanError> {
        if self.has_failed {
            return Err(CleanError::GivenUp);
        }
        let done = |outcome| Cleaned { outcome, stats: CleanStats::default(), warning: None };
        if self.len == 0 {
            return Ok(done(Outcome::Empty));
        }
        if pointer::is_conflicted(&self.head) {
            return Err(CleanError::Conflicted);
        }
        let warning = match pointer::read(&self.head) {
            Reading::Pointer(_) if self.head.len() <= limits::POINTER_LEN_MAX => {
                return Ok(done(Outcome::AlreadyPointer(self.head)));
            }
            Reading::Pointer(_) | Reading::PointerWithMore => Some(CleanWarning::PointerWithMore),
            Reading::UnknownVersion => Some(CleanWarning::UnknownPointerVersion),
            Reading::Content => None,
        };
        while let Some(block) = self.hashing.wait_for_block() {
            self.storing.store(&block)?;
        }
        let (last, hashed) = self.hashing.finish();
        self.storing.store(&last)?;
        let (pointer, stats) = self.storing.finish(hashed, self.len, self.path.as_deref())?;
        Ok(Cleaned { outcome: Outcome::Stored(pointer), stats, warning })
    }

    fn hash_and_store(&mut self, block: Vec<u8>) -> Result<(), CleanError> {
        let start = self.len - block.len() as u64;
        if start == 0 && block.len() as u64 >= limits::BLOCK_LEN {
            self.earlier = self.path.as_ref().and_then(|path| EarlierFile::find(self.storing.own_store(), path));
        }
        let earlier = self.earlier.as_mut().and_then(|earlier| earlier.at(start, block.len()));
        let mut next = self.hashing.push(Given { block, earlier });
        while let Some(block) = next {
            self.earlier = self.earlier.take().and_then(|mut earlier| {
                let goes_on = earlier.is_worth_while(block.same_len() > 0);
                goes_on.then_some(earlier)
            });
            self.storing.store(&block)?;
            if self.spent.len() < SPENT_MAX {
                self.spent.push(block.into_block());
            }
            next = self.hashing.take_block();
        }
        Ok(())
    }
}
