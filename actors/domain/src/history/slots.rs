//! Heartbeats added up in slots of time, as the store adds up those that it has: for rows that come out of an archive.

use chrono::TimeDelta;

use super::{Answers, Measures, Shares, Slot, Transports, floor};
use crate::heartbeat::{Heartbeat, Transport};

/// Slots from the heartbeats of one device, given in the order of their buckets.
#[derive(Debug, Clone)]
pub struct SlotBuilder {
    slot_s: i64,
    offline_after: TimeDelta,
    slots: Vec<Slot>,
}

impl SlotBuilder {
    /// Slots of so many seconds, of a device that counts as offline after this silence.
    pub fn new(slot_s: i64, offline_after: TimeDelta) -> Self {
        Self { slot_s: slot_s.max(1), offline_after, slots: Vec::new() }
    }

    /// Adds the next heartbeat. One that is not later than the one before is left out.
    pub fn add(&mut self, heartbeat: &Heartbeat) {
        let at = floor(heartbeat.bucket_at, self.slot_s);
        let slot = match self.slots.last_mut() {
            Some(last) if heartbeat.bucket_at <= last.last_at => return,
            Some(last) if last.at == at => {
                last.online_s += (heartbeat.bucket_at - last.last_at).min(self.offline_after).num_seconds();
                last
            }
            _ => {
                let bucket_at = heartbeat.bucket_at;
                self.slots.push(Slot {
                    at,
                    heartbeats: 0,
                    first_at: bucket_at,
                    last_at: bucket_at,
                    online_s: 0,
                    measures: Measures::default(),
                    answers: Shares::default(),
                    transports: Transports::default(),
                });
                let Some(new) = self.slots.last_mut() else { return };
                new
            }
        };
        slot.last_at = heartbeat.bucket_at;
        slot.heartbeats += 1;
        slot.measures.add(&Measures::told(&heartbeat.telemetry));
        slot.answers.add(&Shares::<Answers>::told(&heartbeat.telemetry));
        let transports = &mut slot.transports;
        match heartbeat.telemetry.transport {
            Some(Transport::Wifi) => transports.wifi += 1,
            Some(Transport::Cellular) => transports.cellular += 1,
            Some(Transport::Ethernet) => transports.ethernet += 1,
            Some(Transport::None) => transports.none += 1,
            Some(Transport::Other) => transports.other += 1,
            None => {}
        }
    }

    /// The slots, oldest first.
    pub fn finish(self) -> Vec<Slot> {
        self.slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DeviceId;
    use crate::heartbeat::Telemetry;
    use crate::history::Measure;

    fn heartbeat(second: i64, pct: Option<i16>, charging: Option<bool>, transport: Option<Transport>) -> Heartbeat {
        let at = chrono::DateTime::from_timestamp(1_780_012_800 + second, 0).unwrap();
        let telemetry = Telemetry { battery_pct: pct, charging, transport, ..Telemetry::default() };
        Heartbeat { bucket_at: at, ..Heartbeat::new(DeviceId(uuid::Uuid::nil()), None, telemetry, at) }
    }

    #[test]
    fn heartbeats_add_up_as_the_store_adds_them_up() {
        let mut builder = SlotBuilder::new(300, TimeDelta::seconds(100));
        for row in [
            heartbeat(0, Some(50), Some(true), Some(Transport::Wifi)),
            heartbeat(60, Some(40), Some(false), Some(Transport::Cellular)),
            heartbeat(60, Some(1), None, None),
            heartbeat(290, None, None, None),
            heartbeat(310, Some(30), None, Some(Transport::Wifi)),
        ] {
            builder.add(&row);
        }
        let slots = builder.finish();
        assert_eq!(slots.iter().map(|slot| slot.heartbeats).collect::<Vec<_>>(), [3, 1], "one of the bucket before is a repeat");
        let first = &slots[0];
        assert_eq!(first.online_s, 60 + 100, "a gap counts up to the time after which the device is offline");
        assert_eq!(first.measures.battery_pct, Measure { n: 2, min: 40.0, sum: 90.0, max: 50.0 });
        assert_eq!(first.answers.charging, Answers { n: 2, yes: 1 });
        assert_eq!((first.transports.wifi, first.transports.cellular), (1, 1));
        assert_eq!((first.last_at - first.first_at).num_seconds(), 290);
        assert_eq!(slots[1].online_s, 0, "the time between slots is added by whoever puts them together");
    }

    #[test]
    fn nothing_told_is_nothing_added() {
        assert!(SlotBuilder::new(10, TimeDelta::seconds(100)).finish().is_empty());
        let mut builder = SlotBuilder::new(10, TimeDelta::seconds(100));
        builder.add(&heartbeat(5, None, None, None));
        let slots = builder.finish();
        assert_eq!((slots[0].heartbeats, slots[0].measures.battery_pct.n, slots[0].answers.charging.n), (1, 0, 0));
    }
}
