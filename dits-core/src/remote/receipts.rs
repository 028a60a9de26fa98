//! The receipts that servers gave: which files need no question.
//!
//! **For:** pushes to a server that checks its refs itself, which spare it what it has said before; and
//! saying offline what a server is not known to hold.
//!
//! **May touch:** one database of its own, beside the store.
//!
//! **Must hold:**
//! - a receipt counts only for the server and the repository that gave it;
//! - a receipt spares a question and proves nothing: whoever reads one asks a server that
//!   checks for itself before a ref moves, and forgets it when that server knows better;
//! - the database may be deleted at any time, and one that cannot be read is.
//!
//! **Format:** `docs/formats/receipts-v2.md`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, params};

use super::Receipt;
use crate::hash::{FileHash, ManifestHash};
use crate::pointer::Pointer;
use crate::remote_url::RemoteUrl;

/// The folder of Dits in a repository's common git directory.
pub const DIR: &str = "dits";

/// The database's name in the folder of Dits in a repository.
const FILE_NAME: &str = "receipts.sqlite";
/// The version of the table; a database of another one is thrown away.
const SCHEMA_VERSION: i64 = 2;
/// How long to wait for another process's transaction.
const BUSY: Duration = Duration::from_secs(30);

const SCHEMA: &str = "
    CREATE TABLE receipts (
        server    BLOB NOT NULL CHECK (length(server) = 16),
        repo      BLOB NOT NULL CHECK (length(repo) = 16),
        oid       BLOB NOT NULL CHECK (length(oid) = 32),
        size      INTEGER NOT NULL,
        manifest  BLOB NOT NULL CHECK (length(manifest) = 32),
        proven_at INTEGER NOT NULL,
        mac       BLOB NOT NULL,
        PRIMARY KEY (server, repo, oid)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE addresses (
        address TEXT NOT NULL PRIMARY KEY,
        server  BLOB NOT NULL CHECK (length(server) = 16),
        repo    BLOB NOT NULL CHECK (length(repo) = 16)
    ) STRICT, WITHOUT ROWID;
";

/// The receipts cannot be read or written. Going on without them is always right.
#[derive(Debug, thiserror::Error)]
#[error("the receipts in {path} cannot be used", path = .path.display())]
pub struct ReceiptsError {
    path: PathBuf,
    source: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// What one repository on one server gave receipts for.
#[derive(Debug)]
pub struct Receipts {
    connection: Connection,
    path: PathBuf,
    server: [u8; 16],
    repo: [u8; 16],
}

impl Receipts {
    /// Opens the receipts in `dir`, the folder of Dits in a repository, and makes them where
    /// there are none or they are no database.
    ///
    /// # Errors
    ///
    /// [`ReceiptsError`] when nothing can be read or made there.
    pub fn open(dir: &Path, server: [u8; 16], repo: [u8; 16]) -> Result<Receipts, ReceiptsError> {
        let path = dir.join(FILE_NAME);
        let failed = |source| ReceiptsError { path: path.clone(), source };
        std::fs::create_dir_all(dir).map_err(|error| failed(error.into()))?;
        let connection = connect(&path).or_else(|error| match is_damage(&error) {
            true => {
                remove(&path)?;
                Ok(connect(&path)?)
            }
            false => Err(Cause::from(error)),
        });
        let connection = connection.map_err(failed)?;
        Ok(Receipts { connection, path, server, repo })
    }

    /// Opens the receipts in `dir` of what `address` led to when a push last went there. `None` where
    /// that is not known; nothing is made then.
    ///
    /// # Errors
    ///
    /// [`ReceiptsError`] when they cannot be read.
    pub fn of_address(dir: &Path, address: &RemoteUrl) -> Result<Option<Receipts>, ReceiptsError> {
        let path = dir.join(FILE_NAME);
        if !path.is_file() {
            return Ok(None);
        }
        let found = connect(&path).and_then(|connection| Ok((noted(&connection, address)?, connection)));
        match found {
            Ok((Some((server, repo)), connection)) => Ok(Some(Receipts { connection, path, server, repo })),
            Ok((None, _)) => Ok(None),
            Err(error) => Err(ReceiptsError { path, source: error.into() }),
        }
    }

    /// Notes that `address` leads to this server and repository.
    ///
    /// # Errors
    ///
    /// [`ReceiptsError`] when nothing can be read or written.
    pub fn note_address(&mut self, address: &RemoteUrl) -> Result<(), ReceiptsError> {
        let (server, repo) = (self.server, self.repo);
        // Nearly always it is known, and reading waits for nobody.
        if noted(&self.connection, address).map_err(|error| self.failed(error))? == Some((server, repo)) {
            return Ok(());
        }
        let sql = "INSERT OR REPLACE INTO addresses (address, server, repo) VALUES (?1, ?2, ?3)";
        self.change(sql, &[address.to_string()], |statement, address| statement.execute(params![address, server, repo]))
    }

    /// Which of `files` there is a receipt for, their size included: a pointer of another size is wrong, and the
    /// server has to say so.
    ///
    /// # Errors
    ///
    /// [`ReceiptsError`] when they cannot be read. A damaged database is removed then.
    pub fn known(&self, files: &[Pointer]) -> Result<HashSet<Pointer>, ReceiptsError> {
        let find = || {
            let mut known = HashSet::new();
            let sql = "SELECT 1 FROM receipts WHERE server = ?1 AND repo = ?2 AND oid = ?3 AND size = ?4";
            let mut statement = self.connection.prepare(sql)?;
            for file in files {
                if statement.exists(params![self.server, self.repo, file.oid.as_bytes(), row_number(file.size)])? {
                    known.insert(*file);
                }
            }
            Ok(known)
        };
        find().map_err(|error| self.failed(error))
    }

    /// The receipt of each of `files`, where there is one that names its size.
    ///
    /// # Errors
    ///
    /// [`ReceiptsError`] when they cannot be read. A damaged database is removed then.
    pub fn of(&self, files: &[Pointer]) -> Result<Vec<Option<Receipt>>, ReceiptsError> {
        let find = || {
            let sql = "SELECT manifest, proven_at, mac FROM receipts
                       WHERE server = ?1 AND repo = ?2 AND oid = ?3 AND size = ?4";
            let mut statement = self.connection.prepare(sql)?;
            let mut one = |file: &Pointer| {
                let read = |row: &rusqlite::Row<'_>| {
                    let manifest = ManifestHash::from_bytes(row.get(0)?);
                    let (proven_at, mac): (i64, Vec<u8>) = (row.get(1)?, row.get(2)?);
                    Ok(Receipt { oid: file.oid, size: file.size, manifest, proven_at: proven_at as u64, mac })
                };
                let params = params![self.server, self.repo, file.oid.as_bytes(), row_number(file.size)];
                statement.query_row(params, read).optional()
            };
            files.iter().map(&mut one).collect::<rusqlite::Result<Vec<_>>>()
        };
        find().map_err(|error| self.failed(error))
    }

    /// Keeps what the server gave.
    ///
    /// # Errors
    ///
    /// [`ReceiptsError`] when nothing can be written; none of them is kept then.
    pub fn keep(&mut self, receipts: &[Receipt]) -> Result<(), ReceiptsError> {
        let (server, repo) = (self.server, self.repo);
        let sql = "INSERT OR REPLACE INTO receipts (server, repo, oid, size, manifest, proven_at, mac)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        self.change(sql, receipts, |statement, Receipt { oid, size, manifest, proven_at, mac }| {
            let (size, proven_at) = (row_number(*size), row_number(*proven_at));
            statement.execute(params![server, repo, oid.as_bytes(), size, manifest.as_bytes(), proven_at, mac])
        })
    }

    /// Forgets what the server turned out not to have.
    ///
    /// # Errors
    ///
    /// [`ReceiptsError`] when nothing can be written; none of them is forgotten then.
    pub fn forget(&mut self, oids: &[FileHash]) -> Result<(), ReceiptsError> {
        let (server, repo) = (self.server, self.repo);
        let sql = "DELETE FROM receipts WHERE server = ?1 AND repo = ?2 AND oid = ?3";
        self.change(sql, oids, |statement, oid| statement.execute(params![server, repo, oid.as_bytes()]))
    }

    /// Runs one statement for each of `all`, in one transaction.
    fn change<T>(
        &mut self,
        sql: &str,
        all: &[T],
        one: impl Fn(&mut rusqlite::Statement<'_>, &T) -> rusqlite::Result<usize>,
    ) -> Result<(), ReceiptsError> {
        let connection = &mut self.connection;
        let changed = (|| {
            let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut statement = change.prepare(sql)?;
            all.iter().try_for_each(|each| one(&mut statement, each).map(drop))?;
            drop(statement);
            change.commit()
        })();
        changed.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: rusqlite::Error) -> ReceiptsError {
        if is_damage(&error) {
            // The next process makes it anew; what this one would have spared is asked.
            let _ = remove(&self.path);
        }
        ReceiptsError { path: self.path.clone(), source: error.into() }
    }
}

/// A number as a table holds it: a greater one is some server's nonsense, and no file's size.
fn row_number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The server and the repository that an address led to.
fn noted(connection: &Connection, address: &RemoteUrl) -> rusqlite::Result<Option<([u8; 16], [u8; 16])>> {
    let sql = "SELECT server, repo FROM addresses WHERE address = ?1";
    connection.query_row(sql, params![address.to_string()], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    let version = |connection: &Connection| connection.pragma_query_value(None, "user_version", |row| row.get(0));
    if version(&connection)? != SCHEMA_VERSION {
        let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Somebody else may have made it while this process waited.
        match version(&change)? {
            0 => change.execute_batch(SCHEMA)?,
            SCHEMA_VERSION => {}
            _ => return Err(other_version()),
        }
        change.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        change.commit()?;
    }
    Ok(connection)
}

fn other_version() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB), None)
}

fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    // A statement that does not fit the table is another table under the same version.
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase | rusqlite::ErrorCode::Unknown))
}

/// Removes the database; what another process still writes into the old file is lost, and
/// that costs a question.
fn remove(path: &Path) -> std::io::Result<()> {
    let journal = path.with_extension("sqlite-journal");
    [journal.as_path(), path].into_iter().try_for_each(|file| match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: [u8; 16] = [1; 16];
    const REPO: [u8; 16] = [2; 16];

    fn open(dir: &Path) -> Receipts {
        Receipts::open(dir, SERVER, REPO).expect("receipts")
    }

    fn oid(number: u16) -> FileHash {
        FileHash::of(&number.to_le_bytes())
    }

    fn file(number: u16) -> Pointer {
        Pointer { oid: oid(number), size: 7 }
    }

    fn receipt(number: u16) -> Receipt {
        Receipt {
            oid: oid(number),
            size: 7,
            manifest: ManifestHash::from_bytes([3; 32]),
            proven_at: 5,
            mac: vec![4; 32],
        }
    }

    fn knows(receipts: &Receipts, number: u16) -> bool {
        receipts.known(&[file(number)]).expect("read").contains(&file(number))
    }

    #[test]
    fn a_receipt_is_kept_until_it_is_forgotten() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut receipts = open(dir.path());
        receipts.keep(&[receipt(1), receipt(2), receipt(1)]).expect("kept");
        let mut again = open(dir.path());
        assert_eq!(again.known(&[file(1), file(2), file(3)]).expect("read"), HashSet::from([file(1), file(2)]));
        again.forget(&[oid(2), oid(3)]).expect("forgotten");
        assert!(knows(&receipts, 1) && !knows(&receipts, 2));
        let wrong = Pointer { size: 8, ..file(1) };
        assert_eq!(receipts.of(&[file(1), file(2), wrong]).expect("read"), [Some(receipt(1)), None, None]);
    }

    #[test]
    fn a_receipt_is_for_a_file_of_its_size_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut receipts = open(dir.path());
        receipts.keep(&[receipt(1), Receipt { size: 0, ..receipt(2) }]).expect("kept");
        for wrong in [Pointer { size: 8, ..file(1) }, Pointer { size: u64::MAX, ..file(1) }, file(2)] {
            assert!(receipts.known(&[wrong]).expect("read").is_empty(), "{wrong:?} is asked about");
        }
        assert!(knows(&receipts, 1));
    }

    #[test]
    fn receipts_are_found_again_by_the_address_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let address = RemoteUrl::parse("dits://studio/film").expect("an address");
        assert!(Receipts::of_address(dir.path(), &address).expect("looked").is_none());
        assert!(!dir.path().join(FILE_NAME).exists(), "looking makes nothing");
        let mut receipts = open(dir.path());
        receipts.keep(&[receipt(1)]).expect("kept");
        assert!(Receipts::of_address(dir.path(), &address).expect("looked").is_none());
        for _ in 0..2 {
            receipts.note_address(&address).expect("noted");
        }
        let found = Receipts::of_address(dir.path(), &address).expect("looked").expect("known");
        assert!(knows(&found, 1) && !knows(&found, 2));
        // The name leads to another server now.
        Receipts::open(dir.path(), [9; 16], REPO).expect("receipts").note_address(&address).expect("noted");
        assert!(!knows(&Receipts::of_address(dir.path(), &address).expect("looked").expect("known"), 1));
    }

    #[test]
    fn a_receipt_counts_only_where_it_was_given() {
        let dir = tempfile::tempdir().expect("a folder");
        open(dir.path()).keep(&[receipt(1)]).expect("kept");
        for (server, repo) in [([9; 16], REPO), (SERVER, [9; 16]), (REPO, SERVER)] {
            let mut other = Receipts::open(dir.path(), server, repo).expect("receipts");
            assert!(!knows(&other, 1));
            other.forget(&[oid(1)]).expect("nothing to forget");
        }
        assert!(knows(&open(dir.path()), 1));
    }

    #[test]
    fn many_that_make_it_and_write_at_once_lose_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        std::thread::scope(|scope| {
            for writer in 0..4_u16 {
                let dir = dir.path();
                scope.spawn(move || {
                    let mut receipts = open(dir);
                    (0..10).for_each(|n| receipts.keep(&[receipt(writer * 100 + n)]).expect("kept"));
                });
            }
        });
        let receipts = open(dir.path());
        assert!((0..4).all(|writer| (0..10).all(|n| knows(&receipts, writer * 100 + n))));
    }

    #[test]
    fn what_is_no_database_of_this_version_is_made_anew() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join(FILE_NAME);
        let other_version = |connection: &Connection| connection.pragma_update(None, "user_version", 7);
        let other_table = |connection: &Connection| connection.execute_batch("DROP TABLE receipts");
        open(dir.path()).keep(&[receipt(1)]).expect("kept");
        std::fs::write(&path, [0x55; 5000]).expect("ours");
        assert!(!knows(&open(dir.path()), 1));
        open(dir.path()).keep(&[receipt(1)]).expect("kept");
        other_version(&Connection::open(&path).expect("a database")).expect("changed");
        assert!(!knows(&open(dir.path()), 1));
        other_table(&Connection::open(&path).expect("a database")).expect("changed");
        assert!(open(dir.path()).known(&[file(1)]).is_err());
        assert!(!knows(&open(dir.path()), 1));
    }

    #[test]
    fn a_page_that_was_overwritten_costs_an_error_and_then_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let many: Vec<Receipt> = (0..500).map(receipt).collect();
        open(dir.path()).keep(&many).expect("kept");
        let path = dir.path().join(FILE_NAME);
        let mut bytes = std::fs::read(&path).expect("ours");
        bytes[4096..].fill(0xff);
        std::fs::write(&path, bytes).expect("ours");
        let files: Vec<Pointer> = (0..500).map(file).collect();
        assert!(open(dir.path()).known(&files).is_err());
        let mut receipts = open(dir.path());
        assert!(receipts.known(&files).expect("read").is_empty());
        receipts.keep(&many).expect("kept");
    }
}
