//! The large files of a work tree that no pattern tracks, and the patterns that would.
//!
//! **For:** `git dits track --above SIZE`.
//!
//! **May touch:** git children; files of the work tree, to read.
//!
//! **Must hold:** text stays text: a pattern is made of an extension only if no file with it here is text.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;

use bstr::{BStr, BString, ByteSlice};

use super::literal;
use crate::here::Here;
use crate::media_files;
use crate::presets;
use crate::report::Failure;
use crate::sizes::Bytes;

/// How far into a file a NUL byte makes it binary, in bytes; as git has it.
const LOOKED_AT_MAX: u64 = 8000;

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// The patterns, extensions first.
    pub patterns: Vec<BString>,
    /// What each is for, one line a pattern.
    pub reasons: Vec<String>,
    /// Large text files, which stay with git.
    pub texts: Vec<BString>,
}

/// Looks for files of `len_min` bytes or more below the current directory, ignored ones left out.
pub fn find(here: &Here, len_min: u64) -> Result<Found, Failure> {
    let listed = here.git.capture(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"])?;
    let paths: Vec<BString> = listed.split_str("\0").filter(|path| !path.is_empty()).map(BString::from).collect();
    let filters = media_files::attribute(&here.git, "filter", &paths)?;
    let mut large = Vec::new();
    let mut by_pattern: BTreeMap<String, Vec<BString>> = BTreeMap::new();
    for (path, filter) in paths.into_iter().zip(filters) {
        let meta = media_files::on_disk(&here.cwd, path.as_bstr()).symlink_metadata();
        let Some(meta) = meta.ok().filter(|meta| meta.is_file()) else { continue };
        if let Some(pattern) = presets::pattern_of(path.as_bstr()) {
            by_pattern.entry(pattern).or_default().push(path.clone());
        }
        if filter == "unspecified" && meta.len() >= len_min && !is_of_git(path.as_bstr()) {
            large.push((path, meta.len()));
        }
    }
    let mut found = Found::default();
    let mut extensions: BTreeMap<String, (usize, u64)> = BTreeMap::new();
    let mut names = BTreeSet::new();
    for (path, len) in large {
        if !is_binary(here, path.as_bstr())? {
            found.texts.push(path);
            continue;
        }
        match presets::pattern_of(path.as_bstr()) {
            Some(pattern) if all_binary(here, &by_pattern[&pattern])? => {
                let (count, bytes) = extensions.entry(pattern).or_default();
                *count += 1;
                *bytes += len;
            }
            _ => drop(names.insert((path, len))),
        }
    }
    for (pattern, (count, bytes)) in extensions {
        found.reasons.push(format!("{pattern}: {count} of them, {}", Bytes(bytes)));
        found.patterns.push(pattern.into());
    }
    for (path, len) in names {
        found.reasons.push(format!("{path}: {}", Bytes(len)));
        found.patterns.push(literal(path.as_bstr())?);
    }
    Ok(found)
}

/// Git reads these itself.
fn is_of_git(path: &BStr) -> bool {
    let name = path.rsplit_str("/").next().unwrap_or_default();
    name.starts_with(b".git") || name == b".ditsconfig"
}

fn all_binary(here: &Here, paths: &[BString]) -> Result<bool, Failure> {
    for path in paths {
        // An empty file is neither.
        let is_empty = media_files::on_disk(&here.cwd, path.as_bstr()).metadata().is_ok_and(|meta| meta.len() == 0);
        if !is_empty && !is_binary(here, path.as_bstr())? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_binary(here: &Here, path: &BStr) -> Result<bool, Failure> {
    let path = media_files::on_disk(&here.cwd, path);
    let failed = |error: std::io::Error| Failure::new(format!("cannot read {}", path.display())).because(&error);
    let mut start = Vec::new();
    File::open(&path).map_err(failed)?.take(LOOKED_AT_MAX).read_to_end(&mut start).map_err(failed)?;
    Ok(start.contains(&0))
}
