//! `ditsd serve`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Failure, print};
use crate::root::RootError;
use crate::rules::token::{BadToken, Token};
use crate::serve::{Options, ServeError, serve};

/// Serve repositories until a signal says to stop
///
/// Prints one line on standard output when clients can connect:
/// `ditsd ready on ADDR:PORT (fingerprint sha256:HEX)`. Logs go to standard error.
#[derive(Args)]
pub struct Arguments {
    /// Where everything is kept; made at the first start
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// Where clients connect, TCP and UDP; port 0 picks a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = super::config::LISTEN_DEFAULT)]
    listen: SocketAddr,
    /// A file with the token that clients must show; needed for any address but loopback
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// What is logged: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: tracing_subscriber::filter::LevelFilter,
}

/// The token's file cannot be used.
#[derive(Debug, thiserror::Error)]
enum TokenFileError {
    #[error("cannot read the token file {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the token in {path} cannot be used")]
    Token { path: PathBuf, source: BadToken },
}

/// Serves.
pub fn run(arguments: Arguments) -> Result<(), Failure> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_max_level(arguments.log).init();
    let token = arguments.token_file.as_deref().map(read_token).transpose().map_err(Failure::failed)?;
    let options = Options { root: arguments.root, listen: arguments.listen, token };
    let ready = |ready: &crate::serve::Ready| {
        print(&format!("ditsd ready on {} (fingerprint {})\n", ready.address, ready.fingerprint));
    };
    serve(options, ready).map_err(|error| match error {
        ServeError::Unprotected(_) => Failure::refused(error)
            .hint("put a long random token in a file and pass --token-file FILE")
            .hint("or listen on loopback: --listen 127.0.0.1:9031"),
        ServeError::Root(RootError::Locked(_)) => {
            Failure::refused(error).hint("stop that one first, or pass another --root")
        }
        ServeError::Bind(_) => Failure::failed(error).hint("pass another --listen; port 0 picks a free one"),
        _ => Failure::failed(error),
    })
}

fn read_token(path: &Path) -> Result<Token, TokenFileError> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|source| TokenFileError::Read { path: path.to_owned(), source })?;
    Token::new(&text).map_err(|source| TokenFileError::Token { path: path.to_owned(), source })
}
