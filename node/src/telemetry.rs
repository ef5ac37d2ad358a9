//! Logs: one line per event on standard error.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Log, LogFormat};
use crate::log_limit::LogLimit;

/// Starts logging, within a runtime.
///
/// # Errors
/// The filter does not read.
pub(crate) fn start(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.filter).map_err(|error| anyhow::anyhow!("log.filter: {error}"))?;
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let limit = LogLimit::new(log.repeats_per_minute_max);
    match log.format {
        LogFormat::Json => registry.with(layer.json().flatten_event(true).with_filter(limit.clone())).init(),
        LogFormat::Text => registry.with(layer.with_filter(limit.clone())).init(),
    }
    tokio::spawn(limit.report());
    Ok(())
}
