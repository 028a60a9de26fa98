//! A share: a bare repository with a store beside it, on a disk or NAS, and no server.
//!
//! **For:** `dits::/path`.
//!
//! **May touch:** the share's folders, and git to make the bare repository.
//!
//! **Must hold:**
//! - an item is checked against its name before it is written to the share, and before it
//!   is handed out;
//! - a file counts as held only while every item that it needs is there;
//! - several machines may do all of this at once, and none of them relies on a lock.
//!
//! **Format:** `docs/formats/share-v1.md`.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::codec::Decoder;
use crate::git_index::ObjectFormat;
use crate::hash::{FileHash, ManifestHash};
use crate::item::{ItemId, ItemKind};
use crate::manifest::span::Span;
use crate::manifest::{Manifest, parts::Part};
use crate::pack_format::Domain;
use crate::pointer::Pointer;
use crate::repo::git_program::{GitError, GitProgram};
use crate::repo::named_files::Refs;
use crate::repo::pointer_walk::AttributeCase;
use crate::store::{NewItem, ReadError, Store, StoreError, StoreOptions, StoredItem, WriteError};

use super::{Holding, ProveOutcome, Receipt, RemoteError};

/// The hook that every push to the share passes, Dits' own or plain git's.
const PRE_RECEIVE: &str = include_str!("../../../hooks/pre-receive");
const HOOK: &str = "pre-receive";
/// What a hook of somebody's own has to call in its place.
pub const HOOK_CALL: &str = "git dits hook pre-receive";

/// The file in a share's store that says that the text of what it has may be on another host.
const TEXT_ELSEWHERE: &str = "text-elsewhere";

/// Returns true for a share of whose media nobody can tell whether it is needed: the pointers to it may be on another
/// host, as somebody said who pushed media there, or it has no ref at all.
///
/// # Errors
///
/// [`GitError`] if its refs cannot be listed.
pub fn may_have_text_elsewhere(store_dir: &Path, git: &GitProgram) -> Result<bool, GitError> {
    // One that cannot be looked for may be there.
    let is_noted = !matches!(store_dir.join(TEXT_ELSEWHERE).try_exists(), Ok(false));
    Ok(is_noted || Refs::list(git)?.is_empty())
}

/// A share cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// There is nothing at the path.
    #[error("there is no repository at {path}", path = .path.display())]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// Something else is at the path.
    #[error("{path} is neither empty nor a bare git repository", path = .path.display())]
    NotARepository {
        /// The path.
        path: PathBuf,
    },
    /// A file of the share cannot be used.
    #[error("cannot use {path}", path = .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Somebody put another hook in the place of ours, or keeps git from running ours.
    #[error("{path} {problem}", path = .path.display())]
    Hook {
        /// The hook.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The bare repository cannot be made.
    #[error("cannot make a bare repository")]
    Git(#[source] GitError),
    /// The store of the share cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes the share at `path` if nothing is there: a bare repository and its hook. Says
/// whether it is there now.
///
/// What another machine makes at the same time is left as it is: `git init` adds only what is
/// missing, and the hook is renamed into place.
///
/// A new one names its objects by this format.
///
/// # Errors
///
/// [`ShareError`] if something else is there, or it cannot be made.
pub fn create(path: &Path, git: &GitProgram, object_format: ObjectFormat) -> Result<(), ShareError> {
    if !is_repository(path) {
        let is_free = match fs::read_dir(path) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if !is_free {
            return Err(ShareError::NotARepository { path: path.to_owned() });
        }
        fs::create_dir_all(path).map_err(|source| ShareError::Io { path: path.to_owned(), source })?;
        // The template would bring sample hooks that nobody asked for on a share.
        let mut args = vec!["-c", "init.defaultBranch=main", "init", "--quiet", "--bare", "--template=", "."];
        // Git before 2.29 knows no other, nor the option.
        if object_format == ObjectFormat::Sha256 {
            args.insert(3, "--object-format=sha256");
        }
        git.clone().for_other(path).run(args).map_err(ShareError::Git)?;
    }
    let hook = path.join("hooks").join(HOOK);
    match fs::read(&hook) {
        Ok(text) => check_hook(&hook, &text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => place_hook(&path.join("hooks")),
        Err(source) => Err(ShareError::Io { path: hook, source }),
    }
}

/// Makes `dir` a folder of hooks in which ours stands alone, for a share whose own are not to be run.
///
/// # Errors
///
/// [`ShareError::Io`] if it cannot be written.
pub fn own_hooks(dir: &Path) -> Result<(), ShareError> {
    match fs::read(dir.join(HOOK)) {
        Ok(text) if text == PRE_RECEIVE.as_bytes() => Ok(()),
        _ => place_hook(dir),
    }
}

/// Returns true for what belongs to another user, as git asks it of every repository.
pub fn is_of_another(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let own = rustix::process::geteuid().as_raw();
        fs::metadata(path).is_ok_and(|metadata| metadata.uid() != own)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}

/// A hook that never asks Dits would let refs through whose media is not there.
fn check_hook(path: &Path, text: &[u8]) -> Result<(), ShareError> {
    let refused = |problem| Err(ShareError::Hook { path: path.to_owned(), problem });
    let asks_dits = |line: &str| !line.trim_start().starts_with('#') && line.contains(HOOK_CALL);
    if !String::from_utf8_lossy(text).lines().any(asks_dits) {
        return refused("is another hook, which does not ask Dits whether the media is there");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let metadata = fs::metadata(path).map_err(|source| ShareError::Io { path: path.to_owned(), source })?;
        if metadata.permissions().mode() & 0o111 == 0 {
            return refused("is not executable, so that git passes over it");
        }
    }
    Ok(())
}

/// Returns true if a bare repository is at `path`.
pub fn is_repository(path: &Path) -> bool {
    path.join("HEAD").is_file() && path.join("objects").is_dir()
}

fn place_hook(hooks: &Path) -> Result<(), ShareError> {
    let hook = hooks.join(HOOK);
    write_hook(hooks, &hook).map_err(|source| ShareError::Io { path: hook, source })
}

fn write_hook(hooks: &Path, hook: &Path) -> io::Result<()> {
    fs::create_dir_all(hooks)?;
    let mut file = tempfile::Builder::new().prefix(".pre-receive").tempfile_in(hooks)?;
    file.write_all(PRE_RECEIVE.as_bytes())?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o755))?;
    }
    file.as_file().sync_all()?;
    file.persist(hook).map(drop).map_err(|error| error.error)
}

/// The media of a share.
#[derive(Debug)]
pub struct LocalRemote {
    store: Store,
    dir: PathBuf,
}

impl LocalRemote {
    /// Opens the share's store to read and write, and makes it where there is none.
    ///
    /// # Errors
    ///
    /// [`ShareError`] if there is no repository beside it, or the store cannot be used.
    pub fn open(options: StoreOptions) -> Result<LocalRemote, ShareError> {
        let path = options.dir.parent().unwrap_or(&options.dir);
        match is_repository(path) {
            true => Ok(LocalRemote { dir: options.dir.clone(), store: Store::open(options)? }),
            false => Err(ShareError::NotFound { path: path.to_owned() }),
        }
    }

    /// The share's store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Notes for good that pointers to what is asked about, or sent, may be on another host alone.
    pub(super) fn note_text_elsewhere(&self) -> Result<(), RemoteError> {
        let path = self.dir.join(TEXT_ELSEWHERE);
        let noted = match path.try_exists() {
            Ok(true) => return Ok(()),
            _ => fs::File::create(&path).and_then(|file| file.sync_all()),
        };
        let synced = noted.and_then(|()| fs::File::open(&self.dir)?.sync_all());
        synced.map_err(|source| RemoteError::Note { path, source })
    }

    /// Says whether everything of a file is there, and the file is as long as its pointer says.
    ///
    /// # Errors
    ///
    /// [`RemoteError`] if the store cannot be used.
    pub fn holds(&self, pointer: &Pointer) -> Result<bool, RemoteError> {
        Ok(self.whole(&pointer.oid, |found| found == *pointer)?.is_some())
    }

    /// On a share nothing was proven, so that a manifest with another length says nothing of this one.
    pub(super) fn held(&self, files: &[Pointer]) -> Result<Vec<Holding>, RemoteError> {
        self.store.refresh()?;
        let one = |file: &Pointer| {
            let whole = self.whole(&file.oid, |found| found == *file)?;
            Ok(whole.map_or(Holding::No, |hash| Holding::Held(receipt(file, hash))))
        };
        files.iter().map(one).collect()
    }

    /// As [`LocalRemote::held`], of those that the refs of the bare repository name.
    pub(super) fn kept(&self, files: &[Pointer], git: &GitProgram) -> Result<Vec<Holding>, RemoteError> {
        let mut holdings = self.held(files)?;
        let refs = Refs::list(git).map_err(RemoteError::Refs)?;
        let named = refs.files(git, AttributeCase::Sensitive).map_err(RemoteError::Walk)?;
        for (holding, file) in holdings.iter_mut().zip(files) {
            if !named.contains(file) {
                *holding = Holding::No;
            }
        }
        Ok(holdings)
    }

    pub(super) fn manifests(&self, oids: &[FileHash]) -> Result<Vec<Option<ManifestHash>>, RemoteError> {
        self.store.refresh()?;
        oids.iter().map(|oid| self.whole(oid, |_| true)).collect()
    }

    /// A manifest of a wanted file of which every part is there.
    fn whole(&self, oid: &FileHash, is_wanted: impl Fn(Pointer) -> bool) -> Result<Option<ManifestHash>, RemoteError> {
        for hash in self.store.manifests_of(oid)? {
            // One that is going to be removed can be read, and does not count.
            if self.store.has(&hash.into())?
                && let Ok((manifest, missing)) = self.missing_parts(&hash, MissingWanted::Any)
                && missing.is_empty()
                && is_wanted(manifest.pointer())
            {
                return Ok(Some(hash));
            }
        }
        Ok(None)
    }

    pub(super) fn missing(&self, items: &[ItemId]) -> Result<Vec<bool>, RemoteError> {
        items.iter().map(|id| Ok(!self.store.has(id)?)).collect()
    }

    pub(super) fn upload(
        &self,
        items: &mut dyn Iterator<Item = Result<StoredItem, ReadError>>,
        progress: &dyn Fn(u64),
    ) -> Result<(), RemoteError> {
        let mut writer = self.store.writer(Domain::LOCAL);
        let mut checker = Checker::default();
        for item in items {
            let item = item?;
            checker.check(&item)?;
            let StoredItem { id, codec, plain_len, bytes } = &item;
            writer.put(NewItem { id: *id, codec: *codec, plain_len: *plain_len, stored: bytes })?;
            progress(bytes.len() as u64);
        }
        Ok(writer.sync()?)
    }

    pub(super) fn prove(&self, manifest: &ManifestHash) -> Result<ProveOutcome, RemoteError> {
        match self.missing_parts(manifest, MissingWanted::All) {
            Ok(_) if !self.store.has(&(*manifest).into())? => Ok(ProveOutcome::Missing(vec![(*manifest).into()])),
            Ok((manifest_read, missing)) if missing.is_empty() => {
                Ok(ProveOutcome::Held(receipt(&manifest_read.pointer(), *manifest)))
            }
            Ok((_, missing)) => Ok(ProveOutcome::Missing(missing)),
            Err(RemoteError::Read(ReadError::Missing(id))) => Ok(ProveOutcome::Missing(vec![id])),
            Err(RemoteError::Manifest { source, .. }) => Ok(ProveOutcome::Refused(source.to_string())),
            Err(error) => Err(error),
        }
    }

    pub(super) fn download(
        &self,
        items: &[ItemId],
        sink: &mut dyn FnMut(StoredItem) -> Result<(), WriteError>,
        progress: &dyn Fn(u64),
    ) -> Result<Vec<ItemId>, RemoteError> {
        let mut absent = Vec::new();
        let mut checker = Checker::default();
        for id in items {
            match self.store.read_stored(id) {
                Ok(item) => {
                    checker.check(&item)?;
                    progress(item.bytes.len() as u64);
                    sink(item)?;
                }
                Err(ReadError::Missing(id)) => absent.push(id),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(absent)
    }

    /// Reads a manifest of the share and says which of the items it needs are not there.
    fn missing_parts(
        &self,
        hash: &ManifestHash,
        wanted: MissingWanted,
    ) -> Result<(Manifest, Vec<ItemId>), RemoteError> {
        let mut plain = Vec::new();
        self.store.read(&ItemId::from(*hash), &mut plain)?;
        let malformed = |id, source| RemoteError::Manifest { id, source };
        let manifest = Manifest::decode(&plain).map_err(|source| malformed((*hash).into(), source))?;
        let mut missing = Vec::new();
        for Part { id, .. } in manifest.parts() {
            if wanted == MissingWanted::Any && !missing.is_empty() {
                break;
            }
            if !self.store.has(&id)? {
                missing.push(id);
            } else if id.kind == ItemKind::Span {
                self.store.read(&id, &mut plain)?;
                let span = Span::decode(&plain).map_err(|source| malformed(id, source))?;
                for entry in span.entries() {
                    let chunk = ItemId::from(entry.hash);
                    if !self.store.has(&chunk)? {
                        missing.push(chunk);
                    }
                }
            }
        }
        Ok((manifest, missing))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum MissingWanted {
    All,
    Any,
}

/// A share proves nothing to others: its receipts only say when this machine saw the file whole.
fn receipt(file: &Pointer, manifest: ManifestHash) -> Receipt {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Receipt { oid: file.oid, size: file.size, manifest, proven_at: now, mac: Vec::new() }
}

/// Checks items against their names.
#[derive(Default)]
struct Checker {
    decoder: Decoder,
    plain: Vec<u8>,
}

impl Checker {
    fn check(&mut self, item: &StoredItem) -> Result<(), RemoteError> {
        let wrong = || RemoteError::WrongContent { id: item.id };
        if item.plain_len as usize > item.id.kind.plain_len_max() {
            return Err(wrong());
        }
        let decoded = self.decoder.decode(item.codec, &item.bytes, item.plain_len as usize, &mut self.plain);
        match decoded.is_ok() && item.id.names(&self.plain) {
            true => Ok(()),
            false => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_that_never_asks_dits_is_not_taken_for_ours() {
        let dir = tempfile::tempdir().expect("a folder");
        let hook = dir.path().join(HOOK);
        own_hooks(dir.path()).expect("written");
        let text = fs::read(&hook).expect("it was just written");
        assert!(check_hook(&hook, &text).is_ok());
        let chained = format!("#!/bin/sh\nlogger pushed\n{HOOK_CALL}\n");
        assert!(check_hook(&hook, chained.as_bytes()).is_ok());
        for other in [String::new(), "#!/bin/sh\nexit 0\n".into(), format!("#!/bin/sh\n# {HOOK_CALL}\nexit 0\n")] {
            assert!(matches!(check_hook(&hook, other.as_bytes()), Err(ShareError::Hook { .. })), "{other:?}");
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&hook, fs::Permissions::from_mode(0o644)).expect("it is ours");
            assert!(matches!(check_hook(&hook, &text), Err(ShareError::Hook { .. })));
        }
        fs::write(&hook, "#!/bin/sh\nexit 0\n").expect("it is ours");
        own_hooks(dir.path()).expect("written again");
        assert_eq!(fs::read(&hook).expect("it is there"), text);
    }
}
