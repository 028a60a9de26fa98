//! The tunnel: git here and git there, with nothing in between.
//!
//! **For:** fetches, and pushes once they are through the gate.
//!
//! **May touch:** git's two streams and the far end.
//!
//! **Must hold:** every byte goes on as soon as it comes.

use std::io::{self, BufReader, Read, Stdin, Write};

use crate::far_end::{End, FarEnd};
use crate::push::lost;
use dits_core::failure::Failure;

/// Bytes that are copied at once.
pub const BUFFER_LEN: usize = 64 * 1024;

/// What git sends. Lines of the helper's protocol come first and git's own bytes follow, so
/// both are read through one buffer.
pub type GitIn = BufReader<Stdin>;

/// Tells git that the stream starts.
pub fn accept(git_out: &mut dyn Write) -> Result<(), Failure> {
    git_out.write_all(b"\n").and_then(|()| git_out.flush()).map_err(lost)
}

/// Copies in both directions until the far end ends. Returns whether it did its work.
pub fn run(far: FarEnd, mut git_in: GitIn, git_out: &mut dyn Write) -> Result<bool, Failure> {
    let FarEnd { mut to, mut from, ending } = far;
    // Not joined: git may wait for our end before it closes its own stream.
    std::thread::spawn(move || {
        // A far end that takes no more has ended; why shows in its answer and its end.
        let _ = copy(&mut git_in, &mut to);
    });
    match copy(&mut from, git_out) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(true),
        copied => copied.map_err(lost)?,
    }
    Ok(ended(ending.wait()?))
}

/// Passes on what the far end said outside of git's protocol, and returns whether it did its work.
pub fn ended(end: End) -> bool {
    let _ = io::stderr().write_all(&end.messages);
    end.is_good
}

/// Copies until the end of `from`, flushing what is at hand.
pub fn copy(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_LEN];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(len) => to.write_all(&buffer[..len]).and_then(|()| to.flush())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
