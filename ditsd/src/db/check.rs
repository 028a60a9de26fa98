//! Looking through the database.
//!
//! **For:** `ditsd fsck` and `ditsd du`, beside a running server.
//!
//! **Must hold:** no transaction is open between two pieces of what is read.

use dits_core::hash::{FileHash, ManifestHash};
use dits_core::pointer::Pointer;
use rusqlite::params;

use super::{Db, DbError, Held, RepoKey, bytes};

/// Rows that are read at once.
const PIECE: usize = 1024;

impl Db {
    /// What SQLite finds wrong with the database; nothing if it is sound.
    ///
    /// # Errors
    ///
    /// [`DbError::Sqlite`].
    pub fn integrity(&self) -> Result<Vec<String>, DbError> {
        self.read(|connection| {
            let mut found = Vec::new();
            let mut statement = connection.prepare("PRAGMA integrity_check(20)")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                found.push(row.get::<_, String>(0)?);
            }
            drop(rows);
            let mut statement = connection.prepare("PRAGMA foreign_key_check")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                found.push(format!("a row of {} belongs to nothing", row.get::<_, String>(0)?));
            }
            found.retain(|line| line != "ok");
            found.truncate(20);
            Ok(found)
        })
    }

    /// Hands on every file that a repository holds, by oid.
    ///
    /// # Errors
    ///
    /// [`DbError`], and whatever `take` says.
    pub fn each_held<E: From<DbError>>(
        &self,
        repo: RepoKey,
        take: &mut dyn FnMut(Held) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut behind: Vec<u8> = Vec::new();
        loop {
            let piece = self.read(|connection| {
                let select = "SELECT oid, size, manifest, proven_at FROM held
                    WHERE repo = ?1 AND oid > ?2 ORDER BY oid LIMIT ?3";
                let mut statement = connection.prepare_cached(select)?;
                let read = |row: &rusqlite::Row<'_>| {
                    let oid = FileHash::from_bytes(bytes(row, 0)?);
                    Ok(Held {
                        pointer: Pointer { oid, size: row.get::<_, i64>(1)? as u64 },
                        manifest: ManifestHash::from_bytes(bytes(row, 2)?),
                        proven_at: row.get::<_, i64>(3)? as u64,
                    })
                };
                statement.query_map(params![repo.0, behind, PIECE as i64], read)?.collect::<rusqlite::Result<Vec<_>>>()
            })?;
            let Some(last) = piece.last() else { return Ok(()) };
            behind = last.pointer.oid.as_bytes().to_vec();
            let is_last = piece.len() < PIECE;
            piece.into_iter().try_for_each(&mut *take)?;
            if is_last {
                return Ok(());
            }
        }
    }

    /// Forgets that a file is held, so that clients send again what is missing of it.
    ///
    /// # Errors
    ///
    /// [`DbError::Sqlite`].
    pub fn forget_held(&self, repo: RepoKey, held: &Held) -> Result<(), DbError> {
        self.write(|connection| {
            let delete = "DELETE FROM held WHERE repo = ?1 AND oid = ?2 AND manifest = ?3";
            let Pointer { oid, .. } = held.pointer;
            connection.execute(delete, params![repo.0, oid.as_bytes(), held.manifest.as_bytes()]).map(drop)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::with_repo;
    use super::*;

    #[test]
    fn every_held_file_is_handed_on_once_whatever_their_number() {
        let (_dir, db, film) = with_repo();
        let held = |n: usize| {
            let content = n.to_le_bytes();
            let pointer = Pointer { oid: FileHash::of(&content), size: 8 };
            Held { pointer, manifest: ManifestHash::from_bytes([1; 32]), proven_at: 1 }
        };
        let all: Vec<Held> = (0..2 * PIECE + 3).map(held).collect();
        db.record_held(film.key, &all.iter().map(|held| (held, &[][..])).collect::<Vec<_>>()).unwrap();
        let mut seen = std::collections::HashSet::new();
        db.each_held::<DbError>(film.key, &mut |held| {
            assert!(seen.insert(held.pointer.oid));
            Ok(())
        })
        .unwrap();
        assert_eq!(seen.len(), all.len());
        db.forget_held(film.key, &all[3]).unwrap();
        assert_eq!(db.held(film.key, &[all[3].pointer.oid]).unwrap(), [None]);
        assert_eq!(db.integrity().unwrap(), Vec::<String>::new());
    }
}
