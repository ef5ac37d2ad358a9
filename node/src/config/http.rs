//! `[http]`: where the server listens, what it takes, and whom it believes.

use std::net::IpAddr;

use domain::Invalid;
use ipnet::IpNet;

use super::{Http, public_url};

impl Http {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        if !self.public_url.is_empty() {
            public_url::normalized(&self.public_url)?;
        }
        if self.tls_certificate_file.is_empty() != self.tls_key_file.is_empty() {
            return Err(Invalid::new("http.tls_key_file", "tls_certificate_file and tls_key_file go together"));
        }
        self.trusted_networks().map(drop)
    }

    /// Networks of the proxies whose forwarding headers are believed.
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
