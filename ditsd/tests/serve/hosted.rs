//! A server whose repositories plain git can reach.

use crate::bridge;
use crate::server::{Server, git_ok, work_tree};

/// A server whose repositories plain git can reach.
pub struct Hosted {
    pub dir: tempfile::TempDir,
    pub server: Server,
    pub runtime: tokio::runtime::Runtime,
    pub ends: bridge::Ends,
    pub url: String,
}

impl Hosted {
    pub fn new() -> Hosted {
        Hosted::in_dir(tempfile::tempdir().unwrap(), &[])
    }

    pub fn in_dir(dir: tempfile::TempDir, environment: &[(&str, &str)]) -> Hosted {
        let server = Server::start_with(&dir.path().join("srv"), &[], environment);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (address, ends) = runtime.block_on(async { bridge::start(server.channel().await).await });
        Hosted { dir, server, runtime, ends, url: format!("git://{address}") }
    }

    pub fn root(&self) -> std::path::PathBuf {
        self.dir.path().join("srv")
    }

    pub fn work_tree(&self, repo: &str) -> std::path::PathBuf {
        let tree = work_tree(self.dir.path());
        git_ok(&tree, &["remote", "add", "origin", &format!("{}/{repo}", self.url)]);
        tree
    }

    pub fn refs(&self, repo: &str) -> String {
        git_ok(&self.root().join(format!("repos/{repo}.git")), &["for-each-ref", "--format=%(refname)"])
    }
}

pub fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
