//! Addresses of remotes: `dits://host[:port]/repo` and `dits::/path`.
//!
//! **For:** parsing what stands in git's configuration or on a command line, once.
//!
//! **May touch:** nothing.
//!
//! **Must hold:** a parsed address has a checked repository name or an absolute path.

use std::fmt;
use std::path::PathBuf;

use crate::repo_path::{NameError, RepoName};

/// The port a server listens on unless told otherwise, TCP and UDP.
pub const DEFAULT_PORT: u16 = 9031;

/// A server's address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host {
    /// A DNS name or an IP address, without brackets.
    pub name: String,
    /// The port.
    pub port: u16,
}

/// Where a remote is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RemoteUrl {
    /// A repository on a server.
    Server {
        /// The server.
        host: Host,
        /// The repository.
        repo: RepoName,
    },
    /// A bare repository with its store, on a disk or NAS.
    Path(PathBuf),
}

/// Text that is no address of a Dits remote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It starts with neither `dits://` nor `dits::`.
    #[error("{0:?} is not an address of Dits: dits://host[:port]/repository or dits::/path")]
    NotDits(String),
    /// The host is missing or malformed.
    #[error("{0:?} names no host that can be reached")]
    Host(String),
    /// The port is no number from 1 to 65535.
    #[error("{0:?} is not a port")]
    Port(String),
    /// The repository's name cannot be used.
    #[error("the repository's name cannot be used")]
    Repo(#[source] NameError),
    /// The path is not absolute.
    #[error("the path {0:?} is not absolute")]
    RelativePath(String),
}

impl RemoteUrl {
    /// Reads an address.
    ///
    /// # Errors
    ///
    /// [`UrlError`] says which part is wrong.
    pub fn parse(text: &str) -> Result<RemoteUrl, UrlError> {
        if let Some(rest) = text.strip_prefix("dits://") {
            let (host, repo) = rest.split_once('/').unwrap_or((rest, ""));
            let repo = RepoName::new(repo.trim_end_matches('/')).map_err(UrlError::Repo)?;
            return Ok(RemoteUrl::Server { host: Host::parse(host)?, repo });
        }
        match text.strip_prefix("dits::") {
            Some(path) if path.starts_with('/') && !path.contains('\0') => Ok(RemoteUrl::Path(path.into())),
            Some(path) => Err(UrlError::RelativePath(path.to_owned())),
            None => Err(UrlError::NotDits(text.to_owned())),
        }
    }
}

impl Host {
    /// Reads `name`, `name:port`, `[v6]` or `[v6]:port`.
    ///
    /// # Errors
    ///
    /// [`UrlError::Host`] or [`UrlError::Port`].
    pub fn parse(text: &str) -> Result<Host, UrlError> {
        let bad_host = || UrlError::Host(text.to_owned());
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (name, port) = rest.split_once(']').ok_or_else(bad_host)?;
                name.parse::<std::net::Ipv6Addr>().map_err(|_| bad_host())?;
                (name, if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or_else(bad_host)?) })
            }
            None => match text.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (text, None),
            },
        };
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        if name.is_empty() || name.starts_with('-') || !name.bytes().all(is_good) {
            return Err(bad_host());
        }
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) => match port.parse() {
                Ok(number @ 1..) if port.bytes().all(|byte| byte.is_ascii_digit()) => number,
                _ => return Err(UrlError::Port(port.to_owned())),
            },
        };
        Ok(Host { name: name.to_ascii_lowercase(), port })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match name.contains(':') {
            true => write!(out, "[{name}]")?,
            false => out.write_str(name)?,
        }
        match self.port {
            DEFAULT_PORT => Ok(()),
            port => write!(out, ":{port}"),
        }
    }
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RemoteUrl::Server { host, repo } => write!(out, "dits://{host}/{repo}"),
            RemoteUrl::Path(path) => write!(out, "dits::{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, written) in [
            ("dits://studio/film", "dits://studio/film"),
            ("dits://Studio:9031/group/film.git/", "dits://studio/group/film"),
            ("dits://127.0.0.1:4000/film", "dits://127.0.0.1:4000/film"),
            ("dits://[::1]:4000/film", "dits://[::1]:4000/film"),
            ("dits::/mnt/nas/film", "dits::/mnt/nas/film"),
        ] {
            assert_eq!(RemoteUrl::parse(text).map(|url| url.to_string()), Ok(written.to_owned()));
        }
    }

    #[test]
    fn hostile_addresses_are_refused() {
        for text in [
            "https://studio/film",
            "dits://",
            "dits://studio",
            "dits://studio/",
            "dits:///film",
            "dits://studio:0/film",
            "dits://studio:+1/film",
            "dits://studio:99999/film",
            "dits://-oProxyCommand=x/film",
            "dits://a b/film",
            "dits://studio/../../etc",
            "dits://studio/a\0b",
            "dits::relative",
            "dits::",
            "dits://[::1/film",
            "dits://[x]/film",
        ] {
            assert!(RemoteUrl::parse(text).is_err(), "{text:?}");
        }
    }
}
