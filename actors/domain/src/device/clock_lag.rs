//! Lag of a device's clock behind the server's, as its heartbeats show it.

use chrono::TimeDelta;

use super::LastStatus;
use crate::Timestamp;

/// Least time by which any heartbeat of a boot arrived after the time that it states. A heartbeat that waited on the device arrives later than its
/// clock alone explains, so the least is nearest to what the clock is off; it is negative where the clock is ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockLag {
    /// Receipt of the first heartbeat that it is known from.
    pub since: Timestamp,
    /// The lag.
    pub least: TimeDelta,
}

impl ClockLag {
    /// Lag after the newest heartbeat, from that before it and its own; `None` where the heartbeat states no usable time. Only heartbeats of one
    /// boot, in the order in which the device counts them, are of one clock.
    pub fn after(before: Option<(&LastStatus, Option<Self>)>, newest: &LastStatus) -> Option<Self> {
        let device_time = newest.device_time.filter(|_| !newest.clock_rejected)?;
        let own = Self { since: newest.received_at, least: newest.received_at - device_time };
        match before {
            Some((last, Some(lag))) if last.received_at == newest.received_at && last.order() == newest.order() => Some(lag),
            Some((last, Some(lag))) if newest.sent_after(last) => Some(Self { since: lag.since, least: lag.least.min(own.least) }),
            _ => Some(own),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heartbeat::{Telemetry, bucket_start};

    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_795_000_000 + second, 0).unwrap()
    }

    fn beat(boot: &str, seq: i64, told: i64, received: i64) -> LastStatus {
        let telemetry = Telemetry { boot_id: Some(boot.into()), seq: Some(seq), ..Telemetry::default() };
        let (device_time, received_at) = (Some(at(told)), at(received));
        LastStatus { bucket_at: bucket_start(at(told)), received_at, device_time, clock_rejected: false, telemetry }
    }

    fn lag(since: i64, least: i64) -> Option<ClockLag> {
        Some(ClockLag { since: at(since), least: TimeDelta::seconds(least) })
    }

    #[test]
    fn the_heartbeat_that_waited_least_tells_how_late_the_clock_is() {
        let mut known: Option<(LastStatus, Option<ClockLag>)> = None;
        for (beat, want) in [
            (beat("a", 1, 0, 125), lag(125, 125)),
            (beat("a", 2, 20, 140), lag(125, 120)),
            // It waited on the device.
            (beat("a", 3, 40, 200), lag(125, 120)),
            // Shown once more, as when the device goes offline.
            (beat("a", 3, 40, 200), lag(125, 120)),
            (beat("a", 4, 300, 290), lag(125, -10)),
            (beat("b", 1, 320, 330), lag(330, 10)),
            // Counted back: another device, or one that forgot.
            (beat("b", 1, 350, 351), lag(351, 1)),
            (LastStatus { clock_rejected: true, ..beat("b", 2, 0, 400) }, None),
            (LastStatus { device_time: None, ..beat("b", 3, 0, 410) }, None),
            (beat("b", 4, 419, 420), lag(420, 1)),
        ] {
            let after = ClockLag::after(known.as_ref().map(|(last, lag)| (last, *lag)), &beat);
            assert_eq!(after, want, "{beat:?}");
            known = Some((beat, after));
        }
    }
}
