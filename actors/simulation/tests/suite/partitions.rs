//! The life of partitions over a real database and a folder of archives: cut off anywhere, disturbed by hands, with the store away.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actors::partition::{FaultPoint, Manager, ManagerSettings, PartitionError, RunReport, Watch};
use archive::{ArchiveSettings, Archives};
use chrono::{DateTime, NaiveDate, TimeDelta};
use domain::Timestamp;
use domain::pace::Pace;
use domain::partition::{Action, PartitionSettings, PartitionState, table_name};
use strum::VariantArray;
use test_database::TestDatabase;

/// Devices whose heartbeats there are, and heartbeats of each in a day.
const DEVICES: i64 = 3;
const HEARTBEATS: i64 = 4;
const ROWS: u64 = (DEVICES * HEARTBEATS) as u64;

fn now() -> Timestamp {
    DateTime::from_timestamp(1_798_675_200 + 12 * 3600, 0).unwrap()
}

fn days_ago(days: i64) -> NaiveDate {
    now().date_naive() - TimeDelta::days(days)
}

struct Site {
    db: TestDatabase,
    folder: tempfile::TempDir,
    manager: Manager,
}

impl Site {
    /// With partitions of the days up to so many before today, each with rows.
    async fn with_days(days: std::ops::RangeInclusive<i64>) -> Self {
        let (db, folder) = (TestDatabase::new().await, tempfile::tempdir().unwrap());
        let manager = manager(&db, folder.path());
        let days: Vec<NaiveDate> = days.map(days_ago).collect();
        db.store().ensure_partitions(&days).await.unwrap();
        let site = Self { db, folder, manager };
        for day in days {
            site.insert(day, 0, HEARTBEATS).await;
        }
        site
    }

    /// Heartbeats of every device, `count` of them behind the first ones.
    async fn insert(&self, day: NaiveDate, first: i64, count: i64) {
        let last = first + count - 1;
        self.db
            .execute(&format!(
                "INSERT INTO heartbeats (device_id, bucket_at, received_at, device_time, clock_rejected, battery_pct, transport, seq) \
                 SELECT ('00000000-0000-0000-0000-00000000000' || d)::uuid, t, t, t, false, (d + n) % 100, 'wifi', n \
                 FROM generate_series(1, {DEVICES}) d, generate_series({first}, {last}) n, \
                     LATERAL (SELECT '{day} 00:00Z'::timestamptz + n * interval '10 seconds' AS t) times"
            ))
            .await;
    }

    async fn state(&self, day: NaiveDate) -> PartitionState {
        self.db.store().partition_record(day).await.unwrap().unwrap().state
    }

    async fn hot_rows(&self, day: NaiveDate) -> i64 {
        let next = day + TimeDelta::days(1);
        self.db.value(&format!("SELECT count(*) FROM heartbeats WHERE bucket_at >= '{day} 00:00Z' AND bucket_at < '{next} 00:00Z'")).await
    }

    /// A digest of all columns of a day's rows, as the database has them.
    async fn content(&self, day: NaiveDate) -> String {
        let next = day + TimeDelta::days(1);
        self.db
            .value(&format!(
                "SELECT md5(string_agg(h::text, '|' ORDER BY device_id, bucket_at)) FROM heartbeats h \
                 WHERE bucket_at >= '{day} 00:00Z' AND bucket_at < '{next} 00:00Z'"
            ))
            .await
    }

    fn file(&self, day: NaiveDate) -> PathBuf {
        self.folder.path().join("archive/heartbeats").join(format!("{day}.parquet"))
    }

    /// File and manifest of a day, as they are.
    fn archive_of(&self, day: NaiveDate) -> [(PathBuf, Vec<u8>); 2] {
        let file = self.file(day);
        [file.with_extension("json"), file].map(|file| (file.clone(), std::fs::read(&file).unwrap()))
    }

    async fn run(&self) -> RunReport {
        self.manager.run(now(), &()).await.unwrap()
    }

    /// Runs, and expects that nothing fails.
    async fn runs_well(&self) -> Vec<(NaiveDate, Action)> {
        let report = self.run().await;
        assert!(report.failed.is_empty(), "{report:?}");
        report.done.into_iter().map(|done| (done.day, done.action)).collect()
    }
}

fn manager(db: &TestDatabase, folder: &std::path::Path) -> Manager {
    let archives = Archives::open(ArchiveSettings { chunk_rows: 5, ..ArchiveSettings::in_folder(folder) }).unwrap();
    let settings = ManagerSettings {
        partition: PartitionSettings { kept_days: 90, restored_kept_days: 7 },
        offline_after_s: 720,
        chunk_rows: 5,
        pace: Pace::FULL_SPEED,
        lock_max: Duration::from_secs(600),
    };
    Manager::new(db.store().clone(), archives, settings, None)
}

fn put_back(archive: &[(PathBuf, Vec<u8>); 2]) {
    for (file, bytes) in archive {
        std::fs::write(file, bytes).unwrap();
    }
}

fn flip(file: &std::path::Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn days_older_than_the_retention_are_archived_dropped_verified_and_restored() {
    let site = Site::with_days(89..=93).await;
    let before = site.content(days_ago(93)).await;
    let done = site.runs_well().await;
    for day in [91, 92, 93].map(days_ago) {
        let of_day: Vec<Action> = done.iter().filter(|(of, _)| *of == day).map(|(_, action)| *action).collect();
        assert_eq!(of_day, [Action::Archive, Action::Verify, Action::Drop]);
        let record = site.db.store().partition_record(day).await.unwrap().unwrap();
        assert_eq!((record.state, record.archive.unwrap().rows), (PartitionState::Dropped, ROWS));
        assert_eq!(site.hot_rows(day).await, 0);
    }
    for day in [89, 90].map(days_ago) {
        assert_eq!((site.state(day).await, site.hot_rows(day).await), (PartitionState::Settled, ROWS as i64));
    }
    assert!(site.runs_well().await.is_empty(), "a second run finds nothing to do");

    flip(&site.file(days_ago(92)));
    let error = site.manager.verify(days_ago(92), now(), &()).await.unwrap_err();
    assert!(error.is_damage() && error.to_string().contains(&format!("{}.parquet", days_ago(92))), "{error}");
    site.manager.verify(days_ago(91), now(), &()).await.unwrap();

    let refused = site.manager.restore(days_ago(90), now(), &()).await.unwrap_err().to_string();
    assert!(refused.contains("the day is there"), "{refused}");
    let damaged = site.manager.restore(days_ago(92), now(), &()).await.unwrap_err();
    assert!(damaged.is_damage(), "{damaged}");
    let restored = site.manager.restore(days_ago(93), now(), &()).await.unwrap();
    assert_eq!((restored.state, restored.restored_until), (PartitionState::Restored, Some(now() + TimeDelta::days(7))));
    assert_eq!(site.content(days_ago(93)).await, before, "the same rows");
    let again = site.manager.restore(days_ago(93), now(), &()).await.unwrap_err().to_string();
    assert!(again.contains("the day is there"), "{again}");
    // Once its time is over it goes the way of all days.
    let later = site.manager.run(now() + TimeDelta::days(8), &()).await.unwrap();
    assert!(later.done.iter().any(|done| (done.day, done.action) == (days_ago(93), Action::Drop)), "{later:?}");
    assert_eq!(site.state(days_ago(93)).await, PartitionState::Dropped);
}

/// Ends the manager the first time it passes a point.
struct Ends(FaultPoint, AtomicBool);

impl Watch for Ends {
    fn pass(&self, point: FaultPoint) -> Result<(), PartitionError> {
        if point == self.0 && !self.1.swap(true, Ordering::Relaxed) { Err(PartitionError::Fault(point)) } else { Ok(()) }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_ends_anywhere_is_continued_by_the_next() {
    for point in FaultPoint::VARIANTS {
        let site = Site::with_days(90..=91).await;
        let day = days_ago(91);
        let before = site.content(day).await;
        let ends = Ends(*point, AtomicBool::new(false));
        let of_restore = [FaultPoint::RestoreBegun, FaultPoint::RestoreFilled, FaultPoint::RestoreAttached].contains(point);
        if of_restore {
            site.runs_well().await;
            let ended = site.manager.restore(day, now(), &ends).await.unwrap_err();
            assert!(matches!(ended, PartitionError::Fault(at) if at == *point), "{point:?}: {ended}");
            // Whoever asks again, or the next run, goes on.
            site.runs_well().await;
            assert_eq!((site.state(day).await, site.content(day).await), (PartitionState::Restored, before), "{point:?}");
            continue;
        }
        let ended = site.manager.run(now(), &ends).await.unwrap_err();
        assert!(matches!(ended, PartitionError::Fault(at) if at == *point), "{point:?}: {ended}");
        site.runs_well().await;
        assert_eq!((site.state(day).await, site.hot_rows(day).await), (PartitionState::Dropped, 0), "{point:?}");
        assert_eq!(site.state(days_ago(90)).await, PartitionState::Settled, "{point:?}");
        site.manager.restore(day, now(), &()).await.unwrap();
        assert_eq!(site.content(day).await, before, "{point:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_come_for_a_dropped_day_are_merged_and_archived_again() {
    let site = Site::with_days(91..=91).await;
    let day = days_ago(91);
    site.runs_well().await;
    let first = site.db.store().partition_record(day).await.unwrap().unwrap().archive.unwrap();
    // One bucket that is archived, and one that is new.
    site.insert(day, HEARTBEATS - 1, 2).await;
    let actions: Vec<Action> = site.runs_well().await.into_iter().map(|(_, action)| action).collect();
    assert_eq!(actions, [Action::Merge, Action::Archive, Action::Verify, Action::Drop]);
    let second = site.db.store().partition_record(day).await.unwrap().unwrap().archive.unwrap();
    assert_eq!((first.rows, second.rows), (ROWS, ROWS + DEVICES as u64));
    assert_ne!(first.rows_sha256, second.rows_sha256);
    assert_eq!(site.hot_rows(day).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_come_after_the_archive_keep_the_table_until_they_are_archived() {
    let site = Site::with_days(91..=91).await;
    let day = days_ago(91);
    // Archived and verified, and cut off there.
    let ended = site.manager.run(now(), &Ends(FaultPoint::VerifyRecorded, AtomicBool::new(false))).await.unwrap_err();
    assert!(matches!(ended, PartitionError::Fault(_)), "{ended}");
    site.insert(day, HEARTBEATS, 1).await;
    let actions: Vec<Action> = site.runs_well().await.into_iter().map(|(_, action)| action).collect();
    assert_eq!(
        actions,
        [Action::Drop, Action::Archive, Action::Verify, Action::Drop],
        "the first drop finds other rows, and drops nothing"
    );
    assert_eq!(site.db.store().partition_record(day).await.unwrap().unwrap().archive.unwrap().rows, ROWS + DEVICES as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_hands_do_is_put_right() {
    let site = Site::with_days(88..=95).await;
    let table = |days: i64| table_name(days_ago(days));
    site.db
        .execute(&format!(
            "ALTER TABLE heartbeats DETACH PARTITION {}; ALTER TABLE heartbeats DETACH PARTITION {}; DROP TABLE {}; DROP TABLE {};",
            table(88),
            table(95),
            table(89),
            table(94)
        ))
        .await;
    site.runs_well().await;
    // Detached ones are attached, and go on; of what was removed before it was archived nobody can tell more.
    assert_eq!((site.state(days_ago(88)).await, site.hot_rows(days_ago(88)).await), (PartitionState::Settled, ROWS as i64));
    assert_eq!(site.state(days_ago(95)).await, PartitionState::Dropped);
    for lost in [89, 94] {
        assert_eq!(site.state(days_ago(lost)).await, PartitionState::Lost);
    }
    // An archive without its table, and a table without its archive.
    site.manager.archive(days_ago(90), now(), &()).await.unwrap();
    site.db.execute(&format!("DROP TABLE {}", table(90))).await;
    site.manager.archive(days_ago(88), now(), &()).await.unwrap();
    std::fs::remove_file(site.file(days_ago(88))).unwrap();
    site.runs_well().await;
    assert_eq!(site.state(days_ago(90)).await, PartitionState::Dropped);
    assert_eq!(site.manager.restore(days_ago(90), now(), &()).await.unwrap().archive.unwrap().rows, ROWS);
    let later = now() + TimeDelta::days(4);
    let report = site.manager.run(later, &()).await.unwrap();
    assert!(report.failed.iter().any(|failed| failed.day == days_ago(88) && failed.action == Action::Verify), "{report:?}");
    assert_eq!(site.hot_rows(days_ago(88)).await, ROWS as i64, "nothing is dropped that no archive has");
    let report = site.manager.run(later, &()).await.unwrap();
    assert!(report.failed.is_empty(), "{report:?}");
    assert_eq!(site.state(days_ago(88)).await, PartitionState::Dropped, "it was archived again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_store_is_away_partitions_are_made_and_nothing_is_dropped() {
    let site = Site::with_days(91..=92).await;
    let archive = site.folder.path().join("archive");
    // It is made when it is first used.
    std::fs::write(&archive, b"in the way").unwrap();
    for failures in 1..=2 {
        let report = site.run().await;
        assert_eq!(report.failed.len(), 1, "the second day is not tried: {report:?}");
        assert_eq!(site.db.store().partition_failures().await.unwrap(), failures);
    }
    assert_eq!(site.hot_rows(days_ago(91)).await + site.hot_rows(days_ago(92)).await, 2 * ROWS as i64);
    assert!(site.db.store().partitions().await.unwrap().contains(&table_name(days_ago(-7))), "partitions are made");
    std::fs::remove_file(&archive).unwrap();
    std::fs::create_dir_all(&archive).unwrap();
    site.runs_well().await;
    assert_eq!(site.db.store().partition_failures().await.unwrap(), 0);
    assert_eq!(site.state(days_ago(92)).await, PartitionState::Dropped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_managers_one_works() {
    let site = Site::with_days(91..=93).await;
    let other = manager(&site.db, site.folder.path());
    let (one, two) = tokio::join!(site.manager.run(now(), &()), other.run(now(), &()));
    let busy = [&one, &two].iter().filter(|run| matches!(run, Err(PartitionError::Busy))).count();
    assert_eq!(busy, 1, "{one:?} {two:?}");
    for day in [91, 92, 93].map(days_ago) {
        assert_eq!(site.state(day).await, PartitionState::Dropped);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_day_is_forgotten_before_its_time_and_no_other_day_nor_a_row_that_is_not_archived() {
    let site = Site::with_days(90..=91).await;
    let day = days_ago(91);
    let before = site.content(day).await;
    site.runs_well().await;
    for (of, says) in [(day, "dropped, not restored"), (days_ago(90), "settled, not restored"), (days_ago(300), "not recorded")] {
        let refused = site.manager.forget(of, now(), &()).await.unwrap_err().to_string();
        assert!(refused.contains(says), "{of}: {refused}");
    }
    site.manager.restore(day, now(), &()).await.unwrap();
    let forgotten = site.manager.forget(day, now(), &()).await.unwrap();
    assert_eq!((forgotten.state, forgotten.restored_until, site.hot_rows(day).await), (PartitionState::Dropped, None, 0));
    // Its archive is read back before: a damaged one keeps the table.
    site.manager.restore(day, now(), &()).await.unwrap();
    let whole = site.archive_of(day);
    flip(&site.file(day));
    assert!(site.manager.forget(day, now(), &()).await.unwrap_err().is_damage());
    assert_eq!(site.hot_rows(day).await, ROWS as i64);
    put_back(&whole);
    site.runs_well().await;
    site.manager.restore(day, now(), &()).await.unwrap();
    assert_eq!(site.content(day).await, before);
    site.insert(day, HEARTBEATS, 1).await;
    let refused = site.manager.forget(day, now(), &()).await.unwrap_err().to_string();
    assert!(refused.contains("rows came since"), "{refused}");
    assert_eq!(site.hot_rows(day).await, ROWS as i64 + DEVICES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_without_rows_is_archived_and_restored_like_any_other() {
    let site = Site::with_days(91..=91).await;
    site.db.execute("DELETE FROM heartbeats").await;
    site.runs_well().await;
    assert_eq!(site.state(days_ago(91)).await, PartitionState::Dropped);
    let restored = site.manager.restore(days_ago(91), now(), &()).await.unwrap();
    assert_eq!((restored.archive.unwrap().rows, site.hot_rows(days_ago(91)).await), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_over_midnights_and_back_loses_nothing() {
    let site = Site::with_days(85..=92).await;
    // Forward by five midnights, an hour before and after one, and back.
    for hours in [0, 11, 13, 5 * 24, 5 * 24 - 30, -26, 6 * 24] {
        let report = site.manager.run(now() + TimeDelta::hours(hours), &()).await.unwrap();
        assert!(report.failed.is_empty(), "{hours}: {report:?}");
        for day in (85..=92).map(days_ago) {
            let record = site.db.store().partition_record(day).await.unwrap().unwrap();
            let (hot, dropped) = (site.hot_rows(day).await as u64, record.state == PartitionState::Dropped);
            assert_eq!(hot, if dropped { 0 } else { ROWS }, "{hours} h, {day}: {:?}", record.state);
            assert!(!dropped || record.archive.is_some_and(|archive| archive.rows == ROWS), "{hours} h, {day}");
        }
    }
    assert_eq!(site.state(days_ago(85)).await, PartitionState::Dropped);
    let all: i64 = site.db.value("SELECT count(*) FROM heartbeats").await;
    assert_eq!(all, 0, "every day is archived by then");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_version_of_an_archive_is_neither_merged_nor_restored() {
    let site = Site::with_days(91..=91).await;
    let day = days_ago(91);
    site.runs_well().await;
    let older = site.archive_of(day);
    site.insert(day, HEARTBEATS, 1).await;
    site.runs_well().await;
    let (newer, recorded) = (site.archive_of(day), site.db.store().partition_record(day).await.unwrap().unwrap().archive.unwrap());
    assert_eq!(recorded.rows, ROWS + DEVICES as u64);

    put_back(&older);
    site.insert(day, HEARTBEATS + 1, 1).await;
    let report = site.run().await;
    let [failed] = &report.failed[..] else { panic!("{report:?}") };
    assert!((failed.day, failed.action) == (day, Action::Merge) && failed.error.contains("is of another version"), "{failed:?}");
    assert_eq!((site.state(day).await, site.hot_rows(day).await), (PartitionState::Dropped, DEVICES), "what came is still there");
    let record = site.db.store().partition_record(day).await.unwrap().unwrap();
    assert_eq!((record.archive.unwrap(), site.archive_of(day)), (recorded, older.clone()), "nothing is recorded or replaced");
    put_back(&newer);
    site.runs_well().await;
    let rows = site.db.store().partition_record(day).await.unwrap().unwrap().archive.unwrap().rows;
    assert_eq!((site.state(day).await, rows), (PartitionState::Dropped, ROWS + 2 * DEVICES as u64));

    let newest = site.archive_of(day);
    put_back(&older);
    let told = site.manager.restore(day, now(), &()).await.unwrap_err();
    assert!(told.is_damage() && told.to_string().contains("is of another version"), "{told}");
    let tables: i64 = site.db.value(&format!("SELECT count(*) FROM pg_class WHERE relname = '{}'", table_name(day))).await;
    assert_eq!(tables, 0, "no table is made of it");
    put_back(&newest);
    site.manager.restore(day, now(), &()).await.unwrap();
    assert_eq!((site.state(day).await, site.hot_rows(day).await as u64), (PartitionState::Restored, rows));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_archive_of_a_day_that_has_its_table_is_set_aside_and_written_anew() {
    let site = Site::with_days(90..=90).await;
    let day = days_ago(90);
    let aside = || std::fs::read_dir(site.folder.path().join("archive/damaged/heartbeats")).map_or(0, |files| files.count());
    site.manager.archive(day, now(), &()).await.unwrap();
    let [(manifest, whole), _] = site.archive_of(day);
    std::fs::write(&manifest, &whole[..20]).unwrap();
    assert!(site.manager.verify(day, now(), &()).await.unwrap_err().is_damage());
    assert_eq!((site.state(day).await, aside()), (PartitionState::Settled, 0));
    let record = site.manager.archive(day, now(), &()).await.unwrap();
    assert_eq!((record.state, record.archive.unwrap().rows, aside()), (PartitionState::Verified, ROWS, 2));

    // One that nothing is recorded of, over a damaged file.
    site.db
        .execute(
            "UPDATE heartbeat_partition SET state = 'settled', archive_url = NULL, archive_sha256 = NULL, rows_sha256 = NULL, \
             archive_rows = NULL, archive_bytes = NULL, schema_version = NULL, archived_at = NULL, verified_at = NULL",
        )
        .await;
    flip(&site.file(day));
    site.insert(day, HEARTBEATS, 1).await;
    let record = site.manager.archive(day, now(), &()).await.unwrap();
    assert_eq!((record.state, record.archive.unwrap().rows, aside()), (PartitionState::Verified, ROWS + DEVICES as u64, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_that_is_archived_again_by_hand_has_the_rows_that_came_since() {
    let site = Site::with_days(90..=90).await;
    let day = days_ago(90);
    let first = site.manager.archive(day, now(), &()).await.unwrap().archive.unwrap();
    let again = site.manager.archive(day, now(), &()).await.unwrap().archive.unwrap();
    assert_eq!(again, first, "nothing came");
    site.insert(day, HEARTBEATS, 1).await;
    let record = site.manager.archive(day, now(), &()).await.unwrap();
    assert_eq!((record.state, record.archive.unwrap().rows), (PartitionState::Verified, ROWS + DEVICES as u64));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_with_fewer_rows_than_were_archived_replaces_nothing() {
    let site = Site::with_days(90..=90).await;
    let day = days_ago(90);
    site.manager.archive(day, now(), &()).await.unwrap();
    let older = site.archive_of(day);
    site.insert(day, HEARTBEATS, 1).await;
    site.db.execute("UPDATE heartbeat_partition SET state = 'settled'").await;
    let recorded = site.manager.archive(day, now(), &()).await.unwrap().archive.unwrap();
    assert_eq!(recorded.rows, ROWS + DEVICES as u64);
    // What a merge of the older version would leave.
    put_back(&older);
    site.db
        .execute(&format!("DELETE FROM {} WHERE seq = {HEARTBEATS}; UPDATE heartbeat_partition SET state = 'settled'", table_name(day)))
        .await;
    site.db.execute(&format!("DELETE FROM {} WHERE seq = 0", table_name(day))).await;
    let refused = site.manager.archive(day, now(), &()).await.unwrap_err().to_string();
    assert!(refused.contains("nothing is replaced") && refused.contains(&recorded.sha256), "{refused}");
    let record = site.db.store().partition_record(day).await.unwrap().unwrap();
    assert_eq!((record.archive.unwrap(), site.archive_of(day)), (recorded, older));
}
