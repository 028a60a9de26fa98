//! What commits change, as `git diff-tree --stdin -z --raw` tells it.
//!
//! **For:** walking the files that new commits add, one entry at a time.
//!
//! **May touch:** the stream it is handed.
//!
//! **Must hold:** memory is bounded by one entry, and an entry is bounded.

use std::io::{self, BufRead, Read};

use bstr::BString;

use super::GitId;

/// One path that differs from its commit's parent: from all of them, where they are many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub path: BString,
    /// What is there now; the null id where nothing is.
    pub blob: GitId,
    /// It is a file now: no link, no submodule, not gone.
    pub is_file: bool,
    /// What was there before, in the first parent.
    pub before: Option<GitId>,
}

/// What comes next in the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// The changes that follow are this commit's.
    Commit(GitId),
    Change(Change),
}

/// Longest commit name, entry or path that is taken, in bytes.
const FIELD_LEN_MAX: u64 = 1024 * 1024;

/// Reads commits and changes off the stream.
pub(super) struct ChangeReader<R> {
    from: R,
    field: Vec<u8>,
}

impl<R: BufRead> ChangeReader<R> {
    pub fn new(from: R) -> ChangeReader<R> {
        ChangeReader { from, field: Vec::new() }
    }

    /// Reads what comes next; `None` at the end.
    pub fn next_event(&mut self) -> io::Result<Option<Event>> {
        if !self.read_field()? {
            return Ok(None);
        }
        if self.field.first() != Some(&b':') {
            return GitId::parse(&self.field).map(Event::Commit).map(Some).ok_or_else(|| malformed(&self.field));
        }
        let mut change = parse_raw(&self.field).ok_or_else(|| malformed(&self.field))?;
        if !self.read_field()? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        change.path = self.field.as_slice().into();
        Ok(Some(Event::Change(change)))
    }

    /// Reads up to the next NUL; false at the end of the stream.
    fn read_field(&mut self) -> io::Result<bool> {
        self.field.clear();
        self.from.by_ref().take(FIELD_LEN_MAX).read_until(0, &mut self.field)?;
        match self.field.pop() {
            None => Ok(false),
            Some(0) => Ok(true),
            Some(_) if self.field.len() as u64 + 1 == FIELD_LEN_MAX => {
                let text = format!("git wrote a path of more than {FIELD_LEN_MAX} bytes");
                Err(io::Error::new(io::ErrorKind::InvalidData, text))
            }
            Some(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Returns true for a path that holds attributes.
pub(super) fn is_attributes(path: &[u8]) -> bool {
    path.strip_suffix(super::ATTRIBUTES_FILE.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.ends_with(b"/"))
}

/// Reads `:mode mode id id status`, or as many colons, modes and ids more as a merge has parents more.
fn parse_raw(field: &[u8]) -> Option<Change> {
    let parent_count = field.iter().take_while(|byte| **byte == b':').count();
    let mut words = field[parent_count..].split(|byte| *byte == b' ');
    let mode = words.nth(parent_count)?;
    let before = GitId::parse(words.next()?)?;
    let blob = GitId::parse(words.nth(parent_count - 1)?)?;
    let is_file = matches!(mode, b"100644" | b"100755" | b"100664");
    Some(Change { path: BString::default(), blob, is_file, before: (!before.is_null()).then_some(before) })
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

    fn read_all(stream: &str) -> io::Result<Vec<Event>> {
        let mut reader = ChangeReader::new(stream.as_bytes());
        let mut all = Vec::new();
        while let Some(event) = reader.next_event()? {
            all.push(event);
        }
        Ok(all)
    }

    fn id(hex: &str) -> GitId {
        GitId::parse(hex.as_bytes()).expect("an id")
    }

    #[test]
    fn changes_of_merges_and_of_others_are_read() {
        let one = format!(":100644 100755 {A} {B} M\0one\0");
        let merged = format!("::000000 100644 100644 {NULL} {A} {B} AM\0both\0");
        let all = read_all(&format!("{A}\0{one}{B}\0{merged}")).expect("well formed");
        let change =
            |path: &str, before| Event::Change(Change { path: path.into(), blob: id(B), is_file: true, before });
        assert_eq!(all, [Event::Commit(id(A)), change("one", Some(id(A))), Event::Commit(id(B)), change("both", None)]);
    }

    #[test]
    fn links_submodules_and_what_is_gone_are_no_files() {
        let stream = format!(
            "{A}\0:000000 120000 {NULL} {B} A\0link\0:000000 160000 {NULL} {B} A\0sub\0:100644 000000 {B} {NULL} D\0a/.gitattributes\0"
        );
        let all = read_all(&stream).expect("well formed");
        assert_eq!(all.len(), 4);
        assert!(all[1..].iter().all(|event| matches!(event, Event::Change(Change { is_file: false, .. }))));
        assert!(is_attributes(b"a/.gitattributes"));
        assert!(!is_attributes(b"x.gitattributes"));
    }

    #[test]
    fn a_broken_stream_is_an_error() {
        for stream in ["x\0", A, &format!("{A}\0:100644 x\0"), &format!("{A}\0:000000 100644 {NULL} {B} A\0"), ":\0x\0"]
        {
            assert!(read_all(stream).is_err(), "{stream:?}");
        }
    }

    #[test]
    fn a_path_without_end_is_not_gathered() {
        let mut reader = ChangeReader::new(io::BufReader::new(io::repeat(b'a')));
        assert_eq!(reader.next_event().expect_err("too long").kind(), io::ErrorKind::InvalidData);
    }
}
