//! The database's tables, and how older ones become these.
//!
//! **For:** opening a database of any version up to this one.
//!
//! **Must hold:** a migration that has been released never changes.

use std::path::PathBuf;

use rusqlite::Connection;

use super::DbError;

/// Brings a database of version n to n + 1, for each n.
const MIGRATIONS: [&str; 2] = [FIRST, COLLECTION];

const FIRST: &str = "
    CREATE TABLE repos (
        no      INTEGER PRIMARY KEY AUTOINCREMENT,
        id      BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
        name    TEXT NOT NULL UNIQUE,
        created INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE held (
        repo      INTEGER NOT NULL REFERENCES repos (no) ON DELETE CASCADE,
        oid       BLOB NOT NULL CHECK (length(oid) = 32),
        size      INTEGER NOT NULL,
        manifest  BLOB NOT NULL CHECK (length(manifest) = 32),
        proven_at INTEGER NOT NULL,
        PRIMARY KEY (repo, oid)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE proven_pages (
        repo     INTEGER NOT NULL REFERENCES repos (no) ON DELETE CASCADE,
        page     BLOB NOT NULL CHECK (length(page) = 32),
        manifest BLOB NOT NULL CHECK (length(manifest) = 32),
        PRIMARY KEY (repo, page)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE presence (
        repo INTEGER NOT NULL REFERENCES repos (no) ON DELETE CASCADE,
        kind INTEGER NOT NULL,
        hash BLOB NOT NULL CHECK (length(hash) = 32),
        PRIMARY KEY (repo, kind, hash)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE leases (
        id      BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
        repo    INTEGER NOT NULL REFERENCES repos (no) ON DELETE CASCADE,
        expires INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX leases_by_expiry ON leases (expires);
    CREATE TABLE leased (
        lease BLOB NOT NULL REFERENCES leases (id) ON DELETE CASCADE,
        items BLOB NOT NULL
    ) STRICT;
    CREATE INDEX leased_by_lease ON leased (lease);
";

/// What a collection has to know. Rows of before count as said in generation 0, which the second
/// collection is the first to pass over.
const COLLECTION: &str = "
    CREATE TABLE collection (
        one        INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
        generation INTEGER NOT NULL
    ) STRICT;
    INSERT INTO collection (one, generation) VALUES (1, 0);
    ALTER TABLE held ADD COLUMN said_at INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE held ADD COLUMN said_in INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE repos ADD COLUMN text_elsewhere INTEGER NOT NULL DEFAULT 0;
";

/// Makes what is missing, inside one transaction.
pub(super) fn migrate(connection: &Connection) -> rusqlite::Result<Result<(), DbError>> {
    let version = version(connection)?;
    let Some(steps) = MIGRATIONS.get(version as usize..) else {
        return Ok(Err(unknown(connection, version)));
    };
    for step in steps {
        connection.execute_batch(step)?;
    }
    if !steps.is_empty() {
        connection.pragma_update(None, "user_version", MIGRATIONS.len() as u32)?;
    }
    Ok(Ok(()))
}

/// Accepts the present version only.
pub(super) fn check(connection: &Connection) -> rusqlite::Result<Result<(), DbError>> {
    let version = version(connection)?;
    match version as usize == MIGRATIONS.len() {
        true => Ok(Ok(())),
        false if (version as usize) < MIGRATIONS.len() => {
            Ok(Err(DbError::OldVersion { path: path(connection), version }))
        }
        false => Ok(Err(unknown(connection, version))),
    }
}

fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn unknown(connection: &Connection, version: u32) -> DbError {
    DbError::UnknownVersion { path: path(connection), version }
}

fn path(connection: &Connection) -> PathBuf {
    connection.path().unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{Db, Held};
    use dits_core::hash::{FileHash, ManifestHash};
    use dits_core::pointer::Pointer;
    use dits_core::repo_path::RepoName;

    #[test]
    fn a_database_of_the_first_version_keeps_what_it_says() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meta.sqlite");
        let first = Connection::open(&path).unwrap();
        first.execute_batch(FIRST).unwrap();
        first.pragma_update(None, "user_version", 1).unwrap();
        let pointer = Pointer { oid: FileHash::of(b"a"), size: 1 };
        first.execute("INSERT INTO repos (id, name, created) VALUES (?1, 'film', 5)", [[7_u8; 16]]).unwrap();
        let row = "INSERT INTO held (repo, oid, size, manifest, proven_at) VALUES (1, ?1, 1, ?2, 9)";
        first.execute(row, [*pointer.oid.as_bytes(), [3_u8; 32]]).unwrap();
        drop(first);
        assert!(matches!(Db::open_existing(&path), Err(DbError::OldVersion { version: 1, .. })));
        let db = Db::open(&path).unwrap();
        let film = db.repo(&RepoName::new("film").unwrap()).unwrap().unwrap();
        let held = Held { pointer, manifest: ManifestHash::from_bytes([3; 32]), proven_at: 9 };
        assert_eq!(db.held(film.key, &[pointer.oid]).unwrap(), [Some(held)]);
        assert!(!film.text_elsewhere);
        Db::open_existing(&path).unwrap();
    }
}
