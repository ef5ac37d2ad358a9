//! A heartbeat: what a device may claim, and which 10-second bucket it belongs to.

use chrono::{DateTime, TimeDelta};

pub use crate::telemetry::{Telemetry, Transport, WatchedApp};
use crate::{DeviceId, Timestamp};

/// Length of a bucket; one heartbeat is stored per device and bucket.
pub const BUCKET_SECONDS: i64 = 10;
/// Largest lag of a device's clock that is accepted.
pub const CLOCK_LAG_MAX: TimeDelta = TimeDelta::days(7);
/// Largest lead of a device's clock that is accepted.
pub const CLOCK_LEAD_MAX: TimeDelta = TimeDelta::minutes(5);
/// Most heartbeats in one list.
pub const LIST_MAX: usize = 100;

/// Checked heartbeat in its bucket.
#[derive(Debug, Clone, PartialEq)]
pub struct Heartbeat {
    /// Device that sent the heartbeat.
    pub device_id: DeviceId,
    /// Start of its 10-second bucket.
    pub bucket_at: Timestamp,
    /// When the server received it.
    pub received_at: Timestamp,
    /// Time by the clock of the device, if reported.
    pub device_time: Option<Timestamp>,
    /// Whether the clock of the device was too wrong to be used.
    pub clock_rejected: bool,
    /// Telemetry of the heartbeat.
    pub telemetry: Telemetry,
}

impl Heartbeat {
    /// Places telemetry in its bucket.
    pub fn new(device_id: DeviceId, device_time: Option<Timestamp>, telemetry: Telemetry, received_at: Timestamp) -> Self {
        let believed = device_time.filter(|reported| is_believable(*reported, received_at));
        Self {
            device_id,
            bucket_at: bucket_start(believed.unwrap_or(received_at)),
            received_at,
            device_time,
            clock_rejected: device_time.is_some() && believed.is_none(),
            telemetry,
        }
    }
}

/// Whether a device's clock lies within [now - 7 days, now + 5 min].
pub fn is_believable(reported: Timestamp, now: Timestamp) -> bool {
    reported >= now - CLOCK_LAG_MAX && reported <= now + CLOCK_LEAD_MAX
}

/// Start of the 10-second bucket that `at` lies in.
pub fn bucket_start(at: Timestamp) -> Timestamp {
    let second = at.timestamp();
    DateTime::from_timestamp(second - second.rem_euclid(BUCKET_SECONDS), 0).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: i64) -> Timestamp {
        DateTime::from_timestamp_millis(ms).unwrap()
    }
    fn id() -> DeviceId {
        DeviceId(uuid::Uuid::nil())
    }

    proptest! {
        #[test]
        fn a_bucket_holds_its_time_and_starts_on_ten_seconds(ms in -1_000_000_000_000i64..4_000_000_000_000) {
            let start = bucket_start(at(ms));
            prop_assert_eq!(start.timestamp_millis().rem_euclid(10_000), 0);
            prop_assert!(start <= at(ms) && at(ms) < start + TimeDelta::seconds(10));
        }

        #[test]
        fn whatever_the_device_clock_the_bucket_is_within_the_believable_range(told_ms in any::<i32>(), scale in 0i64..100_000) {
            let now = at(1_780_000_000_000);
            let reported = now + TimeDelta::milliseconds(i64::from(told_ms) * scale / 100);
            let heartbeat = Heartbeat::new(id(), Some(reported), Telemetry::default(), now);
            prop_assert!(heartbeat.bucket_at >= bucket_start(now - CLOCK_LAG_MAX) && heartbeat.bucket_at <= now + CLOCK_LEAD_MAX);
            prop_assert_eq!(heartbeat.clock_rejected, !is_believable(reported, now));
        }
    }

    #[test]
    fn the_edges_of_the_believable_range() {
        let now = at(1_780_000_000_000);
        for (reported, rejected) in [
            (now - CLOCK_LAG_MAX, false),
            (now - CLOCK_LAG_MAX - TimeDelta::milliseconds(1), true),
            (now + CLOCK_LEAD_MAX, false),
            (now + CLOCK_LEAD_MAX + TimeDelta::milliseconds(1), true),
        ] {
            let heartbeat = Heartbeat::new(id(), Some(reported), Telemetry::default(), now);
            assert_eq!(heartbeat.clock_rejected, rejected, "{reported}");
            assert_eq!(heartbeat.bucket_at, bucket_start(if rejected { now } else { reported }));
        }
        assert!(!Heartbeat::new(id(), None, Telemetry::default(), now).clock_rejected);
    }
}
