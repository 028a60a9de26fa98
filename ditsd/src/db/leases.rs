//! Leases: what a client was told is here, and may rely on for a while.
//!
//! **For:** a collection, which leaves leased items alone, and all that a leased manifest or span
//! leads to.
//!
//! **Must hold:**
//! - an item that was answered as present is leased before the answer goes out;
//! - a lease that has run out keeps nothing, and one of a proof does not run out.

use dits_core::hash::ManifestHash;
use dits_core::item::{ItemId, ItemKind};
use dits_core::pack_format::Domain;
use rusqlite::{Connection, params};

use super::{Db, DbError, RepoId, RepoKey, bytes};

/// When the lease of a proof ends: it is over with the proof, or with the server that ran it.
const WITH_ITS_PROOF: i64 = i64::MAX;
/// Length of an item in a row: its kind, and its hash.
const ITEM_LEN: usize = 33;

/// A lease's random name; whoever knows it may extend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseId(pub [u8; 16]);

/// A lease that is given now.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    /// Its name.
    pub id: LeaseId,
    /// When it ends, in seconds since 1970 UTC.
    pub expires: u64,
    /// The present time.
    pub now: u64,
}

impl Db {
    /// Extends a lease by items and time, starting it where it is not known (any more).
    /// Expired leases go.
    pub fn lease(&self, repo: RepoKey, id: LeaseId, expires: u64, now: u64, items: &[ItemId]) -> Result<(), DbError> {
        let blob = items_blob(items.iter().copied());
        self.write(|connection| {
            connection.prepare_cached("DELETE FROM leases WHERE expires < ?1")?.execute([now as i64])?;
            insert(connection, repo.0, id, expires as i64, &blob)
        })
    }

    /// Keeps what a client sent and the store had already: `there` is leased, and of `adopted`, which another
    /// repository's packs hold, it is recorded as well that the client sent it. For a repository that was
    /// removed meanwhile nothing is recorded.
    pub fn keep_sent(&self, repo: RepoId, lease: Lease, adopted: &[ItemId], there: &[ItemId]) -> Result<(), DbError> {
        if adopted.is_empty() && there.is_empty() {
            return Ok(());
        }
        let blob = items_blob(adopted.iter().chain(there).copied());
        self.write(|connection| {
            let Some(no) = super::repos::number_of(connection, repo)? else { return Ok(()) };
            super::presence::insert(connection, no, adopted)?;
            connection.prepare_cached("DELETE FROM leases WHERE expires < ?1")?.execute([lease.now as i64])?;
            insert(connection, no, lease.id, lease.expires as i64, &blob)
        })
    }

    /// Keeps manifests, and all that they lead to, until [`Db::end_proof`].
    pub fn begin_proof(&self, repo: RepoKey, id: LeaseId, manifests: &[ManifestHash]) -> Result<(), DbError> {
        let blob = items_blob(manifests.iter().map(|manifest| ItemId::from(*manifest)));
        self.write(|connection| insert(connection, repo.0, id, WITH_ITS_PROOF, &blob))
    }

    /// Lets go of what a proof kept.
    pub fn end_proof(&self, id: LeaseId) -> Result<(), DbError> {
        self.write(|connection| connection.execute("DELETE FROM leases WHERE id = ?1", [id.0]).map(drop))
    }

    /// Lets go of what the proofs of a server kept that did not end them. No server may be running.
    pub fn forget_proofs(&self) -> Result<(), DbError> {
        self.write(|connection| connection.execute("DELETE FROM leases WHERE expires = ?1", [WITH_ITS_PROOF]).map(drop))
    }

    /// Hands over each item that is leased at `now`, with the domain of the repository that it is leased in.
    ///
    /// # Errors
    ///
    /// What `take` says, or [`DbError`].
    pub fn leased<E: From<DbError>>(
        &self,
        now: u64,
        take: &mut dyn FnMut(Domain, ItemId) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut after = 0;
        loop {
            // A few at a time, and nothing is held while they are taken.
            let rows = self.read(|connection| {
                let select = "SELECT leased.rowid, repos.id, leased.items FROM leased
                    JOIN leases ON leases.id = leased.lease JOIN repos ON repos.no = leases.repo
                    WHERE leased.rowid > ?1 AND leases.expires >= ?2 ORDER BY leased.rowid LIMIT 16";
                let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, bytes(row, 1)?, row.get(2)?));
                let mut statement = connection.prepare_cached(select)?;
                statement.query_map(params![after, now as i64], read)?.collect::<rusqlite::Result<Vec<LeasedRow>>>()
            })?;
            let Some((last, ..)) = rows.last() else { return Ok(()) };
            after = *last;
            for (_, repo, items) in rows {
                let (items, rest) = items.as_chunks::<ITEM_LEN>();
                if !rest.is_empty() {
                    return Err(self.damaged("part of an item is leased").into());
                }
                for item in items {
                    let kind = ItemKind::from_number(item[0]);
                    let kind = kind.ok_or_else(|| self.damaged("an item of no kind is leased"))?;
                    let hash = item[1..].try_into().expect("an item's length is that of a kind and a hash");
                    take(Domain(repo), ItemId { kind, hash })?;
                }
            }
        }
    }
}

/// Number, repository and items of a row of `leased`.
type LeasedRow = (i64, [u8; 16], Vec<u8>);

fn items_blob(items: impl Iterator<Item = ItemId>) -> Vec<u8> {
    items.flat_map(|item| std::iter::once(item.kind as u8).chain(item.hash)).collect()
}

fn insert(connection: &Connection, repo: i64, id: LeaseId, expires: i64, items: &[u8]) -> rusqlite::Result<()> {
    let insert = "INSERT INTO leases (id, repo, expires) VALUES (?1, ?2, ?3)
        ON CONFLICT (id) DO UPDATE SET expires = max(expires, excluded.expires) WHERE repo = excluded.repo";
    connection.prepare_cached(insert)?.execute(params![id.0, repo, expires])?;
    if !items.is_empty() {
        let insert = "INSERT INTO leased (lease, items) VALUES (?1, ?2)";
        connection.prepare_cached(insert)?.execute(params![id.0, items])?;
    }
    Ok(())
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

    fn leased(db: &Db, now: u64) -> Vec<(Domain, ItemId)> {
        let mut found = Vec::new();
        let take = &mut |domain, id| {
            found.push((domain, id));
            Ok::<(), DbError>(())
        };
        db.leased(now, take).unwrap();
        found
    }

    #[test]
    fn what_is_leased_is_listed_until_the_lease_has_run_out() {
        let (_dir, db, film) = with_repo();
        let item = |n: u8| ItemId::from(ChunkHash::from_bytes([n; 32]));
        let many: Vec<ItemId> = (0..40).map(item).collect();
        for (n, items) in many.chunks(2).enumerate() {
            db.lease(film.key, LeaseId([n as u8; 16]), 100, 0, items).unwrap();
        }
        let expected: Vec<_> = many.iter().map(|item| (film.domain(), *item)).collect();
        assert_eq!(leased(&db, 100), expected);
        assert_eq!(leased(&db, 101), []);
    }

    #[test]
    fn what_a_client_sent_that_was_there_is_leased_and_what_another_has_is_its_own_too() {
        let (_dir, db, film) = with_repo();
        let (mine, others) =
            (ItemId::from(ChunkHash::from_bytes([1; 32])), ItemId::from(ChunkHash::from_bytes([2; 32])));
        let lease = Lease { id: LeaseId([1; 16]), expires: 100, now: 0 };
        db.keep_sent(film.id, lease, &[others], &[mine]).unwrap();
        assert_eq!(leased(&db, 50), [(film.domain(), others), (film.domain(), mine)]);
        assert_eq!(db.have_presence(film.id, &[mine, others]).unwrap(), [false, true]);
        db.remove_repo(film.key).unwrap();
        db.keep_sent(film.id, lease, &[others], &[mine]).unwrap();
        assert_eq!(counts(&db), (0, 0), "there is nobody to keep it for");
    }

    #[test]
    fn what_a_proof_needs_is_kept_until_it_ends_whatever_the_clock_says() {
        let (_dir, db, film) = with_repo();
        let manifest = ManifestHash::from_bytes([1; 32]);
        for id in [LeaseId([1; 16]), LeaseId([2; 16])] {
            db.begin_proof(film.key, id, &[manifest]).unwrap();
        }
        db.lease(film.key, LeaseId([3; 16]), 5, 4_000_000_000, &[]).unwrap();
        assert_eq!(leased(&db, 4_000_000_000), [(film.domain(), manifest.into()); 2]);
        db.end_proof(LeaseId([1; 16])).unwrap();
        assert_eq!(leased(&db, 0).len(), 1);
        db.forget_proofs().unwrap();
        assert_eq!(counts(&db), (1, 0));
    }
}
