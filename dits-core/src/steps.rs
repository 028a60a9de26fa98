//! The named steps of every write order, where a test may stop a process dead.
//!
//! **For:** crash tests. `docs/formats` names each step; a test compares that list, this
//! one and the steps that crash tests really stopped at.
//!
//! **May touch:** nothing in a release build. In a build with debug assertions, a program
//! may ask to be killed (`SIGKILL`, as by `kill -9`) when it reaches a step, or for its whole
//! process group to be interrupted there (`SIGINT`, as by Ctrl-C at a terminal).
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
}

/// Marks that the write order has reached `step`.
#[inline(always)]
pub fn reached(step: Step) {
    #[cfg(all(debug_assertions, unix, feature = "disk"))]
    crash::reached(step);
    #[cfg(not(all(debug_assertions, unix, feature = "disk")))]
    let _ = step;
}

#[cfg(all(debug_assertions, unix, feature = "disk"))]
pub use crash::stop_at;

#[cfg(all(debug_assertions, unix, feature = "disk"))]
mod crash {
    use super::Step;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static STOP: OnceLock<(&'static str, AtomicU32, Stop)> = OnceLock::new();

    /// How a process is stopped.
    #[derive(Clone, Copy)]
    enum Stop {
        Kill,
        Interrupt,
    }

    /// Asks for this process to be killed when it reaches a step for the nth time.
    ///
    /// `request` is `NAME` or `NAME:NTH`, counting from 1; with `interrupt@` before it, the
    /// process group is interrupted instead. Returns false for a name that no step has.
    /// Programs call this once, from `main`.
    pub fn stop_at(request: &str) -> bool {
        let (stop, request) = match request.strip_prefix("interrupt@") {
            Some(request) => (Stop::Interrupt, request),
            None => (Stop::Kill, request),
        };
        let (name, nth) = request.split_once(':').unwrap_or((request, "1"));
        let Some(step) = Step::ALL.iter().find(|step| step.name() == name) else {
            return false;
        };
        let Ok(nth) = nth.parse() else { return false };
        STOP.set((step.name(), AtomicU32::new(nth), stop)).is_ok()
    }

    pub(super) fn reached(step: Step) {
        let Some((name, left, stop)) = STOP.get() else { return };
        if *name != step.name() || left.fetch_sub(1, Ordering::SeqCst) != 1 {
            return;
        }
        let _ = match stop {
            // The kernel's own kill: no destructor, no flush, no exit handler runs.
            Stop::Kill => rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL),
            Stop::Interrupt => rustix::process::kill_current_process_group(rustix::process::Signal::INT),
        };
        if matches!(stop, Stop::Kill) {
            loop {
                std::thread::park();
            }
        }
    }
}
