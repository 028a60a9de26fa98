//! Git's filter for media: content into the store, pointers into git, and back.
//!
//! **For:** `filter.dits.process` (no argument or `process`), and for one file at a time
//! `filter.dits.clean` and `filter.dits.smudge` (`clean PATH`, `smudge PATH`).
//!
//! **May touch:** the repository's store; once git has closed the pipe, files of the work tree and git's index.
//! Never the network: `git-remote-dits` fetches.
//!
//! **Must hold:** standard output is a protocol, nothing else goes there.

mod answer;
mod bar;
mod clean;
mod deferred;
mod delayed;
mod hooks;
mod hydrating;
mod input;
mod passing;
mod policy;
mod report;
mod request;
mod session;
mod single;
mod smudge;
mod stores;

use std::error::Error;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitCode;

use dits_core::failure::{BUG, DONE, FAILED, WRONG_USAGE};
use dits_core::pointer::Pointer;
use dits_core::repo::Repository;
use dits_core::repo::config::Settings;
use dits_core::repo::environment::Environment;
use dits_core::repo::helper_program::{self, Progress};
use dits_core::repo::stores::store_options;
use dits_core::repo::unsynced;

use clean::{Cleaning, Synced};
use deferred::Deferred;
use hydrating::Ended;
use policy::Policy;
use report::Report;
use smudge::Smudging;
use stores::Stores;

/// What one run does.
enum Mode {
    Process,
    Clean(OsString),
    Smudge(OsString),
}

/// The exit status of a program that was interrupted, as shells have it.
const INTERRUPTED: u8 = 130;
/// Length that git's pipes to this program are given, in bytes.
#[cfg(target_os = "linux")]
const PIPE_LEN: usize = 1024 * 1024;

fn main() -> ExitCode {
    #[cfg(debug_assertions)]
    if let Some(request) = std::env::var_os("DITS_STOP_AT") {
        dits_core::steps::stop_at(&request.to_string_lossy());
    }
    let mut stderr = io::stderr();
    let mut report = Report::new(&mut stderr);
    let mode = match mode(std::env::args_os().skip(1).collect()) {
        Ok(mode) => mode,
        Err(code) => return code,
    };
    let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(mode, &mut report)));
    report.finish();
    ExitCode::from(code.unwrap_or(BUG))
}

fn mode(args: Vec<OsString>) -> Result<Mode, ExitCode> {
    let mut args = args.into_iter();
    let (first, second, more) = (args.next(), args.next(), args.next());
    match (first.as_deref().map(|arg| arg.to_string_lossy()).as_deref(), second, more) {
        (None | Some("process"), None, _) => Ok(Mode::Process),
        (Some("clean"), Some(path), None) => Ok(Mode::Clean(path)),
        (Some("smudge"), Some(path), None) => Ok(Mode::Smudge(path)),
        (Some("--version"), None, _) => {
            // Nobody is left to hear about a closed output.
            let _ = writeln!(io::stdout(), "git-dits-filter {}", env!("CARGO_PKG_VERSION"));
            Err(ExitCode::from(DONE))
        }
        _ => {
            eprintln!("usage: git-dits-filter [process | clean PATH | smudge PATH | --version]");
            eprintln!("git runs this program; `git dits install` sets it up");
            Err(ExitCode::from(WRONG_USAGE))
        }
    }
}

fn run(mode: Mode, report: &mut Report<'_>) -> u8 {
    let (repo, settings) = match repository() {
        Ok(found) => found,
        Err(error) => {
            report.error("the filter cannot start", Some(error.as_ref()), &[]);
            return FAILED;
        }
    };
    let (input, mut output) = match (stream(io::stdin().as_fd()), stream(io::stdout().as_fd())) {
        (Ok(input), Ok(output)) => (input, output),
        (Err(error), _) | (_, Err(error)) => {
            report.error("the filter cannot use its standard streams", Some(&error), &[]);
            return FAILED;
        }
    };
    let stores = Stores::new(&repo, &settings);
    let policy = Policy::new(&repo, &settings);
    let own = std::env::current_exe().ok();
    let mut fetch = |wanted: &[Pointer]| {
        let program = helper_program::find(own.as_deref(), repo.env().get("PATH"));
        let progress = if bar::is_unwanted() { Progress::Hidden } else { Progress::Shown };
        helper_program::fetch(program.as_deref(), None, progress, wanted)
    };
    let mut cleaning = Cleaning::new(&stores);
    let mut smudging = Smudging::new(&stores, &policy, &mut fetch, Deferred::new(&repo, &settings));
    let is_done = match mode {
        Mode::Process => {
            let answered = session::run(input, &mut output, &mut cleaning, &mut smudging, report);
            if let Err(error) = &answered {
                report.error("the filter gives up", Some(error), &[]);
            }
            let is_synced = sync(&repo, &settings, &mut cleaning, report);
            // Git has closed the pipe: what it was told is written down, or never will be.
            drop(cleaning);
            hooks::ensure(own.as_deref(), &repo, &settings);
            // Git that broke off has ended, or is about to: its index is not that of what it was told.
            if answered.is_ok() && smudging.hydrate(&repo, report) == Ended::Interrupted {
                return INTERRUPTED;
            }
            is_synced && answered.is_ok()
        }
        Mode::Clean(path) => {
            let pointer = single::clean(path.as_encoded_bytes(), input, &mut cleaning, report);
            let is_synced = sync(&repo, &settings, &mut cleaning, report);
            is_synced && pointer.is_some_and(|pointer| single::write_out(&mut output, &pointer, report))
        }
        Mode::Smudge(path) => single::smudge(path.as_encoded_bytes(), input, &mut output, &mut smudging, report),
    };
    if is_done { DONE } else { FAILED }
}

fn repository() -> Result<(Repository, Settings), Box<dyn Error>> {
    let repo = Repository::discover(&std::env::current_dir()?, Environment::new(std::env::vars_os()))?;
    let settings = repo.settings()?;
    Ok((repo, settings))
}

/// A standard stream without the buffer that the library puts around it.
fn stream(standard: BorrowedFd<'_>) -> io::Result<File> {
    // Larger pipes mean fewer switches between git and us. Files and sockets have no such
    // size, and a system may allow less: any size works.
    #[cfg(target_os = "linux")]
    let _ = rustix::pipe::fcntl_setpipe_size(standard, PIPE_LEN);
    Ok(File::from(standard.try_clone_to_owned()?))
}

/// Syncs what was stored. Git was told of success by now, so that a failure is noted in the
/// store, where pushes look for it.
fn sync(repo: &Repository, settings: &Settings, cleaning: &mut Cleaning<'_>, report: &mut Report<'_>) -> bool {
    let store_dir = store_options(repo, settings).dir;
    let synced: Result<(), Box<dyn Error>> = match cleaning.sync() {
        Ok(Synced::Nothing) => Ok(()),
        Ok(Synced::All) => unsynced::clear(&store_dir).map_err(Into::into),
        Err(error) => Err(error.into()),
    };
    let Err(error) = synced else { return true };
    let hints = ["check the disk, then add the same files again; pushes wait until that worked"];
    report.error("what was added may not survive a power loss", Some(error.as_ref()), &hints);
    if let Err(error) = unsynced::mark(&store_dir, &error.to_string()) {
        report.error("that cannot be noted in the store either", Some(&error), &[]);
    }
    false
}
