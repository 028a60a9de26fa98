//! `git dits verify`: one file against Git.
//!
//! **For:** whoever wants to know whether a file is what Git says, and which version it is.
//!
//! **May touch:** nothing; it reads the file, the repository and the store.
//!
//! **Must hold:** every byte is read; nothing is taken from stat data or remembered from before.

use std::io::{self, Write};
use std::path::Path;

use bstr::{BString, ByteSlice};
use dits_core::operations::hydrate::{self, HydrateError};
use dits_core::pointer::Pointer;
use dits_core::repo::git_program::GitProgram;
use dits_core::repo::work_tree_file::State;
use dits_core::repo::{Repository, index_stat, stores, work_tree_file};
use dits_core::store::Sources;
use serde::Serialize;

use super::fsck::read_oid;
use super::track::BStringArg;
use crate::here::Here;
use crate::media_files;
use crate::out::Out;
use crate::pointers::{self, MediaFile};
use crate::progress::Progress;
use crate::report::{EXIT_STATUSES, Failure};
use crate::sizes::Bytes;

/// Read files, and say whether they are what Git has, and which version
#[derive(clap::Args)]
#[command(after_help = EXIT_STATUSES)]
pub struct Args {
    /// The files, as git's pathspecs
    #[arg(required = true)]
    files: Vec<BStringArg>,
    /// Print the facts as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Facts {
    files: Vec<Verified>,
}

#[derive(Serialize)]
struct Verified {
    path: String,
    /// What stands there: `content`, `pointer` or `absent`.
    kind: &'static str,
    /// What was read, or what the pointer names.
    oid: Option<String>,
    size: Option<u64>,
    /// Whether it is what the index names, and what `HEAD` names.
    index: bool,
    head: bool,
    /// The first commit that has this content at any path.
    version: Option<Version>,
    /// For a pointer: why its content cannot be had here; `null` if all of it was read.
    unavailable: Option<String>,
}

#[derive(Serialize)]
struct Version {
    commit: String,
    date: String,
    path: String,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let here = Here::find()?;
    let repository = here.repository()?;
    let top = repository.work_tree().ok_or_else(|| Failure::new("a bare repository has no work tree"))?;
    let sources = stores::open_sources(&repository, &repository.settings()?)?;
    let media = pointers::of_pathspecs(&here, &repository, &args.files)?;
    let git = here.git.clone().in_dir(top);
    let head = match git.ask(["rev-parse", "--verify", "--quiet", "HEAD"])? {
        Some(_) => pointers::of_revision(&git, &repository, "HEAD")?,
        None => Vec::new(),
    };
    let verifying = Verifying { git, repository: &repository, top, sources, head };
    let mut out = Out::lock();
    let mut files = Vec::new();
    for file in &media {
        let verified = verifying.file(file)?;
        if !args.json {
            out.line(verified.line())?;
        }
        files.push(verified);
    }
    let bad: Vec<String> = files.iter().filter(|file| !file.is_good()).map(Verified::line).collect();
    if args.json {
        out.json(&Facts { files })?;
    }
    out.finish()?;
    match bad.is_empty() {
        true => Ok(()),
        false => Err(Failure::new("not every file is what Git has").caused_by_each(bad.into_iter())),
    }
}

struct Verifying<'a> {
    git: GitProgram,
    repository: &'a Repository,
    top: &'a Path,
    sources: Sources,
    head: Vec<MediaFile>,
}

impl Verifying<'_> {
    fn file(&self, file: &MediaFile) -> Result<Verified, Failure> {
        let path = &file.entry.path;
        let on_disk = media_files::on_disk(self.top, path.as_bstr());
        let (kind, found) = match work_tree_file::state(self.top, path.as_bstr())? {
            State::Absent => ("absent", None),
            State::Pointer(pointer) => ("pointer", Some(pointer)),
            State::Content => {
                let mut progress = Progress::of_bytes("reading", file.pointer.map_or(0, |pointer| pointer.size));
                let read = read_oid(&on_disk, &mut progress);
                let read = read.map_err(|error| Failure::new(format!("cannot read {path}")).because(&error))?;
                ("content", Some(read))
            }
        };
        let in_head = self.head.iter().find(|file| file.entry.path == *path).and_then(|file| file.pointer);
        let unavailable = match (kind, found) {
            ("pointer", Some(pointer)) => self.unavailable(&pointer)?,
            _ => None,
        };
        Ok(Verified {
            path: path.to_string(),
            kind,
            oid: found.map(|found| found.oid.to_string()),
            size: found.map(|found| found.size),
            index: found.is_some() && found == file.pointer,
            head: found.is_some() && found == in_head,
            version: found.map(|found| self.version(&found)).transpose()?.flatten(),
            unavailable,
        })
    }

    /// Reads the whole content of a pointer; says why that cannot be done.
    fn unavailable(&self, pointer: &Pointer) -> Result<Option<String>, Failure> {
        let mut reading = Reading(Progress::of_bytes("reading", pointer.size));
        match hydrate::write_to(&self.sources, pointer, &mut reading) {
            Ok(()) => Ok(None),
            Err(HydrateError::Store(error)) => Err(error.into()),
            Err(error) => Ok(Some(Failure::from(error).line())),
        }
    }

    /// The first commit that has a file.
    fn version(&self, pointer: &Pointer) -> Result<Option<Version>, Failure> {
        let Some(format) = self.repository.object_format() else { return Ok(None) };
        let blob: String = index_stat::pointer_blob(pointer, format).iter().map(|byte| format!("{byte:02x}")).collect();
        if self.git.ask(["cat-file", "-e", &blob])?.is_none() {
            return Ok(None);
        }
        let find = format!("--find-object={blob}");
        let args = [
            "log",
            "--all",
            "--reflog",
            "--reverse",
            "--no-renames",
            "--name-only",
            "-z",
            "--format=%x01%H %cI",
            &find,
        ];
        Ok(first_version(&self.git.capture(args)?))
    }
}

/// Reads the first of several `\x01<commit> <date>\0\n<path>\0…`.
fn first_version(log: &[u8]) -> Option<Version> {
    let entry = log.split_str(b"\x01").find(|entry| !entry.is_empty())?;
    let mut fields = entry.split(|byte| *byte == 0);
    let (commit, date) = fields.next()?.split_once_str(" ")?;
    let path = fields.next()?.trim_start_with(|letter| letter == '\n');
    let text = |bytes: &[u8]| BString::from(bytes).to_string();
    Some(Version { commit: text(commit), date: text(date.trim()), path: text(path) })
}

/// Counts what was read, and throws it away.
struct Reading(Progress);

impl Write for Reading {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.advance(bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Verified {
    /// Good is what Git has as a version, content or a pointer whose content is here.
    fn is_good(&self) -> bool {
        (self.index || self.head || self.version.is_some()) && self.unavailable.is_none()
    }

    fn line(&self) -> String {
        let (Some(oid), Some(size)) = (&self.oid, self.size) else { return format!("{}: is not there", self.path) };
        let which = match (self.index, self.head, &self.version) {
            (true, true, _) => "as in the index and in HEAD".to_owned(),
            (true, false, _) => "as in the index".to_owned(),
            (false, true, _) => "as in HEAD, not as in the index".to_owned(),
            (false, false, Some(version)) => {
                let (commit, date) = (&version.commit[..version.commit.len().min(10)], &version.date);
                format!("another version, {} of {commit} ({date})", version.path)
            }
            (false, false, None) => "no version that Git has".to_owned(),
        };
        let content = match (self.kind, &self.unavailable) {
            ("pointer", None) => ", a pointer whose content is here, whole".to_owned(),
            ("pointer", Some(why)) => format!(", a pointer whose content is not here: {why}"),
            _ => String::new(),
        };
        format!("{}: {which}{content} (oid {}, {})", self.path, &oid[..10], Bytes(size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_version_of_a_log_is_read() {
        let log = b"\x01abc 2026-01-01T12:00:00+00:00\0\na clip.mov\0other\0\x01def 2027-01-01T12:00:00+00:00\0\nb\0";
        let version = first_version(log).expect("there is one");
        assert_eq!((version.commit.as_str(), version.path.as_str()), ("abc", "a clip.mov"));
        assert_eq!(version.date, "2026-01-01T12:00:00+00:00");
        assert!(first_version(b"").is_none());
    }
}
