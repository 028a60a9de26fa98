//! What a look through a store can find.
//!
//! **For:** telling people and programs, each finding by itself.
//!
//! **May touch:** nothing.
//!
//! **Must hold:** every finding names its file, and the entry and item where there is one.

use std::io;
use std::path::PathBuf;

use crate::hash::PackHash;
use crate::item::ItemId;
use crate::pack_format::{Domain, PackFormatError};
use crate::store::PackProblem;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file or folder.
    pub path: PathBuf,
    /// The entry of the pack.
    pub entry_no: Option<u32>,
    /// The item that stands there.
    pub item: Option<ItemId>,
    /// What is wrong.
    pub problem: Problem,
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Odd, and harmless.
    Odd,
    /// Something that was stored may not be there.
    Damage,
}

/// What is wrong with a file of a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The `format` file is not there, or empty.
    #[error("is missing or empty")]
    NoFormat,
    /// A file that no version of the store has.
    #[error("is no part of a store")]
    Foreign,
    /// What a process left that was killed.
    #[error("was left by a process that was killed")]
    Left,
    /// It does not begin, or end, as a pack or its log does.
    #[error("is no pack")]
    NotAPack,
    /// It was written by a later version.
    #[error("has version {0}, which is not known to this version of Dits")]
    UnknownVersion(u16),
    /// Its length is not the one its trailer asks for.
    #[error("has {actual} bytes instead of {expected}")]
    Length {
        /// What the trailer asks for.
        expected: u64,
        /// What is there.
        actual: u64,
    },
    /// Its table is not what was sealed.
    #[error("has a damaged table")]
    Table,
    /// It is whole, and another pack.
    #[error("is the pack {0} under another name")]
    OtherName(PackHash),
    /// It is of another store.
    #[error("belongs to another store or repository")]
    OtherDomain(Domain),
    /// The system does not give its bytes; why not, as the system numbers it.
    #[error("cannot be read: {}", io::Error::from_raw_os_error(*.0))]
    NotRead(i32),
    /// The stored bytes are not those that were written.
    #[error("has other bytes than were stored")]
    Bytes,
    /// The stored bytes are those that were written, and not the item.
    #[error("holds something else under the item's name")]
    Content,
    /// A record of a side log is not what was written.
    #[error("has a damaged record")]
    Record,
    /// An open pack without its side log.
    #[error("has no side log, so that nothing says what is in it")]
    NoLog,
    /// Behind the last good record stands what was being written when a process was killed.
    #[error("ends with something half-written, which the next writer cuts off")]
    Torn,
    /// A sync of it failed, and some of it could not be saved.
    #[error("is in doubt: a sync of it failed")]
    InDoubt,
    /// SQLite finds the index malformed.
    #[error("was malformed, and is made anew from the packs")]
    IndexMalformed,
    /// Items of a pack cannot be found by the index.
    #[error("lacks {0} rows for items of packs")]
    IndexLacks(u64),
    /// The index has rows for what is not there.
    #[error("has {0} rows for what no pack has")]
    IndexLies(u64),
}

impl Problem {
    /// How bad it is.
    pub fn severity(&self) -> Severity {
        use Problem::{Foreign, Left, NoFormat, OtherDomain, Torn};
        match self {
            NoFormat | Foreign | Left | OtherDomain(_) | Torn => Severity::Odd,
            _ => Severity::Damage,
        }
    }

    /// One word for it, for programs.
    pub fn word(&self) -> &'static str {
        match self {
            Problem::NoFormat => "no-format",
            Problem::Foreign => "foreign",
            Problem::Left => "left",
            Problem::NotAPack => "not-a-pack",
            Problem::UnknownVersion(_) => "unknown-version",
            Problem::Length { .. } => "length",
            Problem::Table => "table",
            Problem::OtherName(_) => "other-name",
            Problem::OtherDomain(_) => "other-domain",
            Problem::NotRead(_) => "not-read",
            Problem::Bytes => "bytes",
            Problem::Content => "content",
            Problem::Record => "record",
            Problem::NoLog => "no-log",
            Problem::Torn => "torn",
            Problem::InDoubt => "in-doubt",
            Problem::IndexMalformed => "index-malformed",
            Problem::IndexLacks(_) => "index-lacks",
            Problem::IndexLies(_) => "index-lies",
        }
    }

    pub(super) fn of_format(error: PackFormatError) -> Problem {
        match error {
            PackFormatError::NotAPack => Problem::NotAPack,
            PackFormatError::UnknownVersion(version) => Problem::UnknownVersion(version),
            PackFormatError::Length { expected, actual } => Problem::Length { expected, actual },
            _ => Problem::Table,
        }
    }

    pub(super) fn of_read(problem: PackProblem, otherwise: Problem) -> Problem {
        match problem {
            PackProblem::NotRead(errno) => Problem::NotRead(errno),
            PackProblem::UnknownVersion(version) => Problem::UnknownVersion(version),
            PackProblem::Damaged => otherwise,
        }
    }
}
