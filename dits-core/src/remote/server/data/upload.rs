//! Items to a server.
//!
//! **For:** pushing media.
//!
//! **May touch:** the network.
//!
//! **Must hold:** an item counts as sent only once the server said that it is stored.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{JoinError, JoinSet};

use super::{Carrier, ROOM, StreamError};
use crate::item::ItemId;
use crate::remote::proto::Direction;
use crate::remote::server::link::{FramesIn, LinkError};
use crate::remote::server::{ServerError, ServerRemote};
use crate::store::{ReadError, StoredItem};
use crate::wire::frame::{Frame, ItemFrame};

/// Items that wait for a stream; their bytes are bounded by the room.
const ITEMS_WAITING: usize = 64;

/// How long a broken stream is listened to for the reason.
const LAST_WORD_PATIENCE: Duration = Duration::from_secs(1);

type Waiting = (ItemFrame, OwnedSemaphorePermit);

/// The streams of one upload over one carrier.
struct Session {
    room: Arc<Semaphore>,
    items: mpsc::Sender<Waiting>,
    streams: JoinSet<Result<(), StreamError>>,
    failure: Option<StreamError>,
    given: Vec<ItemId>,
}

impl ServerRemote {
    /// Sends items, until the server has all of them on stable storage.
    ///
    /// `progress` is told the stored length of each item as it is taken. Returns the items
    /// that have to be sent again: their connection ended early, the rest went another way, and the
    /// server says that it does not have them. It is empty unless something broke in the middle.
    ///
    /// # Errors
    ///
    /// [`ServerError`]; what had arrived is kept by the server.
    pub fn upload(
        &self,
        items: &mut dyn Iterator<Item = Result<StoredItem, ReadError>>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Vec<ItemId>, ServerError> {
        let mut unsure = Vec::new();
        let mut items = items.peekable();
        while items.peek().is_some() {
            let carrier = self.carrier(Direction::Upload)?;
            let mut session = self.start_upload(&carrier);
            for item in &mut items {
                let item =
                    item.map_err(|source| ServerError::Read { host: self.host.clone(), source: Box::new(source) })?;
                let len = item.bytes.len();
                if !self.give(&mut session, item) {
                    break;
                }
                progress(len as u64);
            }
            let given = std::mem::take(&mut session.given);
            match self.runtime.block_on(session.end()) {
                Ok(()) => {
                    self.set_retried(false);
                }
                Err(error) => {
                    self.after_failure(&carrier, error)?;
                    unsure.extend(given);
                }
            }
        }
        let missing = self.missing(&unsure)?;
        Ok(unsure.into_iter().zip(missing).filter_map(|(id, is_missing)| is_missing.then_some(id)).collect())
    }

    fn start_upload(&self, carrier: &Carrier) -> Session {
        let (items, waiting) = mpsc::channel(ITEMS_WAITING);
        let waiting = Arc::new(Mutex::new(waiting));
        let mut streams = JoinSet::new();
        for _ in 0..carrier.stream_count() {
            let (carrier, waiting) = (carrier.clone(), Arc::clone(&waiting));
            let sending = async move { carrier.guard(send_all(&carrier, &waiting)).await };
            streams.spawn_on(sending, self.runtime.handle());
        }
        Session { room: Arc::new(Semaphore::new(ROOM)), items, streams, failure: None, given: Vec::new() }
    }

    /// Hands an item to whichever stream is free; false once a stream has failed.
    fn give(&self, session: &mut Session, item: StoredItem) -> bool {
        session.given.push(item.id);
        if session.has_failed() {
            return false;
        }
        let len = u32::try_from(item.bytes.len()).expect("an item's length was bounded when it was stored");
        // Most items need no waiting, and going through the runtime would cost more than the rest.
        let room = session
            .room
            .clone()
            .try_acquire_many_owned(len)
            .or_else(|_| self.runtime.block_on(session.room.clone().acquire_many_owned(len)));
        let room = room.expect("the room is never closed");
        let StoredItem { id, codec, plain_len, bytes } = item;
        match session.items.try_send((ItemFrame { id, codec, plain_len, bytes: bytes.into() }, room)) {
            Ok(()) => true,
            Err(TrySendError::Full(waiting)) => session.items.blocking_send(waiting).is_ok(),
            Err(TrySendError::Closed(_)) => false,
        }
    }
}

impl Session {
    /// Looks whether a stream has failed, though others may still wait for something to send.
    fn has_failed(&mut self) -> bool {
        while let Some(ended) = self.streams.try_join_next() {
            self.failure = self.failure.take().or_else(|| outcome(ended).err());
        }
        self.failure.is_some()
    }

    /// Waits for every stream; the first failure ends the others.
    async fn end(self) -> Result<(), StreamError> {
        let Session { items, mut streams, failure, .. } = self;
        drop(items);
        if let Some(failure) = failure {
            return Err(failure);
        }
        while let Some(ended) = streams.join_next().await {
            outcome(ended)?;
        }
        Ok(())
    }
}

fn outcome(ended: Result<Result<(), StreamError>, JoinError>) -> Result<(), StreamError> {
    // A panic in a stream is a broken promise of this module; it is not hidden.
    ended.map_err(|_| StreamError::Link(LinkError::Gone))?
}

/// One stream: takes items until there are no more, then waits for the server's word.
async fn send_all(carrier: &Carrier, waiting: &Mutex<mpsc::Receiver<Waiting>>) -> Result<(), StreamError> {
    let Some(mut next) = take(waiting).await else { return Ok(()) };
    let (mut leaving, mut arriving) = carrier.open().await?;
    let sending = async move {
        let mut count = 0_u64;
        loop {
            let (item, _room) = next;
            leaving.send(&Frame::Put(item)).await?;
            count += 1;
            match take(waiting).await {
                Some(item) => next = item,
                None => break,
            }
        }
        leaving.send(&Frame::PutDone).await?;
        leaving.flush().await?;
        Ok::<_, StreamError>((count, leaving))
    };
    let mut sending = std::pin::pin!(sending);
    let sent = tokio::select! {
        sent = &mut sending => sent,
        error = early_answer(&mut arriving) => Err(error),
    };
    let (count, leaving) = match sent {
        Ok(sent) => sent,
        // The server may have said why before it closed the stream.
        Err(StreamError::Link(error)) => return Err(last_word(&mut arriving).await.unwrap_or(error.into())),
        Err(error) => return Err(error),
    };
    let answer = arriving.next().await?;
    leaving.finish().await?;
    match answer {
        Some(Frame::Stored { count: stored }) if stored == count => Ok(()),
        Some(Frame::Refused { code, reason }) => Err(StreamError::Refused { code, reason }),
        Some(_) => Err(StreamError::Nonsense("something else than STORED")),
        None => Err(StreamError::Nonsense("no answer to an upload")),
    }
}

/// Waits for an answer before its time: it can only be a refusal.
async fn early_answer(arriving: &mut FramesIn) -> StreamError {
    loop {
        match arriving.next().await {
            Ok(Some(Frame::Refused { code, reason })) => return StreamError::Refused { code, reason },
            Ok(Some(_)) => return StreamError::Nonsense("an answer before its time"),
            Ok(None) => return LinkError::Gone.into(),
            // Nothing is due while items are still on their way.
            Err(LinkError::Silent(_)) => {}
            Err(error) => return error.into(),
        }
    }
}

/// Reads a refusal that was sent before the stream broke, if there is one.
async fn last_word(arriving: &mut FramesIn) -> Option<StreamError> {
    match tokio::time::timeout(LAST_WORD_PATIENCE, arriving.next()).await {
        Ok(Ok(Some(Frame::Refused { code, reason }))) => Some(StreamError::Refused { code, reason }),
        _ => None,
    }
}

async fn take(waiting: &Mutex<mpsc::Receiver<Waiting>>) -> Option<Waiting> {
    waiting.lock().await.recv().await
}
