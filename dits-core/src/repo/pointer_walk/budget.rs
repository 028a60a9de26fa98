//! How much one walk may look at: what a few pushed objects expand to has no bound of its own.
//!
//! **For:** trees of trees that name billions of paths, and git children that work on and on.
//!
//! **May touch:** the clock; the output of git children, read by one thread each.
//!
//! **Must hold:** a walk ends, whatever objects it is given.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::process::ChildStdout;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::WalkError;
use crate::limits;
use crate::repo::git_program::{GitPipe, GitProgram};

/// How much one walk may look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalkLimits {
    /// Most paths and commits, each counted as often as it is named.
    pub paths_max: u64,
    /// Most bytes of these names.
    pub bytes_max: u64,
    /// Longest time.
    pub time_max: Duration,
    /// Most memory that a git child may take for itself, in bytes: git gathers a whole commit's changes before
    /// it names the first of them.
    pub memory_max: u64,
}

impl Default for WalkLimits {
    fn default() -> WalkLimits {
        WalkLimits {
            paths_max: limits::WALK_PATHS_MAX,
            bytes_max: limits::WALK_BYTES_MAX,
            time_max: Duration::from_secs(limits::WALK_SECS_MAX),
            memory_max: limits::WALK_MEMORY_MAX,
        }
    }
}

/// What is left of the limits.
pub(super) struct Budget {
    limits: WalkLimits,
    deadline: Instant,
    paths: Cell<u64>,
    bytes: Cell<u64>,
}

impl Budget {
    pub fn new(limits: WalkLimits) -> Budget {
        // A time that no clock can show is as good as none.
        let deadline = Instant::now().checked_add(limits.time_max);
        let deadline = deadline.unwrap_or_else(|| Instant::now() + Duration::from_secs(limits::WALK_SECS_MAX));
        Budget { limits, deadline, paths: Cell::new(0), bytes: Cell::new(0) }
    }

    /// Takes one path, or one commit, of this length.
    pub fn take(&self, len: usize) -> Result<(), WalkError> {
        self.paths.set(self.paths.get() + 1);
        self.bytes.set(self.bytes.get().saturating_add(len as u64));
        self.check_paths(self.paths.get())?;
        match self.bytes.get() > self.limits.bytes_max {
            true => Err(WalkError::TooManyBytes { max: self.limits.bytes_max }),
            false => Ok(()),
        }
    }

    /// Refuses a tree of more paths than a whole walk may look at.
    pub fn check_paths(&self, count: u64) -> Result<(), WalkError> {
        match count > self.limits.paths_max {
            true => Err(WalkError::TooManyPaths { max: self.limits.paths_max }),
            false => Ok(()),
        }
    }

    pub fn check_time(&self) -> Result<(), WalkError> {
        match Instant::now() > self.deadline {
            true => Err(self.too_long()),
            false => Ok(()),
        }
    }

    /// Starts git, bounded, and not to write out every line by itself.
    pub fn start(&self, git: &GitProgram, args: &[&str]) -> Result<GitPipe, WalkError> {
        let pipe = git.clone().with_env("GIT_FLUSH", "0").pipe(args)?;
        pipe.bound_memory(self.limits.memory_max)?;
        Ok(pipe)
    }

    /// Waits for a child's end.
    pub fn finish(&self, pipe: GitPipe) -> Result<(), WalkError> {
        pipe.finish().map_err(|error| match error.is_out_of_memory() {
            true => WalkError::TooMuchMemory { max: self.limits.memory_max },
            false => error.into(),
        })
    }

    pub fn too_long(&self) -> WalkError {
        WalkError::TooLong { max: self.limits.time_max }
    }

    /// Reads a child's output on a thread of its own, until the time is up.
    pub fn read(&self, from: ChildStdout) -> TimedOutput {
        let (sender, pieces) = sync_channel(PIECES_AHEAD);
        std::thread::spawn(move || read_pieces(from, &sender));
        TimedOutput { pieces, piece: Vec::new(), at: 0, deadline: self.deadline }
    }
}

/// Bytes that are read at once.
const PIECE_LEN: usize = 64 * 1024;
/// Pieces that are read before anybody asks for them.
const PIECES_AHEAD: usize = 8;

/// Ends with the child, or once nobody wants the pieces any more.
fn read_pieces(mut from: ChildStdout, pieces: &SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let mut piece = vec![0; PIECE_LEN];
        let read = match from.read(&mut piece) {
            Ok(0) => return,
            Ok(len) => {
                piece.truncate(len);
                Ok(piece)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let is_over = read.is_err();
        if pieces.send(read).is_err() || is_over {
            return;
        }
    }
}

/// The output of a child; reading it fails with [`io::ErrorKind::TimedOut`] once the time is up.
pub(super) struct TimedOutput {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
    deadline: Instant,
}

impl BufRead for TimedOutput {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.piece.len() {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.piece = match self.pieces.recv_timeout(left) {
                Ok(piece) => piece?,
                Err(RecvTimeoutError::Disconnected) => Vec::new(),
                Err(RecvTimeoutError::Timeout) => return Err(io::ErrorKind::TimedOut.into()),
            };
            self.at = 0;
        }
        Ok(&self.piece[self.at..])
    }

    fn consume(&mut self, len: usize) {
        self.at += len;
    }
}

impl Read for TimedOutput {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = self.fill_buf()?.read(into)?;
        self.consume(len);
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(paths_max: u64, bytes_max: u64) -> Budget {
        Budget::new(WalkLimits { paths_max, bytes_max, ..WalkLimits::default() })
    }

    #[test]
    fn paths_and_their_bytes_are_counted() {
        let few = budget(2, 100);
        assert!(few.take(1).and_then(|()| few.take(1)).is_ok());
        assert!(matches!(few.take(1), Err(WalkError::TooManyPaths { max: 2 })));
        let short = budget(100, 10);
        assert!(short.take(10).is_ok());
        assert!(matches!(short.take(1), Err(WalkError::TooManyBytes { max: 10 })));
    }

    #[test]
    fn a_child_that_says_nothing_is_not_waited_for_without_end() {
        let mut child = std::process::Command::new("cat");
        child.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = child.spawn().expect("cat runs");
        let budget = Budget::new(WalkLimits { time_max: Duration::from_millis(20), ..WalkLimits::default() });
        let mut output = budget.read(child.stdout.take().expect("piped"));
        let error = output.read(&mut [0; 8]).expect_err("nothing comes");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(matches!(budget.check_time(), Err(WalkError::TooLong { .. })));
        drop(child.stdin.take());
        child.wait().expect("cat ends");
    }
}
