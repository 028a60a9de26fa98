//! Git's configuration, from the files git itself reads and in its order.
//!
//! **For:** reading keys without starting git, since a filter does so on every git command.
//!
//! **May touch:** git's configuration files, read only.
//!
//! **Must hold:** the same value as `git config --get` gives: system, user, repository, work
//! tree, environment and `git -c`, includes followed, the last one wins.

use std::path::{Path, PathBuf};

use bstr::{BStr, BString, ByteSlice, ByteVec};
use gix::config::file::Metadata;
use gix::config::file::includes;
use gix::config::file::init::Options;
use gix::config::{File, KeyRef, Source};

use super::NamedRemote;
use super::environment::Environment;

/// All of git's configuration that holds for one repository.
#[derive(Debug, Clone)]
pub struct GitConfig {
    file: File,
    home: Option<PathBuf>,
}

/// Configuration that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// One of its files is malformed or unreadable.
    #[error("cannot read git's configuration")]
    Files(#[source] Box<gix::Error>),
    /// A variable that carries configuration is malformed.
    #[error("{name} is malformed")]
    Variable {
        /// Its name.
        name: String,
    },
}

impl GitConfig {
    /// Reads the configuration that holds in the repository at `git_dir`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`]: as git does, nothing goes on with half a configuration.
    pub fn load(git_dir: &Path, common_dir: &Path, env: &Environment) -> Result<GitConfig, ConfigError> {
        let home = env.path("HOME");
        let interpolate = gix::config::path::interpolate::Context { home_dir: home, ..Default::default() };
        let branch = branch_of(git_dir);
        let conditional = includes::conditional::Context {
            git_dir: Some(git_dir),
            branch_name: branch.as_ref().map(|name| name.as_ref()),
        };
        let options = Options {
            includes: includes::Options::follow(interpolate, conditional),
            lossy: true,
            ignore_io_errors: false,
        };
        let mut file = read_files(&mut config_files(common_dir, env).into_iter(), options)?;
        if is_true_in(&file, "extensions.worktreeConfig") {
            let meta = Metadata::from(Source::Worktree).at(git_dir.join("config.worktree"));
            append(&mut file, read_files(&mut std::iter::once(meta), options)?)?;
        }
        for (key, value) in overrides(env)? {
            push(&mut file, key.as_ref(), value.as_ref())?;
        }
        Ok(GitConfig { file, home: home.map(Path::to_owned) })
    }

    /// The last value of a key; a key without `=` counts as `true`.
    pub fn value(&self, key: &str) -> Option<BString> {
        self.values(key).pop()
    }

    /// All values of a key, in order.
    pub fn values(&self, key: &str) -> Vec<BString> {
        self.file.strings(key).unwrap_or_default()
    }

    /// Whether a key's last value means yes.
    pub fn is_true(&self, key: &str) -> bool {
        is_true_in(&self.file, key)
    }

    /// The last value of a key that holds a path, `~` expanded.
    pub fn path(&self, key: &str) -> Option<PathBuf> {
        let context = gix::config::path::interpolate::Context { home_dir: self.home.as_deref(), ..Default::default() };
        let path = self.file.path(key)?;
        path.interpolate(context).ok()
    }

    /// The keys of a section that has no name behind it, each once, as `section.key`.
    pub fn keys_of(&self, section: &str) -> Vec<String> {
        let mut keys = Vec::new();
        for found in self.file.sections_by_name(section).into_iter().flatten() {
            let is_plain = found.header().subsection_name().is_none();
            for name in found.value_names().filter(|_| is_plain) {
                let key = format!("{section}.{name}");
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
        }
        keys
    }

    pub(super) fn remotes(&self) -> Vec<NamedRemote> {
        let mut remotes: Vec<NamedRemote> = Vec::new();
        for section in self.file.sections_by_name("remote").into_iter().flatten() {
            let (Some(name), Some(url)) = (section.header().subsection_name(), section.value("url")) else { continue };
            if !remotes.iter().any(|remote| remote.name == name) {
                remotes.push(NamedRemote { name: name.to_owned(), url: self.rewritten(url.as_ref()) });
            }
        }
        remotes
    }

    /// An address after `url.<base>.insteadOf`; the longest match wins.
    fn rewritten(&self, url: &BStr) -> BString {
        let mut best: Option<(usize, BString)> = None;
        for section in self.file.sections_by_name("url").into_iter().flatten() {
            let Some(base) = section.header().subsection_name() else { continue };
            for prefix in section.values("insteadOf") {
                let is_longer = best.as_ref().is_none_or(|(len, _)| prefix.len() > *len);
                if let Some(rest) = url.strip_prefix(prefix.as_slice()).filter(|_| is_longer) {
                    let mut to = base.to_owned();
                    to.push_str(rest);
                    best = Some((prefix.len(), to));
                }
            }
        }
        best.map_or_else(|| url.to_owned(), |(_, url)| url)
    }
}

/// The files git reads, in its order. Those that do not exist are left out.
fn config_files(common_dir: &Path, env: &Environment) -> Vec<Metadata> {
    let mut files = Vec::new();
    if !env.is_true("GIT_CONFIG_NOSYSTEM") {
        let system = env.path("GIT_CONFIG_SYSTEM").map(Path::to_owned);
        let system = system.or_else(|| gix::path::env::system_config().map(|path| path.to_owned()));
        files.extend(system.map(|path| Metadata::from(Source::System).at(path)));
    }
    match env.path("GIT_CONFIG_GLOBAL") {
        Some(path) => files.push(Metadata::from(Source::User).at(path)),
        None => {
            let home = env.path("HOME");
            let xdg = env.path("XDG_CONFIG_HOME").map(Path::to_owned).or_else(|| Some(home?.join(".config")));
            files.extend(xdg.map(|dir| Metadata::from(Source::Git).at(dir.join("git/config"))));
            files.extend(home.map(|dir| Metadata::from(Source::User).at(dir.join(".gitconfig"))));
        }
    }
    files.push(Metadata::from(Source::Local).at(common_dir.join("config")));
    files
}

fn read_files(files: &mut dyn Iterator<Item = Metadata>, options: Options<'_>) -> Result<File, ConfigError> {
    // Git has already asked whether the repository's owner is trusted, and no key of ours
    // that a repository can set names a command.
    let mut files = files.map(|meta| meta.with(gix::sec::Trust::Full));
    let mut buffer = Vec::new();
    let file = File::from_paths_metadata_buf(&mut files, &mut buffer, false, options)
        .map_err(|error| ConfigError::Files(Box::new(error)))?;
    Ok(file.unwrap_or_else(|| File::new(Metadata::from(Source::Local))))
}

fn append(file: &mut File, other: File) -> Result<(), ConfigError> {
    file.append(other).map(drop).map_err(|error| ConfigError::Files(Box::new(error)))
}

/// Adds one override as a section of its own, behind all others.
fn push(file: &mut File, key: &BStr, value: Option<&BString>) -> Result<(), ConfigError> {
    let failed = |error| ConfigError::Files(Box::new(error));
    let Some(key) = KeyRef::parse_unvalidated(key) else { return Ok(()) };
    let mut one = File::new(Metadata::from(Source::Cli));
    let subsection = key.subsection_name.map(ToOwned::to_owned);
    one.new_section(key.section_name, subsection)
        .and_then(|mut section| section.push(key.value_name, value.map(|value| value.as_bstr())).map(drop))
        .map_err(failed)?;
    append(file, one)
}

/// What `GIT_CONFIG_COUNT` and `git -c` (`GIT_CONFIG_PARAMETERS`) set, in git's order.
fn overrides(env: &Environment) -> Result<Vec<(BString, Option<BString>)>, ConfigError> {
    let malformed = |name: &str| ConfigError::Variable { name: name.to_owned() };
    let bytes = |name: &str| env.get(name).map(|value| BString::from(value.as_encoded_bytes()));
    let mut found = Vec::new();
    if let Some(count) = bytes("GIT_CONFIG_COUNT") {
        let count: u16 =
            count.to_str().ok().and_then(|text| text.parse().ok()).ok_or_else(|| malformed("GIT_CONFIG_COUNT"))?;
        for index in 0..count {
            let name = format!("GIT_CONFIG_KEY_{index}");
            let key = bytes(&name).ok_or_else(|| malformed(&name))?;
            found.push((key, Some(bytes(&format!("GIT_CONFIG_VALUE_{index}")).unwrap_or_default())));
        }
    }
    if let Some(parameters) = bytes("GIT_CONFIG_PARAMETERS") {
        found.extend(parse_parameters(&parameters).ok_or_else(|| malformed("GIT_CONFIG_PARAMETERS"))?);
    }
    Ok(found)
}

/// Reads `'key'='value'`, `'key'` and the older `'key=value'`, parted by spaces.
fn parse_parameters(mut text: &[u8]) -> Option<Vec<(BString, Option<BString>)>> {
    let mut found = Vec::new();
    loop {
        text = text.trim_start();
        if text.is_empty() {
            return Some(found);
        }
        let (key, rest) = unquote(text)?;
        match rest.strip_prefix(b"=") {
            Some(rest) => {
                let (value, rest) = unquote(rest)?;
                found.push((key, Some(value)));
                text = rest;
            }
            None => {
                found.push(match key.split_once_str("=") {
                    Some((key, value)) => (key.into(), Some(value.into())),
                    None => (key, None),
                });
                text = rest;
            }
        }
    }
}

/// Takes one word in git's shell quoting off the front: `'…'`, with `\'` and `\!` between
/// quoted parts.
fn unquote(text: &[u8]) -> Option<(BString, &[u8])> {
    let mut word = BString::default();
    let mut rest = text.strip_prefix(b"'")?;
    loop {
        let end = rest.find_byte(b'\'')?;
        word.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest {
            [b'\\', escaped @ (b'\'' | b'!'), b'\'', after @ ..] => {
                word.push(*escaped);
                rest = after;
            }
            _ => return Some((word, rest)),
        }
    }
}

fn is_true_in(file: &File, key: &str) -> bool {
    matches!(file.boolean(key), Ok(Some(true)))
}

/// The branch `HEAD` names, for `includeIf.onbranch`.
fn branch_of(git_dir: &Path) -> Option<gix::refs::FullName> {
    let head = std::fs::read(git_dir.join("HEAD")).ok()?;
    let name = head.strip_prefix(b"ref: ")?.trim_end();
    gix::refs::FullName::try_from(name.as_bstr()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_passes_on_its_command_line_is_read_as_git_writes_it() {
        let text = br"'dits.url=dits://h/r' 'a.b'='it'\''s'\!''  'c.flag'";
        let found = parse_parameters(text).expect("well formed");
        let expected: Vec<(BString, Option<BString>)> = vec![
            ("dits.url".into(), Some("dits://h/r".into())),
            ("a.b".into(), Some("it's!".into())),
            ("c.flag".into(), None),
        ];
        assert_eq!(found, expected);
        for bad in [&b"x"[..], b"'a", b"'a'='", b"'a'=b"] {
            assert_eq!(parse_parameters(bad), None, "{:?}", bad.as_bstr());
        }
    }
}
