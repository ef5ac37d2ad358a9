use chrono::NaiveDate;
use domain::DeviceId;
use domain::heartbeat::{Telemetry, Transport};
use domain::history::{Answers, FleetSample, HOUR_S, Measure, Slot, Transports};
use domain::shard::{Epoch, ShardId};
use test_database::TestDatabase;

use crate::common::{at, battery, device, enroll_device, enroll_many, heartbeat, late_heartbeat, lease, new_device, next_epoch};

/// The day of second 0, and the seconds of its begin and end.
const DAY_BEGIN: i64 = -12 * HOUR_S;
const DAY_END: i64 = 12 * HOUR_S;
const OFFLINE_AFTER_S: i32 = 720;

fn june(day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 6, day).unwrap()
}

async fn write(db: &TestDatabase, id: DeviceId, heartbeats: &[(i64, Telemetry)]) {
    let mut rows: Vec<_> = heartbeats.iter().map(|(second, telemetry)| heartbeat(id, *second, telemetry.clone())).collect();
    db.store().write_heartbeats(&mut rows).await.unwrap();
}

fn told(battery_pct: Option<i16>, charging: Option<bool>, transport: Option<Transport>) -> Telemetry {
    Telemetry { battery_pct, charging, transport, ..Telemetry::default() }
}

async fn exact(db: &TestDatabase, id: DeviceId, from: i64, to: i64, slot_s: i64) -> Vec<Slot> {
    db.store().heartbeat_slots(id, at(from), at(to), slot_s, OFFLINE_AFTER_S).await.unwrap()
}

async fn counted(db: &TestDatabase, id: DeviceId) -> Vec<Slot> {
    db.store().hour_slots(id, at(DAY_BEGIN), at(DAY_END)).await.unwrap()
}

#[tokio::test]
async fn a_slot_adds_up_its_heartbeats() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 2).await;
    let heartbeats = [
        (0, told(Some(50), Some(true), Some(Transport::Wifi))),
        (300, told(None, None, None)),
        (1900, told(Some(40), Some(false), Some(Transport::None))),
        (3590, told(Some(45), None, Some(Transport::Wifi))),
        (3600, told(Some(1), None, Some(Transport::Other))),
        (7200, battery(2)),
    ];
    write(&db, ids[0], &heartbeats).await;
    write(&db, ids[1], &[(10, battery(99))]).await;
    let slots = exact(&db, ids[0], 0, 7200, HOUR_S).await;
    assert_eq!(slots.iter().map(|slot| (slot.at, slot.heartbeats)).collect::<Vec<_>>(), [(at(0), 4), (at(3600), 1)]);
    let first = &slots[0];
    assert_eq!(first.measures.battery_pct, Measure { n: 3, min: 40.0, sum: 135.0, max: 50.0 });
    assert_eq!((first.answers.charging, first.answers.net_validated), (Answers { n: 2, yes: 1 }, Answers::default()));
    assert_eq!(first.transports, Transports { wifi: 2, none: 1, ..Transports::default() });
    assert_eq!((first.first_at, first.last_at), (at(0), at(3590)));
    // 300 s in full; of 1600 s and 1690 s as much as a silent device counts as online; the step into the next hour belongs to none.
    assert_eq!(first.online_s, 300 + 2 * i64::from(OFFLINE_AFTER_S));
    assert_eq!(first.measures.battery_temperature_c, Measure::default(), "nothing was told");
    assert_eq!(exact(&db, ids[0], 300, 1900, HOUR_S).await[0].heartbeats, 1, "from is in, to is not");
    assert_eq!(exact(&db, ids[0], 0, 600, 300).await.iter().map(|slot| slot.at).collect::<Vec<_>>(), [at(0), at(300)]);
}

#[tokio::test]
async fn counted_hours_equal_their_heartbeats_however_often_they_are_counted() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 3).await;
    for (index, id) in ids.iter().enumerate() {
        let step = 700 + 311 * index as i64;
        let heartbeats: Vec<_> = (0..60).map(|n| (DAY_BEGIN - 1800 + n * step, battery((n % 100) as i16))).collect();
        write(&db, *id, &heartbeats).await;
    }
    for _ in 0..2 {
        db.store().aggregate_hours(&ids[..2], june(1), OFFLINE_AFTER_S).await.unwrap();
        for id in &ids[..2] {
            let hours = counted(&db, *id).await;
            assert!(hours.len() >= 11, "{}", hours.len());
            assert_eq!(hours, exact(&db, *id, DAY_BEGIN, DAY_END, HOUR_S).await);
        }
    }
    assert!(counted(&db, ids[2]).await.is_empty(), "it was not asked for");
    assert_eq!(db.value::<i64>(&format!("SELECT count(*) FROM history_hour WHERE hour_at < '{}'", at(DAY_BEGIN))).await, 0);
    // An hour whose heartbeats are gone goes with the next count.
    db.execute(&format!("DELETE FROM heartbeats WHERE device_id = '{}'", ids[0])).await;
    db.store().aggregate_hours(&ids[..1], june(1), OFFLINE_AFTER_S).await.unwrap();
    assert!(counted(&db, ids[0]).await.is_empty());
    assert!(!counted(&db, ids[1]).await.is_empty());
}

#[tokio::test]
async fn what_came_late_is_counted_again_while_its_day_is_kept() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 2).await;
    db.store().ensure_partitions(&[june(1)]).await.unwrap();
    for id in &ids {
        write(&db, *id, &[(0, battery(50)), (-86_400, battery(50))]).await;
        db.store().aggregate_hours(&[*id], june(1), OFFLINE_AFTER_S).await.unwrap();
        let late = |second| late_heartbeat(*id, second, DAY_END + 3 * HOUR_S, battery(10), true);
        db.store().write_heartbeats(&mut [late(10), late(20 - 86_400)]).await.unwrap();
    }
    assert_eq!(db.store().reaggregate_hours(1, OFFLINE_AFTER_S).await.unwrap(), 1);
    assert_eq!(db.store().reaggregate_hours(100, OFFLINE_AFTER_S).await.unwrap(), 3);
    assert_eq!(db.store().reaggregate_hours(100, OFFLINE_AFTER_S).await.unwrap(), 0);
    for id in &ids {
        assert_eq!(counted(&db, *id).await[0].measures.battery_pct, Measure { n: 2, min: 10.0, sum: 60.0, max: 50.0 });
    }
    // May 31st has no partition, as if its heartbeats had been removed: its hours are all that is left of them.
    assert_eq!(db.value::<i64>(&format!("SELECT count(*) FROM history_hour WHERE hour_at < '{}'", at(DAY_BEGIN))).await, 0);
}

#[tokio::test]
async fn days_are_counted_then_closed() {
    let db = TestDatabase::new().await;
    let store = db.store();
    for day in [3, 1, 2, 2] {
        store.note_aggregated_day(june(day)).await.unwrap();
    }
    assert_eq!(store.aggregated_days(june(2), june(3)).await.unwrap(), [june(2), june(3)]);
    assert_eq!(store.unclosed_days(june(3)).await.unwrap(), [june(1), june(2)]);
    store.close_day(june(1)).await.unwrap();
    assert_eq!(store.unclosed_days(june(3)).await.unwrap(), [june(2)]);
    assert_eq!(store.aggregated_days(june(1), june(1)).await.unwrap(), [june(1)], "a closed day is still counted");
}

#[tokio::test]
async fn devices_to_aggregate_come_in_steps_and_enrolled_before_the_end() {
    let db = TestDatabase::new().await;
    for (number, enrolled) in [(1, 0), (2, 5), (3, 10), (4, 0)] {
        enroll_device(&db, &new_device(number, &format!("d{number}")), &[], &[], at(enrolled)).await;
    }
    crate::common::delete_devices(&db, &[device(4)], at(6)).await;
    let step = async |after, limit| db.store().devices_to_aggregate(after, at(10), limit).await.unwrap();
    assert_eq!(step(None, 2).await, [device(1), device(2)]);
    assert_eq!(step(Some(device(2)), 2).await, [device(4)], "deleted ones included; one that enrolled at the end is not");
    assert!(step(Some(device(4)), 2).await.is_empty());
}

#[tokio::test]
async fn old_hours_are_removed_in_bounded_steps() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 1).await;
    write(&db, ids[0], &[(0, battery(1)), (HOUR_S, battery(1)), (2 * HOUR_S, battery(1))]).await;
    db.store().aggregate_hours(&ids, june(1), OFFLINE_AFTER_S).await.unwrap();
    assert_eq!(db.store().purge_hours(at(2 * HOUR_S), 1).await.unwrap(), 1);
    assert_eq!(db.store().purge_hours(at(2 * HOUR_S), 9).await.unwrap(), 1);
    assert_eq!(db.store().purge_hours(at(2 * HOUR_S), 9).await.unwrap(), 0);
    assert_eq!(counted(&db, ids[0]).await.iter().map(|slot| slot.at).collect::<Vec<_>>(), [at(2 * HOUR_S)]);
}

#[tokio::test]
async fn the_owner_of_the_first_shard_speaks_for_the_fleet_once_for_each_time() {
    let db = TestDatabase::new().await;
    let store = db.store();
    let sample = |second, devices| FleetSample {
        at: at(second),
        devices,
        online: 1,
        offline: 2,
        never_seen: 3,
        low_battery: 4,
        app_down: 5,
        heartbeats_per_second: 0.5,
    };
    let epoch = lease(&db, ShardId(0)).await.epoch;
    store.insert_fleet_sample(sample(300, 7), epoch).await.unwrap();
    store.insert_fleet_sample(sample(300, 8), epoch).await.unwrap();
    next_epoch(&db, ShardId(0)).await;
    store.insert_fleet_sample(sample(600, 9), epoch).await.unwrap();
    store.insert_fleet_sample(sample(0, 6), Epoch(epoch.0 + 1)).await.unwrap();
    assert_eq!(store.fleet_samples(at(0)).await.unwrap(), [sample(0, 6), sample(300, 7)]);
    assert_eq!(store.fleet_samples(at(1)).await.unwrap(), [sample(300, 7)]);
    assert_eq!(store.purge_fleet_samples(at(300), 9).await.unwrap(), 1);
    assert_eq!(store.fleet_samples(at(0)).await.unwrap(), [sample(300, 7)]);
    store.insert_fleet_sample(sample(400, 7), Epoch(epoch.0 + 1)).await.unwrap();
    assert_eq!(store.purge_fleet_samples(at(500), 1).await.unwrap(), 1, "the oldest first");
    assert_eq!(store.fleet_samples(at(0)).await.unwrap(), [sample(400, 7)]);
}
