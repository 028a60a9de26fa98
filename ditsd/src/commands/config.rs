//! `ditsd config show`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Failure, print};
use crate::root::Root;
use crate::rules::lease::LEASE_SECS;

/// Where a server listens unless told otherwise.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:9031";

/// Show how a server is set up
#[derive(Subcommand)]
pub enum Command {
    Show(ShowArguments),
}

/// Print the effective settings, one `name = value` a line
#[derive(Args)]
pub struct ShowArguments {
    /// The server root
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// Print one JSON object instead
    #[arg(long)]
    json: bool,
}

/// Does what was asked.
pub fn run(command: Command) -> Result<(), Failure> {
    let Command::Show(arguments) = command;
    let root = Root::open(&arguments.root).map_err(Failure::failed)?;
    let certificate = root.certificate().map_err(Failure::failed)?;
    let settings = [
        ("root", root.dir().display().to_string()),
        ("repos", root.repos().display().to_string()),
        ("store", root.store().display().to_string()),
        ("listen.default", LISTEN_DEFAULT.to_owned()),
        ("certificate.fingerprint", certificate.fingerprint().to_string()),
        ("connections.max", crate::listen::Limits::default().connections_max.to_string()),
        ("lease.secs", LEASE_SECS.to_string()),
    ];
    match arguments.json {
        true => {
            let object: serde_json::Map<_, _> =
                settings.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
            print(&format!("{}\n", serde_json::Value::from(object)));
        }
        false => settings.iter().for_each(|(name, value)| print(&format!("{name} = {value}\n"))),
    }
    Ok(())
}
