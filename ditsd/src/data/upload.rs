//! Uploads: items in, each checked against its name, then appended to the repository's pack.
//!
//! **For:** the streams of a connection that uploads; they share one writer on a thread of
//! its own.
//!
//! **May touch:** the store, and the rows of what a repository has in another one's packs.
//!
//! **Must hold:**
//! - nothing is stored that does not hash to its name;
//! - items are committed as they arrive, so that a push that is cut off was not in vain;
//! - what STORED counts survives a power loss, also where another connection wrote it, and no
//!   collection takes it away while the client may still rely on it.
//!
//! **Format:** `docs/protocols/data-v1.md`.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use dits_core::codec::{Codec, Decoder};
use dits_core::item::{ItemId, ItemKind};
use dits_core::pack_format::Domain;
use dits_core::store::collect::Guard;
use dits_core::store::{NewItem, PackWriter, ReadError, Store, WriteError};
use dits_core::wire::frame::{Frame, ItemFrame, RefusalCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::refusal::Refusal;
use super::{Frames, Presence};

/// Bytes after which what was stored is committed.
const COMMIT_EVERY: usize = 8 * 1024 * 1024;
/// Items that were in the store already after which they are recorded, and how long that may wait: a
/// collection waits for it.
const LEANING_MAX: usize = 4096;
const LEANING_TIME_MAX: Duration = Duration::from_secs(1);
/// Items that the store is asked about at once.
const BATCH_MAX: usize = 64;
/// Items that wait for the writer; their bytes are bounded by the connection's room.
const ITEMS_WAITING: usize = 256;

/// Work for the writer of one connection.
enum Job {
    /// Check and store an item.
    Store(ItemFrame, OwnedSemaphorePermit),
    /// Bring everything that was stored to stable storage.
    Sync(oneshot::Sender<Synced>),
}

/// Everything that the writer took so far is on stable storage, whoever stored it.
struct Synced;

/// One connection's writer, as its streams see it.
#[derive(Clone)]
pub struct Uploading {
    jobs: mpsc::Sender<Job>,
    failed: Arc<OnceLock<(RefusalCode, String)>>,
}

/// Starts the writer of one connection. It ends, synced, when its last stream has.
pub fn start(store: Arc<Store>, presence: Arc<dyn Presence>, domain: Domain) -> Uploading {
    let (jobs, mut waiting) = mpsc::channel(ITEMS_WAITING);
    let failed = Arc::new(OnceLock::new());
    let uploading = Uploading { jobs, failed: Arc::clone(&failed) };
    let write = move || {
        let mut writer = Writer::new(&store, presence.as_ref(), domain);
        // The queue outlives the run: streams must find the reason once they find it closed.
        if let Err(refusal) = writer.run(&mut waiting) {
            refusal.log("writer");
            // Only the first reason is kept; there is one writer, so there is no other.
            let _ = failed.set(refusal.for_peer());
        }
    };
    // Without a thread the jobs have no receiver, and the first stream is told so.
    if let Err(error) = std::thread::Builder::new().name("upload".to_owned()).spawn(write) {
        tracing::error!(%error, "cannot start a writer");
    }
    uploading
}

impl Uploading {
    async fn give(&self, job: Job) -> Result<(), Refusal> {
        self.jobs.send(job).await.map_err(|_| self.refusal())
    }

    /// Why the writer took a job and never answered it, once it has ended.
    async fn reason_of_silence(&self) -> Refusal {
        // A writer that fails drops its jobs first and gives its reason then, and its queue last.
        self.jobs.closed().await;
        self.refusal()
    }

    /// Why the writer takes nothing more.
    fn refusal(&self) -> Refusal {
        match self.failed.get() {
            Some((code, reason)) => Refusal::Together(*code, reason.clone()),
            None => Refusal::WriterGone,
        }
    }
}

/// Serves one upload stream.
pub async fn serve(uploading: &Uploading, frames: &mut Frames, room: &Arc<Semaphore>) -> Result<(), Refusal> {
    let mut count = 0_u64;
    loop {
        let Some(arrived) = frames.arriving.next_with_room(room).await? else { return Err(Refusal::ended()) };
        match arrived.frame {
            Frame::Put(item) => {
                uploading.give(Job::Store(item, arrived.room)).await?;
                count += 1;
            }
            Frame::PutDone => break,
            other => return Err(Refusal::out_of_place(&other)),
        }
    }
    let (done, synced) = oneshot::channel();
    uploading.give(Job::Sync(done)).await?;
    let Ok(Synced) = synced.await else { return Err(uploading.reason_of_silence().await) };
    frames.leaving.send(&Frame::Stored { count }).await?;
    Ok(())
}

/// The thread that stores what one connection sends.
struct Writer<'a> {
    store: &'a Store,
    presence: &'a dyn Presence,
    domain: Domain,
    pack: PackWriter<'a>,
    decoder: Decoder,
    plain: Vec<u8>,
    uncommitted: usize,
    /// The name under which the client's repository leases what it sent in vain.
    lease: [u8; 16],
    leaning: Option<Leaning>,
    /// Items came that were in the store already; who stored them may not have synced them,
    /// and may have died since.
    leans_on_others: bool,
}

/// Items that came and are in the store already, until that is written down.
struct Leaning {
    /// Another repository's packs hold them.
    adopted: Vec<ItemId>,
    /// Packs of this one do.
    there: Vec<ItemId>,
    since: Instant,
    _guard: Guard,
}

impl Leaning {
    fn new(guard: Guard) -> Leaning {
        Leaning { adopted: Vec::new(), there: Vec::new(), since: Instant::now(), _guard: guard }
    }

    fn note(&mut self, id: ItemId, is_own: bool) {
        if is_own { self.there.push(id) } else { self.adopted.push(id) }
    }

    fn is_due(&self) -> bool {
        self.adopted.len() + self.there.len() >= LEANING_MAX || self.since.elapsed() >= LEANING_TIME_MAX
    }
}

impl<'a> Writer<'a> {
    fn new(store: &'a Store, presence: &'a dyn Presence, domain: Domain) -> Writer<'a> {
        Writer {
            store,
            presence,
            domain,
            pack: store.writer(domain),
            decoder: Decoder::new(),
            plain: Vec::new(),
            uncommitted: 0,
            lease: rand::random(),
            leaning: None,
            leans_on_others: false,
        }
    }

    fn run(&mut self, jobs: &mut mpsc::Receiver<Job>) -> Result<(), Refusal> {
        let mut batch = Vec::new();
        while jobs.blocking_recv_many(&mut batch, BATCH_MAX) > 0 {
            if self.leaning.is_none() {
                self.leaning = Some(Leaning::new(self.store.guard().map_err(store_failed)?));
            }
            let stored = self.which_are_stored(&batch)?;
            for (job, is_stored) in batch.drain(..).zip(stored) {
                match job {
                    Job::Store(item, _room) => self.take(&item, is_stored)?,
                    Job::Sync(done) => {
                        self.sync()?;
                        // A stream that is gone needs no answer.
                        let _ = done.send(Synced);
                    }
                }
            }
            // A collection never waits for a client: nothing is leaned on while this waits for one.
            if jobs.is_empty() || self.leaning.as_ref().is_some_and(Leaning::is_due) {
                self.write_down()?;
                self.leaning = None;
            }
        }
        self.sync()
    }

    /// Says of each job whether the store has its item, as far as the name alone can tell.
    fn which_are_stored(&self, jobs: &[Job]) -> Result<Vec<bool>, Refusal> {
        let id = |job: &Job| match job {
            Job::Store(item, _) => Some(item.id),
            Job::Sync(_) => None,
        };
        let ids: Vec<ItemId> = jobs.iter().filter_map(id).collect();
        let mut stored = self.store.has_each(&ids).map_err(store_failed)?.into_iter();
        Ok(jobs.iter().map(|job| id(job).is_some() && stored.next().unwrap_or(false)).collect())
    }

    fn take(&mut self, item: &ItemFrame, is_stored: bool) -> Result<(), Refusal> {
        if !self.is_what_its_name_says(item) {
            return Err(Refusal::WrongItem(item.id));
        }
        if is_stored && self.is_stored_in_this_length(item)? {
            self.leans_on_others = true;
            let is_own = self.store.has_in(self.domain, &item.id).map_err(store_failed)?;
            self.leaning.as_mut().expect("a batch begins with the guard").note(item.id, is_own);
            return Ok(());
        }
        let new = NewItem { id: item.id, codec: item.codec, plain_len: item.plain_len, stored: &item.bytes };
        self.pack.put(new).map_err(|error| match error {
            WriteError::Malformed(id) => Refusal::WrongItem(id),
            other => Refusal::Write(other),
        })?;
        self.uncommitted += item.bytes.len();
        match self.uncommitted >= COMMIT_EVERY {
            true => self.commit(),
            false => Ok(()),
        }
    }

    fn is_what_its_name_says(&mut self, item: &ItemFrame) -> bool {
        match item.codec {
            Codec::Raw => item.id.names(&item.bytes),
            Codec::Zstd => {
                let decoded = self.decoder.decode(item.codec, &item.bytes, item.plain_len as usize, &mut self.plain);
                decoded.is_ok() && item.id.names(&self.plain)
            }
        }
    }

    /// Returns true if what the store has by this name is what came.
    ///
    /// A page's id does not fix its length: only a copy of the same length is the same page.
    fn is_stored_in_this_length(&mut self, item: &ItemFrame) -> Result<bool, Refusal> {
        if item.id.kind != ItemKind::Page {
            return Ok(true);
        }
        match self.store.read_of_len(&item.id, item.plain_len, &mut self.plain) {
            Ok(()) => Ok(true),
            Err(ReadError::Missing(_) | ReadError::Damaged { .. } | ReadError::Unreadable { .. }) => Ok(false),
            Err(ReadError::Store(error)) => Err(store_failed(error)),
        }
    }

    fn commit(&mut self) -> Result<(), Refusal> {
        self.uncommitted = 0;
        self.pack.commit().map_err(Refusal::Write)
    }

    /// Writes down what came and was in the store already.
    fn write_down(&mut self) -> Result<(), Refusal> {
        let Some(leaning) = &mut self.leaning else { return Ok(()) };
        let (adopted, there) = (std::mem::take(&mut leaning.adopted), std::mem::take(&mut leaning.there));
        self.presence.record(self.domain, self.lease, &adopted, &there).map_err(Refusal::Presence)
    }

    fn sync(&mut self) -> Result<(), Refusal> {
        self.write_down()?;
        self.commit()?;
        self.pack.sync().map_err(Refusal::Write)?;
        match std::mem::take(&mut self.leans_on_others) {
            true => self.store.sync().map_err(store_failed),
            false => Ok(()),
        }
    }
}

fn store_failed(error: dits_core::store::StoreError) -> Refusal {
    Refusal::Write(WriteError::Store(error))
}
