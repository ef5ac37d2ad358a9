//! Prometheus metrics of push.

use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts, Registry};

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
        fn kept<C: prometheus::core::Collector + Clone + 'static>(registry: &Registry, metric: C) -> Result<C, prometheus::Error> {
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        }
        Ok(Self {
            fcm_messages: kept(
                registry,
                IntCounterVec::new(Opts::new("nexmdm_fcm_messages_total", "Push messages by outcome"), &["outcome"])?,
            )?,
            unified_push_messages: kept(
                registry,
                IntCounterVec::new(
                    Opts::new("nexmdm_unified_push_messages_total", "Messages to UnifiedPush endpoints by outcome"),
                    &["outcome"],
                )?,
            )?,
            fcm_seconds: kept(
                registry,
                Histogram::with_opts(
                    HistogramOpts::new("nexmdm_fcm_send_seconds", "Response time of FCM, without local queueing")
                        .buckets(vec![0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0]),
                )?,
            )?,
            fcm_queued: kept(registry, IntGauge::new("nexmdm_fcm_queue_messages", "Queued push messages")?)?,
            fcm_misconfigured: kept(
                registry,
                IntGauge::new("nexmdm_fcm_misconfigured", "1 while push is misconfigured, until a message is accepted")?,
            )?,
            fcm_token_requests: kept(
                registry,
                IntCounterVec::new(Opts::new("nexmdm_fcm_token_requests_total", "FCM access token requests by outcome"), &["outcome"])?,
            )?,
        })
    }
}
