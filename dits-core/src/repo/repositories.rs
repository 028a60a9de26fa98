//! Repositories that use a store beside the one it belongs to.
//!
//! **For:** a store that several repositories write to (`dits.storage`), or that others read from (alternates, remotes
//! on a local path): what any of them needs stays.
//!
//! **May touch:** the file `repositories` in a store's folder.
//!
//! **Must hold:**
//! - a repository is listed before it relies on the store, wherever the list can be written to;
//! - nothing but [`forget`] takes a line away.
//!
//! **Format:** `docs/formats/collection-v1.md`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const LIST: &str = "repositories";

/// The list cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {path}", path = .path.display())]
pub struct ListError {
    /// The list.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Lists the git directories of the repositories that use the store at `store_dir`.
///
/// # Errors
///
/// [`ListError`] if the list is there and cannot be read.
pub fn list(store_dir: &Path) -> Result<Vec<PathBuf>, ListError> {
    let text = read(&store_dir.join(LIST))?;
    Ok(text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(unescape).collect())
}

/// Notes that the repository with this git directory uses the store. Nothing is written where that is known.
///
/// # Errors
///
/// [`ListError`] if it cannot be noted.
pub fn note(store_dir: &Path, git_dir: &Path) -> Result<(), ListError> {
    let path = store_dir.join(LIST);
    let failed = |source| ListError { path: path.clone(), source };
    let git_dir = fs::canonicalize(git_dir).unwrap_or_else(|_| git_dir.to_owned());
    let line = escape(&git_dir);
    let text = read(&path)?;
    if text.split(|byte| *byte == b'\n').any(|known| known == line) {
        return Ok(());
    }
    let mut file = File::options().create(true).append(true).open(&path).map_err(failed)?;
    // One that was cut off by a power loss must not swallow this line. Empty ones are passed over.
    let start: &[u8] = if text.last().is_none_or(|last| *last == b'\n') { b"" } else { b"\n" };
    file.write_all(&[start, &line, b"\n"].concat()).and_then(|()| file.sync_all()).map_err(failed)?;
    // It may be new.
    File::open(store_dir).and_then(|dir| dir.sync_all()).map_err(failed)
}

/// Takes a repository from the list; returns false if it was not in there.
///
/// Its line is made of empty ones where it stands: another process may be adding its own at the same time.
///
/// # Errors
///
/// [`ListError`] if the list cannot be changed.
pub fn forget(store_dir: &Path, git_dir: &Path) -> Result<bool, ListError> {
    let path = store_dir.join(LIST);
    let failed = |source| ListError { path: path.clone(), source };
    let real = fs::canonicalize(git_dir).ok();
    let is_same = |listed: &Path| listed == git_dir || real.as_deref() == Some(listed);
    let (mut at, mut is_listed) = (0, false);
    for line in read(&path)?.split(|byte| *byte == b'\n') {
        if !line.is_empty() && is_same(&unescape(line)) {
            let file = File::options().write(true).open(&path).map_err(failed)?;
            file.write_all_at(&vec![b'\n'; line.len()], at).and_then(|()| file.sync_all()).map_err(failed)?;
            is_listed = true;
        }
        at += line.len() as u64 + 1;
    }
    Ok(is_listed)
}

fn read(path: &Path) -> Result<Vec<u8>, ListError> {
    match fs::read(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Vec::new()),
        read => read.map_err(|source| ListError { path: path.to_owned(), source }),
    }
}

/// A path in one line: a line feed is `%0a`, and a percent sign `%25`.
fn escape(path: &Path) -> Vec<u8> {
    let escaped = path.as_os_str().as_bytes().iter().flat_map(|byte| match byte {
        b'\n' => b"%0a".to_vec(),
        b'%' => b"%25".to_vec(),
        byte => vec![*byte],
    });
    escaped.collect()
}

fn unescape(line: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some((byte, later)) = rest.split_first() {
        let (byte, later) = match (byte, later) {
            (b'%', [b'0', b'a', later @ ..]) => (b'\n', later),
            (b'%', [b'2', b'5', later @ ..]) => (b'%', later),
            _ => (*byte, later),
        };
        path.push(byte);
        rest = later;
    }
    PathBuf::from(OsStr::from_bytes(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_listed_once_and_until_it_is_forgotten() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = dir.path();
        assert!(list(store).expect("none").is_empty() && list(&store.join("no/store")).expect("none").is_empty());
        let paths = ["/a/plain one.git", "/100%/it\nis", "/c%0a"].map(PathBuf::from);
        for path in paths.iter().chain(&paths) {
            note(store, path).expect("noted");
        }
        assert_eq!(list(store).expect("read"), paths);
        assert!(forget(store, &paths[1]).expect("changed") && !forget(store, &paths[1]).expect("read"));
        assert_eq!(list(store).expect("read"), [paths[0].clone(), paths[2].clone()]);
    }

    #[test]
    fn what_another_process_adds_while_a_line_is_taken_away_stays() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = dir.path();
        let name = |number: usize| PathBuf::from(format!("/repositories/{number}"));
        (0..100).for_each(|number| note(store, &name(number)).expect("noted"));
        std::thread::scope(|scope| {
            scope.spawn(|| (0..100).for_each(|number| assert!(forget(store, &name(number)).expect("changed"))));
            (100..200).for_each(|number| note(store, &name(number)).expect("noted"));
        });
        assert_eq!(list(store).expect("read"), (100..200).map(name).collect::<Vec<_>>());
    }

    #[test]
    fn a_line_that_was_cut_off_takes_no_other_with_it() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join(LIST), "/one\n/tw").expect("written");
        note(dir.path(), Path::new("/three")).expect("noted");
        assert_eq!(list(dir.path()).expect("read"), ["/one", "/tw", "/three"].map(PathBuf::from));
    }

    #[test]
    fn a_flipped_bit_makes_a_line_of_no_repository_and_hides_none() {
        let dir = tempfile::tempdir().expect("a folder");
        let repos = ["one.git", "two.git"].map(|name| fs::canonicalize(dir.path()).expect("there").join(name));
        for repo in &repos {
            fs::create_dir(repo).expect("made");
            note(dir.path(), repo).expect("noted");
        }
        let path = dir.path().join(LIST);
        let good = fs::read(&path).expect("read");
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                fs::write(&path, &bad).expect("written");
                let listed = list(dir.path()).expect("read");
                // One that is no repository ends every collection.
                let is_refused = listed.iter().any(|path| !path.is_dir());
                assert!(is_refused || repos.iter().all(|repo| listed.contains(repo)), "bit {bit} at {at}: {listed:?}");
            }
        }
    }
}
