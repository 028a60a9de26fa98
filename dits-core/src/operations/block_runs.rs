//! Runs of a file's blocks, hashed side by side.
//!
//! **For:** proving a long file, and writing one out, on all cores: its blocks are hashed apart from each other.
//!
//! **May touch:** the stores it is given, for reading; threads, which have ended on return.
//!
//! **Must hold:** memory is bounded by [`RUNS_WAITING`] runs of outlines and one chunk for each thread,
//! whatever the file's length, and whatever its manifest says: a run has at most [`BLOCK_CHUNKS_MAX`] chunks
//! for each of its blocks.

use std::fs::File;
use std::iter::Peekable;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope;

use blake3::hazmat::ChainingValue;

use super::chunk_stream::{OutlineError, Placed, Walk, read_all};
use super::hydrate::{HydrateError, Watch};
use crate::chunking::tree_hasher::BlockHasher;
use crate::limits::{BLOCK_CHUNKS_MAX, BLOCK_LEN};
use crate::store::Items;

/// Most blocks of one run.
const RUN_BLOCKS_MAX: usize = 16;
/// Runs that each thread takes before the values are handed on.
const RUNS_PER_ROUND: usize = 16;
/// Bytes of a file that are read at a time.
const PIECE_LEN: usize = 256 * 1024;
/// Runs that wait for each thread.
const RUNS_WAITING: usize = 2;

/// Most threads that work on one proof.
const THREADS_MAX: usize = 4;

/// How many threads to work with here: one for each core, within bounds.
///
/// The system is asked once: it reads files for its answer, which takes longer than hashing a short file.
pub(super) fn threads() -> usize {
    static THREADS: OnceLock<usize> = OnceLock::new();
    *THREADS.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX))
}

/// Neighbouring blocks whose values are wanted, and the chunks that they touch.
pub(super) struct Run {
    first_block: usize,
    start: u64,
    end: u64,
    chunks: Vec<Placed>,
}

/// The runs of those blocks of a file of `size` bytes that are not known.
pub(super) fn unknown<'a>(
    walk: Walk<'a>,
    is_known: &'a [bool],
    size: u64,
) -> impl Iterator<Item = Result<Run, OutlineError>> {
    let mut walk = walk.peekable();
    let mut next_block = 0;
    std::iter::from_fn(move || {
        let unknown_at = |is_known: &[bool]| is_known.iter().position(|known| !known);
        let first_block = next_block + unknown_at(&is_known[next_block..])?;
        let unknown = is_known[first_block..].iter().take(RUN_BLOCKS_MAX).take_while(|known| !**known).count();
        next_block = first_block + unknown;
        let (start, end) = (first_block as u64 * BLOCK_LEN, (next_block as u64 * BLOCK_LEN).min(size));
        let chunks = chunks_of(&mut walk, start, end).transpose()?;
        Some(chunks.map(|chunks| Run { first_block, start, end, chunks }))
    })
}

/// The next chunks that have bytes between `start` and `end`; one that reaches beyond stays for the next run.
fn chunks_of(walk: &mut Peekable<Walk<'_>>, start: u64, end: u64) -> Result<Option<Vec<Placed>>, OutlineError> {
    let mut chunks = Vec::new();
    let end_of = |placed: &Placed| placed.offset + u64::from(placed.entry.len);
    let push = |chunks: &mut Vec<Placed>, placed: Placed| {
        // Chunks follow one another: if this one and the one that far before it have bytes of a block, so have
        // all between.
        let before = chunks.len().checked_sub(BLOCK_CHUNKS_MAX).map(|at| (end_of(&chunks[at]) - 1) / BLOCK_LEN);
        let block = placed.offset / BLOCK_LEN;
        if before.is_some_and(|before| before >= block) {
            return Err(OutlineError::TooManyChunks { block });
        }
        chunks.push(placed);
        Ok(())
    };
    loop {
        match walk.peek() {
            None => return Ok(Some(chunks)),
            Some(Ok(placed)) if placed.offset >= end => return Ok(Some(chunks)),
            Some(Ok(placed)) if end_of(placed) > end => {
                push(&mut chunks, *placed)?;
                return Ok(Some(chunks));
            }
            _ => {}
        }
        let Some(placed) = walk.next().transpose()? else { return Ok(Some(chunks)) };
        if end_of(&placed) > start {
            push(&mut chunks, placed)?;
        }
    }
}

/// How the chunks of a run are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// As they are: whether they are right shows in the values.
    Unchecked,
    /// Each checked against its name, so that a wrong one is found out.
    Checked,
}

/// Takes the bytes of a run as they are hashed, and where in the file they stand.
pub(super) type Sink<'a, E> = &'a (dyn Fn(u64, &[u8]) -> Result<(), E> + Sync);

/// Hashes every run on up to `threads` threads, and hands the values of its blocks to `each`, in order: the first
/// block's number with them. The bytes go to `sink`, in no order.
///
/// # Errors
///
/// The first error of the runs, of reading, of `sink` or of `each`.
pub(super) fn hash_each<E: From<OutlineError> + Send>(
    items: &dyn Items,
    reading: Reading,
    threads: usize,
    mut runs: impl Iterator<Item = Result<Run, OutlineError>>,
    sink: Sink<'_, E>,
    mut each: impl FnMut(usize, Vec<ChainingValue>) -> Result<(), E>,
) -> Result<(), E> {
    if threads <= 1 {
        return runs.try_for_each(|run| {
            let Hashed { first_block, values } = hash(items, reading, run?, sink)?;
            each(first_block, values)
        });
    }
    std::thread::scope(|scope| {
        let hashers: Vec<Hasher<E>> = (0..threads).map(|_| Hasher::start(scope, items, reading, sink)).collect();
        let ahead = hashers.len() * RUNS_WAITING;
        let mut take = |number: usize| {
            let Hashed { first_block, values } = hashers[number % hashers.len()].take()?;
            each(first_block, values)
        };
        let mut given = 0;
        for run in runs {
            let run = run?;
            if given >= ahead {
                take(given - ahead)?;
            }
            hashers[given % hashers.len()].give(run);
            given += 1;
        }
        (given.saturating_sub(ahead)..given).try_for_each(take)
    })
}

/// Hashes what stands in a file of two blocks or more, on up to `threads` threads, and hands the values of its blocks
/// to `each`, in order. `watch` hears of every piece.
///
/// # Errors
///
/// [`HydrateError::Stopped`], and [`HydrateError::Write`] if the file cannot be read.
pub(super) fn hash_file(
    file: &File,
    size: u64,
    threads: usize,
    watch: Watch<'_>,
    mut each: impl FnMut(ChainingValue),
) -> Result<(), HydrateError> {
    let run_len = RUN_BLOCKS_MAX as u64 * BLOCK_LEN;
    let starts: Vec<u64> = (0..size).step_by(run_len as usize).collect();
    let threads = threads.max(1);
    for starts in starts.chunks(threads * RUNS_PER_ROUND) {
        let hashed: Vec<Result<Vec<ChainingValue>, HydrateError>> = std::thread::scope(|scope| {
            let share = starts.len().div_ceil(threads);
            let read = |starts: &[u64]| {
                let mut values = Vec::new();
                starts
                    .iter()
                    .try_for_each(|start| hash_run_of(file, *start..size.min(start + run_len), watch, &mut values))?;
                Ok(values)
            };
            let running: Vec<_> = starts.chunks(share).map(|starts| scope.spawn(move || read(starts))).collect();
            running
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        for values in hashed {
            values?.into_iter().for_each(&mut each);
        }
    }
    Ok(())
}

/// Hashes the blocks of one run of a file.
fn hash_run_of(
    file: &File,
    mut run: Range<u64>,
    watch: Watch<'_>,
    values: &mut Vec<ChainingValue>,
) -> Result<(), HydrateError> {
    let mut hasher = BlockHasher::starting_at(run.start);
    let mut piece = vec![0; PIECE_LEN];
    while !run.is_empty() {
        let len = PIECE_LEN.min((run.end - run.start) as usize);
        file.read_exact_at(&mut piece[..len], run.start).map_err(HydrateError::Write)?;
        hasher.push(&piece[..len], |value| values.push(value));
        run.start += len as u64;
        if watch(len as u64).is_break() {
            return Err(HydrateError::Stopped);
        }
    }
    values.extend(hasher.last_value());
    Ok(())
}

/// The values of a run's blocks.
struct Hashed {
    first_block: usize,
    values: Vec<ChainingValue>,
}

/// A thread that hashes runs, one after another.
struct Hasher<E> {
    runs: SyncSender<Run>,
    values: Receiver<Result<Hashed, E>>,
}

impl<E: From<OutlineError> + Send> Hasher<E> {
    fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        items: &'scope dyn Items,
        reading: Reading,
        sink: Sink<'scope, E>,
    ) -> Hasher<E>
    where
        E: 'scope,
    {
        let (runs, runs_in) = sync_channel::<Run>(RUNS_WAITING);
        let (values_out, values) = sync_channel(RUNS_WAITING);
        scope.spawn(move || {
            // Nobody takes values any more once something has failed.
            while let Ok(run) = runs_in.recv()
                && values_out.send(hash(items, reading, run, sink)).is_ok()
            {}
        });
        Hasher { runs, values }
    }

    fn give(&self, run: Run) {
        self.runs.send(run).expect("the thread takes runs until this end is dropped");
    }

    fn take(&self) -> Result<Hashed, E> {
        self.values.recv().expect("every run that was given is answered")
    }
}

fn hash<E: From<OutlineError>>(items: &dyn Items, reading: Reading, run: Run, sink: Sink<'_, E>) -> Result<Hashed, E> {
    let mut hasher = BlockHasher::starting_at(run.start);
    let (mut values, mut plain) = (Vec::new(), Vec::new());
    let mut chunks = run.chunks.iter().map(|placed| Ok(*placed));
    read_all(items, &mut chunks, |chunk| {
        let at = chunk.offset();
        match reading {
            Reading::Unchecked => chunk.read_unchecked(items, &mut plain)?,
            Reading::Checked => chunk.read(items, &mut plain)?,
        }
        let from = run.start.saturating_sub(at) as usize;
        let to = plain.len().min((run.end - at) as usize);
        hasher.push(&plain[from..to], |value| values.push(value));
        sink(at + from as u64, &plain[from..to])
    })?;
    values.extend(hasher.last_value());
    Ok(Hashed { first_block: run.first_block, values })
}
