//! Logs: one line per event on standard error. Traces, where a collector is configured.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::FilterExt;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Config, LogFormat};
use crate::log_limit::LogLimit;
use crate::traces::Traces;

/// Starts logging, and traces if `may_trace`, within a runtime.
///
/// # Errors
/// The filter does not read, or traces do not start.
pub(crate) fn start(config: &Config, may_trace: bool) -> anyhow::Result<Traces> {
    let log = &config.log;
    let filter = EnvFilter::try_new(&log.filter).map_err(|error| anyhow::anyhow!("log.filter: {error}"))?;
    let limit = LogLimit::new(log.repeats_per_minute_max);
    let traces = if may_trace && config.tracing.is_on() {
        // What makes traces is no log: the log's filter is the log's alone.
        let (traces, spans) = Traces::start(config)?;
        let registry = tracing_subscriber::registry().with(spans);
        let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        match log.format {
            LogFormat::Json => registry.with(layer.json().flatten_event(true).with_filter(filter.and(limit.clone()))).init(),
            LogFormat::Text => registry.with(layer.with_filter(filter.and(limit.clone()))).init(),
        }
        traces
    } else {
        let registry = tracing_subscriber::registry().with(filter);
        let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        match log.format {
            LogFormat::Json => registry.with(layer.json().flatten_event(true).with_filter(limit.clone())).init(),
            LogFormat::Text => registry.with(layer.with_filter(limit.clone())).init(),
        }
        Traces::off()?
    };
    tokio::spawn(limit.report());
    Ok(traces)
}
