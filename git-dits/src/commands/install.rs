//! `git dits install`: makes git use Dits.
//!
//! **For:** once per user, and again after the programs moved.
//!
//! **May touch:** one git configuration file; the hooks of the repository around the current
//! directory, if it uses Dits.
//!
//! **Must hold:** a second run changes nothing. What it wrote it says, and `uninstall` undoes.

use bstr::ByteSlice;
use dits_core::repo::git_program::GitProgram;
use serde::Serialize;

use crate::filter_config::{self, Line, Present, Scope};
use crate::git::{self, GitVersion};
use crate::here::Here;
use crate::hook_files::{self, Outcome, Place};
use crate::media_files;
use crate::out::Out;
use crate::programs::{HELPER, Programs};
use crate::report::{self, EXIT_STATUSES, Failure};

/// Make git use Dits: the filter, `dits://` addresses, and hooks in repositories that use it
#[derive(clap::Args)]
#[command(after_help = EXIT_STATUSES)]
pub struct Args {
    #[command(flatten)]
    scope: ScopeArgs,
    /// Replace settings of the same name that Dits did not write
    #[arg(long)]
    force: bool,
    /// Leave the repository around the current directory alone
    #[arg(long)]
    skip_repo: bool,
    /// Write no hook file; print the line to add to a hook by hand
    #[arg(long)]
    manual: bool,
    /// Print the facts as JSON
    #[arg(long)]
    json: bool,
}

/// Which configuration file is meant; the user's own unless said otherwise
#[derive(clap::Args)]
#[group(multiple = false)]
pub struct ScopeArgs {
    /// The configuration of this repository only
    #[arg(long)]
    local: bool,
    /// The configuration of this work tree only
    #[arg(long)]
    worktree: bool,
    /// The configuration of the whole machine
    #[arg(long)]
    system: bool,
}

impl ScopeArgs {
    /// The scope that was asked for.
    pub fn scope(&self) -> Scope {
        match (self.local, self.worktree, self.system) {
            (true, _, _) => Scope::Local,
            (_, true, _) => Scope::Worktree,
            (_, _, true) => Scope::System,
            _ => Scope::Global,
        }
    }
}

#[derive(Serialize)]
struct Facts {
    scope: &'static str,
    settings: Vec<Setting>,
    pre_push: Option<Outcome>,
    helper: Option<String>,
}

#[derive(Serialize)]
struct Setting {
    key: &'static str,
    value: String,
    state: &'static str,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let here = Here::find()?;
    let programs = Programs::find()?;
    let scope = args.scope.scope();
    if matches!(scope, Scope::Local | Scope::Worktree) {
        here.repository()?;
    }
    let lines = filter_config::lines(&programs, GitVersion::of(&here.git)?);
    let settings = write(&here.git, scope, &lines, args.force)?;
    let pre_push = match args.skip_repo {
        true => None,
        false => install_hook(&here, &programs, args.manual)?,
    };
    let helper = Programs::helper_for_git(&here.git)?;
    let facts = Facts {
        scope: scope.name(),
        settings,
        pre_push,
        helper: helper.as_ref().map(|path| path.display().to_string()),
    };
    print(&facts, args.json)?;
    match helper {
        Some(_) => Ok(()),
        None => warn_of_missing_helper(&programs, &here),
    }
}

/// Writes all lines or, where one of somebody else stands in the way, none.
fn write(git: &GitProgram, scope: Scope, lines: &[Line], is_forced: bool) -> Result<Vec<Setting>, Failure> {
    let present = lines.iter().map(|line| Ok((line, filter_config::present(git, scope, line)?)));
    let present = present.collect::<Result<Vec<_>, Failure>>()?;
    let foreign = present.iter().find_map(|(line, present)| match present {
        Present::Foreign(value) => Some((line.key, value)),
        _ => None,
    });
    if let (Some((key, value)), false) = (foreign, is_forced) {
        return Err(Failure::refused(format!("{key} is already set to {:?}", value.to_str_lossy()))
            .hint("if Dits may replace it, run `git dits install --force`"));
    }
    let mut settings = Vec::new();
    for (line, present) in present {
        let state = match present {
            Present::Same => "unchanged",
            Present::Absent => "written",
            Present::Older | Present::Foreign(_) => "replaced",
        };
        if present != Present::Same {
            filter_config::write(git, scope, line)?;
        }
        settings.push(Setting { key: line.key, value: line.value.to_string(), state });
    }
    Ok(settings)
}

/// Puts the hook into the repository around the current directory, if it uses Dits.
///
/// Repositories that have nothing to do with media stay as they are.
fn install_hook(here: &Here, programs: &Programs, is_manual: bool) -> Result<Option<Outcome>, Failure> {
    match here.repository_if_any()? {
        Some(repository) if media_files::has_patterns(&here.git, &repository)? => {}
        _ => return Ok(None),
    }
    if is_manual {
        say_how_by_hand("the pre-push hook");
        return Ok(Some(Outcome::ByHand));
    }
    hook_of_repository(here, programs).map(Some)
}

/// Puts the hook into this repository and says what the user has to do, if anything.
pub fn hook_of_repository(here: &Here, programs: &Programs) -> Result<Outcome, Failure> {
    let place = hook_files::place_here(&here.git)?;
    let outcome = hook_files::install(&place, &programs.porcelain)?;
    if let (Outcome::ByHand, Place::Theirs(dir)) = (outcome, &place) {
        report::warn(&format!("core.hooksPath names {}, which Dits does not change", dir.display()));
        say_how_by_hand(&dir.join(hook_files::PRE_PUSH).display().to_string());
    }
    Ok(outcome)
}

fn say_how_by_hand(hook: &str) {
    report::hint(&format!("so that a push to another host uploads media, add this line to {hook}:"));
    report::hint("    git dits hook pre-push \"$@\"");
}

fn print(facts: &Facts, as_json: bool) -> Result<(), Failure> {
    let mut out = Out::lock();
    if as_json {
        out.json(facts)?;
        return out.finish();
    }
    for setting in &facts.settings {
        out.line(format_args!("{} {} = {}", setting.state, setting.key, setting.value))?;
    }
    match facts.pre_push {
        Some(Outcome::Installed) => out.line("written pre-push hook")?,
        Some(Outcome::Chained) => out.line("written pre-push hook, which runs the one that was there first")?,
        Some(Outcome::Unchanged) => out.line("unchanged pre-push hook")?,
        _ => {}
    }
    out.finish()
}

fn warn_of_missing_helper(programs: &Programs, here: &Here) -> Result<(), Failure> {
    report::warn(&format!("git does not find {HELPER}, so `dits://` addresses will not work"));
    let Some(helper) = programs.helper_beside() else {
        report::hint(&format!("put {HELPER} beside {}", programs.porcelain.display()));
        return Ok(());
    };
    let exec_path = git::path(&here.git, &["--exec-path"])?;
    let dir = helper.parent().unwrap_or(&helper);
    report::hint(&format!("add {} to your PATH", dir.display()));
    report::hint(&format!(
        "or, so that programs with windows find it too, run `sudo ln -s {} {}/`",
        helper.display(),
        exec_path.display()
    ));
    Ok(())
}
