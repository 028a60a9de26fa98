//! `git dits du`: how much room media takes, and what each version added.
//!
//! **For:** finding out where the disk space goes.
//!
//! **May touch:** nothing; it reads the repository and the store.
//!
//! **Must hold:** what several versions share is counted once, for the oldest that has it; no content is read.

use std::collections::{BTreeMap, HashMap, HashSet};

use bstr::ByteSlice;
use dits_core::hash::FileHash;
use dits_core::operations::du::{Room, Usage};
use dits_core::operations::needed_media::counted;
use dits_core::repo::pointer_walk::{Found, GitId, Known, WalkLimits, walk_each};
use dits_core::repo::{Repository, stores};
use dits_core::store::Sources;
use serde::Serialize;

use crate::git;
use crate::here::Here;
use crate::out::Out;
use crate::report::{EXIT_STATUSES, Failure};
use crate::sizes::Bytes;

/// Show how much room media takes in the store, and what each version added
#[derive(clap::Args)]
#[command(after_help = EXIT_STATUSES)]
pub struct Args {
    /// The revisions whose history counts, or ranges of it: everything that any ref reaches unless given
    revisions: Vec<String>,
    /// What to list, largest first; commits in their order
    #[arg(long, value_enum)]
    by: Option<By>,
    /// Print the facts as JSON
    #[arg(long)]
    json: bool,
}

/// What is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum By {
    /// Each path, all its versions together
    File,
    /// Each commit that adds media
    Commit,
    /// Each author
    Author,
    /// Each ending of a name
    Extension,
}

#[derive(Serialize)]
struct Facts {
    by: Option<&'static str>,
    groups: Vec<Group>,
    total: Total,
    /// All packs of the store, whatever is in them.
    store_bytes: u64,
    store_packs: u64,
}

#[derive(Serialize)]
struct Group {
    name: String,
    /// For a commit: when, and its subject.
    date: Option<String>,
    subject: Option<String>,
    #[serde(flatten)]
    total: Total,
}

#[derive(Serialize)]
struct Total {
    files: u64,
    logical_bytes: u64,
    unique_bytes: u64,
    stored_bytes: u64,
    outline_bytes: u64,
    saved_by_sharing: u64,
    saved_by_compression: u64,
    not_here_bytes: u64,
}

impl From<Room> for Total {
    fn from(room: Room) -> Total {
        Total {
            files: room.files,
            logical_bytes: room.logical_len,
            unique_bytes: room.unique_len,
            stored_bytes: room.stored_len,
            outline_bytes: room.outline_len,
            saved_by_sharing: room.saved_by_sharing(),
            saved_by_compression: room.saved_by_compression(),
            not_here_bytes: room.absent_len,
        }
    }
}

/// Who made a commit, when, and what it says.
#[derive(Clone, Default)]
struct Commit {
    author: String,
    date: String,
    subject: String,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let here = Here::find()?;
    let repository = here.repository()?;
    let sources = stores::open_sources(&repository, &repository.settings()?)?;
    let (tips, known) = tips(&here, &args.revisions)?;
    let mut usage = Usage::new(sources.own(), &sources);
    let mut seen = HashSet::new();
    // What the range does not cover is there already.
    for found in history(&repository, &known, &[])? {
        count(&sources, &mut usage, &mut seen, &found)?;
    }
    let found = history(&repository, &tips, &known)?;
    let commits = match args.by {
        Some(By::Commit | By::Author) => commits(&here, &found)?,
        _ => HashMap::new(),
    };
    let mut total = Room::default();
    let mut groups: BTreeMap<String, Room> = BTreeMap::new();
    let mut order = Vec::new();
    for found in &found {
        let Some(room) = count(&sources, &mut usage, &mut seen, found)? else { continue };
        total += room;
        let Some(by) = args.by else { continue };
        let name = name_of(by, found, &commits);
        if !groups.contains_key(&name) {
            order.push(name.clone());
        }
        *groups.entry(name).or_default() += room;
    }
    if args.by != Some(By::Commit) {
        order.sort_by_key(|name| std::cmp::Reverse(groups[name].taken()));
    }
    let (store_bytes, store_packs) = sources.own().room_taken()?;
    let group = |name: String| {
        let commit = (args.by == Some(By::Commit)).then(|| commits.get(&name).cloned().unwrap_or_default());
        let (date, subject) = commit.map(|commit| (commit.date, commit.subject)).unzip();
        Group { total: groups[&name].into(), date, subject, name }
    };
    let by = args.by.map(By::word);
    let facts =
        Facts { by, groups: order.into_iter().map(group).collect(), total: total.into(), store_bytes, store_packs };
    print(&facts, args.json)
}

impl By {
    fn word(self) -> &'static str {
        match self {
            By::File => "file",
            By::Commit => "commit",
            By::Author => "author",
            By::Extension => "extension",
        }
    }
}

/// What is counted, and what is there before it.
fn tips(here: &Here, revisions: &[String]) -> Result<(Vec<GitId>, Vec<GitId>), Failure> {
    let ids = |listed: &[u8]| listed.lines().filter_map(GitId::parse).collect::<Vec<GitId>>();
    if revisions.is_empty() {
        return Ok((ids(&here.git.capture(["for-each-ref", "--format=%(objectname)"])?), Vec::new()));
    }
    let args = ["rev-parse", "--revs-only", "--end-of-options"];
    let args: Vec<&str> = args.into_iter().chain(revisions.iter().map(String::as_str)).collect();
    let listed = here.git.ask(&args)?.unwrap_or_default();
    let (known, tips): (Vec<&[u8]>, Vec<&[u8]>) = listed.lines().partition(|line| line.starts_with(b"^"));
    let tips: Vec<GitId> = tips.into_iter().filter_map(GitId::parse).collect();
    if tips.is_empty() {
        return Err(Failure::usage(format!("there is no revision {}", revisions.join(" "))));
    }
    Ok((tips, known.into_iter().filter_map(|line| GitId::parse(&line[1..])).collect()))
}

/// Every file that commits of this history bring in, the oldest first.
fn history(repository: &Repository, tips: &[GitId], known: &[GitId]) -> Result<Vec<Found>, Failure> {
    let mut all = Vec::new();
    if tips.is_empty() {
        return Ok(all);
    }
    let (git, case) = (repository.git()?, repository.attribute_case());
    walk_each::<Failure>(&git, case, tips, &Known::Ids(known.to_vec()), WalkLimits::default(), &mut |walked| {
        all.extend(walked.pointers);
        Ok(())
    })?;
    // History is walked from its end.
    all.reverse();
    Ok(all)
}

/// Counts a file; `None` if it was counted before.
fn count(
    sources: &Sources,
    usage: &mut Usage<'_>,
    seen: &mut HashSet<FileHash>,
    found: &Found,
) -> Result<Option<Room>, Failure> {
    match seen.insert(found.pointer.oid) {
        true => Ok(Some(usage.add(&found.pointer, &sources.manifests_of(&found.pointer.oid)?)?)),
        false => Ok(None),
    }
}

/// Asks git about the commits of these files.
fn commits(here: &Here, found: &[Found]) -> Result<HashMap<String, Commit>, Failure> {
    let ids: HashSet<GitId> = found.iter().map(|found| found.commit).collect();
    let input: String = ids.iter().map(|id| format!("{id}\n")).collect();
    let format = "--format=%H%x00%aN <%aE>%x00%cs%x00%s";
    let listed = match ids.is_empty() {
        true => Default::default(),
        false => git::filter(&here.git, &["log", "--no-walk=unsorted", "--stdin", format], input.as_bytes())?,
    };
    let read = |line: &[u8]| {
        let mut fields = line.split(|byte| *byte == 0).map(|field| field.to_str_lossy().into_owned());
        let id = fields.next()?;
        Some((id, Commit { author: fields.next()?, date: fields.next()?, subject: fields.next()? }))
    };
    Ok(listed.lines().filter_map(read).collect())
}

fn name_of(by: By, found: &Found, commits: &HashMap<String, Commit>) -> String {
    let commit = found.commit.to_string();
    let path = found.path.to_string();
    match by {
        By::File => path,
        By::Commit => commit,
        By::Author => commits.get(&commit).map_or_else(|| "nobody".to_owned(), |commit| commit.author.clone()),
        By::Extension => {
            let name = path.rsplit('/').next().unwrap_or_default();
            name.rsplit_once('.').map_or_else(|| "(none)".to_owned(), |(_, end)| end.to_lowercase())
        }
    }
}

fn print(facts: &Facts, as_json: bool) -> Result<(), Failure> {
    let mut out = Out::lock();
    if as_json {
        out.json(facts)?;
        return out.finish();
    }
    for group in &facts.groups {
        let (logical, added) = (Bytes(group.total.logical_bytes), Bytes(taken(&group.total)));
        let name = match (&group.date, &group.subject) {
            (Some(date), Some(subject)) => format!("{} {date} {subject}", &group.name[..group.name.len().min(10)]),
            _ => group.name.clone(),
        };
        out.line(format_args!("{:>10} added of {:>10}  {name}", added.to_string(), logical.to_string()))?;
    }
    let total = &facts.total;
    let files = counted(total.files as usize);
    out.line(format_args!("{files} with {}, stored in {}", Bytes(total.logical_bytes), Bytes(taken(total))))?;
    let (sharing, compression) = (Bytes(total.saved_by_sharing), Bytes(total.saved_by_compression));
    out.line(format_args!("what they share saves {sharing}, compression {compression}"))?;
    if total.not_here_bytes > 0 {
        out.line(format_args!("{} of them are not here", Bytes(total.not_here_bytes)))?;
    }
    let packs = if facts.store_packs == 1 { "1 pack".to_owned() } else { format!("{} packs", facts.store_packs) };
    out.line(format_args!("the store takes {} in {packs}", Bytes(facts.store_bytes)))?;
    out.finish()
}

fn taken(total: &Total) -> u64 {
    total.stored_bytes + total.outline_bytes
}
