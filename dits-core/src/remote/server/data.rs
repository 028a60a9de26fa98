//! Items to and from a server, over whichever carrier works.
//!
//! **For:** pushing and fetching media.
//!
//! **May touch:** the network.
//!
//! **Must hold:**
//! - an item is compared with its name before it is handed on;
//! - memory is bounded whatever the number of items and the speed of either end;
//! - where UDP fails, the rest goes over gRPC, and a person is told so once;
//! - a server that is gone ends a transfer as soon as the system says so over TCP.
//!
//! **Format:** `docs/protocols/data-v1.md`.

mod download;
mod upload;

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::link::{FramesIn, FramesOut, LinkError, Patience};
use super::pulse::Pulse;
use super::trust::PinVerifier;
use super::{ServerError, ServerRemote, Transport, control, grpc, quic};
use crate::remote::proto::{Direction, OpenDataRequest};
use crate::wire::frame::RefusalCode;

/// How long QUIC may take to connect before gRPC is used instead.
const QUIC_PATIENCE: Duration = Duration::from_secs(2);
/// The same where there is nothing to use instead.
const QUIC_ONLY_PATIENCE: Duration = Duration::from_secs(10);
/// How long a server may say nothing while an answer is due: it may be syncing a slow disk.
const ANSWER_SILENCE_MAX: Duration = Duration::from_secs(300);
/// How long to wait before what a server could not take is tried once more.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Bytes of items that are held here on their way.
const ROOM: usize = 32 * 1024 * 1024;
const _: () = assert!(crate::limits::FRAME_LEN_MAX + 4 <= ROOM);

/// What is remembered between transfers.
#[derive(Default)]
pub struct DataState {
    upload: Option<Quic>,
    download: Option<Quic>,
    gave_up_quic: bool,
    /// Something that may pass happened, and since then no transfer has gone well.
    was_retried: bool,
}

/// A QUIC connection, and the life of the TCP connection that its token came over.
#[derive(Clone)]
struct Quic {
    dialed: Arc<quic::Dialed>,
    control: Option<Pulse>,
}

impl Quic {
    /// Returns true if the server cannot be expected at the other end any more.
    fn is_gone(&self) -> bool {
        self.dialed.connection.close_reason().is_some() || self.lost_control()
    }

    fn lost_control(&self) -> bool {
        self.control.as_ref().is_some_and(Pulse::has_ended)
    }

    /// Does some work for as long as the control connection is there.
    async fn watched<T>(control: Option<&Pulse>, work: impl Future<Output = T>) -> Result<T, StreamError> {
        let Some(control) = control else { return Ok(work.await) };
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = control.clone().ended() => Err(StreamError::ControlLost),
        }
    }
}

/// What opens streams of frames.
#[derive(Clone)]
enum Carrier {
    Quic(Quic),
    Grpc { client: Box<super::channel::Client>, repo: String, direction: Direction },
}

/// Why a stream did not do its work.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("the control connection was lost")]
    ControlLost,
    #[error("{reason}")]
    Refused { code: RefusalCode, reason: String },
    #[error("{0}")]
    Nonsense(&'static str),
}

impl Carrier {
    /// How many streams carry items at once.
    fn stream_count(&self) -> usize {
        match self {
            Carrier::Quic(_) => quic::STREAMS,
            // All calls share one TCP connection: more of them would only wait for each other.
            Carrier::Grpc { .. } => 1,
        }
    }

    /// Returns true if this is a QUIC connection whose control connection is well.
    fn is_quic_alone(&self) -> bool {
        matches!(self, Carrier::Quic(quic) if !quic.lost_control())
    }

    /// Does the work of a stream, as long as the server is there. A call notices by itself.
    async fn guard<T>(&self, work: impl Future<Output = Result<T, StreamError>>) -> Result<T, StreamError> {
        match self {
            Carrier::Quic(quic) => Quic::watched(quic.control.as_ref(), work).await?,
            Carrier::Grpc { .. } => work.await,
        }
    }

    async fn open(&self) -> Result<(FramesOut, FramesIn), StreamError> {
        let patience = Patience::of(ANSWER_SILENCE_MAX);
        match self {
            Carrier::Quic(quic) => {
                let opened = quic.dialed.connection.open_bi().await;
                let (send, receive) =
                    opened.map_err(|error| LinkError::Write(quinn::WriteError::ConnectionLost(error)))?;
                Ok((FramesOut::quic(send), FramesIn::quic(receive, patience)))
            }
            Carrier::Grpc { client, repo, direction } => {
                let opened = grpc::open((**client).clone(), repo.clone(), *direction, patience).await;
                Ok(opened.map_err(|status| LinkError::Call(Box::new(status)))?)
            }
        }
    }
}

impl ServerRemote {
    /// Finds what carries data, and asks a server that is busy once more.
    fn carrier(&self, direction: Direction) -> Result<Carrier, ServerError> {
        self.find_carrier(direction).or_else(|error| {
            self.try_again(error)?;
            self.find_carrier(direction)
        })
    }

    /// Finds what carries data: QUIC where it may and can be used, gRPC elsewhere.
    fn find_carrier(&self, direction: Direction) -> Result<Carrier, ServerError> {
        let gave_up = {
            let state = self.data.lock().unwrap_or_else(PoisonError::into_inner);
            let kept = match direction {
                Direction::Download => &state.download,
                _ => &state.upload,
            };
            match kept {
                Some(quic) if !quic.is_gone() => return Ok(Carrier::Quic(quic.clone())),
                _ => state.gave_up_quic,
            }
        };
        let by_call = Carrier::Grpc { client: Box::new(self.control.clone()), repo: self.repo_name(), direction };
        match self.transport {
            Transport::Grpc => Ok(by_call),
            Transport::Auto if gave_up || self.quic_port == 0 => Ok(by_call),
            Transport::Quic if self.quic_port == 0 => Err(ServerError::NoQuic { host: self.host.clone() }),
            Transport::Auto => match self.dial_quic(direction, QUIC_PATIENCE)? {
                Some(carrier) => Ok(carrier),
                None => {
                    self.give_up_quic();
                    Ok(by_call)
                }
            },
            Transport::Quic => self
                .dial_quic(direction, QUIC_ONLY_PATIENCE)?
                .ok_or_else(|| ServerError::NoQuic { host: self.host.clone() }),
        }
    }

    /// Connects over QUIC; `None` where UDP does not pass in time.
    fn dial_quic(&self, direction: Direction, patience: Duration) -> Result<Option<Carrier>, ServerError> {
        let mut client = self.control.clone();
        let request = OpenDataRequest { repo: self.repo_name(), direction: direction.into() };
        let dialing = async {
            let token = client.open_data(request).await?.into_inner();
            let mut address = self.address;
            address.set_port(self.quic_port);
            let tls = PinVerifier::new(Some(self.pin)).client_config(quic::ALPN);
            let (Ok(id), Ok(secret)) = (token.token_id.as_ref().try_into(), token.secret.as_ref().try_into()) else {
                return Err(tonic::Status::internal("a token of another length"));
            };
            let control = self.line.pulse();
            let dialing = tokio::time::timeout(patience, quic::dial(address, tls, id, secret));
            let dialed = Quic::watched(control.as_ref(), dialing).await;
            Ok(dialed.map(|dialed| (dialed, control)))
        };
        let dialed = self.runtime.block_on(dialing).map_err(|status| control::call_failed(&self.host, status))?;
        let (dialed, control) = dialed.map_err(|error| self.server_error(error))?;
        let dialed = match dialed {
            Ok(Ok(dialed)) => dialed,
            Ok(Err(quic::DialError::Refused { code, reason })) => {
                return Err(self.server_error(StreamError::Refused { code, reason }));
            }
            Ok(Err(_)) | Err(_) => return Ok(None),
        };
        let quic = Quic { dialed: Arc::new(dialed), control };
        let mut state = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        match direction {
            Direction::Download => state.download = Some(quic.clone()),
            _ => state.upload = Some(quic.clone()),
        }
        Ok(Some(Carrier::Quic(quic)))
    }

    /// Uses gRPC from now on, and says so the first time.
    fn give_up_quic(&self) {
        let first = {
            let mut state = self.data.lock().unwrap_or_else(PoisonError::into_inner);
            (state.upload, state.download) = (None, None);
            !std::mem::replace(&mut state.gave_up_quic, true)
        };
        if first {
            let host = &self.host;
            (self.warn)(&format!(
                "UDP does not reach {host}: media goes over TCP instead (dits.transport=grpc does so at once)"
            ));
        }
    }

    /// Decides what becomes of a transfer whose carrier failed: gRPC goes on where QUIC broke,
    /// and what may pass is tried once more.
    fn after_failure(&self, carrier: &Carrier, error: StreamError) -> Result<(), ServerError> {
        let error = match error {
            StreamError::Link(link) => match link.refusal() {
                Some((code, reason)) => StreamError::Refused { code, reason },
                None => StreamError::Link(link),
            },
            other => other,
        };
        let is_broken = match &error {
            StreamError::Link(LinkError::Frame(_)) | StreamError::Refused { .. } | StreamError::Nonsense(_) => false,
            StreamError::ControlLost => false,
            StreamError::Link(_) => true,
        };
        if carrier.is_quic_alone() && is_broken && self.transport == Transport::Auto {
            self.give_up_quic();
            return Ok(());
        }
        self.try_again(self.server_error(error))
    }

    /// Gets ready to do once more what may pass; any other error is returned.
    fn try_again(&self, error: ServerError) -> Result<(), ServerError> {
        if !error.is_retryable() || self.set_retried(true) {
            return Err(error);
        }
        self.runtime.block_on(async {
            for dialed in self.take_dialed() {
                dialed.close().await;
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        });
        Ok(())
    }

    /// Notes whether what may pass is being tried once more; returns what was noted before.
    fn set_retried(&self, is_retried: bool) -> bool {
        let mut state = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut state.was_retried, is_retried)
    }

    /// Says of a stream's failure which server it was.
    fn server_error(&self, error: StreamError) -> ServerError {
        let host = self.host.clone();
        match error {
            StreamError::Link(LinkError::Call(status)) => control::call_failed(&host, *status),
            StreamError::ControlLost => ServerError::Lost { host },
            StreamError::Link(source) => ServerError::Data { host, source },
            StreamError::Refused { code, reason } => ServerError::Refused { host, code, reason },
            StreamError::Nonsense(what) => ServerError::Answer { host, what },
        }
    }

    /// Takes out the QUIC connections, so that the next transfer makes new ones.
    pub(super) fn take_dialed(&self) -> impl Iterator<Item = Arc<quic::Dialed>> + use<> {
        let mut state = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        [state.upload.take(), state.download.take()].into_iter().flatten().map(|quic| quic.dialed)
    }
}
