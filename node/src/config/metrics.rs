//! `[metrics]` and `http.docs_access`: who may read what a node tells of itself.

use std::net::SocketAddr;

use domain::Invalid;
use serde::{Deserialize, Serialize};

use super::sections::{Config, Metrics};

/// `metrics.access`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MetricsSetting {
    /// By whether others reach the node.
    Auto,
    /// Whoever asks.
    Open,
    /// The bearer of an API token.
    Token,
    /// Whoever reaches the listener of its own.
    Listener,
}

/// `http.docs_access`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DocsSetting {
    /// By whether others reach the node.
    Auto,
    /// Whoever asks.
    Open,
    /// Whoever is signed in.
    SignIn,
}

/// Who may read the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MetricsAccess {
    /// Whoever asks.
    Open,
    /// The bearer of an API token.
    Token,
    /// Whoever reaches this address.
    Listener(SocketAddr),
}

/// Who may read the description of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DocsAccess {
    /// Whoever asks.
    Open,
    /// Whoever is signed in.
    SignIn,
}

impl Metrics {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        self.address().map(drop)
    }

    fn address(&self) -> Result<SocketAddr, Invalid> {
        self.listen.parse().map_err(|_| Invalid::new("metrics.listen", "not an address and port such as 127.0.0.1:9464"))
    }
}

impl Config {
    /// Whether only this machine reaches the node: nothing else is listened on, and no proxy is announced that hands on what others ask.
    fn is_private(&self) -> bool {
        let is_local = url::Url::parse(&self.public_url()).is_ok_and(|url| match url.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => std::net::IpAddr::V6(address).to_canonical().is_loopback(),
            None => false,
        });
        self.is_loopback() && is_local && self.http.trusted_proxies.is_empty()
    }

    /// Whether the node listens on an address of this machine alone.
    pub(crate) fn is_loopback(&self) -> bool {
        self.http.listen.ip().to_canonical().is_loopback()
    }

    /// Who may read the metrics.
    pub(crate) fn metrics_access(&self) -> MetricsAccess {
        match (self.metrics.access, self.metrics.address()) {
            (MetricsSetting::Open, _) => MetricsAccess::Open,
            (MetricsSetting::Auto, _) if self.is_private() => MetricsAccess::Open,
            (MetricsSetting::Listener, Ok(address)) => MetricsAccess::Listener(address),
            // The address was checked when it was read.
            _ => MetricsAccess::Token,
        }
    }

    /// Who may read the description of the API.
    pub(crate) fn docs_access(&self) -> DocsAccess {
        match self.http.docs_access {
            DocsSetting::Open => DocsAccess::Open,
            DocsSetting::Auto if self.is_private() => DocsAccess::Open,
            DocsSetting::Auto | DocsSetting::SignIn => DocsAccess::SignIn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::parse;
    use super::*;

    #[test]
    fn what_a_node_tells_of_itself_is_closed_where_others_reach_it() {
        let access = |variables: &[(&str, &str)]| {
            let config = parse(variables).unwrap();
            (config.metrics_access(), config.docs_access())
        };
        assert_eq!(access(&[]), (MetricsAccess::Open, DocsAccess::Open));
        for listen in ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:80"] {
            assert_eq!(access(&[("NEXMDM__HTTP__LISTEN", listen)]), (MetricsAccess::Token, DocsAccess::SignIn), "{listen}");
        }
        assert_eq!(access(&[("NEXMDM__HTTP__LISTEN", "[::1]:80")]), (MetricsAccess::Open, DocsAccess::Open));
        for (url, access_of) in [
            ("http://localhost:8080", (MetricsAccess::Open, DocsAccess::Open)),
            ("http://127.0.0.1:8080", (MetricsAccess::Open, DocsAccess::Open)),
            ("https://mdm.example.com", (MetricsAccess::Token, DocsAccess::SignIn)),
        ] {
            assert_eq!(access(&[("NEXMDM__HTTP__PUBLIC_URL", url)]), access_of, "{url}");
        }
        let proxied = access(&[("NEXMDM__HTTP__TRUSTED_PROXIES", "127.0.0.1")]);
        assert_eq!(proxied, (MetricsAccess::Token, DocsAccess::SignIn), "what a proxy hands on comes from elsewhere");
        let open = [("NEXMDM__HTTP__LISTEN", "0.0.0.0:80"), ("NEXMDM__METRICS__ACCESS", "open"), ("NEXMDM__HTTP__DOCS_ACCESS", "open")];
        assert_eq!(access(&open), (MetricsAccess::Open, DocsAccess::Open));
        let closed = [("NEXMDM__METRICS__ACCESS", "listener"), ("NEXMDM__HTTP__DOCS_ACCESS", "sign_in")];
        assert_eq!(access(&closed), (MetricsAccess::Listener("127.0.0.1:9464".parse().unwrap()), DocsAccess::SignIn));
        for (variable, value, field) in
            [("NEXMDM__METRICS__ACCESS", "closed", "metrics.access"), ("NEXMDM__METRICS__LISTEN", "9464", "metrics.listen")]
        {
            assert!(parse(&[(variable, value)]).unwrap_err().to_string().contains(field));
        }
    }
}
