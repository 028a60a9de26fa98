//! The files of a store's folders, by their names.
//!
//! **For:** finding what does not belong there, and what lacks its other half.
//!
//! **May touch:** the store's folders, to list them.
//!
//! **Must hold:** nothing is removed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::finding::{Finding, Problem};
use super::records::is_being_written;
use crate::hash::parse_hex;
use crate::store::error::StoreError;
use crate::store::layout::{Layout, is_absent, parse_hex16};

/// A temporary file that was not written to for so long has been left.
const LEFT_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Looks at the names of all files, and tells what is odd.
pub(super) fn look(layout: &Layout, tell: &mut dyn FnMut(Finding)) -> Result<(), StoreError> {
    let mut find = |path: PathBuf, problem| tell(Finding { path, entry_no: None, item: None, problem });
    let format = layout.dir.join("format");
    if fs::metadata(&format).map_or(0, |metadata| metadata.len()) == 0 {
        find(format, Problem::NoFormat);
    }
    for path in files_in(&layout.dir)? {
        if name_of(&path).strip_prefix("format-").is_some_and(is_hex32) {
            find(path, Problem::Left);
        }
    }
    for path in files_in(&layout.packs())? {
        let name = name_of(&path);
        if name.strip_suffix(".pack").is_some_and(|name| parse_hex(name.as_bytes()).is_ok()) {
            continue;
        }
        match name.strip_prefix("tmp-").is_some_and(is_hex32) {
            // Another machine may be writing it.
            true if !is_old(&path) => {}
            true => find(path, Problem::Left),
            false => find(path, Problem::Foreign),
        }
    }
    for path in files_in(&layout.open())? {
        if let Some(problem) = problem_of_open(&path) {
            find(path, problem);
        }
    }
    Ok(())
}

fn problem_of_open(path: &Path) -> Option<Problem> {
    let name = name_of(path);
    let ending = name.split_once('.').filter(|(name, _)| is_hex32(name)).map(|(_, ending)| ending);
    match ending {
        // Gone or sealed since.
        _ if !path.exists() => None,
        Some("pack") => (!path.with_extension("log").exists() && path.exists()).then_some(Problem::NoLog),
        Some("log") => {
            let is_left = !path.with_extension("pack").exists() && !is_being_written(path) && path.exists();
            is_left.then_some(Problem::Left)
        }
        Some("doubt") => (!path.with_extension("pack").exists() && path.exists()).then_some(Problem::Left),
        _ => Some(Problem::Foreign),
    }
}

fn files_in(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let failed = |source| StoreError::io(dir, source);
    match fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| Ok(entry.map_err(failed)?.path())).collect(),
        Err(error) if is_absent(&error) => Ok(Vec::new()),
        Err(source) => Err(failed(source)),
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn is_hex32(text: &str) -> bool {
    parse_hex16(text).is_some()
}

fn is_old(path: &Path) -> bool {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age >= LEFT_AFTER))
}
