//! Packs that are open for reading, the last used ones kept.
//!
//! **For:** not opening a pack again for each of the hundreds of items read from it.
//!
//! **May touch:** packs, reading only.
//!
//! **Must hold:** there are never more than [`HANDLES_MAX`].

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::error::{PackProblem, StoreError};
use super::index::PackRow;
use super::layout::Layout;
use super::pack::{OpenError, Pack};

/// Most packs open at once; each takes one or two file descriptors.
const HANDLES_MAX: usize = 96;

/// What became of opening a pack.
#[derive(Debug, Clone)]
pub(super) enum Handle {
    /// It can be read.
    Pack(Arc<Pack>),
    /// It is not what was sealed, or not of a version that is known.
    Unusable(PathBuf, PackProblem),
    /// Its files are gone.
    Gone,
}

#[derive(Debug, Default)]
pub(super) struct Handles {
    by_no: HashMap<i64, (Handle, u64)>,
    use_count: u64,
}

impl Handles {
    /// Returns the handle of the pack with the number `no`, if it is open.
    pub fn get(&mut self, no: i64) -> Option<Handle> {
        self.use_count += 1;
        let (handle, last_use) = self.by_no.get_mut(&no)?;
        *last_use = self.use_count;
        Some(handle.clone())
    }

    /// Keeps a handle, and lets go of the one that was not used for longest.
    pub fn keep(&mut self, no: i64, handle: Handle) {
        if self.by_no.len() >= HANDLES_MAX
            && let Some(oldest) = self.by_no.iter().min_by_key(|(_, (_, last_use))| *last_use).map(|(no, _)| *no)
        {
            self.by_no.remove(&oldest);
        }
        self.use_count += 1;
        self.by_no.insert(no, (handle, self.use_count));
    }

    /// Lets go of the handle of the pack with the number `no`.
    pub fn forget(&mut self, no: i64) {
        self.by_no.remove(&no);
    }

    /// Lets go of every handle.
    pub fn clear(&mut self) {
        self.by_no.clear();
    }
}

/// Opens the pack that `row` is about.
pub(super) fn open(layout: &Layout, row: &PackRow) -> Result<Handle, StoreError> {
    if let Some(hash) = &row.hash {
        match Pack::open_sealed(layout, hash) {
            Ok(pack) => return Ok(Handle::Pack(Arc::new(pack))),
            Err(OpenError::Unusable(problem)) => return Ok(Handle::Unusable(layout.sealed_pack(hash), problem)),
            Err(OpenError::Store(error)) => return Err(error),
            // Named in the index just before it is renamed: it may still have its open name.
            Err(OpenError::Gone) => {}
        }
    }
    let Some(name) = &row.name else { return Ok(Handle::Gone) };
    match Pack::open_growing(layout, name, row.vouched) {
        Ok(pack) => Ok(Handle::Pack(Arc::new(pack))),
        Err(OpenError::Unusable(problem)) => Ok(Handle::Unusable(layout.open_log(name), problem)),
        Err(OpenError::Gone) => Ok(Handle::Gone),
        Err(OpenError::Store(error)) => Err(error),
    }
}
