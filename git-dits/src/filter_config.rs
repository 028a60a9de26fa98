//! The lines that `git dits install` writes into git's configuration, and takes out again.
//!
//! **For:** making git call the filter for `filter=dits` paths, and allow `dits://` in submodules.
//!
//! **May touch:** one configuration file of git, through `git config`.
//!
//! **Must hold:**
//! - writing twice changes nothing the second time;
//! - only values that Dits wrote are replaced or removed, unless the user forces it.

use std::ffi::OsStr;

use bstr::{BStr, BString, ByteSlice};
use dits_core::repo::git_program::{GitError, GitProgram};

use crate::programs::{Programs, shell_quoted};

/// Which configuration file is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The user's own.
    Global,
    /// The machine's.
    System,
    /// The repository's.
    Local,
    /// The work tree's.
    Worktree,
}

impl Scope {
    /// The option of `git config` that means this file.
    pub fn option(self) -> &'static str {
        match self {
            Scope::Global => "--global",
            Scope::System => "--system",
            Scope::Local => "--local",
            Scope::Worktree => "--worktree",
        }
    }

    /// Its name in facts.
    pub fn name(self) -> &'static str {
        &self.option()[2..]
    }
}

/// One key and what it should say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The key.
    pub key: &'static str,
    /// The value.
    pub value: BString,
    /// What only a value that Dits wrote has in it.
    mark: &'static str,
}

/// What stands in the file for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Present {
    /// Nothing.
    Absent,
    /// Exactly what should.
    Same,
    /// What Dits wrote once, from another place for example.
    Older,
    /// Something that Dits did not write.
    Foreign(BString),
}

const PROCESS: &str = "filter.dits.process";
const CLEAN: &str = "filter.dits.clean";
const SMUDGE: &str = "filter.dits.smudge";
const REQUIRED: &str = "filter.dits.required";
const ALLOW: &str = "protocol.dits.allow";

/// The lines for programs at these places.
pub fn lines(programs: &Programs) -> Vec<Line> {
    let mut lines = filter_lines(programs);
    // Without it submodules with a `dits://` address are refused.
    lines.push(line(ALLOW, "always".into(), "always"));
    lines
}

fn line(key: &'static str, value: BString, mark: &'static str) -> Line {
    Line { key, value, mark }
}

/// The lines that make git call the filter.
pub fn filter_lines(programs: &Programs) -> Vec<Line> {
    let filter = shell_quoted(&programs.filter);
    // Git replaces `%` in these two, so a `%` of the path itself is doubled.
    let single = |verb: &str| BString::from([&filter.replace("%", "%%"), verb.as_bytes(), b" %f"].concat());
    vec![
        line(PROCESS, [filter.as_slice(), b" process"].concat().into(), "git-dits-filter"),
        line(CLEAN, single(" clean"), "git-dits-filter"),
        line(SMUDGE, single(" smudge"), "git-dits-filter"),
        // Without it git holds a whole file in memory to clean it, and stores what a failed filter left.
        line(REQUIRED, "true".into(), "true"),
    ]
}

/// Every key that is written, with the mark of values that are ours.
pub fn keys() -> [(&'static str, &'static str); 5] {
    [
        (PROCESS, "git-dits-filter"),
        (CLEAN, "git-dits-filter"),
        (SMUDGE, "git-dits-filter"),
        (REQUIRED, "true"),
        (ALLOW, "always"),
    ]
}

/// Says what stands in the file where `line` should.
pub fn present(git: &GitProgram, scope: Scope, line: &Line) -> Result<Present, GitError> {
    let values = values(git, scope, line.key)?;
    Ok(match values.as_slice() {
        [] => Present::Absent,
        [value] if *value == line.value => Present::Same,
        values => match values.iter().find(|value| !value.contains_str(line.mark)) {
            Some(foreign) => Present::Foreign(foreign.clone()),
            None => Present::Older,
        },
    })
}

/// Writes a line in place of whatever stands there.
pub fn write(git: &GitProgram, scope: Scope, line: &Line) -> Result<(), GitError> {
    set(git, scope, line.key, line.value.as_bstr())
}

/// Gives a key this one value.
pub fn set(git: &GitProgram, scope: Scope, key: &str, value: &BStr) -> Result<(), GitError> {
    let value = value.to_os_str_lossy();
    let args: [&OsStr; 5] =
        ["config".as_ref(), scope.option().as_ref(), "--replace-all".as_ref(), key.as_ref(), value.as_ref()];
    git.run(args)
}

/// Removes a key if all its values are ours; says whether something was removed.
pub fn remove(git: &GitProgram, scope: Scope, key: &str, mark: &str) -> Result<bool, GitError> {
    let values = values(git, scope, key)?;
    if values.is_empty() || values.iter().any(|value| !value.contains_str(mark)) {
        return Ok(false);
    }
    git.run(["config", scope.option(), "--unset-all", key])?;
    Ok(true)
}

/// The value that holds, from whichever file.
pub fn effective(git: &GitProgram, key: &str) -> Result<Option<BString>, GitError> {
    // Children of ours run with the filter switched off on their command line, so that source does not count.
    let listed = git.ask(["config", "-z", "--show-scope", "--get-all", key])?.unwrap_or_default();
    let fields: Vec<_> = listed.split_str("\0").collect();
    let mut values = fields.chunks_exact(2).filter(|field| field[0] != b"command");
    Ok(values.next_back().map(|field| field[1].into()))
}

/// All values of a key in one file.
pub fn values(git: &GitProgram, scope: Scope, key: &str) -> Result<Vec<BString>, GitError> {
    let values = git.ask(["config", scope.option(), "-z", "--get-all", key])?.unwrap_or_default();
    Ok(values.split_str("\0").filter(|value| !value.is_empty()).map(BString::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs(dir: &str) -> Programs {
        Programs { porcelain: format!("{dir}/git-dits").into(), filter: format!("{dir}/git-dits-filter").into() }
    }

    #[test]
    fn a_path_with_a_space_or_percent_sign_reaches_the_shell_whole() {
        let lines = lines(&programs("/opt/100% ours"));
        assert_eq!(lines[0].value, "'/opt/100% ours/git-dits-filter' process");
        assert_eq!(lines[1].value, "'/opt/100%% ours/git-dits-filter' clean %f");
        assert_eq!(lines[2].value, "'/opt/100%% ours/git-dits-filter' smudge %f");
    }

    #[test]
    fn every_line_can_be_taken_out_again() {
        for line in lines(&programs("/usr/bin")) {
            assert!(keys().contains(&(line.key, line.mark)));
            assert!(line.value.contains_str(line.mark));
        }
    }
}
