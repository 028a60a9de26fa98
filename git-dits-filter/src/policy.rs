//! What the user wants of checkouts.
//!
//! **For:** deciding which pointers stay pointers.
//!
//! **May touch:** `.ditsconfig`, when the first pointer comes.
//!
//! **Must hold:** a `.ditsconfig` that cannot be read never stops a checkout.

use std::cell::OnceCell;
use std::path::Path;

use dits_core::repo::Repository;
use dits_core::repo::config::{Committed, OnMissing, Settings};

use crate::report::Report;

/// The user's wishes.
pub struct Policy<'r> {
    repo: &'r Repository,
    settings: &'r Settings,
    skips_all: bool,
    committed: OnceCell<Committed>,
}

impl<'r> Policy<'r> {
    /// Takes the settings and `GIT_DITS_SKIP_SMUDGE`.
    pub fn new(repo: &'r Repository, settings: &'r Settings) -> Policy<'r> {
        let skips_all = repo.env().is_true("GIT_DITS_SKIP_SMUDGE");
        Policy { repo, settings, skips_all, committed: OnceCell::new() }
    }

    /// What a checkout does with media it cannot get.
    pub fn on_missing(&self) -> OnMissing {
        self.settings.on_missing
    }

    /// Whether the media at `path` is wanted.
    pub fn wants(&self, path: &[u8], report: &mut Report<'_>) -> bool {
        if self.skips_all {
            return false;
        }
        let patterns = match &self.settings.fetch {
            Some(own) => own,
            None => &self.committed(report).fetch,
        };
        patterns.wants(path.into())
    }

    /// Where a long content may be set aside.
    pub fn scratch_dir(&self) -> &Path {
        self.repo.git_dir()
    }

    fn committed(&self, report: &mut Report<'_>) -> &Committed {
        self.committed.get_or_init(|| {
            Committed::read(self.repo).unwrap_or_else(|error| {
                report.error("passing over .ditsconfig", Some(&error), &[]);
                Committed::default()
            })
        })
    }
}
