//! The data plane over the control plane's connection, for networks that UDP does not pass.
//!
//! **For:** `data`, which reads and writes frames and does not care.
//!
//! **May touch:** the control plane's connection.
//!
//! **Format:** `docs/protocols/data-v1.md`.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::channel::Client;
use super::link::{FramesIn, FramesOut, Patience};
use crate::remote::proto::{DataRequest, Direction, OpenDataRequest, data_request};

/// Messages that wait for the network.
const REQUESTS_WAITING: usize = 8;

/// Opens one stream of frames as a call of its own.
pub async fn open(
    mut client: Client,
    repo: String,
    direction: Direction,
    patience: Patience,
) -> Result<(FramesOut, FramesIn), Status> {
    let (sender, requests) = mpsc::channel(REQUESTS_WAITING);
    let open = OpenDataRequest { repo, direction: direction.into() };
    let first = DataRequest { part: Some(data_request::Part::Open(open)) };
    sender.try_send(first).expect("an empty channel takes one message");
    let replies = client.data(ReceiverStream::new(requests)).await?.into_inner();
    Ok((FramesOut::requests(sender), FramesIn::replies(replies, patience)))
}
