//! The database's tables, and how older ones become these.
//!
//! **For:** opening a database of any version up to this one.
//!
//! **Must hold:** a migration that has been released never changes.

use rusqlite::Connection;

use super::DbError;

/// Brings a database of version n to n + 1, for each n.
const MIGRATIONS: [&str; 1] = ["
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
"];

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
        false => Ok(Err(unknown(connection, version))),
    }
}

fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn unknown(connection: &Connection, version: u32) -> DbError {
    DbError::UnknownVersion { path: connection.path().unwrap_or_default().into(), version }
}
