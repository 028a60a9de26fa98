//! Contents that pass through unchanged.
//!
//! **For:** plain content on a path of ours: committed before the pattern was, or without Dits.
//!
//! **May touch:** one unnamed temporary file in the git directory, where a content is long.
//!
//! **Must hold:** not a byte is answered before git has sent its last one, or both would wait
//! for the other for good; a long content does not stay in memory meanwhile.

use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::answer::ContentWriter;
use crate::clean::Fill;
use crate::input::{BLOCK_LEN, InputError};

/// Why nothing more can be said to git.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// What it sent cannot be understood.
    #[error(transparent)]
    Input(#[from] InputError),
    /// It does not hear us any more.
    #[error("cannot answer git")]
    Output(#[from] io::Error),
    /// A long content could not be set aside.
    #[error("cannot set a content aside in {dir}", dir = .dir.display())]
    SetAside {
        /// The folder.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl PassError {
    /// Whether the reader of our output has gone.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, PassError::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// Answers with the content that begins with `first` and goes on as `fill` gives it.
pub fn pass(
    scratch_dir: &Path,
    first: Vec<u8>,
    mut more: bool,
    fill: Fill<'_>,
    out: &mut impl Write,
) -> Result<(), PassError> {
    let mut content = ContentWriter::new(out);
    if !more {
        content.write_all(&first)?;
        return Ok(content.finish()?);
    }
    let failed = |source| PassError::SetAside { dir: scratch_dir.to_owned(), source };
    let mut aside = tempfile::tempfile_in(scratch_dir).map_err(failed)?;
    let mut block = first;
    aside.write_all(&block).map_err(failed)?;
    while more {
        more = fill(&mut block)?;
        aside.write_all(&block).map_err(failed)?;
    }
    aside.rewind().map_err(failed)?;
    loop {
        block.resize(BLOCK_LEN, 0);
        match aside.read(&mut block).map_err(failed)? {
            0 => return Ok(content.finish()?),
            len => content.write_all(&block[..len])?,
        }
    }
}
