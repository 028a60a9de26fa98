//! Discovery and configuration against repositories that git itself made.

use super::config::{Committed, OnMissing, Transport, UrlDecision, decide_url};
use super::*;

struct Sandbox {
    dir: tempfile::TempDir,
    env: Environment,
}

impl Sandbox {
    fn new() -> Sandbox {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let home = dir.path().join("home");
        std::fs::create_dir(&home).expect("a home");
        let env = Self::environment(&home, &[]);
        Sandbox { dir, env }
    }

    fn environment(home: &Path, more: &[(&str, &str)]) -> Environment {
        let path = std::env::var_os("PATH").expect("PATH is set");
        let vars = [
            ("HOME".into(), home.as_os_str().to_owned()),
            ("PATH".into(), path),
            ("GIT_CONFIG_NOSYSTEM".into(), "1".into()),
        ];
        let more = more.iter().map(|(name, value)| (name.into(), value.into()));
        Environment::new(vars.into_iter().chain(more))
    }

    fn with(&self, more: &[(&str, &str)]) -> Environment {
        Self::environment(&self.path("home"), more)
    }

    fn path(&self, below: &str) -> PathBuf {
        std::fs::canonicalize(self.dir.path()).expect("it exists").join(below)
    }

    fn git(&self, dir: &str, args: &[&str]) {
        let home = self.path("home").into_os_string();
        let path = std::env::var_os("PATH").expect("PATH is set");
        let vars = [("HOME".into(), home), ("PATH".into(), path), ("GIT_CONFIG_NOSYSTEM".into(), "1".into())];
        let git = GitProgram::find(&self.env).expect("git is installed").with_only_env(vars).in_dir(self.path(dir));
        let identity = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "protocol.file.allow=always"];
        git.run(identity.iter().chain(args)).expect("git does it");
    }

    fn repo(&self) {
        self.git("", &["init", "--quiet", "-b", "main", "repo"]);
    }

    fn discover(&self, dir: &str) -> Repository {
        Repository::discover(&self.path(dir), self.env.clone()).expect("a repository")
    }
}

#[test]
fn a_repository_is_found_from_below_and_by_its_environment() {
    let sandbox = Sandbox::new();
    sandbox.repo();
    std::fs::create_dir_all(sandbox.path("repo/a/b")).expect("directories");
    for repo in [
        sandbox.discover("repo/a/b"),
        Repository::discover(&sandbox.path("repo"), sandbox.with(&[("GIT_DIR", ".git")])).expect("by GIT_DIR"),
        Repository::at(&sandbox.path("repo/.git"), &sandbox.with(&[("GIT_DIR", "/nowhere")])).expect("named"),
    ] {
        assert_eq!(repo.git_dir(), sandbox.path("repo/.git"));
        assert_eq!(repo.common_dir(), sandbox.path("repo/.git"));
        assert_eq!(repo.work_tree(), Some(sandbox.path("repo").as_path()));
        assert_eq!(repo.index_file(), sandbox.path("repo/.git/index"));
    }
    let nowhere = Repository::discover(&sandbox.path("home"), sandbox.env.clone());
    assert!(matches!(nowhere, Err(RepositoryError::NotFound { .. })), "{nowhere:?}");
    let not_git = Repository::at(&sandbox.path("home"), &sandbox.env);
    assert!(matches!(not_git, Err(RepositoryError::NotGitDir { .. })), "{not_git:?}");
}

#[test]
fn bare_repositories_work_trees_and_submodules_are_told_apart() {
    let sandbox = Sandbox::new();
    sandbox.repo();
    sandbox.git("repo", &["commit", "--quiet", "--allow-empty", "-m", "first"]);
    sandbox.git("repo", &["worktree", "add", "--quiet", "../tree"]);
    sandbox.git("", &["clone", "--quiet", "--bare", "repo", "bare.git"]);
    sandbox.git("repo", &["submodule", "--quiet", "add", "../bare.git", "sub"]);

    let bare = sandbox.discover("bare.git");
    assert_eq!((bare.git_dir(), bare.work_tree()), (sandbox.path("bare.git").as_path(), None));
    let hook = Repository::discover(&sandbox.path("bare.git"), sandbox.with(&[("GIT_DIR", ".")])).expect("in a hook");
    assert_eq!(hook.work_tree(), None);

    let tree = sandbox.discover("tree");
    assert_eq!(tree.git_dir(), sandbox.path("repo/.git/worktrees/tree"));
    assert_eq!(tree.common_dir(), sandbox.path("repo/.git"));
    assert_eq!(tree.work_tree(), Some(sandbox.path("tree").as_path()));

    let sub = sandbox.discover("repo/sub");
    assert_eq!(sub.common_dir(), sandbox.path("repo/.git/modules/sub"));
    assert_eq!(sub.work_tree(), Some(sandbox.path("repo/sub").as_path()));
}

#[test]
fn the_last_value_wins_from_home_to_command_line() {
    let sandbox = Sandbox::new();
    sandbox.repo();
    std::fs::write(
        sandbox.path("home/.gitconfig"),
        "[dits]\n\ttransport = quic\n\tonMissing = fail\n[include]\n\tpath = more\n",
    )
    .expect("written");
    std::fs::write(sandbox.path("home/more"), "[dits]\n\tstorage = ~/shared\n").expect("written");
    let settings = sandbox.discover("repo").settings().expect("good settings");
    assert_eq!((settings.transport, settings.on_missing), (Transport::Quic, OnMissing::Fail));
    assert_eq!(settings.storage, Some(sandbox.path("home/shared")));

    sandbox.git("repo", &["config", "dits.transport", "GRPC"]);
    sandbox.git("repo", &["config", "dits.storage", "../store"]);
    let settings = sandbox.discover("repo").settings().expect("good settings");
    assert_eq!(settings.transport, Transport::Grpc);
    assert_eq!(settings.storage, Some(sandbox.path("repo/.git/../store")));

    let env = sandbox.with(&[
        ("GIT_CONFIG_COUNT", "1"),
        ("GIT_CONFIG_KEY_0", "dits.onmissing"),
        ("GIT_CONFIG_VALUE_0", "pointer"),
        ("GIT_CONFIG_PARAMETERS", "'dits.transport'='auto' 'dits.url=dits://studio/film'"),
    ]);
    let repo = Repository::discover(&sandbox.path("repo"), env).expect("a repository");
    let settings = repo.settings().expect("good settings");
    assert_eq!((settings.transport, settings.on_missing), (Transport::Auto, OnMissing::Pointer));
    assert_eq!(settings.url.map(|url| url.to_string()).as_deref(), Some("dits://studio/film"));
}

#[test]
fn a_value_that_is_not_allowed_names_its_key() {
    let sandbox = Sandbox::new();
    sandbox.repo();
    sandbox.git("repo", &["config", "dits.onMissing", "panic"]);
    let error = sandbox.discover("repo").settings().expect_err("no such value");
    assert_eq!(error.to_string(), "dits.onMissing is \"panic\", which is none of: pointer, fail");
}

#[test]
fn remotes_are_rewritten_as_git_does() {
    let sandbox = Sandbox::new();
    sandbox.repo();
    sandbox.git("repo", &["remote", "add", "origin", "studio:film"]);
    sandbox.git("repo", &["remote", "add", "forge", "https://forge/film"]);
    sandbox.git("repo", &["config", "url.dits://studio.lan/.insteadOf", "studio:"]);
    let repo = sandbox.discover("repo");
    assert_eq!(repo.remotes().len(), 2);
    let dits = repo.dits_remotes();
    assert_eq!(dits.len(), 1);
    assert_eq!((dits[0].0.as_slice(), dits[0].1.to_string().as_str()), (&b"origin"[..], "dits://studio.lan/film"));
}

#[test]
fn the_committed_file_is_read_from_work_tree_index_or_head() {
    let sandbox = Sandbox::new();
    sandbox.repo();
    assert_eq!(Committed::read(&sandbox.discover("repo")).expect("none"), Committed::default());
    let text = "[dits]\n\turl = dits://studio/film\n\tstorage = /evil\n\tfetchExclude = *.exr\n[include]\n\tpath = x\n";
    let path = sandbox.path("repo/.ditsconfig");
    std::fs::write(&path, text).expect("written");
    let committed = Committed::read(&sandbox.discover("repo")).expect("from the work tree");
    assert_eq!(committed.url.as_ref().map(|url| url.to_string()).as_deref(), Some("dits://studio/film"));
    assert!(!committed.fetch.wants("a.exr".into()));
    sandbox.git("repo", &["add", ".ditsconfig"]);
    std::fs::remove_file(&path).expect("removed");
    assert_eq!(Committed::read(&sandbox.discover("repo")).expect("from the index"), committed);
    sandbox.git("repo", &["commit", "--quiet", "-m", "x"]);
    sandbox.git("repo", &["rm", "--quiet", "--cached", ".ditsconfig"]);
    assert_eq!(Committed::read(&sandbox.discover("repo")).expect("from HEAD"), committed);
    sandbox.git("", &["clone", "--quiet", "--bare", "repo", "bare.git"]);
    assert_eq!(Committed::read(&sandbox.discover("bare.git")).expect("from HEAD"), committed);
}

#[test]
fn a_committed_address_counts_only_once_confirmed() {
    let url = |text: &str| RemoteUrl::parse(text).expect("an address");
    let decide = |own: Option<&str>, seen: Option<&str>, committed: Option<&str>| {
        let settings = Settings { url: own.map(url), committed_url: seen.map(url), ..Settings::default() };
        decide_url(&settings, &Committed { url: committed.map(url), ..Committed::default() })
    };
    let (a, b) = ("dits://a/r", "dits://b/r");
    assert_eq!(decide(None, None, None), UrlDecision::None);
    assert_eq!(decide(Some(a), None, None), UrlDecision::Use(url(a)));
    assert_eq!(decide(None, None, Some(a)), UrlDecision::Unconfirmed { committed: url(a) });
    assert_eq!(decide(Some(a), Some(a), Some(a)), UrlDecision::Use(url(a)));
    assert_eq!(decide(Some(a), None, Some(b)), UrlDecision::Use(url(a)));
    assert_eq!(decide(Some(a), Some(a), Some(b)), UrlDecision::Changed { confirmed: url(a), committed: url(b) });
}

#[test]
fn stores_of_alternates_and_local_remotes_are_read_too() {
    use super::stores::{open_sources, other_store_options, store_options};
    use crate::store::{Sharing, Store};

    let sandbox = Sandbox::new();
    sandbox.repo();
    sandbox.git("repo", &["commit", "--quiet", "--allow-empty", "-m", "first"]);
    let origin = sandbox.discover("repo");
    let own = store_options(&origin, &origin.settings().expect("good settings"));
    assert_eq!(own.dir, sandbox.path("repo/.git/dits"));
    Store::open(own.clone()).expect("a store");
    sandbox.git("", &["clone", "--quiet", "--shared", "repo", "clone"]);
    std::fs::create_dir_all(sandbox.path("nas/dits")).expect("folders");
    let nas = format!("dits::{}", sandbox.path("nas").display());
    sandbox.git("clone", &["remote", "add", "nas", &nas]);
    sandbox.git("clone", &["remote", "add", "far", "host:repo"]);

    let clone = sandbox.discover("clone");
    let settings = clone.settings().expect("good settings");
    let others = other_store_options(&clone, &settings);
    let dirs: Vec<_> = others.iter().map(|options| options.dir.clone()).collect();
    assert_eq!(dirs, [sandbox.path("repo/.git/dits"), sandbox.path("nas/dits")]);
    assert_eq!((others[0].sharing, others[1].sharing), (Sharing::Machine, Sharing::Network));
    assert!(others[1].index.starts_with(sandbox.path("home/.cache/dits/index")));
    open_sources(&clone, &settings).expect("what cannot be used is left out");

    sandbox.git("repo", &["config", "dits.storage", sandbox.path("shared").to_str().expect("text")]);
    std::fs::create_dir(sandbox.path("shared")).expect("a folder");
    Store::open(store_options(&sandbox.discover("repo"), &sandbox.discover("repo").settings().expect("settings")))
        .expect("a store");
    let others = other_store_options(&clone, &settings);
    assert_eq!(others[0].dir, sandbox.path("shared"));
}
