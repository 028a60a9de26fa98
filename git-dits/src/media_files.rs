//! Which files of a repository are media, as its attributes say.
//!
//! **For:** commands that act on patterns and on the files they match.
//!
//! **May touch:** git children; attribute files, read only.
//!
//! **Must hold:** git itself decides what matches, never a second matcher.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use bstr::{BStr, BString, ByteSlice};
use dits_core::limits;
use dits_core::repo::Repository;
use dits_core::repo::git_program::{GitError, GitProgram};

use crate::attributes_file::{AttributesFile, Tracked};
use crate::git;
use crate::report::Failure;

/// A file that marks media, and the patterns it has for that.
pub struct PatternSource {
    /// The file, relative to the top of the work tree where it is inside.
    pub file: BString,
    /// Its patterns, in file order.
    pub patterns: Vec<Tracked>,
    /// Its patterns that go through another filter, with that filter.
    pub others: Vec<(BString, BString)>,
}

/// Whether any attribute file of this repository marks media.
pub fn has_patterns(git: &GitProgram, repository: &Repository) -> Result<bool, Failure> {
    Ok(pattern_sources(git, repository)?.iter().any(|source| !source.patterns.is_empty()))
}

/// Reads every attribute file of the work tree, and those outside of it.
pub fn pattern_sources(git: &GitProgram, repository: &Repository) -> Result<Vec<PatternSource>, Failure> {
    let Some(top) = repository.work_tree() else { return Ok(Vec::new()) };
    let listed = git.clone().in_dir(top).capture([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
        "--deduplicate",
        "--",
        ":(glob)**/.gitattributes",
    ])?;
    let mut sources = Vec::new();
    for name in listed.split_str("\0").filter(|name| !name.is_empty()) {
        let path = top.join(name.to_path_lossy());
        // Git does not follow a link of this name either.
        if path.symlink_metadata().is_ok_and(|meta| meta.is_file()) {
            sources.push(source(name.into(), &path)?);
        }
    }
    sources.extend(machine_sources(repository)?);
    Ok(sources)
}

/// Reads the attribute files that count on this machine alone: nobody else has their patterns, and
/// what is committed does not count as media by them.
pub fn machine_sources(repository: &Repository) -> Result<Vec<PatternSource>, Failure> {
    let env = repository.env();
    let config_dir =
        env.path("XDG_CONFIG_HOME").map(Path::to_owned).or_else(|| Some(env.path("HOME")?.join(".config")));
    let global = repository.config().path("core.attributesFile");
    let global = global.or_else(|| Some(config_dir?.join("git/attributes")));
    let info = repository.common_dir().join("info/attributes");
    let mut sources = Vec::new();
    if let Some(global) = global.filter(|path| path.is_file()) {
        sources.push(source(global.display().to_string().into(), &global)?);
    }
    if info.is_file() {
        sources.push(source(".git/info/attributes".into(), &info)?);
    }
    Ok(sources)
}

fn source(file: BString, path: &Path) -> Result<PatternSource, Failure> {
    let text = read(path)?;
    Ok(PatternSource { file, patterns: text.tracked(), others: text.others() })
}

/// Reads an attribute file; one that is not there has no lines.
pub fn read(path: &Path) -> Result<AttributesFile, Failure> {
    match std::fs::read(path) {
        Ok(text) => Ok(AttributesFile::new(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(AttributesFile::new("")),
        Err(error) => Err(Failure::new(format!("cannot read {}", path.display())).because(&error)),
    }
}

/// Writes an attribute file whole or not at all.
pub fn write(path: &Path, file: &AttributesFile) -> Result<(), Failure> {
    write_beside(path, file.text())
        .map_err(|error| Failure::new(format!("cannot write {}", path.display())).because(&error))
}

fn write_beside(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    if path.symlink_metadata().is_ok_and(|meta| meta.is_symlink()) {
        return Err(std::io::Error::other("it is a symbolic link, which git does not follow"));
    }
    let permissions = path.metadata().map(|meta| meta.permissions());
    let mut beside = tempfile::Builder::new().prefix(".gitattributes.").tempfile_in(dir)?;
    std::io::Write::write_all(&mut beside, text)?;
    let file = beside.persist(path)?;
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(permissions.unwrap_or_else(|_| std::fs::Permissions::from_mode(0o644)))
}

/// The value of one attribute for each path, in the order of `paths`, as the work tree has it.
///
/// Paths are relative to git's directory.
pub fn attribute(git: &GitProgram, name: &str, paths: &[BString]) -> Result<Vec<BString>, GitError> {
    check_attr(git, &["check-attr", "-z", "--stdin", name], paths)
}

/// The same, as the index has it.
pub fn attribute_in_index(git: &GitProgram, name: &str, paths: &[BString]) -> Result<Vec<BString>, GitError> {
    check_attr(git, &["check-attr", "--cached", "-z", "--stdin", name], paths)
}

fn check_attr(git: &GitProgram, args: &[&str], paths: &[BString]) -> Result<Vec<BString>, GitError> {
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let mut input = Vec::new();
    for path in paths {
        input.extend_from_slice(path);
        input.push(0);
    }
    let answer = git::filter(git, args, &input)?;
    // Each path is answered with three fields: path, attribute, value.
    Ok(answer.split_str("\0").skip(2).step_by(3).map(BString::from).collect())
}

/// A file of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// Its path from the top of the work tree.
    pub path: BString,
    /// The name of its blob, in hex.
    pub blob: BString,
    /// Whether it is executable.
    pub is_executable: bool,
}

/// The regular files of the index, conflicts left out, below `pathspecs` if there are any.
pub fn index_entries(git: &GitProgram, pathspecs: &[BString]) -> Result<Vec<IndexEntry>, GitError> {
    let mut args = vec![BString::from("ls-files"), "-z".into(), "--stage".into(), "--full-name".into(), "--".into()];
    args.extend_from_slice(pathspecs);
    let listed = git.capture(args.iter().map(|arg| arg.to_os_str_lossy().into_owned()))?;
    Ok(listed.split_str("\0").filter_map(index_entry).collect())
}

/// The paths of the index that a sparse checkout leaves out of the work tree.
pub fn skipped(git: &GitProgram, repository: &Repository) -> Result<HashSet<BString>, GitError> {
    let Some(top) = repository.work_tree() else { return Ok(HashSet::new()) };
    let listed = git.clone().in_dir(top).capture(["ls-files", "-z", "-t"])?;
    let skipped = listed.split_str("\0").filter_map(|line| line.strip_prefix(b"S "));
    Ok(skipped.map(BString::from).collect())
}

/// Reads `<mode> <blob> <stage>\t<path>`.
fn index_entry(line: &[u8]) -> Option<IndexEntry> {
    let (facts, path) = line.split_once_str("\t")?;
    let mut facts = facts.split_str(" ");
    let (mode, blob, stage) = (facts.next()?, facts.next()?, facts.next()?);
    let is_file = mode.starts_with(b"100") && stage == b"0";
    is_file.then(|| IndexEntry { path: path.into(), blob: blob.into(), is_executable: mode == b"100755" })
}

/// The files among `entries` that the attributes in the work tree mark as media.
pub fn media_of(git: &GitProgram, top: &Path, entries: Vec<IndexEntry>) -> Result<Vec<IndexEntry>, GitError> {
    let paths: Vec<_> = entries.iter().map(|entry| entry.path.clone()).collect();
    let filters = attribute(&git.clone().in_dir(top), "filter", &paths)?;
    Ok(entries.into_iter().zip(filters).filter(|(_, filter)| filter == "dits").map(|(entry, _)| entry).collect())
}

/// Those of `entries` whose blob is too long to be a pointer: stored in Git as they are.
pub fn stored_plain(git: &GitProgram, entries: &[IndexEntry]) -> Result<Vec<IndexEntry>, GitError> {
    let mut input = Vec::new();
    for entry in entries {
        input.extend_from_slice(&entry.blob);
        input.push(b'\n');
    }
    let answer = git::filter(git, &["cat-file", "--batch-check=%(objectsize)"], &input)?;
    let lens = answer.lines().map(|line| line.to_str().ok().and_then(|len| len.parse::<usize>().ok()));
    let is_plain = |len: Option<usize>| len.is_some_and(|len| len > limits::POINTER_LEN_MAX);
    Ok(entries.iter().zip(lens).filter(|(_, len)| is_plain(*len)).map(|(entry, _)| entry.clone()).collect())
}

/// A path of the repository as a path of the file system.
pub fn on_disk(top: &Path, path: &BStr) -> PathBuf {
    top.join(path.to_path_lossy())
}
