//! Git's own protocol through the control plane.
//!
//! **For:** the remote helper's `connect`: what git says goes in, what the far git says
//! comes out, in blocking reads and writes.
//!
//! **May touch:** the control plane's connection.
//!
//! **Must hold:** neither side runs ahead of the other by more than a few messages.
//!
//! **Format:** `docs/protocols/control-v1.md`.

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::control::call_failed;
use super::{ServerError, ServerRemote};
use crate::git_index::ObjectFormat;
use crate::hash::FileHash;
use crate::remote::proto::{self, GitReply, GitRequest, git_reply, git_request, git_start};
use crate::remote_url::Host;

/// Messages that wait in either direction.
const WAITING: usize = 8;
/// Most bytes of one message.
const MESSAGE_LEN: usize = 64 * 1024;
/// Most bytes of the far git's standard error that are kept.
const MESSAGES_LEN_MAX: usize = 64 * 1024;

/// The program at the far end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GitService {
    /// Fetch.
    UploadPack,
    /// Push.
    ReceivePack,
    /// `git archive --remote`.
    UploadArchive,
}

/// A conversation with the far git.
pub struct GitTunnel {
    /// What the far git is told.
    pub input: GitInput,
    /// What it says.
    pub output: GitOutput,
    end: oneshot::Receiver<Result<GitEnd, Status>>,
}

/// How the far git ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitEnd {
    /// Its exit code.
    pub exit_code: i32,
    /// Files that the check before the refs moved found missing.
    pub missing_oids: Vec<FileHash>,
    /// What it printed on its standard error, outside its own protocol.
    pub messages: Vec<u8>,
}

/// Tells the far git something; dropped, it says that nothing follows.
pub struct GitInput(mpsc::Sender<GitRequest>);

/// Hears what the far git says.
pub struct GitOutput {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl ServerRemote {
    /// Starts a git program at the far end. `protocol` is the value of `GIT_PROTOCOL`, and `object_format` that of a
    /// repository that a push makes.
    ///
    /// # Errors
    ///
    /// [`ServerError`] if the server refuses.
    pub fn git(
        &self,
        service: GitService,
        protocol: &str,
        object_format: ObjectFormat,
    ) -> Result<GitTunnel, ServerError> {
        let service = match service {
            GitService::UploadPack => git_start::Service::UploadPack,
            GitService::ReceivePack => git_start::Service::ReceivePack,
            GitService::UploadArchive => git_start::Service::UploadArchive,
        };
        let (protocol, object_format) = (protocol.to_owned(), object_format.name().to_owned());
        let start = proto::GitStart { repo: self.repo_name(), service: service.into(), protocol, object_format };
        let (input, requests) = mpsc::channel(WAITING);
        let first = GitRequest { part: Some(git_request::Part::Start(start)) };
        input.try_send(first).expect("an empty channel takes one message");
        let mut client = self.control.clone();
        let replies = self.runtime.block_on(client.git(ReceiverStream::new(requests)));
        let replies = replies.map_err(|status| call_failed(&self.host, status))?.into_inner();
        let (output, pieces) = mpsc::channel(WAITING);
        let (ended, end) = oneshot::channel();
        self.runtime.spawn(async move {
            let outcome = pump(replies, &output).await;
            if let Err(status) = &outcome {
                // The reader must not take a broken connection for the end of git's words.
                let _ = output.send(Err(io::Error::other(status.message().to_owned()))).await;
            }
            // Nobody waits for the end of a conversation that was given up.
            let _ = ended.send(outcome);
        });
        Ok(GitTunnel { input: GitInput(input), output: GitOutput { pieces, piece: Bytes::new() }, end })
    }
}

async fn pump(mut replies: Streaming<GitReply>, output: &mpsc::Sender<io::Result<Bytes>>) -> Result<GitEnd, Status> {
    let mut messages = Vec::new();
    while let Some(reply) = replies.message().await? {
        match reply.part {
            Some(git_reply::Part::Output(bytes)) => {
                // A reader that has heard enough does not keep the far git from ending.
                let _ = output.send(Ok(bytes)).await;
            }
            Some(git_reply::Part::Message(bytes)) => {
                let room = MESSAGES_LEN_MAX.saturating_sub(messages.len());
                messages.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            Some(git_reply::Part::End(end)) => {
                let oids = end.missing_oids.iter().map(|oid| oid.as_ref().try_into().map(FileHash::from_bytes));
                let missing_oids = oids.collect::<Result<_, _>>();
                let missing_oids = missing_oids.map_err(|_| Status::internal("an oid of another length"))?;
                return Ok(GitEnd { exit_code: end.exit_code, missing_oids, messages });
            }
            None => return Err(Status::internal("an empty part")),
        }
    }
    Err(Status::unavailable("the connection ended before git did"))
}

impl GitTunnel {
    /// Takes the conversation apart, so that two threads can hold it.
    pub fn split(self) -> (GitInput, GitOutput, GitEnding) {
        (self.input, self.output, GitEnding(self.end))
    }
}

/// Waits for the far git to end.
pub struct GitEnding(oneshot::Receiver<Result<GitEnd, Status>>);

impl GitEnding {
    /// Blocks until the far git has ended.
    ///
    /// # Errors
    ///
    /// [`ServerError::Call`] if the connection was lost before.
    pub fn wait(self, host: &Host) -> Result<GitEnd, ServerError> {
        let ended = self.0.blocking_recv();
        let ended = ended.unwrap_or_else(|_| Err(Status::unavailable("the connection was closed")));
        ended.map_err(|status| call_failed(host, status))
    }
}

impl Write for GitInput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let len = bytes.len().min(MESSAGE_LEN);
        let part = Some(git_request::Part::Input(Bytes::copy_from_slice(&bytes[..len])));
        match self.0.blocking_send(GitRequest { part }) {
            Ok(()) => Ok(len),
            Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for GitOutput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let len = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..len]);
        Ok(len)
    }
}
