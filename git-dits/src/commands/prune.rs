//! `git dits prune`: frees local copies that a remote keeps.
//!
//! **For:** disks that are full of media which nobody needs here now.
//!
//! **May touch:** the local store; git children, read only; the network through `git-remote-dits`.
//!
//! **Must hold:**
//! - a file goes only if the remote has proven that it holds it, and says now that it keeps it;
//! - what is checked out, staged, stashed, recent, not pushed, or in the middle of something stays all the same, and so does whatever
//!   another repository names that uses the store;
//! - a repository that cannot be read stops the command.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bstr::ByteSlice;
use dits_core::failure::DONE;
use dits_core::hash::FileHash;
use dits_core::operations::collect::{CollectOptions, Collected, Root, collect};
use dits_core::operations::fsck::{Name, name_each};
use dits_core::pointer::Pointer;
use dits_core::repo::config::Settings;
use dits_core::repo::local_needs::LocalNeeds;
use dits_core::repo::pointer_walk::GitId;
use dits_core::repo::store_roots::{StoreRootsError, every_needed, repositories_of};
use dits_core::repo::{Repository, stores};
use dits_core::store::{Sharing, Store};
use serde::Serialize;

use crate::here::Here;
use crate::making_room::{self, Stopped};
use crate::media_address;
use crate::out::Out;
use crate::programs::Programs;
use crate::progress;
use crate::report::{EXIT_STATUSES, Failure};
use crate::sizes::Bytes;
use crate::unpushed;

/// Packs that were written to less long ago stay: an add or a fetch may be about to use them.
const GRACE: Duration = Duration::from_secs(3600);
const DAY_SECS: u64 = 24 * 3600;

/// Free local copies of media that the remote has proven to hold and keeps
#[derive(clap::Args)]
#[command(after_help = EXIT_STATUSES)]
pub struct Args {
    /// The remote that has to keep what is freed; the one that `git push` takes unless given
    #[arg(long, value_name = "NAME")]
    remote: Option<String>,
    /// Say what would be freed, and free nothing
    #[arg(long, short = 'd')]
    dry_run: bool,
    /// Have the remote read each file again, and fetch a few parts of it
    #[arg(long, short = 'c')]
    verify_remote: bool,
    /// Name each file that is freed, and each that the remote does not keep
    #[arg(long, short)]
    verbose: bool,
    /// Print the facts as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Facts {
    remote: String,
    dry_run: bool,
    /// Files that are here and stay, since they may be needed here soon.
    needed: u64,
    freed: Vec<File>,
    freed_files_bytes: u64,
    left: Vec<File>,
    /// What the store is smaller by.
    freed_bytes: u64,
    waiting_bytes: u64,
    disk_full: bool,
}

#[derive(Serialize)]
struct File {
    /// One that a commit has it under.
    path: Option<String>,
    oid: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// A file that the remote does not keep, and why that is thought.
type Left = (Pointer, String);

/// What is to go and what stays.
struct Plan {
    remote: String,
    /// Prefixes of the refs that say what was pushed there.
    pushed: Vec<String>,
    recent_since: u64,
    /// Every repository that uses the store.
    users: BTreeSet<PathBuf>,
    needed: u64,
    freed: Vec<Pointer>,
    left: Vec<Left>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let here = Here::find()?;
    let repository = here.repository()?;
    let settings = repository.settings()?;
    let options = stores::store_options(&repository, &settings);
    let store = match Store::open_existing(options.clone())? {
        Some(store) if options.sharing == Sharing::Machine && options.index.exists() => store,
        Some(_) => {
            return Err(Failure::refused(format!("{} is a share, whose media is everybody's", options.dir.display()))
                .hint("prune in a clone of it"));
        }
        None => return Err(Failure::new(format!("there is no store at {}", options.dir.display()))),
    };
    let mut plan = plan(&here, &repository, &settings, &store, &options.dir, args)?;
    let collected = match plan.freed.is_empty() && !args.dry_run {
        true => Collected::default(),
        false => free(&here, &repository, &store, &options.dir, &mut plan, args.dry_run)?,
    };
    let names = match args.verbose || args.json {
        true => names(&repository, &plan)?,
        false => HashMap::new(),
    };
    print(args, &plan, &names, &collected)?;
    match collected.is_disk_full {
        true => Err(Failure::new("the disk has no room for copies of what stays beside what goes")
            .hint("make a little room, then run `git dits prune` again")),
        false => Ok(()),
    }
}

/// Finds out which files may go, and asks the remote.
fn plan(
    here: &Here,
    repository: &Repository,
    settings: &Settings,
    store: &Store,
    dir: &Path,
    args: &Args,
) -> Result<Plan, Failure> {
    let (remote, pushed) = remote(here, repository, settings, args)?;
    let users = repositories_of(dir, Some(repository.common_dir()))?;
    let own = own_dir(repository);
    let (own, others): (BTreeSet<_>, BTreeSet<_>) = users.iter().cloned().partition(|dir| *dir == own);
    let env = here.env.without_repository();
    let recent_since = now().saturating_sub(settings.recent_days.saturating_mul(DAY_SECS));
    let mut stays = needs(&pushed, recent_since).of(repository)?;
    let take_all = |dirs: &BTreeSet<PathBuf>, into: &mut HashSet<Pointer>| {
        every_needed::<Stopped>(dirs, &env, &mut |pointer| {
            into.insert(pointer);
            Ok(())
        })
    };
    take_all(&others, &mut stays)?;
    let mut named = HashSet::new();
    take_all(&own, &mut named)?;
    let (mut needed, mut asked) = (0, Vec::new());
    // By oid: a pointer with another size, wherever it comes from, keeps the file as well.
    let stays: HashSet<FileHash> = stays.into_iter().map(|pointer| pointer.oid).collect();
    for pointer in named {
        if store.manifests_of(&pointer.oid)?.is_empty() {
            continue;
        }
        match stays.contains(&pointer.oid) {
            true => needed += 1,
            false => asked.push(pointer),
        }
    }
    asked.sort_unstable_by_key(|pointer| *pointer.oid.as_bytes());
    let (freed, left) = ask_helper(&asked, &remote, args.verify_remote)?;
    Ok(Plan { remote, pushed, recent_since, users, needed, freed, left })
}

/// This repository as the list of those that use a store has it.
fn own_dir(repository: &Repository) -> PathBuf {
    std::fs::canonicalize(repository.common_dir()).unwrap_or_else(|_| repository.common_dir().to_owned())
}

fn needs(pushed: &[String], recent_since: u64) -> LocalNeeds<'_> {
    LocalNeeds { pushed, recent_since }
}

/// The remote to ask, and the prefixes of the refs that say what was pushed there.
fn remote(
    here: &Here,
    repository: &Repository,
    settings: &Settings,
    args: &Args,
) -> Result<(String, Vec<String>), Failure> {
    let name = match &args.remote {
        Some(name) => name.clone(),
        None => {
            let branch = here.git.ask(["symbolic-ref", "--quiet", "--short", "HEAD"])?;
            let branch = branch.map(|name| String::from_utf8_lossy(name.trim_ascii_end()).into_owned());
            unpushed::push_remote(repository, branch.as_deref()).ok_or_else(|| {
                Failure::refused("there is no remote that could keep what is freed").hint("name one: --remote NAME")
            })?
        }
    };
    let pushed = vec![format!("refs/remotes/{name}/")];
    match media_address::dits_remote(repository, &name)? {
        Some(remote) => Ok((remote, pushed)),
        None => Ok((media_address::need(&here.git, repository, settings)?.to_string(), pushed)),
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Asks through `git-remote-dits kept-media` which of these the remote keeps.
fn ask_helper(asked: &[Pointer], remote: &str, verify: bool) -> Result<(Vec<Pointer>, Vec<Left>), Failure> {
    let (mut freed, mut left) = (Vec::new(), Vec::new());
    if asked.is_empty() {
        return Ok((freed, left));
    }
    let helper = Programs::find()?.helper()?;
    let failed = |error: std::io::Error| Failure::new(format!("cannot run {}", helper.display())).because(&error);
    let mut command = Command::new(&helper);
    command.arg("kept-media").args(progress::of_helper().args()).args(verify.then_some("--verify")).arg(remote);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let mut answers: HashMap<FileHash, Result<(), String>> = HashMap::new();
    std::thread::scope(|scope| -> Result<(), Failure> {
        scope.spawn(move || {
            let mut stdin = BufWriter::new(stdin.expect("it was asked for as a pipe"));
            // A child that reads no more says why by its end.
            let _ = asked.iter().try_for_each(|file| writeln!(stdin, "{} {}", file.oid, file.size));
        });
        for line in BufReader::new(stdout.expect("it was asked for as a pipe")).lines() {
            let line = line.map_err(failed)?;
            if let Some((oid, answer)) = parse_answer(&line) {
                answers.insert(oid, answer);
            }
        }
        Ok(())
    })?;
    match child.wait().map_err(failed)?.code().map(u8::try_from) {
        Some(Ok(DONE)) => {}
        Some(Ok(code)) => return Err(Failure::told(code)),
        _ => {
            return Err(Failure::new(format!("cannot tell what {remote} keeps"))
                .caused_by(format!("{} did not end by itself", helper.display())));
        }
    }
    for file in asked {
        match answers.remove(&file.oid) {
            Some(Ok(())) => freed.push(*file),
            Some(Err(why)) => left.push((*file, why)),
            None => left.push((*file, "nothing was heard of it".to_owned())),
        }
    }
    Ok((freed, left))
}

/// Reads `<oid> kept` or `<oid> not <reason>`.
fn parse_answer(line: &str) -> Option<(FileHash, Result<(), String>)> {
    let (oid, answer) = line.split_once(' ')?;
    let answer = match answer.split_once(' ') {
        None if answer == "kept" => Ok(()),
        Some(("not", why)) => Err(why.to_owned()),
        _ => return None,
    };
    Some((oid.parse().ok()?, answer))
}

/// Collects the store as if nothing named what may go, and leaves in the plan what could go to the end.
fn free(
    here: &Here,
    repository: &Repository,
    store: &Store,
    dir: &Path,
    plan: &mut Plan,
    dry_run: bool,
) -> Result<Collected, Failure> {
    let mut going: HashSet<FileHash> = plan.freed.iter().map(|file| file.oid).collect();
    let options = CollectOptions { grace: GRACE, dry_run, ..CollectOptions::default() };
    let env = here.env.without_repository();
    let own = own_dir(repository);
    let others: BTreeSet<PathBuf> = plan.users.iter().filter(|dir| **dir != own).cloned().collect();
    let collected = making_room::shown(|told| {
        collect::<Stopped>(
            store,
            &options,
            &mut |take| {
                let users = repositories_of(dir, Some(repository.common_dir())).map_err(StoreRootsError::from)?;
                // Somebody may have checked it out, or staged it, since the remote was asked.
                for file in needs(&plan.pushed, plan.recent_since).of(repository)? {
                    going.remove(&file.oid);
                }
                // Who began to use the store may rely on anything that was here.
                if users != plan.users {
                    going.clear();
                }
                // And the others may have added what the store had already.
                every_needed::<Stopped>(&others, &env, &mut |pointer| {
                    going.remove(&pointer.oid);
                    Ok(())
                })?;
                every_needed(&users, &env, &mut |pointer| match going.contains(&pointer.oid) {
                    true => Ok(()),
                    false => take(Root::File(pointer.oid)),
                })
            },
            told,
        )
    })?;
    plan.needed += plan.freed.extract_if(.., |file| !going.contains(&file.oid)).count() as u64;
    Ok(collected)
}

/// A path of each file of the plan that some commit has.
fn names(repository: &Repository, plan: &Plan) -> Result<HashMap<FileHash, Name>, Failure> {
    let git = repository.git()?;
    let tips = git.capture(["rev-list", "--no-walk=unsorted", "--all", "--reflog"])?;
    let tips: Vec<GitId> = ByteSlice::lines(tips.as_slice()).filter_map(GitId::parse).collect();
    let wanted: HashSet<Pointer> = plan.freed.iter().chain(plan.left.iter().map(|(file, _)| file)).copied().collect();
    Ok(name_each(&git, repository.attribute_case(), &tips, &[], &wanted)?)
}

fn print(args: &Args, plan: &Plan, names: &HashMap<FileHash, Name>, collected: &Collected) -> Result<(), Failure> {
    let mut out = Out::lock();
    let total = plan.freed.iter().map(|file| file.size).fold(0, u64::saturating_add);
    let freed_bytes = if args.dry_run { collected.freeable_len } else { collected.freed_len() };
    if args.json {
        let path = |file: &Pointer| names.get(&file.oid).map(|name| name.path.to_string());
        let file =
            |file: &Pointer, reason| File { path: path(file), oid: file.oid.to_string(), size: file.size, reason };
        out.json(&Facts {
            remote: plan.remote.clone(),
            dry_run: args.dry_run,
            needed: plan.needed,
            freed: plan.freed.iter().map(|freed| file(freed, None)).collect(),
            freed_files_bytes: total,
            left: plan.left.iter().map(|(left, why)| file(left, Some(why.clone()))).collect(),
            freed_bytes,
            waiting_bytes: collected.waiting_len,
            disk_full: collected.is_disk_full,
        })?;
        return out.finish();
    }
    let goes = if args.dry_run { "would be freed" } else { "freed" };
    if args.verbose {
        let shown = |file: &Pointer| match names.get(&file.oid) {
            Some(name) => format!("{} in {} ({}, {})", name.path, name.commit, file.oid, Bytes(file.size)),
            None => format!("{} ({})", file.oid, Bytes(file.size)),
        };
        plan.freed.iter().try_for_each(|file| out.line(format_args!("{goes}: {}", shown(file))))?;
        plan.left.iter().try_for_each(|(file, why)| out.line(format_args!("stays: {}: {why}", shown(file))))?;
    }
    out.line(format_args!(
        "{} {goes} ({}; {} on disk), {} may be needed here, {} stay since the remote does not keep them",
        files(plan.freed.len() as u64),
        Bytes(total),
        Bytes(freed_bytes),
        plan.needed,
        plan.left.len(),
    ))?;
    out.finish()
}

fn files(count: u64) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_anything_else_is_none() {
        let oid = FileHash::of(b"x");
        assert_eq!(parse_answer(&format!("{oid} kept")), Some((oid, Ok(()))));
        let not = Err("no ref of the remote keeps it".to_owned());
        assert_eq!(parse_answer(&format!("{oid} not no ref of the remote keeps it")), Some((oid, not)));
        for bad in [format!("{oid}"), format!("{oid} maybe"), "x kept".to_owned(), String::new()] {
            assert_eq!(parse_answer(&bad), None, "{bad}");
        }
    }
}
