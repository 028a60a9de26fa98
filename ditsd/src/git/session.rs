//! One git child that talks to one client.
//!
//! **For:** `upload-pack`, `receive-pack` and `upload-archive`.
//!
//! **May touch:** the child, and a file in `unfinished/` on which the child's hook leaves
//! its report.
//!
//! **Must hold:** a session that is dropped ends its child, with all that the child started.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use dits_core::hash::FileHash;
use dits_core::limits;
use dits_core::repo_path::RepoName;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use super::check::Report;
use super::{Git, GitError, environment, settings};

/// What git is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Serve a fetch or a clone.
    UploadPack,
    /// Take a push.
    ReceivePack,
    /// Serve an archive.
    UploadArchive,
}

impl Service {
    fn command(self) -> &'static str {
        match self {
            Service::UploadPack => "upload-pack",
            Service::ReceivePack => "receive-pack",
            Service::UploadArchive => "upload-archive",
        }
    }
}

/// A running child.
#[derive(Debug)]
pub struct Session {
    child: Child,
    group: Pid,
    report: ReportFile,
}

/// The three pipes of a child.
pub struct Pipes {
    /// What the client sends goes here.
    pub input: ChildStdin,
    /// Git's own protocol.
    pub output: ChildStdout,
    /// What git prints beside its protocol.
    pub messages: ChildStderr,
}

/// How a child ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Its exit status; 128 and the signal's number where a signal ended it.
    pub exit_code: i32,
    /// Files that the check before the refs moved found missing.
    pub missing: Vec<FileHash>,
}

/// How long a child has to tidy up after itself, its quarantine for example.
const TIDY_UP: Duration = Duration::from_secs(5);

impl Git {
    /// Starts git for one client.
    ///
    /// # Errors
    ///
    /// [`GitError::Start`] if the program cannot be started.
    pub fn start(&self, service: Service, repo: &RepoName, protocol: &str) -> Result<(Session, Pipes), GitError> {
        let report = ReportFile(self.root.unfinished().join(format!("report-{:016x}", rand::random::<u64>())));
        let path = self.path(repo);
        let mut command = Command::new(&self.program);
        command.env_clear().envs(environment(&self.root));
        command.env("GIT_PROTOCOL", protocol);
        command.env(crate::commands::hook::ROOT_VARIABLE, self.root.dir());
        command.env(crate::commands::hook::REPO_VARIABLE, repo.as_str());
        command.env(crate::commands::hook::REPORT_VARIABLE, &report.0);
        for setting in settings(&self.root, &path) {
            command.arg("-c").arg(setting);
        }
        command.arg(service.command()).arg(&path).current_dir(&path);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Its own group, so that the whole of it can be ended, and so that Ctrl-C on the
        // server's terminal lets running pushes finish.
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(GitError::Start)?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("a child just started has an id");
        let pipes = Pipes {
            input: child.stdin.take().expect("the pipe was asked for"),
            output: child.stdout.take().expect("the pipe was asked for"),
            messages: child.stderr.take().expect("the pipe was asked for"),
        };
        Ok((Session { child, group, report }, pipes))
    }
}

impl Session {
    /// Waits for the child to end by itself.
    ///
    /// # Errors
    ///
    /// [`GitError::Start`] if the system lost the child.
    pub async fn end(mut self) -> Result<End, GitError> {
        let status = self.child.wait().await.map_err(GitError::Start)?;
        let by_signal = || std::os::unix::process::ExitStatusExt::signal(&status).map(|signal| 128 + signal);
        let exit_code = status.code().or_else(by_signal).unwrap_or(1);
        let mut report = Report::read(&self.report.0);
        if let Some(failure) = &report.failure {
            tracing::error!(failure, "a push could not be checked");
        }
        report.missing.truncate(limits::IDS_PER_MESSAGE_MAX);
        Ok(End { exit_code, missing: report.missing })
    }

    /// Ends the child: first kindly, so that git removes its temporary files.
    pub async fn stop(mut self) {
        let _ = kill_process_group(self.group, Signal::TERM);
        if tokio::time::timeout(TIDY_UP, self.child.wait()).await.is_err() {
            let _ = kill_process_group(self.group, Signal::KILL);
            let _ = self.child.wait().await;
        }
    }
}

/// Where a hook leaves its report; gone with the session.
#[derive(Debug)]
struct ReportFile(PathBuf);

impl Drop for ReportFile {
    fn drop(&mut self) {
        // There is one only where a push was refused.
        let _ = std::fs::remove_file(&self.0);
    }
}
