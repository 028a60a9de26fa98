//! Refusals: what a peer is told, and what the log says.
//!
//! **For:** the streams of the data plane; the one place where a failure becomes a code.
//!
//! **May touch:** the log.
//!
//! **Must hold:** a peer is told nothing about the server's disks, tokens or other
//! repositories.
//!
//! **Format:** `docs/protocols/data-v1.md`.

use std::time::Duration;

use dits_core::item::ItemId;
use dits_core::remote::server::link::{FramesOut, LinkError};
use dits_core::store::{ReadError, WriteError};
use dits_core::wire::frame::{Frame, FrameError, RefusalCode};

use super::PresenceError;
use super::tokens::BadToken;

/// How long a peer may take to read why it was refused.
const TELL_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a stream ends before its end.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The stream itself failed.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A frame that does not belong here.
    #[error("a {0} frame does not belong here")]
    OutOfPlace(&'static str),
    /// The stream ended where something had to follow.
    #[error("the stream ended too early")]
    Ended,
    /// An item that is not what its name says.
    #[error("{0} is not what its name says")]
    WrongItem(ItemId),
    /// The token opens nothing.
    #[error(transparent)]
    Token(#[from] BadToken),
    /// The proof cannot be checked.
    #[error("the connection has no keying material")]
    NoExporter,
    /// Too many connections.
    #[error("too many data connections")]
    Busy,
    /// The store did not take items.
    #[error("cannot store")]
    Write(#[source] WriteError),
    /// The store did not give an item.
    #[error("cannot read")]
    Read(#[source] ReadError),
    /// The database failed.
    #[error("cannot tell what the repository has")]
    Presence(#[source] PresenceError),
    /// A thread of the server's own is gone.
    #[error("the connection's writer has gone")]
    WriterGone,
    /// Another stream of the connection was refused first.
    #[error("another stream of the connection was refused")]
    Together(RefusalCode, String),
}

impl Refusal {
    /// A frame that does not belong here.
    pub fn out_of_place(frame: &Frame) -> Refusal {
        Refusal::OutOfPlace(frame.name())
    }

    /// The stream ended too early.
    pub fn ended() -> Refusal {
        Refusal::Ended
    }

    /// The proof cannot be checked.
    pub fn no_exporter() -> Refusal {
        Refusal::NoExporter
    }

    /// Too many connections.
    pub fn busy() -> Refusal {
        Refusal::Busy
    }

    /// What the peer is told.
    pub fn for_peer(&self) -> (RefusalCode, String) {
        match self {
            Refusal::Link(LinkError::Frame(error)) => (RefusalCode::BAD_FRAME, error.to_string()),
            Refusal::Link(LinkError::Silent(_)) => (RefusalCode::TOO_SLOW, self.to_string()),
            Refusal::Link(_) | Refusal::Ended => (RefusalCode::BAD_FRAME, FrameError::Cut.to_string()),
            Refusal::OutOfPlace(_) => (RefusalCode::BAD_FRAME, self.to_string()),
            Refusal::WrongItem(_) => (RefusalCode::BAD_ITEM, self.to_string()),
            Refusal::Token(_) | Refusal::NoExporter => {
                (RefusalCode::BAD_TOKEN, "the token does not open this connection".to_owned())
            }
            Refusal::Busy => (RefusalCode::BUSY, self.to_string()),
            Refusal::Write(WriteError::Full { .. }) => {
                (RefusalCode::SERVER_FAILED, "the server's disk is full".to_owned())
            }
            Refusal::Write(_) | Refusal::Read(_) | Refusal::Presence(_) | Refusal::WriterGone => {
                (RefusalCode::SERVER_FAILED, "the server's store failed; its log has the reason".to_owned())
            }
            Refusal::Together(code, reason) => (*code, reason.clone()),
        }
    }

    /// Writes the whole reason to the log.
    pub fn log(&self, what: &str) {
        let mut reason = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            reason = format!("{reason}: {error}");
            cause = error.source();
        }
        match self {
            // A client that was stopped is no one's fault.
            Refusal::Link(LinkError::Read(_) | LinkError::Write(_) | LinkError::Call(_) | LinkError::Gone) => {
                tracing::info!(what, reason, "a data stream was cut off");
            }
            Refusal::Together(..) => tracing::debug!(what, reason, "a data stream ended with its connection"),
            Refusal::Write(_) | Refusal::Read(_) | Refusal::Presence(_) | Refusal::WriterGone => {
                tracing::error!(what, reason, "a data stream failed");
            }
            _ => tracing::warn!(what, reason, "a data stream was refused"),
        }
    }

    /// Tells the peer, as far as it listens, and returns what.
    pub async fn tell(&self, mut leaving: FramesOut) -> (RefusalCode, String) {
        let (code, reason) = self.for_peer();
        let frame = Frame::refused(code, &reason);
        let telling = async move {
            leaving.send(&frame).await?;
            leaving.finish().await?.delivered().await;
            Ok::<(), LinkError>(())
        };
        // The reason is in the log; a peer that does not read it has lost only its own.
        let _ = tokio::time::timeout(TELL_TIMEOUT, telling).await;
        (code, reason)
    }
}
