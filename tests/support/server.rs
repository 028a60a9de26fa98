//! A real `ditsd`, for as long as a test needs it.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::{World, programs};

/// How long a server may take to start or to stop.
const TIME_MAX: Duration = Duration::from_secs(30);

/// A server that is running; it is killed when dropped.
pub struct Server {
    child: Child,
    root: PathBuf,
    log: PathBuf,
    port: u16,
    ready_line: String,
}

impl Server {
    /// Starts a server on `root`, with variables added to its environment.
    ///
    /// # Panics
    ///
    /// If it does not say that it is ready.
    pub fn start(world: &World, root: &Path, env: &[(&str, &str)]) -> Server {
        Server::start_on(world, root, 0, env)
    }

    /// Starts a server that listens on `port`, for one that takes the place of another.
    ///
    /// # Panics
    ///
    /// If it does not say that it is ready.
    pub fn start_on(world: &World, root: &Path, port: u16, env: &[(&str, &str)]) -> Server {
        Server::start_with(world, root, port, &[], env)
    }

    /// Starts a server with arguments added to its command line.
    ///
    /// # Panics
    ///
    /// If it does not say that it is ready.
    pub fn start_with(world: &World, root: &Path, port: u16, args: &[&str], env: &[(&str, &str)]) -> Server {
        let log = root.with_extension("log");
        let stderr = File::options().create(true).append(true).open(&log).expect("the folder is ours");
        let mut command = Command::new(programs::folder().join("ditsd"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", world.home()).env("RUST_BACKTRACE", "1").envs(env.iter().copied());
        command.arg("serve").arg("--root").arg(root).args(["--listen", &format!("127.0.0.1:{port}")]).args(args);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn().expect("it was built");
        let stdout = child.stdout.take().expect("it was piped");
        let mut server = Server { child, root: root.to_owned(), log, port: 0, ready_line: String::new() };
        let (send, ready) = mpsc::channel();
        // Reads on to the end, so that the server never writes into a closed pipe.
        thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).for_each(|line| drop(send.send(line)))
        });
        server.ready_line = ready.recv_timeout(TIME_MAX).unwrap_or_else(|_| panic!("no ready line: {}", server.log()));
        server.port = port_of(&server.ready_line);
        server
    }

    /// The address of a repository on this server.
    pub fn url(&self, repo: &str) -> String {
        format!("dits://127.0.0.1:{}/{repo}", self.port)
    }

    /// The port, TCP and UDP.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's process id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// What it said when it was ready.
    pub fn ready_line(&self) -> &str {
        &self.ready_line
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The bare repository of this name.
    pub fn bare(&self, repo: &str) -> PathBuf {
        self.root.join("repos").join(format!("{repo}.git"))
    }

    /// Everything it wrote to standard error.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends it as a power cut would.
    pub fn kill(mut self) {
        self.kill_now();
    }

    /// Asks it to stop, and returns how it ended.
    ///
    /// # Panics
    ///
    /// If it does not end.
    pub fn stop(self) -> ExitStatus {
        let _ = rustix::process::kill_process(self.pid(), Signal::TERM);
        self.wait()
    }

    /// Waits for it to end by itself, as at a step where it was told to be killed.
    ///
    /// # Panics
    ///
    /// If it does not end.
    pub fn wait(mut self) -> ExitStatus {
        let pid = self.pid();
        let (ended, wait) = mpsc::channel::<()>();
        let guard = thread::spawn(move || {
            let hangs = wait.recv_timeout(TIME_MAX) == Err(mpsc::RecvTimeoutError::Timeout);
            if hangs {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
            hangs
        });
        let status = self.child.wait().expect("it was started");
        drop(ended);
        assert!(!guard.join().expect("waiting does not panic"), "the server does not stop: {}", self.log());
        status
    }

    fn kill_now(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill_now();
        let log = self.log();
        if thread::panicking() {
            eprintln!("--- log of the server\n{log}");
        } else {
            assert!(!log.contains("panicked at"), "the server panicked:\n{log}");
        }
    }
}

fn port_of(line: &str) -> u16 {
    let digits = line.split_whitespace().find_map(|word| word.strip_prefix("127.0.0.1:"));
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("no ready line: {line:?}"))
}
