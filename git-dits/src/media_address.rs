//! Where media goes when the text lives on another host.
//!
//! **For:** pushes to remotes that know nothing of Dits, and getting that media back.
//!
//! **May touch:** the repository's configuration, after the user said yes; the terminal.
//!
//! **Must hold:** an address that a repository brings along is used only once the user has confirmed it.
//!
//! **Format:** `docs/guide/other-host.md`.

use std::io::{BufRead, BufReader, IsTerminal, Write};

use dits_core::remote_url::RemoteUrl;
use dits_core::repo::Repository;
use dits_core::repo::config::{COMMITTED_FILE, COMMITTED_URL, Committed, Settings, URL, UrlDecision, decide_url};
use dits_core::repo::git_program::GitProgram;

use crate::report::Failure;

/// The address that holds; `None` where there is none at all. Asks where the repository proposes
/// one that nobody has confirmed.
pub fn find(git: &GitProgram, repository: &Repository, settings: &Settings) -> Result<Option<RemoteUrl>, Failure> {
    match decide_url(settings, &Committed::read(repository)?) {
        UrlDecision::None => Ok(None),
        UrlDecision::Use(url) => Ok(Some(url)),
        UrlDecision::Unconfirmed { committed } => confirm(git, committed).map(Some),
        UrlDecision::Changed { confirmed, committed } => Err(changed(&confirmed, &committed)),
    }
}

/// The same, where there has to be one.
pub fn need(git: &GitProgram, repository: &Repository, settings: &Settings) -> Result<RemoteUrl, Failure> {
    find(git, repository, settings)?.ok_or_else(|| {
        Failure::refused("there is no address for media")
            .caused_by(format!(
                "the remote knows nothing of Dits, and neither {URL} nor {COMMITTED_FILE} names a server"
            ))
            .hint(format!("run `git config {URL} dits://HOST/REPOSITORY`"))
            .hint(format!(
                "for everybody: `git config -f {COMMITTED_FILE} {URL} dits://HOST/REPOSITORY`, then commit it"
            ))
    })
}

/// The remote of this name or address, if it is one of Dits; `None` for one on another host.
pub fn dits_remote(repository: &Repository, name: &str) -> Result<Option<String>, Failure> {
    if repository.dits_remotes().iter().any(|(known, _)| known == name) || RemoteUrl::parse(name).is_ok() {
        return Ok(Some(name.to_owned()));
    }
    match repository.remotes().iter().any(|remote| remote.name == name) {
        true => Ok(None),
        false => Err(Failure::usage(format!("there is no remote {name:?}")).hint("list them: `git remote -v`")),
    }
}

fn confirm(git: &GitProgram, committed: RemoteUrl) -> Result<RemoteUrl, Failure> {
    let question = format!(
        "This repository keeps its media at {committed}\n(its {COMMITTED_FILE} says so). Use that address (yes/no)? "
    );
    match ask(&question) {
        true => {
            let url = committed.to_string();
            git.run(["config", "--local", COMMITTED_URL, &url])?;
            git.run(["config", "--local", URL, &url])?;
            Ok(committed)
        }
        false => Err(Failure::refused(format!("the address {committed} is not confirmed"))
            .caused_by(format!(
                "{COMMITTED_FILE} names it, and where your media goes is not for a repository to choose"
            ))
            .hint(accept(&committed, "use it"))),
    }
}

fn changed(confirmed: &RemoteUrl, committed: &RemoteUrl) -> Failure {
    Failure::refused(format!("{COMMITTED_FILE} now names another address for media: {committed}"))
        .caused_by(format!("{confirmed} is the one that was confirmed here"))
        .hint(accept(committed, "use the new one"))
        .hint(format!("to stay with the old one, run `git config {COMMITTED_URL} {committed}`"))
}

fn accept(url: &RemoteUrl, what_for: &str) -> String {
    format!("to {what_for}, run `git config {URL} {url} && git config {COMMITTED_URL} {url}`")
}

/// Asks at the terminal itself: standard input may be git's.
fn ask(question: &str) -> bool {
    if !std::io::stderr().is_terminal() {
        return false;
    }
    let Ok(terminal) = std::fs::File::options().read(true).write(true).open("/dev/tty") else { return false };
    let mut answer = String::new();
    let asked = write!(&terminal, "{question}");
    asked.is_ok() && BufReader::new(&terminal).read_line(&mut answer).is_ok() && answer.trim() == "yes"
}
