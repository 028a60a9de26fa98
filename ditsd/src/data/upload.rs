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
//! - what STORED counts survives a power loss, also where another connection wrote it.
//!
//! **Format:** `docs/protocols/data-v1.md`.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use dits_core::codec::{Codec, Decoder};
use dits_core::item::ItemId;
use dits_core::pack_format::Domain;
use dits_core::store::{NewItem, PackWriter, Store, WriteError};
use dits_core::wire::frame::{Frame, ItemFrame, RefusalCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::refusal::Refusal;
use super::{DataPlane, Frames, Presence};

/// Bytes after which what was stored is committed.
const COMMIT_EVERY: usize = 8 * 1024 * 1024;
/// Items that wait for the writer; their bytes are bounded by the connection's room.
const ITEMS_WAITING: usize = 256;

/// Work for the writer of one connection.
enum Job {
    /// Check and store an item.
    Store(ItemFrame, OwnedSemaphorePermit),
    /// Bring everything that was stored to stable storage.
    Sync(oneshot::Sender<Synced>),
}

/// Everything that the writer stored so far is on stable storage.
struct Synced {
    /// Some items were in the store already, put there by others.
    leans_on_others: bool,
}

/// One connection's writer, as its streams see it.
#[derive(Clone)]
pub struct Uploading {
    jobs: mpsc::Sender<Job>,
    failed: Arc<OnceLock<(RefusalCode, String)>>,
}

/// The writers of all connections.
#[derive(Default)]
pub struct Writers {
    running: Mutex<Vec<mpsc::WeakSender<Job>>>,
}

impl Writers {
    /// Starts the writer of one connection. It ends, synced, when its last stream has.
    pub fn start(&self, store: Arc<Store>, presence: Arc<dyn Presence>, domain: Domain) -> Uploading {
        let (jobs, mut waiting) = mpsc::channel(ITEMS_WAITING);
        let failed = Arc::new(OnceLock::new());
        let uploading = Uploading { jobs, failed: Arc::clone(&failed) };
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|writer| writer.strong_count() > 0);
        running.push(uploading.jobs.downgrade());
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

    /// Brings to stable storage what every connection stored before this call.
    async fn sync_all(&self) {
        let running: Vec<_> = {
            let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            running.iter().filter_map(mpsc::WeakSender::upgrade).collect()
        };
        for jobs in running {
            let (done, synced) = oneshot::channel();
            if jobs.send(Job::Sync(done)).await.is_ok() {
                // A writer that failed tells its own clients; its items may be lost, and the
                // proof of a manifest that needs them will find that out.
                let _ = synced.await;
            }
        }
    }
}

impl Uploading {
    async fn give(&self, job: Job) -> Result<(), Refusal> {
        self.jobs.send(job).await.map_err(|_| self.refusal())
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
pub async fn serve(
    plane: &DataPlane,
    uploading: &Uploading,
    frames: &mut Frames,
    room: &Arc<Semaphore>,
) -> Result<(), Refusal> {
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
    let synced = synced.await.map_err(|_| uploading.refusal())?;
    if synced.leans_on_others {
        plane.writers.sync_all().await;
    }
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
    /// Items that another repository's packs hold and this one's client sent.
    adopted: Vec<ItemId>,
    leans_on_others: bool,
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
            adopted: Vec::new(),
            leans_on_others: false,
        }
    }

    fn run(&mut self, jobs: &mut mpsc::Receiver<Job>) -> Result<(), Refusal> {
        while let Some(job) = jobs.blocking_recv() {
            match job {
                Job::Store(item, _room) => self.take(&item)?,
                Job::Sync(done) => {
                    self.sync()?;
                    // A stream that is gone needs no answer.
                    let _ = done.send(Synced { leans_on_others: self.leans_on_others });
                }
            }
        }
        self.sync()
    }

    fn take(&mut self, item: &ItemFrame) -> Result<(), Refusal> {
        if !self.is_what_its_name_says(item) {
            return Err(Refusal::WrongItem(item.id));
        }
        if self.store.has(&item.id).map_err(store_failed)? {
            self.leans_on_others = true;
            if !self.store.has_in(self.domain, &item.id).map_err(store_failed)? {
                self.adopted.push(item.id);
            }
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

    fn commit(&mut self) -> Result<(), Refusal> {
        self.uncommitted = 0;
        self.pack.commit().map_err(Refusal::Write)?;
        self.presence.record(self.domain, &std::mem::take(&mut self.adopted)).map_err(Refusal::Presence)
    }

    fn sync(&mut self) -> Result<(), Refusal> {
        self.commit()?;
        self.pack.sync().map_err(Refusal::Write)
    }
}

fn store_failed(error: dits_core::store::StoreError) -> Refusal {
    Refusal::Write(WriteError::Store(error))
}
