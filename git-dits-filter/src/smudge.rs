//! Smudge requests: a pointer becomes its content again.
//!
//! **For:** checkouts, which can wait while all missing media is fetched at once, and pipes
//! (`git archive`, `git cat-file --filters`), which want content now.
//!
//! **May touch:** the stores, and through the function it is handed the program that fetches.
//!
//! **Must hold:**
//! - what goes to a work tree is the whole content or the pointer, whatever is missing or
//!   damaged: a long content is written once git has ended, and where that cannot be, no byte of it is sent before
//!   all of it was read and found right;
//! - what goes into a pipe is the whole content or a failure, never a pointer in its place;
//! - nothing is fetched where all media is at hand.

use std::io::{self, Write};

use dits_core::operations::OutlineError;
use dits_core::operations::hydrate::{self, Completeness, HydrateError};
use dits_core::pointer::{self, Pointer, Reading};
use dits_core::repo::config::OnMissing;
use dits_core::store::ReadError;

use crate::answer::{self, ContentWriter, HELD_BACK_MAX, Status};
use crate::clean::Fill;
use crate::deferred::Deferred;
use crate::delayed::Delayed;
use crate::hydrating::{self, Ended};
use crate::passing::{self, PassError};
use crate::policy::Policy;
use crate::report::{Report, shown};
use crate::stores::Stores;
use dits_core::repo::Repository;
use dits_core::repo::helper_program::Missing;

/// Gets media into the repository's own store, and says what it could not get.
pub type Fetch<'f> = &'f mut dyn FnMut(&[Pointer]) -> Missing;

/// Who wants the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    WorkTree,
    Pipe,
}

/// How far an answer went.
enum Sent {
    /// To its end.
    Whole,
    /// Nowhere yet: another answer can be given.
    Nothing(HydrateError),
    /// Git had part of it, and was told to throw that away.
    Part(HydrateError),
}

/// All smudge requests of one process.
pub struct Smudging<'s, 'f> {
    stores: &'s Stores<'s>,
    policy: &'s Policy<'s>,
    fetch: Fetch<'f>,
    delayed: Delayed,
    deferred: Deferred<'s>,
}

impl<'s, 'f> Smudging<'s, 'f> {
    /// Touches nothing yet.
    pub fn new(
        stores: &'s Stores<'s>,
        policy: &'s Policy<'s>,
        fetch: Fetch<'f>,
        deferred: Deferred<'s>,
    ) -> Smudging<'s, 'f> {
        Smudging { stores, policy, fetch, delayed: Delayed::default(), deferred }
    }

    /// Writes the files that were put off: git has closed its pipe.
    pub fn hydrate(&mut self, repo: &Repository, report: &mut Report<'_>) -> Ended {
        hydrating::hydrate(repo, self.stores, self.deferred.take(), self.fetch, report)
    }

    /// Answers one request on `path`, whose content `fill` gives.
    ///
    /// # Errors
    ///
    /// [`PassError`] when git cannot be understood, or hears nothing, any more.
    pub fn smudge(
        &mut self,
        path: Vec<u8>,
        can_delay: bool,
        fill: Fill<'_>,
        out: &mut impl Write,
        report: &mut Report<'_>,
    ) -> Result<(), PassError> {
        let mut block = Vec::new();
        let more = fill(&mut block)?;
        if block.is_empty() && !can_delay {
            // Git repeats a delayed request with no content; else the blob is really empty.
            if let Some(pointer) = self.delayed.take(&path) {
                return self.answer_delayed(&path, &pointer, out, report);
            }
        }
        let pointer = match pointer::read(&block) {
            Reading::Pointer(pointer) if !more => pointer,
            reading => {
                tell_passing(&path, reading, &block, report);
                return passing::pass(self.policy.scratch_dir(), block, more, fill, out);
            }
        };
        if !self.policy.wants(&path, report) {
            if can_delay {
                self.deferred.note_unwanted(&path, &pointer);
            }
            return Ok(answer::content(out, &block)?);
        }
        self.answer_pointer(path, can_delay, &pointer, out, report)
    }

    /// Writes what one content becomes with no protocol around it. Says whether it could be had.
    ///
    /// # Errors
    ///
    /// [`PassError`] when a stream fails.
    pub fn smudge_plain(
        &mut self,
        path: &[u8],
        fill: Fill<'_>,
        out: &mut impl Write,
        report: &mut Report<'_>,
    ) -> Result<bool, PassError> {
        let mut block = Vec::new();
        let mut more = fill(&mut block)?;
        let pointer = match pointer::read(&block) {
            Reading::Pointer(pointer) if !more => pointer,
            reading => {
                tell_passing(path, reading, &block, report);
                out.write_all(&block)?;
                while more {
                    more = fill(&mut block)?;
                    out.write_all(&block)?;
                }
                return Ok(true);
            }
        };
        if !self.policy.wants(path, report) {
            out.write_all(&block)?;
            return Ok(true);
        }
        if let Ok(false) = self.is_complete(&pointer) {
            let missing = (self.fetch)(std::slice::from_ref(&pointer));
            if let Some(why) = missing.get(&pointer.oid) {
                report.failed(path, why);
                return Ok(false);
            }
        }
        match self.stores.all().map_err(HydrateError::from).and_then(|all| hydrate::write_to(all, &pointer, out)) {
            Ok(()) => Ok(true),
            Err(HydrateError::Write(error)) => Err(PassError::Output(error)),
            Err(error) => {
                report.error(&format!("cannot read {}", shown(path)), Some(&error), &[]);
                Ok(false)
            }
        }
    }

    /// Lists the delayed paths that can be answered now, after one fetch for all of them.
    ///
    /// # Errors
    ///
    /// Writing to git failed.
    pub fn list_available(&mut self, out: &mut impl Write, report: &mut Report<'_>) -> io::Result<()> {
        let mut wanted = self.delayed.wanted();
        if let Ok(all) = self.stores.all()
            && all.refresh().is_ok()
        {
            // Another process may have stored some since the files were asked for.
            wanted.retain(|pointer| !hydrate::is_known_here(all, pointer));
        }
        if !wanted.is_empty() {
            let missing = (self.fetch)(&wanted);
            self.delayed.note_missing(missing);
        }
        let mut listed = Vec::new();
        for (path, pointer) in self.delayed.take_unlisted() {
            match self.policy.on_missing() {
                OnMissing::Fail => match self.lacks(&pointer) {
                    None => listed.push(path),
                    Some(why) => report.failed(&path, &why),
                },
                OnMissing::Pointer => listed.push(path),
            }
        }
        answer::lines(out, listed.iter().map(|path| [b"pathname=", path.as_slice()].concat()))?;
        answer::status(out, Status::Success)
    }

    fn answer_pointer(
        &mut self,
        path: Vec<u8>,
        can_delay: bool,
        pointer: &Pointer,
        out: &mut impl Write,
        report: &mut Report<'_>,
    ) -> Result<(), PassError> {
        // What is fetched for all together may be here by then: no need to look twice for each.
        let is_complete = match can_delay {
            true => self.stores.all().map_err(HydrateError::from).map(|all| hydrate::is_known_here(all, pointer)),
            false => self.is_complete(pointer),
        };
        match (is_complete, can_delay) {
            (Ok(true), true) => self.send(&path, pointer, For::WorkTree, out, report),
            (Ok(true), false) => self.send(&path, pointer, For::Pipe, out, report),
            (Ok(false), true) => {
                self.delayed.remember(path, *pointer);
                Ok(answer::status(out, Status::Delayed)?)
            }
            (Err(error), true) => {
                self.delayed.note_missing(Missing::from([(pointer.oid, error.to_string())]));
                self.delayed.remember(path, *pointer);
                Ok(answer::status(out, Status::Delayed)?)
            }
            (Ok(false), false) => {
                let missing = (self.fetch)(std::slice::from_ref(pointer));
                match missing.get(&pointer.oid) {
                    None => self.send(&path, pointer, For::Pipe, out, report),
                    Some(why) => {
                        report.failed(&path, why);
                        Ok(answer::status(out, Status::Error)?)
                    }
                }
            }
            (Err(error), false) => {
                report.error(&format!("cannot read {}", shown(&path)), Some(&error), &[]);
                Ok(answer::status(out, Status::Error)?)
            }
        }
    }

    fn answer_delayed(
        &mut self,
        path: &[u8],
        pointer: &Pointer,
        out: &mut impl Write,
        report: &mut Report<'_>,
    ) -> Result<(), PassError> {
        // A short file that was fetched is read at once: what it lacks shows before anything was sent.
        let lacks = match pointer.size <= HELD_BACK_MAX && self.delayed.reason(pointer).is_none() {
            true => None,
            false => self.lacks(pointer),
        };
        match lacks {
            None => self.send(path, pointer, For::WorkTree, out, report),
            Some(why) => self.keep_as_pointer(path, pointer, &why, out, report),
        }
    }

    fn keep_as_pointer(
        &mut self,
        path: &[u8],
        pointer: &Pointer,
        why: &str,
        out: &mut impl Write,
        report: &mut Report<'_>,
    ) -> Result<(), PassError> {
        report.kept_as_pointer(path, why);
        self.deferred.note_failed(path, pointer, why);
        Ok(answer::content(out, pointer.to_string().as_bytes())?)
    }

    fn send(
        &mut self,
        path: &[u8],
        pointer: &Pointer,
        wanted_for: For,
        out: &mut impl Write,
        report: &mut Report<'_>,
    ) -> Result<(), PassError> {
        let is_for_tree = wanted_for == For::WorkTree;
        if is_for_tree && pointer.size > HELD_BACK_MAX && self.deferred.promises(path, pointer, report) {
            return Ok(answer::content(out, pointer.to_string().as_bytes())?);
        }
        let mut sent = self.try_to_send(pointer, wanted_for, out)?;
        // The store knows of the damage now and takes what is damaged for missing. What is only missing was fetched
        // with all others, in vain.
        if let (Sent::Nothing(HydrateError::Outline(error)), For::WorkTree) = (&sent, wanted_for)
            && !matches!(error, OutlineError::Read(ReadError::Missing(_)))
            && (self.fetch)(std::slice::from_ref(pointer)).is_empty()
        {
            sent = self.try_to_send(pointer, wanted_for, out)?;
        }
        match (sent, wanted_for) {
            (Sent::Whole, For::WorkTree) => {
                self.deferred.note_inline(path, pointer);
                Ok(())
            }
            (Sent::Whole, For::Pipe) => Ok(()),
            (Sent::Nothing(error), For::WorkTree) => {
                self.keep_as_pointer(path, pointer, &error.to_string(), out, report)
            }
            (Sent::Nothing(error), For::Pipe) => {
                report.error(&format!("cannot read {}", shown(path)), Some(&error), &[]);
                Ok(answer::status(out, Status::Error)?)
            }
            (Sent::Part(error), _) => {
                report.error(&format!("cannot read {}", shown(path)), Some(&error), &[]);
                Ok(())
            }
        }
    }

    fn try_to_send(&self, pointer: &Pointer, wanted_for: For, out: &mut impl Write) -> Result<Sent, PassError> {
        let sources = match self.stores.all() {
            Ok(sources) => sources,
            Err(error) => return Ok(Sent::Nothing(error.into())),
        };
        // Git has removed the old file by now and stops at the first failure, so a failure must
        // show while the pointer can still be sent.
        if wanted_for == For::WorkTree
            && pointer.size > HELD_BACK_MAX
            && let Err(error) = hydrate::write_to(sources, pointer, &mut io::sink())
        {
            return Ok(Sent::Nothing(error));
        }
        let mut content = ContentWriter::new(out);
        let error = match hydrate::write_to(sources, pointer, &mut content) {
            Ok(()) => {
                content.finish()?;
                return Ok(Sent::Whole);
            }
            Err(HydrateError::Write(error)) => return Err(PassError::Output(error)),
            Err(error) => error,
        };
        Ok(match content.give_up()? {
            true => Sent::Nothing(error),
            false => Sent::Part(error),
        })
    }

    fn is_complete(&self, pointer: &Pointer) -> Result<bool, HydrateError> {
        let sources = self.stores.all()?;
        Ok(matches!(hydrate::completeness(sources, pointer)?, Completeness::Complete))
    }

    /// Why a pointer's content is not at hand; `None` if it is.
    fn lacks(&self, pointer: &Pointer) -> Option<String> {
        match self.is_complete(pointer) {
            Ok(true) => None,
            Ok(false) => {
                let reason = self.delayed.reason(pointer);
                Some(reason.unwrap_or("some of its media is still missing after the fetch").to_owned())
            }
            Err(error) => Some(error.to_string()),
        }
    }
}

fn tell_passing(path: &[u8], reading: Reading, content: &[u8], report: &mut Report<'_>) {
    match reading {
        Reading::UnknownVersion => {
            report.warning(&format!("{} is a pointer of a later version of Dits", shown(path)));
        }
        _ if content.is_empty() => {}
        _ => report.passed_through(path),
    }
}
