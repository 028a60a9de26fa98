//! Git's remote helper for `dits://host/repository` and `dits::/path`.
//!
//! **For:** git, which starts it as `git-remote-dits <remote> <address>`; and for the other
//! programs of Dits, as `git-remote-dits fetch-media [REMOTE]` and `git-remote-dits push-media REMOTE`.
//!
//! **May touch:** what its modules name.
//!
//! **Must hold:** standard output is a protocol, nothing else goes there.
//!
//! **Format:** `docs/protocols/remote-helper.md`.

mod commands;
mod confirm;
mod far_end;
mod fetch;
mod gate;
mod here;
mod kept;
mod progress;
mod push;
mod refusal;
mod servers;
mod share_git;
mod tunnel;
mod upload;

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::ExitCode;

use dits_core::failure::{DONE, FAILED, Failure};
use dits_core::operations::confirm_kept::Look;
use dits_core::repo::helper_program::NO_PROGRESS;
use far_end::{Link, Service};
use here::{Here, parse_address};
use tunnel::GitIn;

/// Longest line of the helper's protocol, in bytes.
const LINE_LEN_MAX: u64 = 4096;

const USAGE: &str = "usage: git remote-dits REMOTE ADDRESS\n   or: git remote-dits fetch-media [--no-progress] [REMOTE]\n  \
                     or: git remote-dits push-media [--no-progress] [--dry-run] [--text-elsewhere] REMOTE\n   or: git remote-dits kept-media [--no-progress] [--verify] REMOTE";

fn main() -> ExitCode {
    #[cfg(all(debug_assertions, unix))]
    if let Ok(request) = std::env::var("DITS_STOP_AT") {
        // A step of another program is none of ours: the variable is inherited by all.
        let _ = dits_core::steps::stop_at(&request);
    }
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let ended = std::panic::catch_unwind(|| run(&args)).unwrap_or_else(|_| Err(Failure::bug()));
    let code = ended.map_or_else(
        |failure| {
            eprint!("{}", failure.text());
            failure.code()
        },
        |is_done| if is_done { DONE } else { FAILED },
    );
    // Threads that still wait for git's input end here.
    ExitCode::from(code)
}

/// Returns whether the far end did its work.
fn run(args: &[OsString]) -> Result<bool, Failure> {
    let words: Option<Vec<&str>> = args.iter().map(|arg| arg.to_str()).collect();
    let words = words.ok_or_else(|| Failure::usage("an address has to be UTF-8"))?;
    let mut stdout = io::stdout();
    match words.as_slice() {
        ["-h" | "--help"] => {
            eprintln!("{USAGE}");
            Ok(true)
        }
        ["-V" | "--version"] => {
            writeln!(stdout, "git-remote-dits {}", env!("CARGO_PKG_VERSION"))?;
            Ok(true)
        }
        [verb @ ("fetch-media" | "push-media" | "kept-media"), rest @ ..] => media(verb, rest, &mut stdout),
        [remote, address] => helper(remote, address, &mut stdout),
        _ => Err(wrong_arguments()),
    }
}

fn wrong_arguments() -> Failure {
    Failure::usage("wrong arguments").hint(USAGE.replace('\n', "; "))
}

/// What the other programs of Dits ask for.
fn media(verb: &str, args: &[&str], stdout: &mut io::Stdout) -> Result<bool, Failure> {
    let is_quiet = args.first() == Some(&NO_PROGRESS);
    let args = if is_quiet { &args[1..] } else { args };
    let here = Here::find()?;
    if is_quiet {
        here.progress.set(Some(false));
    }
    match (verb, args) {
        ("fetch-media", rest) if rest.len() <= 1 => {
            fetch::run(&here, rest.first().copied(), io::stdin().lock(), stdout).map(|()| true)
        }
        ("push-media", [flags @ .., remote]) => {
            let options = upload::Options::parse(flags).ok_or_else(wrong_arguments)?;
            upload::run(&here, remote, options, io::stdin().lock(), stdout).map(|()| true)
        }
        ("kept-media", [flags @ .., remote]) => {
            let look = match flags {
                [] => Look::Word,
                ["--verify"] => Look::Content,
                _ => return Err(wrong_arguments()),
            };
            confirm::run(&here, remote, look, io::stdin().lock(), stdout).map(|()| true)
        }
        _ => Err(wrong_arguments()),
    }
}

/// Speaks the protocol of remote helpers up to the one `connect`.
fn helper(remote: &str, address: &str, git_out: &mut dyn Write) -> Result<bool, Failure> {
    let url = parse_address(address)?;
    let here = Here::find()?;
    here.remote.get_or_init(|| remote.to_owned());
    let mut git_in: GitIn = BufReader::with_capacity(tunnel::BUFFER_LEN, io::stdin());
    let mut line = String::new();
    loop {
        line.clear();
        if git_in.by_ref().take(LINE_LEN_MAX).read_line(&mut line).map_err(push::lost)? == 0 {
            return Ok(true);
        }
        let request = line.strip_suffix('\n').unwrap_or(&line);
        let (verb, argument) = request.split_once(' ').unwrap_or((request, ""));
        let answer = match verb {
            "capabilities" => "connect\noption\n\n",
            "option" => option(&here, argument),
            "connect" => {
                let service = Service::parse(argument)
                    .ok_or_else(|| Failure::usage(format!("git asks for {argument:?}, which is not known")))?;
                return connect(&url, service, &here, git_in, git_out);
            }
            "" => return Ok(true),
            _ => return Err(Failure::usage(format!("git asks for {verb:?}, which was not offered"))),
        };
        git_out.write_all(answer.as_bytes()).and_then(|()| git_out.flush()).map_err(push::lost)?;
    }
}

fn option(here: &Here, argument: &str) -> &'static str {
    match argument.split_once(' ') {
        Some(("progress", value)) => {
            here.progress.set(Some(value == "true"));
            "ok\n"
        }
        Some(("verbosity", value)) => {
            if value == "0" {
                here.progress.set(Some(false));
            }
            "ok\n"
        }
        _ => "unsupported\n",
    }
}

fn connect(
    url: &dits_core::remote_url::RemoteUrl,
    service: Service,
    here: &Here,
    git_in: GitIn,
    git_out: &mut dyn Write,
) -> Result<bool, Failure> {
    let link = Link::open(url, here)?;
    match service {
        Service::ReceivePack => push::run(&link, here, git_in, git_out),
        Service::UploadPack | Service::UploadArchive => {
            let far = link.start(service, here)?;
            tunnel::accept(git_out)?;
            tunnel::run(far, git_in, git_out)
        }
    }
}
