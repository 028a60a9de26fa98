//! Connections from clients: TCP and UDP on one port number, TLS in front of everything.
//!
//! **For:** the control plane, and later the HTTP API on the same port.
//!
//! **May touch:** sockets.
//!
//! **Must hold:** a client that does not finish its handshake in time is dropped, and there
//! are never more than [`CONNECTIONS_MAX`] of them.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

/// Most connections at once.
pub const CONNECTIONS_MAX: usize = 1024;
/// How long a client may take over the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a free port is tried for, where the TCP one's number is taken for UDP.
const FREE_PORT_TRIES: usize = 16;

/// Both sockets of one address.
#[derive(Debug)]
pub struct Sockets {
    /// For the control plane.
    pub tcp: TcpListener,
    /// For the data plane.
    pub udp: UdpSocket,
    /// The real address, its port never 0.
    pub address: SocketAddr,
}

/// The address cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({protocol})")]
pub struct BindError {
    /// The address asked for.
    pub address: SocketAddr,
    /// TCP or UDP.
    pub protocol: &'static str,
    /// What the system said.
    pub source: io::Error,
}

/// Opens TCP and UDP on the same port. For port 0 the system picks one that is free for both.
///
/// # Errors
///
/// [`BindError`] if the address or port is not to be had.
pub fn bind(asked: SocketAddr) -> Result<Sockets, BindError> {
    let failed = |protocol| move |source| BindError { address: asked, protocol, source };
    let mut tries = 0;
    loop {
        let tcp = TcpListener::bind(asked).map_err(failed("TCP"))?;
        let address = tcp.local_addr().map_err(failed("TCP"))?;
        match UdpSocket::bind(address) {
            Ok(udp) => {
                tcp.set_nonblocking(true).map_err(failed("TCP"))?;
                udp.set_nonblocking(true).map_err(failed("UDP"))?;
                return Ok(Sockets { tcp, udp, address });
            }
            Err(error) if asked.port() != 0 || tries == FREE_PORT_TRIES => return Err(failed("UDP")(error)),
            Err(_) => tries += 1,
        }
    }
}

/// One client's connection, encrypted.
#[derive(Debug)]
pub struct Connection {
    stream: TlsStream<TcpStream>,
    peer: SocketAddr,
    _permit: OwnedSemaphorePermit,
}

/// Accepts connections and shakes hands, many at a time. Ends when the receiver is dropped.
///
/// # Errors
///
/// The system's error if the socket cannot be given to the runtime.
pub fn connections(tcp: TcpListener, tls: rustls::ServerConfig) -> io::Result<ReceiverStream<io::Result<Connection>>> {
    let listener = tokio::net::TcpListener::from_std(tcp)?;
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(tls)), sender));
    Ok(ReceiverStream::new(receiver))
}

async fn accept(listener: tokio::net::TcpListener, tls: TlsAcceptor, sender: mpsc::Sender<io::Result<Connection>>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let permit = permits.clone().acquire_owned().await.expect("the semaphore is never closed");
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = sender.closed() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                tokio::spawn(shake_hands(stream, peer, permit, tls.clone(), sender.clone()));
            }
            Err(error) => {
                // Out of descriptors, most likely. Trying again at once would only spin.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn shake_hands(
    stream: TcpStream,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
    tls: TlsAcceptor,
    sender: mpsc::Sender<io::Result<Connection>>,
) {
    // Small answers must not wait for a full packet; without it the answers are only slower.
    let _ = stream.set_nodelay(true);
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => {
            let _ = sender.send(Ok(Connection { stream, peer, _permit: permit })).await;
        }
        Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
        Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
    }
}

impl Connected for Connection {
    type ConnectInfo = SocketAddr;

    fn connect_info(&self) -> SocketAddr {
        self.peer
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sockets_have_one_port() {
        let sockets = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_ne!(sockets.address.port(), 0);
        assert_eq!(sockets.udp.local_addr().unwrap(), sockets.address);
        let taken = bind(sockets.address).unwrap_err();
        assert_eq!(taken.protocol, "TCP");
    }
}
