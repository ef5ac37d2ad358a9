//! `[heartbeat]`: how heartbeats become durable.

use std::time::Duration;

use actors::settings::HeartbeatSettings;

use super::Heartbeat;

impl Heartbeat {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        in_range("heartbeat.interval_seconds", self.interval_seconds, 1, 86_400)?;
        in_range("heartbeat.in_flight_max", self.in_flight_max, 100, 1_000_000)?;
        in_range("heartbeat.writers", self.writers, 1, 64)?;
        in_range("heartbeat.writer_queue_max", self.writer_queue_max, 100, 1_000_000)?;
        in_range("heartbeat.batch_rows_max", self.batch_rows_max, 1, 10_000)?;
        in_range("heartbeat.linger_ms", self.linger_ms, 0, 1000)?;
        in_range("heartbeat.commit_timeout_ms", self.commit_timeout_ms, 10, 600_000)?;
        in_range("heartbeat.retry_after_seconds", self.retry_after_seconds, 1, 3600)?;
        Ok(())
    }

    pub(super) fn settings(&self) -> HeartbeatSettings {
        HeartbeatSettings {
            interval_s: self.interval_seconds,
            in_flight_max: self.in_flight_max,
            writers: self.writers,
            writer_queue_max: self.writer_queue_max,
            batch_rows_max: self.batch_rows_max,
            linger: Duration::from_millis(self.linger_ms),
            commit_timeout: Duration::from_millis(self.commit_timeout_ms),
            retry_after_s: self.retry_after_seconds,
        }
    }
}
