//! Prometheus metrics of pools. No device, account or address is ever a label.

use std::collections::HashMap;

use domain::permits::{Class, Limit, PoolFigures, PoolName};
use prometheus::core::Collector;
use prometheus::{IntCounterVec, IntGaugeVec, Registry, register_int_counter_vec_with_registry, register_int_gauge_vec_with_registry};

/// Sums over all labels but that of the pool.
fn sums(metrics: &impl Collector) -> HashMap<String, u64> {
    let mut sums = HashMap::new();
    for metric in metrics.collect().iter().flat_map(|family| family.get_metric()) {
        let pool = metric.get_label().iter().find(|label| label.name() == "pool").map(|label| label.value().to_owned());
        let value = metric.get_gauge().get_value() + metric.get_counter().get_value();
        *sums.entry(pool.unwrap_or_default()).or_default() += value.max(0.0) as u64;
    }
    sums
}

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

    /// Figures of the pools that there are, in the order of [`PoolName`].
    pub fn figures(&self) -> Vec<PoolFigures> {
        let (capacity, in_use) = (sums(&self.capacity), sums(&self.in_use));
        let (waiting, refused) = (sums(&self.waiting), sums(&self.refused));
        let of = |sums: &HashMap<String, u64>, pool: PoolName| sums.get(pool.as_str()).copied();
        let figures = PoolName::ALL.iter().filter_map(|pool| {
            Some(PoolFigures {
                pool: pool.as_str().to_owned(),
                capacity: of(&capacity, *pool)?,
                in_use: of(&in_use, *pool).unwrap_or(0),
                waiting: of(&waiting, *pool).unwrap_or(0),
                refused: of(&refused, *pool).unwrap_or(0),
            })
        });
        figures.collect()
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
