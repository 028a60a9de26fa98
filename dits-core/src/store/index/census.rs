//! Counting rows, and asking for many of one pack.
//!
//! **For:** comparing the index with the packs, whatever their number.
//!
//! **May touch:** the index file.
//!
//! **Must hold:** the counts of a census are of one moment; memory grows with the packs, not with the rows.

use std::collections::{HashMap, HashSet};

use rusqlite::params;

use super::{Index, PackRow, key};
use crate::hash::FileHash;
use crate::item::ItemId;
use crate::store::error::StoreError;

/// What the index has of one pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Counted {
    pub row: PackRow,
    /// Rows of entries that the index says it knows.
    pub items: u64,
    /// Rows of manifests among them.
    pub manifests: u64,
    /// Rows of entries beyond those.
    pub beyond: u64,
}

/// What the index has, at one moment.
#[derive(Debug, Default)]
pub(in crate::store) struct Census {
    pub packs: Vec<Counted>,
    /// Rows of packs that the index does not name.
    pub strays: u64,
}

impl Index {
    /// Counts all rows by pack. Looks through all of them.
    pub fn census(&self) -> Result<Census, StoreError> {
        let look = self.wrap(|| self.connection.unchecked_transaction())?;
        let packs = self.packs()?;
        let places: HashMap<i64, usize> = packs.iter().enumerate().map(|(at, row)| (row.no, at)).collect();
        let count = |row| Counted { row, items: 0, manifests: 0, beyond: 0 };
        let mut census = Census { packs: packs.into_iter().map(count).collect(), strays: 0 };
        let mut each = |sql: &str, field: fn(&mut Counted) -> &mut u64| {
            self.wrap(|| {
                let mut statement = self.connection.prepare(sql)?;
                let mut rows = statement.query([])?;
                while let Some(row) = rows.next()? {
                    let (no, entry_no): (i64, i64) = (row.get(0)?, row.get(1)?);
                    match places.get(&no).map(|at| &mut census.packs[*at]) {
                        Some(pack) if (0..i64::from(pack.row.known)).contains(&entry_no) => *field(pack) += 1,
                        Some(pack) => pack.beyond += 1,
                        None => census.strays += 1,
                    }
                }
                Ok(())
            })
        };
        each("SELECT pack, entry FROM items", |pack| &mut pack.items)?;
        each("SELECT pack, entry FROM manifests", |pack| &mut pack.manifests)?;
        self.wrap(|| look.finish())?;
        Ok(census)
    }

    /// How many of these entries of a pack have no row.
    pub fn count_lacking(&self, no: i64, entries: &[(u32, ItemId)]) -> Result<u64, StoreError> {
        self.wrap(|| {
            let look = self.connection.unchecked_transaction()?;
            let sql = "SELECT 1 FROM items WHERE key = ?1 AND pack = ?2 AND entry = ?3";
            let mut statement = self.connection.prepare_cached(sql)?;
            let mut lacking = 0;
            for (entry_no, id) in entries {
                lacking += u64::from(!statement.exists(params![key(id), no, entry_no])?);
            }
            drop(statement);
            look.finish()?;
            Ok(lacking)
        })
    }

    /// Returns true if an entry of a pack is listed as a manifest of the file `oid`.
    pub fn lists_manifest(&self, no: i64, entry_no: u32, oid: &FileHash) -> Result<bool, StoreError> {
        self.wrap(|| {
            let sql = "SELECT 1 FROM manifests WHERE oid = ?1 AND pack = ?2 AND entry = ?3";
            self.connection.prepare_cached(sql)?.exists(params![oid.as_bytes(), no, entry_no])
        })
    }

    /// The entries of a pack that readers found damaged.
    pub fn damaged_of(&self, no: i64) -> Result<HashSet<u32>, StoreError> {
        self.wrap(|| {
            let mut statement = self.connection.prepare_cached("SELECT entry FROM damaged WHERE pack = ?1")?;
            statement.query_map([no], |row| row.get(0))?.collect()
        })
    }

    /// Notes that these entries of a pack are damaged, and those good.
    pub fn note_found(&mut self, no: i64, damaged: &[u32], good: &[u32]) -> Result<(), StoreError> {
        self.change(|change| {
            let mut insert = change.prepare_cached("INSERT OR IGNORE INTO damaged (pack, entry) VALUES (?1, ?2)")?;
            damaged.iter().try_for_each(|entry_no| insert.execute(params![no, entry_no]).map(drop))?;
            let mut delete = change.prepare_cached("DELETE FROM damaged WHERE pack = ?1 AND entry = ?2")?;
            good.iter().try_for_each(|entry_no| delete.execute(params![no, entry_no]).map(drop))
        })
    }
}
