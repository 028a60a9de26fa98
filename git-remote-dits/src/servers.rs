//! Connecting to a server: whose certificate, which credential, who is asked.
//!
//! **For:** everything that speaks to a server.
//!
//! **May touch:** the network, the file of pinned certificates, the user's terminal,
//! `git credential`.
//!
//! **Must hold:**
//! - a host that nobody pinned is asked about only if the user named it, on a terminal;
//! - a credential goes to a pinned host alone, and one that was refused is forgotten.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::process::Stdio;

use dits_core::remote::Remote;
use dits_core::remote::server::trust::{Fingerprint, KnownHosts};
use dits_core::remote::server::{ConnectOptions, ServerError, ServerRemote, Transport};
use dits_core::remote_url::Host;
use dits_core::repo::config;
use dits_core::repo::git_program::GitProgram;
use dits_core::repo_path::RepoName;

use crate::here::Here;
use dits_core::failure::Failure;

/// The file of pinned certificates in the user's configuration of Dits.
const KNOWN_HOSTS: &str = "known_hosts";

/// Connects to a repository on a server.
pub fn connect(host: &Host, repo: &RepoName, here: &Here) -> Result<Remote, Failure> {
    let config_dir = here.env().config_dir();
    let known_hosts = config_dir.ok_or_else(|| Failure::new("there is no home for known_hosts").hint("set HOME"))?;
    let known_hosts = known_hosts.join(KNOWN_HOSTS);
    let is_from_user = here.is_from_user();
    if !is_from_user && KnownHosts::new(&known_hosts).pinned(host)?.is_none() {
        return Err(Failure::refused(format!("{host} is not known, and was not named by you"))
            .caused_by("a repository names it, and where your data goes is not for a repository to choose")
            .hint(format!("run `git dits auth pin {host} FINGERPRINT` if you trust it")));
    }
    let credential = Credential::new(host, here);
    let transport = match here.repository().ok().map(|repository| repository.settings()).transpose()? {
        Some(settings) => match settings.transport {
            config::Transport::Auto => Transport::Auto,
            config::Transport::Quic => Transport::Quic,
            config::Transport::Grpc => Transport::Grpc,
        },
        None => Transport::Auto,
    };
    let connected = ServerRemote::connect(ConnectOptions {
        host: host.clone(),
        repo: repo.clone(),
        known_hosts,
        ask: (is_from_user && std::io::stderr().is_terminal()).then_some(&ask_at_terminal),
        credential: &|| credential.fill(),
        transport,
        warn: Box::new(|text| eprintln!("warning: {text}")),
        client: concat!("git-remote-dits ", env!("CARGO_PKG_VERSION")),
    });
    match connected {
        Ok(server) => {
            credential.tell("approve");
            Ok(Remote::Server(Box::new(server)))
        }
        Err(error) => {
            if matches!(error, ServerError::NoCredential { .. }) {
                credential.tell("reject");
            }
            Err(explain(error))
        }
    }
}

fn explain(error: ServerError) -> Failure {
    match error {
        ServerError::Unpinned { host, found } => Failure::refused(format!("{host} is not known"))
            .caused_by(format!("its certificate is {found}, which nobody here has confirmed"))
            .hint("compare that with what ditsd printed when it started")
            .hint(format!("then run `git dits auth pin {host} {found}`")),
        ServerError::PinChanged { host, pinned, found } => {
            Failure::refused(format!("the certificate of {host} has changed: this may be an attack"))
                .caused_by(format!("it was {pinned}"))
                .caused_by(format!("it is {found}"))
                .hint(format!("if the server was set up anew, run `git dits auth pin {host} {found}`"))
        }
        ServerError::NoCredential { host } => Failure::refused(format!("{host} wants a token that it knows"))
            .hint("git's credential helpers keep it as the password for this host"),
        other => other.into(),
    }
}

/// Asks at the terminal itself: standard input is git's.
fn ask_at_terminal(host: &Host, found: &Fingerprint) -> bool {
    let Ok(terminal) = std::fs::File::options().read(true).write(true).open("/dev/tty") else { return false };
    let asked = write!(
        &terminal,
        "The certificate of {host} is not known.\nIts fingerprint is {found}\n\
         Compare it with what ditsd printed when it started. Trust it (yes/no)? "
    );
    let mut answer = String::new();
    asked.is_ok() && BufReader::new(&terminal).read_line(&mut answer).is_ok() && answer.trim() == "yes"
}

/// The server's token, as git's credential helpers keep it.
struct Credential<'a> {
    host: String,
    here: &'a Here,
    /// What `git credential fill` answered, to be approved or rejected.
    filled: RefCell<Option<String>>,
}

impl<'a> Credential<'a> {
    fn new(host: &Host, here: &'a Here) -> Credential<'a> {
        Credential { host: format!("{}:{}", host.name, host.port), here, filled: RefCell::new(None) }
    }

    fn fill(&self) -> Option<String> {
        let answer = self.run("fill", &format!("protocol=dits\nhost={}\nusername=token\n\n", self.host))?;
        let password = answer.lines().find_map(|line| line.strip_prefix("password="))?.to_owned();
        self.filled.replace(Some(answer));
        Some(password)
    }

    fn tell(&self, verb: &str) {
        if let Some(answer) = self.filled.take() {
            // Whether a helper keeps it is the helper's business.
            let _ = self.run(verb, &format!("{answer}\n"));
        }
    }

    fn run(&self, verb: &str, input: &str) -> Option<String> {
        let git = GitProgram::find(self.here.env()).ok()?;
        let mut command = git.command(["credential", verb]);
        // Standard error stays the user's: git asks there if no helper knows.
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
        let written = child.stdin.take()?.write_all(input.as_bytes());
        let output = child.wait_with_output().ok()?;
        (written.is_ok() && output.status.success()).then(|| String::from_utf8(output.stdout).ok())?
    }
}
