//! The text of a hook: a few lines of shell that call this program.
//!
//! **For:** hook files and hooks in git's configuration.
//!
//! **May touch:** nothing.
//!
//! **Must hold:** a program that is gone is named, with the way to mend it; what may refuse then
//! refuses, the rest only warns.

use std::path::Path;

use bstr::{BString, ByteSlice};
use dits_core::repo::hooks::Hook;

use crate::programs::shell_quoted;

const FILE: &str = include_str!("../../../hooks/work-tree");

/// What is done without the program: refuse, or run what was there before alone.
fn otherwise(hook: Hook) -> &'static str {
    match hook.may_refuse() {
        true => "exit 1",
        false => "[ ! -x \"$0.before-dits\" ] || exec \"$0.before-dits\" \"$@\"",
    }
}

fn kind(hook: Hook) -> &'static str {
    if hook.may_refuse() { "error" } else { "warning" }
}

/// The text of a hook file.
pub fn file(hook: Hook, porcelain: &Path) -> BString {
    let text = FILE.as_bytes().replace("@HOOK@", hook.name()).replace("@KIND@", kind(hook));
    let text = text.replace("@OTHERWISE@", otherwise(hook));
    text.replace("@GIT_DITS@", shell_quoted(porcelain)).into()
}

/// The command of a hook in git's configuration, to which git adds `"$@"`.
pub fn command(hook: Hook, porcelain: &Path) -> BString {
    let (name, kind, program) = (hook.name(), kind(hook), shell_quoted(porcelain));
    let status = if hook.may_refuse() { 1 } else { 0 };
    let lost = format!(
        "printf '%s\\n' \"{kind}: the {name} hook of Dits has lost its program: \"{program} \
         \"hint: put Dits back and run 'git dits install' here, or 'git config --remove-section hook.dits-{name}'\" >&2"
    );
    format!("f() {{ [ -x {program} ] && exec {program} hook {name} \"$@\"; {lost}; exit {status}; }}; f").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_hook_whose_program_is_gone_says_so_and_how_to_mend_it() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for hook in Hook::ALL {
            let path = dir.path().join(hook.name());
            std::fs::write(&path, file(hook, Path::new("/no where/it's/git-dits"))).expect("written");
            let as_file = Command::new("sh").arg(&path).args(["origin", "url"]).output().expect("sh runs");
            let command = command(hook, Path::new("/no where/it's/git-dits")).to_string();
            // As git runs it: with its arguments behind.
            let shell = format!("{command} \"$@\"");
            let in_config =
                Command::new("sh").args(["-c", &shell, &command, "origin", "url"]).output().expect("sh runs");
            for output in [as_file, in_config] {
                assert_eq!(output.status.success(), !hook.may_refuse());
                let said = String::from_utf8(output.stderr).expect("text");
                assert_eq!(said.lines().count(), 2, "{said}");
                assert!(said.contains("has lost its program: /no where/it's/git-dits\nhint: put Dits back"), "{said}");
            }
        }
    }

    #[test]
    fn a_hook_calls_the_program_with_all_that_git_says() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let program = dir.path().join("my git-dits");
        std::fs::write(&program, "#!/bin/sh\nprintf '<%s>' \"$@\"; cat\n").expect("written");
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&program, executable).expect("set");
        let command = command(Hook::PrePush, &program).to_string();
        let text = file(Hook::PrePush, &program).to_string();
        for call in [format!("{command} \"$@\""), text] {
            let output = Command::new("sh").args(["-c", &call, "x", "a b", "$HOME"]).output().expect("sh runs");
            assert_eq!(String::from_utf8_lossy(&output.stdout), "<hook><pre-push><a b><$HOME>");
        }
    }
}
