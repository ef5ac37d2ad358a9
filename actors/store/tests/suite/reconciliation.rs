use std::collections::BTreeMap;

use chrono::NaiveDate;
use domain::DeviceId;
use domain::heartbeat::Telemetry;
use domain::history::HOUR_S;
use domain::reconciliation::{Check, Drift, DriftKind, FieldDrift, ReconciliationRun, StatusDrift, Window};
use sqlx::{Executor, Row};
use store::Store;
use test_database::TestDatabase;

use crate::common::{at, battery, delete_devices, device, enroll_many, heartbeat, late_heartbeat, uuid};

const OFFLINE_AFTER_S: i32 = 720;

fn june(day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 6, day).unwrap()
}

/// The window of which second 0 is in the middle.
fn window() -> Window {
    Window::at(at(3600))
}

async fn compare(store: &Store) -> Vec<StatusDrift> {
    store.compare_status(None, 1000, window()).await.unwrap().drifts
}

/// What was found, and mended: number of the device, kind, names of fields, whether it was mended.
fn shown(drifts: &[StatusDrift]) -> Vec<(u128, DriftKind, Vec<&str>, bool)> {
    let fields = |drift: &'_ StatusDrift| -> Vec<&'static str> {
        let known = ["bucket_at", "device_time", "seq", "battery_pct", "charging", "received_at"];
        known.into_iter().filter(|name| drift.drift.fields.iter().any(|field| field.field == *name)).collect()
    };
    drifts.iter().map(|drift| (drift.device.0.as_u128(), drift.drift.kind, fields(drift), drift.drift.healed)).collect()
}

async fn status(db: &TestDatabase, id: DeviceId) -> (i64, Option<i16>) {
    let row = format!(
        "SELECT extract(epoch FROM bucket_at)::bigint - {} FROM device_last_status WHERE device_id = '{}'",
        at(0).timestamp(),
        id.0
    );
    let pct = format!("SELECT battery_pct FROM device_last_status WHERE device_id = '{}'", id.0);
    (db.value(&row).await, db.value(&pct).await)
}

async fn write(db: &TestDatabase, id: DeviceId, second: i64, pct: i16) {
    db.store().write_heartbeats(&mut [heartbeat(id, second, battery(pct))]).await.unwrap();
}

#[tokio::test]
async fn what_heartbeats_write_is_no_drift() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 5).await;
    write(&db, ids[0], 0, 50).await;
    write(&db, ids[0], 60, 49).await;
    // Late ones, a newer one of the same bucket, a repeat, and one without a clock.
    db.store().write_heartbeats(&mut [late_heartbeat(ids[0], 30, 90, battery(1), true)]).await.unwrap();
    for seq in [1, 2, 2, 1] {
        let told = Telemetry { seq: Some(seq), battery_pct: Some(seq as i16), ..Telemetry::default() };
        db.store().write_heartbeats(&mut [heartbeat(ids[1], 5, told)]).await.unwrap();
    }
    // Longer ago than is looked at, and right after it.
    write(&db, ids[2], 3600 - 25 * HOUR_S, 7).await;
    write(&db, ids[3], 3600 - 25 * HOUR_S, 7).await;
    write(&db, ids[3], 3600 - 23 * HOUR_S, 8).await;
    let chunk = db.store().compare_status(None, 1000, window()).await.unwrap();
    assert_eq!((chunk.devices, chunk.last, shown(&chunk.drifts)), (5, Some(ids[4]), vec![]));
    // Chunk by chunk every device comes once.
    let (mut after, mut seen) = (None, 0);
    loop {
        let chunk = db.store().compare_status(after, 2, window()).await.unwrap();
        seen += chunk.devices;
        if chunk.devices < 2 {
            break;
        }
        after = chunk.last;
    }
    assert_eq!(seen, 5);
}

#[tokio::test]
async fn each_kind_of_drift_is_found_explained_and_mended() {
    let db = TestDatabase::new().await;
    db.store().ensure_partitions(&[june(1)]).await.unwrap();
    let ids = enroll_many(&db, 7).await;
    for id in &ids {
        write(&db, *id, 0, 50).await;
        write(&db, *id, 60, 40).await;
    }
    let of = |number: usize| ids[number].0;
    db.execute(&format!("DELETE FROM device_last_status WHERE device_id = '{}'", of(0))).await;
    db.execute(&format!(
        "UPDATE device_last_status SET bucket_at = bucket_at - interval '60 s', battery_pct = 50 WHERE device_id = '{}'",
        of(1)
    ))
    .await;
    db.execute(&format!("DELETE FROM heartbeats WHERE device_id = '{}' AND bucket_at = '{}'", of(2), at(60))).await;
    db.execute(&format!("UPDATE device_last_status SET bucket_at = bucket_at + interval '3 days' WHERE device_id = '{}'", of(3))).await;
    db.execute(&format!("UPDATE device_last_status SET battery_pct = 39, charging = true WHERE device_id = '{}'", of(4))).await;
    // Whoever is deleted is not compared.
    db.execute(&format!("DELETE FROM device_last_status WHERE device_id = '{}'", of(5))).await;
    delete_devices(&db, &[ids[5]], at(100)).await;

    let mut drifts = compare(db.store()).await;
    let want = |healed| {
        vec![
            (1, DriftKind::StatusMissing, vec!["bucket_at", "device_time"], healed),
            (2, DriftKind::StatusBehind, vec!["bucket_at"], healed),
            (3, DriftKind::StatusAhead, vec!["bucket_at", "device_time"], healed),
            (4, DriftKind::StatusFuture, vec!["bucket_at"], healed),
            (5, DriftKind::StatusDiffers, vec!["battery_pct", "charging"], healed),
        ]
    };
    assert_eq!(shown(&drifts), want(false));
    let differs = |field: &str, stored: Option<&str>, expected: Option<&str>| {
        FieldDrift::new(field, stored.map(str::to_owned), expected.map(str::to_owned))
    };
    assert!(drifts[4].drift.fields.contains(&differs("battery_pct", Some("39"), Some("40"))), "{:?}", drifts[4]);
    assert!(drifts[4].drift.fields.contains(&differs("charging", Some("true"), None)), "{:?}", drifts[4]);

    db.store().heal_status(&mut drifts, window(), at(3600)).await.unwrap();
    assert_eq!(shown(&drifts), want(true));
    assert_eq!(shown(&compare(db.store()).await), vec![]);
    for number in [0, 1, 2, 3, 4, 6] {
        assert_eq!(status(&db, ids[number]).await, (60, Some(40)), "device {number}");
    }
    // The heartbeat that history had lost is the one that was acknowledged.
    let pct = format!("SELECT battery_pct FROM heartbeats_unpacked WHERE device_id = '{}' AND bucket_at = '{}'", of(2), at(60));
    assert_eq!(db.value::<Option<i16>>(&pct).await, Some(40));
    // Repeating it changes nothing, and claims nothing.
    db.store().heal_status(&mut [], window(), at(3600)).await.unwrap();
}

/// A heartbeat that is stored between the comparison and the repair, or while the repair waits for it, stands.
#[tokio::test]
async fn a_concurrent_heartbeat_is_never_overwritten() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 3).await;
    for id in &ids {
        write(&db, *id, 0, 50).await;
    }
    // Two look behind and one differs, by hand.
    db.execute(&format!(
        "UPDATE device_last_status SET bucket_at = bucket_at - interval '600 s', battery_pct = 1 WHERE device_id IN ('{}', '{}');
         UPDATE device_last_status SET battery_pct = 2 WHERE device_id = '{}'",
        ids[0].0, ids[1].0, ids[2].0
    ))
    .await;
    let mut drifts = compare(db.store()).await;
    assert_eq!(drifts.len(), 3);
    // Stored in between.
    write(&db, ids[0], 120, 44).await;
    // Under way: their rows are locked until the commit.
    let mut tx = db.pool().begin().await.unwrap();
    let newer = format!(
        "UPDATE device_last_status SET bucket_at = '{}', battery_pct = 33 WHERE device_id IN ('{}', '{}')",
        at(90),
        ids[1].0,
        ids[2].0
    );
    tx.execute(sqlx::AssertSqlSafe(newer)).await.unwrap();
    let store = db.store().clone();
    let healing = tokio::spawn(async move {
        store.heal_status(&mut drifts, window(), at(3600)).await.unwrap();
        drifts
    });
    // The repair does not wait for long: it may have given way by the commit.
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while !healing.is_finished() && db.value::<i64>(waiting).await == 0 {}
    tx.commit().await.unwrap();
    let drifts = healing.await.unwrap();
    assert_eq!(status(&db, ids[0]).await, (120, Some(44)));
    assert_eq!(status(&db, ids[1]).await, (90, Some(33)));
    assert_eq!(status(&db, ids[2]).await, (90, Some(33)));
    assert!(drifts.iter().all(|drift| !drift.drift.healed), "{drifts:?}");
}

/// Heartbeats take the locks of history, then those of the last status. A repair that took them the other way round would hold what this one asks for.
#[tokio::test]
async fn a_repair_gives_way_to_heartbeats_and_holds_nothing_meanwhile() {
    let db = TestDatabase::new().await;
    db.store().ensure_partitions(&[june(1)]).await.unwrap();
    let ids = enroll_many(&db, 3).await;
    for id in &ids {
        write(&db, *id, 0, 50).await;
    }
    db.execute(&format!(
        "DELETE FROM heartbeats WHERE device_id = '{0}';
         DELETE FROM device_last_status WHERE device_id = '{1}';
         UPDATE device_last_status SET bucket_at = bucket_at + interval '3 days' WHERE device_id = '{2}'",
        ids[0].0, ids[1].0, ids[2].0
    ))
    .await;
    let mut drifts = compare(db.store()).await;
    use DriftKind::{StatusAhead, StatusFuture, StatusMissing};
    assert_eq!(drifts.iter().map(|drift| drift.drift.kind).collect::<Vec<_>>(), [StatusAhead, StatusMissing, StatusFuture]);
    // A batch of heartbeats that has written into history, for as long as it takes.
    let mut tx = db.pool().begin().await.unwrap();
    let first = format!(
        "INSERT INTO heartbeats (device_id, bucket_at, received_at, clock_rejected) VALUES ('{}', '{1}', '{1}', false)",
        ids[0].0,
        at(0)
    );
    tx.execute(sqlx::AssertSqlSafe(first)).await.unwrap();
    db.store().heal_status(&mut drifts, window(), at(3600)).await.unwrap();
    assert_eq!(drifts.iter().map(|drift| drift.drift.healed).collect::<Vec<_>>(), [false, true, true]);
    let then = format!("UPDATE device_last_status SET battery_pct = 1 WHERE device_id IN ('{}', '{}')", ids[1].0, ids[2].0);
    assert_eq!(tx.execute(sqlx::AssertSqlSafe(then)).await.unwrap().rows_affected(), 2);
    tx.rollback().await.unwrap();
    // What was left is mended by the next run.
    let mut left = compare(db.store()).await;
    assert_eq!(left.len(), 1, "{left:?}");
    db.store().heal_status(&mut left, window(), at(3600)).await.unwrap();
    assert_eq!((left[0].drift.healed, compare(db.store()).await.len()), (true, 0));
}

/// The heartbeat of a bucket that history lost is not put back over a newer one of the same bucket.
#[tokio::test]
async fn a_heartbeat_that_is_put_back_gives_way_to_a_newer_one() {
    let db = TestDatabase::new().await;
    db.store().ensure_partitions(&[june(1)]).await.unwrap();
    let id = enroll_many(&db, 1).await[0];
    let told = |seq: i64| Telemetry { seq: Some(seq), battery_pct: Some(seq as i16), ..Telemetry::default() };
    db.store().write_heartbeats(&mut [heartbeat(id, 0, told(1))]).await.unwrap();
    db.execute("DELETE FROM heartbeats").await;
    let mut drifts = compare(db.store()).await;
    assert_eq!(shown(&drifts), [(1, DriftKind::StatusAhead, vec!["bucket_at", "device_time", "seq"], false)]);
    db.store().write_heartbeats(&mut [heartbeat(id, 0, told(2))]).await.unwrap();
    db.store().heal_status(&mut drifts, window(), at(3600)).await.unwrap();
    assert_eq!(db.values::<Option<i16>>("SELECT battery_pct FROM heartbeats_unpacked").await, [Some(2)]);
    assert!(compare(db.store()).await.is_empty());
    // A day that was archived has no partition, and its heartbeats are not missed.
    db.execute("ALTER TABLE heartbeats DETACH PARTITION heartbeats_p20260601; ALTER TABLE heartbeats_p20260601 RENAME TO archived").await;
    assert!(compare(db.store()).await.is_empty());
    db.execute("ALTER TABLE archived RENAME TO heartbeats_p20260601").await;
    db.execute(
        "ALTER TABLE heartbeats ATTACH PARTITION heartbeats_p20260601 FOR VALUES FROM ('2026-06-01 00:00:00Z') TO ('2026-06-02 00:00:00Z')",
    )
    .await;
    // Of a day that is aggregated already the hours are noted to be aggregated again.
    db.execute("DELETE FROM heartbeats").await;
    let late = at(20 * HOUR_S);
    let mut drifts = db.store().compare_status(None, 10, Window::at(late)).await.unwrap().drifts;
    db.store().heal_status(&mut drifts, Window::at(late), late).await.unwrap();
    assert_eq!(db.values::<NaiveDate>("SELECT day FROM history_recount").await, [june(1)]);
}

/// One probe of an index for each device and table, whatever the number of heartbeats: planned as the store has it planned.
#[tokio::test]
async fn devices_are_compared_by_indexes_alone() {
    let db = TestDatabase::new().await;
    let today = june(1);
    let days: Vec<_> = (0..4u64).map(|day| today - chrono::Days::new(day)).collect();
    db.store().ensure_partitions(&days).await.unwrap();
    db.execute(
        "INSERT INTO device (device_id, alias, enrolled_at) SELECT gen_random_uuid(), 'd' || n, now() FROM generate_series(1, 2000) n;
         INSERT INTO heartbeats (device_id, bucket_at, received_at, clock_rejected)
             SELECT device_id, t, t, false FROM device, generate_series('2026-05-30T00:00Z'::timestamptz, '2026-06-01T12:00Z', '1 hour') t;
         INSERT INTO device_last_status (device_id, bucket_at, received_at, last_seen_at, clock_rejected)
             SELECT device_id, '2026-06-01T12:00Z', '2026-06-01T12:00Z', '2026-06-01T12:00Z', false FROM device;
         INSERT INTO heartbeat_session (session_key, used_on) SELECT 'session ' || n, '2026-06-01' FROM generate_series(1, 10000) n;
         ANALYZE",
    )
    .await;
    let mut connection = db.pool().acquire().await.unwrap();
    let statement = Store::compare_status_statement();
    let prepare = format!(
        "SET plan_cache_mode = force_generic_plan; SET enable_sort = off; PREPARE compared (uuid, bigint, timestamptz, timestamptz) AS {statement}"
    );
    connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(prepare))).await.unwrap();
    let Window { from, until } = window();
    let explain = format!(
        "EXPLAIN (ANALYZE, COSTS off, TIMING off) EXECUTE compared ('00000000-0000-0000-0000-000000000000', 500, '{from}', '{until}')"
    );
    let rows = connection.fetch_all(sqlx::raw_sql(sqlx::AssertSqlSafe(explain))).await.unwrap();
    let plan: Vec<String> = rows.iter().map(|row| row.get::<String, _>(0)).collect();
    let plan = plan.join("\n");
    // The first of an index read backwards, and not all of a day sorted.
    assert!(!plan.contains("Seq Scan") && !plan.contains("Sort Method") && plan.contains("Merge Append"), "{plan}");
    // Days outside of the window are not looked at.
    assert!(plan.contains("Subplans Removed") && !plan.contains("heartbeats_p20260530_"), "{plan}");
}

#[tokio::test]
async fn hours_are_compared_with_their_heartbeats_and_noted_to_be_aggregated_again() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 4).await;
    for id in &ids {
        for n in 0..10 {
            write(&db, *id, n * 600, 50).await;
        }
    }
    db.store().aggregate_hours(&ids[..3], june(1), OFFLINE_AFTER_S).await.unwrap();
    let (hours, drifts) = db.store().compare_hours(&ids[..3], june(1)).await.unwrap();
    assert_eq!((hours, drifts), (6, vec![]));
    // One hour is gone, one has no heartbeats, one tells another sum; the fourth device was never aggregated.
    let hour = |id: DeviceId, second: i64| format!("device_id = '{}' AND hour_at = '{}'", id.0, at(second));
    db.execute(&format!(
        "DELETE FROM history_hour WHERE {};
         DELETE FROM heartbeats WHERE device_id = '{}' AND bucket_at >= '{}';
         UPDATE history_hour SET battery_sum = battery_sum + 1 WHERE {}",
        hour(ids[0], 0),
        ids[1].0,
        at(3600),
        hour(ids[2], 0)
    ))
    .await;
    let (_, mut drifts) = db.store().compare_hours(&ids, june(1)).await.unwrap();
    drifts.sort_by_key(|found| (found.device, found.drift.fields[0].stored.clone()));
    let found: Vec<_> = drifts.iter().map(|found| (found.device.0.as_u128(), found.drift.kind)).collect();
    use DriftKind::{HourDiffers, HourExtra, HourMissing};
    assert_eq!(found, [(1, HourMissing), (2, HourExtra), (3, HourDiffers), (4, HourMissing), (4, HourMissing)]);
    let sum = FieldDrift::new("battery_sum", Some("301".into()), Some("300".into()));
    assert!(drifts[2].drift.fields.contains(&sum), "{:?}", drifts[2]);
    db.store().note_hours_to_aggregate(&ids, june(1)).await.unwrap();
    assert_eq!(db.store().compare_hours(&ids, june(1)).await.unwrap().1, vec![], "what is noted is on its way");
    db.store().ensure_partitions(&[june(1)]).await.unwrap();
    assert_eq!(db.store().reaggregate_hours(100, OFFLINE_AFTER_S).await.unwrap(), 4);
    assert_eq!(db.store().compare_hours(&ids, june(1)).await.unwrap(), (7, vec![]));
    // A sample is drawn by its seed.
    let mut all = db.store().sampled_devices(uuid(1), 10).await.unwrap();
    let some = db.store().sampled_devices(uuid(1), 2).await.unwrap();
    assert_eq!(some, all[..2]);
    all.sort_unstable();
    assert_eq!(all, ids);
}

#[tokio::test]
async fn deployments_are_compared_with_their_tasks() {
    let db = TestDatabase::new().await;
    let (devices, deployment) = (3, uuid(900));
    db.execute(&format!(
        "INSERT INTO apk (apk_id, package, version_code, version_name, label, sha256, size_bytes, signers_sha256, uploaded_by, uploaded_at)
             VALUES ('{0}', 'com.example', 1, '1', 'x', '{1}', 1, '{{a}}', 'root', now());
         INSERT INTO deployment (deployment_id, shard_id, apk_id, package, version_code, name, target, options, flags, devices, canary_size, state,
             phase, phase_since, judged_since, conflict, created_by, created_at, expires_at)
             VALUES ('{2}', 0, '{0}', 'com.example', 1, 'x', '', '', '', {3}, 1, 'running', 'canary', now(), now(), 'wait', 'root', now(), now());
         INSERT INTO deployment_target (deployment_id, position, device_id, alias, canary)
             SELECT '{2}', n, ('00000000-0000-0000-0000-00000000000' || n)::uuid, 'd', n = 0 FROM generate_series(0, {3} - 1) n;
         INSERT INTO deployment_task (deployment_id, position, device_id, package, canary, state, changed_at)
             SELECT deployment_id, position, device_id, 'com.example', canary, 'queued', now() FROM deployment_target",
        uuid(800),
        "0".repeat(64),
        deployment,
        devices
    ))
    .await;
    let compared = async || {
        let found = db.store().compare_deployment(None, at(0)).await.unwrap().unwrap();
        assert_eq!(found.0.0, deployment);
        found.1.into_iter().map(|drift| (drift.kind, drift.fields, drift.healed)).collect::<Vec<_>>()
    };
    assert_eq!(compared().await, vec![]);
    let one = |kind, field: &str, stored: &str, expected: &str| {
        vec![(kind, vec![FieldDrift::new(field, Some(stored.to_owned()), Some(expected.to_owned()))], false)]
    };
    for (statement, undone, found) in [
        ("UPDATE deployment SET devices = 5", "UPDATE deployment SET devices = 3", one(DriftKind::DeploymentDevices, "devices", "5", "3")),
        (
            "UPDATE deployment SET canary_size = 2",
            "UPDATE deployment SET canary_size = 1",
            one(DriftKind::DeploymentCanary, "canary_size", "2", "1"),
        ),
        (
            "UPDATE deployment SET state = 'finished', finished_at = now()",
            "UPDATE deployment SET state = 'running', finished_at = NULL",
            one(DriftKind::DeploymentOpenTasks, "open_tasks", "3", "0"),
        ),
        ("DELETE FROM deployment_task WHERE position = 2", "SELECT 1", one(DriftKind::DeploymentTasks, "tasks", "2", "3")),
    ] {
        db.execute(statement).await;
        assert_eq!(compared().await, found, "{statement}");
        db.execute(undone).await;
    }
    let id = domain::DeploymentId(deployment);
    assert_eq!(db.store().compare_deployment(Some(id), at(0)).await.unwrap(), None, "there is no other");
}

#[tokio::test]
async fn runs_are_kept_listed_and_removed() {
    let db = TestDatabase::new().await;
    let store = db.store();
    let run = |check, node: &str, second, drifted: u64| {
        let mut run = ReconciliationRun::new(check, node, at(second));
        run.checked = 10;
        run.seconds = 1.5;
        run.complete = true;
        for n in 0..drifted {
            let fields = vec![FieldDrift::new("battery_pct", None, Some("3".into()))];
            run.note(Drift { kind: DriftKind::StatusBehind, subject: device(n as u32).to_string(), fields, healed: n % 2 == 0 });
        }
        run
    };
    let runs = [
        run(Check::LastStatus, "", 0, 3),
        run(Check::Commands, "a", 1, 0),
        run(Check::Commands, "b", 2, 1),
        run(Check::LastStatus, "", 3600, 2),
    ];
    for run in &runs {
        store.insert_reconciliation_run(run).await.unwrap();
    }
    let listed = store.reconciliation_runs(None, None, 10).await.unwrap();
    assert_eq!(listed.iter().map(|(_, run)| run.clone()).collect::<Vec<_>>(), runs.iter().rev().cloned().collect::<Vec<_>>());
    let of_status = store.reconciliation_runs(Some(Check::LastStatus), Some(listed[0].0), 10).await.unwrap();
    assert_eq!(of_status.iter().map(|(_, run)| run.started_at).collect::<Vec<_>>(), [at(0)]);
    let newest = store.newest_reconciliation_runs(at(1)).await.unwrap();
    let drifted: BTreeMap<_, _> = newest.iter().map(|run| ((run.check, run.node.as_str()), run.drifted)).collect();
    assert_eq!(drifted, BTreeMap::from([((Check::LastStatus, ""), 2), ((Check::Commands, "a"), 0), ((Check::Commands, "b"), 1)]));
    assert_eq!(store.purge_reconciliation_runs(at(3), 2).await.unwrap(), 2);
    assert_eq!(store.purge_reconciliation_runs(at(3), 2).await.unwrap(), 1);
    assert_eq!(store.reconciliation_runs(None, None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn commands_that_are_over_are_told_from_open_ones() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 1).await;
    for (number, state, finished) in [(1, "queued", None), (2, "canceled", Some(0)), (3, "canceled", Some(100))] {
        let finished = finished.map_or("NULL".to_owned(), |second| format!("'{}'", at(second)));
        db.execute(&format!(
            "INSERT INTO command (request_id, device_id, shard_id, action, params, params_shown, state, created_by, created_at, release_at, expires_at, finished_at)
             VALUES ('{}', '{}', 0, 'reboot', '{{}}', '{{}}', '{state}', 'root', '{}', '{}', '{}', {finished})",
            uuid(number), ids[0].0, at(-10), at(-10), at(1000)
        ))
        .await;
    }
    let command = |number| domain::CommandId(uuid(number));
    let mut over = db.store().commands_over(&[command(1), command(2), command(3), command(4)], at(50)).await.unwrap();
    over.sort_unstable_by_key(|id| id.0);
    assert_eq!(over, [command(2), command(4)], "open, over, just over, without a row");
}
