//! Prometheus metrics of actors and services. No device id is ever a label.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Every metric of this crate.
#[derive(Clone)]
pub struct Metrics {
    /// Heartbeats by outcome.
    pub heartbeats: IntCounterVec,
    /// Heartbeats between intake and commit.
    pub heartbeats_in_flight: IntGauge,
    /// Rows of one dual write.
    pub batch_rows: Histogram,
    /// Duration of one dual write.
    pub commit_seconds: Histogram,
    /// Device actors that panicked or failed.
    pub device_restarts: IntCounter,
    /// Enrollments by outcome.
    pub enrollments: IntCounterVec,
    /// Sign-ins by outcome.
    pub logins: IntCounterVec,
    /// Device authentications by kind and outcome.
    pub device_auth: IntCounterVec,
    /// Open agent sockets.
    pub agent_sockets: IntGauge,
    /// Partitions of the history, the default one included.
    pub heartbeat_partitions: IntGauge,
    /// Rows that no daily partition covers.
    pub default_partition_rows: IntGauge,
}

impl Metrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// A name is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        fn kept<C: prometheus::core::Collector + Clone + 'static>(registry: &Registry, metric: C) -> Result<C, prometheus::Error> {
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        }
        Ok(Self {
            heartbeats: kept(
                registry,
                IntCounterVec::new(
                    Opts::new("nexmdm_heartbeats_total", "Heartbeats by outcome: stored, repeat, refused reasons"),
                    &["outcome"],
                )?,
            )?,
            heartbeats_in_flight: kept(
                registry,
                IntGauge::new("nexmdm_heartbeats_in_flight", "Heartbeats taken in and not yet committed or refused")?,
            )?,
            batch_rows: kept(
                registry,
                Histogram::with_opts(
                    HistogramOpts::new("nexmdm_heartbeat_batch_rows", "Rows of one dual write")
                        .buckets(vec![1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]),
                )?,
            )?,
            commit_seconds: kept(
                registry,
                Histogram::with_opts(
                    HistogramOpts::new("nexmdm_heartbeat_commit_seconds", "Duration of one dual write")
                        .buckets(vec![0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0]),
                )?,
            )?,
            device_restarts: kept(registry, IntCounter::new("nexmdm_device_restarts_total", "Device actors restarted after a failure")?)?,
            enrollments: kept(
                registry,
                IntCounterVec::new(Opts::new("nexmdm_enrollments_total", "Enrollments by outcome"), &["outcome"])?,
            )?,
            logins: kept(registry, IntCounterVec::new(Opts::new("nexmdm_logins_total", "Sign-ins by outcome"), &["outcome"])?)?,
            device_auth: kept(
                registry,
                IntCounterVec::new(
                    Opts::new("nexmdm_device_auth_total", "Device authentications by kind of token and outcome"),
                    &["kind", "outcome"],
                )?,
            )?,
            agent_sockets: kept(registry, IntGauge::new("nexmdm_agent_sockets", "Open agent sockets")?)?,
            heartbeat_partitions: kept(
                registry,
                IntGauge::new("nexmdm_heartbeat_partitions", "Partitions of the history, the default one included")?,
            )?,
            default_partition_rows: kept(
                registry,
                IntGauge::new("nexmdm_heartbeat_default_partition_rows", "Heartbeats that no daily partition covers")?,
            )?,
        })
    }
}
