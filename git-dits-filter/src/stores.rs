//! The repository's stores, opened when they are first needed.
//!
//! **For:** a start that costs nothing where git asks for nothing.
//!
//! **May touch:** what the store touches, and what the system says of a file of the work tree.
//!
//! **Must hold:** cleaning relies on the repository's own store alone: alternates and remotes
//! on a local path may go away, and are only read from.

use std::cell::OnceCell;

use bstr::ByteSlice;
use dits_core::repo::Repository;
use dits_core::repo::config::Settings;
use dits_core::repo::stores::{open_own, open_sources};
use dits_core::store::{Sources, StoreError};

/// The stores of one repository.
pub struct Stores<'r> {
    repo: &'r Repository,
    settings: &'r Settings,
    own: OnceCell<Sources>,
    all: OnceCell<Sources>,
}

impl<'r> Stores<'r> {
    /// Opens nothing yet.
    pub fn new(repo: &'r Repository, settings: &'r Settings) -> Stores<'r> {
        Stores { repo, settings, own: OnceCell::new(), all: OnceCell::new() }
    }

    /// The repository's own store, to write to.
    pub fn own(&self) -> Result<&Sources, StoreError> {
        opened(&self.own, || Ok(Sources::new(open_own(self.repo, self.settings)?, Vec::new())))
    }

    /// Length in bytes of the file at a path of the work tree: what git sends is probably that file.
    pub fn len_in_work_tree(&self, path: &[u8]) -> Option<u64> {
        let file = self.repo.work_tree()?.join(path.to_path().ok()?).symlink_metadata().ok()?;
        file.is_file().then_some(file.len())
    }

    /// Its own store and all others, to read from.
    pub fn all(&self) -> Result<&Sources, StoreError> {
        opened(&self.all, || open_sources(self.repo, self.settings))
    }
}

fn opened(
    cell: &OnceCell<Sources>,
    open: impl FnOnce() -> Result<Sources, StoreError>,
) -> Result<&Sources, StoreError> {
    if let Some(sources) = cell.get() {
        return Ok(sources);
    }
    let sources = open()?;
    Ok(cell.get_or_init(|| sources))
}
