use chrono::{NaiveDate, TimeDelta};
use domain::access::Principal;
use domain::audit::{AuditAction, Target};
use domain::storage::{PartitionWork, StorageSample, WORK_LOST_AFTER, WorkKind, WorkState};
use domain::{DeviceId, PartitionWorkId, Timestamp};
use store::AuditEntry;
use test_database::TestDatabase;

use crate::common::{at, battery, enroll_many, heartbeat};

fn work(id: u128, kind: WorkKind, started_at: Timestamp) -> PartitionWork {
    PartitionWork {
        id: PartitionWorkId(uuid::Uuid::from_u128(id)),
        kind,
        day: (kind != WorkKind::Run).then(|| NaiveDate::from_ymd_opt(2026, 3, 1).unwrap()),
        state: WorkState::Running,
        step: "Beginning".into(),
        done: 0,
        total: None,
        by: "ada".into(),
        node: "node-1".into(),
        started_at,
        renewed_at: started_at,
        ended_at: None,
        outcome: None,
    }
}

async fn begin(db: &TestDatabase, work: &PartitionWork) -> Option<PartitionWork> {
    let target = Target::Other { kind: "partitions", id: None, name: None };
    let entry = AuditEntry::new(&Principal::system(), AuditAction::PartitionsRun, target);
    db.store().begin_partition_work(work, work.started_at - WORK_LOST_AFTER, &entry).await.unwrap()
}

#[tokio::test]
async fn one_work_is_under_way_at_a_time_and_each_leaves_an_entry() {
    let db = TestDatabase::new().await;
    let entries = async || db.store().audit_head().await.unwrap().seq;
    let before = entries().await;
    let (first, second) = (work(1, WorkKind::Archive, at(0)), work(2, WorkKind::Run, at(10)));
    assert_eq!(begin(&db, &first).await, None);
    assert_eq!(begin(&db, &second).await.map(|other| other.id), Some(first.id));
    assert_eq!(entries().await, before + 1, "what did not begin leaves none");
    assert!(db.store().note_partition_work(first.id, "Archiving", 5, Some(10), at(20)).await.unwrap());
    let noted = db.store().partition_work(first.id).await.unwrap().unwrap();
    assert_eq!((noted.step.as_str(), noted.share(), noted.renewed_at, noted.day), ("Archiving", Some(0.5), at(20), first.day));
    assert!(db.store().end_partition_work(first.id, WorkState::Succeeded, "Done.", at(30)).await.unwrap());
    assert!(!db.store().end_partition_work(first.id, WorkState::Failed, "late", at(31)).await.unwrap(), "an end stays");
    assert!(!db.store().note_partition_work(first.id, "late", 9, None, at(31)).await.unwrap());
    assert_eq!(begin(&db, &second).await, None);
    let listed: Vec<_> = db.store().newest_partition_work(10).await.unwrap().into_iter().map(|work| (work.id, work.state)).collect();
    assert_eq!(listed, [(second.id, WorkState::Running), (first.id, WorkState::Succeeded)]);
    assert_eq!(db.store().partition_work(PartitionWorkId(uuid::Uuid::from_u128(9))).await.unwrap(), None);
}

#[tokio::test]
async fn work_of_a_node_that_fell_silent_stands_in_nobodys_way() {
    let db = TestDatabase::new().await;
    let lost = work(1, WorkKind::Restore, at(0));
    assert_eq!(begin(&db, &lost).await, None);
    let early = work(2, WorkKind::Run, at(0) + WORK_LOST_AFTER);
    assert_eq!(begin(&db, &early).await.map(|other| other.id), Some(lost.id), "it may still be at it");
    let late = work(3, WorkKind::Run, at(1) + WORK_LOST_AFTER);
    assert_eq!(begin(&db, &late).await, None);
    let interrupted = db.store().partition_work(lost.id).await.unwrap().unwrap();
    assert_eq!((interrupted.state, interrupted.ended_at), (WorkState::Interrupted, Some(at(0))));
    assert!(!db.store().note_partition_work(lost.id, "back", 1, None, at(99)).await.unwrap(), "its node learns of it");
}

#[tokio::test]
async fn two_who_begin_at_once_are_one() {
    let db = TestDatabase::new().await;
    let (first, second) = (work(1, WorkKind::Run, at(0)), work(2, WorkKind::Run, at(0)));
    let (one, other) = tokio::join!(begin(&db, &first), begin(&db, &second));
    assert_eq!(one.is_some(), other.is_none(), "exactly one begins");
}

#[tokio::test]
async fn samples_are_kept_once_an_hour_and_removed_with_ended_work() {
    let db = TestDatabase::new().await;
    let sample = |hour: i64, bytes| StorageSample {
        at: at(hour * 3600),
        database_bytes: bytes,
        heartbeats_bytes: 1,
        archive_bytes: 2,
        on_disk_bytes: bytes,
        disk_free_bytes: None,
        disk_bytes: None,
    };
    for sample in [sample(0, 10), sample(1, 20), sample(1, 99)] {
        db.store().insert_storage_sample(&sample).await.unwrap();
    }
    assert_eq!(db.store().storage_samples(at(0)).await.unwrap(), [sample(0, 10), sample(1, 20)], "the first of an hour stays");
    assert_eq!(db.store().storage_samples(at(1)).await.unwrap().len(), 1);
    let (ended, running) = (work(1, WorkKind::Run, at(0)), work(2, WorkKind::Run, at(5)));
    begin(&db, &ended).await;
    db.store().end_partition_work(ended.id, WorkState::Failed, "no", at(1)).await.unwrap();
    begin(&db, &running).await;
    assert_eq!(db.store().purge_storage_records(at(3600), 10).await.unwrap(), 1);
    assert_eq!(db.store().storage_samples(at(0)).await.unwrap(), [sample(1, 20)]);
    let left: Vec<_> = db.store().newest_partition_work(10).await.unwrap().into_iter().map(|work| work.id).collect();
    assert_eq!(left, [running.id], "what is under way is not removed");
}

#[tokio::test]
async fn sizes_are_those_of_the_database_and_its_heartbeats() {
    let db = TestDatabase::new().await;
    let sizes = db.store().database_sizes().await.unwrap();
    assert!(sizes.database_bytes > sizes.heartbeats_bytes && sizes.heartbeats_bytes >= 0, "{sizes:?}");
    let device = enroll_many(&db, 1).await[0];
    let mut rows: Vec<_> = (0..500).map(|n| heartbeat(device, n * 10, battery(50))).collect();
    db.store().write_heartbeats(&mut rows).await.unwrap();
    assert!(db.store().database_sizes().await.unwrap().heartbeats_bytes > sizes.heartbeats_bytes);
}

#[tokio::test]
async fn heartbeats_of_a_device_are_read_in_order_and_by_pieces() {
    let db = TestDatabase::new().await;
    let devices: Vec<DeviceId> = enroll_many(&db, 2).await;
    let mut rows: Vec<_> = (0..6).flat_map(|n| devices.iter().map(move |id| heartbeat(*id, n * 10, battery(n as i16)))).collect();
    db.store().write_heartbeats(&mut rows).await.unwrap();
    let read = async |from: i64, to: i64, limit| {
        let batch = db.store().device_batch(devices[0], at(from), at(to), limit).await.unwrap();
        (0..batch.rows()).map(|row| domain::archive::heartbeat_at(&batch, row).unwrap()).collect::<Vec<_>>()
    };
    let all = read(0, 60, 10).await;
    assert!(all.iter().all(|heartbeat| heartbeat.device_id == devices[0]));
    assert_eq!(all.iter().map(|heartbeat| heartbeat.bucket_at).collect::<Vec<_>>(), (0..6).map(|n| at(n * 10)).collect::<Vec<_>>());
    assert_eq!(all.iter().map(|heartbeat| heartbeat.telemetry.battery_pct).collect::<Vec<_>>(), (0..6).map(Some).collect::<Vec<_>>());
    assert_eq!(read(10, 30, 10).await, all[1..3], "from is in, to is not");
    assert_eq!(read(10, 60, 2).await, all[1..3]);
    assert!(read(100, 200, 10).await.is_empty());
    assert_eq!(TimeDelta::seconds(50), all[5].bucket_at - all[0].bucket_at);
}

/// What is added up of rows is what the database adds up of them.
#[tokio::test]
async fn slots_of_rows_are_those_of_the_database() {
    use domain::heartbeat::{Telemetry, Transport};
    let db = TestDatabase::new().await;
    let device = enroll_many(&db, 1).await[0];
    let transports = [Transport::Wifi, Transport::Cellular, Transport::Ethernet, Transport::None, Transport::Other];
    let told = |n: i64| Telemetry {
        battery_pct: (n % 3 != 0).then_some((n % 100) as i16),
        battery_temperature_c: (n % 4 != 0).then_some(20.3 + n as f32 / 7.0),
        charging: (n % 5 != 0).then_some(n % 2 == 0),
        storage_free_mb: Some(n * 1_000_003),
        ram_available_mb: Some((n * 17) as i32),
        transport: (n % 7 != 0).then(|| transports[n as usize % 5]),
        ..Telemetry::default()
    };
    let mut rows: Vec<_> = (0..300).map(|n| heartbeat(device, (n * n % 977) * 40, told(n))).collect();
    db.store().write_heartbeats(&mut rows).await.unwrap();
    for slot_s in [60, 3600, 86_400] {
        let counted = db.store().heartbeat_slots(device, at(0), at(50_000), slot_s, 720).await.unwrap();
        let mut builder = domain::history::SlotBuilder::new(slot_s, TimeDelta::seconds(720));
        let batch = db.store().device_batch(device, at(0), at(50_000), 10_000).await.unwrap();
        (0..batch.rows()).filter_map(|row| domain::archive::heartbeat_at(&batch, row)).for_each(|heartbeat| builder.add(&heartbeat));
        assert_eq!(builder.finish(), counted, "slots of {slot_s} s");
    }
}
