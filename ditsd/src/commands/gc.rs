//! `ditsd gc`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use dits_core::operations::collect::{CollectError, CollectProgress, CollectionError};
use serde_json::json;

use super::{Failure, ProgressLine, print};
use crate::collecting::{self, Done, GRACE_MIN, GcError, KeptWhole, Options, Progress, RepoDone};
use crate::db::DbError;
use crate::root::{Root, RootError};

/// Give back the room of media that no repository needs any more; the server may be running
///
/// A file goes once no pointer in its repository names it and nobody was told for the grace that it is held; Git's own
/// collection (`git gc`) runs in each repository first. Of a repository whose text lives on another host, and of one
/// without any ref, nothing goes.
#[derive(Args)]
pub struct Arguments {
    /// The server root
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// How long what nothing names any more stays, at least a day: 36h, 14d
    #[arg(long, value_name = "DURATION", default_value = "14d", value_parser = parse_duration)]
    grace: Duration,
    /// Say what would go, and take nothing away
    #[arg(long, short = 'd')]
    dry_run: bool,
    /// Print one JSON object instead
    #[arg(long)]
    json: bool,
}

/// The grace is too short.
#[derive(Debug, thiserror::Error)]
#[error("a grace of less than a day takes away what a push that is under way was told is here")]
struct TooShort;

/// Collects.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.grace < GRACE_MIN {
        return Err(Failure::usage(TooShort).hint("pass --grace 1d, or leave it out for 14 days"));
    }
    let root = Root::open(&arguments.root).map_err(Failure::failed)?;
    let options = Options { grace: arguments.grace, is_dry_run: arguments.dry_run };
    let line = ProgressLine::new();
    let done = collecting::run(&root, options, &|at| line.say(&progress_text(at)));
    drop(line);
    let done = done.map_err(failure)?;
    for repo in &done.repos {
        if let Some(error) = &repo.git_failure {
            eprintln!("warning: `git gc` failed in {}, so that all of its media stays: {error}", repo.name);
        }
    }
    print(&if arguments.json { as_json(&done, options) } else { as_text(&done, options) });
    Ok(())
}

fn failure(error: GcError) -> Failure {
    match error {
        GcError::Root(RootError::CollectionLocked(_))
        | GcError::Collect(CollectError::Collection(CollectionError::Busy { .. })) => {
            Failure::refused(error).hint("wait for its end")
        }
        GcError::Db(DbError::OldVersion { .. }) => {
            Failure::failed(error).hint("start `ditsd serve` of this version on it first")
        }
        GcError::Collect(CollectError::Unread(_) | CollectError::Unreadable { .. }) => {
            Failure::failed(error).hint("nothing was taken away; `ditsd fsck` says what is damaged")
        }
        GcError::Roots { .. } => {
            Failure::failed(error).hint("nothing was taken away; `git fsck` in it says what is damaged")
        }
        _ => Failure::failed(error),
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let unit = text.bytes().last().unwrap_or(b' ');
    let seconds = match unit {
        b'd' => 24 * 60 * 60,
        b'h' => 60 * 60,
        b'm' => 60,
        b's' => 1,
        _ => return Err("a duration is a number and d, h, m or s".to_owned()),
    };
    let number: u64 =
        text[..text.len() - 1].parse().map_err(|_| "a duration is a number and d, h, m or s".to_owned())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(|| "that is too long".to_owned())
}

fn progress_text(at: Progress<'_>) -> String {
    match at {
        Progress::Repository(name) => format!("Looking at {name}"),
        Progress::Store(CollectProgress::Marking { items }) => format!("Looking for what is needed: {items} items"),
        Progress::Store(CollectProgress::Copying { done, total }) => {
            format!("Keeping what is needed: {} of {}", bytes(done), bytes(total))
        }
        Progress::Store(CollectProgress::Waiting) => "Waiting for those who rely on what goes".to_owned(),
        Progress::Store(_) => "Removing".to_owned(),
    }
}

fn reason(kept: KeptWhole) -> &'static str {
    match kept {
        KeptWhole::TextElsewhere => "text-elsewhere",
        KeptWhole::NoRefs => "no-refs",
        KeptWhole::GitFailed => "git-failed",
    }
}

fn as_json(done: &Done, options: Options) -> String {
    let repo = |repo: &RepoDone| {
        json!({
            "name": repo.name.as_str(),
            "held": repo.held,
            "released": repo.released.files,
            "released_bytes": repo.released.bytes,
            "kept_whole": repo.kept.map(reason),
            "git_failure": repo.git_failure,
        })
    };
    let store = done.store.clone().unwrap_or_default();
    let object = json!({
        "dry_run": options.is_dry_run,
        "repositories": done.repos.iter().map(repo).collect::<Vec<_>>(),
        "live_items": store.live_items,
        "live_bytes": store.live_len,
        "dead_bytes": store.dead_len,
        "freeable_bytes": store.freeable_len,
        "freed_bytes": store.freed_len(),
        "removed_packs": store.removed_packs,
        "written_bytes": store.written_len,
        "waiting_packs": store.waiting_packs,
        "waiting_bytes": store.waiting_len,
        "disk_full": store.is_disk_full,
    });
    format!("{object}\n")
}

fn as_text(done: &Done, options: Options) -> String {
    let mut text = String::new();
    let goes = if options.is_dry_run { "would go" } else { "went" };
    for repo in &done.repos {
        let name = &repo.name;
        if let Some(kept) = repo.kept {
            let why = match kept {
                KeptWhole::TextElsewhere => "its text lives on another host",
                KeptWhole::NoRefs => "it has no ref",
                KeptWhole::GitFailed => "`git gc` failed in it",
            };
            text.push_str(&format!("{name}: all {} stay, since {why}\n", files(repo.held)));
        } else if repo.released.files > 0 {
            let (count, len) = (files(repo.released.files), bytes(repo.released.bytes));
            text.push_str(&format!("{name}: {count} ({len}) {goes}, which nothing names\n"));
        }
    }
    let Some(store) = &done.store else { return format!("{text}nothing is stored\n") };
    match options.is_dry_run {
        true => text.push_str(&format!("{} could be given back\n", bytes(store.freeable_len))),
        false => text.push_str(&format!("{} given back\n", bytes(store.freed_len()))),
    }
    if store.waiting_packs > 0 {
        text.push_str(&format!("{} go with the next run: they are still relied on\n", bytes(store.waiting_len)));
    }
    if store.is_disk_full {
        text.push_str("the disk is full: what could not be copied stays\n");
    }
    text
}

fn files(count: u64) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

/// Bytes as people read them.
fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        assert_eq!(parse_duration("14d"), Ok(Duration::from_secs(14 * 86400)));
        assert_eq!(parse_duration("36h"), Ok(Duration::from_secs(36 * 3600)));
        assert_eq!(parse_duration("0s"), Ok(Duration::ZERO));
        for bad in ["", "d", "14", "-1d", "1.5d", "1w", "99999999999999999999d", "18446744073709551615d", "1ä"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bytes_are_said_in_the_unit_that_fits() {
        assert_eq!([0, 1023, 1024, 3 << 30].map(bytes), ["0 B", "1023 B", "1.0 KiB", "3.0 GiB"]);
    }
}
