//! Clean requests: a content goes into the store while git still sends it.
//!
//! **For:** `git add`, `git status`, `git diff`, `git stash`.
//!
//! **May touch:** the store; one thread that reads ahead where a content is long.
//!
//! **Must hold:**
//! - a content is read to its end whatever becomes of it, so that git hears the answer;
//! - one file that cannot be stored takes no other with it;
//! - at most a handful of blocks is in memory.

use std::sync::mpsc;

use dits_core::operations::clean::{CleanError, CleanOptions, Cleaned, Cleaner, Outcome};
use dits_core::pack_format::Domain;
use dits_core::store::collect::Guard;
use dits_core::store::{PackWriter, Sources, StoreError, WriteError};

use crate::input::InputError;
use crate::stores::Stores;

/// Blocks that may be read ahead of the one being worked on.
const BLOCKS_AHEAD: usize = 2;

/// Fills a block with the next part of a content and says whether more follow.
pub type Fill<'f> = &'f mut (dyn FnMut(&mut Vec<u8>) -> Result<bool, InputError> + Send);

/// A content that could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum NotStored {
    /// The store cannot be used at all.
    #[error("cannot open the store")]
    Open(#[source] StoreError),
    /// It could not take this content.
    #[error(transparent)]
    Clean(#[from] Box<CleanError>),
}

/// All clean requests of one process: what they store is synced once.
pub struct Cleaning<'s> {
    stores: &'s Stores<'s>,
    /// What the store says that it has must stay until git has written the pointers down.
    guard: Option<Guard>,
    writer: Option<PackWriter<'s>>,
    /// A file's items lie in the store, some of them perhaps from before.
    has_stored: bool,
    spent: Vec<Vec<u8>>,
}

/// How far what was stored is on stable storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synced {
    /// Nothing was stored.
    Nothing,
    /// Everything is.
    All,
}

impl<'s> Cleaning<'s> {
    /// Touches nothing yet.
    pub fn new(stores: &'s Stores<'s>) -> Cleaning<'s> {
        Cleaning { stores, guard: None, writer: None, has_stored: false, spent: Vec::new() }
    }

    /// Stores the content that `fill` gives of the file at `path`, reading it to its end in any case.
    ///
    /// # Errors
    ///
    /// The outer error means that git cannot be understood any more.
    pub fn clean(&mut self, path: &[u8], fill: Fill<'_>) -> Result<Result<Cleaned, NotStored>, InputError> {
        let sources = match self.guarded() {
            Ok(sources) => sources,
            Err(error) => return drain(fill).map(|()| Err(NotStored::Open(error))),
        };
        let mut first = self.spent.pop().unwrap_or_default();
        let more = fill(&mut first)?;
        let writer = self.writer.get_or_insert_with(|| sources.own().writer(Domain::LOCAL));
        let mut cleaner = Cleaner::new(sources, writer, CleanOptions::default()).at(path);
        if let (true, Some(len)) = (more, self.stores.len_in_work_tree(path)) {
            cleaner = cleaner.expecting(len);
        }
        let pushed = match first.is_empty() {
            true => Ok(()),
            false => cleaner.push(first).map_err(Box::new),
        };
        let pushed = match more {
            true => read_ahead(fill, &mut cleaner, pushed)?,
            false => pushed,
        };
        self.spent.extend(std::iter::from_fn(|| cleaner.spent_block()).take(BLOCKS_AHEAD));
        self.spent.truncate(BLOCKS_AHEAD);
        let cleaned = pushed.and_then(|()| cleaner.finish().map_err(Box::new));
        match &cleaned {
            Ok(cleaned) => self.has_stored |= matches!(cleaned.outcome, Outcome::Stored(_)),
            // A writer that failed takes nothing more; the next file gets another one.
            Err(_) => self.writer = None,
        }
        Ok(cleaned.map_err(NotStored::Clean))
    }

    /// The repository's own store, guarded before it is asked anything.
    fn guarded(&mut self) -> Result<&'s Sources, StoreError> {
        let sources = self.stores.own()?;
        if self.guard.is_none() {
            self.guard = Some(sources.own().guard()?);
        }
        Ok(sources)
    }

    /// Brings all that was stored to stable storage.
    ///
    /// That is more than this process wrote: a file may rest on items that a killed process, one
    /// at work beside this, or a fetch wrote and never synced.
    ///
    /// # Errors
    ///
    /// [`WriteError`] if the system could not.
    pub fn sync(&mut self) -> Result<Synced, WriteError> {
        self.writer.as_mut().map_or(Ok(()), |writer| writer.sync())?;
        if !self.has_stored {
            return Ok(Synced::Nothing);
        }
        let store = self.stores.own()?.own();
        store.sync()?;
        // What an earlier process told git of must be there, too.
        store.check_nothing_lost()?;
        Ok(Synced::All)
    }
}

/// What became of the blocks so far.
type Pushed = Result<(), Box<CleanError>>;

/// Reads the rest of a content on another thread while this one works on it.
fn read_ahead(fill: Fill<'_>, cleaner: &mut Cleaner<'_, '_>, mut pushed: Pushed) -> Result<Pushed, InputError> {
    let (full_to, full) = mpsc::sync_channel::<Vec<u8>>(BLOCKS_AHEAD);
    let (spent_to, spent) = mpsc::channel::<Vec<u8>>();
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            loop {
                let mut block = spent.try_recv().unwrap_or_default();
                let more = fill(&mut block)?;
                // The other end goes on receiving after a failure, until all was read.
                let _ = full_to.send(block);
                if !more {
                    return Ok(());
                }
            }
        });
        for block in full {
            match &pushed {
                Ok(()) => pushed = cleaner.push(block).map_err(Box::new),
                Err(_) => drop(spent_to.send(block)),
            }
            while let Some(block) = cleaner.spent_block() {
                // The reader may have read everything by now.
                let _ = spent_to.send(block);
            }
        }
        reader.join().expect("the reader does not panic").map(|()| pushed)
    })
}

fn drain(fill: Fill<'_>) -> Result<(), InputError> {
    let mut block = Vec::new();
    while fill(&mut block)? {}
    Ok(())
}
