use std::time::Duration;

use chrono::{NaiveDate, TimeDelta};
use domain::partition::{ArchiveRecord, PartitionRecord, PartitionState, Progress, TableSeen};
use store::{LockPatience, PoolOptions, Store, StoreError};
use test_database::{SilentProxy, TestDatabase};

use crate::common::{at, battery, enroll, heartbeat, plan_of};

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

/// Days are those of UTC, whatever the zone of the database, on the nights on which its clocks change as well.
#[tokio::test]
async fn days_begin_at_midnight_utc_where_clocks_change() {
    let db = TestDatabase::new().await;
    db.execute("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone = ''Europe/Berlin''', current_database()); END $$").await;
    // Its sessions begin with that zone.
    let store = db.another_store(2);
    let day = |month, day| NaiveDate::from_ymd_opt(2026, month, day).unwrap();
    let days = [day(3, 28), day(3, 29), day(3, 30), day(10, 24), day(10, 25), day(10, 26)];
    assert_eq!(store.ensure_partitions(&days).await.unwrap(), days);
    let seen = store.partitions_seen().await.unwrap();
    assert!(days.iter().all(|day| seen[day] == TableSeen::Attached), "{seen:?}");
    let id = enroll(&db, 1, "a").await;
    let mut batch = Vec::new();
    for day in days {
        let midnight = day.and_time(chrono::NaiveTime::MIN).and_utc();
        // The first and the last bucket, and those around the change of clocks.
        for second in [0, 3590, 3600, 7190, 7200, 86_390] {
            batch.push(heartbeat(id, (midnight - at(0)).num_seconds() + second, battery(1)));
        }
    }
    store.write_heartbeats(&mut batch).await.unwrap();
    for day in days {
        let rows: i64 = db.value(&format!("SELECT count(*) FROM {}", domain::partition::table_name(day))).await;
        assert_eq!(rows, 6, "{day}");
    }
    assert_eq!(store.default_partition_rows(9).await.unwrap(), 0);
    assert!(store.detach_partition(day(10, 25), LockPatience::START).await.unwrap());
    assert_eq!(store.attach_partition(day(10, 25), LockPatience::START).await.unwrap(), 0);
    assert_eq!(store.partitions_seen().await.unwrap()[&day(10, 25)], TableSeen::Attached);
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

/// Rows of a day, straight into a table.
async fn insert(db: &TestDatabase, table: &str, id: domain::DeviceId, second: i64, seq: i64) {
    let bucket = at(second);
    db.execute(&format!(
        "INSERT INTO {table} (device_id, bucket_at, received_at, device_time, clock_rejected, seq) \
         VALUES ('{id}', '{bucket}', '{bucket}', '{bucket}', false, {seq})"
    ))
    .await;
}

#[tokio::test]
async fn heartbeats_pass_while_a_detach_waits_for_a_long_transaction() {
    let db = TestDatabase::new().await;
    let id = enroll(&db, 1, "a").await;
    db.store().ensure_partitions(&[june(1), june(2)]).await.unwrap();
    // Holds the lock that the detach needs on `heartbeats`, and none of those that it takes before.
    let mut holder = db.pool().begin().await.unwrap();
    sqlx::query("LOCK TABLE ONLY heartbeats IN ACCESS SHARE MODE").execute(&mut *holder).await.unwrap();
    let store = db.store().clone();
    let detaching = tokio::spawn(async move { store.detach_partition(june(1), LockPatience::MANAGER).await });
    let mut look = db.pool().acquire().await.unwrap();
    let asked = tokio::spawn(async move {
        let waits =
            "SELECT count(*) FROM pg_locks WHERE relation = 'heartbeats'::regclass AND mode = 'AccessExclusiveLock' AND NOT granted";
        while sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut *look).await.unwrap() == 0 {}
    });
    // Each of these gets its own lock within the time that heartbeats may wait, while the detach asks and after.
    let mut writer = db.pool().acquire().await.unwrap();
    sqlx::raw_sql("SET lock_timeout = '100ms'").execute(&mut *writer).await.unwrap();
    let mut after = 0;
    for second in 0..20_000 {
        let bucket = at(43_200 + second * 10);
        sqlx::query("INSERT INTO heartbeats (device_id, bucket_at, received_at, clock_rejected) VALUES ($1, $2, $2, false)")
            .bind(id.0)
            .bind(bucket)
            .execute(&mut *writer)
            .await
            .unwrap_or_else(|error| panic!("heartbeat {second} waited for longer than 100 ms: {error}"));
        after += u32::from(asked.is_finished());
        if after == 100 {
            break;
        }
    }
    assert!(!detaching.is_finished(), "the transaction still holds its lock");
    holder.rollback().await.unwrap();
    assert!(detaching.await.unwrap().unwrap(), "it detached in the end");
    assert_eq!(db.store().partitions().await.unwrap(), ["heartbeats_default", "heartbeats_p20260602"]);
}

/// A store over the proxy.
fn store_over(proxy: &SilentProxy) -> Store {
    let options = PoolOptions {
        max_connections: 2,
        acquire_timeout: Duration::from_secs(5),
        statement_timeout: Duration::from_secs(30),
        answer_grace: Duration::from_secs(1),
    };
    Store::new(proxy.url(), options).unwrap()
}

/// Inserts heartbeats of these times, none of which waits for a lock for longer than `limit`.
async fn inserts_within(db: &TestDatabase, id: domain::DeviceId, seconds: impl Iterator<Item = i64>, limit: &str) {
    let mut writer = db.pool().acquire().await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("SET lock_timeout = '{limit}'"))).execute(&mut *writer).await.unwrap();
    for second in seconds {
        sqlx::query("INSERT INTO heartbeats (device_id, bucket_at, received_at, clock_rejected) VALUES ($1, $2, $2, false)")
            .bind(id.0)
            .bind(at(second))
            .execute(&mut *writer)
            .await
            .unwrap_or_else(|error| panic!("heartbeat {second} waited for longer than {limit}: {error}"));
    }
    sqlx::raw_sql("RESET lock_timeout").execute(&mut *writer).await.unwrap();
}

#[tokio::test]
async fn a_manager_that_freezes_under_its_locks_holds_heartbeats_for_a_moment_only() {
    // Where it freezes; whether the change was made all the same, since its last message has the commit.
    for (words, detaches, is_done) in
        [("DETACH PARTITION", true, true), ("LOCK TABLE heartbeats_p20260602", false, false), ("ATTACH PARTITION", false, true)]
    {
        let db = TestDatabase::new().await;
        let id = enroll(&db, 1, "a").await;
        db.store().ensure_partitions(&[june(1), june(2)]).await.unwrap();
        if !detaches {
            assert!(db.store().detach_partition(june(2), LockPatience::START).await.unwrap());
        }
        let proxy = SilentProxy::start(db.url()).await;
        let store = store_over(&proxy);
        // One connection of its own for what comes before the locks, which says those words as well.
        store.ping().await.unwrap();
        proxy.freeze_after(words);
        let frozen = tokio::spawn(async move {
            if detaches {
                store.detach_partition(june(1), LockPatience::START).await.map(drop)
            } else {
                store.attach_partition(june(2), LockPatience::START).await.map(drop)
            }
        });
        while proxy.silent_connections() == 0 {
            tokio::task::yield_now().await;
        }
        // In the first day and, where there is no second, in the default partition.
        let of_next_day = 8_640;
        inserts_within(&db, id, (0..20).chain(of_next_day..of_next_day + 20).map(|bucket| bucket * 10), "400ms").await;
        frozen.abort();
        let attached = db.store().partitions().await.unwrap();
        let there = |day: NaiveDate| attached.contains(&domain::partition::table_name(day));
        assert_eq!(if detaches { !there(june(1)) } else { there(june(2)) }, is_done, "{words}: {attached:?}");
        // Whoever comes next goes on.
        db.store().attach_partition(june(2), LockPatience::MANAGER).await.unwrap();
        db.store().attach_partition(june(1), LockPatience::MANAGER).await.unwrap();
        assert_eq!(
            (db.store().default_partition_rows(99).await.unwrap(), db.value::<i64>("SELECT count(*) FROM heartbeats").await),
            (0, 40)
        );
    }
}

/// Fills the default partition with so many rows of each of the days.
async fn fill_default(db: &TestDatabase, days: std::ops::RangeInclusive<u32>, rows: u32) {
    let (first, last) = (june(*days.start()), june(*days.end()));
    db.execute(&format!(
        "INSERT INTO heartbeats (device_id, bucket_at, received_at, clock_rejected) \
         SELECT gen_random_uuid(), t, t, false FROM generate_series('{first} 12:00Z'::timestamptz, '{last} 12:00Z', '1 day') d, \
             generate_series(1, {rows}) n, LATERAL (SELECT d + n * interval '1 second' AS t) times; \
         ANALYZE heartbeats_default"
    ))
    .await;
}

#[tokio::test]
async fn days_of_a_large_default_partition_are_found_by_its_index() {
    let db = TestDatabase::new().await;
    fill_default(&db, 1..=8, 2_500).await;
    db.execute("DELETE FROM heartbeats WHERE bucket_at >= '2026-06-03Z' AND bucket_at < '2026-06-06Z'").await;
    db.execute("VACUUM ANALYZE heartbeats_default").await;
    assert_eq!(db.store().default_partition_days().await.unwrap(), [1, 2, 6, 7, 8].map(june));
    let plan = plan_of(&db, "WITH RECURSIVE days", "100").await;
    assert!(plan.contains("heartbeats_default_time_idx") && !plan.contains("Seq Scan"), "{plan}");
    // Where the migration found it too large, a run makes it; one that was cut off is made anew.
    assert!(!db.store().index_default_partition().await.unwrap());
    db.execute("DROP INDEX heartbeats_default_time_idx").await;
    assert!(db.store().index_default_partition().await.unwrap());
    db.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'heartbeats_default_time_idx'::regclass").await;
    assert!(db.store().index_default_partition().await.unwrap() && !db.store().index_default_partition().await.unwrap());
}

#[tokio::test]
async fn a_day_with_many_rows_in_the_default_partition_is_attached_within_bounds_and_none_is_lost() {
    let db = TestDatabase::new().await;
    fill_default(&db, 1..=2, 10_000).await;
    let hurried = LockPatience::MANAGER.moving_for(Duration::ZERO);
    let error = db.store().create_partition(june(2), hurried).await.unwrap_err();
    assert!(matches!(error, StoreError::TimedOut(_)), "{error}");
    let moved = "SELECT count(*) FROM heartbeats_p20260602";
    assert_eq!(db.value::<i64>(moved).await, 2000, "one part, and no more");
    // What is left of the default partition is read; the rest is in the table, which the next attempts fill and attach.
    let mut attempts = 0;
    while let Err(error) = db.store().attach_partition(june(2), hurried).await {
        assert!(matches!(error, StoreError::TimedOut(_)), "{error}");
        attempts += 1;
    }
    assert_eq!((attempts, db.value::<i64>(moved).await), (4, 10_000));
    assert_eq!(db.store().default_partition_rows(i64::MAX).await.unwrap(), 10_000, "those of the other day");
    assert_eq!(db.value::<i64>("SELECT count(*) FROM heartbeats").await, 20_000);
    // A start does not wait for it, nor fail.
    db.execute("DELETE FROM heartbeats").await;
    fill_default(&db, 3..=3, 20_000).await;
    assert_eq!(db.store().ensure_partitions(&[june(3), june(4)]).await.unwrap(), [june(3), june(4)]);
}

#[tokio::test]
async fn a_lock_that_does_not_come_is_told_from_an_outage() {
    let db = TestDatabase::new().await;
    db.store().ensure_partitions(&[june(1)]).await.unwrap();
    let mut holder = db.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM heartbeats").execute(&mut *holder).await.unwrap();
    let error = db.store().detach_partition(june(1), LockPatience::START).await.unwrap_err();
    assert!(error.is_lock_timeout(), "{error}");
    // Nor does a start fail for it: the default partition takes the rows.
    sqlx::query("SELECT FROM heartbeats_default").execute(&mut *holder).await.unwrap();
    assert!(db.store().ensure_partitions(&[june(2)]).await.unwrap().is_empty());
    holder.rollback().await.unwrap();
    assert!(db.store().detach_partition(june(1), LockPatience::START).await.unwrap());
}

#[tokio::test]
async fn of_a_bucket_in_the_table_and_in_the_default_partition_the_newest_stands() {
    let db = TestDatabase::new().await;
    let id = enroll(&db, 1, "a").await;
    let noon = 86_400;
    db.store().ensure_partitions(&[june(2)]).await.unwrap();
    assert!(db.store().detach_partition(june(2), LockPatience::START).await.unwrap());
    for (second, in_table, in_default) in [(0, Some(1), Some(2)), (10, Some(4), Some(3)), (20, Some(5), None), (30, None, Some(6))] {
        if let Some(seq) = in_table {
            insert(&db, "heartbeats_p20260602", id, noon + second, seq).await;
        }
        if let Some(seq) = in_default {
            insert(&db, "heartbeats", id, noon + second, seq).await;
        }
    }
    assert_eq!(db.store().attach_partition(june(2), LockPatience::START).await.unwrap(), 2, "one was changed, one is new");
    let stand: Vec<i64> = db.values("SELECT seq FROM heartbeats_p20260602 ORDER BY bucket_at").await;
    assert_eq!(stand, [2, 4, 5, 6]);
    assert_eq!(db.value::<i64>("SELECT count(*) FROM heartbeats_default").await, 0);
    let checks =
        "SELECT count(*) FROM pg_constraint WHERE conrelid = 'heartbeats_p20260602'::regclass AND conname = 'heartbeats_of_one_day'";
    assert_eq!(db.value::<i64>(checks).await, 0, "the check was for the attach only");
}

#[tokio::test]
async fn many_rows_leave_the_default_partition_in_parts() {
    let db = TestDatabase::new().await;
    db.execute(
        "INSERT INTO heartbeats (device_id, bucket_at, received_at, clock_rejected) \
         SELECT gen_random_uuid(), '2026-06-02Z', '2026-06-02Z', false FROM generate_series(1, 4500)",
    )
    .await;
    assert_eq!(db.store().default_partition_days().await.unwrap(), [june(2)]);
    assert!(db.store().create_partition(june(2), LockPatience::START).await.unwrap());
    assert_eq!(db.value::<i64>("SELECT count(*) FROM ONLY heartbeats_p20260602").await, 4500);
    assert!(!db.store().create_partition(june(2), LockPatience::START).await.unwrap(), "there is one");
}

#[tokio::test]
async fn a_table_of_before_a_migration_gets_its_columns_and_one_that_differs_is_refused() {
    let db = TestDatabase::new().await;
    db.store().ensure_partitions(&[june(1), june(2)]).await.unwrap();
    for day in [june(1), june(2)] {
        assert!(db.store().detach_partition(day, LockPatience::START).await.unwrap());
    }
    db.execute("ALTER TABLE heartbeats_p20260601 DROP COLUMN battery_temperature_c").await;
    db.execute("ALTER TABLE heartbeats_p20260602 ADD COLUMN by_hand text").await;
    db.store().attach_partition(june(1), LockPatience::START).await.unwrap();
    let error = db.store().attach_partition(june(2), LockPatience::START).await.unwrap_err().to_string();
    assert!(error.contains("by_hand"), "{error}");
}

#[tokio::test]
async fn tables_that_hands_made_are_seen_as_what_they_are() {
    let db = TestDatabase::new().await;
    db.store().ensure_partitions(&[june(1), june(2)]).await.unwrap();
    db.store().detach_partition(june(2), LockPatience::START).await.unwrap();
    db.execute(
        "CREATE VIEW heartbeats_p20260603 AS SELECT 1 AS one;
         CREATE TABLE heartbeats_p20260604 PARTITION OF heartbeats FOR VALUES FROM ('2026-06-04Z') TO ('2026-06-04 12:00Z');
         CREATE TABLE of_a_week PARTITION OF heartbeats FOR VALUES FROM ('2026-06-10Z') TO ('2026-06-12Z');",
    )
    .await;
    let seen = db.store().partitions_seen().await.unwrap();
    let words: Vec<(NaiveDate, String)> = seen
        .into_iter()
        .map(|(day, table)| match table {
            TableSeen::Attached => (day, "attached".to_owned()),
            TableSeen::Detached => (day, "detached".to_owned()),
            TableSeen::Unusable(why) => (day, why),
        })
        .collect();
    let has = |day: u32, words_of: &str| words.iter().any(|(of, words)| *of == june(day) && words.contains(words_of));
    assert!(has(1, "attached") && has(2, "detached"), "{words:?}");
    assert!(has(3, "no plain table") && has(4, "instead of FOR VALUES") && has(10, "of_a_week") && has(11, "of_a_week"), "{words:?}");
    assert_eq!(words.len(), 6, "{words:?}");
}

fn archived(day: NaiveDate, state: PartitionState) -> PartitionRecord {
    let archive = ArchiveRecord {
        url: "/archive/x".into(),
        sha256: "aa".into(),
        rows_sha256: "bb".into(),
        rows: 0,
        bytes: 4,
        first_at: None,
        last_at: Some(at(0)),
        schema_version: 1,
    };
    PartitionRecord { archive: Some(archive), archived_at: Some(at(1)), verified_at: Some(at(2)), ..PartitionRecord::new(day, state) }
}

#[tokio::test]
async fn only_a_detached_table_whose_archive_is_verified_is_dropped() {
    let db = TestDatabase::new().await;
    db.store().ensure_partitions(&[june(1)]).await.unwrap();
    let (store, open, verified) = (db.store(), Some(PartitionState::Open), archived(june(1), PartitionState::Verified));
    let there = async || db.value::<bool>("SELECT to_regclass('heartbeats_p20260601') IS NOT NULL").await;
    store.detach_partition(june(1), LockPatience::START).await.unwrap();
    assert!(!store.drop_detached(june(1), "bb", at(3)).await.unwrap(), "nothing is archived");
    assert!(store.put_partition_record(&archived(june(1), PartitionState::Archived), open).await.unwrap());
    assert!(!store.drop_detached(june(1), "bb", at(3)).await.unwrap(), "nothing was read back");
    assert!(store.put_partition_record(&verified, Some(PartitionState::Archived)).await.unwrap());
    assert!(!store.drop_detached(june(1), "cc", at(3)).await.unwrap(), "other rows were archived");
    store.attach_partition(june(1), LockPatience::START).await.unwrap();
    assert!(!store.drop_detached(june(1), "bb", at(3)).await.unwrap(), "it is a partition");
    store.detach_partition(june(1), LockPatience::START).await.unwrap();
    assert!(there().await);
    assert!(store.drop_detached(june(1), "bb", at(3)).await.unwrap());
    assert!(!there().await);
    let record = store.partition_record(june(1)).await.unwrap().unwrap();
    assert_eq!((record.state, record.dropped_at), (PartitionState::Dropped, Some(at(3))));
    // A start makes no empty table of it, in which its rows would seem to be lost.
    assert!(store.ensure_partitions(&[june(1)]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_record_is_changed_from_the_state_it_is_in_and_keeps_its_failures() {
    let db = TestDatabase::new().await;
    let store = db.store();
    let record = archived(june(1), PartitionState::Archived);
    assert!(store.put_partition_record(&record, None).await.unwrap());
    assert!(!store.put_partition_record(&record, None).await.unwrap(), "there is one");
    assert!(!store.put_partition_record(&record, Some(PartitionState::Open)).await.unwrap(), "it is in another state");
    assert_eq!(store.partition_record(june(1)).await.unwrap(), Some(record.clone()));

    assert_eq!(store.partition_failures().await.unwrap(), 0);
    store.note_partition_failure(june(1), "the store is full", true, at(5)).await.unwrap();
    store.note_partition_failure(june(1), "a lock", false, at(6)).await.unwrap();
    store.note_partition_failure(june(2), "the store is full", true, at(6)).await.unwrap();
    store.note_partition_failure(june(1), "the store is full", true, at(7)).await.unwrap();
    assert_eq!(store.partition_failures().await.unwrap(), 2);
    let progress = Progress { step: "archive".into(), done: 3, of: 4, at: at(8) };
    store.note_partition_progress(june(1), Some(&progress)).await.unwrap();
    let found = store.partition_record(june(1)).await.unwrap().unwrap();
    assert_eq!((found.last_error.as_deref(), found.failed_at, found.attempts), (Some("the store is full"), Some(at(7)), 2));
    assert_eq!(found.progress, Some(progress));
    store.note_partition_success(june(1)).await.unwrap();
    assert_eq!(store.partition_record(june(1)).await.unwrap(), Some(record));
    assert_eq!(store.partition_failures().await.unwrap(), 1);
}
