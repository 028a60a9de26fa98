//! Which items a repository has although another one's pack holds them.
//!
//! **For:** storing an item once, without telling one repository what another has.
//!
//! **Must hold:** a row is written only after the repository's own client has sent the
//! item's bytes and they matched its name. `docs/decisions/0015-presence-by-domain.md`.

use dits_core::item::ItemId;
use rusqlite::{Connection, params};

use super::{Db, DbError, RepoId};

impl Db {
    /// Returns true if there is a row for this item.
    pub fn has_presence(&self, repo: RepoId, id: &ItemId) -> Result<bool, DbError> {
        Ok(self.have_presence(repo, &[*id])?[0])
    }

    /// Says for each of these items whether there is a row, in one look at the database.
    pub fn have_presence(&self, repo: RepoId, ids: &[ItemId]) -> Result<Vec<bool>, DbError> {
        self.read(|connection| {
            let look = connection.unchecked_transaction()?;
            let select = "SELECT 1 FROM presence
                WHERE repo = (SELECT no FROM repos WHERE id = ?1) AND kind = ?2 AND hash = ?3";
            let mut select = look.prepare_cached(select)?;
            ids.iter().map(|id| select.exists(params![repo.0, id.kind as u8, id.hash])).collect()
        })
    }
}

/// Records items that the client of the repository with the number `repo` sent and another one's pack holds.
pub(super) fn insert(connection: &Connection, repo: i64, ids: &[ItemId]) -> rusqlite::Result<()> {
    let insert = "INSERT INTO presence (repo, kind, hash) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
    let mut statement = connection.prepare_cached(insert)?;
    ids.iter().try_for_each(|id| statement.execute(params![repo, id.kind as u8, id.hash]).map(drop))
}

#[cfg(test)]
mod tests {
    use super::super::tests::with_repo;
    use crate::db::{Lease, LeaseId, RepoId};
    use dits_core::hash::{ChunkHash, SpanHash};
    use dits_core::item::ItemId;
    use dits_core::repo_path::RepoName;

    #[test]
    fn presence_is_of_one_kind_in_one_repository() {
        let (_dir, db, film) = with_repo();
        let other = db.ensure_repo(&RepoName::new("other").unwrap(), RepoId([9; 16]), 1).unwrap();
        let chunk = ItemId::from(ChunkHash::from_bytes([1; 32]));
        let lease = Lease { id: LeaseId([1; 16]), expires: 9, now: 5 };
        db.keep_sent(film.id, lease, &[chunk, chunk], &[]).unwrap();
        assert!(db.has_presence(film.id, &chunk).unwrap());
        assert!(!db.has_presence(other.id, &chunk).unwrap());
        assert!(!db.has_presence(film.id, &SpanHash::from_bytes([1; 32]).into()).unwrap());
    }
}
