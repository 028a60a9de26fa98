//! A server from its start to its clean stop.
//!
//! **For:** `ditsd serve`.
//!
//! **May touch:** everything that the parts it puts together may touch; signals.
//!
//! **Must hold:** the ready line is printed once clients can connect, and never before.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dits_core::limits;
use dits_core::remote::proto::control_server::ControlServer;
use dits_core::repo::git_program::GitError as GitProgramError;
use dits_core::store::StoreError;
use tokio::signal::unix::{SignalKind, signal};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;

use crate::blobs::Blobs;
use crate::control::{Control, Guard, Parts};
use crate::data::{self, DataPlane};
use crate::db::{Db, DbError};
use crate::git::Git;
use crate::listen::{self, BindError, Sockets};
use crate::root::{Fingerprint, Root, RootError, RootLock};
use crate::rules::listening::{Unprotected, may_listen};
use crate::rules::token::Token;

/// What a server is started with.
pub struct Options {
    /// Where everything is kept.
    pub root: PathBuf,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// What clients must show.
    pub token: Option<Token>,
}

/// Why a server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address would be open to strangers.
    #[error(transparent)]
    Unprotected(#[from] Unprotected),
    /// The server root cannot be used.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The database cannot be used.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no git.
    #[error(transparent)]
    Git(#[from] GitProgramError),
    /// The address cannot be used.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The program's own path, a thread or a signal could not be had.
    #[error("cannot {what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The connections could not be served any more.
    #[error("serving failed")]
    Transport(#[source] tonic::transport::Error),
}

/// A server that clients can connect to.
pub struct Ready {
    /// The real address.
    pub address: SocketAddr,
    /// What clients pin.
    pub fingerprint: Fingerprint,
}

/// How long running calls may go on after the server was told to stop.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// How often packs are closed that were removed.
const LET_GO_INTERVAL: Duration = Duration::from_secs(10);
/// How often a silent client is asked whether it is still there.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// How long it has to answer.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Most calls of one connection at once.
const CALLS_PER_CONNECTION_MAX: u32 = 128;
/// How much of one call, and of all calls of one connection, may be on its way here, in bytes.
const CALL_WINDOW: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
/// Longest message: one frame of the data plane and what is around it.
const MESSAGE_LEN_MAX: usize = limits::FRAME_LEN_MAX + 64 * 1024;
/// Longest list of headers of one call, in bytes.
const HEADERS_LEN_MAX: u32 = 16 * 1024;

/// Serves until a signal says to stop.
///
/// # Errors
///
/// [`ServeError`] if the server cannot start, or its connections fail.
pub fn serve(options: Options, ready: impl FnOnce(&Ready)) -> Result<(), ServeError> {
    may_listen(options.listen, options.token.is_some())?;
    let root = Root::create(&options.root)?;
    let lock = root.lock()?;
    root.sweep_unfinished(&lock)?;
    let program = std::env::current_exe().map_err(system("find this program"))?;
    root.write_hooks(&program)?;
    let server = Prepared::new(root, lock, options)?;
    let runtime = tokio::runtime::Runtime::new().map_err(system("start threads"))?;
    let served = runtime.block_on(server.run(ready));
    // Calls that did not end in time are dropped with the runtime; their git children go too.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

/// All that is needed to accept connections.
struct Prepared {
    control: Control,
    guard: Guard,
    sockets: Sockets,
    tls: rustls::ServerConfig,
    fingerprint: Fingerprint,
    db: Arc<Db>,
    blobs: Blobs,
    data: Arc<DataPlane>,
    quic_tls: rustls::ServerConfig,
    _lock: RootLock,
}

impl Prepared {
    fn new(root: Root, lock: RootLock, options: Options) -> Result<Prepared, ServeError> {
        let identity = root.identity()?;
        let certificate = root.certificate()?;
        let db = Arc::new(Db::open(&root.meta())?);
        db.forget_proofs()?;
        let sockets = listen::bind(options.listen)?;
        let blobs = Blobs::open(&root, db.clone())?;
        let data = DataPlane::new(blobs.store().clone(), Arc::new(blobs.clone()), data::Limits::default());
        let quic_port = sockets.address.port();
        let git = Git::new(root)?;
        let parts = Parts { identity, db: db.clone(), blobs: blobs.clone(), data: data.clone(), quic_port, git };
        Ok(Prepared {
            control: Control::new(parts),
            data,
            blobs,
            quic_tls: certificate.server_config(&[])?,
            guard: Guard::new(options.token),
            sockets,
            tls: certificate.server_config(&[b"h2"])?,
            fingerprint: certificate.fingerprint(),
            db,
            _lock: lock,
        })
    }

    async fn run(self, ready: impl FnOnce(&Ready)) -> Result<(), ServeError> {
        let mut terminate = signal(SignalKind::terminate()).map_err(system("listen for signals"))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(system("listen for signals"))?;
        let Sockets { tcp, udp, address } = self.sockets;
        let incoming = listen::connections(tcp, self.tls, listen::Limits::default()).map_err(system("use a socket"))?;
        let quic = data::quic_endpoint(udp, self.quic_tls).map_err(system("use a socket"))?;
        tokio::spawn(self.data.serve_quic(quic.clone()));
        tokio::spawn(let_go_of_removed(self.blobs.clone()));
        // The HTTP API will stand beside this service, chosen by the request's path.
        let service = ControlServer::new(self.control).max_decoding_message_size(MESSAGE_LEN_MAX);
        let service = InterceptedService::new(service, self.guard);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = Server::builder()
            .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
            .max_concurrent_streams(CALLS_PER_CONNECTION_MAX)
            .initial_stream_window_size(CALL_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_max_header_list_size(HEADERS_LEN_MAX)
            .serve_with_incoming_shutdown(service, incoming, async {
                let _ = stopped.await;
            });
        let mut serving = std::pin::pin!(serving);
        tracing::info!(%address, fingerprint = %self.fingerprint, "serving");
        ready(&Ready { address, fingerprint: self.fingerprint });
        tokio::select! {
            served = &mut serving => return served.map_err(ServeError::Transport),
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        drop(stop);
        if tokio::time::timeout(STOP_GRACE, serving).await.is_err() {
            tracing::warn!("some calls did not end in time");
        }
        quic.close(quinn::VarInt::from_u32(0), b"stopping");
        self.blobs.store().sync()?;
        self.db.checkpoint()?;
        Ok(())
    }
}

/// Gives back the room of packs that a collection removes beside this server.
async fn let_go_of_removed(blobs: Blobs) {
    let mut interval = tokio::time::interval(LET_GO_INTERVAL);
    loop {
        interval.tick().await;
        let store = blobs.store().clone();
        let _ = tokio::task::spawn_blocking(move || store.let_go_of_removed()).await;
    }
}

fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> ServeError {
    move |source| ServeError::System { what, source }
}
