use std::sync::Arc;

use domain::heartbeat::{Heartbeat, Telemetry, Transport, WatchedApp};
use domain::{DeviceId, Timestamp};
use store::{HeartbeatRow, StoredDevice};
use test_database::TestDatabase;

use crate::common::{at, battery, enroll, enroll_many, heartbeat, late_heartbeat};

async fn stored(db: &TestDatabase, id: DeviceId) -> StoredDevice {
    db.store().device(id).await.unwrap().unwrap()
}

/// Bucket and battery of the newest status.
async fn newest(db: &TestDatabase, id: DeviceId) -> (Timestamp, Option<i16>) {
    let last = stored(db, id).await.last.unwrap();
    (last.bucket_at, last.telemetry.battery_pct)
}

async fn history(db: &TestDatabase, id: DeviceId) -> Vec<Option<i16>> {
    db.values(&format!("SELECT battery_pct FROM heartbeats_unpacked WHERE device_id = '{id}' ORDER BY bucket_at")).await
}

/// A heartbeat that tells another push token.
fn with_token(id: DeviceId, second: i64, token: &str) -> HeartbeatRow {
    let mut row = heartbeat(id, second, battery(1));
    row.fcm_token = Some(token.to_owned());
    row
}

/// Every field told.
fn full() -> Telemetry {
    let text = |text: &str| Some(text.to_owned());
    Telemetry {
        battery_pct: Some(55),
        charging: Some(true),
        battery_temperature_c: Some(31.5),
        app_version: text("1.2"),
        agent_version_code: Some(12),
        android_version: text("14"),
        sdk_int: Some(34),
        patch_level: text("2026-05-05"),
        build_id: text("UP1A"),
        model: text("Pixel"),
        manufacturer: text("Google"),
        uptime_s: Some(1000),
        ram_total_mb: Some(4096),
        ram_available_mb: Some(1024),
        ram_pressure_pct: Some(7),
        storage_free_mb: Some(9000),
        transport: Some(Transport::Cellular),
        ssid: text("shop"),
        carrier: text("carrier"),
        ip: text("192.0.2.7"),
        net_validated: Some(false),
        metered: Some(true),
        foreground_recent_s: Some(3),
        app_running: Some(false),
        power_ok: Some(true),
        doze_whitelisted: Some(false),
        is_device_owner: Some(true),
        in_call: Some(false),
        queue_depth: Some(2),
        boot_id: text("boot"),
        seq: Some(9),
        apps: vec![WatchedApp { package: "a.b".into(), installed: Some(true), version_name: None, version_code: Some(3) }],
        ..Telemetry::default()
    }
}

#[tokio::test]
async fn a_batch_of_full_and_empty_heartbeats_reads_back_as_it_was() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 3).await;
    let rejected = Heartbeat::new(ids[2], Some(at(-8 * 86_400)), battery(1), at(40));
    assert!(rejected.clock_rejected);
    let mut batch = [
        heartbeat(ids[1], 25, Telemetry::default()),
        heartbeat(ids[0], 15, full()),
        HeartbeatRow::new(ids[2], Arc::new(rejected.clone().into()), None, false),
    ];
    db.store().write_heartbeats(&mut batch).await.unwrap();
    let first = stored(&db, ids[0]).await;
    let last = first.last.unwrap();
    assert_eq!((last.bucket_at, last.received_at, last.device_time, first.last_seen_at), (at(10), at(15), Some(at(15)), Some(at(15))));
    assert_eq!(last.telemetry, full());
    assert_eq!(stored(&db, ids[1]).await.last.unwrap().telemetry, Telemetry::default());
    assert_eq!(stored(&db, ids[2]).await.last.unwrap(), rejected.into());
    assert_eq!(db.value::<i64>("SELECT count(*) FROM heartbeats").await, 3);
}

#[tokio::test]
async fn a_newer_bucket_wins_in_whatever_order_batches_come() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 2).await;
    let write = async |batch: &mut [HeartbeatRow]| db.store().write_heartbeats(batch).await.unwrap();
    // The newest of a batch need not be its last row.
    write(&mut [heartbeat(ids[0], 30, battery(30)), heartbeat(ids[1], 50, battery(50)), heartbeat(ids[0], 20, battery(20))]).await;
    assert_eq!((newest(&db, ids[0]).await, newest(&db, ids[1]).await), ((at(30), Some(30)), (at(50), Some(50))));
    write(&mut [heartbeat(ids[0], 10, battery(10)), heartbeat(ids[1], 60, battery(60))]).await;
    assert_eq!((newest(&db, ids[0]).await, newest(&db, ids[1]).await), ((at(30), Some(30)), (at(60), Some(60))));
    assert_eq!(history(&db, ids[0]).await, [Some(10), Some(20), Some(30)], "history has them all");
}

#[tokio::test]
async fn of_a_bucket_the_newest_heartbeat_stands() {
    let db = TestDatabase::new().await;
    let id = enroll(&db, 1, "a").await;
    let write = async |batch: &mut [HeartbeatRow]| db.store().write_heartbeats(batch).await.unwrap();
    write(&mut [heartbeat(id, 11, battery(1)), heartbeat(id, 12, battery(2))]).await;
    assert_eq!((history(&db, id).await, newest(&db, id).await), (vec![Some(2)], (at(10), Some(2))));
    write(&mut [heartbeat(id, 13, battery(3))]).await;
    write(&mut [heartbeat(id, 12, battery(2))]).await;
    assert_eq!((history(&db, id).await, newest(&db, id).await), (vec![Some(3)], (at(10), Some(3))));
}

#[tokio::test]
async fn a_batch_with_a_row_that_is_refused_stores_nothing() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 2).await;
    let refused = db.store().write_heartbeats(&mut [with_token(ids[0], 10, "new"), heartbeat(ids[1], 10, battery(101))]).await;
    assert!(refused.is_err());
    assert!(stored(&db, ids[0]).await.last.is_none());
    assert_eq!((stored(&db, ids[0]).await.fcm_token, db.value::<i64>("SELECT count(*) FROM heartbeats").await), (None, 0));
}

#[tokio::test]
async fn a_late_heartbeat_is_a_sign_of_life_and_no_newer_status() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 2).await;
    let write = async |batch: &mut [HeartbeatRow]| db.store().write_heartbeats(batch).await.unwrap();
    write(&mut [heartbeat(ids[0], 100, battery(50)), heartbeat(ids[1], 100, battery(50))]).await;
    write(&mut [
        late_heartbeat(ids[0], 20, 130, battery(20), true),
        late_heartbeat(ids[0], 30, 120, battery(30), true),
        late_heartbeat(ids[1], 30, 90, battery(30), true),
    ])
    .await;
    assert_eq!(newest(&db, ids[0]).await, (at(100), Some(50)));
    assert_eq!(stored(&db, ids[0]).await.last_seen_at, Some(at(130)), "the latest of the batch");
    assert_eq!(stored(&db, ids[1]).await.last_seen_at, Some(at(100)), "not earlier than before");
    // A newer bucket that was received earlier does not set it back.
    write(&mut [late_heartbeat(ids[0], 110, 125, battery(51), false)]).await;
    let device = stored(&db, ids[0]).await;
    assert_eq!((device.last_seen_at, device.last.unwrap().received_at), (Some(at(130)), at(125)));
}

#[tokio::test]
async fn details_that_are_left_out_stay_only_if_they_are_the_stored_ones() {
    let db = TestDatabase::new().await;
    let id = enroll(&db, 1, "a").await;
    let write = async |row: HeartbeatRow| db.store().write_heartbeats(&mut [row]).await.unwrap();
    let same = |second, telemetry| {
        let mut row = heartbeat(id, second, telemetry);
        row.same_details = true;
        row
    };
    write(heartbeat(id, 10, full())).await;
    write(same(20, Telemetry { battery_pct: Some(54), ..full() })).await;
    let last = stored(&db, id).await.last.unwrap();
    assert_eq!((last.telemetry.battery_pct, last.telemetry.ssid.as_deref(), last.telemetry.apps.len()), (Some(54), Some("shop"), 1));
    // Another node has written other details in between.
    write(heartbeat(id, 30, Telemetry { ssid: Some("home".into()), ..full() })).await;
    write(same(40, full())).await;
    let last = stored(&db, id).await.last.unwrap();
    assert_eq!((last.bucket_at, last.telemetry.ssid, last.telemetry.apps.len()), (at(40), None, 0), "none rather than wrong ones");
    assert_eq!(last.telemetry.model.as_deref(), Some("Pixel"), "what has a column of its own is there");
}

#[tokio::test]
async fn a_changed_push_token_is_stored_with_the_batch() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 2).await;
    let with_token = |second, token| with_token(ids[0], second, token);
    db.store().write_heartbeats(&mut [with_token(20, "second"), heartbeat(ids[1], 20, battery(1)), with_token(10, "first")]).await.unwrap();
    assert_eq!((stored(&db, ids[0]).await.fcm_token.as_deref(), stored(&db, ids[1]).await.fcm_token), (Some("second"), None));
}

#[tokio::test]
async fn heartbeats_that_come_after_their_day_was_counted_leave_a_note_each_day() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 2).await;
    // Noon of June 1st; its day is counted from two hours after midnight on.
    let (midnight, day) = (12 * 3600, 86_400);
    db.store()
        .write_heartbeats(&mut [
            late_heartbeat(ids[0], 10, midnight + 3600, battery(1), true),
            late_heartbeat(ids[1], 10, midnight + 7200, battery(1), true),
            late_heartbeat(ids[1], 20, midnight + 7200, battery(1), true),
            late_heartbeat(ids[1], 10 - day, midnight + 7200, battery(1), true),
        ])
        .await
        .unwrap();
    let notes: Vec<String> = db.values("SELECT device_id || ' ' || day FROM history_recount ORDER BY day, device_id").await;
    assert_eq!(notes, [format!("{} 2026-05-31", ids[1]), format!("{} 2026-06-01", ids[1])]);
}

#[tokio::test]
async fn writers_with_the_same_devices_do_not_lock_up() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 20).await;
    let batch = |second: i64, backwards: bool| {
        let mut rows: Vec<_> = ids.iter().map(|id| with_token(*id, second, &format!("t{second}"))).collect();
        if backwards {
            rows.reverse();
        }
        rows
    };
    let write = async |mut rows: Vec<HeartbeatRow>| db.store().write_heartbeats(&mut rows).await.unwrap();
    for round in 0..5 {
        let second = round * 100;
        tokio::join!(
            write(batch(second, false)),
            write(batch(second + 10, true)),
            write(batch(second + 20, false)),
            write(batch(second, true))
        );
    }
    assert_eq!(db.value::<i64>("SELECT count(*) FROM heartbeats").await, 20 * 15);
    assert_eq!(db.value::<i64>(&format!("SELECT count(*) FROM device_last_status WHERE bucket_at = '{}'", at(420))).await, 20);
}
