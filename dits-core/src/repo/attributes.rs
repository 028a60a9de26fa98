//! Attributes: which paths of a tree belong to Dits.
//!
//! **For:** telling a pointer from a text that merely shows one, by the `.gitattributes` of
//! the very tree that the path is in.
//!
//! **May touch:** nothing; the caller reads the files.
//!
//! **Must hold:** only committed files count. What a machine adds for itself
//! (`info/attributes`, `core.attributesFile`) would make two machines judge one commit differently.
//!
//! **Format:** `gitattributes(5)`.

use std::path::PathBuf;

use bstr::{BStr, BString, ByteSlice};
use gix::attrs::search::{MetadataCollection, Outcome};
use gix::attrs::{Search, StateRef};
use gix::glob::pattern::Case;

use crate::repo::bytes_to_path;

/// The file that holds attributes, in any folder.
pub const ATTRIBUTES_FILE: &str = ".gitattributes";
/// Longest line of such a file that git looks at, in bytes.
const LINE_LEN_MAX: usize = 2048;

/// Whether the case of letters counts when a path is matched (`core.ignoreCase`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AttributeCase {
    /// It counts.
    #[default]
    Sensitive,
    /// It does not.
    Ignored,
}

/// One `.gitattributes` file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributesFile {
    /// The folder it is in, without a slash at the end; empty for the top of the tree.
    pub folder: BString,
    /// Its content.
    pub content: Vec<u8>,
}

/// The attributes of one tree, or of the part of it that the files given speak of.
pub struct TreeAttributes {
    search: Search,
    names: MetadataCollection,
    outcome: Outcome,
    case: Case,
}

impl TreeAttributes {
    /// Reads the files, given in any order. Lines that git would pass over are passed over.
    pub fn new(case: AttributeCase, mut files: Vec<AttributesFile>) -> TreeAttributes {
        // A deeper file wins, and what comes later wins.
        files.sort_by_key(|file| (file.folder.len(), file.folder.clone()));
        let mut names = MetadataCollection::default();
        let mut search = Search::default();
        add(&mut search, &mut names, b"[attr]binary -diff -merge -text", "[builtin]".into(), Macros::Count);
        for file in files {
            let source = bytes_to_path(&file.folder).join(ATTRIBUTES_FILE);
            // Git takes macros from the top of the tree alone.
            let macros = if file.folder.is_empty() { Macros::Count } else { Macros::Ignored };
            add(&mut search, &mut names, &without_long_lines(file.content), source, macros);
        }
        let mut outcome = Outcome::default();
        outcome.initialize_with_selection(&names, ["filter"]);
        let case = match case {
            AttributeCase::Sensitive => Case::Sensitive,
            AttributeCase::Ignored => Case::Fold,
        };
        TreeAttributes { search, names, outcome, case }
    }

    /// Returns true if the file at `path` has `filter=dits`.
    pub fn is_ours(&mut self, path: &BStr) -> bool {
        self.outcome.initialize_with_selection(&self.names, ["filter"]);
        self.search.pattern_matching_relative_path(path, self.case, Some(false), &mut self.outcome);
        self.outcome.iter_selected().any(|found| match found.assignment.state {
            StateRef::Value(value) => value.as_bstr() == "dits",
            _ => false,
        })
    }
}

/// The folders whose attributes bear on `path`, from the top down, without slashes at the end.
pub fn folders_above(path: &BStr) -> impl Iterator<Item = &BStr> {
    let below_top = path.find_iter("/").map(|at| path[..at].as_bstr());
    std::iter::once(BStr::new("")).chain(below_top)
}

enum Macros {
    Count,
    Ignored,
}

fn add(search: &mut Search, names: &mut MetadataCollection, content: &[u8], source: PathBuf, macros: Macros) {
    let root = Some(std::path::Path::new(""));
    let added = search.add_patterns_buffer(content, source, root, names, matches!(macros, Macros::Count));
    added.expect("every source is a file name below an empty root");
}

fn without_long_lines(content: Vec<u8>) -> Vec<u8> {
    let is_short = |line: &&[u8]| line.len() < LINE_LEN_MAX;
    match content.split_inclusive(|byte| *byte == b'\n').all(|line| is_short(&line)) {
        true => content,
        false => content.split_inclusive(|byte| *byte == b'\n').filter(is_short).collect::<Vec<_>>().concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(case: AttributeCase, files: &[(&str, &str)]) -> TreeAttributes {
        let file =
            |(folder, content): &(&str, &str)| AttributesFile { folder: (*folder).into(), content: (*content).into() };
        TreeAttributes::new(case, files.iter().map(file).collect())
    }

    #[test]
    fn a_deeper_file_and_a_later_line_win() {
        let mut tree = attributes(
            AttributeCase::Sensitive,
            &[("a/b", "*.mov filter=dits"), ("", "*.mov filter=dits\nraw/*.mov -filter\n"), ("a", "*.mov filter=lfs")],
        );
        assert!(tree.is_ours("x.mov".into()));
        assert!(!tree.is_ours("raw/x.mov".into()));
        assert!(!tree.is_ours("a/x.mov".into()));
        assert!(tree.is_ours("a/b/c/x.mov".into()));
        assert!(!tree.is_ours("ab/x.txt".into()));
        assert!(tree.is_ours("ab/x.mov".into()));
    }

    #[test]
    fn macros_count_at_the_top_alone() {
        let top = ("", "[attr]media filter=dits diff=dits -merge -text\n*.mov media\n");
        assert!(attributes(AttributeCase::Sensitive, &[top]).is_ours("a/x.mov".into()));
        let below = ("a", "[attr]media filter=dits\n*.mov media\n");
        assert!(!attributes(AttributeCase::Sensitive, &[below]).is_ours("a/x.mov".into()));
    }

    #[test]
    fn odd_names_and_cases_are_matched_as_git_does() {
        let mut tree = attributes(AttributeCase::Sensitive, &[("", "\"a b *\" filter=dits\n*.MOV filter=dits")]);
        assert!(tree.is_ours("a b \n".into()));
        assert!(!tree.is_ours("x.mov".into()));
        let mut folded = attributes(AttributeCase::Ignored, &[("", "*.MOV filter=dits")]);
        assert!(folded.is_ours("x.mov".into()));
    }

    #[test]
    fn overlong_lines_do_not_count() {
        let content = format!("*.mov filter=dits{}\n*.wav filter=dits\n", " ".repeat(LINE_LEN_MAX));
        let mut tree = attributes(AttributeCase::Sensitive, &[("", content.as_str())]);
        assert!(!tree.is_ours("x.mov".into()));
        assert!(tree.is_ours("x.wav".into()));
    }

    #[test]
    fn the_folders_above_a_path_start_at_the_top() {
        let folders: Vec<_> = folders_above("a/b/c.mov".into()).collect();
        assert_eq!(folders, ["", "a", "a/b"]);
    }
}
