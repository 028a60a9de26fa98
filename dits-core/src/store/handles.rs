//! Packs that are open for reading, the last used ones kept.
//!
//! **For:** not opening a pack again for each of the hundreds of items read from it, and not reading
//! its table again where the items of one file are in more packs than can be kept open.
//!
//! **May touch:** packs, reading only.
//!
//! **Must hold:** there are never more than [`HANDLES_MAX`], and a few bytes for each of
//! [`CHECKED_MAX`] others.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::error::{PackProblem, StoreError};
use super::index::PackRow;
use super::layout::Layout;
use super::pack::{Checked, OpenError, Pack};

/// Most packs open at once; each takes one or two file descriptors.
const HANDLES_MAX: usize = 96;
/// Most packs that are remembered to have been checked: 4 TiB of them, in 8 MiB of memory.
const CHECKED_MAX: usize = 64 * 1024;

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
    /// Packs that were checked, whether or not they are open now.
    checked: HashMap<i64, Checked>,
    /// Packs that the disk did not give when they were last asked for.
    not_given: HashSet<i64>,
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

    /// Keeps a handle, and lets go of the one that was not used for longest. What the disk does not give
    /// now is asked for again.
    pub fn keep(&mut self, no: i64, handle: Handle) {
        if matches!(handle, Handle::Unusable(_, PackProblem::NotRead(_))) {
            self.not_given.insert(no);
            return;
        }
        self.not_given.remove(&no);
        if matches!(handle, Handle::Gone) {
            return;
        }
        if self.by_no.len() >= HANDLES_MAX
            && let Some(oldest) = self.by_no.iter().min_by_key(|(_, (_, last_use))| *last_use).map(|(no, _)| *no)
        {
            self.by_no.remove(&oldest);
        }
        self.use_count += 1;
        if let Handle::Pack(pack) = &handle
            && let Some(checked) = pack.checked
        {
            if self.checked.len() >= CHECKED_MAX {
                self.checked.clear();
            }
            self.checked.insert(no, checked);
        }
        self.by_no.insert(no, (handle, self.use_count));
    }

    /// Packs that the disk did not give when they were last asked for.
    pub fn not_given(&self) -> Vec<i64> {
        self.not_given.iter().copied().collect()
    }

    /// How the pack with the number `no` was when it was last checked.
    pub fn checked(&self, no: i64) -> Option<Checked> {
        self.checked.get(&no).copied()
    }

    /// Lets go of the handle of the pack with the number `no`.
    pub fn forget(&mut self, no: i64) {
        self.by_no.remove(&no);
        self.checked.remove(&no);
    }

    /// Lets go of the handles of packs that were removed, so that the disk gets their room back.
    pub fn let_go_of_removed(&mut self) {
        let is_removed = |handle: &Handle| matches!(handle, Handle::Pack(pack) if pack.is_removed());
        self.by_no.retain(|_, (handle, _)| !is_removed(handle));
    }

    /// Lets go of every handle.
    pub fn clear(&mut self) {
        self.by_no.clear();
        self.checked.clear();
        self.not_given.clear();
    }
}

/// Opens the pack that `row` is about.
pub(super) fn open(layout: &Layout, row: &PackRow, checked: Option<Checked>) -> Result<Handle, StoreError> {
    if let Some(hash) = &row.hash {
        match Pack::open_sealed(layout, hash, checked) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::PackHash;
    use crate::pack_format::{Domain, TRAILER_LEN, Trailer};

    /// Writes a sealed pack without entries; each domain has another one.
    fn seal(layout: &Layout, n: u8) -> PackRow {
        let trailer = Trailer::of(&[], Domain([n; 16]), 0);
        std::fs::write(layout.sealed_pack(&trailer.hash), trailer.encode()).expect("written");
        let hash: Option<PackHash> = Some(trailer.hash);
        PackRow { no: n.into(), name: None, hash, known: 0, vouched: 0, is_left: false }
    }

    #[test]
    fn a_pack_that_was_let_go_of_is_checked_again_only_if_it_changed() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let layout = Layout { dir: dir.path().to_owned() };
        std::fs::create_dir(layout.packs()).expect("a folder");
        let rows: Vec<PackRow> = (0..200).map(|n| seal(&layout, n)).collect();
        let mut handles = Handles::default();
        for row in &rows {
            handles.keep(row.no, open(&layout, row, None).expect("opened"));
        }
        assert_eq!(handles.by_no.len(), HANDLES_MAX);
        assert!(handles.get(0).is_none());
        // Another pack's check shows that this one's table was not read: it is taken at its word.
        let checked = handles.checked(0).expect("it was checked").with_domain_of(handles.checked(1).expect("it was"));
        let Handle::Pack(pack) = open(&layout, &rows[0], Some(checked)).expect("opened") else { panic!("no pack") };
        assert_eq!(pack.domain, Domain([1; 16]));
        // A byte that is other, and so the file's time.
        let path = layout.sealed_pack(&rows[0].hash.expect("sealed"));
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::write(&path, [0; TRAILER_LEN]).expect("written");
        let opened = open(&layout, &rows[0], handles.checked(0)).expect("looked at");
        assert!(matches!(opened, Handle::Unusable(_, PackProblem::Damaged)), "{opened:?}");
        std::fs::remove_file(layout.sealed_pack(&rows[199].hash.expect("sealed"))).expect("removed");
        handles.let_go_of_removed();
        assert_eq!(handles.by_no.len(), HANDLES_MAX - 1);
        assert!(handles.get(199).is_none() && handles.get(198).is_some());
        handles.forget(5);
        assert!(handles.checked(5).is_none());
    }
}
