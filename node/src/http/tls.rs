//! TLS of the HTTP listener (RFC 8446), with a certificate that may be renewed under a running node.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// Check interval of the files.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// Certificate in force and its files, reloaded when they change.
#[derive(Debug)]
struct ReloadableCertificate {
    certificate_file: PathBuf,
    key_file: PathBuf,
    current: RwLock<(Arc<CertifiedKey>, ModifiedTimes)>,
}

/// Modification times of both files.
type ModifiedTimes = [SystemTime; 2];

impl ReloadableCertificate {
    fn read(certificate_file: PathBuf, key_file: PathBuf) -> anyhow::Result<Self> {
        // The times first: what changes while it is read is read again.
        let changed = changed(&certificate_file, &key_file)?;
        let key = certified_key(&certificate_file, &key_file)?;
        Ok(Self { certificate_file, key_file, current: RwLock::new((Arc::new(key), changed)) })
    }

    /// Reads the files again if they changed. Answers whether they did.
    fn renew(&self) -> anyhow::Result<bool> {
        let changed = changed(&self.certificate_file, &self.key_file)?;
        if self.current.read().unwrap_or_else(PoisonError::into_inner).1 == changed {
            return Ok(false);
        }
        let key = Arc::new(certified_key(&self.certificate_file, &self.key_file)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = (key, changed);
        Ok(true)
    }
}

impl ResolvesServerCert for ReloadableCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).0))
    }
}

fn changed(certificate_file: &Path, key_file: &Path) -> anyhow::Result<ModifiedTimes> {
    let at = |path: &Path| std::fs::metadata(path).and_then(|file| file.modified()).with_context(|| path.display().to_string());
    Ok([at(certificate_file)?, at(key_file)?])
}

fn certified_key(certificate_file: &Path, key_file: &Path) -> anyhow::Result<CertifiedKey> {
    let chain = CertificateDer::pem_file_iter(certificate_file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.with_context(|| format!("http.tls_certificate_file {}", certificate_file.display()))?;
    if chain.is_empty() {
        bail!("http.tls_certificate_file {}: no certificate is in it", certificate_file.display());
    }
    let key = PrivateKeyDer::from_pem_file(key_file).with_context(|| format!("http.tls_key_file {}", key_file.display()))?;
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).context("http.tls_certificate_file and http.tls_key_file")
}

/// Reads certificate and key, if files are configured.
///
/// # Errors
/// As [`acceptor`].
pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    let http = &config.http;
    if !http.tls_certificate_file.is_empty() {
        certified_key(Path::new(&http.tls_certificate_file), Path::new(&http.tls_key_file))?;
    }
    Ok(())
}

/// TLS acceptor of accepted connections, when files are configured. Looks for renewed ones until `stopping`.
///
/// # Errors
/// A file cannot be read, or certificate and key do not belong together.
pub(crate) fn acceptor(config: &Config, stopping: CancellationToken) -> anyhow::Result<Option<TlsAcceptor>> {
    if config.http.tls_certificate_file.is_empty() {
        return Ok(None);
    }
    let files = (PathBuf::from(&config.http.tls_certificate_file), PathBuf::from(&config.http.tls_key_file));
    let renewable = Arc::new(ReloadableCertificate::read(files.0, files.1)?);
    let mut tls = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(&renewable) as Arc<dyn ResolvesServerCert>);
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
                () = stopping.cancelled() => return,
            }
            match renewable.renew() {
                Ok(true) => tracing::info!(event = "tls.renewed"),
                Ok(false) => {}
                // The one in force stays: half a renewal must not end the service.
                Err(cause) => tracing::warn!(event = "tls.renewal_failed", cause = format!("{cause:#}")),
            }
        }
    });
    Ok(Some(TlsAcceptor::from(Arc::new(tls))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, names: &[&str]) -> Vec<u8> {
        let made = rcgen::generate_simple_self_signed(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        std::fs::write(folder.join("tls.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
        made.cert.der().to_vec()
    }

    #[test]
    fn a_renewed_certificate_is_taken_and_a_broken_one_is_not() {
        let folder = chaos::harness::TempDir::new("tls").unwrap();
        let files = (folder.path().join("tls.pem"), folder.path().join("tls.key"));
        let first = write(folder.path(), &["a.example"]);
        let renewable = ReloadableCertificate::read(files.0.clone(), files.1.clone()).unwrap();
        let in_force = || renewable.current.read().unwrap().0.cert[0].to_vec();
        assert_eq!(in_force(), first);
        assert!(!renewable.renew().unwrap());
        let written = std::fs::metadata(&files.0).unwrap().modified().unwrap();
        let touch = |seconds| std::fs::File::open(&files.0).unwrap().set_modified(written + Duration::from_secs(seconds)).unwrap();
        std::fs::write(&files.0, "half a cert").unwrap();
        touch(5);
        assert!(renewable.renew().is_err());
        assert_eq!(in_force(), first);
        let second = write(folder.path(), &["b.example"]);
        touch(10);
        assert!(renewable.renew().unwrap());
        assert_eq!(in_force(), second);
    }
}
