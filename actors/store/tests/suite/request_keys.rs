//! Keys of calls: each call is carried out once.

use store::{IdempotencyRecord, KeyClaim};
use test_database::TestDatabase;

use crate::common::{at, uuid};

fn key(owner: u32, body: u8) -> IdempotencyRecord {
    IdempotencyRecord { owner: uuid(owner), key: "k".into(), body_sha256: [body; 32] }
}

#[tokio::test]
async fn a_key_stands_for_one_call_of_its_owner() {
    let db = TestDatabase::new().await;
    let claim = async |key: IdempotencyRecord| db.store().claim_request(&key, at(0)).await.unwrap();
    assert_eq!(claim(key(1, 1)).await, KeyClaim::New);
    assert_eq!(claim(key(1, 1)).await, KeyClaim::Open, "it is under way");
    assert_eq!(claim(key(1, 2)).await, KeyClaim::OtherCall);
    assert_eq!(claim(key(2, 2)).await, KeyClaim::New, "of somebody else");
    db.store().finish_request(&key(1, 1), 201, Some(b"{}")).await.unwrap();
    assert_eq!(claim(key(1, 1)).await, KeyClaim::Done(201, Some(b"{}".to_vec())));
    db.store().finish_request(&key(2, 2), 201, None).await.unwrap();
    assert_eq!(claim(key(2, 2)).await, KeyClaim::Done(201, None));
}

#[tokio::test]
async fn a_call_that_was_refused_leaves_its_key_free_and_one_that_was_carried_out_does_not() {
    let db = TestDatabase::new().await;
    let store = db.store();
    assert_eq!(store.claim_request(&key(1, 1), at(0)).await.unwrap(), KeyClaim::New);
    store.release_request(&key(1, 1)).await.unwrap();
    assert_eq!(store.claim_request(&key(1, 2), at(0)).await.unwrap(), KeyClaim::New);
    store.finish_request(&key(1, 2), 201, None).await.unwrap();
    store.release_request(&key(1, 2)).await.unwrap();
    assert_eq!(store.claim_request(&key(1, 2), at(0)).await.unwrap(), KeyClaim::Done(201, None));
    store.purge_commands(at(0), at(1), at(2), 9).await.unwrap();
    assert_eq!(store.claim_request(&key(1, 2), at(3)).await.unwrap(), KeyClaim::New, "it was kept for its time");
}

#[tokio::test]
async fn of_two_calls_at_once_one_is_carried_out() {
    let db = TestDatabase::new().await;
    let (other, store) = (db.another_store(2), db.store());
    let (one, two) = (key(1, 1), key(1, 1));
    let (a, b) = tokio::join!(store.claim_request(&one, at(0)), other.claim_request(&two, at(0)));
    let mut claims = [a.unwrap(), b.unwrap()];
    claims.sort_by_key(|claim| *claim != KeyClaim::New);
    assert_eq!(claims, [KeyClaim::New, KeyClaim::Open]);
}
