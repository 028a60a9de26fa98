//! Which stores a repository writes to and reads from.
//!
//! **For:** every program that opens a store because of a repository.
//!
//! **May touch:** git's files, read only; the stores' folders, and the list of repositories in them.
//!
//! **Must hold:** no items are written to any store but the repository's own. A store that is not there
//! or cannot be used hides nothing that another one has.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use bstr::ByteSlice;

use super::config::Settings;
use super::environment::Environment;
use super::repositories::ListError;
use super::{Repository, bytes_to_path, repositories};
use crate::remote_url::RemoteUrl;
use crate::store::{Sharing, Sources, Store, StoreError, StoreOptions};

/// The folder of a store inside a git directory or beside a `dits::` remote's objects.
pub const STORE_DIR: &str = "dits";
/// The index inside a store's folder that is on a disk of this machine.
pub const INDEX_FILE: &str = "index.sqlite";
/// Alternates of alternates are followed this far, as by git.
const ALTERNATES_DEPTH_MAX: usize = 5;

/// The repository's own store: `dits.storage`, else the folder in its common git directory.
///
/// On a network file system it is used as a share is: other machines may use it too.
pub fn store_options(repo: &Repository, settings: &Settings) -> StoreOptions {
    let dir = settings.storage.clone().unwrap_or_else(|| repo.common_dir().join(STORE_DIR));
    let sharing = Sharing::of(&dir);
    own_options(dir, sharing, repo.env())
}

fn own_options(dir: PathBuf, sharing: Sharing, env: &Environment) -> StoreOptions {
    let index = match sharing {
        Sharing::Machine => None,
        Sharing::Network => cached_index(&dir, env),
    };
    // Without a home the store's own folder is the only place left.
    StoreOptions { index: index.unwrap_or_else(|| dir.join(INDEX_FILE)), dir, sharing }
}

/// The stores that a repository may read besides its own: those of alternates and of remotes
/// on a local path.
pub fn other_store_options(repo: &Repository, settings: &Settings) -> Vec<StoreOptions> {
    let own = store_options(repo, settings).dir;
    let mut seen = HashSet::from([identity(&own)]);
    let mut others = Vec::new();
    for objects in alternates(repo) {
        others.extend(objects.parent().and_then(|git_dir| store_of(git_dir, repo.env())));
    }
    for remote in repo.remotes() {
        let text = remote.url.to_str_lossy();
        others.extend(match RemoteUrl::parse(&text) {
            Ok(RemoteUrl::Path(path)) => on_a_share(&path, repo.env()),
            Ok(RemoteUrl::Server { .. }) => None,
            Err(_) => local_git_dir(repo, &text).and_then(|git_dir| store_of(&git_dir, repo.env())),
        });
    }
    others.retain(|options| options.dir.is_dir() && seen.insert(identity(&options.dir)));
    others
}

/// Opens the repository's own store, in which it is listed if that is not in its git directory.
///
/// # Errors
///
/// [`StoreError`] if the store cannot be used.
pub fn open_own(repo: &Repository, settings: &Settings) -> Result<Store, StoreError> {
    let options = store_options(repo, settings);
    let dir = options.dir.clone();
    let store = Store::open(options)?;
    if settings.storage.is_some() {
        list_in(&dir, repo)?;
    }
    Ok(store)
}

/// Opens the repository's own store and the others that are there. In each that is not its own, and not a share's, the
/// repository is listed: what it needs stays there.
///
/// # Errors
///
/// [`StoreError`] if its own store cannot be used. Another one that cannot is left out.
pub fn open_sources(repo: &Repository, settings: &Settings) -> Result<Sources, StoreError> {
    let own = open_own(repo, settings)?;
    let open = |options: StoreOptions| {
        let (dir, sharing) = (options.dir.clone(), options.sharing);
        let store = Store::open_existing(options).ok().flatten()?;
        if sharing == Sharing::Machine {
            // It is read all the same.
            let _ = list_in(&dir, repo);
        }
        Some(store)
    };
    let others = other_store_options(repo, settings).into_iter().filter_map(open).collect();
    Ok(Sources::new(own, others))
}

/// Notes in a store that the repository uses it, wherever anything can be noted there.
fn list_in(store_dir: &Path, repo: &Repository) -> Result<(), StoreError> {
    use std::io::ErrorKind::{NotFound, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match repositories::note(store_dir, repo.common_dir()) {
        Ok(()) => Ok(()),
        Err(ListError { path, source }) => match source.kind() {
            NotFound | PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull => Ok(()),
            _ => Err(StoreError::Io { path, source }),
        },
    }
}

/// The store of the bare repository at `path` that a `dits::` address names. Its index is in
/// the user's cache folder, since locks on a share cannot be trusted; `None` without a home.
pub fn on_a_share(path: &Path, env: &Environment) -> Option<StoreOptions> {
    let dir = path.join(STORE_DIR);
    Some(StoreOptions { index: cached_index(&dir, env)?, dir, sharing: Sharing::Network })
}

/// Where the index of a store is kept that other machines use too; `None` without a home.
fn cached_index(dir: &Path, env: &Environment) -> Option<PathBuf> {
    // A home may be shared among machines as well, and an index must not be.
    let machine = rustix::system::uname();
    let mut name = blake3::Hasher::new();
    name.update(machine.nodename().to_bytes_with_nul()).update(identity(dir).as_os_str().as_encoded_bytes());
    Some(env.cache_dir()?.join("index").join(format!("{}.sqlite", name.finalize().to_hex())))
}

/// The store of another repository at hand, by that repository's own settings.
fn store_of(git_dir: &Path, env: &Environment) -> Option<StoreOptions> {
    let repo = Repository::at(git_dir, env).ok()?;
    let options = store_options(&repo, &repo.settings().ok()?);
    // A store without an index of its own belongs to a `dits::` remote.
    match options.sharing == Sharing::Network || options.index.exists() {
        true => Some(options),
        false => on_a_share(options.dir.parent()?, env),
    }
}

/// The object directories that git reads besides the repository's own.
fn alternates(repo: &Repository) -> Vec<PathBuf> {
    let from_env = repo.env().get("GIT_ALTERNATE_OBJECT_DIRECTORIES").unwrap_or_default();
    let mut found: Vec<PathBuf> = std::env::split_paths(from_env).filter(|dir| dir.is_absolute()).collect();
    let mut level = vec![repo.objects_dir()];
    for _ in 0..ALTERNATES_DEPTH_MAX {
        level = level.iter().flat_map(|objects| alternates_in(objects)).collect();
        level.retain(|dir| !found.contains(dir));
        found.extend(level.iter().cloned());
    }
    found
}

fn alternates_in(objects: &Path) -> Vec<PathBuf> {
    let text = std::fs::read(objects.join("info/alternates")).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with(b"#"));
    lines.map(|line| objects.join(bytes_to_path(line))).filter_map(|dir| std::fs::canonicalize(dir).ok()).collect()
}

/// The git directory that a remote's address names, if it is a path on this machine.
fn local_git_dir(repo: &Repository, url: &str) -> Option<PathBuf> {
    let path = match url.strip_prefix("file://") {
        Some(path) => PathBuf::from(path),
        // `host:path` is another machine; git looks for the colon before the first slash too.
        None if url.split('/').next().is_some_and(|first| first.contains(':')) => return None,
        None => repo.work_tree().unwrap_or(repo.git_dir()).join(url),
    };
    let candidates = [path.join(".git"), path.clone(), path.with_added_extension("git")];
    candidates.into_iter().find(|dir| dir.join("objects").is_dir() || dir.is_file())
}

/// What tells two spellings of one folder from two folders.
fn identity(dir: &Path) -> PathBuf {
    std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_on_a_network_file_system_is_used_as_a_share_is() {
        let env = Environment::new([("HOME".into(), "/home/me".into())]);
        let dir = PathBuf::from("/mnt/nas/film.git/dits");
        let here = own_options(dir.clone(), Sharing::Machine, &env);
        assert_eq!((here.index, here.sharing), (dir.join(INDEX_FILE), Sharing::Machine));
        let shared = own_options(dir.clone(), Sharing::Network, &env);
        let as_a_share = on_a_share(Path::new("/mnt/nas/film.git"), &env).expect("there is a home");
        assert_eq!(
            (&shared.index, &shared.dir, shared.sharing),
            (&as_a_share.index, &as_a_share.dir, Sharing::Network)
        );
        assert!(shared.index.starts_with("/home/me/.cache/dits/index"));
        let homeless = own_options(dir.clone(), Sharing::Network, &Environment::default());
        assert_eq!((homeless.index, homeless.sharing), (dir.join(INDEX_FILE), Sharing::Network));
    }
}
