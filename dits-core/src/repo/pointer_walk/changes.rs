//! What commits change, as `git diff-tree --stdin -z --raw` tells it.
//!
//! **For:** walking the files that new commits add, one commit at a time.
//!
//! **May touch:** the stream it is handed.
//!
//! **Must hold:** a commit's entries are given out together, whatever its number of parents,
//! and memory is bounded by one commit's changes.

use std::collections::HashMap;
use std::io::{self, BufRead};

use bstr::BString;

use super::GitId;

/// One file that differs from a parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub path: BString,
    pub blob: GitId,
    /// What was there before, in the parent it was first seen to differ from.
    pub before: Option<GitId>,
    /// It differs from every parent, so no parent brought it.
    pub is_own: bool,
}

/// One commit and what it changes. Deletions, links and submodules are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CommitChanges {
    pub commit: GitId,
    pub changes: Vec<Change>,
    /// Paths that are gone or no longer files, of which only attributes matter.
    pub changes_attributes: bool,
}

/// Reads commits off the stream.
pub(super) struct ChangeReader<R> {
    from: R,
    field: Vec<u8>,
    /// The commit whose header was read already.
    next: Option<GitId>,
}

/// One `:mode mode id id status` and its path.
struct RawEntry {
    mode: [u8; 6],
    before: GitId,
    blob: GitId,
    path: BString,
}

impl<R: BufRead> ChangeReader<R> {
    pub fn new(from: R) -> ChangeReader<R> {
        ChangeReader { from, field: Vec::new(), next: None }
    }

    /// Reads the next commit; `None` at the end.
    pub fn next_commit(&mut self) -> io::Result<Option<CommitChanges>> {
        let commit = match self.next.take() {
            Some(commit) => commit,
            None if self.read_field()? => self.header()?,
            None => return Ok(None),
        };
        let mut seen: HashMap<(BString, GitId), (usize, Option<GitId>)> = HashMap::new();
        let mut order = Vec::new();
        let mut changes_attributes = false;
        let mut parent_count = 1;
        while self.read_field()? {
            if self.field.first() != Some(&b':') {
                let header = self.header()?;
                if header != commit {
                    self.next = Some(header);
                    break;
                }
                parent_count += 1;
                continue;
            }
            let entry = self.entry()?;
            changes_attributes |= is_attributes(&entry.path);
            if !matches!(&entry.mode, b"100644" | b"100755" | b"100664") {
                continue;
            }
            let before = (!entry.before.is_null()).then_some(entry.before);
            let key = (entry.path, entry.blob);
            match seen.get_mut(&key) {
                Some((count, _)) => *count += 1,
                None => {
                    order.push(key.clone());
                    seen.insert(key, (1, before));
                }
            }
        }
        let change = |key: (BString, GitId)| {
            let (count, before) = seen[&key];
            Change { path: key.0, blob: key.1, before, is_own: count == parent_count }
        };
        let changes = order.into_iter().map(change).collect();
        Ok(Some(CommitChanges { commit, changes, changes_attributes }))
    }

    /// Reads up to the next NUL; false at the end of the stream.
    fn read_field(&mut self) -> io::Result<bool> {
        self.field.clear();
        self.from.read_until(0, &mut self.field)?;
        match self.field.pop() {
            None => Ok(false),
            Some(0) => Ok(true),
            Some(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn header(&self) -> io::Result<GitId> {
        GitId::parse(&self.field).ok_or_else(|| malformed(&self.field))
    }

    fn entry(&mut self) -> io::Result<RawEntry> {
        let raw = parse_raw(&self.field).ok_or_else(|| malformed(&self.field))?;
        if !self.read_field()? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (mode, before, blob) = raw;
        Ok(RawEntry { mode, before, blob, path: self.field.as_slice().into() })
    }
}

/// Returns true for a path that holds attributes.
pub(super) fn is_attributes(path: &[u8]) -> bool {
    path.strip_suffix(super::ATTRIBUTES_FILE.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.ends_with(b"/"))
}

fn parse_raw(field: &[u8]) -> Option<([u8; 6], GitId, GitId)> {
    let mut words = field.strip_prefix(b":")?.split(|byte| *byte == b' ');
    let mode = words.nth(1)?.try_into().ok()?;
    let before = GitId::parse(words.next()?)?;
    let blob = GitId::parse(words.next()?)?;
    Some((mode, before, blob))
}

fn malformed(field: &[u8]) -> io::Error {
    let text = format!("git wrote {:?} where a commit or a change was expected", BString::from(field));
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    const NULL: &str = "0000000000000000000000000000000000000000";

    fn read_all(stream: &str) -> io::Result<Vec<CommitChanges>> {
        let mut reader = ChangeReader::new(stream.as_bytes());
        let mut all = Vec::new();
        while let Some(commit) = reader.next_commit()? {
            all.push(commit);
        }
        Ok(all)
    }

    #[test]
    fn a_merge_is_one_commit_and_tells_what_no_parent_brought() {
        let add = |path: &str| format!(":000000 100644 {NULL} {B} A\0{path}\0");
        let stream = format!("{A}\0{}{}{A}\0{}{B}\0", add("both"), add("one"), add("both"));
        let all = read_all(&stream).expect("well formed");
        assert_eq!(all.len(), 2);
        let own: Vec<_> = all[0].changes.iter().map(|change| (change.path.to_string(), change.is_own)).collect();
        assert_eq!(own, [("both".to_owned(), true), ("one".to_owned(), false)]);
        assert!(all[1].changes.is_empty());
    }

    #[test]
    fn links_and_submodules_are_left_out_but_attributes_are_noted() {
        let stream = format!(
            "{A}\0:000000 120000 {NULL} {B} A\0link\0:000000 160000 {NULL} {B} A\0sub\0:100644 000000 {B} {NULL} D\0a/.gitattributes\0"
        );
        let all = read_all(&stream).expect("well formed");
        assert!(all[0].changes.is_empty());
        assert!(all[0].changes_attributes);
        assert!(!is_attributes(b"x.gitattributes"));
    }

    #[test]
    fn a_broken_stream_is_an_error() {
        for stream in ["x\0", A, &format!("{A}\0:100644 x\0"), &format!("{A}\0:000000 100644 {NULL} {B} A\0")] {
            assert!(read_all(stream).is_err(), "{stream:?}");
        }
    }
}
