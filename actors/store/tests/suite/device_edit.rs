use domain::DeviceId;
use domain::bulk::DeviceRecord;
use domain::device::MonitoredApp;
use domain::edit::Editable;
use domain::event::EventKind;
use domain::name::CanonicalName;
use serde_json::json;
use store::{Conflict, DeviceWork, Notification, StoreError};
use test_database::TestDatabase;

use crate::common::{actions, at, battery, delete_devices, enroll, enroll_many, heartbeat, new_device, strings, until_blocked};

async fn record(work: &mut DeviceWork, id: DeviceId) -> DeviceRecord {
    work.device_records(&[id]).await.unwrap().remove(&id).unwrap()
}

fn renamed(device: &DeviceRecord, alias: &str) -> Editable {
    Editable { alias: alias.into(), ..device.editable.clone() }
}

fn is_alias_conflict<T>(outcome: &Result<T, StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Conflict(Conflict::AliasInUse)))
}

#[tokio::test]
async fn an_edit_stores_every_value_and_tells_what_changed() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 2).await;
    let mut listener = db.store().listen().await.unwrap();
    let mut work = db.store().device_work().await.unwrap();
    work.hold(&ids).await.unwrap();
    let (a, b) = (record(&mut work, ids[0]).await, record(&mut work, ids[1]).await);
    let app = MonitoredApp { package: "a.b".into(), stale_after_s: Some(60) };
    let edited = Editable { alias: "new".into(), tags: strings(&["x", "y\"'"]), groups: strings(&["g"]), monitored: Some(app) };
    let labelled = Editable { tags: strings(&["z"]), ..b.editable.clone() };
    work.edit(&[(&a, &edited), (&b, &labelled)], Some("anna"), at(5)).await.unwrap();
    assert!(listener.waiting().is_none(), "nothing is notified before the commit");
    work.commit().await.unwrap();
    let mut work = db.store().device_work().await.unwrap();
    assert_eq!(record(&mut work, ids[0]).await.editable, edited);
    assert_eq!(record(&mut work, ids[1]).await.editable, labelled);
    let mut notified = vec![listener.next().await.unwrap(), listener.next().await.unwrap()];
    notified.sort_by_key(|notification| format!("{notification:?}"));
    assert_eq!(notified, [Notification::Device(ids[0].to_string()), Notification::Device(ids[1].to_string())]);
    let event = db.store().device_events(ids[1], &[EventKind::Edited], None, 9).await.unwrap().remove(0);
    assert_eq!((event.at, event.actor.as_deref()), (at(5), Some("anna")));
    assert_eq!(event.detail, json!({ "tags": { "before": [], "after": ["z"] } }));
}

#[tokio::test]
async fn two_devices_swap_their_aliases() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 2).await;
    let mut work = db.store().device_work().await.unwrap();
    let (a, b) = (record(&mut work, ids[0]).await, record(&mut work, ids[1]).await);
    work.edit(&[(&a, &renamed(&a, "d2")), (&b, &renamed(&b, "d1"))], None, at(1)).await.unwrap();
    work.commit().await.unwrap();
    let found = db.store().devices_by_alias(&strings(&["d1", "d2", "d3"])).await.unwrap();
    assert_eq!((found["d1"], found["d2"], found.len()), (ids[1], ids[0], 2));
}

#[tokio::test]
async fn an_alias_is_held_by_one_device_that_is_not_deleted() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 3).await;
    let mut work = db.store().device_work().await.unwrap();
    let a = record(&mut work, ids[0]).await;
    assert!(is_alias_conflict(&work.edit(&[(&a, &renamed(&a, "d2"))], None, at(1)).await));
    drop(work);
    delete_devices(&db, &ids[1..2], at(2)).await;
    let mut work = db.store().device_work().await.unwrap();
    let holders = work.holders(&strings(&["d2", "D3"])).await.unwrap();
    assert_eq!(holders.into_iter().collect::<Vec<_>>(), [(CanonicalName::of("d3"), vec![ids[2]])]);
    work.edit(&[(&a, &renamed(&a, "d2"))], None, at(3)).await.unwrap();
    work.commit().await.unwrap();
    // Restored under its old alias it would be the second.
    let mut work = db.store().device_work().await.unwrap();
    let b = record(&mut work, ids[1]).await;
    assert_eq!(b.deleted_at, Some(at(2)));
    assert!(is_alias_conflict(&work.restore(&[(&b, "d2")], None, at(4)).await));
    drop(work);
    let mut work = db.store().device_work().await.unwrap();
    work.restore(&[(&b, "d2 again")], Some("anna"), at(4)).await.unwrap();
    work.commit().await.unwrap();
    let restored = db.store().device(ids[1]).await.unwrap().unwrap();
    assert_eq!((restored.deleted_at, restored.identity.alias.as_str()), (None, "d2 again"));
    let event = db.store().device_events(ids[1], &[EventKind::Restored], None, 9).await.unwrap().remove(0);
    assert_eq!(event.detail, json!({ "alias": { "before": "d2", "after": "d2 again" } }));
}

#[tokio::test]
async fn credentials_are_revoked_generation_by_generation() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 2).await;
    let revoke = async |ids: &[DeviceId]| {
        let mut work = db.store().device_work().await.unwrap();
        let generations = work.revoke_credentials(ids, Some("anna"), at(1)).await.unwrap();
        work.commit().await.unwrap();
        ids.iter().map(|id| generations[id]).collect::<Vec<_>>()
    };
    assert_eq!(revoke(&ids[..1]).await, [2]);
    assert_eq!(revoke(&ids).await, [3, 2]);
    assert_eq!(db.store().device_events(ids[0], &[EventKind::CredentialsRevoked], None, 9).await.unwrap().len(), 2);
}

#[tokio::test]
async fn work_that_is_not_committed_leaves_nothing() {
    let db = TestDatabase::new().await;
    let id = enroll(&db, 1, "a").await;
    let mut work = db.store().device_work().await.unwrap();
    work.delete(&[id], None, at(1)).await.unwrap();
    work.revoke_credentials(&[id], None, at(1)).await.unwrap();
    drop(work);
    let device = db.store().device(id).await.unwrap().unwrap();
    assert_eq!((device.deleted_at, device.credential_generation), (None, 1));
    assert_eq!(db.values::<String>("SELECT kind FROM device_event").await, ["enrolled"]);
}

#[tokio::test]
async fn held_devices_are_changed_by_one_at_a_time() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 2).await;
    let mut first = db.store().device_work().await.unwrap();
    first.hold(&ids).await.unwrap();
    let store = db.another_store(2);
    let backwards = [ids[1], ids[0]];
    let second = tokio::spawn(async move {
        let mut work = store.device_work().await.unwrap();
        work.hold(&backwards).await.unwrap();
        let seen = work.device_records(&backwards).await.unwrap();
        seen.values().all(|device| device.deleted_at == Some(at(1)))
    });
    // The second waits for the first: only then has it anything to see.
    until_blocked(&db, &second).await;
    first.delete(&ids, None, at(1)).await.unwrap();
    first.commit().await.unwrap();
    assert!(second.await.unwrap());
}

#[tokio::test]
async fn devices_are_removed_for_good_in_the_order_of_their_deletion() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 4).await;
    db.store().write_heartbeats(&mut [heartbeat(ids[1], 1, battery(1))]).await.unwrap();
    for (id, second) in [(ids[0], 30), (ids[1], 10), (ids[2], 20)] {
        delete_devices(&db, &[id], at(second)).await;
    }
    let left = async || db.values::<String>("SELECT alias FROM device ORDER BY alias").await;
    assert_eq!(db.store().purge_devices(at(9), 9, at(99)).await.unwrap(), 0);
    assert!(!actions(&db).await.contains(&"devices.purged".to_owned()), "nothing was removed");
    assert_eq!(db.store().purge_devices(at(30), 1, at(99)).await.unwrap(), 1);
    assert_eq!(left().await, ["d1", "d3", "d4"]);
    assert_eq!(db.store().purge_devices(at(20), 9, at(99)).await.unwrap(), 1, "up to that time and not later");
    assert_eq!(left().await, ["d1", "d4"]);
    assert_eq!(db.value::<i64>("SELECT count(*) FROM device_last_status").await, 0);
    assert_eq!(db.value::<i64>("SELECT count(*) FROM heartbeats").await, 1, "history outlives devices");
    let notified: Vec<Option<String>> = db.values("SELECT before FROM audit_entry WHERE action = 'devices.purged' ORDER BY seq").await;
    assert_eq!(notified.len(), 2);
    assert!(notified[0].as_ref().unwrap().contains("\"alias\":\"d2\""), "{notified:?}");
    // A token that enrolled a removed device stays used.
    let again = db.store().enroll(domain::EnrollTokenId(ids[1].0), &new_device(9, "x"), Default::default(), at(5)).await.unwrap();
    assert_eq!(again, store::EnrollOutcome::Refused);
}
