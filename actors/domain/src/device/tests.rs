//! The live state of a device.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta};
use proptest::prelude::*;

use super::*;
use crate::heartbeat::Telemetry;
use crate::{DeviceId, Timestamp};

const POLICY: DevicePolicy = DevicePolicy {
    offline_after: TimeDelta::minutes(12),
    low_battery_pct: 15,
    app_stale_after_s: 600,
    ghost_after: TimeDelta::hours(24),
    events_per_hour: 60,
};

fn at(second: i64) -> Timestamp {
    DateTime::from_timestamp(1_780_000_000 + second, 0).unwrap()
}
fn status(bucket: i64, received: i64) -> Arc<LastStatus> {
    Arc::new(LastStatus {
        bucket_at: at(bucket),
        received_at: at(received),
        device_time: None,
        clock_rejected: false,
        telemetry: Telemetry { seq: Some(bucket), ..Default::default() },
    })
}
fn fresh() -> DeviceState {
    DeviceState::restored(known("kiosk-1", None), at(0), &POLICY)
}
/// Stored state of a device that was last heard from at a second.
fn known(alias: &str, seen: Option<i64>) -> PersistedDevice {
    let identity = DeviceIdentity {
        id: DeviceId(uuid::Uuid::nil()),
        alias: alias.into(),
        tags: vec![],
        groups: vec![],
        hardware_id: None,
        model: None,
        manufacturer: None,
        enrolled_at: at(0),
    };
    PersistedDevice {
        identity,
        monitored: None,
        credential_generation: 1,
        deleted: false,
        last: seen.map(|seen| status(seen, seen)),
        last_seen_at: seen.map(at),
        conflict: None,
    }
}

#[test]
fn a_repeat_is_one_that_is_committed() {
    let mut device = fresh();
    assert_eq!(device.admit(1, &status(10, 10)), Admission::Write { late: false });
    assert_eq!(device.admit(1, &status(10, 10)), Admission::Write { late: false }, "not yet committed");
    device.apply(DeviceEvent::Stored(status(10, 12)), at(12), &POLICY);
    assert_eq!(device.admit(1, &status(10, 10)), Admission::Repeat);
    assert_eq!(device.admit(1, &status(0, 0)), Admission::Write { late: true });
    assert_eq!(device.admit(1, &status(20, 20)), Admission::Write { late: false });
}

#[test]
fn the_newest_of_a_bucket_stands() {
    let reported = |device_time: Option<i64>, seq| {
        let telemetry = Telemetry { seq, ..Default::default() };
        Arc::new(LastStatus { device_time: device_time.map(at), telemetry, ..(*status(10, 19)).clone() })
    };
    let mut device = fresh();
    device.apply(DeviceEvent::Stored(reported(Some(12), Some(7))), at(19), &POLICY);
    assert_eq!(device.admit(1, &reported(Some(12), Some(7))), Admission::Repeat);
    assert_eq!(device.admit(1, &reported(Some(11), Some(8))), Admission::Repeat, "a newer one stands");
    assert_eq!(device.admit(1, &reported(None, Some(8))), Admission::Repeat);
    for newer in [reported(Some(13), Some(1)), reported(Some(12), Some(8))] {
        assert_eq!(device.admit(1, &newer), Admission::Write { late: false });
        let mut device = device.clone();
        device.apply(DeviceEvent::Stored(Arc::clone(&newer)), at(19), &POLICY);
        assert_eq!(device.last, Some(newer));
    }
    device.apply(DeviceEvent::Stored(reported(Some(11), Some(9))), at(19), &POLICY);
    assert_eq!(device.last, Some(reported(Some(12), Some(7))), "committed in another order");
}

#[test]
fn a_clock_that_goes_back_within_a_boot_does_not_make_what_follows_late() {
    let sent = |boot: Option<&str>, seq, clock: i64, received: i64| {
        let telemetry = Telemetry { boot_id: boot.map(str::to_owned), seq, ..Default::default() };
        Arc::new(LastStatus { device_time: Some(at(clock)), telemetry, ..(*status(clock / 10 * 10, received)).clone() })
    };
    let mut device = fresh();
    device.apply(DeviceEvent::Stored(sent(Some("a"), Some(7), 5000, 5000)), at(5000), &POLICY);

    // (boot, number, clock, receipt) -> bucket
    for (boot, seq, clock, bucket) in [
        (Some("a"), Some(8), 1400, 5030), // its clock went back
        (Some("a"), Some(8), 5030, 5030), // it did not
        (Some("a"), Some(6), 1400, 1400), // of the queue, sent late
        (Some("a"), Some(7), 1400, 1400), // the same number says nothing
        (Some("b"), Some(8), 1400, 1400), // another boot may be an earlier one
        (None, Some(8), 1400, 1400),
        (Some("a"), None, 1400, 1400),
    ] {
        let dated = device.dated(sent(boot, seq, clock, 5034));
        assert_eq!((dated.bucket_at, dated.clock_rejected), (at(bucket), bucket != clock), "{boot:?} {seq:?} {clock}");
    }

    let first = device.dated(sent(Some("a"), Some(8), 1400, 5034));
    assert_eq!(device.admit(1, &first), Admission::Write { late: false });
    device.apply(DeviceEvent::Stored(first), at(5034), &POLICY);
    assert_eq!(device.admit(1, &device.dated(sent(Some("a"), Some(8), 1400, 5050))), Admission::Repeat, "its answer was lost");
    assert_eq!(device.admit(1, &device.dated(sent(Some("a"), Some(9), 1410, 5064))), Admission::Write { late: false });
}

#[test]
fn revoked_and_deleted_devices_are_refused() {
    let mut device = fresh();
    assert_eq!(device.apply(DeviceEvent::CredentialsRevoked { generation: 2 }, at(1), &POLICY), [DeviceEffect::Disconnect]);
    assert_eq!(device.admit(1, &status(10, 10)), Admission::Revoked);
    assert_eq!(device.admit(2, &status(10, 10)), Admission::Write { late: false });
    assert_eq!(device.apply(DeviceEvent::CredentialsRevoked { generation: 1 }, at(1), &POLICY), [], "an older word changes nothing");
    assert_eq!(device.credential_generation, 2);
    device.apply(DeviceEvent::Deleted, at(2), &POLICY);
    assert_eq!(device.admit(2, &status(10, 10)), Admission::Deleted);
    assert_eq!(device.apply(DeviceEvent::Stored(status(10, 12)), at(12), &POLICY), []);
}

#[test]
fn silence_takes_a_device_offline_and_a_heartbeat_brings_it_back() {
    let mut device = fresh();
    assert_eq!(device.connectivity, Connectivity::NeverSeen);
    let effects = device.apply(DeviceEvent::Stored(status(0, 0)), at(0), &POLICY);
    assert_eq!(effects, [DeviceEffect::Publish, DeviceEffect::WatchUntil(at(720))]);
    let effects = device.apply(DeviceEvent::Stored(status(300, 300)), at(300), &POLICY);
    assert_eq!(effects, [DeviceEffect::Publish], "the watch is already out");
    assert_eq!(device.apply(DeviceEvent::DeadlinePassed, at(720), &POLICY), [DeviceEffect::WatchUntil(at(1020))]);
    assert_eq!(device.apply(DeviceEvent::DeadlinePassed, at(1020), &POLICY), [DeviceEffect::Publish]);
    assert_eq!(device.connectivity, Connectivity::Offline);
    assert_eq!(device.apply(DeviceEvent::DeadlinePassed, at(1300), &POLICY), []);
    let effects = device.apply(DeviceEvent::Stored(status(2000, 2000)), at(2000), &POLICY);
    assert_eq!(effects, [DeviceEffect::Publish, DeviceEffect::WatchUntil(at(2720))]);
}

#[test]
fn what_somebody_else_stored_is_taken_over_unless_it_is_older() {
    let mut device = fresh();
    device.apply(DeviceEvent::Stored(status(500, 500)), at(500), &POLICY);
    let refresh = |bucket, seen| {
        let last = Some(status(bucket, bucket));
        DeviceEvent::Refresh(Box::new(PersistedDevice { last, last_seen_at: Some(at(seen)), ..known("kiosk-1", None) }))
    };
    device.apply(refresh(600, 610), at(620), &POLICY);
    assert_eq!((device.last.as_ref().unwrap().bucket_at, device.last_seen_at), (at(600), Some(at(610))));
    device.apply(refresh(400, 400), at(620), &POLICY);
    assert_eq!((device.last.as_ref().unwrap().bucket_at, device.last_seen_at), (at(600), Some(at(610))));
    let mut silent = fresh();
    assert_eq!(silent.apply(refresh(0, 0), at(5000), &POLICY), [], "long ago is no sign of life");
}

#[test]
fn an_edit_is_shown_and_what_did_not_change_is_not() {
    let mut device = fresh();
    let refresh = |known: PersistedDevice| DeviceEvent::Refresh(Box::new(known));
    assert_eq!(device.apply(refresh(known("kiosk-1", None)), at(1), &POLICY), []);
    assert_eq!(device.apply(refresh(known("till-1", None)), at(1), &POLICY), [DeviceEffect::Publish]);
    assert_eq!(device.identity.alias, "till-1");
    let monitored = Some(MonitoredApp { package: "a.b".into(), stale_after_s: Some(60) });
    let known = PersistedDevice { monitored: monitored.clone(), ..known("till-1", None) };
    assert_eq!(device.apply(refresh(known), at(1), &POLICY), [DeviceEffect::Publish]);
    assert_eq!(device.monitored, monitored);
}

#[test]
fn a_restored_device_is_back_with_its_credentials_and_its_deadline() {
    let mut device = fresh();
    device.apply(DeviceEvent::Stored(status(0, 0)), at(0), &POLICY);
    let refresh = |deleted, seen| DeviceEvent::Refresh(Box::new(PersistedDevice { deleted, ..known("kiosk-1", Some(seen)) }));
    assert_eq!(device.apply(refresh(true, 0), at(10), &POLICY), [DeviceEffect::Withdraw, DeviceEffect::Disconnect]);
    assert_eq!(device.admit(1, &status(20, 20)), Admission::Deleted);
    assert_eq!(device.apply(refresh(true, 0), at(10), &POLICY), [], "told twice");
    let effects = device.apply(refresh(false, 0), at(30), &POLICY);
    assert_eq!(effects, [DeviceEffect::WatchUntil(at(720)), DeviceEffect::Publish]);
    assert_eq!(device.admit(1, &status(20, 20)), Admission::Write { late: false });
    device.apply(refresh(true, 0), at(40), &POLICY);
    assert_eq!(device.apply(refresh(false, 0), at(5000), &POLICY), [DeviceEffect::Publish], "long silent by now");
    assert_eq!(device.connectivity, Connectivity::Offline);
}

#[test]
fn an_uptime_that_steps_back_is_a_reboot() {
    let up = |bucket, uptime_s| {
        let telemetry = Telemetry { uptime_s: Some(uptime_s), ..Default::default() };
        DeviceEvent::Stored(Arc::new(LastStatus { telemetry, ..(*status(bucket, bucket)).clone() }))
    };
    let mut device = fresh();
    device.apply(up(10, 500), at(10), &POLICY);
    device.apply(up(20, 510), at(20), &POLICY);
    device.apply(up(0, 5), at(21), &POLICY);
    assert!(!device.rebooted, "a late one tells of the past");
    device.apply(up(30, 3), at(30), &POLICY);
    assert!(device.rebooted);
}

#[test]
fn a_late_heartbeat_shows_life_but_not_its_old_values() {
    let mut device = fresh();
    device.apply(DeviceEvent::Stored(status(500, 500)), at(500), &POLICY);
    device.apply(DeviceEvent::Stored(status(100, 800)), at(800), &POLICY);
    assert_eq!(device.last.as_ref().unwrap().bucket_at, at(500));
    assert_eq!(device.last_seen_at, Some(at(800)));
}

proptest! {
    /// In whatever order commits arrive, the newest bucket and the latest receipt win,
    /// and exactly one watch is out while the device is online.
    #[test]
    fn order_of_commits_does_not_matter(mut order in proptest::collection::vec((0i64..1000, 0i64..1000), 1..30)) {
        let mut device = fresh();
        let mut watches = 0;
        for (bucket, received) in &order {
            let effects = device.apply(DeviceEvent::Stored(status(bucket * 10, *received)), at(*received), &POLICY);
            watches += effects.iter().filter(|e| matches!(e, DeviceEffect::WatchUntil(_))).count();
        }
        order.sort_unstable();
        let newest = order.last().unwrap().0;
        prop_assert_eq!(device.last.unwrap().bucket_at, at(newest * 10));
        prop_assert_eq!(device.last_seen_at, order.iter().map(|(_, received)| at(*received)).max());
        prop_assert_eq!(watches, 1);
    }
}

#[test]
fn a_conflict_is_noticed_once_per_generation_and_holds_commands_until_it_is_dismissed() {
    let by_turns = |device: &mut DeviceState, from: i64| {
        let noticed = |n: i64| {
            let mut status = (*status(from + n * 10, from + n * 10)).clone();
            (status.telemetry.boot_id, status.telemetry.seq) = (Some(if n % 2 == 0 { "A" } else { "B" }.into()), Some(from + n));
            device.observe(&status)
        };
        (0..24).map(noticed).filter(|noticed| *noticed).count()
    };
    let mut device = fresh();
    assert_eq!((by_turns(&mut device, 0), device.holds_commands()), (1, true));
    assert!(device.open_conflict().is_some() && device.evidence.is_some() && device.view(&POLICY).conflict_at.is_some());
    let dismissed = IdentityConflict { dismissed: true, ..device.conflict.unwrap() };
    device.conflict = Some(dismissed);
    assert_eq!((by_turns(&mut device, 1_000), device.holds_commands(), device.open_conflict()), (0, false, None), "it stays dismissed");
    device.apply(DeviceEvent::CredentialsRevoked { generation: 2 }, at(2_000), &POLICY);
    assert_eq!((by_turns(&mut device, 2_000), device.open_conflict().map(|conflict| conflict.generation)), (1, Some(2)));
    device.apply(DeviceEvent::CredentialsRevoked { generation: 3 }, at(3_000), &POLICY);
    assert_eq!((device.open_conflict(), device.holds_commands()), (None, true), "what is open goes to neither");
}
