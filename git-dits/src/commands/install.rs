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
use dits_core::repo::hooks::{Hook, HookFiles};
use serde::Serialize;

use crate::filter_config::{self, Line, Present, Scope};
use crate::git;
use crate::here::Here;
use crate::hooks::{self, Change, Outcome};
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
    /// Write no hook; print the lines to add to hooks by hand
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
    hooks: Vec<Change>,
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
    let settings = write(&here.git, scope, &filter_config::lines(&programs), args.force)?;
    let hooks = match args.skip_repo {
        true => Vec::new(),
        false => install_hooks(&here, &programs, args.manual)?,
    };
    let helper = Programs::helper_for_git(&here.git)?;
    let facts =
        Facts { scope: scope.name(), settings, hooks, helper: helper.as_ref().map(|path| path.display().to_string()) };
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

/// Puts the hooks into the repository around the current directory, if it uses Dits.
///
/// Repositories that have nothing to do with media stay as they are.
fn install_hooks(here: &Here, programs: &Programs, is_manual: bool) -> Result<Vec<Change>, Failure> {
    let repository = match here.repository_if_any()? {
        Some(repository) if media_files::has_patterns(&here.git, &repository)? => repository,
        _ => return Ok(Vec::new()),
    };
    if is_manual {
        hooks::say_by_hand(&HookFiles::of(&repository), &Hook::ALL);
        let by_hand = |hook: Hook| Change { hook: hook.name(), state: Outcome::ByHand };
        return Ok(Hook::ALL.map(by_hand).into());
    }
    hooks::install(here, &repository, programs)
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
    for Change { hook, state } in &facts.hooks {
        match state {
            Outcome::Installed => out.line(format_args!("written {hook} hook"))?,
            Outcome::Chained => out.line(format_args!("written {hook} hook, which runs the one that was there"))?,
            Outcome::InConfig => out.line(format_args!("written {hook} hook in the repository's configuration"))?,
            Outcome::Unchanged => out.line(format_args!("unchanged {hook} hook"))?,
            _ => {}
        }
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
