//! When this node's certificates expire, for the alert about it: that of the HTTP listener, which may be renewed under a running node, and that of the
//! link, where it is given by file. One that is made here does not expire in anybody's time.

use std::path::PathBuf;

use actors::settings::CertificateExpiry;
use domain::Timestamp;

use crate::cluster;
use crate::config::Config;
use crate::http::tls::expires_at;

/// Expiry of the certificates that are configured. That of the link is in force as it was read at the start.
///
/// # Errors
/// A file of the link's certificate cannot be read.
pub(crate) fn expiry(config: &Config) -> anyhow::Result<CertificateExpiry> {
    let http = Some(config.http.tls_certificate_file.as_str()).filter(|file| !file.is_empty()).map(PathBuf::from);
    let link = cluster::given_certificate(config)?.and_then(|given| expires_at(given.certificate_pem.as_bytes()));
    Ok(earliest(http, link))
}

/// Unknown as long as the file cannot be read.
fn earliest(http: Option<PathBuf>, link: Option<Timestamp>) -> CertificateExpiry {
    CertificateExpiry::new(move || {
        let http = match &http {
            Some(file) => Some(expires_at(&std::fs::read(file).ok()?)?),
            None => None,
        };
        http.into_iter().chain(link).min()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_expires_counts_and_a_renewed_one_is_seen() {
        let folder = chaos::harness::TempDir::new("expiry").unwrap();
        let file = folder.path().join("tls.pem");
        let write = |year| {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, 3, 10);
            std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        };
        let day = |year: i32| -> Timestamp { format!("{year}-03-10T00:00:00Z").parse().unwrap() };
        write(2027);
        let (both, http) = (earliest(Some(file.clone()), Some(day(2029))), earliest(Some(file.clone()), None));
        assert_eq!((both.earliest(), http.earliest()), (Some(day(2027)), Some(day(2027))));
        write(2031);
        assert_eq!((both.earliest(), http.earliest()), (Some(day(2029)), Some(day(2031))));
        std::fs::write(&file, "half a cert").unwrap();
        assert_eq!((both.earliest(), http.earliest()), (None, None));
        assert_eq!((earliest(None, Some(day(2029))).earliest(), earliest(None, None).earliest()), (Some(day(2029)), None));
    }
}
