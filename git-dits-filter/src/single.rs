//! One file at a time, with no protocol around it.
//!
//! **For:** `filter.dits.clean` and `filter.dits.smudge`, and looking at a pointer by hand.
//!
//! **May touch:** what cleaning and smudging touch.
//!
//! **Must hold:** a failure shows in the exit status, which git and scripts look at.

use std::io::{self, Read, Write};

use crate::clean::Cleaning;
use crate::input::{BLOCK_LEN, InputError};
use crate::report::{Report, shown};
use crate::session::tell_not_stored;
use crate::smudge::Smudging;

/// Stores the content on `from`; what git is to store comes back, to be written once the
/// content is on stable storage. `None` after a failure.
pub fn clean(
    path: &[u8],
    mut from: impl Read + Send,
    cleaning: &mut Cleaning<'_>,
    report: &mut Report<'_>,
) -> Option<Vec<u8>> {
    match cleaning.clean(path, &mut |block| fill(&mut from, block)) {
        Ok(Ok(cleaned)) => {
            if let Some(warning) = cleaned.warning {
                report.warning(&format!("{} {warning}", shown(path)));
            }
            Some(cleaned.outcome.bytes())
        }
        Ok(Err(error)) => {
            tell_not_stored(path, &error, report);
            None
        }
        Err(error) => {
            report.error(&format!("cannot read {}", shown(path)), Some(&error), &[]);
            None
        }
    }
}

/// Writes to `to` the content behind the pointer on `from`, or `from` itself if that is none.
/// Says whether all went well.
pub fn smudge(
    path: &[u8],
    mut from: impl Read + Send,
    to: &mut impl Write,
    smudging: &mut Smudging<'_, '_>,
    report: &mut Report<'_>,
) -> bool {
    match smudging.smudge_plain(path, &mut |block| fill(&mut from, block), to, report) {
        Ok(is_done) => is_done,
        // Whoever reads our output has seen enough: a normal end.
        Err(error) if error.is_broken_pipe() => true,
        Err(error) => {
            report.error(&format!("cannot pass {} on", shown(path)), Some(&error), &[]);
            false
        }
    }
}

/// Writes what git is to store. Says whether it could.
pub fn write_out(to: &mut impl Write, bytes: &[u8], report: &mut Report<'_>) -> bool {
    match to.write_all(bytes) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => true,
        Err(error) => {
            report.error("cannot write the pointer", Some(&error), &[]);
            false
        }
    }
}

/// Fills a block from a plain stream.
fn fill(from: &mut impl Read, block: &mut Vec<u8>) -> Result<bool, InputError> {
    block.clear();
    let len = from.take(BLOCK_LEN as u64).read_to_end(block).map_err(InputError::Read)?;
    Ok(len == BLOCK_LEN)
}
