//! What a collection asks of the database, and takes away from it.
//!
//! **For:** `ditsd gc`.
//!
//! **Must hold:**
//! - a row of `held` goes only if it was neither proven nor said to be held since the cutoff, nor since the
//!   collection before this one began, and all of that is looked at by the statement that takes it away;
//! - a collection holds back a server only for a few rows at a time.
//!
//! **Format:** `docs/formats/server-root-v1.md`.

use dits_core::hash::{FileHash, ManifestHash};
use dits_core::item::{ItemId, ItemKind};
use dits_core::pack_format::Domain;
use rusqlite::{OptionalExtension, Row, params};

use super::{Db, DbError, RepoKey, bytes};

/// Rows that are read, or taken away, at once.
const ROWS_AT_ONCE: usize = 256;

/// Tables of this connection alone: the files that one repository's pointers name, and the rows that a
/// dry run takes for gone.
const TEMPORARY: &str = "
    CREATE TEMP TABLE named (oid BLOB NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID;
    CREATE TEMP TABLE going (repo INTEGER NOT NULL, oid BLOB NOT NULL, PRIMARY KEY (repo, oid)) STRICT, WITHOUT ROWID;
    CREATE TEMP TABLE proven (manifest BLOB NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID;
";

/// The row is of no more use, whatever it names.
const IS_STALE: &str = "said_at < :cutoff AND proven_at < :cutoff AND said_in < :before
    AND NOT EXISTS (SELECT 1 FROM temp.named WHERE named.oid = held.oid)
    AND (SELECT text_elsewhere FROM repos WHERE no = held.repo) = 0";

/// Which rows are old enough to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age {
    /// They were last proven and said before this time, in seconds since 1970 UTC.
    pub cutoff: u64,
    /// They were last said before this generation.
    pub before: u64,
}

/// Says of each item whether no pack has it any more.
pub type IsGone<'a, E> = dyn FnMut(&[ItemId]) -> Result<Vec<bool>, E> + 'a;

/// Rows that went, or would.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Released {
    /// How many files.
    pub files: u64,
    /// Their length together, in bytes.
    pub bytes: u64,
}

/// Whether rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// They do.
    Now,
    /// They are only told apart from the others.
    InADryRun,
}

impl Db {
    /// Makes the tables that a collection needs, for this connection.
    pub fn prepare_collection(&self) -> Result<(), DbError> {
        self.read(|connection| connection.execute_batch(TEMPORARY))
    }

    /// How many collections have begun.
    pub fn generation(&self) -> Result<u64, DbError> {
        let generation = self.read(|connection| {
            connection.query_row("SELECT generation FROM collection", [], |row| row.get::<_, i64>(0))
        })?;
        Ok(generation as u64)
    }

    /// Begins a collection, and returns its generation.
    pub fn begin_collection(&self) -> Result<u64, DbError> {
        let generation = self.write(|connection| {
            let next = "UPDATE collection SET generation = generation + 1 RETURNING generation";
            connection.query_row(next, [], |row| row.get::<_, i64>(0))
        })?;
        Ok(generation as u64)
    }

    /// Forgets which files pointers name.
    pub fn clear_named(&self) -> Result<(), DbError> {
        self.read(|connection| connection.execute("DELETE FROM temp.named", []).map(drop))
    }

    /// Notes files that a pointer names.
    pub fn note_named(&self, oids: &[FileHash]) -> Result<(), DbError> {
        self.read(|connection| {
            // One transaction, of the temporary tables alone.
            let noting = connection.unchecked_transaction()?;
            let mut insert =
                noting.prepare_cached("INSERT INTO temp.named (oid) VALUES (?1) ON CONFLICT DO NOTHING")?;
            oids.iter().try_for_each(|oid| insert.execute([oid.as_bytes()]).map(drop))?;
            drop(insert);
            noting.commit()
        })
    }

    /// Takes away the rows of a repository that are old enough and that nothing in `named` needs.
    pub fn release(&self, repo: RepoKey, age: Age, release: Release) -> Result<Released, DbError> {
        let mut released = Released::default();
        let mut after = Vec::new();
        loop {
            let stale = self.stale_after(repo, age, &after)?;
            let Some((last, _)) = stale.last() else { return Ok(released) };
            after = last.to_vec();
            let gone = match release {
                Release::Now => self.take_away(repo, age, &stale)?,
                Release::InADryRun => self.take_for_gone(repo, &stale)?,
            };
            released.files += gone.files;
            released.bytes = released.bytes.saturating_add(gone.bytes);
        }
    }

    fn stale_after(&self, repo: RepoKey, age: Age, after: &[u8]) -> Result<Vec<([u8; 32], u64)>, DbError> {
        let select = format!(
            "SELECT oid, size FROM held WHERE repo = :repo AND oid > :after AND {IS_STALE}
             ORDER BY oid LIMIT {ROWS_AT_ONCE}"
        );
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&select)?;
            let named = rusqlite::named_params! {
                ":repo": repo.0, ":after": after, ":cutoff": age.cutoff as i64, ":before": age.before as i64,
            };
            let rows = statement.query_map(named, |row| Ok((bytes(row, 0)?, row.get::<_, i64>(1)? as u64)))?;
            rows.collect()
        })
    }

    fn take_away(&self, repo: RepoKey, age: Age, stale: &[([u8; 32], u64)]) -> Result<Released, DbError> {
        let delete = format!("DELETE FROM held WHERE repo = :repo AND oid = :oid AND {IS_STALE}");
        self.write(|connection| {
            let mut statement = connection.prepare_cached(&delete)?;
            let mut gone = Released::default();
            for (oid, size) in stale {
                // Somebody may have been told of it since it was looked up.
                let count = statement.execute(rusqlite::named_params! {
                    ":repo": repo.0, ":oid": oid, ":cutoff": age.cutoff as i64, ":before": age.before as i64,
                })?;
                if count > 0 {
                    gone.files += 1;
                    gone.bytes = gone.bytes.saturating_add(*size);
                }
            }
            Ok(gone)
        })
    }

    fn take_for_gone(&self, repo: RepoKey, stale: &[([u8; 32], u64)]) -> Result<Released, DbError> {
        self.read(|connection| {
            let mut insert = connection.prepare_cached("INSERT INTO temp.going (repo, oid) VALUES (?1, ?2)")?;
            stale.iter().try_for_each(|(oid, _)| insert.execute(params![repo.0, oid]).map(drop))
        })?;
        let bytes = stale.iter().map(|(_, size)| *size).fold(0, u64::saturating_add);
        Ok(Released { files: stale.len() as u64, bytes })
    }

    /// Forgets where to find proven blocks of files that the repository holds no more, or by another manifest.
    pub fn forget_pages(&self, repo: RepoKey) -> Result<(), DbError> {
        self.read(|connection| {
            connection.execute("DELETE FROM temp.proven", [])?;
            let fill = "INSERT OR IGNORE INTO temp.proven SELECT manifest FROM held WHERE repo = ?1";
            connection.execute(fill, [repo.0]).map(drop)
        })?;
        let mut after: Option<[u8; 32]> = None;
        loop {
            let pages = self.read(|connection| {
                let select = "SELECT page FROM proven_pages WHERE repo = ?1 AND (?2 IS NULL OR page > ?2)
                    AND manifest NOT IN temp.proven ORDER BY page LIMIT ?3";
                let mut statement = connection.prepare_cached(select)?;
                let rows =
                    statement.query_map(params![repo.0, after, ROWS_AT_ONCE as i64], |row| bytes::<32>(row, 0))?;
                rows.collect::<rusqlite::Result<Vec<_>>>()
            })?;
            let Some(last) = pages.last() else { return Ok(()) };
            after = Some(*last);
            self.write(|connection| {
                let delete = "DELETE FROM proven_pages WHERE repo = ?1 AND page = ?2";
                let mut statement = connection.prepare_cached(delete)?;
                pages.iter().try_for_each(|page| statement.execute(params![repo.0, page]).map(drop))
            })?;
        }
    }

    /// Hands over the manifest of each file that is held, with its repository's domain; none that a dry run takes
    /// for gone.
    ///
    /// # Errors
    ///
    /// What `take` says, or [`DbError`].
    pub fn held_manifests<E: From<DbError>>(
        &self,
        take: &mut dyn FnMut(Domain, ManifestHash) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut after: (i64, Vec<u8>) = (0, Vec::new());
        loop {
            let rows = self.read(|connection| {
                let select = "SELECT held.repo, held.oid, repos.id, held.manifest
                    FROM held JOIN repos ON repos.no = held.repo
                    WHERE (held.repo, held.oid) > (?1, ?2) AND NOT EXISTS
                        (SELECT 1 FROM temp.going WHERE going.repo = held.repo AND going.oid = held.oid)
                    ORDER BY held.repo, held.oid LIMIT ?3";
                let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, bytes(row, 2)?, bytes(row, 3)?));
                let mut statement = connection.prepare_cached(select)?;
                let rows = statement.query_map(params![after.0, after.1, ROWS_AT_ONCE as i64], read)?;
                rows.collect::<rusqlite::Result<Vec<(i64, Vec<u8>, [u8; 16], [u8; 32])>>>()
            })?;
            let Some((repo, oid, ..)) = rows.last() else { return Ok(()) };
            after = (*repo, oid.clone());
            for (_, _, id, manifest) in rows {
                take(Domain(id), ManifestHash::from_bytes(manifest))?;
            }
        }
    }

    /// Counts the files that a repository holds.
    pub fn held_count(&self, repo: RepoKey) -> Result<u64, DbError> {
        let count = self.read(|connection| {
            connection.query_row("SELECT count(*) FROM held WHERE repo = ?1", [repo.0], |row| row.get::<_, i64>(0))
        })?;
        Ok(count as u64)
    }

    /// Goes through what repositories have in other ones' packs, and forgets what `is_gone` says is in none.
    ///
    /// # Errors
    ///
    /// What `is_gone` says, or [`DbError`].
    pub fn forget_presence<E: From<DbError>>(&self, is_gone: &mut IsGone<'_, E>) -> Result<(), E> {
        let mut after: (i64, i64, Vec<u8>) = (0, 0, Vec::new());
        loop {
            let rows = self.read(|connection| {
                let select = "SELECT repo, kind, hash FROM presence WHERE (repo, kind, hash) > (?1, ?2, ?3)
                    ORDER BY repo, kind, hash LIMIT ?4";
                let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, bytes(row, 2)?));
                let mut statement = connection.prepare_cached(select)?;
                let rows = statement.query_map(params![after.0, after.1, after.2, ROWS_AT_ONCE as i64], read)?;
                rows.collect::<rusqlite::Result<Vec<(i64, i64, [u8; 32])>>>()
            })?;
            let Some((repo, kind, hash)) = rows.last() else { return Ok(()) };
            after = (*repo, *kind, hash.to_vec());
            let ids = rows.iter().map(|(_, kind, hash)| {
                let kind = u8::try_from(*kind).ok().and_then(ItemKind::from_number);
                kind.map(|kind| ItemId { kind, hash: *hash })
            });
            let ids: Option<Vec<ItemId>> = ids.collect();
            let ids = ids.ok_or_else(|| self.damaged("an item of no kind is present"))?;
            let gone: Vec<_> = rows.iter().zip(is_gone(&ids)?).filter(|(_, is_gone)| *is_gone).collect();
            if gone.is_empty() {
                continue;
            }
            self.write(|connection| {
                let delete = "DELETE FROM presence WHERE repo = ?1 AND kind = ?2 AND hash = ?3";
                let mut statement = connection.prepare_cached(delete)?;
                gone.iter()
                    .try_for_each(|((repo, kind, hash), _)| statement.execute(params![repo, kind, hash]).map(drop))
            })?;
        }
    }

    /// Returns true if the repository is still registered.
    pub fn is_registered(&self, repo: RepoKey) -> Result<bool, DbError> {
        let found = self.read(|connection| {
            connection.query_row("SELECT 1 FROM repos WHERE no = ?1", [repo.0], |_| Ok(())).optional()
        })?;
        Ok(found.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::with_repo;
    use super::*;
    use crate::db::{Held, Lease, LeaseId, RepoId, RepoRow};
    use dits_core::hash::{ChunkHash, PageValue};
    use dits_core::pointer::Pointer;
    use dits_core::repo_path::RepoName;

    /// A second connection to the same database, as a collection beside a server has it.
    fn collecting(dir: &tempfile::TempDir) -> Db {
        let db = Db::open_existing(&dir.path().join("meta.sqlite")).unwrap();
        db.prepare_collection().unwrap();
        db
    }

    fn hold(db: &Db, repo: &RepoRow, content: &[u8], proven_at: u64) -> FileHash {
        let pointer = Pointer { oid: FileHash::of(content), size: 10 };
        let manifest = ManifestHash::from_bytes(*pointer.oid.as_bytes());
        db.record_held(
            repo.key,
            &[(&Held { pointer, manifest, proven_at }, &[PageValue::from_bytes(*pointer.oid.as_bytes())])],
        )
        .unwrap();
        pointer.oid
    }

    fn is_held(db: &Db, repo: &RepoRow, oid: FileHash) -> bool {
        db.held(repo.key, &[oid]).unwrap()[0].is_some()
    }

    const OLD: Age = Age { cutoff: 1000, before: 5 };

    #[test]
    fn a_row_goes_only_if_it_is_old_by_clock_and_by_collection_and_nothing_names_it() {
        let (dir, db, film) = with_repo();
        let gc = collecting(&dir);
        let stale = hold(&db, &film, b"stale", 10);
        let named = hold(&db, &film, b"named", 10);
        let young = hold(&db, &film, b"young", 1000);
        let said = hold(&db, &film, b"said", 10);
        db.say_held(film.key, &[said], 9000).unwrap();
        assert_eq!((0..5).map(|_| gc.begin_collection().unwrap()).last(), Some(5));
        let said_since = hold(&db, &film, b"said since", 10);
        gc.note_named(&[named, named]).unwrap();
        let dry = gc.release(film.key, OLD, Release::InADryRun).unwrap();
        assert_eq!(dry, Released { files: 1, bytes: 10 });
        assert!(is_held(&db, &film, stale));
        assert_eq!(gc.release(film.key, OLD, Release::Now).unwrap(), dry);
        assert!(!is_held(&db, &film, stale));
        assert!([named, young, said, said_since].into_iter().all(|oid| is_held(&db, &film, oid)));
        // Whatever the clock says, what was said since the collection before this one stays.
        let jumped = Age { cutoff: u64::MAX >> 1, before: 5 };
        assert_eq!(gc.release(film.key, jumped, Release::Now).unwrap().files, 2);
        assert!(is_held(&db, &film, named) && is_held(&db, &film, said_since));
        gc.clear_named().unwrap();
        db.note_text_elsewhere(film.key).unwrap();
        assert_eq!(gc.release(film.key, Age { before: 100, ..jumped }, Release::Now).unwrap().files, 0);
    }

    #[test]
    fn many_rows_go_in_parts_and_those_of_other_repositories_stay() {
        let (dir, db, film) = with_repo();
        let other = db.ensure_repo(&RepoName::new("other").unwrap(), RepoId([9; 16]), 1).unwrap();
        let kept = hold(&db, &other, b"other", 1);
        for n in 0..600_u32 {
            hold(&db, &film, &n.to_le_bytes(), 1);
        }
        let gc = collecting(&dir);
        assert_eq!(gc.release(film.key, OLD, Release::Now).unwrap(), Released { files: 600, bytes: 6000 });
        assert!(is_held(&db, &other, kept));
        assert_eq!((gc.held_count(film.key).unwrap(), gc.held_count(other.key).unwrap()), (0, 1));
        gc.forget_pages(film.key).unwrap();
        let pages = "SELECT count(*) FROM proven_pages";
        let count: i64 = db.read(|connection| connection.query_row(pages, [], |row| row.get(0))).unwrap();
        assert_eq!(count, 1);
    }

    #[test]
    fn every_manifest_that_is_held_is_handed_over_but_for_those_that_a_dry_run_takes_for_gone() {
        let (dir, db, film) = with_repo();
        let other = db.ensure_repo(&RepoName::new("other").unwrap(), RepoId([9; 16]), 1).unwrap();
        for n in 0..300_u32 {
            hold(&db, &film, &n.to_le_bytes(), 5000);
        }
        hold(&db, &other, b"going", 1);
        let gc = collecting(&dir);
        let all = || {
            let mut all = Vec::new();
            let take = &mut |domain: Domain, manifest| {
                all.push((domain, manifest));
                Ok::<(), DbError>(())
            };
            gc.held_manifests(take).unwrap();
            all
        };
        assert_eq!((all().len(), all()[300].0), (301, other.domain()));
        gc.release(other.key, OLD, Release::InADryRun).unwrap();
        assert_eq!(all().len(), 300);
    }

    #[test]
    fn presence_of_what_no_pack_holds_any_more_is_forgotten() {
        let (dir, db, film) = with_repo();
        let items: Vec<ItemId> = (0..600_u16).map(|n| ChunkHash::of(&n.to_le_bytes()).into()).collect();
        let lease = Lease { id: LeaseId([1; 16]), expires: 9, now: 5 };
        db.keep_sent(film.id, lease, &items, &[]).unwrap();
        let gc = collecting(&dir);
        let mut is_gone = |ids: &[ItemId]| Ok::<_, DbError>(ids.iter().map(|id| id.hash[0] % 2 == 0).collect());
        gc.forget_presence(&mut is_gone).unwrap();
        let expected: Vec<bool> = items.iter().map(|id| id.hash[0] % 2 == 1).collect();
        assert_eq!(db.have_presence(film.id, &items).unwrap(), expected);
    }
}
