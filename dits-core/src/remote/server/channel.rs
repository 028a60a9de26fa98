//! The control plane's connection: TCP, TLS with a pin, HTTP/2.
//!
//! **For:** `control` and `tunnel`, which make calls on it.
//!
//! **May touch:** the network.
//!
//! **Must hold:** no credential goes out before TLS has accepted the pin.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::ServerError;
use super::pulse::{Pulse, Watched};
use super::trust::PinVerifier;
use crate::limits;
use crate::remote::proto::control_client::ControlClient;
use crate::remote_url::Host;

/// How long TCP and TLS may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a silent server is asked whether it is still there, and how long it may take to say so.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How much of one call, and of all calls, may be on its way here, in bytes.
const CALL_WINDOW: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// Longest message: whole frames of the data plane.
const MESSAGE_LEN_MAX: usize = limits::FRAME_LEN_MAX + 1024 * 1024;

/// Makes calls, with the credential in each.
pub type Client = ControlClient<InterceptedService<Channel, Bearer>>;

/// A connection whose certificate is the pinned one.
pub struct Dialed {
    channel: Channel,
    /// Where the server really is.
    pub address: SocketAddr,
    /// The TCP connection below.
    pub line: Line,
}

/// The TCP connection that calls go over at present: another is made when it breaks.
#[derive(Clone, Default)]
pub struct Line(Arc<Mutex<Option<Pulse>>>);

impl Line {
    /// The pulse of the connection; `None` before there is one.
    pub fn pulse(&self) -> Option<Pulse> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_now(&self, pulse: Pulse) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(pulse);
    }
}

/// Why there is no connection, and how far it came.
pub struct NotDialed {
    /// Why.
    pub error: ServerError,
    /// The address at which something answered.
    pub address: Option<SocketAddr>,
}

/// Puts the credential into every call.
#[derive(Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

impl Dialed {
    /// A client that shows `credential`, if there is one that can be sent.
    pub fn client(&self, credential: Option<&str>) -> Client {
        let value = credential.and_then(|token| MetadataValue::try_from(format!("Bearer {token}")).ok());
        let value = value.map(|mut value: MetadataValue<Ascii>| {
            value.set_sensitive(true);
            value
        });
        ControlClient::with_interceptor(self.channel.clone(), Bearer(value))
            .max_decoding_message_size(MESSAGE_LEN_MAX)
            .max_encoding_message_size(MESSAGE_LEN_MAX)
    }
}

/// Connects to the host.
pub async fn dial(host: &Host, verifier: Arc<PinVerifier>) -> Result<Dialed, NotDialed> {
    let reached: Arc<Mutex<Option<SocketAddr>>> = Arc::default();
    // The connector speaks TLS by itself; the scheme only names the authority.
    let uri = match host.name.contains(':') {
        true => format!("http://[{}]:{}", host.name, host.port),
        false => format!("http://{}:{}", host.name, host.port),
    };
    let bad_name = || NotDialed { error: unreachable_host(host, &io::ErrorKind::InvalidInput.into()), address: None };
    let endpoint = Endpoint::from_shared(uri).map_err(|_| bad_name())?;
    let endpoint = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(CALL_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let name = ServerName::try_from(host.name.clone()).map_err(|_| bad_name())?;
    let tls = TlsConnector::from(Arc::new(verifier.client_config(b"h2")));
    let line = Line::default();
    let (dialed_host, slot, current) = (host.clone(), Arc::clone(&reached), line.clone());
    let connector = tower::service_fn(move |_| {
        let (host, name, tls) = (dialed_host.clone(), name.clone(), tls.clone());
        let (slot, current) = (slot.clone(), current.clone());
        async move {
            let stream = TcpStream::connect((host.name.as_str(), host.port)).await?;
            stream.set_nodelay(true)?;
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream.peer_addr()?);
            let (stream, pulse) = Watched::new(tls.connect(name, stream).await?);
            current.is_now(pulse);
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, endpoint.connect_with_connector(connector)).await;
    let address = *reached.lock().unwrap_or_else(PoisonError::into_inner);
    match (connected, address) {
        (Ok(Ok(channel)), Some(address)) => Ok(Dialed { channel, address, line }),
        (Ok(Ok(_)), None) => Err(bad_name()),
        (Ok(Err(error)), _) => Err(NotDialed { error: connect_failed(host, &error), address }),
        (Err(_), _) => Err(NotDialed { error: ServerError::TimedOut { host: host.clone() }, address }),
    }
}

/// Digs the system's own error out of the transport's.
fn connect_failed(host: &Host, error: &tonic::transport::Error) -> ServerError {
    match io_cause(error) {
        Some(cause) if cause.kind() != io::ErrorKind::TimedOut => unreachable_host(host, cause),
        _ => ServerError::TimedOut { host: host.clone() },
    }
}

/// The system's own error at the bottom of the transport's.
pub fn io_cause<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e io::Error> {
    let mut next = Some(error);
    while let Some(cause) = next {
        match cause.downcast_ref::<io::Error>() {
            Some(found) => return Some(found),
            None => next = cause.source(),
        }
    }
    None
}

/// No connection, for this reason.
pub fn unreachable_host(host: &Host, cause: &io::Error) -> ServerError {
    // An io::Error cannot be cloned; its kind and text say what happened.
    ServerError::Unreachable { host: host.clone(), source: io::Error::new(cause.kind(), cause.to_string()) }
}
