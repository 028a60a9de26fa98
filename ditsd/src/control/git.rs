//! Git's own protocol, tunnelled between a client and a git child.
//!
//! **For:** fetch, clone, push and archive, whatever options git has for them.
//!
//! **Must hold:**
//! - neither side can run ahead of the other: every queue is short;
//! - the child ends when the client goes away.

use bytes::Bytes;
use dits_core::git_index::ObjectFormat;
use dits_core::remote::proto::{self, git_reply, git_request, git_start};
use dits_core::repo_path::RepoName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::ChildStdin;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::Control;
use super::refusal::CallError;
use crate::git::{Pipes, Service, Session};

/// Longest piece of git's output in one message, in bytes.
const PIECE_LEN_MAX: usize = 64 * 1024;
/// Pieces that wait for the client.
const PIECES_WAITING: usize = 8;
/// Longest value of `GIT_PROTOCOL`, in bytes.
const PROTOCOL_LEN_MAX: usize = 256;

type Reply = Result<proto::GitReply, Status>;

/// Starts git and connects both ends.
pub(super) async fn tunnel(
    control: &Control,
    mut requests: Streaming<proto::GitRequest>,
) -> Result<ReceiverStream<Reply>, Status> {
    let first = requests.message().await?.and_then(|request| request.part);
    let Some(git_request::Part::Start(start)) = first else {
        return Err(CallError::Malformed("the first message must say what git is to do").into());
    };
    let start = Start::parse(&start)?;
    let (name, service, format) = (start.repo.clone(), start.service, start.object_format);
    control
        .blocking(move |shared| {
            // Its row may be there, and a crash have come before the bare repository was.
            match service {
                Service::ReceivePack => {
                    let repo = shared.ensure_repo(&name, format)?;
                    Ok(shared.git.ensure_for_push(&repo.name, format)?)
                }
                Service::UploadPack | Service::UploadArchive => {
                    Ok(shared.git.ensure(&shared.repo(&name)?.name, format)?)
                }
            }
        })
        .await?;
    let permit = control.shared.git_children.clone().try_acquire_owned().map_err(|_| CallError::Busy)?;
    let started = control.shared.git.start(start.service, &start.repo, &start.protocol);
    let (session, pipes) = started.map_err(CallError::Git)?;
    let (replies, receiver) = mpsc::channel(PIECES_WAITING);
    tokio::spawn(async move {
        run(session, pipes, requests, replies).await;
        drop(permit);
    });
    Ok(ReceiverStream::new(receiver))
}

struct Start {
    repo: RepoName,
    service: Service,
    protocol: String,
    /// That of the repository, if it is made now.
    object_format: ObjectFormat,
}

impl Start {
    fn parse(start: &proto::GitStart) -> Result<Start, CallError> {
        let service = match start.service() {
            git_start::Service::UploadPack => Service::UploadPack,
            git_start::Service::ReceivePack => Service::ReceivePack,
            git_start::Service::UploadArchive => Service::UploadArchive,
            git_start::Service::Unspecified => return Err(CallError::Malformed("git's service is not known")),
        };
        let protocol = &start.protocol;
        if protocol.len() > PROTOCOL_LEN_MAX || !protocol.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(CallError::Malformed("git's protocol version is malformed"));
        }
        let object_format = match start.object_format.as_str() {
            "" => ObjectFormat::Sha1,
            name => ObjectFormat::parse(name).ok_or(CallError::Malformed("git's object format is not known"))?,
        };
        let repo = RepoName::new(&start.repo).map_err(CallError::Name)?;
        Ok(Start { repo, service, protocol: protocol.clone(), object_format })
    }
}

/// Moves bytes both ways until git ends or the client goes away.
async fn run(session: Session, pipes: Pipes, requests: Streaming<proto::GitRequest>, replies: mpsc::Sender<Reply>) {
    let Pipes { input, output, messages } = pipes;
    let outward = async {
        let output = forward(output, &replies, git_reply::Part::Output);
        let messages = forward(messages, &replies, git_reply::Part::Message);
        let (output, messages) = tokio::join!(output, messages);
        output.and(messages)
    };
    let mut inward = std::pin::pin!(feed(requests, input));
    let mut outward = std::pin::pin!(outward);
    let mut is_fed = false;
    let is_over = loop {
        tokio::select! {
            fed = &mut inward, if !is_fed => match fed {
                Ok(()) => is_fed = true,
                Err(ClientGone) => break Err(ClientGone),
            },
            forwarded = &mut outward => break forwarded,
            // The client may go away while git is silent and nothing is being sent.
            () = replies.closed() => break Err(ClientGone),
        }
    };
    if is_over.is_err() {
        tracing::debug!("a client went away from git");
        return session.stop().await;
    }
    let end = match session.end().await {
        Ok(end) => end,
        Err(error) => {
            let _ = replies.send(Err(CallError::Git(error).into())).await;
            return;
        }
    };
    let missing_oids = end.missing.iter().map(|oid| Bytes::copy_from_slice(oid.as_bytes())).collect();
    let end = proto::GitEnd { exit_code: end.exit_code, missing_oids };
    let _ = replies.send(Ok(proto::GitReply { part: Some(git_reply::Part::End(end)) })).await;
}

/// The client is not there any more.
struct ClientGone;

/// Passes the client's bytes to git. Ends well when the client has no more to send, or git
/// wants no more.
async fn feed(mut requests: Streaming<proto::GitRequest>, mut input: ChildStdin) -> Result<(), ClientGone> {
    loop {
        let part = match requests.message().await {
            Ok(Some(request)) => request.part,
            Ok(None) => return Ok(()),
            Err(_) => return Err(ClientGone),
        };
        let Some(git_request::Part::Input(bytes)) = part else {
            return Err(ClientGone);
        };
        // Git that has ended says so by its exit status; its broken pipe says nothing more.
        if input.write_all(&bytes).await.is_err() {
            return Ok(());
        }
    }
}

/// Passes what git writes to the client, until git closes the pipe.
async fn forward(
    mut pipe: impl AsyncRead + Unpin,
    replies: &mpsc::Sender<Reply>,
    part: impl Fn(Bytes) -> git_reply::Part,
) -> Result<(), ClientGone> {
    loop {
        let mut piece = Vec::with_capacity(PIECE_LEN_MAX);
        match pipe.read_buf(&mut piece).await {
            Ok(0) | Err(_) => return Ok(()),
            Ok(_) => {
                let reply = proto::GitReply { part: Some(part(piece.into())) };
                replies.send(Ok(reply)).await.map_err(|_| ClientGone)?;
            }
        }
    }
}
