//! Single devices: loading by shard, credentials, push tokens.

use domain::shard::{ShardId, shard_of};
use domain::{DeviceId, DeviceTokenId};
use store::DeviceAccess;
use test_database::TestDatabase;

use crate::common::{at, battery, delete_devices, device, enroll, enroll_many, heartbeat, uuid};

async fn revoke(db: &TestDatabase, ids: &[DeviceId]) {
    let mut work = db.store().device_work().await.unwrap();
    work.revoke_credentials(ids, None, at(1)).await.unwrap();
    work.commit().await.unwrap();
}

#[tokio::test]
async fn the_database_places_devices_as_the_domain_does() {
    let db = TestDatabase::new().await;
    for id in enroll_many(&db, 20).await {
        let stored: i32 = db.value(&format!("SELECT shard FROM device WHERE device_id = '{id}'")).await;
        assert_eq!(stored, i32::from(shard_of(id).0), "{id}");
    }
}

#[tokio::test]
async fn the_devices_of_shards_are_loaded_without_deleted_ones() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 12).await;
    db.store().write_heartbeats(&mut [heartbeat(ids[0], 10, battery(50))]).await.unwrap();
    delete_devices(&db, &ids[10..], at(1)).await;
    let load = async |shards: &[ShardId]| {
        let mut loaded = Vec::new();
        db.store().for_each_device(shards, |device| loaded.push((device.identity.id, device.last.is_some()))).await.unwrap();
        loaded.sort();
        loaded
    };
    let all: Vec<_> = ShardId::all().collect();
    let wanted: Vec<_> = ids[..10].iter().map(|id| (*id, *id == ids[0])).collect();
    assert_eq!(load(&all).await, wanted);
    let one = shard_of(ids[0]);
    let of_one: Vec<_> = wanted.iter().copied().filter(|(id, _)| shard_of(*id) == one).collect();
    assert_eq!(load(&[one]).await, of_one);
    assert!(load(&[]).await.is_empty());
}

#[tokio::test]
async fn a_device_is_read_deleted_or_not() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 2).await;
    delete_devices(&db, &ids[1..], at(7)).await;
    assert_eq!(db.store().device(ids[0]).await.unwrap().unwrap().deleted_at, None);
    assert_eq!(db.store().device(ids[1]).await.unwrap().unwrap().deleted_at, Some(at(7)));
    assert!(db.store().device(device(9)).await.unwrap().is_none());
    let mut found: Vec<_> = db.store().devices_by_id(&[ids[1], device(9), ids[0]]).await.unwrap();
    found.sort_by_key(|device| device.identity.id);
    assert_eq!(found.iter().map(|device| device.identity.id).collect::<Vec<_>>(), ids);
    let known = found.remove(1).known();
    assert!(known.deleted && known.last.is_none());
}

#[tokio::test]
async fn a_credential_tells_whether_it_is_still_in_force() {
    let db = TestDatabase::new().await;
    let id = enroll(&db, 1, "a").await;
    let credential = async |number| db.store().credential(DeviceTokenId(uuid(number))).await.unwrap();
    let found = credential(1).await.unwrap();
    assert_eq!((found.device_id, found.secret_bcrypt.as_str()), (id, "bcrypt of 1"));
    assert_eq!((found.generation, found.current_generation, found.deleted), (1, 1, false));
    revoke(&db, &[id]).await;
    delete_devices(&db, &[id], at(2)).await;
    let found = credential(1).await.unwrap();
    assert_eq!((found.generation, found.current_generation, found.deleted), (1, 2, true));
    assert!(credential(2).await.is_none());
}

#[tokio::test]
async fn revoked_and_deleted_devices_are_found_by_shard() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 4).await;
    revoke(&db, &ids[1..3]).await;
    delete_devices(&db, &ids[2..], at(2)).await;
    let access = |id, generation, deleted| DeviceAccess { id, generation, deleted };
    let wanted = [access(ids[1], 2, false), access(ids[2], 2, true), access(ids[3], 1, true)];
    let all: Vec<_> = ShardId::all().collect();
    let mut found = db.store().revoked_devices(&all).await.unwrap();
    found.sort_by_key(|access| access.id);
    assert_eq!(found, wanted);
    let others: Vec<_> = all.into_iter().filter(|shard| *shard != shard_of(ids[1])).collect();
    assert!(db.store().revoked_devices(&others).await.unwrap().iter().all(|access| access.id != ids[1]));
    assert_eq!(db.store().device_access(ids[0]).await.unwrap(), Some(access(ids[0], 1, false)));
    assert_eq!(db.store().device_access(ids[2]).await.unwrap(), Some(wanted[1]));
    assert_eq!(db.store().device_access(device(9)).await.unwrap(), None);
}

#[tokio::test]
async fn devices_that_people_changed_lately_are_found_also_when_deleted() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 3).await;
    db.execute("UPDATE device SET changed_at = now() - interval '1 hour'").await;
    revoke(&db, &ids[..1]).await;
    delete_devices(&db, &ids[1..2], at(2)).await;
    let all: Vec<_> = ShardId::all().collect();
    let mut found: Vec<_> =
        db.store().devices_changed_within(&all, 600).await.unwrap().into_iter().map(|device| device.identity.id).collect();
    found.sort();
    assert_eq!(found, ids[..2]);
    assert_eq!(db.store().devices_changed_within(&all, 7200).await.unwrap().len(), 3);
    let others: Vec<_> = all.into_iter().filter(|shard| !ids.iter().any(|id| shard_of(*id) == *shard)).collect();
    assert!(db.store().devices_changed_within(&others, 7200).await.unwrap().is_empty());
}

#[tokio::test]
async fn only_the_push_token_that_its_service_refused_is_forgotten() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 2).await;
    let token = async |id| db.store().device(id).await.unwrap().unwrap().fcm_token;
    for id in &ids {
        db.store().set_fcm_token(*id, "new").await.unwrap();
    }
    db.store().forget_fcm_token(ids[0], "old").await.unwrap();
    assert_eq!(token(ids[0]).await.as_deref(), Some("new"), "the device has told another one since");
    db.store().forget_fcm_token(ids[0], "new").await.unwrap();
    assert_eq!((token(ids[0]).await, token(ids[1]).await.as_deref()), (None, Some("new")));
}
