//! Certificates of the link between nodes by file, with an authority made here, so that they can run out.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// Name in the certificates of a cluster that has the default name.
const NAME: &str = "nexmdm.nexmdm.internal";
/// How long a certificate that has begun is valid already.
const BEGAN_BEFORE: Duration = Duration::from_secs(86_400);
/// Lifetime of certificates that do not run out during a run.
pub(super) const LONG: Duration = Duration::from_secs(365 * 86_400);

/// An authority and the files of the certificates that it has issued.
pub struct LinkCertificates {
    folder: PathBuf,
    authority: CertificateParams,
    key: KeyPair,
}

impl LinkCertificates {
    /// A new authority, with its certificate in this folder.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn create(folder: &Path, now: DateTime<Utc>) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let key = KeyPair::generate()?;
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, "chaos cluster authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        set_validity(&mut authority, now, now + LONG + BEGAN_BEFORE)?;
        let certificates = Self { folder: folder.to_owned(), authority, key };
        write_private(&certificates.authority_file(), &certificates.authority.self_signed(&certificates.key)?.pem())?;
        Ok(certificates)
    }

    /// Issues a certificate of a node that ends at this time, in place of the one before.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn issue(&self, node: &str, now: DateTime<Utc>, ends: DateTime<Utc>) -> Result<()> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![NAME.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, node);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        set_validity(&mut params, now, ends)?;
        let certificate = params.signed_by(&key, &Issuer::from_params(&self.authority, &self.key))?;
        let [certificate_file, key_file] = self.files_of(node);
        write_private(&certificate_file, &certificate.pem())?;
        write_private(&key_file, &key.serialize_pem())
    }

    /// Environment of a node that shows its certificate.
    pub fn env(&self, node: &str) -> Vec<(String, String)> {
        let [certificate, key] = self.files_of(node);
        let variables = [("CA_FILE", self.authority_file()), ("CERTIFICATE_FILE", certificate), ("CERTIFICATE_KEY_FILE", key)];
        variables.map(|(name, file)| (format!("NEXMDM__CLUSTER__{name}"), file.display().to_string())).into()
    }

    fn authority_file(&self) -> PathBuf {
        self.folder.join("authority.pem")
    }

    /// Certificate and key of a node.
    fn files_of(&self, node: &str) -> [PathBuf; 2] {
        [self.folder.join(format!("{node}.pem")), self.folder.join(format!("{node}-key.pem"))]
    }
}

/// Replaces a file that its owner alone can read.
fn write_private(file: &Path, text: &str) -> Result<()> {
    let new = file.with_extension("new");
    let mut options = fs::OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(0o600).open(&new);
    opened
        .and_then(|mut out| out.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&new, file))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// A validity that has begun some time before now.
fn set_validity(params: &mut CertificateParams, now: DateTime<Utc>, ends: DateTime<Utc>) -> Result<()> {
    let since_1970 = |at: DateTime<Utc>| u64::try_from(at.timestamp()).map(Duration::from_secs).context("no certificate is of before 1970");
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + since_1970(now - BEGAN_BEFORE)?;
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + since_1970(ends)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::harness::TempDir;

    #[test]
    fn a_certificate_replaces_the_one_before_and_its_key_is_private() {
        let folder = TempDir::new("certificates").unwrap();
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let certificates = LinkCertificates::create(folder.path(), now).unwrap();
        certificates.issue("node-1", now, now + LONG).unwrap();
        let env = certificates.env("node-1");
        assert_eq!(env.len(), 3);
        let read = || env.iter().map(|(_, file)| fs::read_to_string(file).unwrap()).collect::<Vec<_>>();
        let first = read();
        certificates.issue("node-1", now, now - Duration::from_secs(60)).unwrap();
        let second = read();
        assert_eq!(first[0], second[0], "the authority stays");
        assert!(first[1] != second[1] && first[2] != second[2]);
        assert!(second[2].contains("PRIVATE KEY"));
        assert_eq!(fs::metadata(&env[2].1).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
