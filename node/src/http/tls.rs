//! TLS of the HTTP listener (RFC 8446), with a certificate that may be renewed under a running node.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use chrono::{DateTime, TimeDelta};
use domain::Timestamp;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// How long before a certificate ends it is warned of.
const EXPIRY_WARNED: TimeDelta = TimeDelta::days(14);
/// Later than any certificate may end (RFC 5280, section 4.1.2.5): the year 10000, Unix time.
const AFTER_ALL_S: i64 = 253_402_300_800;
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

/// Time for which a certificate may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Validity {
    /// Good for a while, as far as is known.
    Good,
    /// It ends within two weeks.
    EndsSoon(String),
    /// Not begun, or over.
    Over(String),
}

/// Validity of the configured certificate at `now`; `None`: there is none.
///
/// # Errors
/// As [`acceptor`].
pub(crate) fn validity(config: &Config, now: Timestamp) -> anyhow::Result<Option<Validity>> {
    if config.http.tls_certificate_file.is_empty() {
        return Ok(None);
    }
    let files = (Path::new(&config.http.tls_certificate_file), Path::new(&config.http.tls_key_file));
    let key = certified_key(files.0, files.1)?;
    Ok(Some(key.end_entity_cert().map_or(Validity::Good, |certificate| validity_of(certificate, files.0, now))))
}

fn validity_of(certificate: &CertificateDer<'_>, file: &Path, now: Timestamp) -> Validity {
    let file = file.display();
    let day = |at: UnixTime| DateTime::from_timestamp(i64::try_from(at.as_secs()).unwrap_or_default(), 0).unwrap_or_default().date_naive();
    match refused_at(certificate, now) {
        Some(webpki::Error::CertExpired { not_after, .. }) => Validity::Over(format!("{file} has expired on {}: renew it", day(not_after))),
        Some(webpki::Error::CertNotValidYet { not_before, .. }) => {
            Validity::Over(format!("{file} is not valid before {}: is the clock right?", day(not_before)))
        }
        _ => match refused_at(certificate, now + EXPIRY_WARNED) {
            Some(webpki::Error::CertExpired { not_after, .. }) => {
                Validity::EndsSoon(format!("{file} expires on {}: renew it", day(not_after)))
            }
            _ => Validity::Good,
        },
    }
}

/// Why a certificate is refused at a time by who trusts no authority at all: its time is looked at before its issuer.
fn refused_at(certificate: &CertificateDer<'_>, at: Timestamp) -> Option<webpki::Error> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let time = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at.timestamp()).ok()?));
    let usage = webpki::KeyUsage::server_auth();
    certificate.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &[], &[], time, usage, None, None).err()
}

/// End of the first certificate of a file, as PEM; `None`: none is read.
pub(crate) fn expires_at(pem: &[u8]) -> Option<Timestamp> {
    let certificate = CertificateDer::pem_slice_iter(pem).next()?.ok()?;
    match refused_at(&certificate, DateTime::from_timestamp(AFTER_ALL_S, 0)?)? {
        webpki::Error::CertExpired { not_after, .. } => DateTime::from_timestamp(i64::try_from(not_after.as_secs()).ok()?, 0),
        _ => None,
    }
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
    fn a_certificate_that_is_over_or_ends_soon_is_told_from_a_good_one() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2026, 1, 10), rcgen::date_time_ymd(2026, 3, 10));
        let certificate = params.self_signed(&key).unwrap();
        let at = |day: &str| validity_of(certificate.der(), Path::new("tls.pem"), format!("{day}T12:00:00Z").parse().unwrap());
        assert_eq!(at("2026-02-01"), Validity::Good);
        assert_eq!(at("2026-03-01"), Validity::EndsSoon("tls.pem expires on 2026-03-10: renew it".into()));
        assert_eq!(at("2026-03-11"), Validity::Over("tls.pem has expired on 2026-03-10: renew it".into()));
        assert!(matches!(at("2026-01-01"), Validity::Over(problem) if problem.contains("2026-01-10")));
    }

    #[test]
    fn the_end_of_a_certificate_is_read_whoever_issued_it_and_whatever_it_is_for() {
        let end = |pem: &str| expires_at(pem.as_bytes()).map(|end| end.to_rfc3339());
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2026, 3, 10);
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        assert_eq!(end(&params.self_signed(&key).unwrap().pem()).as_deref(), Some("2026-03-10T00:00:00+00:00"));
        params.not_after = rcgen::date_time_ymd(9999, 12, 31);
        let (last, other) = (params.self_signed(&key).unwrap().pem(), write_out("b.example"));
        assert_eq!(end(&(last + &other)).as_deref(), Some("9999-12-31T00:00:00+00:00"), "the first of a chain");
        assert_eq!((end(""), end("half a cert")), (None, None));
    }

    fn write_out(name: &str) -> String {
        rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap().cert.pem()
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
