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

use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use quinn::{IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};
use sha2::Sha256;

/// The name of the data plane's version in the TLS handshake.
pub const ALPN: &[u8] = b"dits/1";
/// Most streams of one connection at once.
pub const STREAMS_MAX: u32 = 8;
/// Streams that a client opens: more only wait for each other.
pub const STREAMS: usize = 4;
/// Bytes of one stream, and of one connection, that may be on their way.
///
/// On a path of 100 ms the connection's window allows 320 MB/s; it is also the memory that
/// a connection takes where the receiver is the slower one.
const STREAM_WINDOW: u32 = 16 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 32 * 1024 * 1024;
/// Buffers asked of the system for the UDP socket; it may give less.
const SOCKET_BUFFER_LEN: usize = 8 * 1024 * 1024;
/// quinn sends ten segments at once, which together must stay below 64 KiB.
const MTU_MAX: u16 = 6_400;
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const IDLE_TIMEOUT_MS: u32 = 20_000;

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
