//! Standard output: the facts a command was asked for.
//!
//! **For:** writing lines and JSON so that `git dits … | head` ends quietly.
//!
//! **May touch:** standard output.
//!
//! **Must hold:** nothing but facts goes here; every other word goes to standard error.

use std::fmt::Display;
use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};

use dits_core::failure::DONE;
use serde::Serialize;

use crate::report::Failure;

/// Standard output, locked for one command.
pub struct Out(BufWriter<StdoutLock<'static>>);

impl Out {
    /// Takes standard output.
    pub fn lock() -> Out {
        Out(BufWriter::new(io::stdout().lock()))
    }

    /// Writes one line.
    pub fn line(&mut self, line: impl Display) -> Result<(), Failure> {
        writeln!(self.0, "{line}").map_err(failed)
    }

    /// Writes one line of bytes that need not be UTF-8: paths, mostly.
    pub fn bytes_line(&mut self, parts: &[&[u8]]) -> Result<(), Failure> {
        parts.iter().try_for_each(|part| self.0.write_all(part)).map_err(failed)?;
        self.0.write_all(b"\n").map_err(failed)
    }

    /// Writes one JSON document and a line end.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value)?;
        self.line(text)
    }

    /// Hands everything to the reader. Every command ends with this.
    pub fn finish(mut self) -> Result<(), Failure> {
        self.0.flush().map_err(failed)
    }
}

fn failed(error: io::Error) -> Failure {
    match error.kind() {
        // A reader that went away is a normal end.
        ErrorKind::BrokenPipe => Failure::told(DONE),
        _ => Failure::new("cannot write to standard output").because(&error),
    }
}
