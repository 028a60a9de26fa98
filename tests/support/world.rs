//! A user's machine of a test's own: home, configuration, programs, folders.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{Call, Repo, Server, programs};

/// One user with an empty home, and Dits installed.
pub struct World {
    dir: TempDir,
    env: Vec<(&'static str, OsString)>,
}

const GITCONFIG: &str = "\
[user]
\tname = A Tester
\temail = tester@example.org
[init]
\tdefaultBranch = main
[advice]
\tdetachedHead = false
[protocol \"file\"]
\tallow = always
[gc]
\tauto = 0
";

impl World {
    /// Makes a world in which `git dits install` has been run.
    pub fn new() -> World {
        let world = World::without_dits();
        world.git(&["dits", "install", "--skip-repo"]).ok();
        world
    }

    /// Makes a world whose user has never run `git dits install`.
    pub fn without_dits() -> World {
        let dir = tempfile::Builder::new().prefix("dits-test-").tempdir().expect("a temporary folder can be made");
        let home = dir.path().join("home");
        fs::create_dir(&home).expect("the folder is empty");
        fs::write(home.join(".gitconfig"), GITCONFIG).expect("the folder is ours");
        let env = environment(&home, dir.path());
        World { dir, env }
    }

    /// The world's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The user's home.
    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// A call of a program with this world's environment, in this world's folder.
    pub fn call(&self, program: &str) -> Call {
        let env = self.env.iter().map(|(name, value)| (*name, value.as_os_str()));
        Call::new(program, env).dir(self.dir.path())
    }

    /// A `PATH` with a git that does something in a shell before one of its commands. Made once in a world.
    pub fn path_with_git_that(&self, before: &str, does: &str) -> OsString {
        let real = self.call("sh").args(["-c", "command -v git"]).run().ok();
        let own = self.path("own-git");
        fs::create_dir(&own).expect("there is none yet");
        let script = format!("#!/bin/sh\ncase \" $* \" in *\" {before} \"*) {does};; esac\nexec {real} \"$@\"\n");
        fs::write(own.join("git"), script).expect("the folder is ours");
        fs::set_permissions(own.join("git"), PermissionsExt::from_mode(0o755)).expect("the file is ours");
        let (_, path) = self.env.iter().find(|(name, _)| *name == "PATH").expect("every world has one");
        std::env::join_paths([own].into_iter().chain(std::env::split_paths(path))).expect("they were joined before")
    }

    /// Runs git in this world's folder.
    pub fn git(&self, args: &[&str]) -> crate::Done {
        self.call("git").args(args).run()
    }

    /// Makes a repository in which `*.bin` and `*.mp4` are media, that being committed.
    pub fn repo(&self, name: &str) -> Repo<'_> {
        self.repo_of("sha1", name, &["*.bin", "*.mp4", "*.mov"])
    }

    /// Makes a repository whose objects are named by `object_format`, in which `patterns` are media, that being committed.
    pub fn repo_of(&self, object_format: &str, name: &str, patterns: &[&str]) -> Repo<'_> {
        self.git(&["init", "-q", "--object-format", object_format, name]).ok();
        let repo = Repo::at(self, self.path(name));
        repo.git(&[&["dits", "track"], patterns].concat()).ok();
        repo.commit("media are tracked");
        repo
    }

    /// Makes an empty bare repository, as any git host has them.
    pub fn bare(&self, name: &str) -> PathBuf {
        self.git(&["init", "-q", "--bare", name]).ok();
        self.path(name)
    }

    /// Clones `url` into a folder of this world.
    pub fn clone_of(&self, url: &str, name: &str) -> Repo<'_> {
        self.git(&["clone", "-q", url, name]).ok();
        Repo::at(self, self.path(name))
    }

    /// Starts a server on a root of its own in this world.
    pub fn serve(&self) -> Server {
        Server::start(self, &self.path("server"), &[])
    }
}

impl Default for World {
    fn default() -> World {
        World::new()
    }
}

fn environment(home: &Path, dir: &Path) -> Vec<(&'static str, OsString)> {
    let mut path = vec![programs::folder().to_owned()];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let path = std::env::join_paths(path).expect("folders of a PATH can be joined again");
    let text = |text: &str| OsStr::new(text).to_owned();
    vec![
        ("PATH", path),
        ("HOME", home.into()),
        ("XDG_CONFIG_HOME", home.join(".config").into()),
        ("XDG_CACHE_HOME", home.join(".cache").into()),
        ("XDG_DATA_HOME", home.join(".local/share").into()),
        ("XDG_STATE_HOME", home.join(".local/state").into()),
        ("XDG_RUNTIME_DIR", dir.join("run").into()),
        ("TMPDIR", dir.into()),
        ("LC_ALL", text("C.UTF-8")),
        ("TZ", text("UTC")),
        ("GIT_CONFIG_GLOBAL", home.join(".gitconfig").into()),
        ("GIT_CONFIG_NOSYSTEM", text("1")),
        ("GIT_TERMINAL_PROMPT", text("0")),
        ("GIT_AUTHOR_DATE", text("2026-01-01T12:00:00Z")),
        ("GIT_COMMITTER_DATE", text("2026-01-01T12:00:00Z")),
        ("RUST_BACKTRACE", text("1")),
    ]
}
