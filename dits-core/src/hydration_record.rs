//! The records of a hydration's journal: what is to be hydrated, and what was begun.
//!
//! **For:** writing a journal, and reading one that a process left that is gone.
//!
//! **May touch:** nothing.
//!
//! **Must hold:**
//! - a path that is read stays below the top of its work tree, and a temporary name beside that path;
//! - a record that was torn, or is none, is passed over, and spoils no other.
//!
//! **Format:** `docs/formats/hydration-v1.md`.

use bstr::{BString, ByteSlice};

use crate::hash::{FileHash, parse_hex};
use crate::limits;
use crate::pointer::Pointer;
use crate::repo_path::RepoPath;

/// What a journal of this version begins with.
pub const HEAD: &[u8] = b"dits hydration 1\0";
const ANY_HEAD: &[u8] = b"dits hydration ";
/// What a temporary name begins with; hex digits follow.
const TEMPORARY_START: &str = ".dits-";
const TEMPORARY_DIGITS: usize = 16;

/// A temporary name beside the path it is to replace.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TemporaryName(String);

impl TemporaryName {
    /// The name with this number.
    pub fn new(number: u64) -> TemporaryName {
        TemporaryName(format!("{TEMPORARY_START}{number:016x}"))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parse(text: &[u8]) -> Option<TemporaryName> {
        let digits = text.strip_prefix(TEMPORARY_START.as_bytes())?;
        let is_hex = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
        let is_name = digits.len() == TEMPORARY_DIGITS && digits.iter().all(is_hex);
        is_name.then(|| TemporaryName(text.to_str_lossy().into_owned()))
    }
}

/// A moment that a file was given as its time of modification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    /// Seconds since 1970.
    pub secs: i64,
    /// Nanoseconds beyond that.
    pub nanos: u32,
}

/// A file that is complete, as it was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Written {
    /// Its inode.
    pub inode: u64,
    /// The time of modification it was given.
    pub date: Date,
}

/// One record of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The path has, or is about to get, this pointer, and is to get its content.
    Want {
        /// What is wanted.
        pointer: Pointer,
        /// Where.
        path: RepoPath,
    },
    /// The path has, or is about to lose, the content of this pointer, and is to get the pointer.
    Dehydrate {
        /// What is to stand there.
        pointer: Pointer,
        /// Where.
        path: RepoPath,
    },
    /// A file is to take its place under, or through, a name: content, or the pointer where that is to stand.
    Write {
        /// The name.
        temporary: TemporaryName,
        /// The file, once it is complete; a name is made without it only where no file can be made without a name.
        written: Option<Written>,
        /// Where it belongs.
        path: RepoPath,
    },
    /// The content could not be had.
    Fail {
        /// Of which path.
        path: RepoPath,
        /// Why.
        reason: String,
    },
    /// Nothing is left to do.
    Done {
        /// At which path.
        path: RepoPath,
    },
}

/// A journal that is none of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// A later version wrote it.
    #[error("it is a journal of a later version of Dits ({0:?}): use that one here, for it is not done yet")]
    UnknownVersion(BString),
    /// Nobody did.
    #[error("it is no journal of a hydration: remove the file, nothing needs it")]
    NoJournal,
}

impl Record {
    /// Appends the record's bytes.
    pub fn write(&self, to: &mut Vec<u8>) {
        match self {
            Record::Want { pointer, path } | Record::Dehydrate { pointer, path } => {
                let kind = if matches!(self, Record::Want { .. }) { "want" } else { "dehydrate" };
                to.extend_from_slice(format!("{kind} {} {} ", pointer.oid, pointer.size).as_bytes());
                to.extend_from_slice(path.as_bstr());
            }
            Record::Write { temporary, written, path } => {
                let Written { inode, date } = written.unwrap_or(Written { inode: 0, date: Date { secs: 0, nanos: 0 } });
                let name = temporary.as_str();
                to.extend_from_slice(format!("write {name} {inode} {} {} ", date.secs, date.nanos).as_bytes());
                to.extend_from_slice(path.as_bstr());
            }
            Record::Fail { path, reason } => {
                to.extend_from_slice(format!("fail {} ", path.as_bstr().len()).as_bytes());
                to.extend_from_slice(path.as_bstr());
                to.push(b' ');
                let mut end = reason.len().min(limits::REASON_LEN_MAX);
                while !reason.is_char_boundary(end) {
                    end -= 1;
                }
                to.extend(reason[..end].bytes().map(|byte| if byte.is_ascii_control() { b' ' } else { byte }));
            }
            Record::Done { path } => {
                to.extend_from_slice(b"done ");
                to.extend_from_slice(path.as_bstr());
            }
        }
        to.push(0);
    }

    /// The path it is about.
    pub fn path(&self) -> &RepoPath {
        let (Record::Want { path, .. }
        | Record::Dehydrate { path, .. }
        | Record::Write { path, .. }
        | Record::Fail { path, .. }
        | Record::Done { path }) = self;
        path
    }

    /// Reads a record without the NUL behind it.
    fn parse(text: &[u8]) -> Option<Record> {
        let (kind, rest) = text.split_once_str(" ")?;
        let path = |text: &[u8]| RepoPath::new(text).ok();
        match kind {
            b"want" | b"dehydrate" => {
                let (oid, rest) = rest.split_once_str(" ")?;
                let (size, rest) = rest.split_once_str(" ")?;
                let (oid, size) = (FileHash::from_bytes(parse_hex(oid).ok()?), number(size)?);
                let (pointer, path) = (Pointer { oid, size }, path(rest)?);
                let is_valid = (1..=limits::FILE_LEN_MAX).contains(&size);
                is_valid.then_some(match kind {
                    b"want" => Record::Want { pointer, path },
                    _ => Record::Dehydrate { pointer, path },
                })
            }
            b"write" => {
                let mut fields = rest.splitn_str(5, " ");
                let temporary = TemporaryName::parse(fields.next()?)?;
                let inode: u64 = number(fields.next()?)?;
                let date = Date { secs: number(fields.next()?)?, nanos: number(fields.next()?)? };
                let written = (inode != 0).then_some(Written { inode, date });
                (date.nanos < 1_000_000_000).then_some(Record::Write {
                    temporary,
                    written,
                    path: path(fields.next()?)?,
                })
            }
            b"fail" => {
                let (len, rest) = rest.split_once_str(" ")?;
                let len: usize = number(len)?;
                let reason = rest.get(len..)?.strip_prefix(b" ")?;
                let reason = reason.get(..reason.len().min(limits::REASON_LEN_MAX))?.to_str_lossy().into_owned();
                Some(Record::Fail { path: path(rest.get(..len)?)?, reason })
            }
            b"done" => Some(Record::Done { path: path(rest)? }),
            _ => None,
        }
    }
}

/// Reads a journal's records.
///
/// # Errors
///
/// [`HeadError`] for bytes that do not begin as a journal of this version. No bytes at all are an empty journal:
/// its process ended before it wrote the head.
pub fn read(journal: &[u8]) -> Result<impl Iterator<Item = Record>, HeadError> {
    let records = match journal.strip_prefix(HEAD) {
        Some(records) => records,
        None if HEAD.starts_with(journal) => &[],
        None => {
            let version = journal.strip_prefix(ANY_HEAD).ok_or(HeadError::NoJournal)?;
            let version = version.split(|byte| *byte == 0).next().unwrap_or_default();
            return Err(HeadError::UnknownVersion(version[..version.len().min(20)].into()));
        }
    };
    // What no NUL ends was torn.
    let whole = records.rfind_byte(0).map_or(0, |at| at + 1);
    Ok(records[..whole].split(|byte| *byte == 0).filter_map(Record::parse))
}

fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    digits.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(text: &[u8]) -> RepoPath {
        RepoPath::new(text).expect("a path")
    }

    fn records(of: &RepoPath, n: u64) -> Vec<Record> {
        let written = Written { inode: n | 1, date: Date { secs: n as i64, nanos: (n % 1_000_000_000) as u32 } };
        let temporary = TemporaryName::new(n);
        vec![
            Record::Want {
                pointer: Pointer { oid: FileHash::of(&n.to_le_bytes()), size: n % limits::FILE_LEN_MAX + 1 },
                path: of.clone(),
            },
            Record::Dehydrate { pointer: Pointer { oid: FileHash::of(b"x"), size: 1 }, path: of.clone() },
            Record::Write { temporary: temporary.clone(), written: None, path: of.clone() },
            Record::Write { temporary, written: Some(written), path: of.clone() },
            Record::Fail { path: of.clone(), reason: "no network: gone".into() },
            Record::Done { path: of.clone() },
        ]
    }

    fn bytes(records: &[Record]) -> Vec<u8> {
        let mut bytes = HEAD.to_vec();
        records.iter().for_each(|record| record.write(&mut bytes));
        bytes
    }

    proptest! {
        #[test]
        fn reading_undoes_writing(name in "[^\0/]{1,40}", n: u64) {
            prop_assume!(name != "." && name != "..");
            let written = records(&path(name.as_bytes()), n);
            prop_assert_eq!(read(&bytes(&written)).expect("a journal").collect::<Vec<_>>(), written);
        }

        #[test]
        fn a_torn_end_costs_one_record_and_no_other(cut: prop::sample::Index, n: u64) {
            let written = records(&path(b"a b\nc.bin"), n);
            let whole = bytes(&written);
            let cut = HEAD.len() + cut.index(whole.len() - HEAD.len());
            let found: Vec<_> = read(&whole[..cut]).expect("a journal").collect();
            prop_assert_eq!(&found[..], &written[..found.len()]);
            prop_assert_eq!(bytes(&found).len(), whole[..cut].rfind_byte(0).map_or(0, |at| at + 1));
        }

        #[test]
        fn no_bytes_are_taken_for_more_than_they_are(noise: Vec<u8>) {
            let _ = read(&noise).map(Iterator::count);
            let _ = read(&[HEAD, &noise, b"\0"].concat()).expect("it has the head").count();
        }
    }

    #[test]
    fn what_leads_out_of_the_work_tree_is_no_record() {
        for text in [
            "done ../a",
            "done /etc/passwd",
            "done a/../../b",
            "done ",
            "write .dits-0000000000000001/../../x 1 1 1 a",
            "write a.bin 1 1 1 a",
            "write .dits-00000000000000zz 1 1 1 a",
            "write .dits-0000000000000001 1 1 1000000000 a",
            "fail 99 a why",
            "fail 3 ../ why",
            "want 00 1 a",
            "dehydrate 00 1 a",
            "erase a",
        ] {
            let journal = [HEAD, text.as_bytes(), b"\0"].concat();
            assert_eq!(read(&journal).expect("a journal").count(), 0, "{text}");
        }
    }

    #[test]
    fn another_head_is_told_apart() {
        assert!(matches!(read(b"dits hydration 2\0want"), Err(HeadError::UnknownVersion(version)) if version == "2"));
        assert!(matches!(read(b"something else"), Err(HeadError::NoJournal)));
        assert_eq!(read(b"").map(Iterator::count), Ok(0));
        assert_eq!(read(&HEAD[..5]).map(Iterator::count), Ok(0));
    }
}
