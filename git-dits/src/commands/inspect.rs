//! `git dits inspect`: how a file is built, how it is stored, and what it shares with its last version.
//!
//! **For:** people who wonder where the bytes go.
//!
//! **May touch:** a temporary folder, for a file that no store has; nothing else is written.
//!
//! **Must hold:** nothing is fetched, and no file, however odd, makes it fail or hang.

mod facts;
pub mod structure;
pub mod subject;

use crate::here::Here;
use crate::out::Out;
use crate::report::{EXIT_STATUSES, Failure};

use subject::Subject;

/// Show how a file is built (atoms, tracks), how it is stored (chunks), and what it shares with another version
#[derive(clap::Args)]
#[command(after_help = EXIT_STATUSES)]
pub struct Args {
    /// A file, REVISION:PATH, or an oid of 64 hex digits
    what: String,
    /// Compare with this version instead of the last different one: a file, REVISION:PATH, or an oid
    other: Option<String>,
    /// Print the facts as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let here = Here::find()?;
    let subject = Subject::find(&here, &args.what)?;
    let other = match &args.other {
        Some(what) => Some((what.clone(), Subject::find(&here, what)?)),
        None => subject.previous(&here)?,
    };
    let facts = facts::gather(&args.what, &subject, other.as_ref().map(|(name, other)| (name.as_str(), other)))?;
    let mut out = Out::lock();
    match args.json {
        true => out.json(&facts)?,
        false => facts.lines().into_iter().try_for_each(|line| out.line(line))?,
    }
    out.finish()
}
