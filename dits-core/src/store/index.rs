//! The index: which pack to look into for an item.
//!
//! **For:** finding one item among many packs in a few microseconds.
//!
//! **May touch:** the index file and SQLite's files beside it.
//!
//! **Must hold:**
//! - nothing in here is believed without a look into the pack, and all of it can be made
//!   again from the packs;
//! - every change is one short transaction, and may be made twice.
//!
//! **Format:** `docs/formats/store-v1.md`.

mod census;
mod condemned;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params};

use super::error::StoreError;
use super::layout::OpenName;
use super::refresh::identity_of;
use crate::hash::{FileHash, ManifestHash, PackHash};
use crate::item::ItemId;

pub(super) use census::Census;

/// The version of the tables; an index of another one is thrown away.
const SCHEMA_VERSION: i64 = 3;
/// How long to wait for another process's transaction.
const BUSY_MS: u64 = 30_000;
/// How long to wait before an index that was locked is opened again.
const OPEN_AGAIN_AFTER: Duration = Duration::from_millis(5);

/// Packs that are forgotten in one look through all rows.
const DROPPED_AT_ONCE: usize = 500;
/// Rows that one change removes.
const ROWS_AT_ONCE: usize = 4096;

const SCHEMA: &str = "
    CREATE TABLE packs (
        no INTEGER PRIMARY KEY AUTOINCREMENT,
        name BLOB UNIQUE,
        hash BLOB UNIQUE,
        known INTEGER NOT NULL,
        vouched INTEGER NOT NULL,
        is_left INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE items (
        key BLOB NOT NULL,
        pack INTEGER NOT NULL,
        entry INTEGER NOT NULL,
        PRIMARY KEY (key, pack, entry)
    ) WITHOUT ROWID;
    CREATE TABLE manifests (
        oid BLOB NOT NULL,
        pack INTEGER NOT NULL,
        entry INTEGER NOT NULL,
        PRIMARY KEY (oid, pack, entry)
    ) WITHOUT ROWID;
    CREATE TABLE added (
        path BLOB PRIMARY KEY,
        manifest BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE damaged (
        pack INTEGER NOT NULL,
        entry INTEGER NOT NULL,
        PRIMARY KEY (pack, entry)
    ) WITHOUT ROWID;
    CREATE TABLE condemned (
        pack INTEGER PRIMARY KEY
    );
";

macro_rules! select_places {
    ($from_where:literal) => {
        concat!(
            "SELECT pack, entry, EXISTS (SELECT 1 FROM damaged WHERE damaged.pack = places.pack AND damaged.entry = places.entry), EXISTS (SELECT 1 FROM condemned WHERE condemned.pack = places.pack) FROM ",
            $from_where,
            " ORDER BY 3, 4, 1, 2"
        )
    };
}

macro_rules! select_packs {
    ($where:literal) => {
        concat!("SELECT no, name, hash, known, vouched, is_left FROM packs", $where)
    };
}

/// What the index says about a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PackRow {
    /// Its number, which no other pack ever gets.
    pub no: i64,
    /// The random name it has or had while it was open.
    pub name: Option<OpenName>,
    /// The name it has, or is about to get, once sealed.
    pub hash: Option<PackHash>,
    /// How many of its entries the index knows.
    pub known: u32,
    /// How many of its first entries name bytes that were synced or checked.
    pub vouched: u32,
    /// Set for an open pack that nobody may go on writing, because it is damaged.
    pub is_left: bool,
}

/// Where an item may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub pack_no: i64,
    pub entry_no: u32,
    /// Set where a reader found other bytes than the item's.
    pub is_damaged: bool,
    /// Set for a pack that is going to be removed.
    pub is_condemned: bool,
}

impl Place {
    /// A place where a reader found damage.
    pub fn damaged(pack_no: i64, entry_no: u32) -> Place {
        Place { pack_no, entry_no, is_damaged: true, is_condemned: false }
    }
}

/// What one pack adds to the index.
#[derive(Debug, Default)]
pub(super) struct NewRows {
    pub items: Vec<([u8; 16], u32)>,
    pub manifests: Vec<(FileHash, u32)>,
}

impl NewRows {
    pub fn push(&mut self, id: &ItemId, entry_no: u32) {
        self.items.push((key(id), entry_no));
    }
}

fn key(id: &ItemId) -> [u8; 16] {
    let mut key = [0; 16];
    key.copy_from_slice(&id.hash[..16]);
    key
}

/// An open index.
#[derive(Debug)]
pub(super) struct Index {
    connection: Connection,
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl Index {
    /// Opens an index, and makes it where there is none.
    pub fn open(path: &Path) -> Result<Index, StoreError> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|source| StoreError::io(parent, source))?;
        }
        Index::prepare(path, |path| {
            let connection = Connection::open_with_flags(path, flags() | OpenFlags::SQLITE_OPEN_CREATE)?;
            connection.busy_timeout(Duration::from_millis(BUSY_MS))?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            Ok(connection)
        })
    }

    /// Makes an index that lives as long as this process.
    pub fn in_memory(path: &Path) -> Result<Index, StoreError> {
        Index::prepare(path, |_| Connection::open_in_memory())
    }

    /// Opens an index that cannot be written to; `None` if it cannot be used as it is.
    pub fn open_unchanging(path: &Path) -> Option<Index> {
        let uri =
            format!("file:{}?immutable=1", path.to_str()?.replace('%', "%25").replace('?', "%3f").replace('#', "%23"));
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(uri, flags).ok()?;
        keep_plans(&connection).ok()?;
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).ok()?;
        (version == SCHEMA_VERSION).then(|| Index { connection, path: path.to_owned(), identity: None })
    }

    /// Opens an index that is there once more, for reading; `None` if it cannot be used as it is.
    pub fn open_to_look(path: &Path) -> Option<Index> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).ok()?;
        connection.busy_timeout(Duration::from_millis(BUSY_MS)).ok()?;
        Some(Index { connection, path: path.to_owned(), identity: None })
    }

    fn prepare(path: &Path, open: impl Fn(&Path) -> rusqlite::Result<Connection>) -> Result<Index, StoreError> {
        let make = || -> rusqlite::Result<Index> {
            let mut connection = open(path)?;
            connection.set_prepared_statement_cache_capacity(32);
            keep_plans(&connection)?;
            if user_version(&connection)? != SCHEMA_VERSION {
                let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                if user_version(&change)? == 0 {
                    change.execute_batch(SCHEMA)?;
                    change.pragma_update(None, "user_version", SCHEMA_VERSION)?;
                }
                change.commit()?;
            }
            match user_version(&connection)? {
                SCHEMA_VERSION => Ok(Index { connection, path: path.to_owned(), identity: identity_of(path) }),
                _ => Err(not_an_index()),
            }
        };
        let started = Instant::now();
        loop {
            match make() {
                // SQLite does not wait by itself while another process makes the index or, as its last one,
                // empties its log.
                Err(error) if is_busy(&error) && started.elapsed().as_millis() < u128::from(BUSY_MS) => {
                    std::thread::sleep(OPEN_AGAIN_AFTER);
                }
                result => return result.map_err(|source| StoreError::Index { path: path.to_owned(), source }),
            }
        }
    }

    /// Which file this is, whatever has its path now.
    pub fn identity(&self) -> Option<(u64, u64)> {
        self.identity
    }

    /// Finds every place that may hold `id`, damaged ones last, and those in condemned packs behind others.
    pub fn places(&self, id: &ItemId) -> Result<Vec<Place>, StoreError> {
        self.query_places(select_places!("items AS places WHERE key = ?1"), &key(id))
    }

    /// As [`Index::places`] for each of `ids`, in one look at the file: taking and releasing
    /// SQLite's locks costs more than finding a row.
    pub fn places_of_all(&self, ids: &[ItemId]) -> Result<Vec<Vec<Place>>, StoreError> {
        let look = self.wrap(|| self.connection.unchecked_transaction())?;
        let places = ids.iter().map(|id| self.places(id)).collect();
        self.wrap(|| look.finish())?;
        places
    }

    /// Finds every place that may hold a manifest of the file `oid`, damaged ones last.
    pub fn manifest_places(&self, oid: &FileHash) -> Result<Vec<Place>, StoreError> {
        self.query_places(select_places!("manifests AS places WHERE oid = ?1"), oid.as_bytes())
    }

    fn query_places(&self, sql: &str, key: &[u8]) -> Result<Vec<Place>, StoreError> {
        self.wrap(|| {
            let mut statement = self.connection.prepare_cached(sql)?;
            let mut rows = statement.query([key])?;
            let mut places = Vec::new();
            while let Some(row) = rows.next()? {
                let (pack_no, entry_no) = (row.get(0)?, row.get(1)?);
                places.push(Place { pack_no, entry_no, is_damaged: row.get(2)?, is_condemned: row.get(3)? });
            }
            Ok(places)
        })
    }

    /// Lists every pack the index knows.
    pub fn packs(&self) -> Result<Vec<PackRow>, StoreError> {
        self.wrap(|| {
            let mut statement = self.connection.prepare_cached(select_packs!(""))?;
            let rows = statement.query_map([], read_pack)?;
            rows.collect()
        })
    }

    /// Finds a pack by its number.
    pub fn pack(&self, no: i64) -> Result<Option<PackRow>, StoreError> {
        self.wrap(|| {
            let mut statement = self.connection.prepare_cached(select_packs!(" WHERE no = ?1"))?;
            statement.query_row([no], read_pack).optional()
        })
    }

    /// Finds a pack by the name it had while it was open.
    pub fn pack_named(&self, name: &OpenName) -> Result<Option<PackRow>, StoreError> {
        self.wrap(|| {
            let mut statement = self.connection.prepare_cached(select_packs!(" WHERE name = ?1"))?;
            statement.query_row([name], read_pack).optional()
        })
    }

    /// Adds entries of the open pack `name`, of which `known` exist now; returns the pack's number.
    ///
    /// `will_be` is the name the pack is about to be sealed under.
    pub fn add_to_open(
        &mut self,
        name: &OpenName,
        known: u32,
        will_be: Option<&PackHash>,
        rows: &mut NewRows,
    ) -> Result<i64, StoreError> {
        self.change(|change| {
            change
                .prepare_cached("INSERT OR IGNORE INTO packs (name, known, vouched) VALUES (?1, 0, 0)")?
                .execute([name])?;
            let no = change
                .prepare_cached("UPDATE packs SET known = max(known, ?2) WHERE name = ?1 RETURNING no")?
                .query_row(params![name, known], |row| row.get(0))?;
            if let Some(hash) = will_be {
                change
                    .prepare_cached("UPDATE OR REPLACE packs SET hash = ?2 WHERE no = ?1")?
                    .execute(params![no, hash.as_bytes()])?;
            }
            insert_rows(change, no, rows)?;
            Ok(no)
        })
    }

    /// Adds entries of a sealed pack, of which all are known now; returns the pack's number.
    pub fn add_to_sealed(&mut self, hash: &PackHash, known: u32, rows: &mut NewRows) -> Result<i64, StoreError> {
        self.change(|change| {
            change
                .prepare_cached("INSERT OR IGNORE INTO packs (hash, known, vouched) VALUES (?1, 0, 0)")?
                .execute([hash.as_bytes()])?;
            let no = change
                .prepare_cached("UPDATE packs SET known = ?2 WHERE hash = ?1 RETURNING no")?
                .query_row(params![hash.as_bytes(), known], |row| row.get(0))?;
            // A pack that was damaged and is written again has the same name.
            change.execute("DELETE FROM damaged WHERE pack = ?1", [no])?;
            insert_rows(change, no, rows)?;
            Ok(no)
        })
    }

    /// Notes that the first `vouched` entries of an open pack name bytes that are there.
    pub fn vouch(&mut self, no: i64, vouched: u32) -> Result<(), StoreError> {
        self.change(|change| {
            change.execute("UPDATE packs SET vouched = max(vouched, ?2) WHERE no = ?1", params![no, vouched])?;
            Ok(())
        })
    }

    /// Forgets the entries of an open pack from `kept` on, and any name it was to get.
    pub fn truncate(&mut self, no: i64, kept: u32) -> Result<(), StoreError> {
        self.change(|change| {
            change.execute("DELETE FROM items WHERE pack = ?1 AND entry >= ?2", params![no, kept])?;
            change.execute("DELETE FROM manifests WHERE pack = ?1 AND entry >= ?2", params![no, kept])?;
            change.execute("DELETE FROM damaged WHERE pack = ?1 AND entry >= ?2", params![no, kept])?;
            change.execute(
                "UPDATE packs SET known = min(known, ?2), vouched = min(vouched, ?2), hash = NULL WHERE no = ?1",
                params![no, kept],
            )?;
            Ok(())
        })
    }

    /// Notes that an open pack is damaged and must not be continued.
    pub fn leave(&mut self, no: i64) -> Result<(), StoreError> {
        self.change(|change| change.execute("UPDATE packs SET is_left = 1 WHERE no = ?1", [no]).map(drop))
    }

    /// Notes whether a reader found the bytes of an entry damaged.
    pub fn note_damage(&mut self, place: &Place, is_damaged: bool) -> Result<(), StoreError> {
        let sql = match is_damaged {
            true => "INSERT OR IGNORE INTO damaged (pack, entry) VALUES (?1, ?2)",
            false => "DELETE FROM damaged WHERE pack = ?1 AND entry = ?2",
        };
        self.change(|change| change.execute(sql, params![place.pack_no, place.entry_no]).map(drop))
    }

    /// Forgets that an entry is a manifest, and counts it as damaged.
    pub fn forget_manifest(&mut self, place: &Place) -> Result<(), StoreError> {
        self.change(|change| {
            let entry = params![place.pack_no, place.entry_no];
            change.execute("DELETE FROM manifests WHERE pack = ?1 AND entry = ?2", entry)?;
            change.execute("INSERT OR IGNORE INTO damaged (pack, entry) VALUES (?1, ?2)", entry).map(drop)
        })
    }

    /// Finds the manifest that was last made of a file at this path.
    pub fn last_added(&self, path: &[u8; 16]) -> Result<Option<ManifestHash>, StoreError> {
        self.wrap(|| {
            let mut statement = self.connection.prepare_cached("SELECT manifest FROM added WHERE path = ?1")?;
            let manifest: Option<[u8; 32]> = statement.query_row([path], |row| row.get(0)).optional()?;
            Ok(manifest.map(ManifestHash::from_bytes))
        })
    }

    /// Notes that this manifest was made of a file at this path.
    pub fn note_added(&mut self, path: &[u8; 16], manifest: &ManifestHash) -> Result<(), StoreError> {
        self.change(|change| {
            let insert = "INSERT INTO added (path, manifest) VALUES (?1, ?2)
                ON CONFLICT DO UPDATE SET manifest = excluded.manifest";
            change.execute(insert, params![path, manifest.as_bytes()]).map(drop)
        })
    }

    /// Returns true if any entry is noted as damaged.
    pub fn has_damage(&self) -> Result<bool, StoreError> {
        self.wrap(|| self.connection.prepare_cached("SELECT 1 FROM damaged")?.exists([]))
    }

    /// The places that readers found damaged, at most `count_max` of them.
    pub fn damaged_places(&self, count_max: usize) -> Result<Vec<Place>, StoreError> {
        self.wrap(|| {
            let mut statement = self.connection.prepare_cached("SELECT pack, entry FROM damaged LIMIT ?1")?;
            let read = |row: &rusqlite::Row<'_>| Ok(Place::damaged(row.get(0)?, row.get(1)?));
            statement.query_map([count_max as i64], read)?.collect()
        })
    }

    /// The entries of a pack that are known to be items. Looks through all rows.
    pub fn entries_of(&self, no: i64) -> Result<HashSet<u32>, StoreError> {
        self.wrap(|| {
            let mut statement = self.connection.prepare_cached("SELECT entry FROM items WHERE pack = ?1")?;
            statement.query_map([no], |row| row.get(0))?.collect()
        })
    }

    /// Returns true if the tables are what SQLite expects of them.
    pub fn is_sound(&self) -> bool {
        let check = self.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
        check.is_ok_and(|result| result == "ok")
    }

    /// Forgets packs. Looks through all rows.
    pub fn drop_packs(&mut self, nos: &[i64]) -> Result<(), StoreError> {
        self.drop_rows(nos, &["items", "manifests", "damaged", "condemned"])
    }

    /// Removes the rows of packs from `tables`, and from the list of packs.
    fn drop_rows(&mut self, nos: &[i64], tables: &[&str]) -> Result<(), StoreError> {
        for nos in nos.chunks(DROPPED_AT_ONCE) {
            let list = nos.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
            self.change(|change| {
                for table in tables {
                    change.execute(&format!("DELETE FROM {table} WHERE pack IN ({list})"), [])?;
                }
                change.execute(&format!("DELETE FROM packs WHERE no IN ({list})"), []).map(drop)
            })?;
        }
        Ok(())
    }

    fn change<T>(&mut self, body: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let wrap = |source| StoreError::Index { path: self.path.clone(), source };
        let change = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(wrap)?;
        let result = body(&change).map_err(wrap)?;
        change.commit().map_err(wrap)?;
        Ok(result)
    }

    fn wrap<T>(&self, body: impl FnOnce() -> rusqlite::Result<T>) -> Result<T, StoreError> {
        body().map_err(|source| StoreError::Index { path: self.path.clone(), source })
    }
}

/// Keeps SQLite from planning a prepared statement anew for each value that is bound to it, which takes
/// many times as long as the search.
fn keep_plans(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

fn flags() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

fn user_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn not_an_index() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB), None)
}

/// Returns true if the error says that the index cannot be written here, whatever is in it.
pub(super) fn is_unwritable_index(error: &StoreError) -> bool {
    use rusqlite::ErrorCode::{CannotOpen, PermissionDenied, ReadOnly};
    let StoreError::Index { source: rusqlite::Error::SqliteFailure(error, _), .. } = error else { return false };
    matches!(error.code, ReadOnly | CannotOpen | PermissionDenied)
}

fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
}

/// Returns true if the error says that there is no room to write the index.
pub(super) fn is_full_index(error: &StoreError) -> bool {
    let StoreError::Index { source: rusqlite::Error::SqliteFailure(error, _), .. } = error else { return false };
    error.code == rusqlite::ErrorCode::DiskFull || error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
}

/// Returns true if the error says that the index may be read and not written.
pub(super) fn is_read_only_index(error: &StoreError) -> bool {
    let StoreError::Index { source: rusqlite::Error::SqliteFailure(error, _), .. } = error else { return false };
    error.code == rusqlite::ErrorCode::ReadOnly
}

/// Returns true if the error says that the index itself is bad, so that only making it anew helps.
pub(super) fn is_bad_index(error: &StoreError) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, SchemaChanged, TypeMismatch};
    let StoreError::Index { source, .. } = error else { return false };
    match source {
        rusqlite::Error::SqliteFailure(error, message) => {
            matches!(error.code, DatabaseCorrupt | NotADatabase | SchemaChanged | TypeMismatch)
                || message.as_ref().is_some_and(|message| message.starts_with("no such"))
        }
        rusqlite::Error::SqlInputError { msg, .. } => msg.starts_with("no such"),
        rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::FromSqlConversionFailure(..) => true,
        _ => false,
    }
}

fn read_pack(row: &rusqlite::Row<'_>) -> rusqlite::Result<PackRow> {
    Ok(PackRow {
        no: row.get(0)?,
        name: row.get(1)?,
        hash: row.get::<_, Option<[u8; 32]>>(2)?.map(PackHash::from_bytes),
        known: row.get(3)?,
        vouched: row.get(4)?,
        is_left: row.get(5)?,
    })
}

fn insert_rows(change: &Transaction<'_>, no: i64, rows: &mut NewRows) -> rusqlite::Result<()> {
    // In key order, so that neighbouring rows are written to one page while it is at hand.
    rows.items.sort_unstable();
    let mut insert = change.prepare_cached("INSERT OR IGNORE INTO items (key, pack, entry) VALUES (?1, ?2, ?3)")?;
    for (key, entry_no) in &rows.items {
        insert.execute(params![key, no, entry_no])?;
    }
    let mut insert = change.prepare_cached("INSERT OR IGNORE INTO manifests (oid, pack, entry) VALUES (?1, ?2, ?3)")?;
    for (oid, entry_no) in &rows.manifests {
        insert.execute(params![oid.as_bytes(), no, entry_no])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_opens_an_index_waits_for_those_who_open_and_close_it() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for round in 0..40 {
            let path = dir.path().join(format!("{round}.sqlite"));
            let open_and_close = || {
                for _ in 0..8 {
                    let mut index = Index::open(&path).expect("nobody keeps it for long");
                    index.note_added(&[1; 16], &ManifestHash::from_bytes([1; 32])).expect("nobody keeps it for long");
                }
            };
            std::thread::scope(|scope| (0..6).for_each(|_| drop(scope.spawn(open_and_close))));
        }
    }
}
