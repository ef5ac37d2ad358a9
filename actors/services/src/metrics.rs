//! Prometheus metrics of services. No device id is ever a label.

use prometheus::{IntCounter, IntCounterVec, Registry, register_int_counter_vec_with_registry, register_int_counter_with_registry};

/// Metrics of services, and of the runtime below them.
#[derive(Clone)]
pub struct Metrics {
    /// Metrics of the runtime.
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
        Ok(Self {
            actors: actors::metrics::Metrics::register(registry)?,
            enrollments: register_int_counter_vec_with_registry!(
                "nexmdm_enrollments_total",
                "Enrollments by outcome",
                &["outcome"],
                registry
            )?,
            logins: register_int_counter_vec_with_registry!("nexmdm_logins_total", "Sign-ins by outcome", &["outcome"], registry)?,
            lockouts: register_int_counter_with_registry!(
                "nexmdm_sign_in_lockouts_total",
                "Lockouts after failed sign-ins, extensions included",
                registry
            )?,
            audit_left_out: register_int_counter_with_registry!(
                "nexmdm_audit_refusals_left_out_total",
                "Refusals and failed sign-ins beyond auth.refusals_audited_per_minute, which the audit trail only counts",
                registry
            )?,
            api_token_auth: register_int_counter_vec_with_registry!(
                "nexmdm_api_token_auth_total",
                "API token authentications by outcome",
                &["outcome"],
                registry
            )?,
            device_auth: register_int_counter_vec_with_registry!(
                "nexmdm_device_auth_total",
                "Device authentications by kind of token and outcome",
                &["kind", "outcome"],
                registry
            )?,
            agent_update_checks: register_int_counter_vec_with_registry!(
                "nexmdm_agent_update_checks_total",
                "Agent update checks by answer",
                &["answer"],
                registry
            )?,
            agent_update_reports: register_int_counter_vec_with_registry!(
                "nexmdm_agent_update_reports_total",
                "Agent update reports of devices, without repeats",
                &["event"],
                registry
            )?,
        })
    }
}
