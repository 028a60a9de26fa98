//! One stream of frames, whatever carries it: a QUIC stream or the messages of a gRPC call.
//!
//! **For:** both ends of the data plane, which read and write frames and do not care.
//!
//! **May touch:** connections that others opened.
//!
//! **Must hold:**
//! - room for a frame is had before its body is gathered, so that many streams together
//!   never hold more than their connection may;
//! - a peer that says nothing is not waited for without end.
//!
//! **Format:** `docs/protocols/data-v1.md`.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tonic::{Status, Streaming};

use crate::remote::proto::{DataReply, DataRequest, data_request};
use crate::wire::frame::{Frame, FrameError, FrameReader, RefusalCode};

/// Why a stream of frames came to an end it should not have had.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nothing can be read from the QUIC stream.
    #[error("the QUIC connection was lost")]
    Read(#[source] quinn::ReadError),
    /// Nothing can be written to the QUIC stream.
    #[error("the QUIC connection was lost")]
    Write(#[source] quinn::WriteError),
    /// The gRPC call failed.
    #[error("the call failed")]
    Call(#[source] Box<Status>),
    /// What came is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Nothing came.
    #[error("nothing came for {} seconds", .0.as_secs())]
    Silent(Duration),
    /// The other end is gone.
    #[error("the other end has gone")]
    Gone,
}

impl LinkError {
    /// What the other end said when it closed the connection, if it refused something.
    ///
    /// A stream may hear of the close before it hears of the refusal that led to it.
    pub fn refusal(&self) -> Option<(RefusalCode, String)> {
        let (LinkError::Read(quinn::ReadError::ConnectionLost(lost))
        | LinkError::Write(quinn::WriteError::ConnectionLost(lost))) = self
        else {
            return None;
        };
        let quinn::ConnectionError::ApplicationClosed(close) = lost else { return None };
        let code = u16::try_from(close.error_code.into_inner()).ok().map(RefusalCode)?;
        let reason = String::from_utf8_lossy(&close.reason).into_owned();
        code.is_known().then_some((code, reason))
    }
}

/// How long the other end may be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Between two frames: it may wait for a disk, or for whoever takes what it got.
    pub between_frames: Duration,
    /// Inside a frame, which it has whole before it begins to send it.
    pub inside_frame: Duration,
}

impl Patience {
    /// The same everywhere.
    pub fn of(silence_max: Duration) -> Patience {
        Patience { between_frames: silence_max, inside_frame: silence_max }
    }
}

/// The frames that come in.
pub struct FramesIn {
    carrier: CarrierIn,
    reader: FrameReader,
    patience: Patience,
}

enum CarrierIn {
    Quic(quinn::RecvStream),
    Requests(Box<Streaming<DataRequest>>),
    Replies(Box<Streaming<DataReply>>),
}

/// A frame, and the room it takes until this is dropped.
pub struct Arrived {
    /// The frame.
    pub frame: Frame,
    /// Its part of what its connection may hold.
    pub room: OwnedSemaphorePermit,
}

/// Most bytes of one piece that is read from a QUIC stream.
const PIECE_LEN_MAX: usize = 256 * 1024;

impl FramesIn {
    /// Reads from a QUIC stream.
    pub fn quic(stream: quinn::RecvStream, patience: Patience) -> FramesIn {
        FramesIn::new(CarrierIn::Quic(stream), patience)
    }

    /// Reads what a client sends on a call.
    pub fn requests(stream: Streaming<DataRequest>, patience: Patience) -> FramesIn {
        FramesIn::new(CarrierIn::Requests(Box::new(stream)), patience)
    }

    /// Reads what a server answers on a call.
    pub fn replies(stream: Streaming<DataReply>, patience: Patience) -> FramesIn {
        FramesIn::new(CarrierIn::Replies(Box::new(stream)), patience)
    }

    fn new(carrier: CarrierIn, patience: Patience) -> FramesIn {
        FramesIn { carrier, reader: FrameReader::new(), patience }
    }

    /// Waits for the next frame; `None` where the stream ended between two.
    ///
    /// # Errors
    ///
    /// [`LinkError`]; nothing more can be read from then on.
    pub async fn next(&mut self) -> Result<Option<Frame>, LinkError> {
        loop {
            if let Some(frame) = self.reader.next_frame()? {
                return Ok(Some(frame));
            }
            if !self.more().await? {
                return Ok(None);
            }
        }
    }

    /// Waits for the next frame and, before its body is gathered, for room for it.
    ///
    /// # Errors
    ///
    /// As for [`FramesIn::next`].
    pub async fn next_with_room(&mut self, room: &Arc<Semaphore>) -> Result<Option<Arrived>, LinkError> {
        let mut taken = None;
        loop {
            if let Some(frame) = self.reader.next_frame()? {
                let room = match taken {
                    Some(taken) => taken,
                    None => take_room(room, frame.held_len()).await?,
                };
                return Ok(Some(Arrived { frame, room }));
            }
            if let (None, Some(len)) = (&taken, self.reader.len_under_way()?) {
                taken = Some(take_room(room, len).await?);
            }
            if !self.more().await? {
                return Ok(None);
            }
        }
    }

    /// Reads one more piece; false at the end of the stream.
    async fn more(&mut self) -> Result<bool, LinkError> {
        let silence_max = match self.reader.finish() {
            Ok(()) => self.patience.between_frames,
            Err(_) => self.patience.inside_frame,
        };
        let piece = tokio::time::timeout(silence_max, self.carrier.piece()).await;
        match piece.map_err(|_| LinkError::Silent(silence_max))?? {
            Some(piece) => {
                self.reader.push(piece);
                Ok(true)
            }
            None => self.reader.finish().map(|()| false).map_err(LinkError::Frame),
        }
    }
}

async fn take_room(room: &Arc<Semaphore>, len: usize) -> Result<OwnedSemaphorePermit, LinkError> {
    let len = u32::try_from(len).expect("a frame's length was bounded");
    room.clone().acquire_many_owned(len).await.map_err(|_| LinkError::Gone)
}

impl CarrierIn {
    async fn piece(&mut self) -> Result<Option<Bytes>, LinkError> {
        match self {
            CarrierIn::Quic(stream) => {
                let chunk = stream.read_chunk(PIECE_LEN_MAX, true).await.map_err(LinkError::Read)?;
                Ok(chunk.map(|chunk| chunk.bytes))
            }
            CarrierIn::Requests(stream) => match stream.message().await.map_err(call_failed)? {
                Some(DataRequest { part: Some(data_request::Part::Frames(frames)) }) => Ok(Some(frames)),
                // `open` stands at the start of a call and nowhere else.
                Some(_) => Err(LinkError::Frame(FrameError::Cut)),
                None => Ok(None),
            },
            CarrierIn::Replies(stream) => Ok(stream.message().await.map_err(call_failed)?.map(|reply| reply.frames)),
        }
    }
}

fn call_failed(status: Status) -> LinkError {
    LinkError::Call(Box::new(status))
}

/// The frames that go out.
pub struct FramesOut {
    carrier: CarrierOut,
    waiting: BytesMut,
}

enum CarrierOut {
    Quic(quinn::SendStream),
    Requests(mpsc::Sender<DataRequest>),
    Replies(mpsc::Sender<Result<DataReply, Status>>),
}

/// Frames are gathered into gRPC messages of about this many bytes.
const MESSAGE_LEN: usize = 256 * 1024;

impl FramesOut {
    /// Writes to a QUIC stream.
    pub fn quic(stream: quinn::SendStream) -> FramesOut {
        FramesOut::new(CarrierOut::Quic(stream))
    }

    /// Writes what a client sends on a call.
    pub fn requests(sender: mpsc::Sender<DataRequest>) -> FramesOut {
        FramesOut::new(CarrierOut::Requests(sender))
    }

    /// Writes what a server answers on a call.
    pub fn replies(sender: mpsc::Sender<Result<DataReply, Status>>) -> FramesOut {
        FramesOut::new(CarrierOut::Replies(sender))
    }

    fn new(carrier: CarrierOut) -> FramesOut {
        FramesOut { carrier, waiting: BytesMut::new() }
    }

    /// Sends a frame, or keeps it until more come; see [`FramesOut::flush`].
    ///
    /// # Errors
    ///
    /// [`LinkError`] if the other end does not take it.
    pub async fn send(&mut self, frame: &Frame) -> Result<(), LinkError> {
        if let CarrierOut::Quic(stream) = &mut self.carrier {
            let tail = frame.write_head(&mut self.waiting);
            let head = self.waiting.split().freeze();
            let mut parts = [head, tail.unwrap_or_default()];
            return stream.write_all_chunks(&mut parts).await.map_err(LinkError::Write);
        }
        frame.write(&mut self.waiting);
        match self.waiting.len() >= MESSAGE_LEN {
            true => self.flush().await,
            false => Ok(()),
        }
    }

    /// Sends what is kept.
    ///
    /// # Errors
    ///
    /// As for [`FramesOut::send`].
    pub async fn flush(&mut self) -> Result<(), LinkError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let frames = self.waiting.split().freeze();
        let sent = match &self.carrier {
            // A QUIC stream has taken everything already.
            CarrierOut::Quic(_) => true,
            CarrierOut::Requests(sender) => {
                let part = Some(data_request::Part::Frames(frames));
                sender.send(DataRequest { part }).await.is_ok()
            }
            CarrierOut::Replies(sender) => sender.send(Ok(DataReply { frames })).await.is_ok(),
        };
        sent.then_some(()).ok_or(LinkError::Gone)
    }

    /// Sends what is kept and says that nothing follows.
    ///
    /// # Errors
    ///
    /// As for [`FramesOut::send`].
    pub async fn finish(mut self) -> Result<Ended, LinkError> {
        self.flush().await?;
        match self.carrier {
            CarrierOut::Quic(mut stream) => {
                stream.finish().map_err(|_| LinkError::Gone)?;
                Ok(Ended(Some(stream)))
            }
            CarrierOut::Requests(_) | CarrierOut::Replies(_) => Ok(Ended(None)),
        }
    }
}

/// A stream on which everything was sent.
pub struct Ended(Option<quinn::SendStream>);

impl Ended {
    /// Waits until the other end has everything, or is gone.
    pub async fn delivered(self) {
        if let Some(stream) = self.0 {
            // Either way there is nothing left to do on this stream.
            let _ = stream.stopped().await;
        }
    }
}
