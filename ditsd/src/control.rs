//! The control plane: questions of clients, translated and passed on.
//!
//! **For:** `git-remote-dits`, over gRPC.
//!
//! **May touch:** nothing by itself; what blocks goes to a blocking thread.
//!
//! **Must hold:** no call is looked at before [`Guard`] let it in; whatever it carries goes
//! through `rules` before anything else sees it.
//!
//! **Format:** `docs/protocols/control-v1.md`.

mod git;
mod kept;
mod media;
mod prove;
mod refusal;

use std::sync::Arc;

use dits_core::git_index::ObjectFormat;
use dits_core::remote::proto::{self, control_server};
use dits_core::repo_path::RepoName;
use dits_core::steps::{self, Step};
use tokio::sync::Semaphore;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::blobs::Blobs;
use crate::clock::now;
use crate::data::{self, DataPlane, Direction, Grant};
use crate::db::{Db, RepoId, RepoRow};
use crate::git::Git;
use crate::listen::Peer;
use crate::root::Identity;
use crate::rules::token::Token;
use crate::rules::versions;
use refusal::CallError;

/// Lets in the calls that carry the server's token; all of them where it has none.
#[derive(Clone)]
pub struct Guard {
    token: Option<Token>,
}

impl Guard {
    /// Guards with a token, or lets everybody in.
    pub fn new(token: Option<Token>) -> Guard {
        Guard { token }
    }
}

impl tonic::service::Interceptor for Guard {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.token {
            let header = request.metadata().get("authorization").map_or(&b""[..], |value| value.as_bytes());
            if !token.is_in(header) {
                // One answer for a missing and a wrong token: a stranger learns nothing.
                return Err(CallError::Unauthenticated.into());
            }
        }
        if let Some(peer) = request.extensions().get::<Peer>() {
            peer.let_in();
        }
        Ok(request)
    }
}

/// The control plane of one server.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

struct Shared {
    identity: Identity,
    db: Arc<Db>,
    blobs: Blobs,
    data: Arc<DataPlane>,
    quic_port: u16,
    git: Git,
    git_children: Arc<Semaphore>,
    proofs: Arc<Semaphore>,
    walks: Arc<Semaphore>,
    named: kept::NamedFiles,
}

/// What a control plane answers from.
pub struct Parts {
    /// What names the server.
    pub identity: Identity,
    /// What the server knows.
    pub db: Arc<Db>,
    /// What it stores.
    pub blobs: Blobs,
    /// The other plane.
    pub data: Arc<DataPlane>,
    /// Where that one is served.
    pub quic_port: u16,
    /// The Git side.
    pub git: Git,
}

/// Most git children at once.
const GIT_CHILDREN_MAX: usize = 64;
/// Most proofs at once; each keeps up to five threads busy.
const PROOFS_MAX: usize = 2;
/// Most walks over all refs of a repository at once.
const WALKS_MAX: usize = 1;

impl Control {
    /// Answers from these parts.
    pub fn new(parts: Parts) -> Control {
        let Parts { identity, db, blobs, data, quic_port, git } = parts;
        let git_children = Arc::new(Semaphore::new(GIT_CHILDREN_MAX));
        let proofs = Arc::new(Semaphore::new(PROOFS_MAX));
        let (walks, named) = (Arc::new(Semaphore::new(WALKS_MAX)), kept::NamedFiles::default());
        let shared = Shared { identity, db, blobs, data, quic_port, git, git_children, proofs, walks, named };
        Control { shared: Arc::new(shared) }
    }

    /// Decides what a connection of the data plane may do. An upload makes the repository.
    async fn grant(&self, request: proto::OpenDataRequest) -> Result<Grant, Status> {
        let direction = data::direction_of(&request)?;
        let name = media::name(&request.repo)?;
        let repo = self.blocking(move |shared| match direction {
            Direction::Upload => shared.ensure_repo(&name, ObjectFormat::Sha1),
            Direction::Download => shared.repo(&name),
        });
        Ok(Grant { domain: repo.await?.domain(), direction })
    }

    /// Runs what blocks on a thread for it.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, CallError> + Send + 'static,
    ) -> Result<T, CallError> {
        let shared = self.shared.clone();
        tokio::task::spawn_blocking(move || work(&shared)).await.unwrap_or(Err(CallError::Panicked))
    }
}

impl Shared {
    /// Finds a repository that must be there.
    fn repo(&self, name: &RepoName) -> Result<RepoRow, CallError> {
        self.db.repo(name)?.ok_or_else(|| CallError::NoRepo(name.clone()))
    }

    /// Notes that pointers to what the repository holds may be on another host alone, where a client says so.
    fn note_text(&self, repo: &RepoRow, is_elsewhere: bool) -> Result<(), CallError> {
        match is_elsewhere && !repo.text_elsewhere {
            true => Ok(self.db.note_text_elsewhere(repo.key)?),
            false => Ok(()),
        }
    }

    /// Finds a repository, making it where it is not there.
    ///
    /// The row comes first: a crash before the bare repository is there leaves a name
    /// without refs, and the next push goes on from that.
    fn ensure_repo(&self, name: &RepoName, object_format: ObjectFormat) -> Result<RepoRow, CallError> {
        let repo = self.db.ensure_repo(name, RepoId(rand::random()), now())?;
        steps::reached(Step::RepoRegistered);
        self.git.ensure(name, object_format)?;
        Ok(repo)
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl control_server::Control for Control {
    type ProveStream = ReceiverStream<Result<proto::ProveReply, Status>>;
    type GitStream = ReceiverStream<Result<proto::GitReply, Status>>;
    type DataStream = ReceiverStream<Result<proto::DataReply, Status>>;

    async fn hello(&self, request: Request<proto::HelloRequest>) -> Answer<proto::HelloReply> {
        let request = request.into_inner();
        let version = versions::common(&request.versions).ok_or(CallError::Version)?;
        let name = RepoName::new(&request.repo).map_err(CallError::Name)?;
        let repo = self.blocking(move |shared| Ok(shared.db.repo(&name)?)).await?;
        Ok(Response::new(proto::HelloReply {
            version,
            server: concat!("ditsd ", env!("CARGO_PKG_VERSION")).to_owned(),
            server_id: self.shared.identity.server_id.to_vec().into(),
            repo_id: repo.map_or_else(Vec::new, |repo| repo.id.0.to_vec()).into(),
            quic_port: self.shared.quic_port.into(),
        }))
    }

    async fn held(&self, request: Request<proto::HeldRequest>) -> Answer<proto::HeldReply> {
        let request = request.into_inner();
        Ok(Response::new(self.blocking(move |shared| shared.held(&request)).await?))
    }

    async fn kept(&self, request: Request<proto::KeptRequest>) -> Answer<proto::KeptReply> {
        let request = request.into_inner();
        let permit = self.shared.walks.clone().acquire_owned().await.expect("the semaphore is never closed");
        let kept = self.blocking(move |shared| {
            let _permit = permit;
            shared.kept(&request)
        });
        Ok(Response::new(kept.await?))
    }

    async fn missing(&self, request: Request<proto::MissingRequest>) -> Answer<proto::MissingReply> {
        let request = request.into_inner();
        Ok(Response::new(self.blocking(move |shared| shared.missing(&request)).await?))
    }

    async fn prove(&self, request: Request<proto::ProveRequest>) -> Answer<Self::ProveStream> {
        Ok(Response::new(prove::prove(self, request.into_inner()).await?))
    }

    async fn manifests(&self, request: Request<proto::ManifestsRequest>) -> Answer<proto::ManifestsReply> {
        let request = request.into_inner();
        Ok(Response::new(self.blocking(move |shared| shared.manifests(&request)).await?))
    }

    async fn open_data(&self, request: Request<proto::OpenDataRequest>) -> Answer<proto::OpenDataReply> {
        let grant = self.grant(request.into_inner()).await?;
        Ok(Response::new(self.shared.data.open(grant).map_err(|_| CallError::Busy)?))
    }

    async fn git(&self, request: Request<Streaming<proto::GitRequest>>) -> Answer<Self::GitStream> {
        Ok(Response::new(git::tunnel(self, request.into_inner()).await?))
    }

    async fn data(&self, request: Request<Streaming<proto::DataRequest>>) -> Answer<Self::DataStream> {
        let mut requests = request.into_inner();
        let open = data::read_open(&mut requests).await?;
        let grant = self.grant(open).await?;
        Ok(Response::new(self.shared.data.serve_call(grant, requests)?))
    }
}
