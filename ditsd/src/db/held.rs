//! Which files a repository holds, content proven.
//!
//! **For:** answering "held", finding manifests for downloads, and the check before a ref
//! moves: none of these looks at anything else.
//!
//! **Must hold:**
//! - a row is written only for a manifest whose content was hashed to the oid with every item
//!   present in that repository;
//! - whoever is told that a file is held relies on it: the row says so, on stable storage, before
//!   the answer goes out, so that no collection takes it away then.

use dits_core::hash::{FileHash, ManifestHash, PageValue};
use dits_core::pointer::Pointer;
use rusqlite::{OptionalExtension, params};

use super::{Db, DbError, RepoKey, bytes};

/// How long what a row says of its last answer may be out of date, in seconds: rewriting it for
/// each answer would cost a sync of the disk each time.
const SAID_EVERY: u64 = 60 * 60;

/// A file that a repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The file's hash and size.
    pub pointer: Pointer,
    /// How it is put together.
    pub manifest: ManifestHash,
    /// When its content was proven, in seconds since 1970 UTC.
    pub proven_at: u64,
}

impl Db {
    /// Looks up files; one answer for each oid, in order.
    pub fn held(&self, repo: RepoKey, oids: &[FileHash]) -> Result<Vec<Option<Held>>, DbError> {
        self.read(|connection| {
            let select = "SELECT size, manifest, proven_at FROM held WHERE repo = ?1 AND oid = ?2";
            let mut statement = connection.prepare_cached(select)?;
            let mut one = |oid: &FileHash| {
                statement.query_row(params![repo.0, oid.as_bytes()], |row| read_held(oid, row)).optional()
            };
            oids.iter().map(&mut one).collect()
        })
    }

    /// Looks up files for an answer that somebody relies on; one for each oid, in order. That they were
    /// said to be held is recorded when this returns.
    pub fn say_held(&self, repo: RepoKey, oids: &[FileHash], now: u64) -> Result<Vec<Option<Held>>, DbError> {
        if self.all_said(repo, oids, now)? {
            return self.held(repo, oids);
        }
        self.write(|connection| {
            let mut update = connection.prepare_cached(
                "UPDATE held SET said_at = max(said_at, ?3),
                    said_in = max(said_in, (SELECT generation FROM collection))
                 WHERE repo = ?1 AND oid = ?2 RETURNING size, manifest, proven_at",
            )?;
            let mut one = |oid: &FileHash| {
                let params = params![repo.0, oid.as_bytes(), now as i64];
                update.query_row(params, |row| read_held(oid, row)).optional()
            };
            oids.iter().map(&mut one).collect()
        })
    }

    /// Whether each of these that is held has been said to be so a short while ago, and since the last
    /// collection began.
    fn all_said(&self, repo: RepoKey, oids: &[FileHash], now: u64) -> Result<bool, DbError> {
        let since = now.saturating_sub(SAID_EVERY) as i64;
        self.read(|connection| {
            let look = connection.unchecked_transaction()?;
            let mut stale = look.prepare_cached(
                "SELECT 1 FROM held WHERE repo = ?1 AND oid = ?2
                    AND (said_at <= ?3 OR said_in < (SELECT generation FROM collection))",
            )?;
            for oid in oids {
                if stale.exists(params![repo.0, oid.as_bytes(), since])? {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    /// Records proven files, all or none, and where later versions of them may find proven blocks.
    /// A manifest proven later takes the place of an earlier one of the same file.
    pub fn record_held(&self, repo: RepoKey, proven: &[(&Held, &[PageValue])]) -> Result<(), DbError> {
        self.write(|connection| {
            let mut insert = connection.prepare_cached(
                "INSERT INTO held (repo, oid, size, manifest, proven_at, said_at, said_in)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?5, (SELECT generation FROM collection))
                 ON CONFLICT (repo, oid) DO UPDATE SET manifest = excluded.manifest, proven_at = excluded.proven_at,
                    said_at = max(said_at, excluded.said_at), said_in = excluded.said_in",
            )?;
            let mut insert_page = connection.prepare_cached(
                "INSERT INTO proven_pages (repo, page, manifest) VALUES (?1, ?2, ?3)
                 ON CONFLICT (repo, page) DO UPDATE SET manifest = excluded.manifest",
            )?;
            for (held, pages) in proven {
                let Pointer { oid, size } = held.pointer;
                let manifest = held.manifest.as_bytes();
                insert.execute(params![repo.0, oid.as_bytes(), size as i64, manifest, held.proven_at as i64])?;
                for page in *pages {
                    insert_page.execute(params![repo.0, page.as_bytes(), manifest])?;
                }
            }
            Ok(())
        })
    }

    /// Finds the proven manifest that shares most of these pages.
    pub fn manifest_sharing_pages(&self, repo: RepoKey, pages: &[PageValue]) -> Result<Option<ManifestHash>, DbError> {
        let found = self.read(|connection| {
            let select = "SELECT manifest FROM proven_pages WHERE repo = ?1 AND page = ?2";
            let mut statement = connection.prepare_cached(select)?;
            let mut one = |page: &PageValue| {
                statement.query_row(params![repo.0, page.as_bytes()], |row| bytes::<32>(row, 0)).optional()
            };
            pages.iter().map(&mut one).collect::<rusqlite::Result<Vec<Option<[u8; 32]>>>>()
        })?;
        let mut counts = std::collections::HashMap::<[u8; 32], usize>::new();
        found.into_iter().flatten().for_each(|manifest| *counts.entry(manifest).or_default() += 1);
        let most = counts.into_iter().max_by_key(|(manifest, count)| (*count, *manifest));
        Ok(most.map(|(manifest, _)| ManifestHash::from_bytes(manifest)))
    }
}

/// Reads size, manifest and time of the row of `oid`.
fn read_held(oid: &FileHash, row: &rusqlite::Row<'_>) -> rusqlite::Result<Held> {
    Ok(Held {
        pointer: Pointer { oid: *oid, size: row.get::<_, i64>(0)? as u64 },
        manifest: ManifestHash::from_bytes(bytes(row, 1)?),
        proven_at: row.get::<_, i64>(2)? as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::with_repo;
    use super::*;
    use crate::db::RepoId;
    use dits_core::repo_path::RepoName;

    fn held(content: &[u8], manifest: u8, proven_at: u64) -> Held {
        let pointer = Pointer { oid: FileHash::of(content), size: content.len() as u64 };
        Held { pointer, manifest: ManifestHash::from_bytes([manifest; 32]), proven_at }
    }

    #[test]
    fn a_file_is_held_by_the_repository_that_proved_it_alone() {
        let (_dir, db, film) = with_repo();
        let other = db.ensure_repo(&RepoName::new("other").unwrap(), RepoId([9; 16]), 1).unwrap();
        let (a, b) = (held(b"a", 1, 5), held(b"b", 2, 6));
        db.record_held(film.key, &[(&a, &[])]).unwrap();
        assert_eq!(db.held(film.key, &[b.pointer.oid, a.pointer.oid]).unwrap(), [None, Some(a)]);
        assert_eq!(db.held(other.key, &[a.pointer.oid]).unwrap(), [None]);
    }

    fn said(db: &Db, content: &[u8]) -> (i64, i64) {
        let select = "SELECT said_at, said_in FROM held WHERE oid = ?1";
        let oid = FileHash::of(content);
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        db.read(|connection| connection.query_row(select, [oid.as_bytes()], read)).unwrap()
    }

    #[test]
    fn that_a_file_was_said_to_be_held_is_written_down_once_an_hour_and_once_a_collection() {
        let (_dir, db, film) = with_repo();
        let (a, b) = (held(b"a", 1, 5), held(b"b", 2, 5));
        db.record_held(film.key, &[(&a, &[]), (&b, &[])]).unwrap();
        assert_eq!(said(&db, b"a"), (5, 0));
        let oids = [a.pointer.oid, FileHash::of(b"c"), b.pointer.oid];
        let say = |now| assert_eq!(db.say_held(film.key, &oids, now).unwrap(), [Some(a), None, Some(b)]);
        say(3000);
        assert_eq!(said(&db, b"a"), (5, 0), "nothing new");
        say(9000);
        assert_eq!((said(&db, b"a"), said(&db, b"b")), ((9000, 0), (9000, 0)));
        db.write(|connection| connection.execute("UPDATE collection SET generation = 3", [])).unwrap();
        say(7);
        assert_eq!(said(&db, b"a"), (9000, 3), "a clock that goes back takes nothing away");
        db.record_held(film.key, &[(&a, &[])]).unwrap();
        assert_eq!(said(&db, b"a"), (9000, 3));
        assert_eq!(db.held(film.key, &oids).unwrap(), [Some(a), None, Some(b)]);
    }

    #[test]
    fn what_is_known_of_a_repository_goes_with_it() {
        let (_dir, db, film) = with_repo();
        let page = PageValue::from_bytes([1; 32]);
        db.record_held(film.key, &[(&held(b"a", 1, 5), &[page])]).unwrap();
        db.remove_repo(film.key).unwrap();
        assert_eq!(db.held(film.key, &[FileHash::of(b"a")]).unwrap(), [None]);
        assert_eq!(db.manifest_sharing_pages(film.key, &[page]).unwrap(), None);
    }

    #[test]
    fn the_base_is_the_manifest_that_shares_most_pages() {
        let (_dir, db, film) = with_repo();
        let pages: Vec<_> = (0..5).map(|n| PageValue::from_bytes([n; 32])).collect();
        db.record_held(film.key, &[(&held(b"a", 1, 5), &pages), (&held(b"b", 2, 6), &pages[4..])]).unwrap();
        let base = db.manifest_sharing_pages(film.key, &pages).unwrap();
        assert_eq!(base, Some(ManifestHash::from_bytes([1; 32])));
        let none = db.manifest_sharing_pages(film.key, &[PageValue::from_bytes([99; 32])]).unwrap();
        assert_eq!(none, None);
    }
}
