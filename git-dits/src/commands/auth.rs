//! `git dits auth`: which servers this user trusts.
//!
//! **For:** pinning a server's certificate where nobody can be asked, and taking pins away.
//!
//! **May touch:** `known_hosts` in the user's configuration of Dits.
//!
//! **Must hold:** nothing is pinned that was not spelled out in full.
//!
//! **Format:** `docs/formats/known-hosts-v1.md`.

use clap::Subcommand;
use dits_core::remote::server::trust::{Fingerprint, KnownHosts};
use dits_core::remote_url::{Host, RemoteUrl};
use serde::Serialize;

use crate::here::Here;
use crate::out::Out;
use crate::report::{EXIT_STATUSES, Failure};

/// Say which servers are trusted
#[derive(clap::Args)]
#[command(after_help = EXIT_STATUSES)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Trust a server by the fingerprint that ditsd prints when it starts
    Pin {
        /// The server: HOST or HOST:PORT
        host: String,
        /// Its fingerprint: sha256: and 64 hex digits
        fingerprint: String,
    },
    /// List the servers that are trusted
    Pins {
        /// Print the facts as JSON
        #[arg(long)]
        json: bool,
    },
    /// Trust a server no more
    Unpin {
        /// The server: HOST or HOST:PORT
        host: String,
    },
}

#[derive(Serialize)]
struct Facts {
    known_hosts: String,
    pins: Vec<Pin>,
}

#[derive(Serialize)]
struct Pin {
    host: String,
    port: u16,
    fingerprint: String,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let path = Here::find()?.known_hosts()?;
    let known = KnownHosts::new(&path);
    let mut out = Out::lock();
    match &args.verb {
        Verb::Pin { host, fingerprint } => {
            let (host, pin) = (parse_host(host)?, parse_fingerprint(fingerprint)?);
            known.pin(&host, pin)?;
            out.line(format_args!("pinned {host} {pin}"))?;
        }
        Verb::Pins { json: false } => {
            for (host, pin) in known.list()? {
                out.line(format_args!("{host} {pin}"))?;
            }
        }
        Verb::Pins { json: true } => {
            let pins = known.list()?.into_iter().map(|(host, pin)| Pin {
                port: host.port,
                host: host.name,
                fingerprint: pin.to_string(),
            });
            out.json(&Facts { known_hosts: path.display().to_string(), pins: pins.collect() })?;
        }
        Verb::Unpin { host } => {
            let host = parse_host(host)?;
            match known.unpin(&host)? {
                true => out.line(format_args!("unpinned {host}"))?,
                false => {
                    return Err(Failure::new(format!("{host} is not pinned")).hint("list them: `git dits auth pins`"));
                }
            }
        }
    }
    out.finish()
}

/// Takes a whole address too: it is what people have at hand.
fn parse_host(text: &str) -> Result<Host, Failure> {
    if let Ok(RemoteUrl::Server { host, .. }) = RemoteUrl::parse(text) {
        return Ok(host);
    }
    Host::parse(text).map_err(|error| Failure::usage(error.to_string()).hint("write HOST or HOST:PORT"))
}

fn parse_fingerprint(text: &str) -> Result<Fingerprint, Failure> {
    text.parse().map_err(|_| {
        Failure::usage(format!("{text:?} is no fingerprint"))
            .hint("it is `sha256:` and 64 hex digits in lower case, as ditsd prints it when it starts")
    })
}
