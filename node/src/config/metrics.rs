//! `[metrics]` and `http.docs_access`: who may read what a node tells of itself.

use std::net::SocketAddr;

use domain::Invalid;
use serde::{Deserialize, Serialize};

use super::sections::{Config, Metrics};

/// `metrics.access`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MetricsSetting {
    /// By the address that the node listens on.
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
    /// By the address that the node listens on.
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
    /// Whether only this machine reaches the node.
    pub(crate) fn is_loopback(&self) -> bool {
        self.http.listen.ip().to_canonical().is_loopback()
    }

    /// Who may read the metrics.
    pub(crate) fn metrics_access(&self) -> MetricsAccess {
        match (self.metrics.access, self.metrics.address()) {
            (MetricsSetting::Open, _) => MetricsAccess::Open,
            (MetricsSetting::Auto, _) if self.is_loopback() => MetricsAccess::Open,
            (MetricsSetting::Listener, Ok(address)) => MetricsAccess::Listener(address),
            // The address was checked when it was read.
            _ => MetricsAccess::Token,
        }
    }

    /// Who may read the description of the API.
    pub(crate) fn docs_access(&self) -> DocsAccess {
        match self.http.docs_access {
            DocsSetting::Open => DocsAccess::Open,
            DocsSetting::Auto if self.is_loopback() => DocsAccess::Open,
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
