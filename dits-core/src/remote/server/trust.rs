//! Trust: which certificate each server has, and that it is the one at the other end.
//!
//! **For:** every TLS and QUIC connection of a client.
//!
//! **May touch:** the file of known hosts that it is given, and a lock file beside it.
//!
//! **Must hold:**
//! - a connection whose certificate is not the expected one never comes about;
//! - the other end must prove that it holds the certificate's key: signatures are checked;
//! - two processes that pin at once lose neither pin.
//!
//! **Format:** `docs/formats/known-hosts-v1.md`.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use sha2::{Digest, Sha256};

use crate::hash::{HexError, parse_hex};
use crate::remote_url::Host;

/// SHA-256 of a server's leaf certificate: what is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Computes the fingerprint of a certificate in DER.
    pub fn of(certificate: &[u8]) -> Fingerprint {
        Fingerprint(Sha256::digest(certificate).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl FromStr for Fingerprint {
    type Err = HexError;
    fn from_str(text: &str) -> Result<Fingerprint, HexError> {
        parse_hex(text.strip_prefix("sha256:").ok_or(HexError)?.as_bytes()).map(Fingerprint)
    }
}

const FORMAT: &str = "dits known hosts 1";
/// Longest file of known hosts that is read, in bytes.
const FILE_LEN_MAX: u64 = 4 * 1024 * 1024;

/// The file of pinned certificates.
#[derive(Debug, Clone)]
pub struct KnownHosts {
    path: PathBuf,
}

/// Why the file of known hosts cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KnownHostsError {
    /// It, or a file beside it, could not be read or written.
    #[error("cannot use {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It was written by a later version, or is something else.
    #[error("{path} does not begin with \"{FORMAT}\"")]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// A line that is none of this format.
    #[error("{path}: line {line} is not HOST[:PORT] sha256:HEX")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

impl KnownHosts {
    /// Names the file; it need not exist.
    pub fn new(path: impl Into<PathBuf>) -> KnownHosts {
        KnownHosts { path: path.into() }
    }

    /// Finds the pin of a host.
    ///
    /// # Errors
    ///
    /// [`KnownHostsError`] if the file cannot be read as a whole.
    pub fn pinned(&self, host: &Host) -> Result<Option<Fingerprint>, KnownHostsError> {
        Ok(self.list()?.into_iter().find(|(known, _)| known == host).map(|(_, pin)| pin))
    }

    /// Lists every pin, in the file's order.
    ///
    /// # Errors
    ///
    /// As for [`KnownHosts::pinned`].
    pub fn list(&self) -> Result<Vec<(Host, Fingerprint)>, KnownHostsError> {
        let lines = self.lines()?;
        let parsed = lines.iter().enumerate().filter_map(|(index, line)| match line.trim() {
            "" => None,
            comment if comment.starts_with('#') => None,
            entry => Some(parse_entry(entry).ok_or(KnownHostsError::Line { path: self.path.clone(), line: index + 2 })),
        });
        parsed.collect()
    }

    /// Pins a host's certificate, in place of what was pinned for it.
    ///
    /// # Errors
    ///
    /// [`KnownHostsError`]; the file is then as it was.
    pub fn pin(&self, host: &Host, pin: Fingerprint) -> Result<(), KnownHostsError> {
        self.rewrite(host, Some(pin)).map(drop)
    }

    /// Forgets what was pinned for a host; says whether something was.
    ///
    /// # Errors
    ///
    /// As for [`KnownHosts::pin`].
    pub fn unpin(&self, host: &Host) -> Result<bool, KnownHostsError> {
        match self.pinned(host)? {
            Some(_) => self.rewrite(host, None),
            None => Ok(false),
        }
    }

    /// Puts `pin` in the place of what is pinned for `host`; says whether something was.
    fn rewrite(&self, host: &Host, pin: Option<Fingerprint>) -> Result<bool, KnownHostsError> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(dir).map_err(failed(dir))?;
        let lock_path = self.path.with_extension("lock");
        let lock = File::create(&lock_path).map_err(failed(&lock_path))?;
        lock.lock().map_err(failed(&lock_path))?;
        self.list()?;
        let is_other = |line: &&String| parse_entry(line.trim()).is_none_or(|(known, _)| known != *host);
        let lines = self.lines()?;
        let mut text = format!("{FORMAT}\n");
        for line in lines.iter().filter(is_other) {
            text.push_str(line);
            text.push('\n');
        }
        if let Some(pin) = pin {
            text.push_str(&format!("{host} {pin}\n"));
        }
        self.replace(dir, text.as_bytes())?;
        Ok(!lines.iter().all(|line| is_other(&line)))
    }

    /// The lines behind the first; none where there is no file.
    fn lines(&self) -> Result<Vec<String>, KnownHostsError> {
        let mut text = String::new();
        match File::open(&self.path) {
            Ok(file) => {
                io::Read::read_to_string(&mut io::Read::take(file, FILE_LEN_MAX), &mut text)
                    .map_err(failed(&self.path))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(&self.path)(error)),
        }
        let mut lines = text.lines();
        match lines.next() {
            Some(FORMAT) => Ok(lines.map(str::to_owned).collect()),
            _ => Err(KnownHostsError::UnknownFormat { path: self.path.clone() }),
        }
    }

    fn replace(&self, dir: &Path, text: &[u8]) -> Result<(), KnownHostsError> {
        let mut file = tempfile::NamedTempFile::new_in(dir).map_err(failed(dir))?;
        let written = file.write_all(text).and_then(|()| file.as_file().sync_all());
        written.map_err(failed(file.path()))?;
        file.persist(&self.path).map_err(|error| failed(&self.path)(error.error))?;
        Ok(())
    }
}

fn parse_entry(line: &str) -> Option<(Host, Fingerprint)> {
    let (host, pin) = line.split_once(' ')?;
    Some((Host::parse(host).ok()?, pin.trim().parse().ok()?))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> KnownHostsError {
    let path = path.to_owned();
    move |source| KnownHostsError::Io { path, source }
}

/// Accepts one certificate, and remembers which one the other end showed.
///
/// This is the place where a certificate that chains to the system's roots could be accepted
/// too: what is expected would become a choice between a pin and a chain.
#[derive(Debug)]
pub struct PinVerifier {
    expected: Option<Fingerprint>,
    seen: Mutex<Option<Fingerprint>>,
    provider: Arc<CryptoProvider>,
}

impl PinVerifier {
    /// Accepts the certificate with this fingerprint; none at all without one.
    pub fn new(expected: Option<Fingerprint>) -> Arc<PinVerifier> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Arc::new(PinVerifier { expected, seen: Mutex::default(), provider })
    }

    /// The certificate that the other end showed, whether or not it holds its key.
    pub fn seen(&self) -> Option<Fingerprint> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A TLS setting that trusts this verifier alone.
    pub fn client_config(self: &Arc<Self>, alpn: &[u8]) -> rustls::ClientConfig {
        let mut config = rustls::ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(self.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        config.enable_early_data = false;
        config
    }
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = Fingerprint::of(end_entity);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        match self.expected == Some(found) {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host {
        Host::parse(text).unwrap()
    }

    #[test]
    fn a_pin_is_found_again_and_replaced_by_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let known = KnownHosts::new(dir.path().join("config/dits/known_hosts"));
        assert_eq!(known.pinned(&host("studio")).unwrap(), None);
        let (old, new) = (Fingerprint::of(b"old"), Fingerprint::of(b"new"));
        known.pin(&host("studio"), old).unwrap();
        known.pin(&host("studio:4000"), new).unwrap();
        known.pin(&host("[::1]:4000"), old).unwrap();
        assert_eq!(known.pinned(&host("STUDIO:9031")).unwrap(), Some(old));
        assert_eq!(known.pinned(&host("studio:4000")).unwrap(), Some(new));
        known.pin(&host("studio"), new).unwrap();
        assert_eq!(known.pinned(&host("studio")).unwrap(), Some(new));
        assert_eq!(known.list().unwrap().len(), 3);
        assert!(known.unpin(&host("studio:9031")).unwrap());
        assert!(!known.unpin(&host("studio")).unwrap());
        assert_eq!(known.list().unwrap().len(), 2);
    }

    #[test]
    fn what_people_wrote_into_the_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("known_hosts");
        fs::write(&path, format!("{FORMAT}\n# the cutting room\n\n")).unwrap();
        let known = KnownHosts::new(&path);
        known.pin(&host("studio"), Fingerprint::of(b"x")).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{FORMAT}\n# the cutting room\n\nstudio {}\n", Fingerprint::of(b"x")));
    }

    #[test]
    fn a_file_that_is_something_else_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("known_hosts");
        let known = KnownHosts::new(&path);
        for text in ["", "dits known hosts 2\n", "dits known hosts 1\nstudio\n", "dits known hosts 1\na sha256:00\n"] {
            fs::write(&path, text).unwrap();
            assert!(known.pin(&host("studio"), Fingerprint::of(b"x")).is_err(), "{text:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn pins_written_at_once_are_all_kept() {
        let dir = tempfile::tempdir().unwrap();
        let known = KnownHosts::new(dir.path().join("known_hosts"));
        std::thread::scope(|scope| {
            for number in 0..8 {
                let known = &known;
                scope.spawn(move || known.pin(&host(&format!("host{number}")), Fingerprint::of(&[number])).unwrap());
            }
        });
        assert_eq!(known.list().unwrap().len(), 8);
    }

    #[test]
    fn a_fingerprint_has_one_spelling() {
        let pin = Fingerprint::of(b"x");
        assert_eq!(pin.to_string().parse(), Ok(pin));
        assert_eq!(pin.to_string().to_uppercase().parse::<Fingerprint>(), Err(HexError));
        assert_eq!(pin.to_string()["sha256:".len()..].parse::<Fingerprint>(), Err(HexError));
    }
}
