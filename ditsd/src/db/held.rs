//! Which files a repository holds, content proven.
//!
//! **For:** answering "held", finding manifests for downloads, and the check before a ref
//! moves: none of these looks at anything else.
//!
//! **Must hold:** a row is written only for a manifest whose content was hashed to the oid
//! with every item present in that repository.

use dits_core::hash::{FileHash, ManifestHash, PageValue};
use dits_core::pointer::Pointer;
use rusqlite::{OptionalExtension, params};

use super::{Db, DbError, RepoKey, bytes};

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
                let read = |row: &rusqlite::Row<'_>| {
                    Ok(Held {
                        pointer: Pointer { oid: *oid, size: row.get::<_, i64>(0)? as u64 },
                        manifest: ManifestHash::from_bytes(bytes(row, 1)?),
                        proven_at: row.get::<_, i64>(2)? as u64,
                    })
                };
                statement.query_row(params![repo.0, oid.as_bytes()], read).optional()
            };
            oids.iter().map(&mut one).collect()
        })
    }

    /// Records proven files, all or none, and where later versions of them may find proven blocks.
    /// A manifest proven later takes the place of an earlier one of the same file.
    pub fn record_held(&self, repo: RepoKey, proven: &[(&Held, &[PageValue])]) -> Result<(), DbError> {
        self.write(|connection| {
            let mut insert = connection.prepare_cached(
                "INSERT INTO held (repo, oid, size, manifest, proven_at) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (repo, oid) DO UPDATE SET manifest = excluded.manifest, proven_at = excluded.proven_at",
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
