//! Prometheus metrics of push.

use prometheus::{
    Histogram, IntCounterVec, IntGauge, Registry, register_histogram_with_registry, register_int_counter_vec_with_registry,
    register_int_gauge_with_registry,
};

/// Metrics of push messages.
#[derive(Clone)]
pub struct Metrics {
    /// Push messages by outcome.
    pub fcm_messages: IntCounterVec,
    /// Push messages to UnifiedPush endpoints by outcome.
    pub unified_push_messages: IntCounterVec,
    /// Duration of sending a push message.
    pub fcm_seconds: Histogram,
    /// Push messages that wait to be sent.
    pub fcm_queued: IntGauge,
    /// Whether push needs an operator.
    pub fcm_misconfigured: IntGauge,
    /// Access tokens for push asked for, by outcome.
    pub fcm_token_requests: IntCounterVec,
}

impl Metrics {
    /// Creates and registers the metrics.
    ///
    /// # Errors
    /// A name is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            fcm_messages: register_int_counter_vec_with_registry!(
                "nexmdm_fcm_messages_total",
                "Push messages by outcome",
                &["outcome"],
                registry
            )?,
            unified_push_messages: register_int_counter_vec_with_registry!(
                "nexmdm_unified_push_messages_total",
                "Messages to UnifiedPush endpoints by outcome",
                &["outcome"],
                registry
            )?,
            fcm_seconds: register_histogram_with_registry!(
                "nexmdm_fcm_send_seconds",
                "Response time of FCM, without local queueing",
                vec![0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0],
                registry
            )?,
            fcm_queued: register_int_gauge_with_registry!("nexmdm_fcm_queue_messages", "Queued push messages", registry)?,
            fcm_misconfigured: register_int_gauge_with_registry!(
                "nexmdm_fcm_misconfigured",
                "1 while push is misconfigured, until a message is accepted",
                registry
            )?,
            fcm_token_requests: register_int_counter_vec_with_registry!(
                "nexmdm_fcm_token_requests_total",
                "FCM access token requests by outcome",
                &["outcome"],
                registry
            )?,
        })
    }
}
