//! A remote that is a server: `dits://host/repository`.
//!
//! **For:** the remote helper, in blocking calls.
//!
//! **May touch:** sockets, and the file of pinned certificates that it is given. Only this
//! module and those below it know gRPC and QUIC.
//!
//! **Must hold:**
//! - nothing is said to a server whose certificate is not pinned, a credential least of all;
//! - an item that comes out of here is what its name says.
//!
//! **Format:** `docs/protocols/control-v1.md`, `docs/protocols/data-v1.md`.

mod channel;
mod control;
mod data;
mod error;
mod grpc;
mod pulse;
mod tunnel;

pub mod link;
pub mod quic;
pub mod trust;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::runtime::Runtime;

use crate::remote_url::Host;
use crate::repo_path::RepoName;
use trust::{Fingerprint, KnownHosts, PinVerifier};

pub use error::ServerError;
pub use tunnel::{GitEnd, GitEnding, GitInput, GitOutput, GitService, GitTunnel};

/// How bulk data is to travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    /// QUIC, and gRPC where UDP does not pass.
    #[default]
    Auto,
    /// QUIC or not at all.
    Quic,
    /// gRPC; no UDP packet is sent.
    Grpc,
}

/// Asks a person whether a host's certificate is the right one.
pub type Ask<'a> = &'a dyn Fn(&Host, &Fingerprint) -> bool;

/// What a connection needs to know.
pub struct ConnectOptions<'a> {
    /// The server.
    pub host: Host,
    /// The repository on it.
    pub repo: RepoName,
    /// The file of pinned certificates.
    pub known_hosts: PathBuf,
    /// Asks a person at a terminal; `None` where there is none.
    pub ask: Option<Ask<'a>>,
    /// Finds the server's token. Called once, after the server has asked for it.
    pub credential: &'a dyn Fn() -> Option<String>,
    /// How bulk data is to travel.
    pub transport: Transport,
    /// Tells a person, in one line, that something is not as it should be.
    pub warn: Box<dyn Fn(&str) + Send + Sync>,
    /// The program and its version, for the server's log.
    pub client: &'a str,
}

/// A connection to one repository on a server.
///
/// Every call blocks. None may be made from asynchronous code.
pub struct ServerRemote {
    runtime: Runtime,
    host: Host,
    repo: RepoName,
    control: channel::Client,
    line: channel::Line,
    address: SocketAddr,
    pin: Fingerprint,
    server_id: [u8; 16],
    repo_id: Option<[u8; 16]>,
    quic_port: u16,
    transport: Transport,
    warn: Box<dyn Fn(&str) + Send + Sync>,
    lease: Mutex<bytes::Bytes>,
    data: Mutex<data::DataState>,
    text_elsewhere: AtomicBool,
}

impl ServerRemote {
    /// Connects, checks the server's certificate, and agrees on a version.
    ///
    /// # Errors
    ///
    /// [`ServerError`]: each says what to do about it where that is known.
    pub fn connect(options: ConnectOptions<'_>) -> Result<ServerRemote, ServerError> {
        let host = options.host.clone();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|source| ServerError::System { host: host.clone(), source })?;
        let (dialed, pin) = trusted(&runtime, &options)?;
        let greeted = runtime.block_on(control::greet(&dialed, &options))?;
        Ok(ServerRemote {
            control: greeted.client,
            address: dialed.address,
            line: dialed.line,
            pin,
            server_id: greeted.server_id,
            repo_id: greeted.repo_id,
            quic_port: greeted.quic_port,
            runtime,
            host,
            repo: options.repo,
            transport: options.transport,
            warn: options.warn,
            lease: Mutex::default(),
            data: Mutex::default(),
            text_elsewhere: AtomicBool::new(false),
        })
    }

    /// The server.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Says with every question from now on that the text of what it is about goes to another host.
    pub fn note_text_elsewhere(&self) {
        self.text_elsewhere.store(true, Ordering::Relaxed);
    }

    /// 16 bytes that name the server for good.
    pub fn server_id(&self) -> [u8; 16] {
        self.server_id
    }

    /// 16 bytes that name the repository for good; `None` if it did not exist at the start.
    pub fn repo_id(&self) -> Option<[u8; 16]> {
        self.repo_id
    }
}

impl Drop for ServerRemote {
    /// Says goodbye while there still is a runtime to say it with.
    fn drop(&mut self) {
        self.runtime.block_on(async {
            for dialed in self.take_dialed() {
                dialed.close().await;
            }
        });
    }
}

/// Connects to the host once its certificate is the one that is pinned, or is to be pinned.
fn trusted(runtime: &Runtime, options: &ConnectOptions<'_>) -> Result<(channel::Dialed, Fingerprint), ServerError> {
    let host = &options.host;
    let known_hosts = KnownHosts::new(&options.known_hosts);
    let failed = |source| ServerError::KnownHosts { host: host.clone(), source };
    let dial = |pin| {
        let verifier = PinVerifier::new(pin);
        let dialed = runtime.block_on(channel::dial(host, Arc::clone(&verifier)));
        (dialed, verifier.seen())
    };
    if let Some(pinned) = known_hosts.pinned(host).map_err(failed)? {
        return match dial(Some(pinned)) {
            (Ok(dialed), _) => Ok((dialed, pinned)),
            (Err(_), Some(found)) if found != pinned => {
                Err(ServerError::PinChanged { host: host.clone(), pinned, found })
            }
            (Err(error), _) => Err(error.error),
        };
    }
    let (first, found) = dial(None);
    let (error, found) = match (first, found) {
        (Err(error), Some(found)) => (error, found),
        (Err(error), None) => return Err(error.error),
        (Ok(_), _) => unreachable!("a verifier that expects nothing accepts nothing"),
    };
    may_pin(host, error.address, &found, options.ask)?;
    // Only this handshake proves that the server holds the certificate's key.
    let dialed = dial(Some(found)).0.map_err(|error| error.error)?;
    known_hosts.pin(host, found).map_err(failed)?;
    Ok((dialed, found))
}

/// Decides about a certificate that nobody pinned: this machine's own is taken, any other only
/// if a person says so.
fn may_pin(
    host: &Host,
    address: Option<SocketAddr>,
    found: &Fingerprint,
    ask: Option<Ask<'_>>,
) -> Result<(), ServerError> {
    let is_loopback = address.is_some_and(|address| address.ip().is_loopback());
    match is_loopback || ask.is_some_and(|ask| ask(host, found)) {
        true => Ok(()),
        false => Err(ServerError::Unpinned { host: host.clone(), found: *found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_person_or_loopback_lets_a_new_certificate_in() {
        let host = Host::parse("studio:4000").unwrap();
        let found = Fingerprint::of(b"certificate");
        let far = Some("192.0.2.7:4000".parse().unwrap());
        let yes: Ask<'_> =
            &|asked_host, asked| asked_host.name == "studio" && *asked == Fingerprint::of(b"certificate");
        let no: Ask<'_> = &|_, _| false;
        let never: Ask<'_> = &|_, _| panic!("loopback is not asked about");
        for near in ["127.0.0.1:4000", "127.9.9.9:1", "[::1]:4000"] {
            assert!(may_pin(&host, Some(near.parse().unwrap()), &found, Some(never)).is_ok(), "{near}");
        }
        assert!(may_pin(&host, far, &found, Some(yes)).is_ok());
        for (address, ask) in [(far, Some(no)), (far, None), (None, None), (None, Some(no))] {
            let refused = may_pin(&host, address, &found, ask).unwrap_err().to_string();
            assert!(refused.contains(&format!("`git dits auth pin studio:4000 {found}`")), "{refused}");
        }
    }
}
