//! What a collection asks of the index, and tells it.
//!
//! **For:** packs that are going to be removed, and the rows that go with them.
//!
//! **May touch:** the index.
//!
//! **Must hold:** that a pack is condemned is one short change, which every process sees at its next look.

use std::collections::HashSet;

use rusqlite::params;

use super::{Index, Place, ROWS_AT_ONCE, key};
use crate::hash::{FileHash, PackHash};
use crate::item::ItemId;
use crate::store::error::StoreError;

/// Memory for pages of the index while all of it is looked through, in KiB.
const CACHE_KIB: i64 = 64 * 1024;

impl Index {
    /// The sealed packs that the index counts as condemned.
    pub fn condemned(&self) -> Result<HashSet<PackHash>, StoreError> {
        self.wrap(|| {
            let select = "SELECT hash FROM condemned JOIN packs ON packs.no = condemned.pack WHERE hash IS NOT NULL";
            let mut statement = self.connection.prepare_cached(select)?;
            let hashes = statement.query_map([], |row| row.get::<_, [u8; 32]>(0).map(PackHash::from_bytes))?;
            hashes.collect()
        })
    }

    /// Notes that sealed packs are condemned; one that the index does not know is passed over.
    pub fn condemn(&mut self, hashes: &[PackHash]) -> Result<(), StoreError> {
        self.change(|change| {
            let insert = "INSERT OR IGNORE INTO condemned (pack) SELECT no FROM packs WHERE hash = ?1";
            let mut insert = change.prepare_cached(insert)?;
            hashes.iter().try_for_each(|hash| insert.execute([hash.as_bytes()]).map(drop))
        })
    }

    /// Notes that a sealed pack is not condemned any more.
    pub fn spare(&mut self, hash: &PackHash) -> Result<(), StoreError> {
        self.change(|change| {
            let delete = "DELETE FROM condemned WHERE pack IN (SELECT no FROM packs WHERE hash = ?1)";
            change.execute(delete, [hash.as_bytes()]).map(drop)
        })
    }

    /// Returns true if a search finds each of these entries of the pack with the number `no`.
    pub fn finds_all(&self, no: i64, entries: &[(ItemId, u32)]) -> Result<bool, StoreError> {
        let look = self.wrap(|| self.connection.unchecked_transaction())?;
        let found = self.wrap(|| {
            let select = "SELECT 1 FROM items WHERE key = ?1 AND pack = ?2 AND entry = ?3";
            let mut statement = self.connection.prepare_cached(select)?;
            for (id, entry_no) in entries {
                if !statement.exists(params![key(id), no, entry_no])? {
                    return Ok(false);
                }
            }
            Ok(true)
        });
        self.wrap(|| look.finish())?;
        found
    }

    /// Returns true if a search for the file `oid` finds this manifest.
    pub fn finds_manifest(&self, oid: &FileHash, place: &Place) -> Result<bool, StoreError> {
        self.wrap(|| {
            let select = "SELECT 1 FROM manifests WHERE oid = ?1 AND pack = ?2 AND entry = ?3";
            let mut statement = self.connection.prepare_cached(select)?;
            statement.exists(params![oid.as_bytes(), place.pack_no, place.entry_no])
        })
    }

    /// Returns true if an entry is noted as damaged.
    pub fn is_damaged(&self, place: &Place) -> Result<bool, StoreError> {
        self.wrap(|| {
            let mut statement =
                self.connection.prepare_cached("SELECT 1 FROM damaged WHERE pack = ?1 AND entry = ?2")?;
            statement.exists(params![place.pack_no, place.entry_no])
        })
    }

    /// Forgets sealed packs whose files are gone, and so their entries.
    ///
    /// This takes as long as they had entries, not as the index has rows.
    pub fn forget_packs(&mut self, packs: &[(i64, Vec<(ItemId, u32)>)]) -> Result<(), StoreError> {
        // In key order, so that rows of one page go together.
        let of_pack = |(no, entries): &(i64, Vec<(ItemId, u32)>)| {
            entries.iter().map(|(id, entry_no)| (key(id), *no, *entry_no)).collect::<Vec<_>>()
        };
        let mut rows: Vec<([u8; 16], i64, u32)> = packs.iter().flat_map(of_pack).collect();
        rows.sort_unstable();
        for rows in rows.chunks(ROWS_AT_ONCE) {
            self.change(|change| {
                let delete = "DELETE FROM items WHERE key = ?1 AND pack = ?2 AND entry = ?3";
                let mut delete = change.prepare_cached(delete)?;
                rows.iter().try_for_each(|(key, no, entry)| delete.execute(params![key, no, entry]).map(drop))
            })?;
        }
        let nos: Vec<i64> = packs.iter().map(|(no, _)| *no).collect();
        self.drop_rows(&nos, &["manifests", "damaged", "condemned"])
    }

    /// Has as much of the index stay in memory as makes looking up all of it quick.
    pub fn expect_many_lookups(&self) -> Result<(), StoreError> {
        self.wrap(|| self.connection.pragma_update(None, "cache_size", -CACHE_KIB))
    }
}
