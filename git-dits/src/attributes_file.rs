//! `.gitattributes`: which files are media.
//!
//! **For:** adding and removing lines like `*.mp4 filter=dits diff=dits -merge -text`.
//!
//! **May touch:** nothing; the commands read and write the file.
//!
//! **Must hold:** lines of others keep every byte. A pattern is written so that git reads
//! back exactly what was given, white space, quotes and `#` included.

use bstr::{BStr, BString, ByteSlice, ByteVec};

/// What marks a path as media. `-merge` keeps a whole file where two sides changed it, and
/// `-text` keeps git from changing line ends in it.
const ATTRIBUTES: [&str; 4] = ["filter=dits", "diff=dits", "-merge", "-text"];
const LOCKABLE: &str = "lockable";

/// Whether files of a pattern are edited by one person at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lockable {
    /// They are.
    Yes,
    /// They are not.
    No,
    /// As it stands in the file; not for a new line.
    AsItIs,
}

/// What adding a pattern did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Added {
    /// A line was added or changed.
    Changed,
    /// It was there.
    Unchanged,
    /// Another filter has this pattern.
    OtherFilter(BString),
}

/// A pattern that marks media.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracked {
    /// The pattern, unquoted.
    pub pattern: BString,
    /// Whether its files are lockable.
    pub is_lockable: bool,
}

/// The text of one `.gitattributes` file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributesFile {
    text: BString,
}

/// A line that assigns attributes.
struct Line<'a> {
    text: &'a BStr,
    pattern: BString,
    attributes: Vec<&'a BStr>,
}

impl AttributesFile {
    /// Takes a file's text.
    pub fn new(text: impl Into<BString>) -> AttributesFile {
        AttributesFile { text: text.into() }
    }

    /// The text, to be written back.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The patterns of media, in file order.
    pub fn tracked(&self) -> Vec<Tracked> {
        let lines = self.text.lines().filter_map(Line::parse).filter(Line::is_media);
        lines.map(|line| Tracked { is_lockable: line.has(LOCKABLE), pattern: line.pattern }).collect()
    }

    /// Patterns that go through another filter, with that filter, in file order.
    pub fn others(&self) -> Vec<(BString, BString)> {
        let lines = self.text.lines().filter_map(Line::parse).filter(|line| !line.is_media());
        lines.filter_map(|line| Some((line.pattern.clone(), line.filter()?.to_owned()))).collect()
    }

    /// Makes sure that a line for `pattern` is there, with all that media needs.
    pub fn add(&mut self, pattern: &BStr, lockable: Lockable) -> Added {
        let completed = self.complete(pattern);
        match self.add_line(pattern, lockable) {
            Added::Unchanged if completed => Added::Changed,
            added => added,
        }
    }

    /// Gives media lines of `pattern` what they say nothing about.
    fn complete(&mut self, pattern: &BStr) -> bool {
        let before = self.text.clone();
        self.rewrite(pattern, |line| {
            let lacking = ATTRIBUTES.iter().filter(|attribute| !line.speaks_of(attribute));
            let all: Vec<&BStr> = line.attributes.iter().copied().chain(lacking.map(|it| BStr::new(*it))).collect();
            (all.len() > line.attributes.len())
                .then(|| join(line.pattern.as_bstr(), &all))
                .or_else(|| Some(line.text.into()))
        });
        self.text != before
    }

    fn add_line(&mut self, pattern: &BStr, lockable: Lockable) -> Added {
        let lines = self.text.lines().filter_map(Line::parse).filter(|line| line.pattern == pattern);
        let last = lines.filter_map(|line| Some((line.filter()?.to_owned(), line.has(LOCKABLE)))).next_back();
        let wants_lockable = match (&last, lockable) {
            (Some((filter, _)), _) if filter != "dits" => return Added::OtherFilter(filter.clone()),
            (Some((_, is_lockable)), Lockable::AsItIs) => *is_lockable,
            (None, Lockable::AsItIs) => false,
            (_, asked) => asked == Lockable::Yes,
        };
        match last {
            Some((_, is_lockable)) if is_lockable == wants_lockable => return Added::Unchanged,
            Some(_) => self.set_lockable(pattern, wants_lockable),
            None => self.push(&line_for(pattern, wants_lockable)),
        }
        Added::Changed
    }

    /// Removes what marks `pattern` as media; says whether it was there.
    pub fn remove(&mut self, pattern: &BStr) -> bool {
        self.rewrite(pattern, |line| {
            let ours = |attribute: &&BStr| ATTRIBUTES.iter().any(|ours| *attribute == ours) || *attribute == LOCKABLE;
            let others: Vec<_> = line.attributes.iter().filter(|attribute| !ours(attribute)).copied().collect();
            (!others.is_empty()).then(|| join(line.pattern.as_bstr(), &others))
        })
    }

    fn set_lockable(&mut self, pattern: &BStr, is_lockable: bool) {
        self.rewrite(pattern, |line| {
            let mut attributes: Vec<_> = line.attributes.iter().filter(|name| **name != LOCKABLE).copied().collect();
            if is_lockable {
                attributes.push(LOCKABLE.into());
            }
            Some(join(line.pattern.as_bstr(), &attributes))
        });
    }

    /// Replaces every media line of `pattern`; `None` drops it.
    fn rewrite(&mut self, pattern: &BStr, change: impl Fn(&Line) -> Option<BString>) -> bool {
        let mut text = BString::default();
        let mut has_changed = false;
        for whole in self.text.lines_with_terminator() {
            let body = whole.trim_end_with(|letter| letter == '\r' || letter == '\n');
            match Line::parse(body).filter(|line| line.is_media() && line.pattern == pattern) {
                None => text.push_str(whole),
                Some(line) => {
                    has_changed = true;
                    if let Some(changed) = change(&line) {
                        text.push_str(changed);
                        text.push_str(&whole[body.len()..]);
                    }
                }
            }
        }
        self.text = text;
        has_changed
    }

    fn push(&mut self, line: &[u8]) {
        let line_end = if self.text.contains_str("\r\n") { "\r\n" } else { "\n" };
        if !self.text.is_empty() && !self.text.ends_with(b"\n") {
            self.text.push_str(line_end);
        }
        self.text.push_str(line);
        self.text.push_str(line_end);
    }
}

impl<'a> Line<'a> {
    /// Reads a line as git does; `None` for comments, macros and lines without attributes.
    fn parse(text: &'a [u8]) -> Option<Line<'a>> {
        let line = text.trim_start_with(is_blank);
        if line.is_empty() || line.starts_with(b"#") || line.starts_with(b"[attr]") {
            return None;
        }
        let (pattern, rest) = match line.starts_with(b"\"") {
            true => unquote(line)?,
            false => {
                let end = line.find_byteset(b" \t\r\n")?;
                (line[..end].into(), &line[end..])
            }
        };
        let attributes = rest.fields_with(is_blank).filter(|field| !field.is_empty()).map(ByteSlice::as_bstr);
        Some(Line { text: text.into(), pattern, attributes: attributes.collect() })
    }

    fn has(&self, attribute: &str) -> bool {
        self.attributes.iter().any(|there| *there == attribute)
    }

    /// Whether the line sets, unsets or leaves open what `attribute` is about, in whichever way.
    fn speaks_of(&self, attribute: &str) -> bool {
        let name = |attribute: &[u8]| -> BString {
            let bare = attribute.trim_start_with(|letter| letter == '-' || letter == '!');
            bare.split_str("=").next().unwrap_or_default().into()
        };
        let meant = name(attribute.as_bytes());
        // A macro of git's own for all of them.
        self.has("binary") || self.attributes.iter().any(|there| name(there) == meant)
    }

    fn filter(&self) -> Option<&BStr> {
        let mut filters = self.attributes.iter().filter_map(|attribute| attribute.strip_prefix(b"filter="));
        filters.next_back().map(ByteSlice::as_bstr)
    }

    fn is_media(&self) -> bool {
        self.filter().is_some_and(|filter| filter == "dits")
    }
}

fn is_blank(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\r' | '\n')
}

fn line_for(pattern: &BStr, is_lockable: bool) -> BString {
    let mut attributes: Vec<&BStr> = ATTRIBUTES.iter().map(|attribute| BStr::new(*attribute)).collect();
    if is_lockable {
        attributes.push(LOCKABLE.into());
    }
    join(pattern, &attributes)
}

fn join(pattern: &BStr, attributes: &[&BStr]) -> BString {
    let mut line = quoted(pattern);
    for attribute in attributes {
        line.push_byte(b' ');
        line.push_str(attribute);
    }
    line
}

/// Writes a pattern as git reads it back: in C style where it has white space, quotes or
/// control characters, or begins like a comment or macro; as it is otherwise.
fn quoted(pattern: &BStr) -> BString {
    let is_odd = |byte: u8| byte <= b' ' || byte == 0x7f;
    let is_plain = !pattern.bytes().any(is_odd)
        && !pattern.starts_with(b"\"")
        && !pattern.starts_with(b"#")
        && !pattern.starts_with(b"[attr]");
    if is_plain {
        return pattern.into();
    }
    let mut quoted = BString::from("\"");
    for byte in pattern.bytes() {
        match byte {
            b'"' | b'\\' => quoted.extend_from_slice(&[b'\\', byte]),
            b'\n' => quoted.push_str("\\n"),
            b'\t' => quoted.push_str("\\t"),
            byte if byte < b' ' || byte == 0x7f => quoted.push_str(format!("\\{byte:03o}")),
            byte => quoted.push_byte(byte),
        }
    }
    quoted.push_byte(b'"');
    quoted
}

/// Undoes [`quoted`] for any C-quoted pattern git accepts; returns what stands behind it too.
fn unquote(line: &[u8]) -> Option<(BString, &[u8])> {
    let mut pattern = BString::default();
    let mut rest = line.strip_prefix(b"\"")?;
    loop {
        let (byte, tail) = rest.split_first()?;
        rest = tail;
        match byte {
            b'"' => return Some((pattern, rest)),
            b'\\' => {
                let (escaped, tail) = rest.split_first()?;
                rest = tail;
                pattern.push_byte(match escaped {
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'r' => b'\r',
                    b'a' => 7,
                    b'b' => 8,
                    b'f' => 12,
                    b'v' => 11,
                    b'0'..=b'3' => {
                        let digits = rest.get(..2)?.iter().map(|digit| digit.wrapping_sub(b'0'));
                        let digits: Vec<u8> = digits.filter(|digit| *digit < 8).collect();
                        rest = &rest[2..];
                        (escaped - b'0') << 6 | digits.first()? << 3 | digits.get(1)?
                    }
                    other => *other,
                });
            }
            byte => pattern.push_byte(*byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(text: &str, pattern: &str, lockable: Lockable) -> String {
        let mut file = AttributesFile::new(text);
        file.add(pattern.into(), lockable);
        file.text().to_str().expect("text stays text").to_owned()
    }

    #[test]
    fn a_new_pattern_is_one_line_at_the_end() {
        assert_eq!(added("", "*.mp4", Lockable::AsItIs), "*.mp4 filter=dits diff=dits -merge -text\n");
        assert_eq!(
            added("*.txt text", "*.psd", Lockable::Yes),
            "*.txt text\n*.psd filter=dits diff=dits -merge -text lockable\n"
        );
        assert_eq!(
            added("a text\r\n", "*.mov", Lockable::No),
            "a text\r\n*.mov filter=dits diff=dits -merge -text\r\n"
        );
    }

    #[test]
    fn a_pattern_that_is_there_changes_only_its_lockable() {
        let plain = "# ours\n*.mp4 filter=dits diff=dits -merge -text\n";
        let lockable = "# ours\n*.mp4 filter=dits diff=dits -merge -text lockable\n";
        assert_eq!(added(plain, "*.mp4", Lockable::AsItIs), plain);
        assert_eq!(added(plain, "*.mp4", Lockable::Yes), lockable);
        assert_eq!(added(lockable, "*.mp4", Lockable::AsItIs), lockable);
        assert_eq!(added(lockable, "*.mp4", Lockable::No), plain);
    }

    #[test]
    fn a_line_that_is_there_gets_what_it_says_nothing_about() {
        assert_eq!(
            added("*.mp4 filter=dits text=auto # x\n", "*.mp4", Lockable::AsItIs),
            "*.mp4 filter=dits text=auto # x diff=dits -merge\n"
        );
        for whole in ["  *.mp4   filter=dits binary\n", "*.mp4 -text filter=dits !merge -diff\n"] {
            assert_eq!(added(whole, "*.mp4", Lockable::AsItIs), whole);
        }
    }

    #[test]
    fn a_pattern_of_another_filter_is_left_to_it() {
        let mut file = AttributesFile::new("*.mp4 filter=lfs diff=lfs merge=lfs -text\n");
        assert_eq!(file.add("*.mp4".into(), Lockable::AsItIs), Added::OtherFilter("lfs".into()));
    }

    #[test]
    fn removing_keeps_attributes_of_others() {
        let mut file =
            AttributesFile::new("*.mp4 filter=dits -text\n*.mov filter=dits diff=dits export-ignore\n*.c text\n");
        assert!(file.remove("*.mp4".into()));
        assert!(file.remove("*.mov".into()));
        assert!(!file.remove("*.c".into()));
        assert_eq!(file.text(), b"*.mov export-ignore\n*.c text\n");
    }

    #[test]
    fn odd_patterns_are_read_back_whole() {
        for pattern in
            ["my clip.mp4", "tab\there.mov", "\"quoted\".wav", "#1.wav", "[attr]x", "a\\*b c", "é ü.png", "\x01"]
        {
            let mut file = AttributesFile::new("");
            assert_eq!(file.add(pattern.into(), Lockable::AsItIs), Added::Changed);
            let tracked = file.tracked();
            assert_eq!(tracked.len(), 1, "{pattern:?}");
            assert_eq!(tracked[0].pattern, pattern);
            assert_eq!(file.add(pattern.into(), Lockable::AsItIs), Added::Unchanged);
        }
    }
}
