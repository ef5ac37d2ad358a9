//! `[http]`: where the server listens, what it takes, and whom it believes.

use std::net::IpAddr;

use domain::Invalid;
use domain::invalid::in_range;
use ipnet::IpNet;

use super::Http;

impl Http {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        in_range("http.connections_max", self.connections_max, 1, 1_000_000)?;
        in_range("http.header_timeout_ms", self.header_timeout_ms, 10, 600_000)?;
        in_range("http.body_timeout_ms", self.body_timeout_ms, 10, 600_000)?;
        in_range("http.body_limit_bytes", self.body_limit_bytes, 1024, 16_777_216)?;
        in_range("http.heartbeats_body_limit_bytes", self.heartbeats_body_limit_bytes, 1024, 16_777_216)?;
        in_range("http.bulk_body_limit_bytes", self.bulk_body_limit_bytes, 1024, 16_777_216)?;
        in_range("http.import_body_limit_bytes", self.import_body_limit_bytes, 1024, 1 << 28)?;
        in_range("http.export_stall_timeout_ms", self.export_stall_timeout_ms, 100, 600_000)?;
        if !self.public_url.is_empty() && !self.public_url.starts_with("http://") && !self.public_url.starts_with("https://") {
            return Err(Invalid::new("http.public_url", "begins with neither http:// nor https://"));
        }
        if self.tls_certificate_file.is_empty() != self.tls_key_file.is_empty() {
            return Err(Invalid::new("http.tls_key_file", "tls_certificate_file and tls_key_file go together"));
        }
        self.trusted_networks().map(drop)
    }

    /// Networks of the proxies whose word on a request's origin is believed.
    ///
    /// # Errors
    /// Names the entry that is neither an address nor a network.
    pub(crate) fn trusted_networks(&self) -> Result<Vec<IpNet>, Invalid> {
        let read = |entry: &str| entry.parse().or_else(|_| entry.parse::<IpAddr>().map(IpNet::from));
        let entries = self.trusted_proxies.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        entries
            .map(|entry| {
                let problem = || format!("{entry:.50} is neither an address nor a network such as 10.0.0.0/8");
                read(entry).map_err(|_| Invalid::new("http.trusted_proxies", problem()))
            })
            .collect()
    }
}
