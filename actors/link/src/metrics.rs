//! Prometheus metrics of the link between nodes.

use prometheus::{
    HistogramVec, IntCounterVec, IntGauge, Registry, register_histogram_vec_with_registry, register_int_counter_vec_with_registry,
    register_int_gauge_with_registry,
};

/// Metrics of the link.
#[derive(Clone)]
pub struct Metrics {
    /// Heartbeats for devices of other nodes, by outcome.
    pub forwarded: IntCounterVec,
    /// Calls to other nodes by kind and outcome.
    pub link_calls: IntCounterVec,
    /// Round trip of a ping, by peer.
    pub link_seconds: HistogramVec,
    /// Peers with a live link.
    pub link_peers: IntGauge,
    /// Connections to the cluster port that were refused, by reason.
    pub link_refused: IntCounterVec,
}

impl Metrics {
    /// Creates and registers the metrics.
    ///
    /// # Errors
    /// A name is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            forwarded: register_int_counter_vec_with_registry!(
                "nexmdm_heartbeats_forwarded_total",
                "Heartbeats for devices of other nodes, by outcome: stored by the owner or by this node",
                &["outcome"],
                registry
            )?,
            link_calls: register_int_counter_vec_with_registry!(
                "nexmdm_link_calls_total",
                "Calls to other nodes by kind and outcome",
                &["kind", "outcome"],
                registry
            )?,
            link_seconds: register_histogram_vec_with_registry!(
                "nexmdm_link_round_trip_seconds",
                "Round trip time of pings between nodes",
                &["peer"],
                vec![0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.2, 1.0],
                registry
            )?,
            link_peers: register_int_gauge_with_registry!("nexmdm_link_peers", "Peers with a live link", registry)?,
            link_refused: register_int_counter_vec_with_registry!(
                "nexmdm_link_refused_total",
                "Refused connections to the cluster port, by reason",
                &["reason"],
                registry
            )?,
        })
    }
}
