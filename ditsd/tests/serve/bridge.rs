//! Lets plain git talk through a server's tunnel: `git://127.0.0.1:PORT/repo` is passed on.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use dits_core::remote::proto::control_client::ControlClient;
use dits_core::remote::proto::{self, git_reply, git_request, git_start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

/// How each tunnel ended, in order: an end, or the refusal of the call.
pub type Ends = Arc<Mutex<Vec<Result<proto::GitEnd, tonic::Status>>>>;

/// Passes connections on for as long as the runtime lives.
pub async fn start(channel: Channel) -> (SocketAddr, Ends) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let ends = Ends::default();
    let recorded = ends.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (channel, ends) = (channel.clone(), recorded.clone());
            tokio::spawn(async move {
                let (from_git, mut to_git) = stream.into_split();
                let end = pass(from_git, &mut to_git, channel).await;
                ends.lock().unwrap().push(end);
                // Only now git hears that there is no more, and ends.
                drop(to_git);
            });
        }
    });
    (address, ends)
}

async fn pass(
    mut from_git: OwnedReadHalf,
    to_git: &mut OwnedWriteHalf,
    channel: Channel,
) -> Result<proto::GitEnd, tonic::Status> {
    let start = read_request(&mut from_git).await;
    let (sender, receiver) = mpsc::channel(4);
    let first = proto::GitRequest { part: Some(git_request::Part::Start(start)) };
    sender.send(first).await.unwrap();
    let pump = tokio::spawn(pump(from_git, sender));
    let mut client = ControlClient::new(channel);
    let mut replies = client.git(ReceiverStream::new(receiver)).await?.into_inner();
    let mut end = Err(tonic::Status::unknown("no end came"));
    while let Some(reply) = replies.message().await? {
        match reply.part.unwrap() {
            git_reply::Part::Output(bytes) => {
                if to_git.write_all(&bytes).await.is_err() {
                    break;
                }
            }
            git_reply::Part::Message(text) => eprintln!("{}", String::from_utf8_lossy(&text)),
            git_reply::Part::End(last) => end = Ok(last),
        }
    }
    pump.abort();
    end
}

async fn pump(mut from_git: tokio::net::tcp::OwnedReadHalf, sender: mpsc::Sender<proto::GitRequest>) {
    let mut buffer = vec![0; 32 * 1024];
    loop {
        match from_git.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(len) => {
                let part = git_request::Part::Input(buffer[..len].to_vec().into());
                if sender.send(proto::GitRequest { part: Some(part) }).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Reads the packet that git sends to a `git://` host: service, path, and the version.
async fn read_request(stream: &mut OwnedReadHalf) -> proto::GitStart {
    let mut len = [0; 4];
    stream.read_exact(&mut len).await.unwrap();
    let len = usize::from_str_radix(std::str::from_utf8(&len).unwrap(), 16).unwrap();
    let mut packet = vec![0; len - 4];
    stream.read_exact(&mut packet).await.unwrap();
    let packet = String::from_utf8(packet).unwrap();
    let (command, extra) = packet.split_once('\0').unwrap();
    let (service, path) = command.split_once(' ').unwrap();
    let service = match service {
        "git-upload-pack" => git_start::Service::UploadPack,
        "git-receive-pack" => git_start::Service::ReceivePack,
        _ => git_start::Service::UploadArchive,
    };
    let protocol = extra.split('\0').find(|part| part.starts_with("version=")).unwrap_or_default();
    proto::GitStart {
        repo: path.trim_start_matches('/').to_owned(),
        service: service.into(),
        protocol: protocol.to_owned(),
        ..Default::default()
    }
}
