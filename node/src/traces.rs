//! Traces: spans of requests, sent by OTLP over HTTP as JSON to a collector. Off unless one is configured.
//!
//! Spans wait in a bounded queue; what does not fit, or does not arrive, is counted and gone. A node never waits for a collector.

use std::time::Duration;

use link::trace::{TARGET, TraceContext};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, Span, SpanData, SpanExporter as _, SpanProcessor};
use prometheus::{IntCounterVec, Opts, Registry};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::{Filter, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::config::Config;

/// Scope of the spans.
const SCOPE: &str = "nexmdm";

/// Traces of this process, and what became of their spans.
pub(crate) struct Traces {
    spans: IntCounterVec,
    sending: Option<Sending>,
}

/// Sending of spans, while traces are on.
struct Sending {
    stopping: CancellationToken,
    task: JoinHandle<()>,
    timeout: Duration,
}

impl Traces {
    /// No traces.
    ///
    /// # Errors
    /// The metric is none.
    pub(crate) fn off() -> anyhow::Result<Self> {
        let opts = Opts::new("nexmdm_trace_spans_total", "Spans of traces by outcome: sent, failed, or dropped since the queue was full");
        let spans = IntCounterVec::new(opts, &["outcome"])?;
        for outcome in ["sent", "failed", "dropped"] {
            spans.with_label_values(&[outcome]);
        }
        Ok(Self { spans, sending: None })
    }

    /// Starts sending to the collector of the configuration; the layer makes the spans.
    ///
    /// # Errors
    /// The HTTP client does not start.
    pub(crate) fn start<S>(config: &Config) -> anyhow::Result<(Self, impl Layer<S> + Send + Sync + use<S>)>
    where
        S: tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let settings = &config.tracing;
        let wait = Duration::from_millis(settings.timeout_ms);
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(settings.endpoint())
            .with_protocol(Protocol::HttpJson)
            .with_timeout(wait)
            .build()
            .map_err(|error| anyhow::anyhow!("tracing.otlp_url: {error}"))?;
        let resource = Resource::builder_empty()
            .with_service_name("nexmdm")
            .with_attributes([
                KeyValue::new("service.instance.id", config.node_name()),
                KeyValue::new("service.namespace", config.cluster.name.clone()),
                KeyValue::new("service.version", crate::http::build_id()),
            ])
            .build();
        exporter.set_resource(&resource);
        let mut traces = Self::off()?;
        let (queue, queued) = mpsc::channel(settings.queue_spans_max);
        // A share of the traces that begin here; what a trusted proxy or another node records is recorded.
        let share = Sampler::TraceIdRatioBased(f64::from(settings.sampled_per_million) / 1_000_000.0);
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::ParentBased(Box::new(share)))
            .with_resource(resource)
            .with_span_processor(Queue { queue, spans: traces.spans.clone() })
            .build();
        let stopping = CancellationToken::new();
        let sender = Sender {
            exporter,
            queued,
            batch_max: settings.batch_spans_max,
            timeout: wait,
            spans: traces.spans.clone(),
            stopping: stopping.clone(),
        };
        let task = tokio::spawn(sender.run(Duration::from_millis(settings.flush_ms)));
        traces.sending = Some(Sending { stopping, task, timeout: wait });
        link::trace::turn_on(TraceContext { read, set_parent });
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer(SCOPE)).with_location(false).with_threads(false);
        Ok((traces, layer.with_filter(OfTraces)))
    }

    /// Shows the metric.
    ///
    /// # Errors
    /// Another has its name.
    pub(crate) fn register(&self, registry: &Registry) -> anyhow::Result<()> {
        Ok(registry.register(Box::new(self.spans.clone()))?)
    }

    /// Sends what waits, for as long as one request may take.
    pub(crate) async fn stop(self) {
        if let Some(Sending { stopping, task, timeout: wait }) = self.sending {
            stopping.cancel();
            let _ = timeout(wait, task).await;
        }
    }
}

/// Filter of the spans that make traces.
struct OfTraces;

impl<S> Filter<S> for OfTraces {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: &tracing_subscriber::layer::Context<'_, S>) -> bool {
        metadata.is_span() && metadata.target() == TARGET
    }

    fn callsite_enabled(&self, metadata: &'static tracing::Metadata<'static>) -> tracing::subscriber::Interest {
        if metadata.is_span() && metadata.target() == TARGET {
            tracing::subscriber::Interest::always()
        } else {
            tracing::subscriber::Interest::never()
        }
    }
}

/// Queue of spans that ended.
#[derive(Debug)]
struct Queue {
    queue: mpsc::Sender<SpanData>,
    spans: IntCounterVec,
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.queue.try_send(span).is_err() {
            self.spans.with_label_values(&["dropped"]).inc();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// What sends the spans of the queue.
struct Sender {
    exporter: SpanExporter,
    queued: mpsc::Receiver<SpanData>,
    batch_max: usize,
    timeout: Duration,
    spans: IntCounterVec,
    stopping: CancellationToken,
}

impl Sender {
    async fn run(mut self, flush: Duration) {
        let mut ticks = interval(flush);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_last = tokio::select! {
                _ = ticks.tick() => false,
                () = self.stopping.cancelled() => true,
            };
            self.send_waiting().await;
            if is_last {
                return;
            }
        }
    }

    async fn send_waiting(&mut self) {
        loop {
            let batch: Vec<SpanData> = std::iter::from_fn(|| self.queued.try_recv().ok()).take(self.batch_max).collect();
            if batch.is_empty() {
                return;
            }
            let spans = batch.len() as u64;
            let sent = timeout(self.timeout, self.exporter.export(batch)).await;
            let problem = match sent {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("no answer within tracing.timeout_ms".to_owned()),
            };
            self.spans.with_label_values(&[if problem.is_none() { "sent" } else { "failed" }]).inc_by(spans);
            if let Some(cause) = problem {
                tracing::warn!(event = "trace.send_failed", spans, cause);
                // The rest waits for the next round, so that a collector that is away costs one request a round.
                return;
            }
        }
    }
}

/// `traceparent` of a span whose trace is recorded.
fn read(span: &tracing::Span) -> Option<String> {
    let context = span.context();
    let span = context.span();
    let of = span.span_context();
    (of.is_valid() && of.is_sampled()).then(|| format!("00-{}-{}-{:02x}", of.trace_id(), of.span_id(), of.trace_flags().to_u8()))
}

fn set_parent(span: &tracing::Span, traceparent: &str) {
    if let Some(parent) = parse(traceparent) {
        // It fails for a span that nothing is made of.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
}

/// Reads a `traceparent` (W3C Trace Context, section 3.2): of a later version, what version 00 has of it.
fn parse(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, length: usize| text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let reads = is_hex(version, 2) && version != "ff" && is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2);
    if !reads || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let context = SpanContext::new(trace, span, flags, true, TraceState::default());
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_reads_as_the_standard_says() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = parse(good).unwrap();
        assert_eq!(context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert!(context.is_sampled() && context.is_remote());
        assert!(!parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00").unwrap().is_sampled());
        // Of later versions, what is known is taken.
        assert!(parse("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-else").is_some());
        for bad in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319cé-b7ad6b7169203331-01",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let traces = Traces::off().unwrap();
        let (queue, mut queued) = mpsc::channel(1);
        let processor = Queue { queue, spans: traces.spans.clone() };
        let provider = SdkTracerProvider::builder().with_sampler(Sampler::AlwaysOn).with_span_processor(processor).build();
        let tracer = provider.tracer(SCOPE);
        for _ in 0..3 {
            drop(opentelemetry::trace::Tracer::start(&tracer, "span"));
        }
        assert!(queued.try_recv().is_ok() && queued.try_recv().is_err());
        assert_eq!(traces.spans.with_label_values(&["dropped"]).get(), 2);
    }
}
