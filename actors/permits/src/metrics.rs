//! Prometheus metrics of pools. No device, account or address is ever a label.

use domain::permits::{Class, Limit, PoolName};
use prometheus::{IntCounterVec, IntGaugeVec, Registry, register_int_counter_vec_with_registry, register_int_gauge_vec_with_registry};

/// Metrics of the pools of a node.
#[derive(Clone)]
pub struct PoolMetrics {
    capacity: IntGaugeVec,
    in_use: IntGaugeVec,
    waiting: IntGaugeVec,
    refused: IntCounterVec,
}

impl PoolMetrics {
    /// Creates and registers the metrics.
    ///
    /// # Errors
    /// A name is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            capacity: register_int_gauge_vec_with_registry!("nexmdm_pool_capacity", "Permits of a pool", &["pool"], registry)?,
            in_use: register_int_gauge_vec_with_registry!(
                "nexmdm_pool_in_use",
                "Permits in use, by pool and class of the caller",
                &["pool", "class"],
                registry
            )?,
            waiting: register_int_gauge_vec_with_registry!(
                "nexmdm_pool_waiting",
                "Callers that wait for a permit, by pool and class",
                &["pool", "class"],
                registry
            )?,
            refused: register_int_counter_vec_with_registry!(
                "nexmdm_pool_refused_total",
                "Callers refused a permit, by pool, class and limit",
                &["pool", "class", "limit"],
                registry
            )?,
        })
    }

    pub(crate) fn capacity(&self, pool: PoolName, capacity: usize) {
        self.capacity.with_label_values(&[pool.as_str()]).set(i64::try_from(capacity).unwrap_or(i64::MAX));
    }

    pub(crate) fn use_of(&self, pool: PoolName, class: Class, in_use: usize, waiting: usize) {
        let labels = [pool.as_str(), class.as_str()];
        self.in_use.with_label_values(&labels).set(i64::try_from(in_use).unwrap_or(i64::MAX));
        self.waiting.with_label_values(&labels).set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    pub(crate) fn refused(&self, pool: PoolName, class: Class, limit: Limit) {
        self.refused.with_label_values(&[pool.as_str(), class.as_str(), limit.as_str()]).inc();
    }
}
