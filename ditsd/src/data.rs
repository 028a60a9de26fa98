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
use dits_core::remote::server::link::{FramesIn, FramesOut, LinkError, Patience};
use dits_core::remote::server::quic;
use dits_core::store::Store;
use dits_core::wire::frame::{Frame, RefusalCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use refusal::Refusal;
use tokens::Tokens;
use upload::Uploading;

pub use tokens::TableFull;

/// Bytes that arrived on one connection and are not stored yet.
const ROOM: usize = 20 * 1024 * 1024;
/// How long a client of the control plane may take to say which data it wants to move.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages of a gRPC call that wait for the network.
const REPLIES_WAITING: usize = 8;

const _: () = assert!(dits_core::limits::FRAME_LEN_MAX + 4 <= ROOM);

/// How much, and how much patience, clients get.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most connections at once, gRPC calls counted.
    pub connections_max: usize,
    /// Most QUIC connections that have not proven anything yet.
    pub handshakes_max: usize,
    /// How long a client may take to prove that it holds a token.
    pub auth_timeout: Duration,
    /// How long a client may be silent inside a frame.
    pub frame_silence_max: Duration,
    /// How long it may be silent between two frames or two streams, or take nothing of what it asked for. A client that
    /// is gone is noticed by the connection itself, long before; this is for one that waits for a
    /// slow disk, or hangs.
    pub idle_max: Duration,
    /// How long a token may be used.
    pub token_valid: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 64,
            handshakes_max: 64,
            auth_timeout: Duration::from_secs(10),
            frame_silence_max: Duration::from_secs(30),
            idle_max: Duration::from_secs(15 * 60),
            token_valid: Duration::from_secs(60),
        }
    }
}

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

    /// Keeps, under a lease of this name, what the repository's own client sent and the store had already: `there`
    /// in the repository's packs, and `adopted` in others', which it has from now on.
    ///
    /// # Errors
    ///
    /// Whatever the database says.
    fn record(
        &self,
        domain: Domain,
        lease: [u8; 16],
        adopted: &[ItemId],
        there: &[ItemId],
    ) -> Result<(), PresenceError>;
}

/// The data plane of one server.
pub struct DataPlane {
    store: Arc<Store>,
    presence: Arc<dyn Presence>,
    limits: Limits,
    tokens: Mutex<Tokens>,
    connections: Arc<Semaphore>,
}

impl DataPlane {
    /// Moves items in and out of `store`.
    pub fn new(store: Arc<Store>, presence: Arc<dyn Presence>, limits: Limits) -> Arc<DataPlane> {
        Arc::new(DataPlane {
            store,
            presence,
            limits,
            tokens: Mutex::new(Tokens::new(limits.token_valid)),
            connections: Arc::new(Semaphore::new(limits.connections_max)),
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
            valid_secs: self.limits.token_valid.as_secs() as u32,
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

    /// Reads what counts as damaged of an item that is not present, and returns true if the repository has
    /// it all the same.
    fn is_present_after_all(&self, domain: Domain, id: &ItemId) -> Result<bool, PresenceError> {
        let is_good = self.store.look_again(Some(domain), id)?;
        Ok(is_good || (self.presence.has(domain, id)? && self.store.look_again(None, id)?))
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
            let arriving = FramesIn::requests(requests, plane.patience());
            let frames = Frames { arriving, leaving: FramesOut::replies(sender) };
            let room = Arc::new(Semaphore::new(ROOM));
            let uploading = match grant.direction {
                Direction::Upload => Some(plane.start_upload(grant.domain)),
                Direction::Download => None,
            };
            // Whom a call is refused to has been told.
            let _ = plane.serve_stream(grant, frames, &room, uploading.as_ref()).await;
        });
        Ok(ReceiverStream::new(receiver))
    }

    /// Serves the data plane over QUIC until the endpoint is closed.
    pub async fn serve_quic(self: Arc<Self>, endpoint: quinn::Endpoint) {
        let handshakes = Arc::new(Semaphore::new(self.limits.handshakes_max));
        while let Some(incoming) = endpoint.accept().await {
            let Ok(shaking) = handshakes.clone().try_acquire_owned() else {
                incoming.refuse();
                continue;
            };
            let plane = Arc::clone(&self);
            tokio::spawn(async move {
                let peer = incoming.remote_address();
                let greeted = tokio::time::timeout(plane.limits.auth_timeout, plane.greet(incoming)).await;
                drop(shaking);
                match greeted {
                    Ok(Some((connection, grant, permit))) => {
                        plane.serve_connection(connection, grant).await;
                        drop(permit);
                    }
                    Ok(None) => {}
                    Err(_) => tracing::info!(%peer, "a data connection proved nothing in time"),
                }
            });
        }
    }

    /// Shakes hands, checks the proof and finds a place.
    async fn greet(&self, incoming: quinn::Incoming) -> Option<(quinn::Connection, Grant, OwnedSemaphorePermit)> {
        let peer = incoming.remote_address();
        let connection = match incoming.await {
            Ok(connection) => connection,
            Err(error) => {
                tracing::debug!(%peer, %error, "a data connection did not come about");
                return None;
            }
        };
        let (send, receive) = connection.accept_bi().await.ok()?;
        let patience = Patience::of(self.limits.auth_timeout);
        let mut frames = Frames { arriving: FramesIn::quic(receive, patience), leaving: FramesOut::quic(send) };
        match self.check_proof(&connection, &mut frames).await {
            Ok((grant, permit)) => {
                frames.leaving.send(&Frame::Ok).await.ok()?;
                frames.leaving.finish().await.ok()?;
                Some((connection, grant, permit))
            }
            Err(refusal) => {
                refusal.log(&peer.to_string());
                let told = refusal.tell(frames.leaving).await;
                close_refused(&connection, &told);
                None
            }
        }
    }

    async fn check_proof(
        &self,
        connection: &quinn::Connection,
        frames: &mut Frames,
    ) -> Result<(Grant, OwnedSemaphorePermit), Refusal> {
        let (token_id, mac) = match frames.arriving.next().await? {
            Some(Frame::Auth { token_id, mac }) => (token_id, mac),
            Some(other) => return Err(Refusal::out_of_place(&other)),
            None => return Err(Refusal::ended()),
        };
        let exporter = quic::exporter_of(connection).map_err(|_| Refusal::no_exporter())?;
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let grant = tokens.redeem(&token_id, &mac, &exporter, Instant::now())?;
        let permit = self.connections.clone().try_acquire_owned().map_err(|_| Refusal::busy())?;
        Ok((grant, permit))
    }

    async fn serve_connection(self: Arc<Self>, connection: quinn::Connection, grant: Grant) {
        let peer = connection.remote_address().to_string();
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
                    let arriving = FramesIn::quic(receive, self.patience());
                    let frames = Frames { arriving, leaving: FramesOut::quic(send) };
                    let (plane, room, uploading) = (Arc::clone(&self), Arc::clone(&room), uploading.clone());
                    streams.spawn(async move { plane.serve_stream(grant, frames, &room, uploading.as_ref()).await });
                }
                // Pings keep a connection that moves nothing, and its place is wanted.
                () = tokio::time::sleep(self.limits.idle_max), if streams.is_empty() => {
                    let idle = Refusal::Link(LinkError::Silent(self.limits.idle_max));
                    idle.log(&peer);
                    close_refused(&connection, &idle.for_peer());
                    break;
                }
                Some(served) = streams.join_next() => {
                    // One refusal ends the connection: a peer that sends wrong things is not
                    // given the other streams to go on with.
                    match served {
                        Ok(Ok(())) => continue,
                        Ok(Err(told)) => close_refused(&connection, &told),
                        Err(_) => close_refused(&connection, &Refusal::WriterGone.for_peer()),
                    }
                    break;
                }
            }
        }
        while streams.join_next().await.is_some() {}
        tracing::debug!(%peer, sent = connection.stats().udp_tx.bytes, received = connection.stats().udp_rx.bytes, "data connection ended");
    }

    /// Serves one stream to its end; an error is what the peer was told.
    async fn serve_stream(
        self: &Arc<Self>,
        grant: Grant,
        mut frames: Frames,
        room: &Arc<Semaphore>,
        uploading: Option<&Uploading>,
    ) -> Result<(), (RefusalCode, String)> {
        let served = match uploading {
            Some(uploading) => upload::serve(uploading, &mut frames, room).await,
            None => download::serve(self, grant.domain, &mut frames).await,
        };
        match served {
            Ok(()) => {
                if let Ok(ended) = frames.leaving.finish().await {
                    ended.delivered().await;
                }
                Ok(())
            }
            Err(refusal) => {
                refusal.log(&format!("{:?} of {:02x?}", grant.direction, grant.domain.0));
                Err(refusal.tell(frames.leaving).await)
            }
        }
    }

    fn start_upload(self: &Arc<Self>, domain: Domain) -> Uploading {
        upload::start(Arc::clone(&self.store), Arc::clone(&self.presence), domain)
    }

    fn patience(&self) -> Patience {
        Patience { between_frames: self.limits.idle_max, inside_frame: self.limits.frame_silence_max }
    }
}

/// Ends a connection with what one of its streams was told: the others may hear only of this.
fn close_refused(connection: &quinn::Connection, (code, reason): &(RefusalCode, String)) {
    connection.close(quinn::VarInt::from_u32(code.0.into()), reason.as_bytes());
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
    let first = tokio::time::timeout(OPEN_TIMEOUT, requests.message()).await;
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
