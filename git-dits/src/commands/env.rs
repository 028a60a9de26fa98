//! `git dits env`: what Dits runs with, and what is wrong with it.
//!
//! **For:** people who ask for help, and those who help them.
//!
//! **May touch:** nothing; it reads configuration and the places of programs.
//!
//! **Must hold:** no secret is printed; nothing is contacted.

use bstr::{BString, ByteSlice};
use dits_core::repo::Repository;
use dits_core::repo::config::{Committed, OnMissing, Settings, Transport, UrlDecision, decide_url};
use dits_core::repo::hooks::{self, Hook, HookFiles};
use serde::Serialize;

use crate::here::Here;
use crate::media_files;
use crate::out::Out;
use crate::programs::{HELPER, Programs};
use crate::report::{EXIT_STATUSES, Failure};

/// Show what Dits runs with: versions, places, settings, remotes, and problems found
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
    problems: Vec<String>,
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
    let mut problems = Vec::new();
    let helper = Programs::helper_for_git(&here.git)?;
    if helper.is_none() {
        problems.push(format!("git does not find {HELPER}: `git dits install` says how to mend that"));
    }
    check_filter(&here, &programs, &mut problems)?;
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
        repository: match &repository {
            Some(repository) => Some(repository_facts(&here, repository, &mut problems)?),
            None => None,
        },
        problems,
    };
    print(&facts, args.json)
}

/// Compares what git is told to run with what is on this machine.
fn check_filter(here: &Here, programs: &Programs, problems: &mut Vec<String>) -> Result<(), Failure> {
    let lines = crate::filter_config::lines(programs);
    for line in lines {
        let value = crate::filter_config::effective(&here.git, line.key)?;
        match value {
            None => problems.push(format!("{} is not set: run `git dits install`", line.key)),
            Some(value) if value != line.value => {
                problems.push(format!("{} is {value:?}, not {:?}: run `git dits install`", line.key, line.value));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn repository_facts(
    here: &Here,
    repository: &Repository,
    problems: &mut Vec<String>,
) -> Result<RepositoryFacts, Failure> {
    let settings = repository.settings()?;
    let url = url(repository, &settings, problems)?;
    let hooks = hooks(here, repository, problems)?;
    check_patterns(here, repository, problems)?;
    if repository.config().is_true("merge.renormalize") {
        problems.push("merge.renormalize sends whole files through memory: unset it".to_owned());
    }
    let store = settings.storage.clone().unwrap_or_else(|| repository.common_dir().join("dits"));
    let remotes = repository.remotes().into_iter().map(|remote| RemoteFacts {
        is_dits: is_dits(&remote.url),
        name: remote.name.to_string(),
        url: without_secret(&remote.url.to_str_lossy()),
    });
    Ok(RepositoryFacts {
        git_dir: repository.git_dir().display().to_string(),
        work_tree: repository.work_tree().map(|dir| dir.display().to_string()),
        store: store.display().to_string(),
        remotes: remotes.collect(),
        settings: SettingFacts {
            url,
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
        hooks,
    })
}

fn url(repository: &Repository, settings: &Settings, problems: &mut Vec<String>) -> Result<Option<String>, Failure> {
    Ok(match decide_url(settings, &Committed::read(repository)?) {
        UrlDecision::None => None,
        UrlDecision::Use(url) => Some(url.to_string()),
        UrlDecision::Unconfirmed { committed } => {
            problems.push(format!(
                ".ditsconfig proposes {committed}, which is not confirmed: if it is right, run `git config dits.url {committed}`"
            ));
            None
        }
        UrlDecision::Changed { confirmed, committed } => {
            problems.push(format!(".ditsconfig now proposes {committed} in place of {confirmed}"));
            Some(confirmed.to_string())
        }
    })
}

/// Looks for patterns that nobody else has: what they make a pointer is pushed without its content.
fn check_patterns(here: &Here, repository: &Repository, problems: &mut Vec<String>) -> Result<(), Failure> {
    let machine = media_files::machine_sources(repository)?;
    if machine.iter().all(|source| source.patterns.is_empty()) {
        return Ok(());
    }
    let all = media_files::pattern_sources(&here.git, repository)?;
    let is_shared = |pattern: &BString| {
        let shared = all.iter().filter(|source| machine.iter().all(|own| own.file != source.file));
        shared.flat_map(|source| &source.patterns).any(|tracked| tracked.pattern == *pattern)
    };
    for source in &machine {
        for tracked in source.patterns.iter().filter(|tracked| !is_shared(&tracked.pattern)) {
            let (pattern, file) = (&tracked.pattern, &source.file);
            problems.push(format!(
                "{file} makes {pattern} media on this machine alone: run `git dits track \"{pattern}\"` and commit .gitattributes"
            ));
        }
    }
    Ok(())
}

/// Where the hooks stand, in words.
fn hooks(here: &Here, repository: &Repository, problems: &mut Vec<String>) -> Result<Vec<HookFacts>, Failure> {
    let files = HookFiles::of(repository);
    let lacking = hooks::lacking(repository)
        .map_err(|error| Failure::new(format!("cannot read the hooks in {}", files.dir().display())).because(&error))?;
    if !lacking.is_empty() && media_files::has_patterns(&here.git, repository)? {
        let names = lacking.iter().map(|hook| hook.name()).collect::<Vec<_>>().join(", ");
        problems.push(match &files {
            HookFiles::Theirs(dir) => format!(
                "{} has no call of Dits in {names}: `git dits install --manual` prints the lines to add",
                dir.display()
            ),
            HookFiles::Own(_) => format!("these hooks are missing: {names}: run `git dits install` here"),
        });
    }
    let place = |hook: Hook| match (lacking.contains(&hook), hooks::is_configured(repository, hook)) {
        (true, _) => "none".to_owned(),
        (false, true) => "in git's configuration".to_owned(),
        (false, false) => files.dir().join(hook.name()).display().to_string(),
    };
    Ok(Hook::ALL.map(|hook| HookFacts { hook: hook.name(), place: place(hook) }).into())
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
    for problem in &facts.problems {
        row("problem", problem)?;
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
