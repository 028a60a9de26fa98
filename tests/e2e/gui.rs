//! Programs that people look at git through, started as a desktop starts them: with a short `PATH`, and with
//! nothing set up but `git dits install`. Each stages, commits, switches branches and solves a conflict; what it
//! did is then read by git.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use dits_core::pointer::Pointer;
use dits_tests::media::noise;
use dits_tests::needs::needs;
use dits_tests::processes::until;
use dits_tests::programs::is_installed;
use dits_tests::{Call, Repo, Server, World};

/// What a program has in its `PATH` that was not started from a shell.
const SHORT_PATH: &str = "/usr/bin:/bin";
const GIT_GUI: &str = "/usr/lib/git-core/git-gui";

const FIRST: (u64, usize) = (1, 1_500_000);
const GRADED: (u64, usize) = (2, 1_600_000);
const SECOND: (u64, usize) = (3, 1_700_000);
const ADDED: (u64, usize) = (4, 1_200_000);

fn content((seed, len): (u64, usize)) -> Vec<u8> {
    noise(seed, len)
}

/// A clone in which somebody has worked. The media of its branch `grading` is on the server alone.
fn desk<'w>(world: &'w World, server: &Server) -> Repo<'w> {
    let film = world.repo("film");
    film.write("scene01.mov", content(FIRST));
    film.write("notes.txt", "notes\n");
    film.commit("The first take");
    film.git(&["switch", "-q", "-c", "grading"]).ok();
    film.write("scene01.mov", content(GRADED));
    film.commit("Graded");
    film.git(&["switch", "-q", "main"]).ok();
    film.push_to(&server.url("film"));
    film.git(&["push", "-q", "origin", "grading"]).ok();
    let desk = world.clone_of(&server.url("film"), "desk");
    desk.git(&["branch", "-q", "grading", "origin/grading"]).ok();
    desk.write("scene01.mov", content(SECOND));
    desk.write("scene02.mov", content(ADDED));
    desk.write("notes.txt", "notes\nand more\n");
    desk
}

/// What git says of the desk after a session.
fn is_as_it_was_done(desk: &Repo<'_>) {
    assert_eq!(desk.status(), "");
    assert_eq!(desk.git(&["branch", "--show-current"]).ok(), "grading");
    let subjects = ["log", "--first-parent", "--format=%s"];
    assert_eq!(desk.git(&subjects).ok(), "Both\nGraded\nThe first take\nmedia are tracked");
    assert_eq!(desk.git(&["log", "-1", "--format=%s", "HEAD^2"]).ok(), "The second take");
    desk.holds("scene01.mov", &content(SECOND));
    desk.holds("scene02.mov", &content(ADDED));
    desk.holds("notes.txt", b"notes\nand more\n");
    for path in ["HEAD:scene01.mov", "HEAD:scene02.mov", "HEAD~1:scene01.mov"] {
        assert!(Pointer::parse(&desk.blob(path)).is_some(), "{path} is a pointer");
    }
    assert_eq!(desk.git(&["fsck", "--full", "--no-dangling"]).ok(), "");
    desk.git(&["switch", "-q", "--detach", "HEAD~1"]).ok();
    desk.holds("scene01.mov", &content(GRADED));
}

/// A call of a program that a desktop starts.
fn from_desktop(world: &World, program: &str, path: &str, display: &str) -> Call {
    let call = Call::new(program, []).env("PATH", path).env("DISPLAY", display).env("HOME", world.home());
    let call = call.env("GIT_CONFIG_NOSYSTEM", "1").env("LC_ALL", "C.UTF-8").env("TMPDIR", world.path(""));
    let call = call.env("XDG_RUNTIME_DIR", world.home());
    match std::env::var_os("DITS_TEST_PICTURES") {
        Some(folder) => call.env("DITS_TEST_PICTURES", folder),
        None => call,
    }
}

/// A display that nobody looks at; it is gone when dropped.
struct Display {
    server: Child,
    name: String,
}

impl Display {
    fn open() -> Display {
        let mut server = Command::new("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", "1000x720x24", "-nolisten", "tcp"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it is installed");
        let mut number = String::new();
        let stdout = server.stdout.take().expect("it was piped");
        BufReader::new(stdout).read_line(&mut number).expect("it names its display");
        Display { server, name: format!(":{}", number.trim()) }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn script(name: &str) -> String {
    format!("{}/e2e/gui/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn git_gui_stages_commits_switches_and_solves_a_conflict() {
    let is_there = is_installed("Xvfb") && is_installed("wish") && Path::new(GIT_GUI).exists();
    if !needs(is_there, "git-gui and Xvfb are needed for a session") {
        return;
    }
    // Debian's git by the short PATH, and whatever git comes first for this user.
    let own_path = std::env::var("PATH").unwrap_or_default();
    for path in [SHORT_PATH, &own_path] {
        let world = World::new();
        let server = world.serve();
        let desk = desk(&world, &server);
        let display = Display::open();
        let call = from_desktop(&world, "/usr/bin/wish", path, &display.name);
        call.args([&script("git_gui.tcl"), GIT_GUI, "grading"]).dir(desk.dir()).run().ok();
        is_as_it_was_done(&desk);
    }
}

#[test]
fn git_cola_stages_commits_switches_and_solves_a_conflict() {
    let is_there = is_installed("Xvfb") && is_installed("git-cola");
    if !needs(is_there, "git-cola and Xvfb are needed for a session") {
        return;
    }
    let world = World::new();
    let server = world.serve();
    let desk = desk(&world, &server);
    desk.git(&["config", "--global", "merge.tool", "other"]).ok();
    desk.git(&["config", "--global", "mergetool.keepBackup", "false"]).ok();
    desk.git(&["config", "--global", "mergetool.other.cmd", "cp \"$REMOTE\" \"$MERGED\""]).ok();
    desk.git(&["config", "--global", "mergetool.other.trustExitCode", "true"]).ok();
    let display = Display::open();
    let call = from_desktop(&world, "/usr/bin/python3", SHORT_PATH, &display.name);
    call.args([&script("git_cola.py"), "grading"]).dir(desk.dir()).run().ok();
    is_as_it_was_done(&desk);
}

/// A terminal with a program in it; both are gone when dropped.
struct Terminal<'w> {
    world: &'w World,
}

impl<'w> Terminal<'w> {
    fn open(world: &'w World, dir: &Path, command: &str) -> Terminal<'w> {
        let terminal = Terminal { world };
        terminal.tmux(&["new-session", "-d", "-x", "100", "-y", "30", "-c", &dir.display().to_string(), command]);
        terminal
    }

    fn tmux(&self, args: &[&str]) -> String {
        let socket = self.world.path("tmux").display().to_string();
        let call = from_desktop(self.world, "tmux", SHORT_PATH, "");
        call.args(["-S", &socket, "-f", "/dev/null"]).args(args).run().ok()
    }

    fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Presses keys, then waits until the screen shows something.
    fn press_and_see(&self, keys: &[&str], shown: &str) {
        self.press(keys);
        self.sees(shown);
    }

    fn sees(&self, shown: &str) {
        until(shown, || self.tmux(&["capture-pane", "-p"]).contains(shown));
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- screen\n{}", self.tmux(&["capture-pane", "-p"]));
        }
        let socket = self.world.path("tmux");
        let _ = Command::new("tmux").arg("-S").arg(socket).arg("kill-server").status();
    }
}

#[test]
fn tig_stages_commits_switches_and_solves_a_conflict() {
    if !needs(is_installed("tig") && is_installed("tmux"), "tig and tmux are needed for a session") {
        return;
    }
    let world = World::new();
    let server = world.serve();
    let desk = desk(&world, &server);
    let message = "git rev-parse -q --verify MERGE_HEAD >/dev/null && echo Both || echo The second take";
    desk.git(&["config", "--global", "core.editor", &format!("f() {{ ({message}) >\"$1\"; }}; f")]).ok();
    let tig = Terminal::open(&world, desk.dir(), "tig status");
    tig.sees("? scene02.mov");
    // `u` above a group stages all of it; a number is a line.
    tig.press_and_see(&[":4", "Enter"], "Press u to stage all files for commit");
    tig.press_and_see(&["u"], "Press u to unstage");
    tig.press_and_see(&[":7", "Enter"], "Press u to stage all files for addition");
    tig.press_and_see(&["u"], "A scene02.mov");
    tig.press_and_see(&["C"], "Press Enter to continue");
    tig.press_and_see(&["Enter"], "Nothing to update");
    // The list of branches: find one, check it out.
    tig.press_and_see(&["r"], "All references");
    tig.press_and_see(&["/^grading$", "Enter"], "matches");
    tig.press_and_see(&["C"], "Run `git checkout grading`");
    tig.press_and_see(&["y"], "Switched to branch 'grading'");
    tig.press_and_see(&["Enter"], "All references");
    tig.press_and_see(&["q"], "On branch grading");
    tig.press_and_see(&[":!git merge -q main", "Enter"], "CONFLICT (content)");
    tig.press(&[":!git checkout --theirs -- scene01.mov", "Enter"]);
    until("the other side is there", || {
        std::fs::read(desk.dir().join("scene01.mov")).is_ok_and(|found| found == content(SECOND))
    });
    tig.press_and_see(&["S"], "On branch grading");
    tig.press_and_see(&["R"], "U scene01.mov");
    tig.press_and_see(&[":6", "Enter"], "scene01.mov'");
    tig.press_and_see(&["u"], "M scene01.mov");
    tig.press_and_see(&["C"], "] Both");
    is_as_it_was_done(&desk);
}
