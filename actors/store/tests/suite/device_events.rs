use domain::condition::{Condition, Occurrence};
use domain::event::EventCursor;
use domain::event::EventKind;
use domain::shard::{Epoch, shard_of};
use domain::{DeviceId, Timestamp};
use serde_json::json;
use store::RecordedChange;
use test_database::TestDatabase;

use crate::common::{at, delete_devices, device, enroll, enroll_many, lease, next_epoch};

fn happened(kind: EventKind, second: i64, after: Option<&str>) -> Occurrence {
    Occurrence { at: at(second), kind, before: None, after: after.map(str::to_owned) }
}

/// The change of an owner that has read the present epoch.
async fn change(db: &TestDatabase, device_id: DeviceId, follows: i64, occurrences: Vec<Occurrence>) -> RecordedChange {
    let epoch = lease(db, shard_of(device_id)).await.epoch;
    let condition = Condition { online: true, boot_id: Some(format!("boot {follows}")), ..Condition::default() };
    RecordedChange { device_id, epoch, follows, condition, occurrences }
}

async fn kinds(db: &TestDatabase, id: DeviceId) -> Vec<String> {
    db.store().device_events(id, &[], None, 100).await.unwrap().into_iter().map(|event| event.kind).collect()
}

async fn version(db: &TestDatabase, id: DeviceId) -> Option<i64> {
    db.store().device(id).await.unwrap().unwrap().condition.map(|(version, _)| version)
}

#[tokio::test]
async fn a_change_is_recorded_once() {
    let db = TestDatabase::new().await;
    let id = enroll(&db, 1, "a").await;
    let told = change(&db, id, 1, vec![happened(EventKind::CameOnline, 5, None), happened(EventKind::Rebooted, 5, Some("12"))]).await;
    assert!(db.store().record_changes(std::slice::from_ref(&told)).await.unwrap().contains(&id));
    assert!(db.store().record_changes(std::slice::from_ref(&told)).await.unwrap().is_empty(), "it follows a version that is over");
    let ahead = change(&db, id, 3, vec![happened(EventKind::WentOffline, 6, None)]).await;
    assert!(db.store().record_changes(&[ahead]).await.unwrap().is_empty(), "it follows a version that is not there yet");
    assert_eq!(kinds(&db, id).await, ["rebooted", "came_online", "enrolled"], "of one moment, the later told comes first");
    let (stored, condition) = db.store().device(id).await.unwrap().unwrap().condition.unwrap();
    assert_eq!((stored, condition), (2, told.condition));
    let rebooted = db.store().device_events(id, &[EventKind::Rebooted], None, 1).await.unwrap().remove(0);
    assert_eq!((rebooted.at, rebooted.actor, rebooted.detail), (at(5), None, json!({ "uptime_s": 12 })));
}

#[tokio::test]
async fn of_two_owners_at_once_one_records() {
    let db = TestDatabase::new().await;
    let id = enroll(&db, 1, "a").await;
    let told = change(&db, id, 1, vec![happened(EventKind::CameOnline, 5, None)]).await;
    let other = db.another_store(2);
    let both = tokio::join!(db.store().record_changes(std::slice::from_ref(&told)), other.record_changes(std::slice::from_ref(&told)));
    assert_eq!(both.0.unwrap().len() + both.1.unwrap().len(), 1);
    assert_eq!(kinds(&db, id).await, ["came_online", "enrolled"]);
}

#[tokio::test]
async fn a_batch_takes_what_holds_and_leaves_the_rest() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 4).await;
    delete_devices(&db, &ids[3..], at(1)).await;
    let mut batch = Vec::new();
    for id in &ids {
        batch.push(change(&db, *id, 1, vec![happened(EventKind::CameOnline, 5, None)]).await);
    }
    batch.push(change(&db, device(99), 0, vec![happened(EventKind::CameOnline, 5, None)]).await);
    // The owner of the second has lost its shard since.
    let lost = shard_of(ids[1]);
    assert!([ids[0], ids[2]].iter().all(|id| shard_of(*id) != lost), "the test needs devices of other shards");
    next_epoch(&db, lost).await;
    batch[2].follows = 7;
    let recorded = db.store().record_changes(&batch).await.unwrap();
    assert_eq!(recorded.into_iter().collect::<Vec<_>>(), [ids[0]]);
    assert_eq!(kinds(&db, ids[0]).await, ["came_online", "enrolled"]);
    for id in &ids[1..] {
        assert!(!kinds(&db, *id).await.contains(&"came_online".to_owned()), "{id}");
        assert_eq!(version(&db, *id).await, Some(1));
    }
    assert!(kinds(&db, device(99)).await.is_empty());
    let later = RecordedChange { epoch: Epoch(batch[1].epoch.0 + 1), ..batch[1].clone() };
    assert_eq!(db.store().record_changes(&[later]).await.unwrap().len(), 1, "its present owner records it");
}

/// Events of a device at these seconds, in the order in which they are told.
async fn tell(db: &TestDatabase, id: DeviceId, seconds: &[i64]) {
    let occurrences = seconds
        .iter()
        .enumerate()
        .map(|(n, second)| happened(if n % 2 == 0 { EventKind::CameOnline } else { EventKind::WentOffline }, *second, None));
    let told = change(db, id, 1, occurrences.collect()).await;
    assert_eq!(db.store().record_changes(&[told]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn pages_hold_every_event_once_newest_first() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 2).await;
    tell(&db, ids[0], &[10, 20, 20, 20, 15]).await;
    tell(&db, ids[1], &[17]).await;
    for filter in [&[][..], &[EventKind::CameOnline][..], &[EventKind::Enrolled, EventKind::WentOffline][..]] {
        let whole = db.store().device_events(ids[0], filter, None, 100).await.unwrap();
        assert!(whole.is_sorted_by(|a, b| (a.at, a.id) > (b.at, b.id)));
        let (mut paged, mut after) = (Vec::new(), None);
        loop {
            let page = db.store().device_events(ids[0], filter, after, 2).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(EventCursor { at: last.at, id: last.id });
            paged.extend(page);
        }
        assert_eq!(paged, whole, "{filter:?}");
    }
    let times = async |kinds: &[EventKind]| -> Vec<Timestamp> {
        db.store().device_events(ids[0], kinds, None, 100).await.unwrap().into_iter().map(|event| event.at).collect()
    };
    assert_eq!(times(&[]).await, [20, 20, 20, 15, 10, 0].map(at));
    assert_eq!(times(&[EventKind::WentOffline]).await, [20, 20].map(at));
}

#[tokio::test]
async fn old_events_are_removed_in_bounded_steps() {
    let db = TestDatabase::new().await;
    let id = enroll(&db, 1, "a").await;
    tell(&db, id, &[10, 20, 30]).await;
    assert_eq!(db.store().purge_device_events(at(0), 9).await.unwrap(), 0);
    assert_eq!(db.store().purge_device_events(at(20), 1).await.unwrap(), 1);
    assert_eq!(db.store().purge_device_events(at(20), 9).await.unwrap(), 1);
    assert_eq!(db.store().purge_device_events(at(20), 9).await.unwrap(), 0, "an event of that time stays");
    assert_eq!(kinds(&db, id).await.len(), 2);
}
