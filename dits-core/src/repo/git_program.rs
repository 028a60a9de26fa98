//! Running `git` as a child.
//!
//! **For:** walks, pack traffic and whatever else the git program itself does best.
//!
//! **May touch:** processes.
//!
//! **Must hold:**
//! - a child never calls our filter, which would start over inside itself;
//! - a `git` in the current directory is never run, whatever `PATH` says;
//! - a failure names the command and what it said on standard error.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;

use super::environment::{Environment, LOCAL_VARIABLES};

/// All four are needed: an empty `process` alone makes git fail where `required` is set.
const FILTERS_OFF: [&str; 8] = [
    "-c",
    "filter.dits.process=",
    "-c",
    "filter.dits.clean=",
    "-c",
    "filter.dits.smudge=",
    "-c",
    "filter.dits.required=false",
];

/// Most of what a child says on standard error that is kept, in bytes.
const STDERR_LEN_MAX: u64 = 64 * 1024;

/// How git is run: which program, where, with which settings and variables.
///
/// A child inherits the environment of this process, the variables of a push's quarantine
/// included, unless [`GitProgram::for_other`] or [`GitProgram::with_only_env`] says otherwise.
#[derive(Debug, Clone)]
pub struct GitProgram {
    program: PathBuf,
    dir: Option<PathBuf>,
    config: Vec<OsString>,
    clears_env: bool,
    env: Vec<(OsString, Option<OsString>)>,
}

/// A git child that could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// No `git` in any absolute directory of `PATH`.
    #[error("there is no git on the PATH")]
    NotFound,
    /// The program could not be started, or its pipes failed.
    #[error("cannot run {command}")]
    Run {
        /// The program and its arguments.
        command: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It ended with an error.
    #[error("{command} failed ({status}){}", said(.stderr))]
    Failed {
        /// The program and its arguments.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said on standard error, bounded.
        stderr: String,
    },
}

impl GitError {
    /// Returns true for a child that could not have the memory it asked for.
    pub fn is_out_of_memory(&self) -> bool {
        match self {
            GitError::Failed { stderr, .. } => stderr.to_ascii_lowercase().contains("out of memory"),
            GitError::NotFound | GitError::Run { .. } => false,
        }
    }
}

fn said(stderr: &str) -> String {
    match stderr.trim_end() {
        "" => String::new(),
        text => format!(": {text}"),
    }
}

impl GitProgram {
    /// Finds git in the absolute directories of `PATH`.
    ///
    /// # Errors
    ///
    /// [`GitError::NotFound`].
    pub fn find(env: &Environment) -> Result<GitProgram, GitError> {
        let name = format!("git{}", std::env::consts::EXE_SUFFIX);
        let dirs = std::env::split_paths(env.get("PATH").unwrap_or_default());
        let program = dirs.filter(|dir| dir.is_absolute()).map(|dir| dir.join(&name)).find(|path| is_executable(path));
        program.map(GitProgram::at).ok_or(GitError::NotFound)
    }

    /// Uses the git at `program`, in the current directory and for the repository git finds there.
    pub fn at(program: impl Into<PathBuf>) -> GitProgram {
        GitProgram { program: program.into(), dir: None, config: Vec::new(), clears_env: false, env: Vec::new() }
    }

    /// Runs in `dir`.
    pub fn in_dir(mut self, dir: impl Into<PathBuf>) -> GitProgram {
        self.dir = Some(dir.into());
        self
    }

    /// Speaks of the repository at `git_dir` and of nothing that the environment names.
    pub fn for_other(mut self, git_dir: impl Into<PathBuf>) -> GitProgram {
        let git_dir = git_dir.into();
        self.env.retain(|(name, _)| !LOCAL_VARIABLES.iter().any(|local| OsStr::new(local) == name));
        self.env.extend(LOCAL_VARIABLES.iter().map(|name| (name.into(), None)));
        self.env.push(("GIT_DIR".into(), Some(git_dir.clone().into_os_string())));
        self.in_dir(git_dir)
    }

    /// Passes `vars` alone on to children: nothing else of this process's environment.
    pub fn with_only_env(mut self, vars: impl IntoIterator<Item = (OsString, OsString)>) -> GitProgram {
        self.clears_env = true;
        self.env = vars.into_iter().map(|(name, value)| (name, Some(value))).collect();
        self
    }

    /// Sets one variable for children.
    pub fn with_env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> GitProgram {
        self.env.push((name.into(), Some(value.into())));
        self
    }

    /// Sets one `key=value` of git's configuration for children.
    pub fn with_config(mut self, key_and_value: impl Into<OsString>) -> GitProgram {
        self.config.push(key_and_value.into());
        self
    }

    /// The program's path.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A command ready to run, its three streams still those of this process.
    pub fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(&self.program);
        command.args(FILTERS_OFF);
        for setting in &self.config {
            command.arg("-c").arg(setting);
        }
        command.args(args);
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        if self.clears_env {
            command.env_clear();
        }
        // A look must never take a lock that the user's own git then fails to get.
        command.env("GIT_OPTIONAL_LOCKS", "0");
        for (name, value) in &self.env {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    /// Runs git for what it does, its output thrown away.
    ///
    /// # Errors
    ///
    /// [`GitError`] when it could not run or failed.
    pub fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<(), GitError> {
        self.capture(args).map(drop)
    }

    /// Runs git and returns what it wrote on standard output.
    ///
    /// # Errors
    ///
    /// [`GitError`] when it could not run or failed.
    pub fn capture<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<Vec<u8>, GitError> {
        let (status, stdout, error) = self.capture_any(args)?;
        if status.success() { Ok(stdout) } else { Err(error) }
    }

    /// Runs git where a non-zero end is an answer too: `None` for exit status 1, as `git config --get`
    /// and `git rev-parse --verify --quiet` have it.
    ///
    /// # Errors
    ///
    /// [`GitError`] when it could not run or ended in any other way.
    pub fn ask<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<Option<Vec<u8>>, GitError> {
        let (status, stdout, error) = self.capture_any(args)?;
        match status.code() {
            Some(0) => Ok(Some(stdout)),
            Some(1) => Ok(None),
            _ => Err(error),
        }
    }

    fn capture_any<A: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = A>,
    ) -> Result<(ExitStatus, Vec<u8>, GitError), GitError> {
        let mut command = self.command(args);
        command.env("LC_ALL", "C").stdin(Stdio::null());
        let shown = shown(&command);
        let output = command.output().map_err(|source| GitError::Run { command: shown.clone(), source })?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let error = GitError::Failed { command: shown, status: output.status, stderr };
        Ok((output.status, output.stdout, error))
    }

    /// Starts git with its standard input and output as pipes and its standard error kept.
    ///
    /// # Errors
    ///
    /// [`GitError::Run`] when it cannot be started.
    pub fn pipe<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<GitPipe, GitError> {
        let mut command = self.command(args);
        command.env("LC_ALL", "C").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let shown = shown(&command);
        let mut child = command.spawn().map_err(|source| GitError::Run { command: shown.clone(), source })?;
        let mut stderr = child.stderr.take().expect("standard error was asked for as a pipe");
        let stderr = std::thread::spawn(move || {
            let mut kept = Vec::new();
            // An unreadable stderr only costs words in a message; the rest is drained so that
            // the child never waits for us.
            let _ = stderr.by_ref().take(STDERR_LEN_MAX).read_to_end(&mut kept);
            let _ = std::io::copy(&mut stderr, &mut std::io::sink());
            String::from_utf8_lossy(&kept).into_owned()
        });
        Ok(GitPipe { stdin: child.stdin.take(), stdout: child.stdout.take(), child, stderr, command: shown })
    }
}

/// A running git child. Dropped unfinished, it is killed and waited for.
#[derive(Debug)]
pub struct GitPipe {
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    child: Child,
    stderr: JoinHandle<String>,
    command: String,
}

impl GitPipe {
    /// Takes the child's standard input; dropping it ends the input. `None` the second time.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.stdin.take()
    }

    /// Takes the child's standard output. `None` the second time.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.stdout.take()
    }

    /// Keeps the child from taking more than `bytes_max` of memory for itself: it then fails, and says
    /// so. Packs that it maps do not count. On systems other than Linux nothing is kept from it.
    ///
    /// # Errors
    ///
    /// [`GitError::Run`] if the system refuses.
    pub fn bound_memory(&self, bytes_max: u64) -> Result<(), GitError> {
        #[cfg(target_os = "linux")]
        {
            use rustix::io::Errno;
            use rustix::process::{Pid, Resource, Rlimit, prlimit};
            let limit = Rlimit { current: Some(bytes_max), maximum: Some(bytes_max) };
            match prlimit(Some(Pid::from_child(&self.child)), Resource::Data, limit) {
                // One that has ended takes no more; one that was started with less keeps to that.
                Ok(_) | Err(Errno::SRCH | Errno::PERM) => {}
                Err(error) => return Err(self.broken(error.into())),
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = bytes_max;
        Ok(())
    }

    /// Says what a failed read or write on the child's pipes means.
    pub fn broken(&self, source: std::io::Error) -> GitError {
        GitError::Run { command: self.command.clone(), source }
    }

    /// Ends the input and waits.
    ///
    /// # Errors
    ///
    /// [`GitError::Failed`] with what the child said when it did not end well.
    pub fn finish(mut self) -> Result<(), GitError> {
        drop(self.stdin.take());
        drop(self.stdout.take());
        let command = std::mem::take(&mut self.command);
        let status = self.child.wait().map_err(|source| GitError::Run { command: command.clone(), source })?;
        let stderr = std::mem::replace(&mut self.stderr, std::thread::spawn(String::new));
        let stderr = stderr.join().expect("the reader of standard error does not panic");
        if status.success() { Ok(()) } else { Err(GitError::Failed { command, status, stderr }) }
    }
}

impl Drop for GitPipe {
    fn drop(&mut self) {
        // Both do nothing for a child that was waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn shown(command: &Command) -> String {
    let args = command.get_args().map(|arg| arg.to_string_lossy());
    let told = args.skip(FILTERS_OFF.len());
    std::iter::once("git".into()).chain(told).collect::<Vec<_>>().join(" ")
}

fn is_executable(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    }
    #[cfg(not(unix))]
    path.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git() -> GitProgram {
        GitProgram::find(&Environment::new(std::env::vars_os())).expect("git is installed")
    }

    #[test]
    fn a_git_in_the_current_directory_is_never_found() {
        for path in [".", "", "./bin", ":"] {
            let env = Environment::new([("PATH".into(), path.into())]);
            assert!(matches!(GitProgram::find(&env), Err(GitError::NotFound)), "{path:?}");
        }
    }

    #[test]
    fn a_failure_names_the_command_and_what_it_said() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let error = git().for_other(dir.path()).capture(["rev-parse", "HEAD"]).expect_err("no repository is there");
        let text = error.to_string();
        assert!(text.starts_with("git rev-parse HEAD failed"), "{text}");
        assert!(text.contains("not a git repository"), "{text}");
    }

    #[test]
    fn a_child_never_calls_our_filter() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        git().in_dir(dir.path()).run(["init", "--quiet", "."]).expect("init");
        let value = git().in_dir(dir.path()).capture(["config", "filter.dits.required"]).expect("config");
        assert_eq!(value, b"false\n");
        assert_eq!(git().in_dir(dir.path()).ask(["config", "--get", "no.such"]).expect("an answer"), None);
    }

    #[test]
    fn a_pipe_is_written_and_read() {
        use std::io::Write;
        let mut pipe = git().pipe(["hash-object", "--stdin"]).expect("started");
        pipe.take_stdin().expect("first").write_all(b"x").expect("written");
        let mut out = String::new();
        pipe.take_stdout().expect("first").read_to_string(&mut out).expect("read");
        pipe.finish().expect("git ends well");
        assert_eq!(out.len(), 41);
    }
}
