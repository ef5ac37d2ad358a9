//! `[heartbeat]`: how heartbeats become durable.

use std::time::Duration;

use actors::settings::HeartbeatSettings;

use super::Heartbeat;

impl Heartbeat {
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
