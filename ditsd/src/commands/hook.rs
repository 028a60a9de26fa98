//! `ditsd hook pre-receive`: called by git, through the hook that a server writes.
//!
//! What it prints on standard error is what the pushing user reads.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use dits_core::repo::environment::Environment;
use dits_core::repo_path::RepoName;

use crate::git::check::{CheckError, Hooked, Report, check};

/// Names the server root to a hook.
pub const ROOT_VARIABLE: &str = "DITSD_ROOT";
/// Names the repository to a hook.
pub const REPO_VARIABLE: &str = "DITSD_REPO";
/// Names the file on which a hook leaves its report for the server.
pub const REPORT_VARIABLE: &str = "DITSD_REPORT";

/// For git itself
#[derive(Subcommand)]
pub enum Command {
    /// Check a push before any ref moves
    PreReceive,
}

/// Does what git asked.
pub fn run(command: &Command) -> ExitCode {
    let Command::PreReceive = command;
    let environment = Environment::new(std::env::vars_os());
    let Some(hooked) = hooked() else {
        eprintln!("error: this repository is pushed to through ditsd only");
        eprintln!("hint: push to dits://HOST/REPOSITORY");
        return ExitCode::FAILURE;
    };
    let Err(error) = check(&hooked, &environment, std::io::stdin().lock()) else {
        return ExitCode::SUCCESS;
    };
    let mut report = Report::default();
    match &error {
        CheckError::Refused(refused) => {
            eprint!("{refused}");
            report.missing = refused.missing().collect();
        }
        error if error.is_internal() => {
            eprintln!("error: the server could not check this push; its log says why");
            report.failure = Some(causes(error));
        }
        error => {
            eprintln!("error: the push cannot be checked\ncaused by: {}", causes(error));
            if matches!(error, CheckError::Walk(error) if error.is_too_much()) {
                eprintln!("hint: push older commits first, a part of them at a time");
            }
        }
    }
    if let Some(path) = std::env::var_os(REPORT_VARIABLE)
        && let Err(error) = report.write(path.as_ref())
    {
        eprintln!("error: the check could not leave its report\ncaused by: {error}");
    }
    ExitCode::FAILURE
}

fn hooked() -> Option<Hooked> {
    let repo = RepoName::new(std::env::var(REPO_VARIABLE).ok()?.as_str()).ok()?;
    Some(Hooked { root: PathBuf::from(std::env::var_os(ROOT_VARIABLE)?), repo })
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
