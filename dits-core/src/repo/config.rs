//! The settings of Dits: every `dits.*` key, typed, with its default.
//!
//! **For:** reading them once, from git's configuration and from what a repository commits
//! in `.ditsconfig`.
//!
//! **May touch:** what [`Repository`] reads; git children for a committed `.ditsconfig` that
//! is not in the work tree.
//!
//! **Must hold:**
//! - a value that is none of those allowed is an error that names the key;
//! - of a committed file only [`COMMITTED_KEYS`] count, and its address counts for nothing
//!   until the user has confirmed it.
//!
//! **Format:** `docs/guide/configuration.md`.

use std::path::PathBuf;

use bstr::{BString, ByteSlice};
use gix::config::file::Metadata;
use gix::config::{File, Source};

use super::fetch_patterns::FetchPatterns;
use super::git_program::GitError;
use super::{Repository, git_config::GitConfig};
use crate::remote_url::{RemoteUrl, UrlError};

/// Address media goes to and comes from when the text lives on another host. Default: none.
pub const URL: &str = "dits.url";
/// The address in `.ditsconfig` that was confirmed when [`URL`] was set from it. Default: none.
pub const COMMITTED_URL: &str = "dits.committedUrl";
/// Directory of a store that several repositories share; relative to the common git
/// directory. Default: `dits` there.
pub const STORAGE: &str = "dits.storage";
/// How bulk data travels: `auto`, `quic` or `grpc`. Default: `auto`.
pub const TRANSPORT: &str = "dits.transport";
/// What a checkout does with media it cannot get: `pointer` or `fail`. Default: `pointer`.
pub const ON_MISSING: &str = "dits.onMissing";
/// When a checkout writes the content of large media: `deferred` or `inline`. Default: `deferred`.
pub const HYDRATE: &str = "dits.hydrate";
/// Patterns of paths whose media is wanted, parted by commas. Default: all.
pub const FETCH_INCLUDE: &str = "dits.fetchInclude";
/// Patterns of paths whose media is not wanted, parted by commas. Default: none.
pub const FETCH_EXCLUDE: &str = "dits.fetchExclude";
/// Whether a filter has the hooks put into a repository that lacks them. Default: true.
pub const INSTALL_HOOKS: &str = "dits.installHooks";
/// Length from which the pre-commit hook stops a binary file that no pattern tracks, in bytes; `k`, `m` and
/// `g` behind the number count, 0 stops none. Default: [`GUARD_SIZE_DEFAULT`].
pub const GUARD_SIZE: &str = "dits.guardSize";
/// See [`GUARD_SIZE`].
pub const GUARD_SIZE_DEFAULT: u64 = 1024 * 1024;

/// Whether the local store is swept by itself, in the background, once it has grown. Default: true.
pub const AUTO_COLLECT: &str = "dits.autoCollect";

/// How many days the media of branches and tags stays in the local store after their last commit, although a remote
/// keeps it; 0 for none. Default: [`FETCH_RECENT_DAYS_DEFAULT`].
pub const FETCH_RECENT_DAYS: &str = "dits.fetchRecentDays";
/// See [`FETCH_RECENT_DAYS`].
pub const FETCH_RECENT_DAYS_DEFAULT: u64 = 7;

/// Every key that is read.
pub const KEYS: [&str; 12] = [
    URL,
    COMMITTED_URL,
    STORAGE,
    TRANSPORT,
    ON_MISSING,
    HYDRATE,
    FETCH_INCLUDE,
    FETCH_EXCLUDE,
    INSTALL_HOOKS,
    GUARD_SIZE,
    AUTO_COLLECT,
    FETCH_RECENT_DAYS,
];

/// The keys that count in a committed `.ditsconfig`.
pub const COMMITTED_KEYS: [&str; 3] = [URL, FETCH_INCLUDE, FETCH_EXCLUDE];
/// The committed file's name, at the top of the tree.
pub const COMMITTED_FILE: &str = ".ditsconfig";
/// Longest committed file that is read, in bytes.
const COMMITTED_LEN_MAX: usize = 64 * 1024;

/// How bulk data travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    /// QUIC, and gRPC by itself where UDP does not pass.
    #[default]
    Auto,
    /// QUIC or failure.
    Quic,
    /// gRPC from the start.
    Grpc,
}

/// What a checkout does with media it cannot get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnMissing {
    /// The pointer is written, and named on standard error.
    #[default]
    Pointer,
    /// Git names the path and ends with an error.
    Fail,
}

/// When a checkout writes the content of large media.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hydrate {
    /// Once git has written everything else, past git's memory.
    #[default]
    Deferred,
    /// With everything else, through git's memory.
    Inline,
}

/// All settings of one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// [`URL`].
    pub url: Option<RemoteUrl>,
    /// [`COMMITTED_URL`].
    pub committed_url: Option<RemoteUrl>,
    /// [`STORAGE`], absolute.
    pub storage: Option<PathBuf>,
    /// [`TRANSPORT`].
    pub transport: Transport,
    /// [`ON_MISSING`].
    pub on_missing: OnMissing,
    /// [`HYDRATE`].
    pub hydrate: Hydrate,
    /// [`FETCH_INCLUDE`] and [`FETCH_EXCLUDE`], if either is set.
    pub fetch: Option<FetchPatterns>,
    /// [`INSTALL_HOOKS`].
    pub installs_hooks: bool,
    /// [`GUARD_SIZE`]; `None` for a guard that stops nothing.
    pub guard_size: Option<u64>,
    /// [`FETCH_RECENT_DAYS`].
    pub recent_days: u64,
    /// [`AUTO_COLLECT`].
    pub collects: bool,
}

/// What a repository commits in its `.ditsconfig`, as far as it counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    /// The address it proposes.
    pub url: Option<RemoteUrl>,
    /// The patterns it proposes.
    pub fetch: FetchPatterns,
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A value that is none of those allowed.
    #[error("{key} is {value:?}, which is none of: {allowed}")]
    Value {
        /// The key.
        key: &'static str,
        /// The value.
        value: BString,
        /// The values allowed.
        allowed: &'static str,
    },
    /// An address that is none.
    #[error("{key} cannot be used")]
    Url {
        /// The key.
        key: &'static str,
        /// Why.
        #[source]
        source: UrlError,
    },
    /// A path that cannot be expanded.
    #[error("{key} is no path that can be used")]
    Path {
        /// The key.
        key: &'static str,
    },
    /// The committed file is malformed.
    #[error("{COMMITTED_FILE} is malformed")]
    Committed(#[source] Box<gix::Error>),
    /// The committed file is too long.
    #[error("{COMMITTED_FILE} has {len} bytes; more than {COMMITTED_LEN_MAX} are not read")]
    CommittedLen {
        /// Its length in bytes.
        len: usize,
    },
    /// The committed file cannot be read.
    #[error("cannot read {path}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The committed file cannot be had from git.
    #[error("cannot read {COMMITTED_FILE} from git")]
    Git(#[source] GitError),
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            url: None,
            committed_url: None,
            storage: None,
            transport: Transport::default(),
            on_missing: OnMissing::default(),
            hydrate: Hydrate::default(),
            fetch: None,
            installs_hooks: true,
            guard_size: Some(GUARD_SIZE_DEFAULT),
            recent_days: FETCH_RECENT_DAYS_DEFAULT,
            collects: true,
        }
    }
}

impl Settings {
    /// Reads the settings in git's configuration.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] for a value that is none of those allowed.
    pub fn read(repo: &Repository) -> Result<Settings, SettingsError> {
        let config = repo.config();
        let url = |key| parse_url(key, config.value(key));
        let (include, exclude) = (config.values(FETCH_INCLUDE), config.values(FETCH_EXCLUDE));
        let has_patterns = !include.is_empty() || !exclude.is_empty();
        Ok(Settings {
            url: url(URL)?,
            committed_url: url(COMMITTED_URL)?,
            storage: storage(repo, config)?,
            transport: one_of(config, TRANSPORT, "auto, quic, grpc", |value| match value {
                b"auto" => Some(Transport::Auto),
                b"quic" => Some(Transport::Quic),
                b"grpc" => Some(Transport::Grpc),
                _ => None,
            })?,
            on_missing: one_of(config, ON_MISSING, "pointer, fail", |value| match value {
                b"pointer" => Some(OnMissing::Pointer),
                b"fail" => Some(OnMissing::Fail),
                _ => None,
            })?,
            hydrate: one_of(config, HYDRATE, "deferred, inline", |value| match value {
                b"deferred" => Some(Hydrate::Deferred),
                b"inline" => Some(Hydrate::Inline),
                _ => None,
            })?,
            fetch: has_patterns.then(|| FetchPatterns::new(&include, &exclude)),
            installs_hooks: config.value(INSTALL_HOOKS).is_none() || config.is_true(INSTALL_HOOKS),
            guard_size: guard_size(config)?,
            recent_days: recent_days(config)?,
            collects: config.value(AUTO_COLLECT).is_none() || config.is_true(AUTO_COLLECT),
        })
    }

    /// The patterns that hold: the user's own where there are any, else the committed ones.
    pub fn fetch_patterns<'a>(&'a self, committed: &'a Committed) -> &'a FetchPatterns {
        self.fetch.as_ref().unwrap_or(&committed.fetch)
    }
}

fn guard_size(config: &GitConfig) -> Result<Option<u64>, SettingsError> {
    let Some(value) = config.value(GUARD_SIZE).filter(|value| !value.is_empty()) else {
        return Ok(Some(GUARD_SIZE_DEFAULT));
    };
    let bytes = gix::config::Integer::try_from(value.as_bstr()).ok().and_then(|number| number.to_decimal());
    let bytes = bytes.and_then(|bytes| u64::try_from(bytes).ok());
    let allowed = "a number of bytes, with k, m or g behind it";
    let bytes = bytes.ok_or(SettingsError::Value { key: GUARD_SIZE, value, allowed })?;
    Ok((bytes > 0).then_some(bytes))
}

fn recent_days(config: &GitConfig) -> Result<u64, SettingsError> {
    let Some(value) = config.value(FETCH_RECENT_DAYS).filter(|value| !value.is_empty()) else {
        return Ok(FETCH_RECENT_DAYS_DEFAULT);
    };
    let days = value.to_str().ok().and_then(|text| text.parse().ok());
    days.ok_or(SettingsError::Value { key: FETCH_RECENT_DAYS, value, allowed: "a number of days" })
}

fn storage(repo: &Repository, config: &GitConfig) -> Result<Option<PathBuf>, SettingsError> {
    if config.value(STORAGE).is_none_or(|value| value.is_empty()) {
        return Ok(None);
    }
    let path = config.path(STORAGE).ok_or(SettingsError::Path { key: STORAGE })?;
    Ok(Some(repo.common_dir().join(path)))
}

fn parse_url(key: &'static str, value: Option<BString>) -> Result<Option<RemoteUrl>, SettingsError> {
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(None) };
    RemoteUrl::parse(&value.to_str_lossy()).map(Some).map_err(|source| SettingsError::Url { key, source })
}

fn one_of<T: Default>(
    config: &GitConfig,
    key: &'static str,
    allowed: &'static str,
    parse: impl Fn(&[u8]) -> Option<T>,
) -> Result<T, SettingsError> {
    let Some(value) = config.value(key).filter(|value| !value.is_empty()) else { return Ok(T::default()) };
    parse(&value.to_ascii_lowercase()).ok_or(SettingsError::Value { key, value, allowed })
}

impl Committed {
    /// Reads the `.ditsconfig` of the work tree, else of the index, else of `HEAD`; of a bare
    /// repository that of `HEAD`.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] for a file that is malformed or cannot be read.
    pub fn read(repo: &Repository) -> Result<Committed, SettingsError> {
        if let Some(top) = repo.work_tree() {
            let path = top.join(COMMITTED_FILE);
            match std::fs::symlink_metadata(&path) {
                // A link could lead anywhere, so it does not count, as with `.gitattributes`.
                Ok(meta) if meta.is_file() => {
                    let read = |source| SettingsError::Read { path: path.clone(), source };
                    return Committed::parse(std::fs::read(&path).map_err(read)?);
                }
                Ok(_) => return Ok(Committed::default()),
                Err(_) => {}
            }
        }
        let git = repo.git().map_err(SettingsError::Git)?.with_env("GIT_NO_LAZY_FETCH", "1");
        let revisions: &[&str] = if repo.work_tree().is_some() { &["", "HEAD"] } else { &["HEAD"] };
        for revision in revisions {
            // Any failure means that there is no such file there: an unborn HEAD, no index.
            if let Ok(text) = git.capture(["cat-file", "blob", &format!("{revision}:{COMMITTED_FILE}")]) {
                return Committed::parse(text);
            }
        }
        Ok(Committed::default())
    }

    /// Reads the text of a `.ditsconfig`. Keys that do not count are passed over.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] for a text that is malformed or too long.
    pub fn parse(mut text: Vec<u8>) -> Result<Committed, SettingsError> {
        if text.len() > COMMITTED_LEN_MAX {
            return Err(SettingsError::CommittedLen { len: text.len() });
        }
        // The default options follow no include: a committed file names no other file.
        let file = File::from_bytes_owned(&mut text, Metadata::from(Source::Local), Default::default())
            .map_err(|error| SettingsError::Committed(Box::new(error)))?;
        let values = |key: &str| file.strings(key).unwrap_or_default();
        Ok(Committed {
            url: parse_url(URL, values(URL).pop())?,
            fetch: FetchPatterns::new(&values(FETCH_INCLUDE), &values(FETCH_EXCLUDE)),
        })
    }
}

/// What a committed address means for a command that needs one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UrlDecision {
    /// There is no address at all.
    None,
    /// This one is the user's, or was confirmed.
    Use(RemoteUrl),
    /// The repository proposes one that nobody has confirmed here.
    Unconfirmed {
        /// The one proposed.
        committed: RemoteUrl,
    },
    /// The repository proposes another one than was confirmed.
    Changed {
        /// The one in use.
        confirmed: RemoteUrl,
        /// The one proposed now.
        committed: RemoteUrl,
    },
}

/// Decides whether the committed address may be used.
///
/// Confirming means to write it to both [`URL`] and [`COMMITTED_URL`]; a [`URL`] that stands
/// without the other is the user's own and wins over any committed one.
pub fn decide_url(settings: &Settings, committed: &Committed) -> UrlDecision {
    match (&settings.url, &committed.url) {
        (None, None) => UrlDecision::None,
        (Some(url), None) => UrlDecision::Use(url.clone()),
        (None, Some(proposed)) => UrlDecision::Unconfirmed { committed: proposed.clone() },
        (Some(url), Some(proposed)) => match &settings.committed_url {
            Some(seen) if seen != proposed && url != proposed => {
                UrlDecision::Changed { confirmed: url.clone(), committed: proposed.clone() }
            }
            _ => UrlDecision::Use(url.clone()),
        },
    }
}
