//! The data plane: items in and out, over QUIC and over gRPC.
//!
//! **For:** clients that the control plane let in, for one repository and one direction each.
//!
//! **May touch:** the store, through one writer a connection; sockets that it is given.
//!
//! **Must hold:**
//! - an item is hashed before it is stored, and before it is sent its stored form is checked;
//! - what a peer makes the server hold is bounded, whatever the peer does;
//! - a peer learns of an item only if its own repository has it;
//! - an item is on stable storage before STORED names it.
//!
//! **Format:** `docs/protocols/data-v1.md`.

mod download;
mod refusal;
mod tokens;
mod upload;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dits_core::item::ItemId;
use dits_core::pack_format::Domain;
use dits_core::remote::proto::{
    DataReply, DataRequest, Direction as WireDirection, OpenDataReply, OpenDataRequest, data_request,
};
use dits_core::remote::server::link::{FramesIn, FramesOut};
use dits_core::remote::server::quic;
use dits_core::store::Store;
use dits_core::wire::frame::Frame;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use refusal::Refusal;
use tokens::Tokens;
use upload::{Uploading, Writers};

pub use tokens::TableFull;

/// Most connections of the data plane at once, gRPC calls counted.
pub const CONNECTIONS_MAX: usize = 64;
/// Most QUIC connections that have not proven anything yet.
const HANDSHAKES_MAX: usize = 64;
/// Bytes that arrived on one connection and are not stored yet.
const ROOM: usize = 32 * 1024 * 1024;
/// How long a client may take to prove that it holds a token.
const AUTH_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may be silent inside a stream.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long a token may be used.
const TOKEN_VALID: Duration = Duration::from_secs(60);
/// Messages of a gRPC call that wait for the network.
const REPLIES_WAITING: usize = 8;

const _: () = assert!(dits_core::limits::FRAME_LEN_MAX + 4 <= ROOM);

/// Which way items go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the server.
    Upload,
    /// From the server.
    Download,
}

/// What one connection may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// The repository's packs.
    pub domain: Domain,
    /// Which way items may go.
    pub direction: Direction,
}

/// Why something that the server remembers could not be asked or written.
pub type PresenceError = Box<dyn std::error::Error + Send + Sync>;

/// Which items a repository has although a pack of another one holds them.
///
/// A row that was recorded is found from then on, also after a power loss. Calls block.
pub trait Presence: Send + Sync + 'static {
    /// Returns true if it was recorded that the repository has the item.
    ///
    /// # Errors
    ///
    /// Whatever the database says.
    fn has(&self, domain: Domain, id: &ItemId) -> Result<bool, PresenceError>;

    /// Records that the repository has these items; its own client sent each of them.
    ///
    /// # Errors
    ///
    /// Whatever the database says.
    fn record(&self, domain: Domain, ids: &[ItemId]) -> Result<(), PresenceError>;
}

/// The data plane of one server.
pub struct DataPlane {
    store: Arc<Store>,
    presence: Arc<dyn Presence>,
    tokens: Mutex<Tokens>,
    connections: Arc<Semaphore>,
    writers: Writers,
}

impl DataPlane {
    /// Moves items in and out of `store`.
    pub fn new(store: Arc<Store>, presence: Arc<dyn Presence>) -> Arc<DataPlane> {
        Arc::new(DataPlane {
            store,
            presence,
            tokens: Mutex::new(Tokens::new(TOKEN_VALID)),
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            writers: Writers::default(),
        })
    }

    /// Makes a token for one QUIC connection.
    ///
    /// # Errors
    ///
    /// [`TableFull`] while too many tokens wait to be used.
    pub fn open(&self, grant: Grant) -> Result<OpenDataReply, TableFull> {
        let (token_id, secret): ([u8; 16], [u8; 32]) = (rand::random(), rand::random());
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.issue(token_id, secret, grant, Instant::now())?;
        Ok(OpenDataReply {
            token_id: token_id.to_vec().into(),
            secret: secret.to_vec().into(),
            valid_secs: TOKEN_VALID.as_secs() as u32,
        })
    }

    /// Returns true if the repository has the item.
    ///
    /// Blocks: it asks the store and the database.
    ///
    /// # Errors
    ///
    /// [`PresenceError`] if either cannot be asked.
    pub fn is_present(&self, domain: Domain, id: &ItemId) -> Result<bool, PresenceError> {
        Ok(self.store.has_in(domain, id)? || (self.presence.has(domain, id)? && self.store.has(id)?))
    }

    /// Serves the data plane over one call of the control plane, after its `open` message.
    ///
    /// # Errors
    ///
    /// A status to answer with where the server has too much to do.
    pub fn serve_call(
        self: &Arc<Self>,
        grant: Grant,
        requests: Streaming<DataRequest>,
    ) -> Result<ReceiverStream<Result<DataReply, Status>>, Status> {
        let permit = self.connections.clone().try_acquire_owned();
        let permit = permit.map_err(|_| Status::unavailable("too many data connections"))?;
        let (sender, receiver) = mpsc::channel(REPLIES_WAITING);
        let plane = Arc::clone(self);
        tokio::spawn(async move {
            let _permit = permit;
            let frames =
                Frames { arriving: FramesIn::requests(requests, SILENCE_MAX), leaving: FramesOut::replies(sender) };
            let room = Arc::new(Semaphore::new(ROOM));
            let uploading = match grant.direction {
                Direction::Upload => Some(plane.start_upload(grant.domain)),
                Direction::Download => None,
            };
            plane.serve_stream(grant, frames, &room, uploading.as_ref()).await;
        });
        Ok(ReceiverStream::new(receiver))
    }

    /// Serves the data plane over QUIC until the endpoint is closed.
    pub async fn serve_quic(self: Arc<Self>, endpoint: quinn::Endpoint) {
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        while let Some(incoming) = endpoint.accept().await {
            let Ok(shaking) = handshakes.clone().try_acquire_owned() else {
                incoming.refuse();
                continue;
            };
            let plane = Arc::clone(&self);
            tokio::spawn(async move {
                let peer = incoming.remote_address();
                let greeted = tokio::time::timeout(AUTH_TIMEOUT, plane.greet(incoming)).await;
                drop(shaking);
                match greeted {
                    Ok(Some((connection, grant))) => plane.serve_connection(connection, grant).await,
                    Ok(None) => {}
                    Err(_) => tracing::info!(%peer, "a data connection proved nothing in time"),
                }
            });
        }
    }

    /// Shakes hands and checks the proof.
    async fn greet(&self, incoming: quinn::Incoming) -> Option<(quinn::Connection, Grant)> {
        let peer = incoming.remote_address();
        let connection = match incoming.await {
            Ok(connection) => connection,
            Err(error) => {
                tracing::debug!(%peer, %error, "a data connection did not come about");
                return None;
            }
        };
        let (send, receive) = connection.accept_bi().await.ok()?;
        let mut frames = Frames { arriving: FramesIn::quic(receive, AUTH_TIMEOUT), leaving: FramesOut::quic(send) };
        match self.check_proof(&connection, &mut frames).await {
            Ok(grant) => {
                frames.leaving.send(&Frame::Ok).await.ok()?;
                frames.leaving.finish().await.ok()?;
                Some((connection, grant))
            }
            Err(refusal) => {
                refusal.log(&peer.to_string());
                refusal.tell(frames.leaving).await;
                connection.close(quinn::VarInt::from_u32(1), b"refused");
                None
            }
        }
    }

    async fn check_proof(&self, connection: &quinn::Connection, frames: &mut Frames) -> Result<Grant, Refusal> {
        let (token_id, mac) = match frames.arriving.next().await? {
            Some(Frame::Auth { token_id, mac }) => (token_id, mac),
            Some(other) => return Err(Refusal::out_of_place(&other)),
            None => return Err(Refusal::ended()),
        };
        let exporter = quic::exporter_of(connection).map_err(|_| Refusal::no_exporter())?;
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(tokens.redeem(&token_id, &mac, &exporter, Instant::now())?)
    }

    async fn serve_connection(self: Arc<Self>, connection: quinn::Connection, grant: Grant) {
        let peer = connection.remote_address().to_string();
        let Ok(_permit) = self.connections.clone().try_acquire_owned() else {
            tracing::warn!(%peer, "refused: too many data connections");
            if let Ok((send, _receive)) = connection.accept_bi().await {
                Refusal::busy().tell(FramesOut::quic(send)).await;
            }
            return connection.close(quinn::VarInt::from_u32(2), b"busy");
        };
        let room = Arc::new(Semaphore::new(ROOM));
        let uploading = match grant.direction {
            Direction::Upload => Some(self.start_upload(grant.domain)),
            Direction::Download => None,
        };
        let mut streams = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                accepted = connection.accept_bi() => {
                    let Ok((send, receive)) = accepted else { break };
                    let frames =
                        Frames { arriving: FramesIn::quic(receive, SILENCE_MAX), leaving: FramesOut::quic(send) };
                    let (plane, room, uploading) = (Arc::clone(&self), Arc::clone(&room), uploading.clone());
                    streams.spawn(async move { plane.serve_stream(grant, frames, &room, uploading.as_ref()).await });
                }
                Some(served) = streams.join_next() => {
                    // One refusal ends the connection: a peer that sends wrong things is not
                    // given the other streams to go on with.
                    if !matches!(served, Ok(true)) {
                        connection.close(quinn::VarInt::from_u32(1), b"refused");
                        break;
                    }
                }
            }
        }
        while streams.join_next().await.is_some() {}
        tracing::debug!(%peer, sent = connection.stats().udp_tx.bytes, received = connection.stats().udp_rx.bytes, "data connection ended");
    }

    /// Serves one stream to its end; false if it was refused.
    async fn serve_stream(
        self: &Arc<Self>,
        grant: Grant,
        mut frames: Frames,
        room: &Arc<Semaphore>,
        uploading: Option<&Uploading>,
    ) -> bool {
        let served = match uploading {
            Some(uploading) => upload::serve(self, uploading, &mut frames, room).await,
            None => download::serve(self, grant.domain, &mut frames).await,
        };
        match served {
            Ok(()) => {
                if let Ok(ended) = frames.leaving.finish().await {
                    ended.delivered().await;
                }
                true
            }
            Err(refusal) => {
                refusal.log(&format!("{:?} of {:02x?}", grant.direction, grant.domain.0));
                refusal.tell(frames.leaving).await;
                false
            }
        }
    }

    fn start_upload(self: &Arc<Self>, domain: Domain) -> Uploading {
        self.writers.start(Arc::clone(&self.store), Arc::clone(&self.presence), domain)
    }
}

/// Both ways of one stream.
struct Frames {
    arriving: FramesIn,
    leaving: FramesOut,
}

/// Makes the QUIC endpoint of a server from its UDP socket and its TLS identity.
///
/// `tls` must offer the ALPN [`quic::ALPN`] and TLS 1.3.
///
/// # Errors
///
/// The system's error for a socket that cannot be used, and for a TLS setting that QUIC cannot be run with.
pub fn quic_endpoint(socket: std::net::UdpSocket, mut tls: rustls::ServerConfig) -> std::io::Result<quinn::Endpoint> {
    tls.alpn_protocols = vec![quic::ALPN.to_vec()];
    tls.max_early_data_size = 0;
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(tls).map_err(std::io::Error::other)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(quic::transport_config());
    let buffer_len = quic::enlarge_buffers(&socket)?;
    if buffer_len < 2 * 1024 * 1024 {
        tracing::warn!(buffer_len, "small UDP buffers lose packets: raise net.core.rmem_max to 8388608");
    }
    let runtime = Arc::new(quinn::TokioRuntime);
    quinn::Endpoint::new(quic::endpoint_config(), Some(config), socket, runtime)
}

/// Reads the first message of a `Data` call.
///
/// # Errors
///
/// A status to answer with if it is not `open`, or does not come in time.
pub async fn read_open(requests: &mut Streaming<DataRequest>) -> Result<OpenDataRequest, Status> {
    let first = tokio::time::timeout(AUTH_TIMEOUT, requests.message()).await;
    match first.map_err(|_| Status::deadline_exceeded("the first message did not come in time"))?? {
        Some(DataRequest { part: Some(data_request::Part::Open(open)) }) => Ok(open),
        _ => Err(Status::invalid_argument("the first message of a Data call is `open`")),
    }
}

/// Reads the direction of a request.
///
/// # Errors
///
/// A status to answer with for one that is none.
pub fn direction_of(request: &OpenDataRequest) -> Result<Direction, Status> {
    match request.direction() {
        WireDirection::Upload => Ok(Direction::Upload),
        WireDirection::Download => Ok(Direction::Download),
        WireDirection::Unspecified => Err(Status::invalid_argument("a direction is 1 (upload) or 2 (download)")),
    }
}
