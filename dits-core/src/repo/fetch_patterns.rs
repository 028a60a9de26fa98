//! Which paths' media is wanted here: `dits.fetchInclude` and `dits.fetchExclude`.
//!
//! **For:** leaving chosen files as pointers at checkout and fetch.
//!
//! **May touch:** nothing.
//!
//! **Must hold:** the same paths as `git lfs` chooses by its keys of these names: patterns as
//! in `.gitignore`, parted by commas, a directory standing for all below it.

use bstr::{BStr, BString, ByteSlice};
use gix::glob::Pattern;
use gix::glob::pattern::Case;
use gix::glob::wildmatch::Mode;

/// Patterns for wanted and unwanted paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchPatterns {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

impl FetchPatterns {
    /// Reads the values of the two keys; each may hold several patterns parted by commas.
    pub fn new(include: &[BString], exclude: &[BString]) -> FetchPatterns {
        FetchPatterns { include: patterns(include), exclude: patterns(exclude) }
    }

    /// Whether every path is wanted.
    pub fn wants_all(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// Whether the media at `path` is wanted: included, if any pattern includes, and not excluded.
    pub fn wants(&self, path: &BStr) -> bool {
        let is_included = self.include.is_empty() || matches_any(&self.include, path);
        is_included && !matches_any(&self.exclude, path)
    }
}

fn patterns(values: &[BString]) -> Vec<Pattern> {
    let texts = values.iter().flat_map(|value| value.split_str(","));
    texts.filter_map(|text| Pattern::from_bytes_without_negation(text.trim())).collect()
}

/// A pattern that matches a directory matches all below it.
fn matches_any(patterns: &[Pattern], path: &BStr) -> bool {
    let ends = path.find_iter("/").map(|end| (end, true)).chain([(path.len(), false)]);
    let mut ends = ends.map(|(end, is_dir)| (path[..end].as_bstr(), is_dir));
    ends.any(|(path, is_dir)| {
        let basename = path.rfind_byte(b'/').map(|slash| slash + 1);
        patterns.iter().any(|pattern| {
            pattern.matches_repo_relative_path(
                path,
                basename,
                Some(is_dir),
                Case::Sensitive,
                Mode::NO_MATCH_SLASH_LITERAL,
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_included_and_not_excluded_is_wanted() {
        let all = FetchPatterns::new(&[], &[]);
        assert!(all.wants_all() && all.wants(b"any".as_bstr()));
        let some = FetchPatterns::new(&["*.mov, /cut".into()], &["proxies".into(), "/cut/old/".into()]);
        for (path, is_wanted) in [
            ("a.mov", true),
            ("deep/er/a.mov", true),
            ("a.wav", false),
            ("cut/a.wav", true),
            ("x/cut/a.wav", false),
            ("proxies/a.mov", false),
            ("x/proxies/y/a.mov", false),
            ("cut/old/a.wav", false),
        ] {
            assert_eq!(some.wants(path.into()), is_wanted, "{path}");
        }
    }
}
