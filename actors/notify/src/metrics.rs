//! Prometheus metrics of notifications.

use prometheus::{
    Histogram, IntCounterVec, IntGauge, Registry, register_histogram_with_registry, register_int_counter_vec_with_registry,
    register_int_gauge_with_registry,
};

/// Metrics of notifications.
#[derive(Clone)]
pub struct Metrics {
    /// Attempts to send a message, by kind of channel and outcome.
    pub attempts: IntCounterVec,
    /// Messages that became dead letters, by kind of channel.
    pub dead_letters: IntCounterVec,
    /// Time from the change of an alert to the delivery of a message about it.
    pub condition_to_delivery: Histogram,
    /// Messages that wait for a channel.
    pub queued: IntGauge,
    /// How long the oldest of them waits.
    pub oldest_queued: IntGauge,
    /// Dead letters that are kept.
    pub dead: IntGauge,
}

impl Metrics {
    /// Creates and registers the metrics.
    ///
    /// # Errors
    /// A name is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            attempts: register_int_counter_vec_with_registry!(
                "nexmdm_notifications_total",
                "Attempts to send a message by kind of channel and outcome",
                &["kind", "outcome"],
                registry
            )?,
            dead_letters: register_int_counter_vec_with_registry!(
                "nexmdm_notification_dead_letters_total",
                "Messages given up by kind of channel",
                &["kind"],
                registry
            )?,
            condition_to_delivery: register_histogram_with_registry!(
                "nexmdm_notification_delivery_seconds",
                "Time from the change of an alert to the delivery of a message about it",
                vec![0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 300.0, 1_800.0, 7_200.0, 86_400.0],
                registry
            )?,
            queued: register_int_gauge_with_registry!("nexmdm_notification_queue_messages", "Messages that wait for a channel", registry)?,
            oldest_queued: register_int_gauge_with_registry!(
                "nexmdm_notification_oldest_queued_seconds",
                "How long the oldest message waits for its channel",
                registry
            )?,
            dead: register_int_gauge_with_registry!("nexmdm_notification_dead_letters", "Dead letters that are kept", registry)?,
        })
    }
}
