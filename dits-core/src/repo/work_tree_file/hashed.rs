//! Which pointer a file's content has.
//!
//! **For:** whoever must know what a file of the work tree holds before he replaces, dates or removes it.
//!
//! **May touch:** nothing; it reads what it is given.
//!
//! **Must hold:** it ends between two pieces of any file once it is told to.

use std::io::{self, Read};
use std::ops::ControlFlow;

use crate::hash::FileHash;
use crate::pointer::Pointer;

/// Bytes that are read at a time.
const PIECE_LEN: usize = 128 * 1024;

/// Reads content to its end and returns its pointer. `watch` is told of the bytes of each piece, and may end it.
///
/// # Errors
///
/// What the system said; [`io::ErrorKind::Interrupted`] if `watch` has ended it, and then only.
pub(in crate::repo) fn pointer_of(
    mut content: impl Read,
    watch: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> io::Result<Pointer> {
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; PIECE_LEN];
    let mut size = 0;
    loop {
        let len = match content.read(&mut piece) {
            Ok(0) => break,
            Ok(len) => len,
            // By a signal that only sets a flag.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&piece[..len]);
        size += len as u64;
        if watch(len as u64).is_break() {
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
    Ok(Pointer { oid: FileHash::from_bytes(*hasher.finalize().as_bytes()), size })
}
