use chrono::{NaiveDate, TimeDelta};
use test_database::TestDatabase;

use crate::common::{at, battery, enroll, heartbeat};

fn june(day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 6, day).unwrap()
}

#[tokio::test]
async fn days_get_a_partition_once() {
    let db = TestDatabase::new().await;
    let days = [june(1), june(2)];
    assert_eq!(db.store().ensure_partitions(&days).await.unwrap(), days);
    assert_eq!(db.store().ensure_partitions(&[june(2), june(3)]).await.unwrap(), [june(3)]);
    let names = db.store().partitions().await.unwrap();
    assert_eq!(names, ["heartbeats_default", "heartbeats_p20260601", "heartbeats_p20260602", "heartbeats_p20260603"]);
}

#[tokio::test]
async fn of_nodes_at_once_one_creates_each_day() {
    let db = TestDatabase::new().await;
    let other = db.another_store(2);
    let days: Vec<_> = (1..6).map(june).collect();
    let both = tokio::join!(db.store().ensure_partitions(&days), other.ensure_partitions(&days));
    let mut created = [both.0.unwrap(), both.1.unwrap()].concat();
    created.sort();
    assert_eq!(created, days);
}

#[tokio::test]
async fn rows_of_the_day_move_out_of_the_default_partition() {
    let db = TestDatabase::new().await;
    let id = enroll(&db, 1, "a").await;
    // From the last bucket before midnight to the first of the day after next.
    let midnight = 12 * 3600;
    let seconds = [midnight - 10, midnight, midnight + 86_390, midnight + 86_400];
    let mut batch: Vec<_> = seconds.iter().map(|second| heartbeat(id, *second, battery(1))).collect();
    db.store().write_heartbeats(&mut batch).await.unwrap();
    assert_eq!(db.store().default_partition_rows(9).await.unwrap(), 4);
    assert_eq!(db.store().default_partition_rows(3).await.unwrap(), 3, "counted no further");
    db.store().ensure_partitions(&[june(2)]).await.unwrap();
    assert_eq!(db.store().default_partition_rows(9).await.unwrap(), 2);
    let moved: Vec<chrono::DateTime<chrono::Utc>> = db.values("SELECT bucket_at FROM heartbeats_p20260602 ORDER BY 1").await;
    assert_eq!(moved, [at(midnight), at(midnight) + TimeDelta::seconds(86_390)]);
    assert_eq!(db.value::<i64>("SELECT count(*) FROM heartbeats").await, 4);
    // Repeats are recognized there as well.
    db.store().write_heartbeats(&mut batch).await.unwrap();
    assert_eq!(db.value::<i64>("SELECT count(*) FROM heartbeats").await, 4);
}

#[tokio::test]
async fn a_schema_is_migrated_when_its_newest_migration_is_applied() {
    let db = TestDatabase::new().await;
    assert!(db.store().is_migrated().await.unwrap());
    db.store().migrate().await.unwrap();
    db.execute(
        "INSERT INTO _sqlx_migrations SELECT 9999, 'of a later build', installed_on, true, checksum, 0 FROM _sqlx_migrations LIMIT 1",
    )
    .await;
    db.store().migrate().await.unwrap();
    assert!(db.store().is_migrated().await.unwrap(), "a later build's migrations do not matter");
    db.execute("DELETE FROM _sqlx_migrations WHERE version >= (SELECT max(version) FROM _sqlx_migrations WHERE version < 9999)").await;
    assert!(!db.store().is_migrated().await.unwrap());
}
