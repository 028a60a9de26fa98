//! The named steps of every write order, where a test may stop a process dead.
//!
//! **For:** crash tests. `docs/formats` names each step; a test compares that list, this
//! one and the steps that crash tests really stopped at.
//!
//! **May touch:** nothing in a release build. In a build with debug assertions, a program
//! may ask to be killed (`SIGKILL`, as by `kill -9`) when it reaches a step, to be stopped there (`SIGSTOP`)
//! until somebody has it go on, or for its whole process group to be interrupted there (`SIGINT`, as by
//! Ctrl-C at a terminal), or for the step to fail as on a broken disk.
//!
//! **Must hold:** a step costs nothing in a release build.

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A step of a write order.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Step {
            $($(#[$doc])* $name,)*
        }

        impl Step {
            /// Every step there is.
            pub const ALL: &'static [Step] = &[$(Step::$name,)*];

            /// The step's name in the documents and in tests.
            pub const fn name(self) -> &'static str {
                match self { $(Step::$name => $text,)* }
            }
        }
    };
}

steps! {
    /// An open pack was made and is empty.
    PackOpened = "pack-opened",
    /// Items are in the open pack's payload; its side log does not know them.
    PackPayloadWritten = "pack-payload-written",
    /// The side log names the items; nothing was synced.
    PackLogWritten = "pack-log-written",
    /// The payload is on stable storage; the log may not be.
    PackPayloadSynced = "pack-payload-synced",
    /// Payload and log are on stable storage.
    PackLogSynced = "pack-log-synced",
    /// The index knows the items.
    PackIndexed = "pack-indexed",
    /// Table and trailer are written behind the payload; the pack still has its open name.
    PackTableWritten = "pack-table-written",
    /// The sealed pack has its final name; its side log still exists.
    PackRenamed = "pack-renamed",
    /// The side log is gone.
    PackLogRemoved = "pack-log-removed",
    /// A whole pack is complete under a temporary name.
    WholePackWritten = "whole-pack-written",
    /// A whole pack has its final name.
    WholePackRenamed = "whole-pack-renamed",
    /// The refs of every repository are in the backup, under the number of the new snapshot.
    BackupRefsFetched = "backup-refs-fetched",
    /// The database, the configuration and the certificate are in the new snapshot.
    BackupDatabaseCopied = "backup-database-copied",
    /// Packs that grow were listed; none of them is in the new snapshot yet.
    BackupOpenPacksListed = "backup-open-packs-listed",
    /// Packs that grow are in the new snapshot; sealed ones have not been listed yet.
    BackupOpenPacksCopied = "backup-open-packs-copied",
    /// All packs are in the backup; its list does not name them.
    BackupPacksCopied = "backup-packs-copied",
    /// The new snapshot has its list; the one before is still there.
    BackupListed = "backup-listed",
    /// All packs of a snapshot are in the new root.
    RestorePacksCopied = "restore-packs-copied",
    /// The repositories of the new root have their refs.
    RestoreRepositoriesFilled = "restore-repositories-filled",
    /// The new root says what it is; it is marked as unfinished still.
    RestoreEnded = "restore-ended",
    /// What is still needed of packs that are going to be removed is in other packs, and synced.
    CollectCopied = "collect-copied",
    /// Packs that are going to be removed are marked, and the marks synced; the index does not know.
    CollectCondemned = "collect-condemned",
    /// What became needed since they were marked is in other packs, and synced.
    CollectRescued = "collect-rescued",
    /// The packs are gone; the index still names them, and their marks exist.
    CollectRemoved = "collect-removed",
    /// Neither index nor marks name them any more.
    CollectDone = "collect-done",
    /// A server knows a repository's name and id; the bare repository may not exist.
    RepoRegistered = "repo-registered",
    /// The bare repository has its name.
    RepoCreated = "repo-created",
    /// Presence of items that another repository's packs hold is on stable storage.
    PresenceRecorded = "presence-recorded",
    /// A file's content was hashed to its oid; nothing says so yet.
    ContentProven = "content-proven",
    /// That the file is held is on stable storage; the client was not told.
    HeldRecorded = "held-recorded",
    /// Rows of held files that nobody needs are gone; what they named is still stored.
    HeldReleased = "held-released",
    /// A journal says that a path is to be hydrated; git was not answered.
    HydrationNoted = "hydration-noted",
    /// A path's content is complete in an unnamed file, and the journal says so.
    HydrationWritten = "hydration-written",
    /// It has its temporary name.
    HydrationNamed = "hydration-named",
    /// It has its place; the pointer is under the temporary name.
    HydrationSwapped = "hydration-swapped",
    /// The temporary name is gone; git's index does not know.
    HydrationCleared = "hydration-cleared",
    /// The patched index of git is complete under `index.lock`.
    IndexCopied = "index-copied",
    /// It is git's index; the journal still exists.
    IndexReplaced = "index-replaced",
    /// What stood at a path in conflict has a temporary name; git has staged no side.
    ResolveSetAside = "resolve-set-aside",
    /// Git has staged the side that was asked for; nothing stands at the path.
    ResolveStaged = "resolve-staged",
    /// The side stands at the path, its media as a pointer; what was set aside is still there.
    ResolveCheckedOut = "resolve-checked-out",
}

/// Marks that the write order has reached `step`.
#[inline(always)]
pub fn reached(step: Step) {
    #[cfg(all(debug_assertions, unix, feature = "disk"))]
    crash::reached(step);
    #[cfg(not(all(debug_assertions, unix, feature = "disk")))]
    let _ = step;
}

/// Does the `work` that `step` stands for; a test build may have it fail as on a broken disk.
///
/// # Errors
///
/// What `work` says, or an I/O error that a test asked for.
#[inline(always)]
pub fn attempt(step: Step, work: impl FnOnce() -> std::io::Result<()>) -> std::io::Result<()> {
    #[cfg(all(debug_assertions, unix, feature = "disk"))]
    crash::fails_now(step)?;
    let _ = step;
    work()
}

#[cfg(all(debug_assertions, unix, feature = "disk"))]
pub use crash::stop_at;

#[cfg(all(debug_assertions, unix, feature = "disk"))]
mod crash {
    use super::Step;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static STOP: OnceLock<(Step, AtomicU32, Stop)> = OnceLock::new();

    /// What happens at a step.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Stop {
        Kill,
        Interrupt,
        Pause,
        Fail,
    }

    /// Asks for this process to be killed when it reaches a step for the nth time.
    ///
    /// `request` is `NAME` or `NAME:NTH`, counting from 1; with `interrupt@` before it, the
    /// process group is interrupted instead, with `pause@` the process is stopped, and with `fail@` the nth attempt at
    /// the step fails. Returns false for a name that no step has. Programs call this once, from `main`.
    pub fn stop_at(request: &str) -> bool {
        let (stop, request) = match request.split_once('@') {
            Some(("interrupt", request)) => (Stop::Interrupt, request),
            Some(("pause", request)) => (Stop::Pause, request),
            Some(("fail", request)) => (Stop::Fail, request),
            _ => (Stop::Kill, request),
        };
        let (name, nth) = request.split_once(':').unwrap_or((request, "1"));
        let Some(step) = Step::ALL.iter().find(|step| step.name() == name) else {
            return false;
        };
        let Ok(nth) = nth.parse() else { return false };
        STOP.set((*step, AtomicU32::new(nth), stop)).is_ok()
    }

    /// What was asked for, if it is due now.
    fn due(step: Step, is_wanted: impl Fn(Stop) -> bool) -> Option<Stop> {
        let (wanted, left, stop) = STOP.get()?;
        let is_due = *wanted == step && is_wanted(*stop) && left.fetch_sub(1, Ordering::SeqCst) == 1;
        is_due.then_some(*stop)
    }

    pub(super) fn fails_now(step: Step) -> std::io::Result<()> {
        match due(step, |stop| stop == Stop::Fail) {
            Some(_) => Err(rustix::io::Errno::IO.into()),
            None => Ok(()),
        }
    }

    pub(super) fn reached(step: Step) {
        let Some(stop) = due(step, |stop| stop != Stop::Fail) else { return };
        if stop == Stop::Interrupt {
            let _ = rustix::process::kill_current_process_group(rustix::process::Signal::INT);
            return;
        }
        if stop == Stop::Pause {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
            return;
        }
        // The kernel's own kill: no destructor, no flush, no exit handler runs.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}
