//! What can go wrong with a server, and whether trying again may help.
//!
//! **For:** the remote helper, which tells people and decides about retries.
//!
//! **May touch:** nothing.
//!
//! **Must hold:** every message names the host, and says what to do where that is known.

use std::io;

use tonic::{Code, Status};

use super::link::LinkError;
use super::trust::{Fingerprint, KnownHostsError};
use crate::remote_url::Host;
use crate::store::{ReadError, WriteError};
use crate::wire::frame::RefusalCode;

/// Why a server did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// No connection.
    #[error("cannot connect to {host}")]
    Unreachable {
        /// The server.
        host: Host,
        /// What the system said.
        source: io::Error,
    },
    /// No answer.
    #[error("{host} did not answer in time; is this the right port, and does a firewall let it through?")]
    TimedOut {
        /// The server.
        host: Host,
    },
    /// Nobody said that this certificate is the server's.
    #[error(
        "{host} is not known: its certificate is {found}; compare it with what ditsd printed when it started, \
         then run `git dits auth pin {host} {found}`"
    )]
    Unpinned {
        /// The server.
        host: Host,
        /// The certificate it showed.
        found: Fingerprint,
    },
    /// Another certificate than the one that was pinned.
    #[error(
        "the certificate of {host} has changed from {pinned} to {found}: this may be an attack; if the server was \
         set up anew, run `git dits auth pin {host} {found}`"
    )]
    PinChanged {
        /// The server.
        host: Host,
        /// The certificate that was pinned.
        pinned: Fingerprint,
        /// The certificate it showed.
        found: Fingerprint,
    },
    /// The pins cannot be read or written.
    #[error("the certificate of {host} cannot be checked")]
    KnownHosts {
        /// The server.
        host: Host,
        /// Why.
        source: KnownHostsError,
    },
    /// The server wants a credential, and there is none or a wrong one.
    #[error("{host} wants a token that it knows; git's credential helpers keep it as the password for this host")]
    NoCredential {
        /// The server.
        host: Host,
    },
    /// A call failed.
    #[error("{host} says: {}", status.message())]
    Call {
        /// The server.
        host: Host,
        /// What the server, or the connection to it, said.
        status: Box<Status>,
    },
    /// The server answered what it must not.
    #[error("{host} gave an answer that makes no sense: {what}")]
    Answer {
        /// The server.
        host: Host,
        /// What is wrong with it.
        what: &'static str,
    },
    /// UDP does not pass, and nothing else was allowed.
    #[error("no data connection to {host} over QUIC: UDP may be blocked; dits.transport=auto uses TCP then")]
    NoQuic {
        /// The server.
        host: Host,
    },
    /// The connection broke.
    #[error("the connection to {host} was lost")]
    Lost {
        /// The server.
        host: Host,
    },
    /// A data stream broke.
    #[error("the data connection to {host} failed")]
    Data {
        /// The server.
        host: Host,
        /// How.
        source: LinkError,
    },
    /// The server refused data.
    #[error("{host} refused data: {reason}")]
    Refused {
        /// The server.
        host: Host,
        /// What a program makes of it.
        code: RefusalCode,
        /// What the server said.
        reason: String,
    },
    /// An item to be sent could not be read here.
    #[error("an item to be sent to {host} cannot be read")]
    Read {
        /// The server.
        host: Host,
        /// Why.
        source: Box<ReadError>,
    },
    /// An item that came could not be stored here.
    #[error("an item from {host} cannot be stored")]
    Write {
        /// The server.
        host: Host,
        /// Why.
        source: Box<WriteError>,
    },
    /// The system gave no threads or sockets.
    #[error("cannot start the connection to {host}")]
    System {
        /// The server.
        host: Host,
        /// What the system said.
        source: io::Error,
    },
}

impl ServerError {
    /// Returns true if the same may succeed when it is tried again.
    pub fn is_retryable(&self) -> bool {
        match self {
            ServerError::Unreachable { .. } | ServerError::TimedOut { .. } | ServerError::Lost { .. } => true,
            ServerError::Data { source, .. } => match source {
                LinkError::Frame(_) => false,
                LinkError::Read(_) | LinkError::Write(_) | LinkError::Silent(_) | LinkError::Gone => true,
                LinkError::Call(status) => is_retryable_status(status),
            },
            ServerError::Call { status, .. } => is_retryable_status(status),
            ServerError::Refused { code, .. } => {
                [RefusalCode::BUSY, RefusalCode::TOO_SLOW, RefusalCode::BAD_TOKEN].contains(code)
            }
            ServerError::Unpinned { .. }
            | ServerError::PinChanged { .. }
            | ServerError::KnownHosts { .. }
            | ServerError::NoCredential { .. }
            | ServerError::Answer { .. }
            | ServerError::NoQuic { .. }
            | ServerError::Read { .. }
            | ServerError::Write { .. }
            | ServerError::System { .. } => false,
        }
    }
}

fn is_retryable_status(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::Aborted | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Cancelled => true,
        Code::Ok
        | Code::Unknown
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss
        | Code::Unauthenticated => false,
    }
}
