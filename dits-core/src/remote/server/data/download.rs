//! Items from a server.
//!
//! **For:** fetching media.
//!
//! **May touch:** the network.
//!
//! **Must hold:** an item that was not asked for, or is not what its name says, goes no further.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

use super::{Carrier, ROOM, StreamError};
use crate::codec::{Codec, Decoder};
use crate::item::ItemId;
use crate::remote::proto::Direction;
use crate::remote::server::link::{FramesOut, LinkError};
use crate::remote::server::{ServerError, ServerRemote};
use crate::store::{StoredItem, WriteError};
use crate::wire::frame::{Frame, ItemFrame};

/// Names in one question: large enough that asking costs nothing, small enough that the last
/// questions are shared out evenly.
const QUESTION_LEN: usize = 64;
/// Questions of one stream that wait for their answers.
const QUESTIONS_AHEAD: usize = 2;
/// Items that wait to be taken; their bytes are bounded by the room.
const ITEMS_WAITING: usize = 64;

const _: () = assert!(QUESTION_LEN <= crate::limits::GET_ITEMS_MAX);

/// What the server says about one item.
enum Answer {
    Item(ItemFrame, OwnedSemaphorePermit),
    Absent(ItemId),
}

/// What the streams of one download share.
struct Session {
    carrier: Carrier,
    questions: Mutex<VecDeque<Vec<ItemId>>>,
    room: Arc<Semaphore>,
}

impl ServerRemote {
    /// Fetches items, and hands each to `sink`, compared with its name, in any order.
    ///
    /// `progress` is told the stored length of each. Returns the items that the repository
    /// does not have.
    ///
    /// # Errors
    ///
    /// [`ServerError`]; what `sink` took is its own.
    pub fn download(
        &self,
        ids: &[ItemId],
        sink: &mut dyn FnMut(StoredItem) -> Result<(), WriteError>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Vec<ItemId>, ServerError> {
        let mut pending: HashSet<ItemId> = ids.iter().copied().collect();
        let mut absent = Vec::new();
        while !pending.is_empty() {
            let carrier = self.carrier(Direction::Download)?;
            // The caller's order is kept: it knows which items lie side by side in packs.
            let mut seen = HashSet::new();
            let wanted: Vec<ItemId> =
                ids.iter().copied().filter(|id| pending.contains(id) && seen.insert(*id)).collect();
            let (answers, streams) = self.start_download(&carrier, &wanted);
            let mut answers = answers;
            while let Some(answer) = answers.blocking_recv() {
                match answer {
                    Answer::Item(item, _room) => {
                        pending.remove(&item.id);
                        let len = item.bytes.len() as u64;
                        let ItemFrame { id, codec, plain_len, bytes } = item;
                        sink(StoredItem { id, codec, plain_len, bytes: bytes.into() }).map_err(|source| {
                            ServerError::Write { host: self.host.clone(), source: Box::new(source) }
                        })?;
                        progress(len);
                    }
                    Answer::Absent(id) => {
                        pending.remove(&id);
                        absent.push(id);
                    }
                }
            }
            match self.runtime.block_on(first_failure(streams)) {
                Some(error) => self.after_failure(&carrier, error)?,
                None if pending.is_empty() => {
                    self.set_retried(false);
                }
                None => {
                    return Err(self.server_error(StreamError::Nonsense("fewer items than were asked for")));
                }
            }
        }
        Ok(absent)
    }

    fn start_download(
        &self,
        carrier: &Carrier,
        wanted: &[ItemId],
    ) -> (mpsc::Receiver<Answer>, JoinSet<Result<(), StreamError>>) {
        let session = Arc::new(Session {
            carrier: carrier.clone(),
            questions: Mutex::new(wanted.chunks(QUESTION_LEN).map(<[ItemId]>::to_vec).collect()),
            room: Arc::new(Semaphore::new(ROOM)),
        });
        let (sender, answers) = mpsc::channel(ITEMS_WAITING);
        let mut streams = JoinSet::new();
        for _ in 0..carrier.stream_count() {
            let (session, sender) = (Arc::clone(&session), sender.clone());
            let fetching = async move { session.carrier.guard(fetch(&session, &sender)).await };
            streams.spawn_on(fetching, self.runtime.handle());
        }
        (answers, streams)
    }
}

async fn first_failure(mut streams: JoinSet<Result<(), StreamError>>) -> Option<StreamError> {
    while let Some(ended) = streams.join_next().await {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Some(error),
            Err(_) => return Some(LinkError::Gone.into()),
        }
    }
    None
}

/// One stream: asks ahead, and checks each answer against what was asked.
async fn fetch(session: &Session, answers: &mpsc::Sender<Answer>) -> Result<(), StreamError> {
    let Some(first) = session.question() else { return Ok(()) };
    let (leaving, mut arriving) = session.carrier.open().await?;
    let mut leaving = Some(leaving);
    let mut asked: VecDeque<ItemId> = VecDeque::new();
    ask(&mut leaving, first, &mut asked).await?;
    let mut decoder = Decoder::new();
    let mut plain = Vec::new();
    loop {
        while asked.len() <= (QUESTIONS_AHEAD - 1) * QUESTION_LEN && leaving.is_some() {
            match session.question() {
                Some(question) => ask(&mut leaving, question, &mut asked).await?,
                None => {
                    if let Some(leaving) = leaving.take() {
                        leaving.finish().await?;
                    }
                }
            }
        }
        let Some(expected) = asked.pop_front() else { return Ok(()) };
        let Some(arrived) = arriving.next_with_room(&session.room).await? else { return Err(LinkError::Gone.into()) };
        let answer = match arrived.frame {
            Frame::Item(item) if item.id == expected => {
                if !is_what_its_name_says(&item, &mut decoder, &mut plain) {
                    return Err(StreamError::Nonsense("an item that is not what its name says"));
                }
                Answer::Item(item, arrived.room)
            }
            Frame::Absent(id) if id == expected => Answer::Absent(id),
            Frame::Refused { code, reason } => return Err(StreamError::Refused { code, reason }),
            _ => return Err(StreamError::Nonsense("an item that was not asked for")),
        };
        if answers.send(answer).await.is_err() {
            return Ok(());
        }
    }
}

async fn ask(
    leaving: &mut Option<FramesOut>,
    question: Vec<ItemId>,
    asked: &mut VecDeque<ItemId>,
) -> Result<(), StreamError> {
    let Some(leaving) = leaving else { return Ok(()) };
    asked.extend(&question);
    leaving.send(&Frame::Get(question)).await?;
    Ok(leaving.flush().await?)
}

fn is_what_its_name_says(item: &ItemFrame, decoder: &mut Decoder, plain: &mut Vec<u8>) -> bool {
    match item.codec {
        Codec::Raw => item.id.names(&item.bytes),
        Codec::Zstd => {
            decoder.decode(item.codec, &item.bytes, item.plain_len as usize, plain).is_ok() && item.id.names(plain)
        }
    }
}

impl Session {
    fn question(&self) -> Option<Vec<ItemId>> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}
