//! Which repositories there are.
//!
//! **For:** giving each name an id that is never given again.
//!
//! **Must hold:** two first pushes at once end with one row.

use dits_core::pack_format::Domain;
use dits_core::repo_path::RepoName;
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use super::{Db, DbError, bytes};

/// 16 bytes that name a repository for good, also after it was removed and made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RepoId(pub [u8; 16]);

/// A repository's short number in this database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RepoKey(pub(super) i64);

/// A registered repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoRow {
    /// Its number in this database.
    pub key: RepoKey,
    /// Its id.
    pub id: RepoId,
    /// Its name.
    pub name: RepoName,
    /// When it was made, in seconds since 1970 UTC.
    pub created: u64,
    /// A client said that the text of what it uploads goes to another host.
    pub text_elsewhere: bool,
}

impl RepoRow {
    /// Whose items its packs hold.
    pub fn domain(&self) -> Domain {
        Domain(self.id.0)
    }
}

impl Db {
    /// Finds a repository by name.
    pub fn repo(&self, name: &RepoName) -> Result<Option<RepoRow>, DbError> {
        let found = self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT no, id, name, created, text_elsewhere FROM repos WHERE name = ?1")?;
            statement.query_row([name.as_str()], read_row).optional()
        })?;
        found.map(|raw| self.checked(raw)).transpose()
    }

    /// Finds a repository by name, registering it under `id` where it is not known.
    pub fn ensure_repo(&self, name: &RepoName, id: RepoId, now: u64) -> Result<RepoRow, DbError> {
        if let Some(repo) = self.repo(name)? {
            return Ok(repo);
        }
        let raw = self.write(|connection| {
            let insert =
                "INSERT INTO repos (id, name, created) VALUES (:id, :name, :now) ON CONFLICT (name) DO NOTHING";
            connection.execute(insert, named_params! {":id": id.0, ":name": name.as_str(), ":now": now as i64})?;
            let select = "SELECT no, id, name, created, text_elsewhere FROM repos WHERE name = ?1";
            connection.query_row(select, [name.as_str()], read_row)
        })?;
        self.checked(raw)
    }

    /// Lists the repositories by name.
    pub fn repos(&self) -> Result<Vec<RepoRow>, DbError> {
        let raw = self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT no, id, name, created, text_elsewhere FROM repos ORDER BY name")?;
            statement.query_map([], read_row)?.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        raw.into_iter().map(|raw| self.checked(raw)).collect()
    }

    /// Forgets a repository and all that is known of it.
    pub fn remove_repo(&self, repo: RepoKey) -> Result<(), DbError> {
        self.write(|connection| connection.execute("DELETE FROM repos WHERE no = ?1", params![repo.0]).map(|_| ()))
    }

    /// Notes for good that pointers to what this repository holds may be on another host alone.
    pub fn note_text_elsewhere(&self, repo: RepoKey) -> Result<(), DbError> {
        self.write(|connection| {
            connection.execute("UPDATE repos SET text_elsewhere = 1 WHERE no = ?1", params![repo.0]).map(|_| ())
        })
    }

    fn checked(&self, (key, id, name, created, text_elsewhere): RawRow) -> Result<RepoRow, DbError> {
        let name = RepoName::new(&name).map_err(|_| self.damaged("a repository's name cannot be used"))?;
        Ok(RepoRow { key: RepoKey(key), id: RepoId(id), name, created: created as u64, text_elsewhere })
    }
}

/// Finds a repository's number; `None` where it was removed.
pub(super) fn number_of(connection: &Connection, repo: RepoId) -> rusqlite::Result<Option<i64>> {
    let mut select = connection.prepare_cached("SELECT no FROM repos WHERE id = ?1")?;
    select.query_row(params![repo.0], |row| row.get(0)).optional()
}

type RawRow = (i64, [u8; 16], String, i64, bool);

fn read_row(row: &Row<'_>) -> rusqlite::Result<RawRow> {
    Ok((row.get(0)?, bytes(row, 1)?, row.get(2)?, row.get(3)?, row.get(4)?))
}

#[cfg(test)]
mod tests {
    use super::super::tests::with_repo;
    use super::*;

    #[test]
    fn a_name_keeps_its_first_id() {
        let (_dir, db, film) = with_repo();
        let again = db.ensure_repo(&film.name, RepoId([8; 16]), 2000).unwrap();
        assert_eq!(again, film);
        assert_eq!(db.repos().unwrap(), [film]);
    }

    #[test]
    fn that_text_is_elsewhere_is_noted_for_good() {
        let (_dir, db, film) = with_repo();
        assert!(!film.text_elsewhere);
        db.note_text_elsewhere(film.key).unwrap();
        assert!(db.ensure_repo(&film.name, RepoId([8; 16]), 2000).unwrap().text_elsewhere);
    }

    #[test]
    fn a_repository_made_again_is_another_one() {
        let (_dir, db, film) = with_repo();
        db.remove_repo(film.key).unwrap();
        assert_eq!(db.repo(&film.name).unwrap(), None);
        let again = db.ensure_repo(&film.name, RepoId([8; 16]), 2000).unwrap();
        assert_ne!(again.key, film.key);
        assert_ne!(again.id, film.id);
    }
}
