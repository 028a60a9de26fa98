//! What `ditsd` can be told to do, one file per subcommand.
//!
//! **For:** parsing arguments, calling the parts that do the work, and reporting.
//!
//! **May touch:** standard output and standard error.
//!
//! **Must hold:** exit status 0 done, 1 failed, 2 wrong usage, 3 refused.

mod backup;
mod config;
mod du;
mod fsck;
mod gc;
pub mod hook;
mod repo;
mod restore;
mod serve;

use std::error::Error;
use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::backup as backups;

/// A server for Git repositories with media
#[derive(Parser)]
#[command(
    name = "ditsd",
    version,
    after_help = "Exit status: 0 done, 1 failed, 2 wrong usage, 3 refused (another server, an unsafe address)"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Arguments),
    #[command(subcommand)]
    Repo(repo::Command),
    Gc(gc::Arguments),
    Backup(backup::Arguments),
    Restore(restore::Arguments),
    #[command(subcommand)]
    Config(config::Command),
    Fsck(fsck::Arguments),
    Du(du::Arguments),
    #[command(subcommand, hide = true)]
    Hook(hook::Command),
}

/// What a command that could not do its work tells the user.
pub(crate) struct Failure {
    exit: u8,
    error: Box<dyn Error>,
    hints: Vec<String>,
}

impl Failure {
    /// It failed.
    fn failed(error: impl Error + 'static) -> Failure {
        Failure { exit: 1, error: Box::new(error), hints: Vec::new() }
    }

    /// It was refused by a rule.
    fn refused(error: impl Error + 'static) -> Failure {
        Failure { exit: 3, error: Box::new(error), hints: Vec::new() }
    }

    /// It was called wrongly.
    fn usage(error: impl Error + 'static) -> Failure {
        Failure { exit: 2, error: Box::new(error), hints: Vec::new() }
    }

    /// Says what to do next.
    fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hints.push(hint.into());
        self
    }

    fn report(&self) -> ExitCode {
        eprintln!("error: {}", self.error);
        let mut cause = self.error.source();
        while let Some(error) = cause {
            eprintln!("caused by: {error}");
            cause = error.source();
        }
        for hint in &self.hints {
            eprintln!("hint: {hint}");
        }
        ExitCode::from(self.exit)
    }
}

/// Parses the command line and does what it says.
pub fn run() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::Repo(command) => repo::run(command),
        Command::Gc(arguments) => gc::run(&arguments),
        Command::Backup(arguments) => backup::run(&arguments),
        Command::Restore(arguments) => restore::run(&arguments),
        Command::Config(command) => config::run(command),
        Command::Fsck(arguments) => fsck::run(&arguments),
        Command::Du(arguments) => du::run(&arguments),
        Command::Hook(command) => return hook::run(&command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Writes facts to standard output; a reader that went away is a normal end.
fn print(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// One line on a terminal that says how far something is; nothing anywhere else. It is gone when this is dropped.
struct ProgressLine {
    is_shown: bool,
}

impl ProgressLine {
    fn new() -> ProgressLine {
        ProgressLine { is_shown: std::io::stderr().is_terminal() }
    }

    fn say(&self, text: &str) {
        if self.is_shown {
            eprint!("\r\x1b[K{text}");
        }
    }

    /// Says how far a backup or a restore is.
    fn tell(&self, at: backups::Progress<'_>) {
        match at {
            backups::Progress::Repository(name) => self.say(&format!("copying {name}")),
            backups::Progress::Packs { done, total } => {
                self.say(&format!("packs: {} of {} MiB", done >> 20, total >> 20));
            }
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.say("");
    }
}
