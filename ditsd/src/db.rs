//! What only this server knows: repositories, held files, presence and leases.
//!
//! **For:** remembering facts that no pack holds. Packs and this database are the truth;
//! the store's index is not, which is why it is another database.
//!
//! **May touch:** `meta.sqlite` in the server root. Calls block; `async` code goes through
//! a blocking thread.
//!
//! **Must hold:**
//! - a change is on stable storage when the call that made it returns;
//! - no write transaction is held while anything but this database is waited for.
//!
//! **Format:** `docs/formats/server-root-v1.md`.

mod check;
mod collection;
mod held;
mod leases;
mod presence;
mod repos;
mod schema;

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags};

pub use collection::{Age, Release, Released};
pub use held::Held;
pub use leases::{Lease, LeaseId};
pub use repos::{RepoId, RepoKey, RepoRow};

/// The database, open.
#[derive(Debug)]
pub struct Db {
    connection: Mutex<Connection>,
    path: PathBuf,
}

/// Why the database did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// SQLite could not.
    #[error("the server's database {path} failed")]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// It was written by a later version.
    #[error("the server's database {path} has version {version}, which this version of ditsd does not know")]
    UnknownVersion {
        /// The database.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// It was written by an earlier version, and only a server that starts brings it up to date.
    #[error("the server's database {path} has version {version}, which is older than this version of ditsd")]
    OldVersion {
        /// The database.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// A value in it cannot be one that this program wrote.
    #[error("the server's database {path} is damaged: {reason}")]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
}

/// How long a write waits for the write of another process, a hook or `ditsd repo`.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

impl Db {
    /// Opens the database, making it or bringing it up to date.
    ///
    /// # Errors
    ///
    /// [`DbError`] for a database that cannot be used.
    pub fn open(path: &Path) -> Result<Db, DbError> {
        let db = Db::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        db.write(schema::migrate)??;
        Ok(db)
    }

    /// Opens the database of a running server, to ask it questions.
    ///
    /// # Errors
    ///
    /// [`DbError`] for a database that cannot be used.
    pub fn open_existing(path: &Path) -> Result<Db, DbError> {
        let db = Db::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        db.read(schema::check)??;
        Ok(db)
    }

    /// Moves what was committed from the log into the database file.
    ///
    /// # Errors
    ///
    /// [`DbError::Sqlite`].
    pub fn checkpoint(&self) -> Result<(), DbError> {
        self.read(|connection| connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())))
    }

    /// Copies the database as it is at one moment to a file that is not there yet. It is not synced.
    ///
    /// # Errors
    ///
    /// [`DbError::Sqlite`], for a disk that is full as well.
    pub fn copy_to(&self, path: &Path) -> Result<(), DbError> {
        let path = ToSqlOutput::Borrowed(ValueRef::Text(path.as_os_str().as_bytes()));
        self.read(|connection| connection.execute("VACUUM INTO ?1", [path]).map(drop))
    }

    fn connect(path: &Path, flags: OpenFlags) -> Result<Db, DbError> {
        let failed = |source| DbError::Sqlite { path: path.to_owned(), source };
        let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(failed)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
        // Else SQLite plans a prepared statement anew for each value that is bound to it.
        connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(failed)?;
        // FULL makes every commit durable: a receipt is the server's word.
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")
            .map_err(failed)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(Db { connection: Mutex::new(connection), path: path.to_owned() })
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic leaves no transaction behind: dropping it rolled it back.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks questions.
    fn read<T>(&self, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, DbError> {
        ask(&self.connection()).map_err(|source| self.failed(source))
    }

    /// Changes something, wholly or not at all.
    fn write<T>(&self, change: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, DbError> {
        let mut connection = self.connection();
        let write = || {
            let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let done = change(&transaction)?;
            transaction.commit()?;
            Ok(done)
        };
        write().map_err(|source| self.failed(source))
    }

    fn failed(&self, source: rusqlite::Error) -> DbError {
        DbError::Sqlite { path: self.path.clone(), source }
    }

    fn damaged(&self, reason: &'static str) -> DbError {
        DbError::Damaged { path: self.path.clone(), reason }
    }
}

/// Reads a column of exactly `N` bytes.
fn bytes<const N: usize>(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<[u8; N]> {
    let value = row.get_ref(column)?.as_blob()?;
    value
        .try_into()
        .map_err(|_| rusqlite::Error::InvalidColumnType(column, "blob".to_owned(), rusqlite::types::Type::Blob))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database with one repository in it.
    pub(super) fn with_repo() -> (tempfile::TempDir, Db, RepoRow) {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&dir.path().join("meta.sqlite")).unwrap();
        let name = dits_core::repo_path::RepoName::new("film").unwrap();
        let repo = db.ensure_repo(&name, RepoId([7; 16]), 1000).unwrap();
        (dir, db, repo)
    }

    #[test]
    fn a_later_version_is_refused_by_number() {
        let (dir, db, _) = with_repo();
        db.write(|connection| connection.pragma_update(None, "user_version", 99)).unwrap();
        let path = dir.path().join("meta.sqlite");
        assert!(matches!(Db::open(&path), Err(DbError::UnknownVersion { version: 99, .. })));
        assert!(matches!(Db::open_existing(&path), Err(DbError::UnknownVersion { version: 99, .. })));
    }

    #[test]
    fn asking_a_database_that_is_not_there_does_not_make_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meta.sqlite");
        assert!(Db::open_existing(&path).is_err());
        assert!(!path.exists());
    }

    #[test]
    fn every_commit_is_synced() {
        let (_dir, db, _) = with_repo();
        let level: i64 =
            db.read(|connection| connection.pragma_query_value(None, "synchronous", |row| row.get(0))).unwrap();
        assert_eq!(level, 2);
    }
}
