//! A real server on a port of its own, and clients for it.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;

use dits_core::remote::proto;
use dits_core::remote::proto::control_client::ControlClient;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::Digest;
use tonic::transport::{Channel, Endpoint};

/// A running `ditsd serve`.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    pub fingerprint: String,
}

pub fn ditsd(arguments: &[&str], root: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ditsd"));
    command.args(arguments).arg("--root").arg(root).stdin(Stdio::null()).output().unwrap()
}

impl Server {
    pub fn start(root: &Path) -> Server {
        Server::start_with(root, &[], &[])
    }

    pub fn start_with(root: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Server {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ditsd"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--root"]).arg(root).args(arguments);
        command.envs(environment.iter().copied()).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let words: Vec<_> = line.split_whitespace().collect();
        let ["ditsd", "ready", "on", address, "(fingerprint", fingerprint] = words[..] else {
            panic!("not a ready line: {line:?}");
        };
        let fingerprint = fingerprint.trim_end_matches(')').to_owned();
        Server { child, address: address.parse().unwrap(), fingerprint }
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for the end; gives what was printed after the ready line.
    pub fn end(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        let mut rest = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
        (status, rest)
    }

    pub async fn channel(&self) -> Channel {
        let mut config = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned(self.fingerprint.clone())))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let address = self.address;
        let connect = tower::service_fn(move |_: tonic::codegen::http::Uri| {
            let connector = connector.clone();
            async move {
                let stream = tokio::net::TcpStream::connect(address).await?;
                let stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await?;
                Ok::<_, std::io::Error>(TokioIo::new(stream))
            }
        });
        Endpoint::from_static("http://localhost").connect_with_connector(connect).await.unwrap()
    }

    pub async fn client(&self) -> ControlClient<Channel> {
        ControlClient::new(self.channel().await)
    }

    pub async fn hello(&self, repo: &str) -> Result<proto::HelloReply, tonic::Status> {
        let request = proto::HelloRequest { versions: vec![1], client: "test".into(), repo: repo.into() };
        self.client().await.hello(request).await.map(tonic::Response::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Accepts exactly the certificate whose fingerprint the ready line named.
#[derive(Debug)]
struct Pinned(String);

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let hex: String = sha2::Sha256::digest(leaf).iter().map(|byte| format!("{byte:02x}")).collect();
        match format!("sha256:{hex}") == self.0 {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(rustls::Error::General("another certificate than the ready line names".into())),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Real git in a directory, with no settings but its own.
pub fn git(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("git");
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", dir);
    command.envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null")]);
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "T").env(format!("GIT_{who}_EMAIL"), "t@example.org");
        command.env(format!("GIT_{who}_DATE"), "2026-01-01T00:00:00Z");
    }
    command.args(["-c", "init.defaultBranch=main", "-c", "protocol.version=2"]).args(arguments).current_dir(dir);
    command.stdin(Stdio::null()).output().unwrap()
}

/// Real git that must do what it is told.
pub fn git_ok(dir: &Path, arguments: &[&str]) -> String {
    let output = git(dir, arguments);
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A work tree with a first commit of text.
pub fn work_tree(dir: &Path) -> PathBuf {
    let tree = dir.join("work");
    std::fs::create_dir(&tree).unwrap();
    git_ok(&tree, &["init", "--quiet"]);
    commit(&tree, "notes.txt", b"one\n");
    tree
}

/// Writes a file and commits it, with no filter of Dits in the way.
pub fn commit(tree: &Path, path: &str, content: &[u8]) {
    std::fs::write(tree.join(path), content).unwrap();
    git_ok(tree, &["add", path]);
    git_ok(tree, &["commit", "--quiet", "-m", path]);
}
