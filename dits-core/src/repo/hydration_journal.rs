//! The journal of a hydration: what a process was about to do in a work tree, for whoever comes after it.
//!
//! **For:** processes that turn pointers of a work tree into content, or content into pointers, and those that show
//! what is left to do.
//!
//! **May touch:** `<git dir>/dits/hydration`.
//!
//! **Must hold:**
//! - a journal is changed and removed only by who holds its lock;
//! - each record is written at once, so that a crash tears no other, and nothing follows one that was torn;
//! - nothing in a journal is trusted: its paths are parsed as records are read.
//!
//! **Format:** `docs/formats/hydration-v1.md`.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::work_tree_file::Stands;
use crate::hydration_record::{self, HEAD, HeadError, Record, TemporaryName, Written};
use crate::limits::JOURNAL_LEN_MAX;
use crate::pointer::Pointer;
use crate::repo_path::RepoPath;

/// The folder of journals inside a work tree's git directory.
const FOLDER: &str = "dits/hydration";

/// A journal that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The system does not let us.
    #[error("cannot use {path}", path = .path.display())]
    Io {
        /// The journal, or its folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It has as many records as may be read again.
    #[error("{path} is full", path = .path.display())]
    Full {
        /// The journal.
        path: PathBuf,
    },
    /// A record was torn in it: whatever came behind that would be read as part of it.
    #[error("{path} can take no more: writing to it failed before", path = .path.display())]
    Torn {
        /// The journal.
        path: PathBuf,
    },
    /// It is of another version.
    #[error("cannot use {path}", path = .path.display())]
    Head {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: HeadError,
    },
}

impl JournalError {
    fn io(path: &Path, source: io::Error) -> JournalError {
        JournalError::Io { path: path.to_owned(), source }
    }
}

/// The journal of this process.
#[derive(Debug)]
pub struct Journal {
    /// Holds the owner's lock until it is closed.
    file: File,
    path: PathBuf,
    /// Its length, as long as all of it could be written.
    len: Mutex<Option<u64>>,
}

/// What is left to do at one path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// What is to stand at the path; what else is noted may be torn from it.
    pub goal: Option<Stands>,
    /// Files that were to take their place.
    pub writes: Vec<(TemporaryName, Option<Written>)>,
    /// Why it has not.
    pub reason: Option<String>,
}

impl Entry {
    /// The pointer whose content is wanted at the path.
    pub fn wanted(&self) -> Option<Pointer> {
        match self.goal {
            Some(Stands::Content(pointer)) => Some(pointer),
            Some(Stands::Pointer(_)) | None => None,
        }
    }
}

/// What journals say, by path.
pub type Entries = BTreeMap<RepoPath, Entry>;

/// The journal of a process that is gone; nobody else takes it while this lives.
#[derive(Debug)]
pub struct Left {
    /// Holds the lock.
    _file: File,
    path: PathBuf,
    /// What it says.
    pub entries: Entries,
}

impl Journal {
    /// Makes a journal in `git_dir`, which is that of the work tree.
    ///
    /// # Errors
    ///
    /// [`JournalError`] where nothing can be written.
    pub fn create(git_dir: &Path) -> Result<Journal, JournalError> {
        let folder = git_dir.join(FOLDER);
        fs::create_dir_all(&folder).map_err(|source| JournalError::io(&folder, source))?;
        loop {
            let path = folder.join(format!("{:016x}", rand::random::<u64>()));
            let failed = |source| JournalError::io(&path, source);
            let mut file = OpenOptions::new().append(true).create_new(true).open(&path).map_err(failed)?;
            // Before it is locked, another process may have taken it for left over, and removed it.
            if lock_named(&file, &path).map_err(failed)? {
                file.write_all(HEAD).map_err(failed)?;
                return Ok(Journal { file, path, len: Mutex::new(Some(HEAD.len() as u64)) });
            }
        }
    }

    /// Writes records down, all at once.
    ///
    /// # Errors
    ///
    /// [`JournalError`] if they cannot be written, or could not be read again.
    pub fn note(&self, records: &[Record]) -> Result<(), JournalError> {
        let mut bytes = Vec::new();
        records.iter().for_each(|record| record.write(&mut bytes));
        let mut len = self.len.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let Some(before) = *len else {
            return Err(JournalError::Torn { path: self.path.clone() });
        };
        let after = before + bytes.len() as u64;
        if after > JOURNAL_LEN_MAX {
            return Err(JournalError::Full { path: self.path.clone() });
        }
        let written = (&self.file).write_all(&bytes);
        *len = written.is_ok().then_some(after);
        written.map_err(|source| JournalError::io(&self.path, source))
    }

    /// Removes the journal: nothing of it is left to do.
    ///
    /// # Errors
    ///
    /// [`JournalError`] if it cannot be removed.
    pub fn remove(self) -> Result<(), JournalError> {
        remove(&self.path)
    }
}

impl Left {
    /// Removes the journal: nothing of it is left to do, or another journal has it.
    ///
    /// # Errors
    ///
    /// [`JournalError`] if it cannot be removed.
    pub fn remove(self) -> Result<(), JournalError> {
        remove(&self.path)
    }
}

/// Takes over the journals of processes that are gone. What cannot be read stays, and is told.
///
/// # Errors
///
/// [`JournalError`] if the folder cannot be read.
pub fn take_over(git_dir: &Path) -> Result<(Vec<Left>, Vec<JournalError>), JournalError> {
    let (mut left, mut problems) = (Vec::new(), Vec::new());
    for path in list(git_dir)? {
        match take(&path) {
            Ok(taken) => left.extend(taken),
            Err(problem) => problems.push(problem),
        }
    }
    Ok((left, problems))
}

/// What all journals of a work tree say, those of processes that are at work included. What cannot be read
/// says nothing.
///
/// # Errors
///
/// [`JournalError`] if the folder cannot be read.
pub fn entries(git_dir: &Path) -> Result<Entries, JournalError> {
    entries_of(git_dir, |_| true)
}

/// What the journals of those processes say that are at work, as far as it can be read.
///
/// # Errors
///
/// [`JournalError`] if the folder cannot be read.
pub fn entries_of_living(git_dir: &Path) -> Result<Entries, JournalError> {
    // Shared, so that two who look do not take each other for the owner.
    entries_of(git_dir, |journal| matches!(journal.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

fn entries_of(git_dir: &Path, is_meant: impl Fn(&File) -> bool) -> Result<Entries, JournalError> {
    let mut all = Entries::new();
    for path in list(git_dir)? {
        let read = File::open(&path).map_err(|source| JournalError::io(&path, source));
        let read = read.map(|file| is_meant(&file).then_some(file));
        let Ok(Some(entries)) = read.and_then(|file| file.map(|file| read_entries(&file, &path)).transpose()) else {
            continue;
        };
        for (path, entry) in entries {
            let known: &mut Entry = all.entry(path).or_default();
            known.writes.extend(entry.writes);
            known.goal = entry.goal.or(known.goal);
            known.reason = entry.reason.or(known.reason.take());
        }
    }
    Ok(all)
}

/// Lists the journals there are, the oldest first.
fn list(git_dir: &Path) -> Result<Vec<PathBuf>, JournalError> {
    let folder = git_dir.join(FOLDER);
    let listed = match fs::read_dir(&folder) {
        Ok(listed) => listed,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(source) => return Err(JournalError::io(&folder, source)),
    };
    let is_name = |name: &str| name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let journals = listed.flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_name));
    let mut dated: Vec<_> =
        journals.map(|entry| (entry.metadata().and_then(|meta| meta.modified()).ok(), entry.path())).collect();
    dated.sort();
    Ok(dated.into_iter().map(|(_, path)| path).collect())
}

/// Takes over one journal; `None` where another process has it, or it is gone.
fn take(path: &Path) -> Result<Option<Left>, JournalError> {
    let failed = |source| JournalError::io(path, source);
    let file = match OpenOptions::new().read(true).open(path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(source) => return Err(failed(source)),
    };
    if !lock_named(&file, path).map_err(failed)? {
        return Ok(None);
    }
    let entries = read_entries(&file, path)?;
    Ok(Some(Left { _file: file, path: path.to_owned(), entries }))
}

fn read_entries(file: &File, path: &Path) -> Result<Entries, JournalError> {
    let mut bytes = Vec::new();
    file.take(JOURNAL_LEN_MAX).read_to_end(&mut bytes).map_err(|source| JournalError::io(path, source))?;
    let records = hydration_record::read(&bytes);
    let records = records.map_err(|source| JournalError::Head { path: path.to_owned(), source })?;
    let mut entries = Entries::new();
    for record in records {
        match record {
            Record::Want { pointer, path } => {
                let entry = entries.entry(path).or_default();
                entry.goal = Some(Stands::Content(pointer));
                entry.reason = None;
            }
            Record::Dehydrate { pointer, path } => {
                entries.entry(path).or_default().goal = Some(Stands::Pointer(pointer));
            }
            Record::Write { temporary, written, path } => {
                let writes = &mut entries.entry(path).or_default().writes;
                writes.retain(|(name, _)| *name != temporary);
                writes.push((temporary, written));
            }
            Record::Fail { path, reason } => entries.entry(path).or_default().reason = Some(reason),
            Record::Done { path } => drop(entries.remove(&path)),
        }
    }
    Ok(entries)
}

/// Takes the owner's lock; returns false if another process has it, or if the file that now is locked no longer
/// has this name.
fn lock_named(file: &File, path: &Path) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(false),
        Err(TryLockError::Error(source)) => return Err(source),
    }
    let locked = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (locked.dev(), locked.ino())),
        Err(error) if is_absent(&error) => Ok(false),
        Err(source) => Err(source),
    }
}

fn remove(path: &Path) -> Result<(), JournalError> {
    match fs::remove_file(path) {
        Err(source) if !is_absent(&source) => Err(JournalError::io(path, source)),
        _ => Ok(()),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::FileHash;
    use crate::hydration_record::Date;

    fn path(text: &str) -> RepoPath {
        RepoPath::new(text).expect("a path")
    }

    fn want(text: &str) -> Record {
        Record::Want { pointer: Pointer { oid: FileHash::of(text.as_bytes()), size: 5 }, path: path(text) }
    }

    #[test]
    fn a_journal_is_taken_over_once_its_process_is_gone_and_not_before() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let journal = Journal::create(dir.path()).expect("made");
        journal.note(&[want("a"), want("b"), want("c")]).expect("noted");
        let written = Some(Written { inode: 7, date: Date { secs: 1, nanos: 2 } });
        let temporary = TemporaryName::new(1);
        journal.note(&[Record::Write { temporary: temporary.clone(), written: None, path: path("a") }]).expect("noted");
        journal.note(&[Record::Write { temporary: temporary.clone(), written, path: path("a") }]).expect("noted");
        journal.note(&[Record::Done { path: path("b") }]).expect("noted");
        journal.note(&[Record::Fail { path: path("c"), reason: "no network".into() }]).expect("noted");
        let (left, problems) = take_over(dir.path()).expect("looked for");
        assert!(left.is_empty() && problems.is_empty());
        let all = entries(dir.path()).expect("read");
        assert_eq!(entries_of_living(dir.path()).expect("read"), all);
        drop(journal);
        assert!(entries_of_living(dir.path()).expect("read").is_empty());
        let (mut left, _) = take_over(dir.path()).expect("looked for");
        let taken = left.pop().expect("it is left");
        assert_eq!(taken.entries, all);
        assert_eq!(all.keys().cloned().collect::<Vec<_>>(), [path("a"), path("c")]);
        assert_eq!(all[&path("a")].writes, [(temporary, written)]);
        assert_eq!(all[&path("c")].reason.as_deref(), Some("no network"));
        assert!(take_over(dir.path()).expect("looked for").0.is_empty(), "it has one taker");
        taken.remove().expect("removed");
        assert!(entries(dir.path()).expect("read").is_empty());
    }

    #[test]
    fn what_is_no_journal_of_this_version_stays_and_is_told() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        assert!(take_over(dir.path()).expect("nothing is there").0.is_empty());
        let folder = dir.path().join(FOLDER);
        fs::create_dir_all(&folder).expect("made");
        fs::write(folder.join("00000000000000aa"), b"dits hydration 2\0want").expect("written");
        fs::write(folder.join("00000000000000ab"), b"").expect("written");
        fs::write(folder.join("notes.txt"), b"mine").expect("written");
        let (left, problems) = take_over(dir.path()).expect("looked for");
        assert_eq!((left.len(), problems.len()), (1, 1));
        assert!(matches!(&problems[0], JournalError::Head { source: HeadError::UnknownVersion(_), .. }));
        assert_eq!(fs::read_dir(&folder).expect("listed").count(), 3);
    }

    #[test]
    fn a_journal_does_not_grow_beyond_what_is_read() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let journal = Journal::create(dir.path()).expect("made");
        *journal.len.lock().expect("one thread") = Some(JOURNAL_LEN_MAX - 10);
        assert!(matches!(journal.note(&[want("a")]), Err(JournalError::Full { .. })));
        journal.remove().expect("removed");
    }

    #[test]
    fn nothing_is_noted_behind_a_record_that_was_torn() {
        // A pipe that nobody empties takes the beginning of many records, as a full disk does.
        let (mut reader, writer) = io::pipe().expect("made");
        rustix::io::ioctl_fionbio(&writer, true).expect("set");
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let journal = Journal { file, path: "journal".into(), len: Mutex::new(Some(0)) };
        let records: Vec<Record> = (0..1 << 15).map(|number| want(&number.to_string())).collect();
        let torn = journal.note(&records);
        assert!(matches!(torn, Err(JournalError::Io { .. })), "{torn:?}");
        // There is room again.
        let mut piece = vec![0; 1 << 16];
        assert!(reader.read(&mut piece).expect("read") > 0);
        let next = journal.note(&[want("b")]);
        assert!(matches!(next, Err(JournalError::Torn { .. })), "{next:?}");
    }
}
