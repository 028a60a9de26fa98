//! The walk over commits: what each of them changes, judged many commits at a time.
//!
//! **For:** the walk over what is new.
//!
//! **May touch:** git children, read only.
//!
//! **Must hold:**
//! - a file that a merge has from one of its parents is that parent's: it was looked at there, or is
//!   known; unless the merge changes attributes, seen from any parent;
//! - every path and commit that git names is counted.

use std::collections::HashSet;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout};

use bstr::BString;

use super::budget::{Budget, TimedOutput};
use super::changes::{Change, ChangeReader, Event, is_attributes};
use super::evaluate::{Candidate, Content, Evaluated, Evaluator};
use super::objects::ObjectKind;
use super::trees::Trees;
use super::{Found, GitId, RAW_BLOBS_MAX, RawBlob, STRAYS_MAX, WalkError, Walked, usable};
use crate::pointer::Pointer;
use crate::repo::git_program::{GitPipe, GitProgram};

/// Merges are compared with all parents at once: what differs from each of them is theirs.
const DIFF: [&str; 10] =
    ["diff-tree", "--stdin", "-r", "-c", "--root", "--raw", "-z", "--no-renames", "--no-abbrev", "--always"];
/// The attributes of merges are compared with those of each parent.
const DIFF_OF_MERGES: [&str; 10] = [
    "diff-tree",
    "--stdin",
    "-r",
    "-m",
    "--raw",
    "-z",
    "--no-renames",
    "--no-abbrev",
    "--",
    ":(glob)**/.gitattributes",
];

/// Files that are judged together.
const BATCH_MAX: usize = 8192;
/// Commits with changed attributes that are looked at together.
const WHOLE_MAX: usize = 1024;
/// Most merges of one walk that change attributes.
const MERGES_MAX: usize = 1 << 20;
/// Files whose finding is remembered, so that they are reported again less often.
const SEEN_MAX: usize = 1 << 18;

/// One walk, and what it remembers.
pub(super) struct Walking<'a, E> {
    git: &'a GitProgram,
    budget: &'a Budget,
    evaluator: Evaluator,
    trees: Trees,
    batch: Vec<Candidate>,
    /// Commits whose trees are to be looked at as a whole.
    whole: Vec<GitId>,
    findings: Findings<'a, E>,
}

impl<'a, E: From<WalkError>> Walking<'a, E> {
    pub fn new(
        git: &'a GitProgram,
        budget: &'a Budget,
        evaluator: Evaluator,
        take: &'a mut dyn FnMut(Walked) -> Result<(), E>,
    ) -> Walking<'a, E> {
        let findings = Findings { seen: HashSet::new(), strays: HashSet::new(), raw_count: 0, take };
        Walking { git, budget, evaluator, trees: Trees::default(), batch: Vec::new(), whole: Vec::new(), findings }
    }

    /// Walks what the commits `tips` reach and `known`, or any ref, does not.
    pub fn commits(&mut self, tips: &[GitId], known: Option<&[GitId]>) -> Result<(), E> {
        let mut args = vec!["rev-list", "--parents", "--stdin"];
        if known.is_none() {
            args.extend(["--not", "--all"]);
        }
        let mut list = self.budget.start(self.git, &args)?;
        let mut diff = self.budget.start(self.git, &DIFF)?;
        let mut diff_of_merges = self.budget.start(self.git, &DIFF_OF_MERGES)?;
        let wanted = tips.iter().map(|id| format!("{id}\n"));
        let range: String = wanted.chain(known.into_iter().flatten().map(|id| format!("^{id}\n"))).collect();
        let (mut to_list, listed) = (input(&mut list), output(&mut list));
        let (to_diff, to_merges) = (input(&mut diff), input(&mut diff_of_merges));
        let changes = self.budget.read(output(&mut diff));
        let merges = self.budget.read(output(&mut diff_of_merges));
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // Any failure shows in how the children end.
                let _ = to_list.write_all(range.as_bytes());
                drop(to_list);
                let _ = hand_on(listed, to_diff, to_merges);
            });
            let merges = scope.spawn(|| commits_named(merges));
            let walked = self.changes(changes, &diff).and_then(|()| {
                let merges = merges.join().expect("reading does not panic");
                self.merges(merges.map_err(|error| self.broken(&diff_of_merges, error))?)
            });
            // The threads end with the children that they read and write.
            match walked {
                // The one that failed first is asked first.
                Ok(()) => {
                    self.budget.finish(diff)?;
                    self.budget.finish(diff_of_merges)?;
                    Ok(self.budget.finish(list)?)
                }
                Err(error) => {
                    drop((list, diff, diff_of_merges));
                    Err(error)
                }
            }
        })
    }

    fn changes(&mut self, changes: TimedOutput, diff: &GitPipe) -> Result<(), E> {
        let mut changes = ChangeReader::new(changes);
        let mut commit = None;
        while let Some(event) = changes.next_event().map_err(|error| self.broken(diff, error))? {
            let change = match event {
                Event::Commit(id) => {
                    self.budget.take(id.0.as_bytes().len())?;
                    commit = Some(id);
                    continue;
                }
                Event::Change(change) => change,
            };
            self.budget.take(change.path.len())?;
            let Change { path, blob, is_file, before } = change;
            if is_attributes(&path)
                && let Some(commit) = commit
                && self.whole.last() != Some(&commit)
            {
                self.whole.push(commit);
            }
            if is_file {
                self.batch.push(Candidate { tree: commit, path, blob, before, is_own: true });
            }
            if self.batch.len() >= BATCH_MAX {
                self.judge_batch()?;
            }
            if self.whole.len() >= WHOLE_MAX {
                self.judge_whole()?;
            }
        }
        self.judge_batch()?;
        self.judge_whole()
    }

    fn merges(&mut self, merges: Vec<GitId>) -> Result<(), E> {
        self.whole.extend(merges);
        self.judge_whole()
    }

    /// Looks at the trees of the commits that were put aside for it.
    fn judge_whole(&mut self) -> Result<(), E> {
        // What these commits add is found as their change first, with what it replaces.
        self.judge_batch()?;
        let commits = std::mem::take(&mut self.whole);
        for commits in commits.chunks(WHOLE_MAX) {
            let names: Vec<BString> = commits.iter().map(|commit| format!("{commit}^{{tree}}").into()).collect();
            let mut trees = Vec::with_capacity(commits.len());
            for (commit, tree) in commits.iter().zip(self.evaluator.objects().info(&names)?) {
                let tree = tree.filter(|tree| tree.kind == ObjectKind::Tree);
                trees.push(tree.ok_or(WalkError::TipMissing(*commit))?.id);
            }
            self.trees.prepare(&mut self.evaluator, &trees, self.budget)?;
            commits.iter().zip(&trees).try_for_each(|(commit, tree)| self.prepared_tree(*commit, *tree))?;
        }
        Ok(())
    }

    /// Looks at every pointer in `tree`, which is that of `commit`.
    pub fn whole_tree(&mut self, commit: GitId, tree: GitId) -> Result<(), E> {
        self.trees.prepare(&mut self.evaluator, &[tree], self.budget)?;
        self.prepared_tree(commit, tree)
    }

    fn prepared_tree(&mut self, commit: GitId, tree: GitId) -> Result<(), E> {
        let (budget, findings) = (self.budget, &mut self.findings);
        let mut batch = Vec::new();
        self.trees.pointers::<E>(&mut self.evaluator, tree, budget, &mut |evaluator, path, blob| {
            if findings.has(evaluator.content(&blob)) {
                return Ok(());
            }
            budget.take(path.len())?;
            batch.push(Candidate { tree: Some(commit), path: path.into(), blob, before: None, is_own: false });
            match batch.len() >= BATCH_MAX {
                true => findings.report(evaluator.judge(std::mem::take(&mut batch), budget)?),
                false => Ok(()),
            }
        })?;
        findings.report(self.evaluator.judge(batch, budget)?)
    }

    fn judge_batch(&mut self) -> Result<(), E> {
        let batch = std::mem::take(&mut self.batch);
        self.findings.report(self.evaluator.judge(batch, self.budget)?)
    }

    fn broken(&self, pipe: &GitPipe, error: io::Error) -> WalkError {
        match error.kind() {
            io::ErrorKind::TimedOut => self.budget.too_long(),
            io::ErrorKind::QuotaExceeded => WalkError::TooManyMerges { max: MERGES_MAX },
            _ => pipe.broken(error).into(),
        }
    }
}

/// What is found is handed on, a file again only once it was forgotten.
struct Findings<'a, E> {
    seen: HashSet<Pointer>,
    strays: HashSet<Pointer>,
    raw_count: usize,
    take: &'a mut dyn FnMut(Walked) -> Result<(), E>,
}

impl<E: From<WalkError>> Findings<'_, E> {
    /// Returns true for a pointer that was reported.
    fn has(&self, content: Option<Content>) -> bool {
        matches!(content, Some(Content::Pointer(pointer)) if self.seen.contains(&pointer))
    }

    fn report(&mut self, evaluated: Evaluated) -> Result<(), E> {
        let mut walked = Walked::default();
        for found in evaluated.pointers {
            if self.seen.len() >= SEEN_MAX {
                self.seen.clear();
            }
            if let Some(commit) = found.tree
                && self.seen.insert(found.pointer)
            {
                let path = usable(found.path, &commit.to_string())?;
                let (pointer, replaces) = (found.pointer, found.replaces);
                walked.pointers.push(Found { pointer, path, commit, replaces });
            }
        }
        for stray in evaluated.strays {
            if let Some(commit) = stray.tree
                && self.strays.len() < STRAYS_MAX
                && self.strays.insert(stray.pointer)
            {
                let path = usable(stray.path, &commit.to_string())?;
                walked.strays.push(Found { pointer: stray.pointer, path, commit, replaces: None });
            }
        }
        for raw in evaluated.raw_blobs {
            if let Some(commit) = raw.tree
                && self.raw_count < RAW_BLOBS_MAX
            {
                self.raw_count += 1;
                let path = usable(raw.path, &commit.to_string())?;
                walked.raw_blobs.push(RawBlob { path, commit, blob: raw.blob, len: raw.len });
            }
        }
        match walked == Walked::default() {
            true => Ok(()),
            false => (self.take)(walked),
        }
    }
}

fn input(pipe: &mut GitPipe) -> ChildStdin {
    pipe.take_stdin().expect("taken once")
}

fn output(pipe: &mut GitPipe) -> ChildStdout {
    pipe.take_stdout().expect("taken once")
}

/// Hands every commit that is listed, with its parents, to `to_diff`, and every merge to `to_merges`.
fn hand_on(listed: ChildStdout, mut to_diff: ChildStdin, mut to_merges: ChildStdin) -> io::Result<()> {
    let mut listed = BufReader::with_capacity(64 * 1024, listed);
    let (mut commits, mut merges, mut id) = (Vec::new(), Vec::new(), Vec::new());
    let mut parent_count = 0;
    loop {
        let piece = listed.fill_buf()?;
        if piece.is_empty() {
            return Ok(());
        }
        // There is no end to the parents that a commit may have, so that no line is kept.
        for byte in piece {
            match byte {
                b'\n' => {
                    id.push(b'\n');
                    commits.extend_from_slice(&id);
                    if parent_count > 1 {
                        merges.extend_from_slice(&id);
                    }
                    id.clear();
                    parent_count = 0;
                }
                b' ' => parent_count += 1,
                _ if parent_count == 0 => id.push(*byte),
                _ => {}
            }
        }
        let len = piece.len();
        listed.consume(len);
        to_diff.write_all(&commits)?;
        to_merges.write_all(&merges)?;
        commits.clear();
        merges.clear();
    }
}

/// The commits that stand in the stream, each once.
fn commits_named(changes: TimedOutput) -> io::Result<Vec<GitId>> {
    let mut changes = ChangeReader::new(changes);
    let mut commits = Vec::new();
    while let Some(event) = changes.next_event()? {
        if let Event::Commit(commit) = event
            && commits.last() != Some(&commit)
        {
            commits.push(commit);
        }
        if commits.len() > MERGES_MAX {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
    }
    Ok(commits)
}
