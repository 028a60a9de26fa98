//! `git dits track`: says which files are media.
//!
//! **For:** adding lines to `.gitattributes`, and listing those that are there.
//!
//! **May touch:** `.gitattributes` of the current directory; the modification time of files
//! that Git holds as plain content although they are media now; the repository's hooks.
//!
//! **Must hold:** files that Git itself reads (`.gitignore` and the like) are never media.

mod above;

use std::fs::File;
use std::time::SystemTime;

use bstr::{BStr, BString, ByteSlice, ByteVec};
use serde::Serialize;

use crate::attributes_file::{Added, AttributesFile, Lockable};
use crate::here::Here;
use crate::hooks;
use crate::media_files;
use crate::out::Out;
use crate::presets::Preset;
use crate::programs::Programs;
use crate::report::{self, EXIT_STATUSES, Failure};
use crate::sizes;
use above::Found;

/// Say which files are media; without patterns, list those that are tracked
#[derive(clap::Args)]
#[command(after_help = EXIT_STATUSES)]
pub struct Args {
    /// Patterns as in .gitattributes, for example "*.mp4" (quoted, so that the shell leaves them alone)
    patterns: Vec<BStringArg>,
    /// Track the media extensions of a trade
    #[arg(long, value_enum)]
    preset: Vec<Preset>,
    /// Track the binary files of this size and more that are here, by extension where they have one (10m, 1.5 GiB)
    #[arg(long, value_name = "SIZE", value_parser = size)]
    above: Option<u64>,
    /// Files of these patterns are edited by one person at a time
    #[arg(long, short = 'l', conflicts_with = "not_lockable")]
    lockable: bool,
    /// Files of these patterns may be edited by several people at once
    #[arg(long)]
    not_lockable: bool,
    /// Take the patterns as names of files, not as patterns
    #[arg(long)]
    filename: bool,
    /// Say what would be done, and do nothing
    #[arg(long, short = 'd')]
    dry_run: bool,
    /// Print the facts as JSON
    #[arg(long)]
    json: bool,
}

/// An argument of bytes: a pattern need not be UTF-8.
#[derive(Clone)]
pub struct BStringArg(pub BString);

impl From<std::ffi::OsString> for BStringArg {
    fn from(arg: std::ffi::OsString) -> BStringArg {
        BStringArg(Vec::from_os_string(arg).unwrap_or_else(|arg| arg.to_string_lossy().into_owned().into()).into())
    }
}

fn size(text: &str) -> Result<u64, &'static str> {
    sizes::parse(text).ok_or("a size is a number of bytes, or one with K, M or G behind it")
}

#[derive(Serialize)]
struct List {
    patterns: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    pattern: String,
    source: String,
    lockable: bool,
}

#[derive(Serialize)]
struct Facts {
    tracked: Vec<String>,
    unchanged: Vec<String>,
    stored_plain: Vec<String>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let here = Here::find()?;
    let mut patterns = args
        .patterns
        .iter()
        .map(|pattern| if args.filename { literal(pattern.0.as_bstr()) } else { checked(pattern.0.as_bstr()) })
        .collect::<Result<Vec<BString>, Failure>>()?;
    patterns.extend(args.preset.iter().flat_map(|preset| preset.patterns()).map(BString::from));
    if let Some(len_min) = args.above {
        here.repository()?;
        let found = above::find(&here, len_min)?;
        tell(&found);
        patterns.extend(found.patterns);
    }
    match patterns.is_empty() && args.above.is_none() {
        true => list(&here, args.json),
        false => track(&here, args, &patterns),
    }
}

fn tell(found: &Found) {
    found.reasons.iter().for_each(|reason| report::say(reason));
    if let Some(first) = found.texts.first() {
        let more = if found.texts.len() > 1 { ", and others like it," } else { "" };
        report::say(&format!("{first}{more} is large and stays with git, being text"));
    }
    if found.patterns.is_empty() {
        report::say("no binary file here is that large and not tracked");
    }
}

fn list(here: &Here, as_json: bool) -> Result<(), Failure> {
    let repository = here.repository()?;
    let sources = media_files::pattern_sources(&here.git, &repository)?;
    let mut out = Out::lock();
    if as_json {
        let listed = sources.iter().flat_map(|source| source.patterns.iter().map(move |tracked| (source, tracked)));
        let patterns = listed.map(|(source, tracked)| Listed {
            pattern: tracked.pattern.to_string(),
            source: source.file.to_string(),
            lockable: tracked.is_lockable,
        });
        out.json(&List { patterns: patterns.collect() })?;
        return out.finish();
    }
    for source in sources {
        for tracked in source.patterns {
            let lockable = if tracked.is_lockable { " lockable" } else { "" };
            out.bytes_line(&[&tracked.pattern, b" (", &source.file, b")", lockable.as_bytes()])?;
        }
    }
    out.finish()
}

fn track(here: &Here, args: &Args, patterns: &[BString]) -> Result<(), Failure> {
    let repository = here.repository()?;
    let top = repository.work_tree().ok_or_else(|| Failure::new("a bare repository has no files to track"))?;
    let lockable = match (args.lockable, args.not_lockable) {
        (true, _) => Lockable::Yes,
        (_, true) => Lockable::No,
        _ => Lockable::AsItIs,
    };
    refuse_files_of_git(here, patterns)?;
    let path = here.cwd.join(".gitattributes");
    let mut file = media_files::read(&path)?;
    let before = file.clone();
    let (mut tracked, mut unchanged) = (Vec::new(), Vec::new());
    for pattern in patterns {
        match file.add(pattern.as_bstr(), lockable) {
            Added::Changed => tracked.push(pattern.to_string()),
            Added::Unchanged => unchanged.push(pattern.to_string()),
            Added::OtherFilter(filter) => return Err(other_filter(pattern, &filter)),
        }
    }
    let mut stored_plain = Vec::new();
    if !args.dry_run {
        if file != before {
            media_files::write(&path, &file)?;
        }
        let entries = media_files::index_entries(&here.git.clone().in_dir(top), &[])?;
        let media = media_files::media_of(&here.git, top, entries)?;
        for entry in media_files::stored_plain(&here.git, &media)? {
            touch(&media_files::on_disk(top, entry.path.as_bstr()));
            stored_plain.push(entry.path.to_string());
        }
        hooks::install(here, &repository, &Programs::find()?)?;
    }
    print(&Facts { tracked, unchanged, stored_plain }, args)?;
    warn_without_filter(&repository);
    Ok(())
}

fn print(facts: &Facts, args: &Args) -> Result<(), Failure> {
    let mut out = Out::lock();
    if args.json {
        out.json(facts)?;
        return out.finish();
    }
    let verb = if args.dry_run { "would track" } else { "tracking" };
    for pattern in &facts.tracked {
        out.line(format_args!("{verb} {pattern}"))?;
    }
    for pattern in &facts.unchanged {
        out.line(format_args!("already tracked {pattern}"))?;
    }
    out.finish()?;
    if let Some(first) = facts.stored_plain.first() {
        let count = facts.stored_plain.len();
        report::warn(&format!("Git holds {count} of these files as plain content, {first} for example"));
        report::hint("hand them to Dits with `git add --renormalize .`, then commit");
    }
    if !args.dry_run && !facts.tracked.is_empty() {
        report::hint("share this with everybody: `git add .gitattributes`, then commit");
    }
    Ok(())
}

/// Says that nothing would be stored through Dits yet.
fn warn_without_filter(repository: &dits_core::repo::Repository) {
    if repository.config().value("filter.dits.process").is_none_or(|value| value.is_empty()) {
        report::warn("git does not know the Dits filter yet");
        report::hint("run `git dits install` once");
    }
}

fn other_filter(pattern: &BString, filter: &BString) -> Failure {
    let failure = Failure::refused(format!("{pattern} already goes through the filter {filter:?}"));
    match filter == "lfs" {
        true => failure.hint(format!("run `git lfs untrack {pattern}` first")),
        false => failure.hint("take that line out of .gitattributes first"),
    }
}

/// Makes git look at a file again: its size and time are as git remembers them.
fn touch(path: &std::path::Path) {
    // A file that cannot be touched is found by `git add --renormalize` all the same.
    let is_file = path.symlink_metadata().is_ok_and(|meta| meta.is_file());
    if let (true, Ok(file)) = (is_file, File::open(path)) {
        let _ = file.set_modified(SystemTime::now());
    }
}

/// Takes a pattern as it was typed, unless it can never match.
fn checked(pattern: &BStr) -> Result<BString, Failure> {
    let pattern = pattern.strip_prefix(b"./").unwrap_or(pattern).as_bstr();
    if pattern.is_empty() {
        return Err(Failure::usage("an empty pattern matches nothing"));
    }
    if pattern.starts_with(b"!") {
        return Err(Failure::usage(format!("git allows no pattern that begins with `!` here: {pattern}"))
            .hint("for a file of that name, use --filename"));
    }
    if pattern.ends_with(b"/") {
        return Err(Failure::usage(format!("a pattern that ends with `/` matches nothing: {pattern}"))
            .hint(format!("for everything in that directory, track \"{pattern}**\"")));
    }
    if pattern.split_str("/").any(|part| part == b"..") || pattern.contains(&b'\n') {
        return Err(Failure::usage(format!("this pattern matches nothing: {pattern:?}"))
            .hint("run `git dits track` in the directory that the pattern is about"));
    }
    Ok(pattern.into())
}

/// Makes a pattern that matches the file of this name in the current directory only.
fn literal(name: &BStr) -> Result<BString, Failure> {
    let name = name.strip_prefix(b"./").unwrap_or(name);
    let mut pattern = BString::from("/");
    for byte in name.bytes() {
        if b"*?[]\\".contains(&byte) {
            pattern.push_byte(b'\\');
        }
        pattern.push_byte(byte);
    }
    checked(pattern.as_bstr())
}

/// Refuses patterns that would send through the filter what git reads before any filter runs.
fn refuse_files_of_git(here: &Here, patterns: &[BString]) -> Result<(), Failure> {
    let names = [".gitattributes", ".gitignore", ".gitmodules", ".ditsconfig"].map(BString::from);
    let failed = |error: std::io::Error| Failure::new("cannot try the patterns").because(&error);
    let mut probe = AttributesFile::new("");
    for pattern in patterns {
        probe.add(pattern.as_bstr(), Lockable::No);
    }
    let mut file = tempfile::NamedTempFile::new().map_err(failed)?;
    std::io::Write::write_all(&mut file, probe.text()).map_err(failed)?;
    // Asked from nowhere but this file: an empty directory has no attributes of its own.
    let dir = tempfile::tempdir().map_err(failed)?;
    let git = here.git.clone().for_other(dir.path().join(".git")).with_env("GIT_WORK_TREE", dir.path());
    let git = git.in_dir(dir.path()).with_config(setting("core.attributesFile=", file.path()));
    git.run(["init", "--quiet", "--template="])?;
    let matched = media_files::attribute(&git, "filter", &names)?;
    match names.iter().zip(matched).find(|(_, filter)| filter == "dits") {
        None => Ok(()),
        Some((name, _)) => {
            Err(Failure::refused(format!("these patterns also match {name}, which git has to read itself"))
                .hint("choose narrower patterns, \"*.mp4\" or \"footage/**\" for example"))
        }
    }
}

fn setting(key: &str, path: &std::path::Path) -> std::ffi::OsString {
    let mut setting = std::ffi::OsString::from(key);
    setting.push(path);
    setting
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_never_match_are_refused() {
        for pattern in ["", "!*.mp4", "footage/", "../*.mp4", "a\nb"] {
            assert!(checked(pattern.into()).is_err(), "{pattern:?}");
        }
        assert_eq!(checked("./*.mp4".into()).expect("good"), "*.mp4");
    }

    #[test]
    fn a_file_name_matches_only_itself() {
        assert_eq!(literal("take [1] *.mov".into()).expect("good"), "/take \\[1\\] \\*.mov");
        assert_eq!(literal("!a".into()).expect("good"), "/!a");
    }
}
