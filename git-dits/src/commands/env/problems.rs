//! What is wrong with how Dits is set up, each with one line that mends it.
//!
//! **For:** `git dits env`, as a doctor.
//!
//! **May touch:** nothing; it reads configuration, hooks, git's index and the places of programs.
//!
//! **Must hold:** every problem comes with the way to mend it; a check that fails is a problem and hides no other.

use std::path::Path;

use bstr::{BString, ByteSlice};
use dits_core::repo::Repository;
use dits_core::repo::config::{self, Committed, UrlDecision, decide_url};
use dits_core::repo::hooks::{self, Hook, HookFiles};
use dits_core::repo::{index_stat, stores, unsynced};
use serde::Serialize;

use super::attributes;
use crate::filter_config;
use crate::git::{self, GitVersion};
use crate::here::Here;
use crate::media_files;
use crate::programs::{HELPER, Programs, shell_word};
use crate::report::Failure;

/// Where programs with windows look for others, at least.
const BARE_PATH: [&str; 4] = ["/usr/local/bin", "/usr/bin", "/bin", "/opt/homebrew/bin"];

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What it is.
    pub what: String,
    /// What to do about it.
    pub mend: String,
    /// Whether something does not work; else it may surprise somebody.
    pub broken: bool,
}

/// All that was found.
#[derive(Default)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Something does not work.
    pub fn broken(&mut self, what: impl Into<String>, mend: impl Into<String>) {
        self.0.push(Problem { what: what.into(), mend: mend.into(), broken: true });
    }

    /// Something may surprise somebody.
    pub fn odd(&mut self, what: impl Into<String>, mend: impl Into<String>) {
        self.0.push(Problem { what: what.into(), mend: mend.into(), broken: false });
    }

    /// Takes a check that could not be made for a problem, too.
    fn unless(&mut self, name: &str, check: Result<(), Failure>) {
        if let Err(failure) = check {
            self.broken(format!("cannot check {name}: {}", failure.line()), "mend what it names");
        }
    }
}

/// Looks for problems of this machine and user.
pub fn of_machine(here: &Here, programs: &Programs, helper: Option<&Path>, problems: &mut Problems) {
    check_helper(here, programs, helper, problems);
    let checked = check_filter(here, programs, problems);
    problems.unless("the filter's settings", checked);
}

/// Looks for problems of this repository.
pub fn of_repository(here: &Here, repository: &Repository, programs: &Programs, problems: &mut Problems) {
    check_keys(repository, problems);
    check_settings(repository, problems);
    if repository.work_tree().is_none() {
        return;
    }
    let checked = check_hooks(here, repository, programs, problems);
    problems.unless("the hooks", checked);
    let checked = attributes::check(here, repository, problems);
    problems.unless("the attributes", checked);
    check_index(repository, problems);
}

/// Git has to find the helper by itself.
fn check_helper(here: &Here, programs: &Programs, helper: Option<&Path>, problems: &mut Problems) {
    let link = match (programs.helper_beside(), git::path(&here.git, &["--exec-path"])) {
        (Some(beside), Ok(exec_path)) => format!("sudo ln -s {} {}/", beside.display(), exec_path.display()),
        _ => format!("put {HELPER} beside {}", programs.porcelain.display()),
    };
    match helper {
        None => problems.broken(format!("git does not find {HELPER}, so `dits://` addresses do not work"), link),
        Some(helper) => {
            let dir = helper.parent().unwrap_or(Path::new("/"));
            let is_in_exec_path = git::path(&here.git, &["--exec-path"]).is_ok_and(|exec_path| dir == exec_path);
            if !is_in_exec_path && !BARE_PATH.iter().any(|known| dir == Path::new(known)) {
                let what = format!("{HELPER} is in {}, where programs with windows may not look", dir.display());
                problems.odd(what, link);
            }
        }
    }
}

/// Compares what git is told to run with what is on this machine.
fn check_filter(here: &Here, programs: &Programs, problems: &mut Problems) -> Result<(), Failure> {
    const MEND: &str = "run `git dits install`";
    for line in filter_config::lines(programs) {
        match filter_config::effective(&here.git, line.key)? {
            None => problems.broken(format!("{} is not set", line.key), MEND),
            Some(value) if value == line.value => {}
            Some(value) => match program_of(&value) {
                Some(program) if !Path::new(&program).is_file() => {
                    problems.broken(format!("{} names {program}, which is gone", line.key), MEND);
                }
                _ => problems.broken(
                    format!("{} is {:?}, not {:?}", line.key, value.to_str_lossy(), line.value.to_str_lossy()),
                    "run `git dits install`; if that says it is set already, take it out of the file that \
                     `git config --show-origin --get-all KEY` names",
                ),
            },
        }
    }
    if filter_config::effective(&here.git, "diff.dits.textconv")?.is_some() {
        problems.odd(
            "diff.dits.textconv makes git pass whole files through memory for each diff",
            "unset it; `git dits diff` shows what changed",
        );
    }
    Ok(())
}

/// The absolute path that a command line begins with, if it does.
fn program_of(command: &BString) -> Option<String> {
    let text = command.to_str_lossy();
    let program = match text.strip_prefix('\'') {
        // As `shell_quoted` writes it.
        Some(rest) => rest.replace("'\\''", "\u{0}").split('\'').next()?.replace('\u{0}', "'"),
        None => text.split_whitespace().next()?.to_owned(),
    };
    Path::new(&program).is_absolute().then_some(program)
}

/// A key that nothing reads is a typing error, most likely.
fn check_keys(repository: &Repository, problems: &mut Problems) {
    for key in repository.config().keys_of("dits") {
        if !config::KEYS.iter().any(|known| known.eq_ignore_ascii_case(&key)) {
            let near = config::KEYS.iter().min_by_key(|known| distance(known, &key));
            let near = near.map_or(String::new(), |near| format!("; is {near} meant?"));
            problems.odd(format!("nothing reads {key}{near}"), format!("run `git config --unset-all {key}`"));
        }
    }
}

/// How many letters differ, roughly.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_ascii_lowercase(), b.to_ascii_lowercase());
    let count = |text: &str, letter: char| text.chars().filter(|it| *it == letter).count();
    ('a'..='z').map(|letter| count(&a, letter).abs_diff(count(&b, letter))).sum()
}

fn check_settings(repository: &Repository, problems: &mut Problems) {
    let settings = match repository.settings() {
        Ok(settings) => settings,
        Err(error) => {
            let failure = Failure::from(error);
            problems.broken(failure.line(), "set it to a value that docs/guide/configuration.md names, or unset it");
            return;
        }
    };
    if let Ok(Some(why)) = unsynced::check(&stores::store_options(repository, &settings).dir) {
        let mend = "make room or mend the disk, then `git add --renormalize .`";
        problems.broken(format!("the store could not be synced: {why}"), mend);
    }
    match Committed::read(repository).map(|committed| decide_url(&settings, &committed)) {
        Ok(UrlDecision::Unconfirmed { committed }) => problems.odd(
            format!(".ditsconfig proposes {committed}, which is not confirmed"),
            format!("if it is right, run `git config dits.url {committed}`"),
        ),
        Ok(UrlDecision::Changed { confirmed, committed }) => problems.odd(
            format!(".ditsconfig now proposes {committed} in place of {confirmed}"),
            format!("run `git config dits.committedUrl {committed}`, and `git config dits.url {committed}` to use it"),
        ),
        Ok(UrlDecision::None | UrlDecision::Use(_)) => {}
        Err(error) => problems.broken(Failure::from(error).line(), "mend .ditsconfig"),
    }
    if repository.config().is_true("merge.renormalize") {
        let mend = "run `git config --unset merge.renormalize`";
        problems.odd("merge.renormalize sends whole files through memory", mend);
    }
}

/// Whether git runs our hooks, and whether they lead to this program.
fn check_hooks(
    here: &Here,
    repository: &Repository,
    programs: &Programs,
    problems: &mut Problems,
) -> Result<(), Failure> {
    if !media_files::has_patterns(&here.git, repository)? {
        return Ok(());
    }
    let files = HookFiles::of(repository);
    let lacking = hooks::lacking(repository)
        .map_err(|error| Failure::new(format!("cannot read the hooks in {}", files.dir().display())).because(&error))?;
    let reads_config = GitVersion::of(&here.git)?.is_some_and(|version| version >= GitVersion::CONFIG_HOOKS);
    let is_unread = |hook: &Hook| hooks::is_configured(repository, *hook) && !reads_config;
    let unread = Hook::ALL.into_iter().filter(|hook| is_unread(hook) && !files.have(*hook).unwrap_or(false));
    let lacking: Vec<Hook> = lacking.into_iter().chain(unread).collect();
    if !lacking.is_empty() {
        let names = lacking.iter().map(|hook| hook.name()).collect::<Vec<_>>().join(", ");
        match (&files, repository.settings().is_ok_and(|settings| !settings.installs_hooks)) {
            (_, true) => problems.odd(
                format!("these hooks are missing, as {} wants: {names}", config::INSTALL_HOOKS),
                format!("run `git config --unset {}`, then `git dits install` here", config::INSTALL_HOOKS),
            ),
            (HookFiles::Theirs(dir), _) => problems.broken(
                format!("core.hooksPath names {}, where Dits is not called: {names}", dir.display()),
                "add the lines that `git dits install --manual` prints",
            ),
            (HookFiles::Own(_), _) => {
                problems.broken(format!("these hooks are missing: {names}"), "run `git dits install` here");
            }
        }
    }
    let HookFiles::Own(dir) = &files else { return Ok(()) };
    for hook in Hook::ALL {
        let text = std::fs::read(dir.join(hook.name())).unwrap_or_default();
        if hooks::is_ours(&text) && !text.contains_str(shell_word(programs.porcelain.as_os_str().as_encoded_bytes())) {
            let what = format!("the {} hook calls another git-dits than this one", hook.name());
            problems.broken(what, "run `git dits install` here");
        }
    }
    Ok(())
}

/// An index in two files is left alone when files are hydrated.
fn check_index(repository: &Repository, problems: &mut Problems) {
    // A file `sharedindex.*` says nothing: git leaves it for two weeks after the index is one file again.
    if index_stat::is_split(repository) || repository.config().is_true("core.splitIndex") {
        problems.odd(
            "git's index is split, so that git asks the filter about each hydrated file once",
            "run `git config core.splitIndex false && git update-index --no-split-index`",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_of_a_command_is_found_through_quotes() {
        for (command, program) in [
            ("/usr/bin/git-dits-filter process", Some("/usr/bin/git-dits-filter")),
            ("'/my tools/it'\\''s/git-dits-filter' clean %f", Some("/my tools/it's/git-dits-filter")),
            ("git-dits-filter process", None),
            ("", None),
        ] {
            assert_eq!(program_of(&command.into()).as_deref(), program, "{command}");
        }
    }

    #[test]
    fn every_key_stands_on_the_page_of_settings() {
        let page = include_str!("../../../../docs/guide/configuration.md");
        let keys = page.lines().filter_map(|line| line.strip_prefix("| `dits.")?.split('`').next());
        let mut keys: Vec<String> = keys.map(|key| format!("dits.{key}")).collect();
        let mut known = config::KEYS.map(str::to_owned);
        keys.sort();
        known.sort();
        assert_eq!(keys, known);
    }

    #[test]
    fn the_key_that_was_meant_is_the_nearest() {
        let near = |key: &str| config::KEYS.into_iter().min_by_key(|known| distance(known, key));
        assert_eq!(near("dits.fetchexlude"), Some(config::FETCH_EXCLUDE));
        assert_eq!(near("dits.onmising"), Some(config::ON_MISSING));
    }
}
