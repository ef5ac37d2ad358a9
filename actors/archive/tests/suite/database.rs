//! From the database into an archive and back.

use std::sync::Arc;

use archive::{ArchiveError, RowsDigest, WriteMode, rows_digest};
use domain::DeviceId;
use domain::archive::heartbeats;
use domain::heartbeat::{Heartbeat, Telemetry, Transport};
use futures_util::TryStreamExt;
use serde_json::Map;
use store::{HeartbeatRow, NarrowRows};
use test_database::TestDatabase;

use crate::common::{archives, at, day, name, verify};
use crate::faulty_store::FaultyStore;

const TABLE: &str = "heartbeats_p20260901";

/// A database with a partition in which five devices told 400 heartbeats each, in the order of time, some with every reading and some with none.
async fn filled() -> TestDatabase {
    let db = TestDatabase::new().await;
    db.store().ensure_partitions(&[day()]).await.unwrap();
    db.execute(
        "INSERT INTO heartbeats (device_id, bucket_at, received_at, device_time, clock_rejected, battery_pct, charging, battery_temperature_c,
             app_version, agent_version_code, uptime_s, ram_available_mb, ram_pressure_pct, storage_free_mb, transport, net_validated,
             foreground_recent_s, app_running, queue_depth, boot_id, seq, cpu_load_pct)
         SELECT ('0198f2b4-7c1e-7d5a-9f00-' || lpad(d::text, 12, '0'))::uuid, at, at + interval '1.234567 s', at + interval '2 s', d = 3,
             n % 101, n % 2 = 0, 30.5 + n % 7, '1.' || n % 3, 12, n * 10, 1000 + n % 50, n % 100, 50000 - n, 'a later kind', true,
             n, false, 0, 'boot ä ' || d, n, n % 90
         FROM generate_series(0, 399) n, generate_series(1, 5) d, LATERAL (SELECT '2026-09-01Z'::timestamptz + n * interval '10 s') t(at);
         UPDATE heartbeats SET device_time = NULL, battery_pct = NULL, battery_temperature_c = 'NaN', app_version = NULL, transport = NULL,
             boot_id = NULL, seq = NULL, cpu_load_pct = NULL, uptime_s = NULL WHERE extract(epoch FROM bucket_at)::bigint % 30 = 0;",
    )
    .await;
    db
}

async fn digest(db: &TestDatabase, table: &str) -> RowsDigest {
    rows_digest(&heartbeats(), db.store().partition_batches(table, 300)).await.unwrap()
}

#[tokio::test]
async fn a_partition_is_archived_and_comes_back_and_every_change_of_it_is_seen() {
    let (db, folder) = (filled().await, tempfile::tempdir().unwrap());
    let archives = archives(Arc::new(FaultyStore::default()), folder.path(), |settings| settings.row_group_rows = 700);
    // Chunks end within a device, and at the end of the last one.
    for chunk in [300, 400, 2000, 5000] {
        let batches: Vec<_> = db.store().partition_batches(TABLE, chunk).try_collect().await.unwrap();
        assert_eq!(batches.iter().map(|batch| batch.rows()).sum::<usize>(), 2000, "{chunk}");
    }
    let rows = db.store().partition_batches(TABLE, 300);
    archives.write(&name(), &heartbeats(), rows, WriteMode::Create, Map::new(), at(99_999)).await.unwrap();
    let manifest = verify(&archives, &name()).await.unwrap();
    assert_eq!(manifest.digest().difference(&digest(&db, TABLE).await), None);
    assert_eq!((manifest.rows, manifest.first_at, manifest.last_at), (2000, Some(at(0)), Some(at(3990))));

    // Back into a table of the same columns in another order.
    db.execute(
        "CREATE TABLE restored (LIKE heartbeats INCLUDING ALL); ALTER TABLE restored DROP COLUMN battery_pct;
         ALTER TABLE restored ADD COLUMN battery_pct smallint",
    )
    .await;
    for inserted in [2000, 0] {
        let mut batches = archives.rows(&name(), None).await.unwrap().batches;
        let mut rows = 0;
        while let Some(batch) = batches.try_next().await.unwrap() {
            rows += db.store().insert_batch("restored", &batch).await.unwrap();
        }
        assert_eq!(rows, inserted, "rows that are there stay");
    }
    assert_eq!(manifest.digest().difference(&digest(&db, "restored").await), None);
    let compared =
        "device_id, bucket_at, received_at, device_time, clock_rejected, battery_pct, battery_temperature_c, transport, boot_id, seq";
    let differing = format!("SELECT count(*) FROM (SELECT {compared} FROM {TABLE} EXCEPT SELECT {compared} FROM restored) d");
    assert_eq!(db.value::<i64>(&differing).await, 0);

    let one = "WHERE device_id = '0198f2b4-7c1e-7d5a-9f00-000000000002' AND bucket_at = '2026-09-01 00:10:10Z'";
    for (change, told) in [
        (format!("UPDATE restored SET cpu_load_pct = cpu_load_pct + 1 {one}"), "row digest "),
        (format!("UPDATE restored SET cpu_load_pct = cpu_load_pct - 1, charging = NULL {one}"), "row digest "),
        (format!("DELETE FROM restored {one}"), "1999 rows instead of 2000"),
    ] {
        db.execute(&change).await;
        let difference = manifest.digest().difference(&digest(&db, "restored").await).unwrap_or_default();
        assert!(difference.starts_with(told), "{change}: {difference}");
    }
}

#[tokio::test]
async fn rows_that_a_table_cannot_hold_are_refused_by_the_name_of_the_column() {
    let db = filled().await;
    let mut batches = std::pin::pin!(db.store().partition_batches(TABLE, 10));
    let batch = batches.try_next().await.unwrap().unwrap();
    db.execute("CREATE TABLE narrow AS SELECT device_id, bucket_at FROM heartbeats LIMIT 0").await;
    let told = db.store().insert_batch("narrow", &batch).await.unwrap_err();
    assert!(told.to_string().contains("there is no such column in narrow"), "{told}");
}

#[tokio::test]
async fn a_column_that_a_table_lacks_is_empty_and_one_that_this_build_does_not_know_is_not_left_out() {
    let db = filled().await;
    db.execute("CREATE TABLE earlier (LIKE heartbeats INCLUDING ALL); ALTER TABLE earlier DROP COLUMN cpu_load_pct").await;
    db.execute("INSERT INTO earlier (device_id, bucket_at, received_at, clock_rejected) VALUES (gen_random_uuid(), now(), now(), false)")
        .await;
    let mut batches = std::pin::pin!(db.store().partition_batches("earlier", 10));
    let batch = batches.try_next().await.unwrap().unwrap();
    assert_eq!((batch.rows(), batch.column("cpu_load_pct").unwrap().cell(0)), (1, domain::archive::Cell::Null));

    db.execute("ALTER TABLE earlier ADD COLUMN mood text").await;
    let told = rows_digest(&heartbeats(), db.store().partition_batches("earlier", 10)).await.unwrap_err();
    assert!(told.to_string().contains("earlier has the column mood, which this build does not know"), "{told}");
}

#[tokio::test]
async fn a_table_that_is_gone_is_an_error_and_nothing_is_stored() {
    let (db, folder) = (TestDatabase::new().await, tempfile::tempdir().unwrap());
    let store = Arc::new(FaultyStore::default());
    let archives = archives(Arc::clone(&store) as _, folder.path(), |_| {});
    let rows = db.store().partition_batches("heartbeats_p19700101", 300);
    let told = archives.write(&name(), &heartbeats(), rows, WriteMode::Create, Map::new(), at(0)).await.unwrap_err();
    assert!(matches!(told, ArchiveError::Database(_)), "{told}");
    assert_eq!(store.keys().await, Vec::<String>::new());
}

/// The same telemetry, written by nodes as narrow rows or, beside a node of the build before, as wide ones.
#[tokio::test]
async fn narrow_and_wide_rows_have_one_digest_and_restored_ones_as_well() {
    let told = |n: i64| Telemetry {
        battery_pct: Some((n % 101) as i16),
        charging: (n % 3 > 0).then_some(n % 3 == 1),
        battery_temperature_c: Some(if n % 10 == 0 { 30.05 } else { 30.1 }),
        app_version: Some(format!("1.{}", n % 3)),
        agent_version_code: Some(12),
        uptime_s: Some(n * 1_000_000_000),
        transport: (n % 4 > 0).then_some(Transport::Ethernet),
        foreground_recent_s: Some(n as i32 * 1000),
        queue_depth: Some(n as i32 % 2),
        boot_id: (n % 5 > 0).then(|| "boot ä".to_owned()),
        seq: Some(n),
        ..Telemetry::default()
    };
    let rows = || -> Vec<HeartbeatRow> {
        (0..400)
            .map(|n| {
                let id = DeviceId(crate::common::device(1 + n as u32 % 3));
                let received = at(n * 10 + 3) + chrono::TimeDelta::microseconds(n * 7_777);
                HeartbeatRow::new(id, Arc::new(Heartbeat::new(id, Some(at(n * 10)), told(n), received).into()), None, false)
            })
            .collect()
    };
    let mut digests = Vec::new();
    for enabled in [true, false] {
        let (db, folder) = (TestDatabase::new().await, tempfile::tempdir().unwrap());
        db.store().ensure_partitions(&[day()]).await.unwrap();
        for number in 1..4 {
            let id = crate::common::device(number);
            db.execute(&format!("INSERT INTO device (device_id, alias, enrolled_at) VALUES ('{id}', 'd{number}', now())")).await;
        }
        let store = db.store().clone().with_narrow_rows(NarrowRows { enabled, ..NarrowRows::default() });
        store.write_heartbeats(&mut rows()).await.unwrap();
        let narrow = db.value::<i64>(&format!("SELECT count(*) FROM {TABLE} WHERE received_at IS NULL")).await;
        assert_eq!(narrow, if enabled { 400 } else { 0 });
        digests.push(digest(&db, TABLE).await);

        let archives = archives(Arc::new(FaultyStore::default()), folder.path(), |_| {});
        let rows = db.store().partition_batches(TABLE, 100);
        archives.write(&name(), &heartbeats(), rows, WriteMode::Create, Map::new(), at(99_999)).await.unwrap();
        digests.push(verify(&archives, &name()).await.unwrap().digest());
        db.execute("CREATE TABLE restored (LIKE heartbeats INCLUDING ALL)").await;
        let mut batches = archives.rows(&name(), None).await.unwrap().batches;
        while let Some(batch) = batches.try_next().await.unwrap() {
            db.store().insert_batch("restored", &batch).await.unwrap();
        }
        digests.push(digest(&db, "restored").await);
    }
    for other in &digests[1..] {
        assert_eq!(digests[0].difference(other), None);
    }
    assert_eq!(digests[0].rows, 400);
}
