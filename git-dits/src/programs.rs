//! Where the programs of Dits are on this machine, and how their names stand in a command line.
//!
//! **For:** writing absolute paths into git's configuration and hooks: programs with windows
//! start git with a short search path.
//!
//! **May touch:** the directory of this very program, and the search path.
//!
//! **Must hold:** a path is quoted so that a shell reads back exactly its bytes.

use std::env;
use std::path::{Path, PathBuf};

use bstr::{BString, ByteSlice, ByteVec};
use dits_core::repo::git_program::{GitError, GitProgram};

use crate::git;
use crate::report::Failure;

/// The name of git's filter process.
pub const FILTER: &str = "git-dits-filter";
/// The name of git's remote helper.
pub const HELPER: &str = "git-remote-dits";

/// The programs that configuration names.
pub struct Programs {
    /// This program.
    pub porcelain: PathBuf,
    /// The filter process.
    pub filter: PathBuf,
}

impl Programs {
    /// Finds the programs: beside this one first, then on the search path.
    ///
    /// # Errors
    ///
    /// Fails where the filter is in neither place, since git would then refuse every media file.
    pub fn find() -> Result<Programs, Failure> {
        let porcelain =
            env::current_exe().map_err(|error| Failure::new("cannot tell where git-dits is").because(&error))?;
        let filter = beside(&porcelain, FILTER).or_else(|| on_search_path(FILTER)).ok_or_else(|| {
            Failure::new(format!("{FILTER} is neither beside {} nor on the PATH", porcelain.display()))
                .hint(format!("put all programs of Dits into one directory, {} for example", parent(&porcelain)))
        })?;
        Ok(Programs { porcelain, filter })
    }

    /// Where git finds its remote helper, if it does.
    pub fn helper_for_git(git: &GitProgram) -> Result<Option<PathBuf>, GitError> {
        let exec_path = git::path(git, &["--exec-path"])?;
        Ok(is_program(exec_path.join(HELPER)).or_else(|| on_search_path(HELPER)))
    }

    /// The remote helper, beside this program or on the search path.
    pub fn helper(&self) -> Result<PathBuf, Failure> {
        self.helper_beside().or_else(|| on_search_path(HELPER)).ok_or_else(|| {
            Failure::new(format!("{HELPER} is neither beside {} nor on the PATH", self.porcelain.display()))
                .hint(format!("put all programs of Dits into one directory, {} for example", parent(&self.porcelain)))
        })
    }

    /// The remote helper beside this program, whether git finds it or not.
    pub fn helper_beside(&self) -> Option<PathBuf> {
        beside(&self.porcelain, HELPER)
    }
}

fn parent(path: &Path) -> String {
    path.parent().unwrap_or(Path::new("/")).display().to_string()
}

fn beside(program: &Path, name: &str) -> Option<PathBuf> {
    is_program(program.with_file_name(name))
}

fn on_search_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    // An empty or relative entry would find programs in a directory that a clone filled.
    env::split_paths(&path).filter(|dir| dir.is_absolute()).find_map(|dir| is_program(dir.join(name)))
}

fn is_program(path: PathBuf) -> Option<PathBuf> {
    let path = path.with_extension(env::consts::EXE_EXTENSION);
    path.is_file().then_some(path)
}

/// Quotes a path for a POSIX shell, which git uses on every platform.
pub fn shell_quoted(path: &Path) -> BString {
    shell_word(<[u8]>::from_path(path).unwrap_or_default())
}

/// Quotes any bytes for a POSIX shell.
pub fn shell_word(bytes: &[u8]) -> BString {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@,".contains(&byte);
    if !bytes.is_empty() && bytes.iter().all(|byte| is_plain(*byte)) {
        return bytes.into();
    }
    let mut quoted = BString::from("'");
    quoted.push_str(bytes.replace("'", "'\\''"));
    quoted.push_byte(b'\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_back_the_path() {
        for (path, quoted) in [
            ("/usr/bin/git-dits", "/usr/bin/git-dits"),
            ("/home/Ann O'Neil/bin/git-dits", "'/home/Ann O'\\''Neil/bin/git-dits'"),
            ("/a b/$HOME/`x`", "'/a b/$HOME/`x`'"),
        ] {
            assert_eq!(shell_quoted(Path::new(path)), quoted);
            let echoed = std::process::Command::new("sh").arg("-c").arg(format!("printf %s {quoted}")).output();
            assert_eq!(echoed.expect("sh runs").stdout, path.as_bytes());
        }
    }
}
