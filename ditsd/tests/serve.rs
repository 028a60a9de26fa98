//! The server as a program: started, asked, pushed to, stopped and killed.
#![allow(missing_docs, clippy::unwrap_used, dead_code)]

#[path = "serve/bridge.rs"]
mod bridge;
#[path = "serve/hosted.rs"]
mod hosted;
#[path = "serve/server.rs"]
mod server;

use std::path::Path;

use dits_core::remote::proto;
use hosted::{Hosted, stderr};
use rustix::process::Signal;
use server::{Server, commit, ditsd, git, git_ok};
use tonic::Code;

#[tokio::test]
async fn hello_names_the_server_and_the_repository() {
    let dir = tempfile::tempdir().unwrap();
    assert!(ditsd(&["repo", "create", "group/film"], dir.path()).status.success());
    let server = Server::start(dir.path());
    let known = server.hello("group/film").await.unwrap();
    assert_eq!((known.version, known.server_id.len(), known.repo_id.len()), (1, 16, 16));
    let unknown = server.hello("nothing").await.unwrap();
    assert_eq!((unknown.server_id, unknown.repo_id.len()), (known.server_id, 0));
    let request = proto::HelloRequest { versions: vec![2, 3], client: "test".into(), repo: "film".into() };
    let refused = server.client().await.hello(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn hostile_repository_names_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let long = "a".repeat(256);
    for name in ["../etc", "/etc/passwd", "a/../../b", "a\0b", "", ".hidden", "-upload", "x.git/y", &long] {
        assert_eq!(server.hello(name).await.unwrap_err().code(), Code::InvalidArgument, "{name:?}");
        let start = proto::GitStart { repo: name.into(), service: 2, protocol: String::new(), ..Default::default() };
        let first = proto::GitRequest { part: Some(proto::git_request::Part::Start(start)) };
        let refused = server.client().await.git(tokio_stream::iter([first])).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{name:?}");
    }
    assert_eq!(std::fs::read_dir(dir.path().join("repos")).unwrap().count(), 0);
}

#[tokio::test]
async fn only_callers_with_the_token_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let token_file = dir.path().join("token");
    std::fs::write(&token_file, "0123456789abcdef0123\n").unwrap();
    let server = Server::start_with(&dir.path().join("srv"), &["--token-file", token_file.to_str().unwrap()], &[]);
    let mut texts = Vec::new();
    for header in [None, Some("Bearer wrong"), Some("Basic 0123456789abcdef0123")] {
        let mut request = tonic::Request::new(proto::HelloRequest { versions: vec![1], ..Default::default() });
        if let Some(header) = header {
            request.metadata_mut().insert("authorization", header.parse().unwrap());
        }
        let refused = server.client().await.hello(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        texts.push(refused.message().to_owned());
    }
    assert!(texts.iter().all(|text| *text == texts[0]), "all refusals read the same");
    let hello = proto::HelloRequest { versions: vec![1], client: String::new(), repo: "film".into() };
    let mut request = tonic::Request::new(hello);
    request.metadata_mut().insert("authorization", "Bearer 0123456789abcdef0123".parse().unwrap());
    assert_eq!(server.client().await.hello(request).await.unwrap().into_inner().version, 1);
}

#[test]
fn strangers_are_not_served_without_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let refused = ditsd(&["serve", "--listen", "0.0.0.0:0"], dir.path());
    assert_eq!(refused.status.code(), Some(3));
    assert!(stderr(&refused).contains("hint: put a long random token in a file and pass --token-file FILE"));
}

#[test]
fn a_second_server_on_the_same_root_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _server = Server::start(dir.path());
    let second = ditsd(&["serve", "--listen", "127.0.0.1:0"], dir.path());
    assert_eq!(second.status.code(), Some(3), "{}", stderr(&second));
    assert!(stderr(&second).contains("error: another ditsd serves "));
    assert!(second.stdout.is_empty(), "no ready line");
}

#[test]
fn a_server_stops_cleanly_when_told_to() {
    for signal in [Signal::TERM, Signal::INT] {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(dir.path());
        server.signal(signal);
        let (status, rest) = server.end();
        assert_eq!(status.code(), Some(0));
        assert_eq!(rest, "", "the ready line stands alone on standard output");
    }
}

#[test]
fn a_killed_server_comes_back_as_the_same_one() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = Server::start(dir.path());
    let before = (server.fingerprint.clone(), runtime.block_on(server.hello("film")).unwrap().server_id);
    server.signal(Signal::KILL);
    server.end();
    let server = Server::start(dir.path());
    let after = (server.fingerprint.clone(), runtime.block_on(server.hello("film")).unwrap().server_id);
    assert_eq!(before, after);
}

#[test]
fn text_is_pushed_cloned_and_fetched() {
    let hosted = Hosted::new();
    let tree = hosted.work_tree("group/film");
    git_ok(&tree, &["push", "--quiet", "origin", "main"]);
    let url = format!("{}/group/film", hosted.url);
    git_ok(hosted.dir.path(), &["clone", "--quiet", &url, "clone"]);
    commit(&tree, "notes.txt", b"two\n");
    git_ok(&tree, &["push", "--quiet", "origin", "main", "HEAD:refs/tags/v1"]);
    let clone = hosted.dir.path().join("clone");
    git_ok(&clone, &["pull", "--quiet"]);
    assert_eq!(std::fs::read(clone.join("notes.txt")).unwrap(), b"two\n");
    git_ok(hosted.dir.path(), &["clone", "--quiet", "--filter=blob:none", "--depth=1", &url, "partial"]);
    assert_eq!(std::fs::read(hosted.dir.path().join("partial/notes.txt")).unwrap(), b"two\n");
    git_ok(&tree, &["push", "--quiet", "--delete", "origin", "v1"]);
    assert_eq!(hosted.refs("group/film"), "refs/heads/main\n");
}

#[test]
fn a_repository_that_is_not_there_cannot_be_fetched() {
    let hosted = Hosted::new();
    let refused = git(hosted.dir.path(), &["clone", "--quiet", &format!("{}/nothing", hosted.url), "clone"]);
    assert!(!refused.status.success());
    let ends = hosted.ends.lock().unwrap();
    let status = ends[0].as_ref().unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(status.message(), "there is no repository nothing on this server");
}

#[test]
fn the_servers_own_environment_does_not_reach_git() {
    let dir = tempfile::tempdir().unwrap();
    let evil = [("GIT_DIR", "/nowhere"), ("GIT_CONFIG_PARAMETERS", "'core.hooksPath'='/nowhere'")];
    let hosted = Hosted::in_dir(dir, &evil);
    let tree = hosted.work_tree("film");
    git_ok(&tree, &["push", "--quiet", "origin", "main"]);
}

#[test]
fn repositories_are_made_listed_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let list = |root: &Path| String::from_utf8(ditsd(&["repo", "list"], root).stdout).unwrap();
    for name in ["b", "a/film"] {
        assert!(ditsd(&["repo", "create", name], dir.path()).status.success());
    }
    assert_eq!(list(dir.path()), "a/film\nb\n");
    let json = String::from_utf8(ditsd(&["repo", "list", "--json"], dir.path()).stdout).unwrap();
    assert!(json.starts_with(r#"[{"created":"#), "{json}");
    assert_eq!(ditsd(&["repo", "rm", "b"], dir.path()).status.code(), Some(3));
    assert_eq!(ditsd(&["repo", "rm", "c", "--yes"], dir.path()).status.code(), Some(1));
    assert_eq!(ditsd(&["repo", "create", "../x"], dir.path()).status.code(), Some(2));
    assert!(ditsd(&["repo", "rm", "b", "--yes"], dir.path()).status.success());
    assert_eq!(list(dir.path()), "a/film\n");
    assert!(!dir.path().join("repos/b.git").exists());
}

#[test]
fn a_clients_death_ends_its_git_child() {
    let hosted = Hosted::new();
    let tree = hosted.work_tree("film");
    git_ok(&tree, &["push", "--quiet", "origin", "main"]);
    let children = || git_children(hosted.root().as_path());
    hosted.runtime.block_on(async {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let start = proto::GitStart { repo: "film".into(), service: 2, protocol: String::new(), ..Default::default() };
        let first = proto::GitRequest { part: Some(proto::git_request::Part::Start(start)) };
        sender.send(first).await.unwrap();
        let requests = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let mut replies = hosted.server.client().await.git(requests).await.unwrap().into_inner();
        assert!(replies.message().await.unwrap().is_some(), "git said which refs there are");
        assert_eq!(children(), 1);
    });
    let gone = (0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        children() == 0
    });
    assert!(gone);
}

/// Counts the processes whose environment names this server root.
fn git_children(root: &Path) -> usize {
    let wanted = format!("DITSD_ROOT={}\0", root.canonicalize().unwrap().display());
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let environments = entries.filter_map(|entry| std::fs::read(entry.path().join("environ")).ok());
    environments.filter(|text| String::from_utf8_lossy(text).contains(&wanted)).count()
}
