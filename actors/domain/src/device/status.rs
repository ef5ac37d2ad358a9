//! The newest heartbeat of a device.

use std::sync::Arc;

use crate::Timestamp;
use crate::heartbeat::{Heartbeat, Telemetry};

/// The newest stored heartbeat.
#[derive(Debug, Clone, PartialEq)]
pub struct LastStatus {
    /// Start of its 10-second bucket.
    pub bucket_at: Timestamp,
    /// When the server received it.
    pub received_at: Timestamp,
    /// Time by the clock of the device.
    pub device_time: Option<Timestamp>,
    /// Whether the clock of the device was too wrong to be used.
    pub clock_rejected: bool,
    /// Telemetry of the heartbeat.
    pub telemetry: Telemetry,
}

impl LastStatus {
    /// Order of the heartbeats of a device, oldest first: by bucket, and within a bucket by the clock of the device and its
    /// sequence number. Equal ones are repeats. The store orders rows in the same way.
    pub fn order(&self) -> (Timestamp, Option<Timestamp>, Option<i64>) {
        (self.bucket_at, self.device_time, self.telemetry.seq)
    }

    /// The heartbeat after `before`: what was unusable before is unusable since then.
    pub fn following(mut self: Arc<Self>, before: Option<&Self>) -> Arc<Self> {
        if let Some(before) = before.filter(|before| !self.telemetry.unusable.is_empty() && !before.telemetry.unusable.is_empty()) {
            Arc::make_mut(&mut self).telemetry.continue_unusable(&before.telemetry);
        }
        self
    }
}

impl From<Heartbeat> for LastStatus {
    fn from(heartbeat: Heartbeat) -> Self {
        let Heartbeat { device_id: _, bucket_at, received_at, device_time, clock_rejected, telemetry } = heartbeat;
        Self { bucket_at, received_at, device_time, clock_rejected, telemetry }
    }
}
