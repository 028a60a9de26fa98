//! Git's version, and asking git with something on its standard input.
//!
//! **For:** decisions that depend on git's age, and commands that read a list of paths.
//!
//! **May touch:** git children.
//!
//! **Must hold:** a child that answers while it still reads never blocks against us.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use bstr::{BString, ByteSlice};
use dits_core::repo::git_program::{GitError, GitProgram};

/// A version of git, as far as decisions need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GitVersion {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
}

impl GitVersion {
    /// From here on hooks may stand in the configuration (`hook.<name>.event`, `hook.<name>.command`).
    pub const CONFIG_HOOKS: GitVersion = GitVersion { major: 2, minor: 54 };

    /// Reads what `git --version` prints, on any platform: `git version 2.39.2.windows.1`.
    pub fn parse(text: &str) -> Option<GitVersion> {
        let number = text.trim().strip_prefix("git version ")?.split_whitespace().next()?;
        let mut parts = number.split('.');
        Some(GitVersion { major: parts.next()?.parse().ok()?, minor: parts.next()?.parse().ok()? })
    }

    /// Asks git; `None` for a git whose version does not read like one.
    pub fn of(git: &GitProgram) -> Result<Option<GitVersion>, GitError> {
        Ok(GitVersion::parse(&git.capture(["--version"])?.to_str_lossy()))
    }
}

/// Whether an object id, in hex, stands for nothing.
pub fn is_zero_id(id: &[u8]) -> bool {
    id.iter().all(|digit| *digit == b'0')
}

/// Asks git for one path; only the line end is taken off.
pub fn path(git: &GitProgram, args: &[&str]) -> Result<PathBuf, GitError> {
    let text = git.capture(args)?;
    Ok(text.strip_suffix(b"\n").unwrap_or(&text).to_path_lossy().into_owned())
}

/// Runs git with `input` on its standard input and returns what it wrote.
pub fn filter(git: &GitProgram, args: &[&str], input: &[u8]) -> Result<BString, GitError> {
    let mut pipe = git.pipe(args)?;
    let stdin = pipe.take_stdin();
    let stdout = pipe.take_stdout();
    let mut answer = Vec::new();
    let (written, read) = std::thread::scope(|scope| {
        let writer = scope.spawn(move || stdin.map_or(Ok(()), |mut stdin| stdin.write_all(input)));
        let read = stdout.map_or(Ok(0), |mut stdout| stdout.read_to_end(&mut answer));
        (writer.join().expect("writing to a pipe does not panic"), read)
    });
    read.map_err(|error| pipe.broken(error))?;
    // Git may end without reading everything; its own exit status says whether that was a failure.
    let written = written.or_else(|error| if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) });
    written.map_err(|error| pipe.broken(error))?;
    pipe.finish()?;
    Ok(answer.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_every_platform_are_read() {
        for (text, major, minor) in [
            ("git version 2.47.3\n", 2, 47),
            ("git version 2.39.2.windows.1\n", 2, 39),
            ("git version 2.50.1 (Apple Git-155)\n", 2, 50),
            ("git version 2.54.0-rc1\n", 2, 54),
        ] {
            assert_eq!(GitVersion::parse(text), Some(GitVersion { major, minor }));
        }
        assert_eq!(GitVersion::parse("gitoxide 1.0"), None);
    }
}
