//! `[http]`: where the server listens, what it takes, and whom it believes.

use std::net::IpAddr;
use std::time::Duration;

use domain::Invalid;
use domain::permits::PoolLimits;
use domain::transfer::MinimumRate;
use ipnet::IpNet;
use services::TableSettings;

use super::hosts::KnownHosts;
use super::{Http, public_url};

/// Length of the prefix of IPv4 addresses that are written within IPv6 (RFC 4291, section 2.5.5.2).
const MAPPED_PREFIX_LEN: u8 = 96;

impl Http {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        if !self.public_url.is_empty() {
            public_url::normalized(&self.public_url)?;
        }
        if self.tls_certificate_file.is_empty() != self.tls_key_file.is_empty() {
            return Err(Invalid::new("http.tls_key_file", "tls_certificate_file and tls_key_file go together"));
        }
        self.known_hosts()?;
        self.trusted_networks().map(drop)
    }

    /// Hosts that the server is known by.
    ///
    /// # Errors
    /// Names the entry that is no host.
    pub(crate) fn known_hosts(&self) -> Result<KnownHosts, Invalid> {
        let public_url = (!self.public_url.is_empty()).then(|| public_url::normalized(&self.public_url)).transpose()?;
        KnownHosts::new(public_url, &self.hosts)
    }

    /// Shares of the connections of clients.
    pub(crate) fn connections(&self) -> PoolLimits {
        PoolLimits::of_capacity(self.connections_max).with_parts(self.connections_per_address_pct, 0)
    }

    /// Shares of tables that are exported and imported.
    pub(super) fn tables(&self) -> TableSettings {
        TableSettings {
            limits: PoolLimits { per_principal: self.exports_per_principal_max, ..PoolLimits::of_capacity(self.exports_max) }
                .with_parts(self.exports_per_address_pct, self.exports_reserved_pct),
            minimum_rate: MinimumRate {
                bytes_per_second: self.export_min_bytes_per_second,
                patience: Duration::from_millis(self.export_stall_timeout_ms),
            },
        }
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
                read(entry).map(canonical).map_err(|_| Invalid::new("http.trusted_proxies", problem()))
            })
            .collect()
    }
}

/// The network as addresses are compared with it: IPv4 addresses written within IPv6 (`::ffff:10.0.0.0/104`) are those of IPv4.
fn canonical(network: IpNet) -> IpNet {
    let mapped = match network {
        IpNet::V6(network) => network.addr().to_ipv4_mapped().zip(network.prefix_len().checked_sub(MAPPED_PREFIX_LEN)),
        IpNet::V4(_) => None,
    };
    mapped.and_then(|(address, length)| IpNet::new(address.into(), length).ok()).unwrap_or(network)
}
