//! The tools that are compared, each behind real git, and the servers they push to.
//!
//! **For:** workloads that do the same with each tool in turn.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::measure::{MIB, must};
use super::media;

/// A way to keep a large file out of git's objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// A filter that drains its input.
    Null,
    /// Dits.
    Dits,
    /// git-lfs as it is installed.
    Lfs,
    /// hf-xet on its local store: no git, no network.
    Xet,
}

impl Tool {
    /// The tool's name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Tool::Null => "null",
            Tool::Dits => "Dits",
            Tool::Lfs => "git-lfs",
            Tool::Xet => "hf-xet",
        }
    }
}

/// Where and with what the bench runs.
pub struct Bench {
    /// An empty directory of this run, on tmpfs unless told otherwise.
    pub dir: PathBuf,
    /// How often each measurement is taken.
    pub reps: usize,
    bin: PathBuf,
    null_filter: PathBuf,
    xet: Option<PathBuf>,
    rudolfs: Option<PathBuf>,
}

impl Bench {
    /// Builds the programs, makes the directory, and warms the memory behind it.
    pub fn prepare() -> Bench {
        let var = |name: &str| std::env::var_os(name).map(PathBuf::from);
        must(Command::new(env!("CARGO")).args(["build", "--release", "--workspace", "--bins"]));
        let own = std::env::current_exe().expect("a running program has a path");
        let bin = own.ancestors().nth(2).expect("benches lie in target/release/deps").to_owned();
        let base = var("DITS_BENCH_DIR").unwrap_or_else(|| "/dev/shm".into());
        let dir = base.join(format!("dits-bench-{}", std::process::id()));
        fs::create_dir_all(dir.join("home")).expect("the bench directory can be made");
        let bench = Bench {
            reps: std::env::var("DITS_BENCH_REPS").ok().and_then(|reps| reps.parse().ok()).unwrap_or(5),
            null_filter: bin.join("null-filter"),
            xet: var("DITS_BENCH_XET"),
            rudolfs: var("DITS_BENCH_RUDOLFS"),
            bin,
            dir,
        };
        // Memory that was never touched is slow the first time, whoever touches it.
        let warm = bench.dir.join("warm");
        media::incompressible(&warm, 6 * 1024 * MIB, 0);
        fs::remove_file(warm).expect("it was just made");
        must(bench.command("git", &bench.dir).args(["dits", "install"]));
        // A commit of many files would start one in the background: it disturbs what is measured, and git-lfs
        // then finds objects missing that were just packed.
        must(bench.command("git", &bench.dir).args(["config", "--global", "gc.auto", "0"]));
        bench
    }

    /// The tools that clean content through git, and are there.
    pub fn filters(&self) -> Vec<Tool> {
        let mut tools = vec![Tool::Null, Tool::Dits];
        if self.has_lfs() {
            tools.push(Tool::Lfs);
        }
        tools
    }

    /// Returns true if git-lfs is installed.
    pub fn has_lfs(&self) -> bool {
        self.command("git", &self.dir).args(["lfs", "version"]).output().is_ok_and(|output| output.status.success())
    }

    /// Returns true if a server for git-lfs was named.
    pub fn has_lfs_server(&self) -> bool {
        self.rudolfs.is_some()
    }

    /// Returns true if hf-xet was named.
    pub fn has_xet(&self) -> bool {
        self.xet.is_some()
    }

    /// A command in the bench's own clean environment, our programs first on its PATH.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>, dir: &Path) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::iter::once(self.bin.clone()).chain(std::env::split_paths(&path)));
        let home = self.dir.join("home");
        command.current_dir(dir).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("GIT_") || name.to_string_lossy().starts_with("XDG_") {
                command.env_remove(name);
            }
        }
        command.env("PATH", path.expect("no directory has a colon")).env("HOME", &home);
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
        for (name, value) in [("NAME", "Bench"), ("EMAIL", "bench@example.org")] {
            command.env(format!("GIT_AUTHOR_{name}"), value).env(format!("GIT_COMMITTER_{name}"), value);
        }
        command
    }

    /// `git` in a repository.
    pub fn git(&self, repo: &Path, args: &[&str]) -> Command {
        let mut command = self.command("git", repo);
        command.args(args);
        command
    }

    /// Makes a repository in which every file named `*.{endings}` goes through the tool.
    pub fn repository(&self, tool: Tool, name: &str, endings: &[&str]) -> PathBuf {
        let repo = self.dir.join(name);
        must(self.command("git", &self.dir).args(["init", "-q", "-b", "main"]).arg(&repo));
        let attribute = match tool {
            Tool::Null => "filter=null -text",
            Tool::Dits => "filter=dits diff=dits -merge -text",
            Tool::Lfs => "filter=lfs diff=lfs merge=lfs -text",
            Tool::Xet => panic!("hf-xet has no repositories"),
        };
        let lines: String = endings.iter().map(|ending| format!("*.{ending} {attribute}\n")).collect();
        fs::write(repo.join(".gitattributes"), lines).expect("the repository was just made");
        match tool {
            Tool::Lfs => drop(must(&mut self.git(&repo, &["lfs", "install", "--local"]))),
            Tool::Dits => drop(must(&mut self.git(&repo, &["dits", "install"]))),
            Tool::Null | Tool::Xet => {}
        }
        for (key, value) in self.settings(tool) {
            must(&mut self.git(&repo, &["config", key, &value]));
        }
        must(&mut self.git(&repo, &["add", ".gitattributes"]));
        must(&mut self.git(&repo, &["commit", "-qm", "attributes"]));
        repo
    }

    /// What git is told so that the tool works in a repository.
    fn settings(&self, tool: Tool) -> Vec<(&'static str, String)> {
        let yes = || "true".to_owned();
        match tool {
            Tool::Null => {
                let program = self.null_filter.to_string_lossy().into_owned();
                vec![("filter.null.process", program), ("filter.null.required", yes())]
            }
            Tool::Lfs => vec![
                ("filter.lfs.process", "git-lfs filter-process".to_owned()),
                ("filter.lfs.required", yes()),
                ("lfs.locksverify", "false".to_owned()),
            ],
            Tool::Dits | Tool::Xet => Vec::new(),
        }
    }

    /// A place on this machine that the tool pushes to and clones from; `None` if its server is not there.
    pub fn remote(&self, tool: Tool, name: &str) -> Option<Remote> {
        let bare = self.dir.join(format!("{name}.git"));
        let (server, url, settings) = match tool {
            Tool::Dits => {
                let server = self.ditsd(name);
                let url = format!("dits://{}/film", server.address);
                (Some(server), url, self.settings(tool))
            }
            Tool::Lfs => {
                let server = self.rudolfs(name)?;
                let lfs = format!("http://{}/api/bench/film", server.address);
                let settings = [self.settings(tool), vec![("lfs.url", lfs)]].concat();
                (Some(server), bare.to_string_lossy().into_owned(), settings)
            }
            Tool::Null | Tool::Xet => (None, bare.to_string_lossy().into_owned(), self.settings(tool)),
        };
        if tool != Tool::Dits {
            must(self.command("git", &self.dir).args(["init", "-q", "--bare", "-b", "main"]).arg(&bare));
        }
        Some(Remote { server, url, bare, settings })
    }

    /// Stores files in an hf-xet store.
    pub fn xet_add(&self, store: &Path, files: &[&Path]) -> Command {
        let python = self.xet.as_ref().expect("the caller asked has_xet");
        let mut command = self.command(python, &self.dir);
        command.arg("-c").arg(
            "import sys, hf_xet\nhf_xet.upload_files(sys.argv[2:], 'local://' + sys.argv[1], None, None, None, None)",
        );
        command.arg(store).args(files);
        command
    }

    /// Starts a `ditsd` with an empty root.
    pub fn ditsd(&self, name: &str) -> Server {
        let root = self.dir.join(name);
        let mut command = self.command("ditsd", &self.dir);
        command.arg("serve").arg("--root").arg(&root).args(["--listen", "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("ditsd can be started");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it was piped");
        BufReader::new(stdout).read_line(&mut line).expect("ditsd prints a ready line");
        let address = line.strip_prefix("ditsd ready on ").and_then(|rest| rest.split_whitespace().next());
        let address = address.unwrap_or_else(|| panic!("no address in {line:?}")).to_owned();
        Server { child, root, address }
    }

    /// Starts an LFS server with an empty root; `None` if there is no program for one.
    fn rudolfs(&self, name: &str) -> Option<Server> {
        let root = self.dir.join(name);
        let port = std::net::TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
        let address = format!("127.0.0.1:{port}");
        let mut command = self.command(self.rudolfs.as_ref()?, &self.dir);
        command.args(["--host", &address, "local", "--path"]).arg(&root);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("rudolfs can be started");
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(&address).is_err() {
            assert!(Instant::now() < deadline, "rudolfs does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Server { child, root, address })
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Where a tool's repositories are pushed to.
pub struct Remote {
    server: Option<Server>,
    /// Its address for git.
    pub url: String,
    bare: PathBuf,
    settings: Vec<(&'static str, String)>,
}

impl Remote {
    /// Makes it the origin of a repository.
    pub fn add_to(&self, bench: &Bench, repo: &Path) {
        for (key, value) in &self.settings {
            must(&mut bench.git(repo, &["config", key, value]));
        }
        must(&mut bench.git(repo, &["remote", "add", "origin", &self.url]));
    }

    /// `git clone` of it into a new directory.
    pub fn clone(&self, bench: &Bench, to: &Path) -> Command {
        let mut command = bench.command("git", &bench.dir);
        for (key, value) in &self.settings {
            command.arg("-c").arg(format!("{key}={value}"));
        }
        command.args(["clone", "-q", &self.url]).arg(to);
        command
    }

    /// Stops its server, if it has one, and removes what it stored.
    pub fn remove(self) {
        let _ = fs::remove_dir_all(&self.bare);
        if let Some(server) = self.server {
            let root = server.root.clone();
            server.stop();
            let _ = fs::remove_dir_all(root);
        }
    }
}

/// A running server of the bench's own.
pub struct Server {
    child: Child,
    /// What it stores.
    pub root: PathBuf,
    /// `host:port`.
    pub address: String,
}

impl Server {
    /// Ends the server in the way it is meant to be ended.
    pub fn stop(mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
