//! Leases: what a client was told is here, and may rely on for a while.
//!
//! **For:** a sweep of unreached items, which leaves leased ones alone.
//!
//! **Must hold:** an item that was answered as present is leased before the answer goes out.

use dits_core::item::ItemId;
use rusqlite::params;

use super::{Db, DbError, RepoKey};

/// A lease's random name; whoever knows it may extend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseId(pub [u8; 16]);

impl Db {
    /// Extends a lease by items and time, starting it where it is not known (any more).
    /// Expired leases go.
    pub fn lease(&self, repo: RepoKey, id: LeaseId, expires: u64, now: u64, items: &[ItemId]) -> Result<(), DbError> {
        let mut blob = Vec::with_capacity(items.len() * 33);
        for item in items {
            blob.push(item.kind as u8);
            blob.extend_from_slice(&item.hash);
        }
        self.write(|connection| {
            connection.prepare_cached("DELETE FROM leases WHERE expires < ?1")?.execute([now as i64])?;
            let insert = "INSERT INTO leases (id, repo, expires) VALUES (?1, ?2, ?3)
                ON CONFLICT (id) DO UPDATE SET expires = max(expires, excluded.expires) WHERE repo = excluded.repo";
            connection.prepare_cached(insert)?.execute(params![id.0, repo.0, expires as i64])?;
            if !blob.is_empty() {
                let insert = "INSERT INTO leased (lease, items) VALUES (?1, ?2)";
                connection.prepare_cached(insert)?.execute(params![id.0, blob])?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::with_repo;
    use super::*;
    use dits_core::hash::ChunkHash;

    fn counts(db: &Db) -> (u32, u32) {
        let count = |table: &str| {
            db.read(|connection| connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)))
        };
        (count("leases").unwrap(), count("leased").unwrap())
    }

    #[test]
    fn a_lease_is_extended_and_then_swept_with_its_items() {
        let (_dir, db, film) = with_repo();
        let item = [ChunkHash::from_bytes([1; 32]).into()];
        db.lease(film.key, LeaseId([1; 16]), 100, 0, &item).unwrap();
        db.lease(film.key, LeaseId([1; 16]), 200, 150, &item).unwrap();
        db.lease(film.key, LeaseId([2; 16]), 300, 150, &[]).unwrap();
        assert_eq!(counts(&db), (2, 1));
        db.lease(film.key, LeaseId([3; 16]), 300, 250, &[]).unwrap();
        assert_eq!(counts(&db), (2, 0));
    }
}
