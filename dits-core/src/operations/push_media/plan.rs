//! What has to be sent, in the order in which it is.
//!
//! **For:** the thread of a push that asks the remote and reads ahead.
//!
//! **May touch:** stores, read only, and one remote.
//!
//! **Must hold:** a batch's chunks come before its spans and pages, and all of those before
//! any manifest.

use std::collections::HashSet;
use std::sync::mpsc::SyncSender;

use super::{BATCH_WEIGHT, File, Lacking, Meter, NotPushed, PushError};
use crate::hash::ManifestHash;
use crate::item::{ItemId, ItemKind};
use crate::limits;
use crate::manifest::Manifest;
use crate::manifest::parts::Part;
use crate::manifest::span::Span;
use crate::pointer::Pointer;
use crate::remote::{Remote, RemoteError};
use crate::store::{Items, Located, ReadError, Sources, StoredItem};

/// A span stands for this many chunks when a batch is weighed.
const SPAN_WEIGHT: usize = 16;

/// Finds a manifest to send the file by: a complete one if there are several.
pub(super) fn choose_manifest(sources: &Sources, pointer: &Pointer) -> Result<Option<ManifestHash>, PushError> {
    let mut usable = Vec::new();
    for hash in sources.manifests_of(&pointer.oid)? {
        if read_manifest(sources, &hash).is_ok_and(|manifest| manifest.pointer() == *pointer) {
            usable.push(hash);
        }
    }
    if usable.len() > 1 {
        let complete = usable.iter().position(|hash| is_complete(sources, hash));
        return Ok(complete.or(Some(0)).map(|at| usable[at]));
    }
    Ok(usable.pop())
}

fn read_manifest(sources: &Sources, hash: &ManifestHash) -> Result<Manifest, ReadError> {
    let id = ItemId::from(*hash);
    let mut plain = Vec::new();
    sources.read(&id, &mut plain)?;
    // The store decodes manifests before it takes them in.
    Manifest::decode(&plain).map_err(|_| ReadError::Missing(id))
}

fn read_span(sources: &Sources, id: &ItemId) -> Result<Span, ReadError> {
    let mut plain = Vec::new();
    sources.read(id, &mut plain)?;
    Span::decode(&plain).map_err(|_| ReadError::Missing(*id))
}

fn is_complete(sources: &Sources, hash: &ManifestHash) -> bool {
    let has = |id: &ItemId| sources.has(id).unwrap_or(false);
    let has_part = |part: &Part| match part.id.kind {
        ItemKind::Span => {
            read_span(sources, &part.id).is_ok_and(|span| span.entries().iter().all(|entry| has(&entry.hash.into())))
        }
        _ => has(&part.id),
    };
    read_manifest(sources, hash).is_ok_and(|manifest| manifest.parts().iter().all(has_part))
}

/// A part of a file, or a chunk of one of its spans.
#[derive(Clone, Copy)]
struct Wanted {
    part: Part,
    file: usize,
}

/// Walks the files and hands over what the remote lacks.
pub(super) struct Planner<'a> {
    sources: &'a Sources,
    remote: &'a Remote,
    files: &'a [File<'a>],
    meter: &'a Meter<'a>,
    sender: SyncSender<Result<StoredItem, ReadError>>,
    batch: Vec<Wanted>,
    batch_weight: usize,
    pub lacking: Lacking,
}

/// The remote takes no more; what it says is the error.
struct Stopped;

enum PlanError {
    Stopped,
    Push(PushError),
}

impl From<Stopped> for PlanError {
    fn from(_: Stopped) -> PlanError {
        PlanError::Stopped
    }
}

impl From<RemoteError> for PlanError {
    fn from(error: RemoteError) -> PlanError {
        PlanError::Push(error.into())
    }
}

impl<'a> Planner<'a> {
    pub fn new(
        sources: &'a Sources,
        remote: &'a Remote,
        files: &'a [File<'a>],
        meter: &'a Meter<'a>,
        sender: SyncSender<Result<StoredItem, ReadError>>,
    ) -> Planner<'a> {
        let lacking = Lacking::new();
        Planner { sources, remote, files, meter, sender, batch: Vec::new(), batch_weight: 0, lacking }
    }

    /// Hands over everything, in order.
    pub fn run(&mut self) -> Result<(), PushError> {
        match self.run_all() {
            Ok(()) | Err(PlanError::Stopped) => Ok(()),
            Err(PlanError::Push(error)) => Err(error),
        }
    }

    fn run_all(&mut self) -> Result<(), PlanError> {
        for (number, file) in self.files.iter().enumerate() {
            match read_manifest(self.sources, &file.manifest) {
                Ok(manifest) => {
                    for part in manifest.parts() {
                        self.add(Wanted { part, file: number })?;
                    }
                }
                Err(error) => self.lack(number, error),
            }
        }
        self.flush()?;
        for (number, file) in self.files.iter().enumerate() {
            if !self.lacking.contains_key(&number) {
                self.hand_over(&Wanted { part: Part { id: file.manifest.into(), covers: 0 }, file: number }, None)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, wanted: Wanted) -> Result<(), PlanError> {
        self.batch_weight += if wanted.part.id.kind == ItemKind::Span { SPAN_WEIGHT } else { 1 };
        self.batch.push(wanted);
        if self.batch_weight >= BATCH_WEIGHT { self.flush() } else { Ok(()) }
    }

    /// Settles one batch: spans first, since one that is there needs no question about its chunks.
    fn flush(&mut self) -> Result<(), PlanError> {
        self.batch_weight = 0;
        let (chunks, above): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.batch).into_iter().partition(|wanted| wanted.part.id.kind == ItemKind::Chunk);
        let above = self.only_missing(above)?;
        let mut asked = HashSet::new();
        let mut questions = Vec::new();
        for chunk in chunks {
            self.ask(chunk, &mut asked, &mut questions)?;
        }
        for wanted in above.iter().filter(|wanted| wanted.part.id.kind == ItemKind::Span) {
            match read_span(self.sources, &wanted.part.id) {
                Ok(span) => {
                    for entry in span.entries() {
                        let part = Part { id: entry.hash.into(), covers: entry.len.into() };
                        self.ask(Wanted { part, file: wanted.file }, &mut asked, &mut questions)?;
                    }
                }
                Err(error) => self.lack(wanted.file, error),
            }
        }
        self.send_missing(questions)?;
        for wanted in above {
            // What a span covers was counted with its chunks.
            self.hand_over(&Wanted { part: Part { covers: 0, ..wanted.part }, ..wanted }, None)?;
        }
        Ok(())
    }

    fn ask(
        &mut self,
        chunk: Wanted,
        asked: &mut HashSet<ItemId>,
        questions: &mut Vec<Wanted>,
    ) -> Result<(), PlanError> {
        if !asked.insert(chunk.part.id) {
            self.meter.done(chunk.part.covers);
            return Ok(());
        }
        questions.push(chunk);
        match questions.len() < limits::IDS_PER_MESSAGE_MAX {
            true => Ok(()),
            false => self.send_missing(std::mem::take(questions)),
        }
    }

    fn send_missing(&mut self, questions: Vec<Wanted>) -> Result<(), PlanError> {
        let missing = self.only_missing(questions)?;
        let ids: Vec<ItemId> = missing.iter().map(|wanted| wanted.part.id).collect();
        let located = self.sources.locate(&ids).map_err(|error| PlanError::Push(error.into()))?;
        for (wanted, located) in missing.iter().zip(located) {
            self.hand_over(wanted, Some(located))?;
        }
        Ok(())
    }

    /// Asks the remote, each item once, and keeps what it lacks.
    fn only_missing(&mut self, wanted: Vec<Wanted>) -> Result<Vec<Wanted>, PlanError> {
        let mut seen = HashSet::new();
        let mut missing = Vec::new();
        let (new, again): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|wanted| seen.insert(wanted.part.id));
        for questions in new.chunks(limits::IDS_PER_MESSAGE_MAX) {
            let ids: Vec<ItemId> = questions.iter().map(|wanted| wanted.part.id).collect();
            for (wanted, is_missing) in questions.iter().zip(self.remote.missing(&ids)?) {
                match is_missing {
                    true => missing.push(*wanted),
                    false => self.meter.done(wanted.part.covers),
                }
            }
        }
        again.iter().for_each(|wanted| self.meter.done(wanted.part.covers));
        Ok(missing)
    }

    fn hand_over(&mut self, wanted: &Wanted, located: Option<Located>) -> Result<(), Stopped> {
        match self.sources.read_stored_located(&wanted.part.id, located) {
            Ok(item) => {
                self.sender.send(Ok(item)).map_err(|_| Stopped)?;
                self.meter.done(wanted.part.covers);
            }
            Err(error) => self.lack(wanted.file, error),
        }
        Ok(())
    }

    fn lack(&mut self, file: usize, error: ReadError) {
        let why = match error {
            ReadError::Missing(id) => NotPushed::PartMissing(id),
            other => NotPushed::PartDamaged(other.to_string()),
        };
        self.lacking.entry(file).or_insert(why);
    }
}
