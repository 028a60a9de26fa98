//! Git, run on a share: a repository that others can write to, its config and hooks included.
//!
//! **For:** fetching from `dits::/path` and pushing to it.
//!
//! **May touch:** git children; the share's config, to read; a folder of hooks in the user's cache.
//!
//! **Must hold:** a share that belongs to another user makes this machine run no command: none of its
//! hooks, and nothing that its config names, as long as the config stays as it was when it was read: who changes
//! it between that and git's own look gains what [`NO_COMMANDS`] does not switch off. Git makes no reflog there;
//! it still adds to one that exists, wherever a symlink leads. `docs/decisions/0030-shares-of-others.md`.

use std::ffi::OsString;
use std::path::Path;

use dits_core::remote::local;
use dits_core::repo::git_program::GitProgram;

use crate::far_end::{Service, object_format};
use crate::here::Here;
use dits_core::failure::Failure;

/// What the config of another user's share may hold: none of it names a command, a file or an address.
const KEYS: [&str; 22] = [
    "core.repositoryformatversion",
    "core.filemode",
    "core.bare",
    "core.ignorecase",
    "core.precomposeunicode",
    "core.symlinks",
    "core.sharedrepository",
    "core.logallrefupdates",
    "core.compression",
    "core.bigfilethreshold",
    "extensions.objectformat",
    "extensions.refstorage",
    "receive.denynonfastforwards",
    "receive.denydeletes",
    "receive.fsckobjects",
    "receive.unpacklimit",
    "transfer.fsckobjects",
    "transfer.unpacklimit",
    "uploadpack.allowfilter",
    "uploadpack.allowanysha1inwant",
    "pack.threads",
    "pack.windowmemory",
];

/// Said on the command line too, since a config may change after it was read.
const NO_COMMANDS: [&str; 11] = [
    "core.bare=true",
    "core.fsmonitor=false",
    "core.alternateRefsCommand=",
    "core.logAllRefUpdates=false",
    "receive.autogc=false",
    "receive.denyCurrentBranch=refuse",
    "gpg.program=false",
    "gpg.openpgp.program=false",
    "gpg.x509.program=false",
    "gpg.ssh.program=false",
    "protocol.allow=never",
];

/// Git for the share at `path`, the share being made by its first push.
pub fn open(path: &Path, service: Service, here: &Here) -> Result<GitProgram, Failure> {
    let git = GitProgram::find(here.env())?;
    let is_push = service == Service::ReceivePack;
    let is_of_another = local::is_of_another(path);
    if is_push && !(is_of_another && local::is_repository(path)) {
        local::create(path, &git, object_format(service, here)?).map_err(|error| with_hint(error, path))?;
    } else if !local::is_repository(path) {
        return Err(local::ShareError::NotFound { path: path.to_owned() }.into());
    }
    // What was promised is fetched from where the share's config says, by what it says.
    let git = git.for_other(path).with_env("GIT_NO_LAZY_FETCH", "1");
    if !is_of_another {
        return Ok(git.with_config(setting("core.hooksPath=", &path.join("hooks"))));
    }
    check_config(path, &git)?;
    let hooks = here.env().cache_dir().ok_or_else(|| Failure::new("there is no home for hooks").hint("set HOME"))?;
    let hooks = hooks.join("share-hooks");
    if is_push {
        local::own_hooks(&hooks)?;
    }
    let git = NO_COMMANDS.into_iter().fold(git, |git, setting| git.with_config(setting));
    // Git before 2.46 compares with the name that it came by, and it is started in the share.
    let git = git.with_config(setting("safe.directory=", path)).with_config("safe.directory=.");
    Ok(git.with_config(setting("core.hooksPath=", &hooks)))
}

fn setting(key: &str, value: &Path) -> OsString {
    let mut setting = OsString::from(key);
    setting.push(value);
    setting
}

fn check_config(path: &Path, git: &GitProgram) -> Result<(), Failure> {
    let config = path.join("config");
    let args = ["config", "--null", "--name-only", "--list", "--no-includes", "--file"].map(OsString::from);
    let keys = git.capture(args.into_iter().chain([config.clone().into()]))?;
    let keys = keys.split(|byte| *byte == 0).filter(|key| !key.is_empty());
    match keys.map(String::from_utf8_lossy).find(|key| !KEYS.contains(&key.to_ascii_lowercase().as_str())) {
        None => Ok(()),
        Some(key) => Err(Failure::refused(format!("cannot use the share at {}", path.display()))
            .caused_by(format!("it belongs to another user, and its config sets {key}, which could run a command here"))
            .hint(format!("ask its owner to run `git config --file {} --unset-all {key}`", config.display()))),
    }
}

fn with_hint(error: local::ShareError, path: &Path) -> Failure {
    let is_hook = matches!(error, local::ShareError::Hook { .. });
    let failure = Failure::from(error);
    match is_hook {
        false => failure,
        true => failure
            .hint(format!("have {} call `{}` and end with its exit status", hook_of(path), local::HOOK_CALL))
            .hint("or move it away: the next push puts the one of Dits there"),
    }
}

fn hook_of(path: &Path) -> String {
    path.join("hooks/pre-receive").display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dits_core::git_index::ObjectFormat;
    use dits_core::repo::environment::Environment;

    #[test]
    fn a_config_that_could_run_a_command_is_not_used() {
        let dir = tempfile::tempdir().expect("a folder");
        let git = GitProgram::find(&Environment::new(std::env::vars_os())).expect("git is installed");
        local::create(dir.path(), &git, ObjectFormat::Sha1).expect("made");
        let git = git.for_other(dir.path());
        assert!(check_config(dir.path(), &git).is_ok(), "as git makes it");
        for key in ["core.fsmonitor", "hook.x.command", "remote.a.uploadpack", "include.path", "core.worktree"] {
            git.run(["config", key, "/tmp/evil"]).expect("set");
            let refused = check_config(dir.path(), &git).expect_err("refused");
            assert!(refused.text().contains(key), "{}", refused.text());
            git.run(["config", "--unset-all", key]).expect("unset");
        }
        assert!(check_config(dir.path(), &git).is_ok());
    }
}
