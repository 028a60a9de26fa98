//! `git dits gc`: gives back the room of media that nothing needs any more.
//!
//! **For:** the local store, and shares (`dits::/path`), which have no server that does it.
//!
//! **May touch:** the store; git children, read only.
//!
//! **Must hold:** whatever a pointer names that Git still has, in any repository that uses the store, stays; a repository that
//! cannot be read stops the command.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dits_core::operations::collect::{CollectOptions, CollectProgress, Collected, Root, collect};
use dits_core::remote::local;
use dits_core::remote_url::RemoteUrl;
use dits_core::repo::environment::Environment;
use dits_core::repo::store_roots::{StoreRootsError, every_needed, repositories_of};
use dits_core::repo::{Repository, repositories, stores};
use dits_core::store::{Sharing, Store, StoreOptions};
use serde::Serialize;

use crate::collecting::{self, Last};
use crate::durations;
use crate::here::Here;
use crate::making_room::{self, Stopped};
use crate::out::Out;
use crate::report::{EXIT_STATUSES, Failure};
use crate::sizes::Bytes;

/// Media that came or went less long ago stays in the local store: an add or a fetch may be about to use it.
const GRACE: Duration = Duration::from_secs(24 * 3600);
/// The same on a share, whose users may have pushed what no ref names yet.
const SHARE_GRACE: Duration = Duration::from_secs(14 * 24 * 3600);

/// Give back the room of media that nothing needs any more
#[derive(clap::Args)]
#[command(after_help = EXIT_STATUSES)]
pub struct Args {
    /// A share (`dits::/path`, or the name of such a remote); the local store unless given
    remote: Option<String>,
    /// Leave what was written less long ago: 90s, 10m, 36h, 2d, 2w; a day unless given, two weeks on a share
    #[arg(long, value_name = "DURATION", value_parser = durations::argument)]
    grace: Option<Duration>,
    /// Only say what would be given back
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Only where the store has grown enough since the last time; say nothing
    #[arg(long, conflicts_with_all = ["remote", "dry_run", "json", "forget", "grace"])]
    auto: bool,
    /// Take a repository that is gone for good from the list of those that use the store
    #[arg(long, value_name = "GIT_DIR", conflicts_with_all = ["remote", "dry_run", "grace", "json"])]
    forget: Option<PathBuf>,
    /// Print the facts as JSON
    #[arg(long)]
    json: bool,
}

/// What a collection came to, for `--json`.
#[derive(Serialize)]
struct Facts {
    store: String,
    dry_run: bool,
    /// Repositories whose pointers were looked at.
    repositories: Vec<String>,
    live_items: u64,
    live_bytes: u64,
    dead_bytes: u64,
    freeable_bytes: u64,
    freed_bytes: u64,
    written_bytes: u64,
    removed_packs: u64,
    waiting_packs: u64,
    waiting_bytes: u64,
    disk_full: bool,
}

/// What is collected.
struct Subject {
    options: StoreOptions,
    /// The repository that is known to use it.
    own: PathBuf,
    /// Other machines push media to it.
    is_share: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let here = Here::find()?;
    let repository = here.repository()?;
    let subject = match &args.remote {
        Some(remote) => share(&repository, remote)?,
        None => own_store(&repository)?,
    };
    if let Some(git_dir) = &args.forget {
        return forget(&here, &subject, git_dir);
    }
    check_users_are_here(&subject)?;
    if subject.is_share
        && local::may_have_text_elsewhere(&subject.options.dir, &here.git.clone().for_other(&subject.own))?
    {
        return Err(Failure::refused(format!("nobody can tell which media {} still needs", subject.own.display()))
            .caused_by("its text is on another host, or it has no ref that would name any")
            .hint("all of its media stays"));
    }
    if args.auto {
        return auto(&here, &subject);
    }
    let grace = args.grace.unwrap_or(match subject.options.sharing {
        Sharing::Machine => GRACE,
        Sharing::Network => SHARE_GRACE,
    });
    let options = CollectOptions { grace, dry_run: args.dry_run, ..CollectOptions::default() };
    let (collected, git_dirs) = making_room::shown(|told| run_on(&here, &subject, &options, told))?;
    let mut out = Out::lock();
    match args.json {
        true => out.json(&facts(&subject, args, &collected, &git_dirs))?,
        false => lines(args, &subject, &collected).iter().try_for_each(|line| out.line(line))?,
    }
    out.finish()?;
    match collected.is_disk_full {
        true => Err(Failure::new("the disk has no room for copies of what stays beside what goes")
            .hint("make a little room, then run `git dits gc` again: it goes on from here")),
        false => Ok(()),
    }
}

/// The repository's own store.
fn own_store(repository: &Repository) -> Result<Subject, Failure> {
    let own = repository.common_dir().to_owned();
    let options = stores::store_options(repository, &repository.settings()?);
    // A repository without a work tree may be a share, which other machines write to.
    let may_be_share = options.sharing == Sharing::Machine && repository.work_tree().is_none();
    let options = match may_be_share {
        true => stores::on_a_share(&own, repository.env()).ok_or_else(no_home)?,
        false => options,
    };
    Ok(Subject { options, own, is_share: may_be_share })
}

/// Refuses a store that other machines may use: the list of repositories says what this one has under a path, and nothing of theirs.
fn check_users_are_here(subject: &Subject) -> Result<(), Failure> {
    match subject.options.sharing {
        Sharing::Network if !subject.is_share => {
            Err(Failure::refused(format!("nobody can tell which media {} still needs", subject.options.dir.display()))
                .caused_by("it is on a network file system, and repositories on other machines may use it")
                .hint("all of its media stays"))
        }
        _ => Ok(()),
    }
}

/// The store of a share.
fn share(repository: &Repository, remote: &str) -> Result<Subject, Failure> {
    let named = repository.dits_remotes().into_iter().find(|(name, _)| name == remote).map(|(_, url)| url);
    let url = match named.map_or_else(|| RemoteUrl::parse(remote), Ok) {
        Ok(url) => url,
        Err(_) => {
            return Err(Failure::usage(format!("{remote} is neither a share nor a remote of Dits"))
                .hint("list remotes: `git remote -v`; a share's address is dits::/path"));
        }
    };
    match url {
        RemoteUrl::Path(path) => {
            let options = stores::on_a_share(&path, repository.env()).ok_or_else(no_home)?;
            Ok(Subject { options, own: path, is_share: true })
        }
        RemoteUrl::Server { .. } => Err(Failure::refused(format!("{url} looks after its media itself"))
            .hint("whoever runs the server makes room there with `ditsd gc`")),
    }
}

fn no_home() -> Failure {
    Failure::new("there is no home for the index of a share").hint("set HOME")
}

fn forget(here: &Here, subject: &Subject, git_dir: &Path) -> Result<(), Failure> {
    let dir = &subject.options.dir;
    match repositories::forget(dir, &here.cwd.join(git_dir))? {
        true => Ok(()),
        false => Err(Failure::new(format!("{} is not listed in {}", git_dir.display(), dir.display()))
            .hint(format!("the list is {}", dir.join("repositories").display()))),
    }
}

/// Opens the store and collects it; returns the repositories that were looked at, too.
fn run_on(
    here: &Here,
    subject: &Subject,
    options: &CollectOptions,
    progress: &(dyn Fn(CollectProgress) + Sync),
) -> Result<(Collected, Vec<PathBuf>), Failure> {
    let dir = subject.options.dir.clone();
    let mut git_dirs = Vec::new();
    let Some(store) = Store::open_existing(subject.options.clone())? else {
        return Ok((Collected::default(), git_dirs));
    };
    let collected = collect::<Stopped>(
        &store,
        options,
        &mut |take| {
            // Who began to use the store meanwhile is listed by now.
            let users = repositories_of(&dir, Some(&subject.own)).map_err(StoreRootsError::from)?;
            git_dirs = users.iter().cloned().collect();
            every_needed(&users, &outside(&here.env), &mut |pointer| take(Root::File(pointer.oid)))
        },
        progress,
    );
    match collected {
        Ok(collected) => {
            if !options.dry_run {
                // It only says when to look again.
                let _ = Last::now(&dir).write(&dir);
            }
            Ok((collected, git_dirs))
        }
        Err(stopped) => Err(stopped.into()),
    }
}

/// The environment without what a hook is told of its repository.
fn outside(env: &Environment) -> Environment {
    env.without_repository()
}

/// In the background, for a hook: nobody reads what is said.
fn auto(here: &Here, subject: &Subject) -> Result<(), Failure> {
    if !collecting::is_due(&subject.options) {
        return Ok(());
    }
    let options = CollectOptions {
        grace: GRACE,
        copy_len_max: collecting::COPY_LEN_MAX,
        wait_max: collecting::WAIT_MAX,
        ..CollectOptions::default()
    };
    run_on(here, subject, &options, &|_| {}).map(drop).map_err(|failure| {
        // What stands in the way now does so at the next commit.
        let _ = Last::tried(&subject.options.dir).write(&subject.options.dir);
        Failure::told(failure.code())
    })
}

fn facts(subject: &Subject, args: &Args, collected: &Collected, git_dirs: &[PathBuf]) -> Facts {
    Facts {
        store: subject.options.dir.display().to_string(),
        dry_run: args.dry_run,
        repositories: git_dirs.iter().map(|dir| dir.display().to_string()).collect(),
        live_items: collected.live_items,
        live_bytes: collected.live_len,
        dead_bytes: collected.dead_len,
        freeable_bytes: collected.freeable_len,
        freed_bytes: collected.freed_len(),
        written_bytes: collected.written_len,
        removed_packs: collected.removed_packs,
        waiting_packs: collected.waiting_packs,
        waiting_bytes: collected.waiting_len,
        disk_full: collected.is_disk_full,
    }
}

/// What people read.
fn lines(args: &Args, subject: &Subject, collected: &Collected) -> Vec<String> {
    let mut lines = Vec::new();
    let live = Bytes(collected.live_len);
    match args.dry_run {
        true => {
            let free = Bytes(collected.freeable_len);
            lines.push(format!("{free} would be freed; {live} are needed"));
            let stays = collected.dead_len.saturating_sub(collected.freeable_len);
            if stays > 0 {
                lines.push(format!("{} more are not needed, and too young or among too much that is", Bytes(stays)));
            }
        }
        false => lines.push(format!("{} freed; {live} are needed", Bytes(collected.freed_len()))),
    }
    if collected.waiting_packs > 0 {
        let when = match subject.options.sharing {
            Sharing::Machine => "once nobody uses them any more",
            Sharing::Network => "in an hour at the earliest, when no push can rely on them any more",
        };
        lines.push(format!("{} more go with the next `git dits gc`, {when}", Bytes(collected.waiting_len)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_other_machines_may_use_is_not_collected() {
        for (sharing, is_share, is_refused) in
            [(Sharing::Network, false, true), (Sharing::Network, true, false), (Sharing::Machine, false, false)]
        {
            let options = StoreOptions { dir: "/nas/media".into(), index: "/cache/index".into(), sharing };
            let subject = Subject { options, own: "/film/.git".into(), is_share };
            assert_eq!(check_users_are_here(&subject).is_err(), is_refused, "{sharing:?} {is_share}");
        }
    }
}
