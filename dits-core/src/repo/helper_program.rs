//! Getting missing media through `git-remote-dits fetch-media`.
//!
//! **For:** keeping the network out of the filter, which starts on every git command, and out of the
//! porcelain.
//!
//! **May touch:** one child process at a time.
//!
//! **Must hold:** every pointer that was asked for has an outcome, whatever the child does.
//!
//! **Format:** `docs/protocols/remote-helper.md`, "fetch-media".

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::hash::FileHash;
use crate::pointer::Pointer;

/// Longest line of the child's answer, in bytes.
const LINE_LEN_MAX: u64 = 4096;

/// Why some media could not be fetched; media that is not in here was.
pub type Missing = HashMap<FileHash, String>;

/// The option of `fetch-media` and `push-media` that keeps them from showing how far they are.
pub const NO_PROGRESS: &str = "--no-progress";

/// Whether the child may show how far it is, on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It may.
    Shown,
    /// Somebody wants quiet.
    Hidden,
}

impl Progress {
    /// The arguments that say so.
    pub fn args(self) -> &'static [&'static str] {
        match self {
            Progress::Shown => &[],
            Progress::Hidden => &[NO_PROGRESS],
        }
    }
}

/// Finds `git-remote-dits`: beside the program `own`, else in an absolute directory of `path`.
pub fn find(own: Option<&Path>, path: Option<&std::ffi::OsStr>) -> Option<PathBuf> {
    let name = format!("git-remote-dits{}", std::env::consts::EXE_SUFFIX);
    let beside = own.and_then(Path::parent).map(Path::to_owned);
    let dirs = beside.into_iter().chain(std::env::split_paths(path.unwrap_or_default()));
    dirs.filter(|dir| dir.is_absolute()).map(|dir| dir.join(&name)).find(|program| program.is_file())
}

/// Fetches all of `wanted` into the repository's store with one run of the program, from one remote
/// or from all.
pub fn fetch(program: Option<&Path>, remote: Option<&str>, progress: Progress, wanted: &[Pointer]) -> Missing {
    let Some(program) = program else {
        return all_missing(wanted, "git-remote-dits is neither beside the other programs of Dits nor on the PATH");
    };
    let mut outcomes = HashMap::new();
    let reason = match run(program, remote, progress, wanted, &mut outcomes) {
        Ok(()) => "git-remote-dits did not say what became of it".to_owned(),
        Err(reason) => reason,
    };
    let mut missing = Missing::new();
    for pointer in wanted {
        match outcomes.remove(&pointer.oid) {
            Some(Ok(())) => {}
            Some(Err(why)) => drop(missing.insert(pointer.oid, why)),
            None => drop(missing.insert(pointer.oid, reason.clone())),
        }
    }
    missing
}

fn all_missing(wanted: &[Pointer], reason: &str) -> Missing {
    wanted.iter().map(|pointer| (pointer.oid, reason.to_owned())).collect()
}

type Outcomes = HashMap<FileHash, Result<(), String>>;

fn run(
    program: &Path,
    remote: Option<&str>,
    progress: Progress,
    wanted: &[Pointer],
    outcomes: &mut Outcomes,
) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot run {}: {error}", program.display());
    let mut command = Command::new(program);
    // Standard error stays the user's terminal: progress and questions go there.
    command.arg("fetch-media").args(progress.args()).args(remote).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    std::thread::scope(|scope| {
        // From a thread, so that a child that answers early never blocks on us.
        scope.spawn(move || write_wanted(stdin.expect("asked for as a pipe"), wanted));
        read_outcomes(stdout.expect("asked for as a pipe"), outcomes);
    });
    let status = child.wait().map_err(failed)?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("git-remote-dits fetch-media failed ({status})")),
    }
}

fn write_wanted(to: impl Write, wanted: &[Pointer]) {
    let mut to = std::io::BufWriter::new(to);
    for pointer in wanted {
        // A child that no longer reads shows in its outcomes.
        if writeln!(to, "{} {}", pointer.oid, pointer.size).is_err() {
            return;
        }
    }
    let _ = to.flush();
}

fn read_outcomes(from: impl Read, outcomes: &mut Outcomes) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    loop {
        line.clear();
        match from.by_ref().take(LINE_LEN_MAX).read_until(b'\n', &mut line) {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
        if let Some((oid, outcome)) = parse_outcome(&line) {
            outcomes.insert(oid, outcome);
        }
    }
}

/// Reads `<oid> ok` or `<oid> missing <reason>`; anything else is no outcome.
fn parse_outcome(line: &[u8]) -> Option<(FileHash, Result<(), String>)> {
    let line = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
    let (oid, outcome) = line.split_once(' ')?;
    let oid = oid.parse().ok()?;
    match outcome.split_once(' ') {
        None if outcome == "ok" => Some((oid, Ok(()))),
        Some(("missing", reason)) => Some((oid, Err(reason.to_owned()))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn pointer(content: &[u8]) -> Pointer {
        Pointer { oid: FileHash::of(content), size: content.len() as u64 }
    }

    fn child(dir: &Path, script: &str) -> PathBuf {
        let program = dir.join("git-remote-dits");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("written");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("executable");
        program
    }

    #[test]
    fn every_pointer_has_an_outcome_whatever_the_child_does() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let wanted = [pointer(b"a"), pointer(b"b")];
        let good = child(dir.path(), "read a rest; read b rest; echo \"$a ok\"; echo \"$b missing no such thing\"");
        let missing = fetch(Some(&good), None, Progress::Shown, &wanted);
        assert_eq!(missing.len(), 1);
        assert_eq!(missing.get(&wanted[1].oid).map(String::as_str), Some("no such thing"));

        let asked = child(dir.path(), "read a rest; test \"$*\" = 'fetch-media --no-progress nas' && echo \"$a ok\"");
        assert_eq!(fetch(Some(&asked), Some("nas"), Progress::Hidden, &wanted[..1]).len(), 0);

        for script in ["exit 1", "echo nonsense; kill -9 $$", "cat >/dev/null; head -c 100000 /dev/zero"] {
            let missing = fetch(Some(&child(dir.path(), script)), None, Progress::Hidden, &wanted);
            assert_eq!(missing.len(), 2, "{script}");
        }
        assert_eq!(fetch(None, None, Progress::Shown, &wanted).len(), 2);
        assert_eq!(fetch(Some(Path::new("/nonexistent")), None, Progress::Shown, &wanted).len(), 2);
    }

    #[test]
    fn the_program_is_looked_for_beside_this_one_and_never_in_the_current_directory() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let program = child(dir.path(), "");
        let own = dir.path().join("git-dits-filter");
        assert_eq!(find(Some(&own), None), Some(program.clone()));
        assert_eq!(find(None, Some(dir.path().as_os_str())), Some(program));
        assert_eq!(find(Some(Path::new("git-dits-filter")), Some(".:".as_ref())), None);
    }
}
