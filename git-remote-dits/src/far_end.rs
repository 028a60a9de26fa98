//! The far end of a connection: git on a share, run here, or git on a server.
//!
//! **For:** fetching and pushing, which only see two streams and an end.
//!
//! **May touch:** git children; the network.
//!
//! **Must hold:** git's own protocol is asked for in version 2 where it has one, since git
//! itself tells that to no helper.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::OnceLock;

use dits_core::git_index::ObjectFormat;
use dits_core::hash::FileHash;
use dits_core::remote::Remote;
use dits_core::remote::local::{self, LocalRemote};
use dits_core::remote::server::{GitEnding, GitService};
use dits_core::remote_url::{Host, RemoteUrl};
use dits_core::repo::stores;

use crate::here::Here;
use crate::servers;
use crate::share_git;
use dits_core::failure::Failure;

/// A program that git wants at the far end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Fetch.
    UploadPack,
    /// Push.
    ReceivePack,
    /// Archive.
    UploadArchive,
}

impl Service {
    /// Reads the name that git calls it by.
    pub fn parse(name: &str) -> Option<Service> {
        match name {
            "git-upload-pack" => Some(Service::UploadPack),
            "git-receive-pack" => Some(Service::ReceivePack),
            "git-upload-archive" => Some(Service::UploadArchive),
            _ => None,
        }
    }

    fn command(self) -> &'static str {
        match self {
            Service::UploadPack => "upload-pack",
            Service::ReceivePack => "receive-pack",
            Service::UploadArchive => "upload-archive",
        }
    }

    /// What `GIT_PROTOCOL` is to be; pushing and archiving have no second version.
    fn protocol(self) -> &'static str {
        match self {
            Service::UploadPack => "version=2",
            Service::ReceivePack | Service::UploadArchive => "",
        }
    }
}

/// A remote that can be reached.
pub enum Link {
    /// A share.
    Share {
        /// The bare repository.
        path: PathBuf,
        /// Its media, once somebody asked for it.
        media: OnceLock<Remote>,
    },
    /// A server.
    Server {
        /// Its address.
        address: RemoteUrl,
        /// The server.
        host: Host,
        /// The connection, always [`Remote::Server`].
        remote: Remote,
    },
}

impl Link {
    /// Reaches the remote at `url`.
    pub fn open(url: &RemoteUrl, here: &Here) -> Result<Link, Failure> {
        match url {
            RemoteUrl::Path(path) if here.is_from_user() => {
                Ok(Link::Share { path: path.clone(), media: OnceLock::new() })
            }
            RemoteUrl::Path(path) => Err(Failure::refused(format!("{} was not named by you", path.display()))
                .caused_by("a repository names it, and a path on this machine is not for a repository to choose")
                .hint(format!("add it yourself with `git remote add NAME dits::{}`", path.display()))),
            RemoteUrl::Server { host, repo } => {
                let remote = servers::connect(host, repo, here)?;
                Ok(Link::Server { address: url.clone(), host: host.clone(), remote })
            }
        }
    }

    /// The remote's media.
    pub fn media(&self, here: &Here) -> Result<&Remote, Failure> {
        match self {
            Link::Server { remote, .. } => Ok(remote),
            Link::Share { path, media } => {
                if let Some(media) = media.get() {
                    return Ok(media);
                }
                let options = stores::on_a_share(path, here.env())
                    .ok_or_else(|| Failure::new("there is no home for the index of a share").hint("set HOME"))?;
                let opened = Remote::Local(Box::new(LocalRemote::open(options)?));
                Ok(media.get_or_init(|| opened))
            }
        }
    }

    /// Starts a program of git at the far end. The first push to a share makes it.
    pub fn start(&self, service: Service, here: &Here) -> Result<FarEnd, Failure> {
        match self {
            Link::Share { path, .. } => start_on_share(path, service, here),
            Link::Server { host, remote: Remote::Server(server), .. } => {
                let named = match service {
                    Service::UploadPack => GitService::UploadPack,
                    Service::ReceivePack => GitService::ReceivePack,
                    Service::UploadArchive => GitService::UploadArchive,
                };
                let format = object_format(service, here)?;
                let (input, output, ending) = server.git(named, service.protocol(), format)?.split();
                let ending = Ending::Server(ending, host.clone());
                Ok(FarEnd { to: Box::new(input), from: Box::new(output), ending })
            }
            Link::Server { .. } => unreachable!("a server's remote is a server"),
        }
    }

    /// Whether the far end says which media it found missing.
    pub fn names_missing_media(&self) -> bool {
        matches!(self, Link::Server { .. })
    }
}

/// What the objects of a repository that a push makes are to be named by: as those that are pushed.
pub fn object_format(service: Service, here: &Here) -> Result<ObjectFormat, Failure> {
    match service {
        Service::ReceivePack => here
            .repository()?
            .object_format()
            .ok_or_else(|| Failure::new("what this repository names its objects by is not known")),
        // Nothing is made; a clone has no repository yet.
        Service::UploadPack | Service::UploadArchive => Ok(ObjectFormat::Sha1),
    }
}

fn start_on_share(path: &Path, service: Service, here: &Here) -> Result<FarEnd, Failure> {
    if service == Service::ReceivePack {
        refuse_gone(path, here)?;
    }
    let git = share_git::open(path, service, here)?;
    // The hook calls `git dits`, which a short PATH (a GUI's) may not lead to.
    let git = git.with_env("PATH", here.path_with_siblings());
    let git = git.with_env("GIT_PROTOCOL", service.protocol());
    let mut command = git.command([service.command(), "."]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|error| Failure::new("cannot start git on the share").because(&error))?;
    let to = child.stdin.take().expect("asked for as a pipe");
    let from = child.stdout.take().expect("asked for as a pipe");
    Ok(FarEnd { to: Box::new(to), from: Box::new(from), ending: Ending::Child(child) })
}

/// A share that this repository has pushed to and that is not there now is most likely not mounted.
/// Making a new one in the empty folder would hide that, and fill the wrong disk.
fn refuse_gone(path: &Path, here: &Here) -> Result<(), Failure> {
    let Some(remote) = here.remote.get().filter(|_| !local::is_repository(path)) else { return Ok(()) };
    let tracked = format!("refs/remotes/{remote}/");
    match here.repository()?.git()?.capture(["for-each-ref", "--count=1", &tracked])?.is_empty() {
        true => Ok(()),
        false => Err(Failure::refused(format!("there is no repository at {} any more", path.display()))
            .caused_by(format!("{tracked} says that there was one"))
            .hint("is the disk or the share mounted?")
            .hint(format!("to begin anew there, run `git init --bare {}`", path.display()))),
    }
}

/// A running program at the far end.
pub struct FarEnd {
    /// What it is told; dropped, it says that nothing follows.
    pub to: Box<dyn Write + Send>,
    /// What it says.
    pub from: Box<dyn Read + Send>,
    /// Waits for its end.
    pub ending: Ending,
}

/// How a program at the far end is waited for.
pub enum Ending {
    /// It is a child of this program.
    Child(Child),
    /// It is on a server.
    Server(GitEnding, Host),
}

/// How it ended.
#[derive(Debug, Default)]
pub struct End {
    /// Whether it says that it did its work.
    pub is_good: bool,
    /// Files that the check before the refs moved found missing.
    pub missing: Vec<FileHash>,
    /// What it said outside of git's protocol.
    pub messages: Vec<u8>,
}

impl Ending {
    /// Waits for the end.
    pub fn wait(self) -> Result<End, Failure> {
        match self {
            Ending::Child(mut child) => {
                let status = child.wait().map_err(|error| Failure::new("git on the share is lost").because(&error))?;
                Ok(End { is_good: status.success(), ..End::default() })
            }
            Ending::Server(ending, host) => {
                let end = ending.wait(&host)?;
                Ok(End { is_good: end.exit_code == 0, missing: end.missing_oids, messages: end.messages })
            }
        }
    }
}
