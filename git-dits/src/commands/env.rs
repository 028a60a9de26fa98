//! `git dits env`: what Dits runs with, and what is wrong with it.
//!
//! **For:** people who ask for help, and those who help them.
//!
//! **May touch:** nothing; it reads configuration, hooks, git's index and the places of programs.
//!
//! **Must hold:** no secret is printed; nothing is contacted.

mod attributes;
mod problems;

use bstr::ByteSlice;
use dits_core::failure::FAILED;
use dits_core::repo::Repository;
use dits_core::repo::config::{Committed, OnMissing, Settings, Transport, UrlDecision, decide_url};
use dits_core::repo::hooks::{self, Hook, HookFiles};
use serde::Serialize;

use crate::here::Here;
use crate::out::Out;
use crate::programs::Programs;
use crate::report::{EXIT_STATUSES, Failure};
use problems::{Problem, Problems};

/// Show what Dits runs with: versions, places, settings, remotes, and what is wrong, with the way to mend it; status 1 if something is broken
#[derive(clap::Args)]
#[command(after_help = EXIT_STATUSES)]
pub struct Args {
    /// Print the facts as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Facts {
    dits: &'static str,
    git: String,
    programs: ProgramFacts,
    known_hosts: Option<String>,
    repository: Option<RepositoryFacts>,
    problems: Vec<Problem>,
}

#[derive(Serialize)]
struct ProgramFacts {
    git: String,
    porcelain: String,
    filter: String,
    helper: Option<String>,
}

#[derive(Serialize)]
struct RepositoryFacts {
    git_dir: String,
    work_tree: Option<String>,
    store: String,
    settings: SettingFacts,
    remotes: Vec<RemoteFacts>,
    hooks: Vec<HookFacts>,
}

#[derive(Serialize)]
struct HookFacts {
    hook: &'static str,
    place: String,
}

#[derive(Serialize)]
struct SettingFacts {
    url: Option<String>,
    transport: &'static str,
    on_missing: &'static str,
}

#[derive(Serialize)]
struct RemoteFacts {
    name: String,
    url: String,
    is_dits: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let here = Here::find()?;
    let programs = Programs::find()?;
    let repository = here.repository_if_any()?;
    let helper = Programs::helper_for_git(&here.git)?;
    let mut problems = Problems::default();
    problems::of_machine(&here, &programs, helper.as_deref(), &mut problems);
    if let Some(repository) = &repository {
        problems::of_repository(&here, repository, &programs, &mut problems);
    }
    let show = |path: &std::path::Path| path.display().to_string();
    let facts = Facts {
        dits: env!("CARGO_PKG_VERSION"),
        git: here.git.capture(["--version"])?.trim().to_str_lossy().replace("git version ", ""),
        programs: ProgramFacts {
            git: show(here.git.program()),
            porcelain: show(&programs.porcelain),
            filter: show(&programs.filter),
            helper: helper.as_deref().map(show),
        },
        known_hosts: here.env.config_dir().map(|dir| show(&dir.join("known_hosts"))),
        repository: repository.as_ref().map(repository_facts),
        problems: problems.0,
    };
    print(&facts, args.json)?;
    match facts.problems.iter().any(|problem| problem.broken) {
        // The facts say it.
        true => Err(Failure::told(FAILED)),
        false => Ok(()),
    }
}

fn repository_facts(repository: &Repository) -> RepositoryFacts {
    // Settings that cannot be read are among the problems.
    let settings = repository.settings().unwrap_or_default();
    let store = settings.storage.clone().unwrap_or_else(|| repository.common_dir().join("dits"));
    let remotes = repository.remotes().into_iter().map(|remote| RemoteFacts {
        is_dits: is_dits(&remote.url),
        name: remote.name.to_string(),
        url: without_secret(&remote.url.to_str_lossy()),
    });
    RepositoryFacts {
        git_dir: repository.git_dir().display().to_string(),
        work_tree: repository.work_tree().map(|dir| dir.display().to_string()),
        store: store.display().to_string(),
        remotes: remotes.collect(),
        settings: SettingFacts {
            url: url(repository, &settings),
            transport: match settings.transport {
                Transport::Auto => "auto",
                Transport::Quic => "quic",
                Transport::Grpc => "grpc",
            },
            on_missing: match settings.on_missing {
                OnMissing::Pointer => "pointer",
                OnMissing::Fail => "fail",
            },
        },
        hooks: hook_facts(repository),
    }
}

fn url(repository: &Repository, settings: &Settings) -> Option<String> {
    let committed = Committed::read(repository).unwrap_or_default();
    match decide_url(settings, &committed) {
        UrlDecision::Use(url) | UrlDecision::Changed { confirmed: url, .. } => Some(url.to_string()),
        UrlDecision::None | UrlDecision::Unconfirmed { .. } => None,
    }
}

/// Where the hooks stand, in words.
fn hook_facts(repository: &Repository) -> Vec<HookFacts> {
    let files = HookFiles::of(repository);
    let place = |hook: Hook| match (hooks::is_configured(repository, hook), files.have(hook)) {
        (true, _) => "in git's configuration".to_owned(),
        (false, Ok(true)) => files.dir().join(hook.name()).display().to_string(),
        (false, _) => "none".to_owned(),
    };
    Hook::ALL.map(|hook| HookFacts { hook: hook.name(), place: place(hook) }).into()
}

fn is_dits(url: &[u8]) -> bool {
    url.starts_with(b"dits:")
}

/// Takes `user:password@` out of an address.
fn without_secret(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{host}{path}"),
        None => url.to_owned(),
    }
}

fn print(facts: &Facts, as_json: bool) -> Result<(), Failure> {
    let mut out = Out::lock();
    if as_json {
        out.json(facts)?;
        return out.finish();
    }
    out.line(format_args!("git-dits {}, git {}", facts.dits, facts.git))?;
    let mut row = |name: &str, value: &str| out.line(format_args!("{name:<12} {value}"));
    row("git", &facts.programs.git)?;
    row("porcelain", &facts.programs.porcelain)?;
    row("filter", &facts.programs.filter)?;
    row("helper", facts.programs.helper.as_deref().unwrap_or("not found by git"))?;
    row("known hosts", facts.known_hosts.as_deref().unwrap_or("no home folder"))?;
    if let Some(repository) = &facts.repository {
        row("git dir", &repository.git_dir)?;
        row("work tree", repository.work_tree.as_deref().unwrap_or("none"))?;
        row("store", &repository.store)?;
        row("dits.url", repository.settings.url.as_deref().unwrap_or("none"))?;
        row("transport", repository.settings.transport)?;
        row("on missing", repository.settings.on_missing)?;
        for HookFacts { hook, place } in &repository.hooks {
            row(hook, place)?;
        }
        for remote in &repository.remotes {
            row("remote", &format!("{} {}", remote.name, remote.url))?;
        }
    }
    for Problem { what, mend, broken } in &facts.problems {
        row(if *broken { "broken" } else { "odd" }, what)?;
        row("  to mend it", mend)?;
    }
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_an_address_is_not_shown() {
        assert_eq!(without_secret("https://ann:secret@forge/film.git"), "https://forge/film.git");
        assert_eq!(without_secret("https://forge/a@b"), "https://forge/a@b");
        assert_eq!(without_secret("git@forge:film.git"), "git@forge:film.git");
    }
}
