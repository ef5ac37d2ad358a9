//! The newest heartbeat of a device.

use std::sync::Arc;

use crate::Timestamp;
use crate::heartbeat::{CLOCK_LEAD_MAX, Heartbeat, Telemetry, bucket_start};

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

    /// Whether the device sent this after `other`: both are of one boot, and it counted on.
    pub fn sent_after(&self, other: &Self) -> bool {
        let (this, other) = (&self.telemetry, &other.telemetry);
        this.boot_id.is_some() && this.boot_id == other.boot_id && this.seq > other.seq && other.seq.is_some()
    }

    /// Whether this is `other` sent again: of the same boot, number and time, and received soon after. An agent whose counter and clock
    /// both stand still is not silenced by that.
    pub fn repeats(&self, other: &Self) -> bool {
        let key = |status: &Self| (status.telemetry.boot_id.clone(), status.telemetry.seq, status.device_time);
        self.telemetry.boot_id.is_some()
            && self.telemetry.seq.is_some()
            && key(self) == key(other)
            && (self.received_at - other.received_at).abs() < CLOCK_LEAD_MAX
    }

    /// The heartbeat in the bucket of its receipt, its clock marked as wrong.
    #[must_use]
    pub fn dated_by_receipt(mut self: Arc<Self>) -> Arc<Self> {
        let status = Arc::make_mut(&mut self);
        status.bucket_at = bucket_start(status.received_at);
        status.clock_rejected = true;
        self
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
