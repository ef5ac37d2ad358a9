use domain::access::Origin;
use domain::condition::Condition;
use domain::device::IdentityConflict;
use domain::shard::shard_of;
use domain::{DeviceId, DeviceTokenId};
use store::{RecordedChange, RegistrationRetry, ReplacementToken};
use test_database::TestDatabase;

use crate::common::{at, console, device, enroll, enroll_device, lease, new_device, until_blocked, uuid};

async fn stored(db: &TestDatabase, id: DeviceId) -> (i64, Condition) {
    db.store().device(id).await.unwrap().unwrap().condition.unwrap()
}

/// Records a condition with this conflict.
async fn record(db: &TestDatabase, id: DeviceId, follows: i64, conflict: IdentityConflict) -> bool {
    let epoch = lease(db, shard_of(id)).await.epoch;
    let condition = Condition { online: true, conflict: Some(conflict), ..Condition::default() };
    let change = RecordedChange { device_id: id, epoch, follows, condition, occurrences: vec![] };
    db.store().record_changes(&[change]).await.unwrap().contains(&id)
}

#[tokio::test]
async fn a_dismissal_holds_for_its_credentials_and_no_owner_overwrites_it() {
    let db = TestDatabase::new().await;
    let id = enroll(&db, 1, "a").await;
    let noticed = IdentityConflict { noticed_at: at(5), generation: 1, dismissed: false };
    let open = async || db.store().device_work().await.unwrap().conflict_of(id).await.unwrap().unwrap().1;
    assert!(!open().await);
    assert!(record(&db, id, 1, noticed).await);
    assert_eq!((stored(&db, id).await.1.conflict, open().await), (Some(noticed), true));

    let mut work = db.store().device_work().await.unwrap();
    work.dismiss_conflict(id, &console(), at(6)).await.unwrap();
    work.commit().await.unwrap();
    let dismissed = IdentityConflict { dismissed: true, ..noticed };
    assert_eq!(
        (stored(&db, id).await, open().await),
        ((3, Condition { online: true, conflict: Some(dismissed), ..Condition::default() }), false)
    );
    assert!(!record(&db, id, 2, noticed).await, "an owner that has not read it yet");
    assert!(record(&db, id, 3, noticed).await);
    assert_eq!(stored(&db, id).await.1.conflict, Some(dismissed));
    let next = IdentityConflict { noticed_at: at(9), generation: 2, dismissed: false };
    assert!(record(&db, id, 4, next).await);
    assert_eq!((stored(&db, id).await.1.conflict, open().await), (Some(next), false), "its credentials are not in force");
    assert_eq!(
        db.values::<String>("SELECT kind FROM device_event ORDER BY device_event_id").await,
        ["enrolled", "identity_conflict_dismissed"]
    );
}

fn retry<'a>(secret: &'a [u8]) -> RegistrationRetry<'a> {
    RegistrationRetry { secret_sha256: secret, hardware_id: "HW", used_after: at(-10), retries_max: 20 }
}

/// A device that enrolled with a hardware id, and the digest of its enrollment token.
async fn of_hardware(db: &TestDatabase, number: u32) -> (DeviceId, Vec<u8>) {
    let mut new = new_device(number, &format!("d{number}"));
    new.registration.hardware_id = Some("HW".into());
    let id = enroll_device(db, &new, &[], &[], at(0)).await;
    (id, id.0.as_bytes().to_vec())
}

fn token(number: u32) -> ReplacementToken {
    ReplacementToken { id: DeviceTokenId(uuid(number)), secret_bcrypt: "bcrypt".into() }
}

#[tokio::test]
async fn a_first_use_waits_for_a_retry_and_finds_its_token_gone() {
    let db = TestDatabase::new().await;
    let (_, secret) = of_hardware(&db, 1).await;
    let first = DeviceTokenId(uuid(1));
    let mut held = db.pool().begin().await.unwrap();
    sqlx::query("DELETE FROM device_token WHERE first_used_at IS NULL").execute(&mut *held).await.unwrap();
    let store = db.store().clone();
    let used = tokio::spawn(async move { store.note_first_use(first, at(1)).await.unwrap() });
    until_blocked(&db, &used).await;
    held.commit().await.unwrap();
    assert!(!used.await.unwrap());
    assert!(db.store().may_retry_registration(retry(&secret)).await.unwrap());
    assert!(db.store().retry_registration(retry(&secret), &token(50), Origin::default(), at(2)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_retry_after_the_first_use_changes_nothing() {
    let db = TestDatabase::new().await;
    let (id, secret) = of_hardware(&db, 1).await;
    let first = DeviceTokenId(uuid(1));
    assert!(!db.store().credential(first).await.unwrap().unwrap().used);
    assert!(db.store().note_first_use(first, at(1)).await.unwrap() && db.store().note_first_use(first, at(2)).await.unwrap());
    assert!(db.store().credential(first).await.unwrap().unwrap().used);
    assert!(!db.store().may_retry_registration(retry(&secret)).await.unwrap());
    assert_eq!(db.store().retry_registration(retry(&secret), &token(50), Origin::default(), at(3)).await.unwrap(), None);
    assert_eq!(db.value::<i64>("SELECT count(*) FROM device_token").await, 1);
    assert_eq!(db.values::<String>("SELECT kind FROM device_event").await, ["enrolled"]);
    assert_eq!(id, device(1));
}

#[tokio::test]
async fn a_registration_is_retried_so_often_and_not_more() {
    let db = TestDatabase::new().await;
    let (_, secret) = of_hardware(&db, 1).await;
    let retry = RegistrationRetry { retries_max: 2, ..retry(&secret) };
    for number in [50, 51] {
        assert!(db.store().may_retry_registration(retry).await.unwrap());
        assert!(db.store().retry_registration(retry, &token(number), Origin::default(), at(2)).await.unwrap().is_some());
    }
    assert!(!db.store().may_retry_registration(retry).await.unwrap());
    assert_eq!(db.store().retry_registration(retry, &token(52), Origin::default(), at(3)).await.unwrap(), None);
    assert_eq!(db.value::<i64>("SELECT count(*) FROM device_event WHERE kind = 'registration_retried'").await, 2);
}

#[tokio::test]
async fn devices_of_one_hardware_know_of_each_other_and_replaced_ones_make_a_chain() {
    let db = TestDatabase::new().await;
    let mut ids = Vec::new();
    for number in 1..=4 {
        ids.push(of_hardware(&db, number).await.0);
    }
    let others: Vec<_> = db.store().same_hardware(ids[0]).await.unwrap().into_iter().map(|other| other.id).collect();
    assert_eq!(others.len(), 3);
    assert!(!others.contains(&ids[0]));
    assert_eq!(db.value::<i64>("SELECT count(*) FROM device_event WHERE kind = 'same_hardware'").await, 2 * (1 + 2 + 3));
    for pair in ids.windows(2) {
        let mut work = db.store().device_work().await.unwrap();
        let records = work.device_records(pair).await.unwrap();
        let (old, new) = (&records[&pair[0]], &records[&pair[1]]);
        work.replace((new, &old.editable), old, &console(), at(9)).await.unwrap();
        work.commit().await.unwrap();
    }
    assert_eq!(db.store().replaced_devices(ids[3], 10).await.unwrap(), [ids[2], ids[1], ids[0]]);
    assert_eq!(db.store().replaced_devices(ids[3], 2).await.unwrap(), [ids[2], ids[1]]);
    assert_eq!(db.store().replaced_devices(ids[0], 2).await.unwrap(), []);
    assert_eq!(db.value::<String>("SELECT string_agg(alias, ',') FROM device WHERE deleted_at IS NULL").await, "d1");
}
