//! The hashing half of a clean, on this thread or beside it.
//!
//! **For:** hashing the next blocks of a long file while the last ones are written.
//!
//! **May touch:** threads: none for a short file, one for a long one, and one more while
//! two blocks wait.
//!
//! **Must hold:**
//! - hashed blocks come out in file order, the same whatever the number of threads and whatever
//!   an earlier version is said to have;
//! - at most [`IN_FLIGHT_MAX`] blocks are between in and out.

use crate::chunking::cutter::Structure;
use crate::chunking::hashing::{Ahead, Earlier, HashStage, HashedBlock};
use crate::chunking::tree_hasher::Hashed;
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// From this length on, in bytes, a file is worth a thread.
const BESIDE_FROM: u64 = 8 * 1024 * 1024;
/// Blocks that may be between in and out.
const IN_FLIGHT_MAX: usize = 4;

/// Hashes one file.
pub(super) struct Hashing {
    place: Place,
    pushed: u64,
    hash_threads: usize,
}

enum Place {
    /// On the calling thread.
    Here(Box<HashStage>),
    /// On a thread of its own.
    Beside(Beside),
}

/// A block to be hashed.
pub struct Given {
    /// Its bytes.
    pub block: Vec<u8>,
    /// What an earlier version of the file has in its place, if that is known.
    pub earlier: Option<Earlier>,
}

impl Given {
    /// Compares the block with the earlier version, if there is one.
    fn compare(&self, start: u64, structure: &Structure) -> Option<Ahead> {
        HashStage::compare(&self.block, start, structure, self.earlier.as_ref()?)
    }
}

struct Beside {
    blocks: Sender<Given>,
    hashed: Receiver<HashedBlock>,
    thread: JoinHandle<HashStage>,
    in_flight: usize,
}

impl Hashing {
    pub(super) fn new(hash_threads: usize) -> Hashing {
        Hashing { place: Place::Here(Box::default()), pushed: 0, hash_threads }
    }

    /// Takes the next block, and returns the next hashed one if it is time to store it.
    pub(super) fn push(&mut self, given: Given) -> Option<HashedBlock> {
        self.pushed += given.block.len() as u64;
        if let Place::Here(stage) = &mut self.place {
            if self.pushed < BESIDE_FROM {
                return Some(hash_one(stage, given));
            }
            let stage = std::mem::take(stage);
            self.place = Place::Beside(Beside::start(*stage, self.hash_threads));
        }
        let Place::Beside(beside) = &mut self.place else { unreachable!("the thread was just started") };
        beside.push(given);
        self.take_block()
    }

    /// The next hashed block, if one is ready or must be waited for.
    pub(super) fn take_block(&mut self) -> Option<HashedBlock> {
        match &mut self.place {
            Place::Here(_) => None,
            Place::Beside(beside) if beside.in_flight >= IN_FLIGHT_MAX => beside.wait(),
            Place::Beside(beside) => beside.take_ready(),
        }
    }

    /// The next hashed block; `None` if all that were pushed are out.
    pub(super) fn wait_for_block(&mut self) -> Option<HashedBlock> {
        match &mut self.place {
            Place::Here(_) => None,
            Place::Beside(beside) if beside.in_flight == 0 => None,
            Place::Beside(beside) => beside.wait(),
        }
    }

    /// Ends the file. Every hashed block must be out.
    pub(super) fn finish(self) -> (HashedBlock, Hashed) {
        match self.place {
            Place::Here(stage) => stage.finish(),
            Place::Beside(beside) => {
                drop(beside.blocks);
                join(beside.thread).finish()
            }
        }
    }
}

impl Beside {
    fn start(stage: HashStage, hash_threads: usize) -> Beside {
        let (blocks, blocks_in) = channel();
        let (hashed_out, hashed) = channel();
        let thread = std::thread::spawn(move || run(stage, hash_threads, &blocks_in, &hashed_out));
        Beside { blocks, hashed, thread, in_flight: 0 }
    }

    fn push(&mut self, given: Given) {
        self.in_flight += 1;
        self.blocks.send(given).expect("the hashing thread runs until this end is dropped");
    }

    fn take_ready(&mut self) -> Option<HashedBlock> {
        let ready = self.hashed.try_recv().ok()?;
        self.in_flight -= 1;
        Some(ready)
    }

    fn wait(&mut self) -> Option<HashedBlock> {
        let ready = self.hashed.recv().expect("a block in flight comes out");
        self.in_flight -= 1;
        Some(ready)
    }
}

/// The hashing thread: block by block, two at a time where two wait and two threads may work.
fn run(mut stage: HashStage, hash_threads: usize, blocks: &Receiver<Given>, out: &Sender<HashedBlock>) -> HashStage {
    let mut waiting = VecDeque::new();
    while let Some(first) = waiting.pop_front().or_else(|| blocks.recv().ok()) {
        waiting.extend(blocks.try_iter());
        let hashed = match waiting.pop_front() {
            Some(second) if hash_threads > 1 => hash_two(&mut stage, first, second),
            Some(second) => vec![hash_one(&mut stage, first), hash_one(&mut stage, second)],
            None => vec![hash_one(&mut stage, first)],
        };
        for block in hashed {
            // Nobody waits any more if the file was given up.
            let _ = out.send(block);
        }
    }
    stage
}

fn hash_one(stage: &mut HashStage, given: Given) -> HashedBlock {
    let start = stage.read_structure(&given.block);
    let ahead = given.compare(start, &stage.structure());
    finish(stage, given.block, ahead)
}

/// Hashes two neighbouring blocks at once, the second ahead of its turn on a thread of its own.
pub fn hash_two(stage: &mut HashStage, first: Given, second: Given) -> Vec<HashedBlock> {
    let first_start = stage.read_structure(&first.block);
    let second_start = stage.read_structure(&second.block);
    let structure = stage.structure();
    let (first, ahead) = std::thread::scope(|scope| {
        let ahead = scope.spawn(|| {
            second
                .compare(second_start, &structure)
                .or_else(|| HashStage::ahead(&second.block, second_start, &structure))
        });
        let compared = first.compare(first_start, &structure);
        let hashed = finish(stage, first.block, compared);
        (hashed, ahead.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    vec![first, finish(stage, second.block, ahead)]
}

fn finish(stage: &mut HashStage, block: Vec<u8>, ahead: Option<Ahead>) -> HashedBlock {
    match ahead {
        Some(ahead) => stage.hash_with(block, ahead),
        None => stage.hash(block),
    }
}

fn join(thread: JoinHandle<HashStage>) -> HashStage {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
