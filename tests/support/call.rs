//! Running a program, and what came of it.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::processes;

/// No call of a test takes this long unless it hangs.
const TIME_MAX: Duration = Duration::from_secs(240);
/// How long what a program started may take to notice that the program has ended.
const ENDING_TIME_MAX: Duration = Duration::from_secs(10);

/// A program about to be run.
pub struct Call {
    command: Command,
    input: Vec<u8>,
}

/// A call that is under way.
pub struct Running {
    text: String,
    child: Child,
    stdout: thread::JoinHandle<Vec<u8>>,
    stderr: thread::JoinHandle<Vec<u8>>,
}

/// What came of a call.
#[derive(Debug, Clone)]
pub struct Done {
    text: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
}

impl Call {
    /// Makes a call of `program` with exactly the environment given.
    pub fn new<'e>(program: impl AsRef<OsStr>, env: impl IntoIterator<Item = (&'e str, &'e OsStr)>) -> Call {
        let mut command = Command::new(program);
        command.env_clear().envs(env);
        Call { command, input: Vec::new() }
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Call {
        self.command.args(args);
        self
    }

    /// Sets the working directory.
    pub fn dir(mut self, dir: &Path) -> Call {
        self.command.current_dir(dir);
        self
    }

    /// Sets a variable of the environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Call {
        self.command.env(name, value);
        self
    }

    /// Asks for the program, or one it starts, to be killed at a step of a write order.
    pub fn stop_at(self, step: &str) -> Call {
        self.env("DITS_STOP_AT", step)
    }

    /// Asks for Ctrl-C to be pressed when the program, or one it starts, reaches a step of a write order.
    pub fn interrupt_at(self, step: &str) -> Call {
        self.env("DITS_STOP_AT", format!("interrupt@{step}"))
    }

    /// Asks for the program, or one it starts, to be stopped at a step of a write order until it is told to go on.
    pub fn pause_at(self, step: &str) -> Call {
        self.env("DITS_STOP_AT", format!("pause@{step}"))
    }

    /// Sets what the program reads from standard input.
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Call {
        self.input = input.into();
        self
    }

    /// Starts the program.
    pub fn start(mut self) -> Running {
        let text = format!("{:?}", self.command);
        // A group of its own, so that whatever it starts can be ended with it.
        self.command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("{text}: {error}"));
        let mut stdin = child.stdin.take().expect("it was piped");
        let input = self.input;
        // A program that does not read its input to the end is no failure of the test.
        thread::spawn(move || drop(stdin.write_all(&input)));
        let stdout = gather(child.stdout.take().expect("it was piped"));
        let stderr = gather(child.stderr.take().expect("it was piped"));
        Running { text, child, stdout, stderr }
    }

    /// Runs the program to its end.
    pub fn run(self) -> Done {
        self.start().finish()
    }
}

fn gather(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

impl Running {
    /// Waits for the end.
    ///
    /// # Panics
    ///
    /// If the program takes so long that it must hang; it is killed first.
    pub fn finish(mut self) -> Done {
        let group = Pid::from_child(&self.child);
        let (ended, wait) = mpsc::channel::<()>();
        let guard = thread::spawn(move || {
            let hangs = wait.recv_timeout(TIME_MAX) == Err(mpsc::RecvTimeoutError::Timeout);
            if hangs {
                let _ = rustix::process::kill_process_group(group, Signal::KILL);
            }
            hangs
        });
        let stdout = self.stdout.join().expect("reading does not panic");
        let stderr = self.stderr.join().expect("reading does not panic");
        let status = self.child.wait().expect("it was started");
        drop(ended);
        let done = Done { text: self.text, status, stdout, stderr };
        assert!(!guard.join().expect("waiting does not panic"), "it hangs: {}", done.story());
        let left = still_there(group);
        assert!(left.is_empty(), "it left {left:?} behind: {}", done.story());
        assert!(!done.err().contains("panicked at"), "a program panicked: {}", done.story());
        done
    }

    /// The program, which leads the group of all that it starts.
    pub fn group(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Does what Ctrl-C at a terminal does: the program and all it started are interrupted.
    pub fn interrupt(self) -> Done {
        let _ = rustix::process::kill_process_group(Pid::from_child(&self.child), Signal::INT);
        self.finish()
    }

    /// Ends the program and all it started, as a power cut would.
    pub fn kill(self) -> Done {
        let _ = rustix::process::kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        self.finish()
    }
}

/// What of a process group is still running once its leader has ended, given time to end.
fn still_there(group: Pid) -> Vec<String> {
    let left = processes::ending_of(group, ENDING_TIME_MAX);
    if !left.is_empty() {
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
    left
}

impl Done {
    /// Asserts success and returns standard output, its last line end dropped.
    pub fn ok(&self) -> String {
        assert!(self.status.success(), "it failed: {}", self.story());
        let text = self.out();
        text.strip_suffix('\n').unwrap_or(&text).to_owned()
    }

    /// Asserts a failure that the program itself decided on, and returns standard error.
    pub fn fails(&self) -> String {
        assert!(!self.status.success(), "it must fail: {}", self.story());
        assert_eq!(self.status.signal(), None, "it must end by itself: {}", self.story());
        self.err()
    }

    /// Asserts a failure of any kind: a program that was killed, or one whose child was.
    pub fn breaks(&self) {
        assert!(!self.status.success(), "it must not succeed: {}", self.story());
    }

    /// Standard output as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// All there is to know, for messages.
    pub fn story(&self) -> String {
        let Done { text, status, .. } = self;
        format!("{text}\n{status}\n--- stdout\n{}\n--- stderr\n{}", self.out(), self.err())
    }
}
