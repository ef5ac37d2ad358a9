//! Heartbeats as narrow rows: whoever reads finds what a wide row has, and both stand side by side.

use std::sync::Arc;

use chrono::{NaiveDate, TimeDelta};
use domain::archive::{Cell, RecordBatch};
use domain::heartbeat::{Heartbeat, Telemetry, Transport};
use domain::reconciliation::Window;
use domain::{DeviceId, Timestamp};
use futures_util::TryStreamExt;
use store::{HeartbeatRow, LockPatience, NarrowRows, Store};
use test_database::TestDatabase;

use crate::common::{at, battery, device, enroll_many, heartbeat, new_node, uuid};

const TABLE: &str = "heartbeats_p20260601";

fn june(day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 6, day).unwrap()
}

async fn database() -> TestDatabase {
    let db = TestDatabase::new().await;
    db.store().ensure_partitions(&[june(1)]).await.unwrap();
    db
}

fn wide(db: &TestDatabase) -> Store {
    db.store().clone().with_narrow_rows(NarrowRows { enabled: false, ..NarrowRows::default() })
}

async fn narrow_rows(db: &TestDatabase) -> i64 {
    db.value("SELECT count(*) FROM heartbeats WHERE received_at IS NULL").await
}

/// The rows of the day, as archives have them.
async fn rows_of(db: &TestDatabase) -> RecordBatch {
    let mut batches: Vec<RecordBatch> = db.store().partition_batches(TABLE, 7).try_collect().await.unwrap();
    let mut all = batches.remove(0);
    for batch in batches {
        all.append(batch).unwrap();
    }
    all
}

/// The rows of a device, as exports have them.
async fn shown(db: &TestDatabase, id: DeviceId) -> RecordBatch {
    db.store().device_batch(id, at(-86_400), at(86_400), 1000).await.unwrap()
}

fn usual(n: i64) -> Telemetry {
    let text = |text: &str| Some(text.to_owned());
    Telemetry {
        battery_pct: Some((n % 101) as i16),
        charging: Some(n % 2 == 0),
        battery_temperature_c: Some(31.7),
        app_version: text("1.4.0"),
        agent_version_code: Some(140),
        uptime_s: Some(1000 + n),
        ram_available_mb: Some(1024),
        ram_pressure_pct: Some(7),
        storage_free_mb: Some(90_000),
        transport: Some(Transport::Wifi),
        net_validated: Some(true),
        foreground_recent_s: Some(3),
        app_running: Some(true),
        queue_depth: Some(0),
        boot_id: text("boot"),
        seq: Some(n),
        cpu_load_pct: Some(100),
        ..Telemetry::default()
    }
}

/// Heartbeats with every reading, with none, with one alone, and with values that fit into no narrow column.
fn all_kinds(id: DeviceId) -> Vec<HeartbeatRow> {
    let empty = Telemetry::default;
    let mut told = vec![
        usual(1),
        empty(),
        Telemetry { battery_pct: Some(0), ram_pressure_pct: Some(0), cpu_load_pct: Some(0), ..empty() },
        Telemetry { battery_pct: Some(100), ram_pressure_pct: Some(100), cpu_load_pct: Some(100), ..empty() },
        Telemetry { charging: Some(false), net_validated: Some(false), app_running: Some(false), ..empty() },
        Telemetry { charging: Some(true), app_running: Some(true), ..empty() },
        Telemetry { seq: Some(i64::MAX), uptime_s: Some(10_000_000_000), storage_free_mb: Some(1_099_511_627_776), ..usual(2) },
        Telemetry { ram_available_mb: Some(16_777_216), foreground_recent_s: Some(i32::MAX), queue_depth: Some(i32::MAX), ..usual(3) },
        Telemetry { seq: Some(i64::from(i32::MAX)), foreground_recent_s: Some(32_767), queue_depth: Some(1), ..usual(4) },
        Telemetry { battery_temperature_c: Some(31.75), ..usual(5) },
        Telemetry { battery_temperature_c: Some(-0.0), ..empty() },
        Telemetry { battery_temperature_c: Some(-100.0), ..empty() },
        Telemetry { boot_id: Some("ä \"quoted\"".into()), ..empty() },
        Telemetry { app_version: Some("2.0".into()), ..empty() },
        Telemetry { agent_version_code: Some(0), ..empty() },
        Telemetry { agent_version_code: Some(i64::MAX), boot_id: Some("boot".into()), ..empty() },
    ];
    for transport in [Transport::Wifi, Transport::Cellular, Transport::Ethernet, Transport::None, Transport::Other] {
        told.push(Telemetry { transport: Some(transport), ..empty() });
    }
    let mut rows: Vec<_> = told.into_iter().zip(0i64..).map(|(told, n)| heartbeat(id, n * 10, told)).collect();
    // Times: none of the device, to the microsecond, long before the receipt, by a clock that is ahead, and by one that is not believed.
    let time = |device: Option<Timestamp>, received: Timestamp, n: i64| {
        HeartbeatRow::new(id, Arc::new(Heartbeat::new(id, device, usual(n), received).into()), None, false)
    };
    let us = TimeDelta::microseconds;
    rows.push(time(None, at(1000) + us(123_456), 100));
    rows.push(time(Some(at(1010) + us(123_456)), at(1012) + us(999_999), 101));
    rows.push(time(Some(at(1020)), at(1020 + 7 * 3600), 102));
    rows.push(time(Some(at(1030)), at(1030 - 250) + us(1), 103));
    rows.push(time(Some(at(-30 * 86_400)), at(1040), 104));
    rows.push(time(Some(at(1050) + TimeDelta::milliseconds(9_999)), at(1060), 105));
    rows
}

#[tokio::test]
async fn narrow_rows_read_as_wide_ones_do() {
    let (narrow_db, wide_db) = (database().await, database().await);
    let mut expected = all_kinds(device(1));
    for (db, store) in [(&narrow_db, narrow_db.store().clone()), (&wide_db, wide(&wide_db))] {
        enroll_many(db, 1).await;
        store.write_heartbeats(&mut expected).await.unwrap();
    }
    // Only the heartbeat that came seven hours late is wide as a whole.
    assert_eq!((narrow_rows(&narrow_db).await, narrow_rows(&wide_db).await), (expected.len() as i64 - 1, 0));
    assert_eq!(wide_db.value::<i64>("SELECT count(*) FROM heartbeat_session").await, 0);
    let (of_narrow, of_wide) = (rows_of(&narrow_db).await, rows_of(&wide_db).await);
    assert_eq!(of_narrow.rows(), expected.len());
    assert_eq!(of_narrow, of_wide, "as archives have them");
    assert_eq!(shown(&narrow_db, device(1)).await, of_wide, "by the view");
    assert_eq!(shown(&wide_db, device(1)).await, of_wide, "wide rows by the view");
    // And the values are those that were told, not only the same ones.
    let at_place = |name: &str, row: usize| of_narrow.column(name).unwrap().cell(row);
    assert_eq!(at_place("seq", 6), Cell::Integer(i64::MAX));
    assert_eq!(at_place("battery_temperature_c", 0), Cell::Float(31.7));
    assert_eq!(at_place("boot_id", 12), Cell::String("ä \"quoted\""));
    assert_eq!((at_place("queue_depth", 0), at_place("queue_depth", 1)), (Cell::Integer(0), Cell::Null));
}

/// Plots, hourly aggregates and reconciliation take narrow rows for what they are.
#[tokio::test]
async fn plots_hours_and_reconciliation_read_both() {
    let (narrow_db, wide_db) = (database().await, database().await);
    let mut read = Vec::new();
    for (db, store) in [(&narrow_db, narrow_db.store().clone()), (&wide_db, wide(&wide_db))] {
        let id = enroll_many(db, 1).await[0];
        store.write_heartbeats(&mut all_kinds(id)).await.unwrap();
        let slots = store.heartbeat_slots(id, at(0), at(7200), 600, 720).await.unwrap();
        store.aggregate_hours(&[id], june(1), 720).await.unwrap();
        assert_eq!(store.compare_hours(&[id], june(1)).await.unwrap().1, vec![]);
        let compared = store.compare_status(None, 10, Window::at(at(3600))).await.unwrap();
        assert_eq!((compared.devices, compared.drifts), (1, vec![]));
        read.push((slots, store.hour_slots(id, at(0), at(7200)).await.unwrap()));
    }
    assert!(!read[0].0.is_empty() && !read[0].1.is_empty());
    assert_eq!(format!("{:?}", read[0]), format!("{:?}", read[1]));
}

#[tokio::test]
async fn of_a_bucket_the_newest_stands_whether_rows_are_narrow_or_wide() {
    let db = database().await;
    let id = enroll_many(&db, 1).await[0];
    let (narrow, wide) = (db.store().clone(), wide(&db));
    let mut newest = 0;
    for (n, (seq, store)) in
        [(3, &narrow), (2, &wide), (3, &wide), (5, &wide), (4, &narrow), (5, &narrow), (6, &narrow), (7, &wide), (8, &narrow)]
            .into_iter()
            .enumerate()
    {
        store.write_heartbeats(&mut [heartbeat(id, 5, usual(seq))]).await.unwrap();
        newest = newest.max(seq);
        let stands = shown(&db, id).await;
        assert_eq!((stands.rows(), stands.column("seq").unwrap().cell(0)), (1, Cell::Integer(newest)), "after write {n}");
        assert_eq!(stands.column("battery_pct").unwrap().cell(0), Cell::Integer(newest), "after write {n}");
    }
    // A repeat is not written again.
    let version = "SELECT xmin::text FROM heartbeats";
    let before: String = db.value(version).await;
    narrow.write_heartbeats(&mut [heartbeat(id, 5, usual(8))]).await.unwrap();
    wide.write_heartbeats(&mut [heartbeat(id, 5, usual(8))]).await.unwrap();
    assert_eq!(db.value::<String>(version).await, before);
}

/// A node of the build before sets the columns that it knows, and leaves the others as they were.
#[tokio::test]
async fn what_the_build_before_writes_over_a_narrow_row_is_what_stands() {
    let db = database().await;
    let id = enroll_many(&db, 1).await[0];
    db.store().write_heartbeats(&mut [heartbeat(id, 5, usual(3))]).await.unwrap();
    assert_eq!(narrow_rows(&db).await, 1);
    db.execute(
        "UPDATE heartbeats SET received_at = bucket_at + interval '8 s', device_time = NULL, clock_rejected = true, battery_pct = 77, charging = NULL,
             battery_temperature_c = NULL, app_version = NULL, agent_version_code = NULL, uptime_s = NULL, ram_available_mb = NULL,
             ram_pressure_pct = NULL, storage_free_mb = NULL, transport = NULL, net_validated = NULL, foreground_recent_s = NULL,
             app_running = NULL, queue_depth = NULL, boot_id = NULL, seq = 4, cpu_load_pct = NULL",
    )
    .await;
    for batch in [shown(&db, id).await, rows_of(&db).await] {
        let told = |name: &str| batch.column(name).unwrap().cell(0);
        let there: Vec<_> =
            batch.schema().columns.iter().map(|column| column.name.to_string()).filter(|name| told(name) != Cell::Null).collect();
        assert_eq!(there, ["device_id", "bucket_at", "received_at", "clock_rejected", "battery_pct", "seq"]);
        assert_eq!(
            (told("battery_pct"), told("received_at"), told("clock_rejected")),
            (Cell::Integer(77), Cell::Timestamp(at(8)), Cell::Boolean(true))
        );
    }
}

#[tokio::test]
async fn rows_are_narrow_only_while_every_live_node_reads_them() {
    let db = database().await;
    let id = enroll_many(&db, 1).await[0];
    let write = async |second: i64| db.store().write_heartbeats(&mut [heartbeat(id, second, usual(second))]).await.unwrap();
    db.store().join_cluster(&new_node(1, "new"), 60_000).await.unwrap();
    write(0).await;
    assert_eq!(narrow_rows(&db).await, 1);
    // A node of the build before joins; it is seen within ten seconds.
    db.execute(&format!(
        "INSERT INTO cluster_node (node_id, name, cluster_addr, http_url, version, protocol_min, protocol_max, lock_identity, state, expires_at)
         VALUES ('{}', 'old', 'x', 'x', '0', 1, 1, 'x', 'active', now() + interval '1 hour')",
        uuid(99)
    ))
    .await;
    write(20).await;
    write(40).await;
    assert_eq!(narrow_rows(&db).await, 1);
    db.execute("UPDATE cluster_node SET state = 'left', ended_at = now() WHERE name = 'old'").await;
    write(60).await;
    assert_eq!(narrow_rows(&db).await, 2);
    assert_eq!(shown(&db, id).await.rows(), 4);
}

#[tokio::test]
async fn sessions_are_stored_once_within_their_limit_and_marked_with_each_day_of_use() {
    let db = database().await;
    let ids = enroll_many(&db, 3).await;
    let sessions = async || db.values::<String>("SELECT session_key || ' ' || used_on FROM heartbeat_session ORDER BY 1").await;
    let mut batch: Vec<_> = ids.iter().flat_map(|id| (0..3).map(|n| heartbeat(*id, n * 10, usual(n)))).collect();
    db.store().write_heartbeats(&mut batch).await.unwrap();
    assert_eq!(sessions().await, [r#"["boot","1.4.0",140] 2026-06-01"#]);
    // Another node finds it; on the next day of receipt it is marked anew.
    let other = db.another_store(1);
    other.write_heartbeats(&mut [heartbeat(ids[0], 100, usual(10))]).await.unwrap();
    let next_day = 86_400;
    for store in [&other, db.store()] {
        store.write_heartbeats(&mut [heartbeat(ids[1], next_day, usual(20))]).await.unwrap();
    }
    assert_eq!(sessions().await, [r#"["boot","1.4.0",140] 2026-06-02"#]);
    assert_eq!(db.value::<i64>("SELECT count(DISTINCT session_id) FROM heartbeats WHERE session_id IS NOT NULL").await, 1);
    // Beyond the limit the row says itself what a session would.
    db.execute("ANALYZE heartbeat_session").await;
    let full = db.store().clone().with_narrow_rows(NarrowRows { sessions_max: 1, ..NarrowRows::default() });
    let told = Telemetry { boot_id: Some("another".into()), ..usual(30) };
    full.write_heartbeats(&mut [heartbeat(ids[2], 200, told)]).await.unwrap();
    let row = "FROM heartbeats WHERE boot_id = 'another' AND app_version = '1.4.0' AND session_id IS NULL AND received_at IS NULL AND seq_int = 30";
    assert_eq!(db.value::<i64>(&format!("SELECT count(*) {row}")).await, 1);
    assert_eq!(sessions().await.len(), 1);
    let last = shown(&db, ids[2]).await;
    assert_eq!(last.column("boot_id").unwrap().cell(last.rows() - 1), Cell::String("another"));
}

/// Writers that make the same sessions at the same moment neither lock up nor lose a row.
#[tokio::test]
async fn writers_that_make_the_same_sessions_do_not_lock_up() {
    let db = database().await;
    let ids = enroll_many(&db, 20).await;
    let stores: Vec<_> = (0..4).map(|_| db.another_store(2)).collect();
    for round in 0..5 {
        let batch = |writer: i64| {
            let told = |n: usize| Telemetry { boot_id: Some(format!("{round}-{n}")), ..usual(writer) };
            let mut rows: Vec<_> = ids.iter().enumerate().map(|(n, id)| heartbeat(*id, round * 100 + writer * 10, told(n))).collect();
            if writer % 2 == 1 {
                rows.reverse();
            }
            rows
        };
        let write = async |writer: usize| stores[writer].write_heartbeats(&mut batch(writer as i64)).await.unwrap();
        tokio::join!(write(0), write(1), write(2), write(3));
    }
    assert_eq!(db.value::<i64>("SELECT count(*) FROM heartbeat_session").await, 100);
    let whole = "SELECT count(*) FROM heartbeats_unpacked WHERE app_version = '1.4.0' AND boot_id ~ '^[0-4]-[0-9]+$'";
    assert_eq!(db.value::<i64>(whole).await, 20 * 20);
}

#[tokio::test]
async fn a_session_goes_when_no_heartbeat_can_name_it_any_more() {
    let db = database().await;
    let id = enroll_many(&db, 1).await[0];
    db.store().write_heartbeats(&mut [heartbeat(id, 0, usual(1))]).await.unwrap();
    let session = |key: &str, used_on: &str| format!("INSERT INTO heartbeat_session (session_key, used_on) VALUES ('{key}', '{used_on}');");
    db.execute(&[session("a", "2026-05-29"), session("b", "2026-05-30"), session("c", "2026-05-20")].concat()).await;
    let late = at(200 * 86_400);
    let keys = async || db.values::<String>("SELECT session_key FROM heartbeat_session ORDER BY session_key COLLATE \"C\"").await;
    // The default partition may have heartbeats of any day.
    db.execute("INSERT INTO heartbeats (device_id, bucket_at, received_at, clock_rejected) VALUES (gen_random_uuid(), '2026-02-01Z', now(), false)")
        .await;
    assert_eq!(db.store().purge_heartbeat_sessions(late, 10).await.unwrap(), 0);
    db.execute("DELETE FROM heartbeats_default").await;
    assert_eq!(db.store().purge_heartbeat_sessions(late, 1).await.unwrap(), 1, "the longest unused first");
    // A day that is detached may come back.
    assert!(db.store().detach_partition(june(1), LockPatience::START).await.unwrap());
    assert_eq!(db.store().purge_heartbeat_sessions(late, 10).await.unwrap(), 1);
    assert_eq!(keys().await, [r#"["boot","1.4.0",140]"#, "b"]);
    db.execute(&format!("DROP TABLE {TABLE}")).await;
    assert_eq!(db.store().purge_heartbeat_sessions(at(0), 10).await.unwrap(), 0, "used today");
    assert_eq!(db.store().purge_heartbeat_sessions(late, 10).await.unwrap(), 2);
}

#[tokio::test]
async fn narrow_rows_move_out_of_the_default_partition_as_they_are() {
    let (narrow_db, wide_db) = (TestDatabase::new().await, database().await);
    let rows = || all_kinds(device(1));
    for (db, store) in [(&narrow_db, narrow_db.store().clone()), (&wide_db, wide(&wide_db))] {
        enroll_many(db, 1).await;
        store.write_heartbeats(&mut rows()).await.unwrap();
    }
    assert_eq!(narrow_db.value::<i64>("SELECT count(*) FROM heartbeats_default").await, rows().len() as i64);
    // The table of the day has a newer heartbeat of one bucket already, and an older one of another.
    narrow_db.store().create_detached(june(1)).await.unwrap();
    let there = |second: i64, seq: i64| {
        format!(
            "INSERT INTO {TABLE} (device_id, bucket_at, received_at, device_time, clock_rejected, seq)
             VALUES ('{}', '{1}', '{1}', '{1}', false, {seq});",
            device(1).0,
            at(second)
        )
    };
    narrow_db.execute(&[there(0, 9), there(60, 1)].concat()).await;
    wide_db.execute(&format!("DELETE FROM heartbeats WHERE bucket_at = '{}'; {}", at(0), there(0, 9))).await;
    narrow_db.store().attach_partition(june(1), LockPatience::START).await.unwrap();
    assert_eq!(narrow_db.value::<i64>("SELECT count(*) FROM heartbeats_default").await, 0);
    assert_eq!(rows_of(&narrow_db).await, rows_of(&wide_db).await);
    assert!(narrow_rows(&narrow_db).await > 20);
}

/// A migration changes partitions only: a table that was detached meanwhile takes narrow rows once it is attached.
#[tokio::test]
async fn a_table_of_before_takes_narrow_rows_once_it_is_attached() {
    let db = database().await;
    let id = enroll_many(&db, 1).await[0];
    wide(&db).write_heartbeats(&mut [heartbeat(id, 0, usual(1))]).await.unwrap();
    assert!(db.store().detach_partition(june(1), LockPatience::START).await.unwrap());
    db.execute(&format!(
        "ALTER TABLE {TABLE} DROP CONSTRAINT heartbeats_wide_or_narrow, DROP CONSTRAINT heartbeats_cpu_load, DROP COLUMN received_us,
             DROP COLUMN session_id, DROP COLUMN readings, DROP COLUMN seq_int, DROP COLUMN uptime_int, DROP COLUMN storage_free_int,
             DROP COLUMN temperature_tenths, DROP COLUMN device_time_ms, DROP COLUMN ram_available_small, DROP COLUMN foreground_recent_small,
             DROP COLUMN queue_depth_small, ALTER COLUMN received_at SET NOT NULL, ALTER COLUMN clock_rejected SET NOT NULL"
    ))
    .await;
    assert_eq!(rows_of(&db).await.rows(), 1, "it is read as it is");
    db.store().attach_partition(june(1), LockPatience::START).await.unwrap();
    db.store().write_heartbeats(&mut [heartbeat(id, 10, usual(2))]).await.unwrap();
    assert_eq!(narrow_rows(&db).await, 1);
    let rows = rows_of(&db).await;
    assert_eq!((rows.column("seq").unwrap().cell(0), rows.column("seq").unwrap().cell(1)), (Cell::Integer(1), Cell::Integer(2)));
}

/// A row that tells neither when it was received is refused.
#[tokio::test]
async fn a_row_is_wide_or_narrow() {
    let db = database().await;
    for columns in ["clock_rejected) VALUES (false", "received_us) VALUES (1", "readings) VALUES (0", "received_at) VALUES (now()"] {
        let (names, values) = columns.split_once(") VALUES (").unwrap();
        let statement =
            format!("INSERT INTO heartbeats (device_id, bucket_at, {names}) VALUES (gen_random_uuid(), '2026-06-01Z', {values})");
        let refused = sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(db.pool()).await.unwrap_err().to_string();
        assert!(refused.contains("heartbeats_wide_or_narrow"), "{columns}: {refused}");
    }
}

/// What is left of a lost heartbeat comes back over a narrow row of the same bucket, if it is newer.
#[tokio::test]
async fn a_last_status_that_is_ahead_mends_a_narrow_row() {
    let db = database().await;
    let id = enroll_many(&db, 1).await[0];
    db.store().write_heartbeats(&mut [heartbeat(id, 5, usual(3))]).await.unwrap();
    db.execute("UPDATE device_last_status SET seq = 4, battery_pct = 50").await;
    let window = Window::at(at(3600));
    let mut drifts = db.store().compare_status(None, 10, window).await.unwrap().drifts;
    assert_eq!(drifts.len(), 1);
    db.store().heal_status(&mut drifts, window, at(3600)).await.unwrap();
    assert!(drifts[0].drift.healed, "{drifts:?}");
    let stands = shown(&db, id).await;
    assert_eq!(
        (stands.column("seq").unwrap().cell(0), stands.column("battery_pct").unwrap().cell(0)),
        (Cell::Integer(4), Cell::Integer(50))
    );
    assert_eq!(db.store().compare_status(None, 10, window).await.unwrap().drifts, vec![]);
    // And a last status that is behind is made of it.
    db.store().write_heartbeats(&mut [heartbeat(id, 15, battery(9))]).await.unwrap();
    db.execute(&format!("UPDATE device_last_status SET bucket_at = '{}', battery_pct = 1", at(0))).await;
    let mut drifts = db.store().compare_status(None, 10, window).await.unwrap().drifts;
    db.store().heal_status(&mut drifts, window, at(3600)).await.unwrap();
    assert_eq!(db.value::<Option<i16>>("SELECT battery_pct FROM device_last_status").await, Some(9));
}
