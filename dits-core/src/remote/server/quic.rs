//! QUIC as Dits uses it: one setting of it for both ends, and the proof that opens it.
//!
//! **For:** the data plane of client and server.
//!
//! **May touch:** UDP sockets that it is given.
//!
//! **Must hold:**
//! - no 0-RTT: nothing of the data plane can be replayed;
//! - a proof is worth nothing on another connection.
//!
//! **Format:** `docs/protocols/data-v1.md`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use quinn::{IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};
use sha2::Sha256;

use super::link::{FramesIn, FramesOut, LinkError, Patience};
use crate::wire::frame::{Frame, RefusalCode};

/// The name of the data plane's version in the TLS handshake.
pub const ALPN: &[u8] = b"dits/1";
/// Most streams of one connection at once.
pub const STREAMS_MAX: u32 = 8;
/// Streams that a client opens: more only wait for each other.
pub const STREAMS: usize = 4;
/// Bytes of one stream, and of one connection, that may be on their way.
///
/// On a path of 100 ms the connection's window allows 240 MB/s; it is also the memory that
/// a connection takes where the receiver is the slower one.
const STREAM_WINDOW: u32 = 16 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 24 * 1024 * 1024;
/// Buffers asked of the system for the UDP socket; it may give less.
const SOCKET_BUFFER_LEN: usize = 8 * 1024 * 1024;
/// quinn sends ten segments at once, which together must stay below 64 KiB.
const MTU_MAX: u16 = 6_400;
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const IDLE_TIMEOUT_MS: u32 = 20_000;
/// How long the server may take to check a proof.
const AUTH_SILENCE_MAX: Duration = Duration::from_secs(10);
/// How long the packet that closes a connection may take to leave, and how often to look.
const CLOSE_PATIENCE: Duration = Duration::from_millis(200);
const CLOSE_LOOK_INTERVAL: Duration = Duration::from_millis(1);

const EXPORTER_LABEL: &[u8] = b"dits data v1";

/// What both ends set the same: windows for fast and far networks, larger packets where the
/// path takes them, and signs of life.
pub fn transport_config() -> Arc<TransportConfig> {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(MTU_MAX);
    let mut config = TransportConfig::default();
    config
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(u64::from(CONNECTION_WINDOW))
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX + 1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(Some(KEEP_ALIVE_INTERVAL))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        .mtu_discovery_config(Some(mtu))
        .enable_segmentation_offload(true);
    Arc::new(config)
}

/// The settings of an endpoint: it takes packets as large as the other end may try.
pub fn endpoint_config() -> quinn::EndpointConfig {
    let mut config = quinn::EndpointConfig::default();
    config.max_udp_payload_size(MTU_MAX).expect("the bound is above QUIC's smallest");
    config
}

/// Asks the system for buffers that a burst of packets fits in.
///
/// Returns the bytes of the receive buffer that it gave. A small buffer loses packets, which
/// are sent again: slower, and nothing worse.
///
/// # Errors
///
/// The system's error if the socket cannot be asked.
pub fn enlarge_buffers(socket: &std::net::UdpSocket) -> std::io::Result<usize> {
    let socket = socket2::SockRef::from(socket);
    // Linux gives as much of it as net.core.rmem_max and wmem_max allow, and reports no error.
    socket.set_recv_buffer_size(SOCKET_BUFFER_LEN)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_LEN)?;
    socket.recv_buffer_size()
}

/// The other end cannot bind a proof to this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection has no keying material")]
pub struct NoExporter;

/// 32 bytes that both ends of this very connection know, and nobody else.
///
/// # Errors
///
/// [`NoExporter`] before the handshake is over.
pub fn exporter_of(connection: &quinn::Connection) -> Result<[u8; 32], NoExporter> {
    let mut bytes = [0; 32];
    connection.export_keying_material(&mut bytes, EXPORTER_LABEL, b"").map_err(|_| NoExporter)?;
    Ok(bytes)
}

/// The proof that whoever is at the other end of the connection holds `secret`.
pub fn proof(secret: &[u8; 32], exporter: &[u8; 32]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(exporter);
    mac.finalize().into_bytes().into()
}

/// A client's connection that was proven to come from the holder of a token.
pub struct Dialed {
    /// The connection.
    pub connection: quinn::Connection,
    /// Keeps the socket open.
    _endpoint: quinn::Endpoint,
}

impl Dialed {
    /// Tells the other end that this connection is over, and waits until that has left.
    ///
    /// Without it the other end would keep what belongs to the connection until its idle
    /// timeout. What gets lost on the way has just that effect, so nobody waits for an answer.
    pub async fn close(&self) {
        if self.connection.close_reason().is_some() {
            return;
        }
        self.connection.close(VarInt::from_u32(0), b"done");
        // quinn does not count the frames that close connections. A closed one sends nothing else, but one
        // that is still open may, so that counting begins here; if the frame left already, patience ends it.
        let sent = || self.connection.stats().udp_tx.datagrams;
        let sent_before = sent();
        let leaving = async {
            while sent() == sent_before {
                tokio::time::sleep(CLOSE_LOOK_INTERVAL).await;
            }
        };
        // Nothing can leave where the network is gone.
        let _ = tokio::time::timeout(CLOSE_PATIENCE, leaving).await;
    }
}

/// Why there is no connection. But for a refusal, whoever asks for one treats all of these alike:
/// as a network that UDP does not pass.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No socket.
    #[error("no UDP socket")]
    Socket(#[source] std::io::Error),
    /// The settings do not fit QUIC, or the address cannot be dialed.
    #[error("the address cannot be dialed")]
    Settings,
    /// The handshake failed.
    #[error("the QUIC handshake failed")]
    Handshake(#[source] quinn::ConnectionError),
    /// The server did not accept the proof, or has no place.
    #[error("{reason}")]
    Refused {
        /// What a program makes of it.
        code: RefusalCode,
        /// What the server said.
        reason: String,
    },
    /// The server answered what it must not.
    #[error("something else than an answer to the proof")]
    Nonsense,
    /// The stream of the proof failed.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// It took too long.
    #[error("no answer over UDP")]
    TimedOut,
}

/// Connects to `address`, and proves that this end holds the token.
///
/// # Errors
///
/// [`DialError`].
pub async fn dial(
    address: SocketAddr,
    tls: rustls::ClientConfig,
    token_id: [u8; 16],
    secret: &[u8; 32],
) -> Result<Dialed, DialError> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).map_err(DialError::Socket)?;
    // Small buffers are slower, and nothing worse.
    let _ = enlarge_buffers(&socket);
    let endpoint = quinn::Endpoint::new(endpoint_config(), None, socket, Arc::new(quinn::TokioRuntime));
    let endpoint = endpoint.map_err(DialError::Socket)?;
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).map_err(|_| DialError::Settings)?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport_config());
    // The certificate is pinned by its fingerprint; the name in the handshake says nothing.
    let connecting = endpoint.connect_with(config, address, "dits.invalid").map_err(|_| DialError::Settings)?;
    let connection = connecting.await.map_err(DialError::Handshake)?;
    let mac = proof(secret, &exporter_of(&connection).map_err(|_| DialError::Settings)?);
    let (send, receive) = connection.open_bi().await.map_err(DialError::Handshake)?;
    let mut leaving = FramesOut::quic(send);
    leaving.send(&Frame::Auth { token_id, mac }).await?;
    leaving.finish().await?;
    match FramesIn::quic(receive, Patience::of(AUTH_SILENCE_MAX)).next().await? {
        Some(Frame::Ok) => Ok(Dialed { connection, _endpoint: endpoint }),
        Some(Frame::Refused { code, reason }) => Err(DialError::Refused { code, reason }),
        _ => Err(DialError::Nonsense),
    }
}
