//! The certificate that clients pin.
//!
//! **For:** TLS on the control plane and QUIC on the data plane, with the same identity.
//!
//! **May touch:** `tls/cert.pem` and `tls/key.pem` in the server root.
//!
//! **Must hold:** a certificate that exists is never replaced by this program, since every
//! client would refuse the server from then on.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};

use super::{RootError, files};

/// A certificate with its key.
pub struct Certificate {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    path: std::path::PathBuf,
}

/// SHA-256 of the leaf certificate: what clients pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "sha256:{}", files::hex(&self.0))
    }
}

impl Certificate {
    /// Reads the certificate in `dir`, making a self-signed one where there is none.
    pub(super) fn load_or_make(dir: &Path) -> Result<Certificate, RootError> {
        let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
        if !cert.exists() {
            // The key is written first, so that a certificate always has its key beside it.
            // A key alone is what an interrupted first start left.
            if key.exists() {
                std::fs::remove_file(&key).map_err(files::failed("remove", &key))?;
            }
            let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
            let made = rcgen::generate_simple_self_signed(names).map_err(RootError::MakeCertificate)?;
            files::write_new(&key, made.signing_key.serialize_pem().as_bytes())?;
            files::write_new(&cert, made.cert.pem().as_bytes())?;
        }
        let damaged = |path: &Path, reason| RootError::Damaged { path: path.to_owned(), reason };
        let read = |path: &Path| std::fs::read(path).map_err(files::failed("read", path));
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(&cert)?).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(damaged(&cert, "no certificate in PEM"))?;
        let key = PrivateKeyDer::from_pem_slice(&read(&key)?).map_err(|_| damaged(&key, "no private key in PEM"))?;
        Ok(Certificate { chain, key, path: cert })
    }

    /// What clients pin.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(Sha256::digest(&self.chain[0]).into())
    }

    /// Returns the TLS settings of a server that speaks `protocols`.
    ///
    /// # Errors
    ///
    /// [`RootError::Certificate`] if key and certificate do not belong together.
    pub fn server_config(&self, protocols: &[&[u8]]) -> Result<rustls::ServerConfig, RootError> {
        let refused = |source| RootError::Certificate { path: self.path.clone(), source };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(refused)?
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(refused)?;
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(config)
    }
}
