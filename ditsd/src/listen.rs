//! Connections from clients: TCP and UDP on one port number, TLS in front of everything.
//!
//! **For:** the control plane, and later the HTTP API on the same port.
//!
//! **May touch:** sockets.
//!
//! **Must hold:** a client that does not finish its handshake in time, and one that is never let in,
//! are dropped; the [`Limits`] bound how many there are of them and of all.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

/// How many connections there may be, and how much patience there is with them.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most connections at once.
    pub connections_max: usize,
    /// Most of them whose client was not let in yet; further ones are dropped at once.
    pub strangers_max: usize,
    /// How long a client may take over the TLS handshake.
    pub handshake_timeout: Duration,
    /// How long it may then take until a call of it is let in. A person may have to find a password meanwhile.
    pub stranger_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 1024,
            strangers_max: 512,
            handshake_timeout: Duration::from_secs(10),
            stranger_timeout: Duration::from_secs(5 * 60),
        }
    }
}

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
    peer: Peer,
    /// `None` once the client was let in.
    patience: Option<Pin<Box<tokio::time::Sleep>>>,
    _permit: OwnedSemaphorePermit,
}

/// The client of one connection, as its calls see it.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its place among the strangers; `None` once it was let in.
    stranger: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

impl Peer {
    fn new(permit: OwnedSemaphorePermit) -> Peer {
        Peer { stranger: Arc::new(Mutex::new(Some(permit))) }
    }

    /// Says that a call of this client was let in.
    pub fn let_in(&self) {
        drop(self.stranger.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn is_stranger(&self) -> bool {
        self.stranger.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

/// Accepts connections and shakes hands, many at a time. Ends when the receiver is dropped.
///
/// # Errors
///
/// The system's error if the socket cannot be given to the runtime.
pub fn connections(
    tcp: TcpListener,
    tls: rustls::ServerConfig,
    limits: Limits,
) -> io::Result<ReceiverStream<io::Result<Connection>>> {
    let listener = tokio::net::TcpListener::from_std(tcp)?;
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(tls)), limits, sender));
    Ok(ReceiverStream::new(receiver))
}

async fn accept(
    listener: tokio::net::TcpListener,
    tls: TlsAcceptor,
    limits: Limits,
    sender: mpsc::Sender<io::Result<Connection>>,
) {
    let permits = Arc::new(Semaphore::new(limits.connections_max));
    let strangers = Arc::new(Semaphore::new(limits.strangers_max));
    loop {
        let permit = permits.clone().acquire_owned().await.expect("the semaphore is never closed");
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = sender.closed() => return,
        };
        match accepted {
            Ok((stream, address)) => match strangers.clone().try_acquire_owned() {
                Ok(stranger) => {
                    let connecting = Connecting { stream, address, peer: Peer::new(stranger), permit };
                    tokio::spawn(shake_hands(connecting, tls.clone(), limits, sender.clone()));
                }
                Err(_) => tracing::info!(%address, "too many clients that were not let in yet"),
            },
            Err(error) => {
                // Out of descriptors, most likely. Trying again at once would only spin.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// A connection before its handshake.
struct Connecting {
    stream: TcpStream,
    address: SocketAddr,
    peer: Peer,
    permit: OwnedSemaphorePermit,
}

async fn shake_hands(
    connecting: Connecting,
    tls: TlsAcceptor,
    limits: Limits,
    sender: mpsc::Sender<io::Result<Connection>>,
) {
    let Connecting { stream, address, peer, permit } = connecting;
    // Small answers must not wait for a full packet; without it the answers are only slower.
    let _ = stream.set_nodelay(true);
    match tokio::time::timeout(limits.handshake_timeout, tls.accept(stream)).await {
        Ok(Ok(stream)) => {
            let patience = Some(Box::pin(tokio::time::sleep(limits.stranger_timeout)));
            let _ = sender.send(Ok(Connection { stream, peer, patience, _permit: permit })).await;
        }
        Ok(Err(error)) => tracing::debug!(%address, %error, "TLS handshake failed"),
        Err(_) => tracing::debug!(%address, "TLS handshake took too long"),
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl Connection {
    /// Fails once a client that was not let in has had its time.
    fn check_patience(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(patience) = &mut self.patience else { return Ok(()) };
        match patience.as_mut().poll(cx) {
            Poll::Ready(()) if self.peer.is_stranger() => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "the client was not let in in time"))
            }
            Poll::Ready(()) => {
                self.patience = None;
                Ok(())
            }
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let connection = self.get_mut();
        connection.check_patience(cx)?;
        Pin::new(&mut connection.stream).poll_read(cx, buffer)
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

    fn acceptor() -> (rustls::ServerConfig, tokio_rustls::TlsConnector) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = || Arc::new(rustls::crypto::ring::default_provider());
        let server = rustls::ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let server = server.unwrap().with_no_client_auth().with_single_cert(vec![certificate.clone()], key.into());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate).unwrap();
        let client = rustls::ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let client = client.unwrap().with_root_certificates(roots).with_no_client_auth();
        (server.unwrap(), Arc::new(client).into())
    }

    #[tokio::test]
    async fn strangers_are_few_and_lose_their_place_in_time_and_others_do_not() {
        use tokio::io::AsyncReadExt;
        use tokio_stream::StreamExt;
        let limits = Limits { strangers_max: 2, stranger_timeout: Duration::from_millis(50), ..Limits::default() };
        let sockets = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let (server, client) = acceptor();
        let mut accepted = connections(sockets.tcp, server, limits).unwrap();
        let dial = async || {
            let stream = TcpStream::connect(sockets.address).await?;
            client.connect("localhost".try_into().unwrap(), stream).await
        };
        let (_one, _two) = (dial().await.unwrap(), dial().await.unwrap());
        let mut stranger = accepted.next().await.unwrap().unwrap();
        let mut known = accepted.next().await.unwrap().unwrap();
        assert!(dial().await.is_err(), "a third stranger is dropped");
        known.connect_info().let_in();
        let _third = dial().await.unwrap();
        let mut bytes = [0; 8];
        let read = tokio::time::timeout(Duration::from_secs(10), stranger.read(&mut bytes)).await;
        let error = read.expect("it lost its place").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let still = tokio::time::timeout(Duration::from_millis(200), known.read(&mut [0; 8])).await;
        assert!(still.is_err(), "who was let in may be silent");
    }

    #[test]
    fn both_sockets_have_one_port() {
        let sockets = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_ne!(sockets.address.port(), 0);
        assert_eq!(sockets.udp.local_addr().unwrap(), sockets.address);
        let taken = bind(sockets.address).unwrap_err();
        assert_eq!(taken.protocol, "TCP");
    }
}
