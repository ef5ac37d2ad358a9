//! Prometheus metrics of services. No device id is ever a label.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

/// Metrics of services, and of the runtime below them.
#[derive(Clone)]
pub struct Metrics {
    /// Of the runtime.
    pub actors: actors::metrics::Metrics,
    /// Enrollments by outcome.
    pub enrollments: IntCounterVec,
    /// Sign-ins by outcome.
    pub logins: IntCounterVec,
    /// Names locked out of signing in.
    pub lockouts: IntCounter,
    /// Refusals and failed sign-ins beyond the cap of the audit trail.
    pub audit_left_out: IntCounter,
    /// API tokens shown, by outcome.
    pub api_token_auth: IntCounterVec,
    /// Device authentications by kind and outcome.
    pub device_auth: IntCounterVec,
    /// Checks for an update of the agent, by answer.
    pub agent_update_checks: IntCounterVec,
    /// Reports of agent updates, by event; repeats are not counted.
    pub agent_update_reports: IntCounterVec,
}

impl Metrics {
    /// Creates and registers the metrics.
    ///
    /// # Errors
    /// A name is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        fn kept<C: prometheus::core::Collector + Clone + 'static>(registry: &Registry, metric: C) -> Result<C, prometheus::Error> {
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        }
        Ok(Self {
            actors: actors::metrics::Metrics::register(registry)?,
            enrollments: kept(
                registry,
                IntCounterVec::new(Opts::new("nexmdm_enrollments_total", "Enrollments by outcome"), &["outcome"])?,
            )?,
            logins: kept(registry, IntCounterVec::new(Opts::new("nexmdm_logins_total", "Sign-ins by outcome"), &["outcome"])?)?,
            lockouts: kept(
                registry,
                IntCounter::new("nexmdm_sign_in_lockouts_total", "Lockouts after failed sign-ins, extensions included")?,
            )?,
            audit_left_out: kept(
                registry,
                IntCounter::new(
                    "nexmdm_audit_refusals_left_out_total",
                    "Refusals and failed sign-ins beyond auth.refusals_audited_per_minute, which the audit trail only counts",
                )?,
            )?,
            api_token_auth: kept(
                registry,
                IntCounterVec::new(Opts::new("nexmdm_api_token_auth_total", "API token authentications by outcome"), &["outcome"])?,
            )?,
            device_auth: kept(
                registry,
                IntCounterVec::new(
                    Opts::new("nexmdm_device_auth_total", "Device authentications by kind of token and outcome"),
                    &["kind", "outcome"],
                )?,
            )?,
            agent_update_checks: kept(
                registry,
                IntCounterVec::new(Opts::new("nexmdm_agent_update_checks_total", "Agent update checks by answer"), &["answer"])?,
            )?,
            agent_update_reports: kept(
                registry,
                IntCounterVec::new(
                    Opts::new("nexmdm_agent_update_reports_total", "Agent update reports of devices, without repeats"),
                    &["event"],
                )?,
            )?,
        })
    }
}
