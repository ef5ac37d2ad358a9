use domain::access::{Origin, Role};
use domain::enrollment::TokenQuery;
use domain::enrollment::TokenStatus;
use domain::{EnrollTokenId, SessionId};
use store::{Conflict, EnrollOutcome, NewEnrollToken, StoreError};
use test_database::TestDatabase;

use crate::common::{
    actions_after, add_user, at, battery, console, delete_devices, device, enroll, heartbeat, new_device, sign_in, strings, uuid,
};

const EXPIRES: i64 = 1000;

fn token(number: u32) -> EnrollTokenId {
    EnrollTokenId(uuid(number))
}

fn secret(number: u32) -> Vec<u8> {
    vec![number as u8; 32]
}

async fn make(db: &TestDatabase, number: u32) {
    make_until(db, number, EXPIRES).await;
}

async fn make_until(db: &TestDatabase, number: u32, expires: i64) {
    let tokens = [NewEnrollToken { id: token(number), secret_sha256: secret(number), alias: None }];
    db.store().insert_enroll_tokens(&tokens, &strings(&["tag"]), &strings(&["group"]), &console(), at(expires), at(0)).await.unwrap();
}

async fn use_up(db: &TestDatabase, number: u32, device: u32, second: i64) -> EnrollOutcome {
    let device = new_device(device, &format!("device {device}"));
    db.store().enroll(token(number), &device, Origin::default(), at(second)).await.unwrap()
}

#[tokio::test]
async fn a_token_enrolls_one_device_however_many_ask_at_once() {
    let db = TestDatabase::new().await;
    make(&db, 1).await;
    let all = tokio::join!(use_up(&db, 1, 10, 1), use_up(&db, 1, 11, 1), use_up(&db, 1, 12, 1), use_up(&db, 1, 13, 1));
    let enrolled = [all.0, all.1, all.2, all.3].into_iter().filter(|outcome| *outcome == EnrollOutcome::Enrolled).count();
    assert_eq!(enrolled, 1);
    assert_eq!(db.value::<i64>("SELECT count(*) FROM device").await, 1);
    assert_eq!(db.value::<i64>("SELECT count(*) FROM device_token").await, 1);
    let labels: Vec<String> = db.value("SELECT tags || groups FROM device").await;
    assert_eq!(labels, ["tag", "group"], "the device has the labels of its token");
    assert_eq!(db.values::<String>("SELECT kind FROM device_event").await, ["enrolled"]);
}

#[tokio::test]
async fn another_usable_token_of_an_alias_is_found_in_any_case() {
    let db = TestDatabase::new().await;
    for (number, alias) in [(1, "Front"), (2, "back"), (3, "gone")] {
        let tokens = [NewEnrollToken { id: token(number), secret_sha256: secret(number), alias: Some(alias.into()) }];
        db.store().insert_enroll_tokens(&tokens, &[], &[], &console(), at(EXPIRES), at(0)).await.unwrap();
    }
    assert_eq!(use_up(&db, 2, 10, 1).await, EnrollOutcome::Enrolled);
    db.store().revoke_enroll_token(token(3), &console(), at(1)).await.unwrap();
    let found =
        async |aliases: &[&str], but, second| db.store().alias_of_other_token(&strings(aliases), &[token(but)], at(second)).await.unwrap();
    assert_eq!(found(&["x", "front"], 9, 2).await.as_deref(), Some("Front"));
    assert_eq!(found(&["Front"], 1, 2).await, None, "itself");
    assert_eq!(found(&["back", "gone"], 9, 2).await, None, "used or revoked");
    assert_eq!(found(&["front"], 9, EXPIRES).await, None, "expired");
}

#[tokio::test]
async fn an_alias_in_use_leaves_the_token_usable() {
    let db = TestDatabase::new().await;
    enroll(&db, 10, "taken").await;
    make(&db, 1).await;
    let refused = db.store().enroll(token(1), &new_device(11, "taken"), Origin::default(), at(1)).await;
    assert!(matches!(refused, Err(StoreError::Conflict(Conflict::AliasInUse))), "{refused:?}");
    assert!(db.store().usable_enroll_token(&secret(1), at(2)).await.unwrap().is_some());
    assert_eq!(use_up(&db, 1, 11, 2).await, EnrollOutcome::Enrolled);
}

#[tokio::test]
async fn expired_revoked_and_unknown_tokens_enroll_nobody() {
    let db = TestDatabase::new().await;
    make(&db, 1).await;
    make(&db, 2).await;
    assert_eq!(db.store().revoke_enroll_token(token(2), &console(), at(1)).await.unwrap(), Some(true));
    let before = db.store().audit_head().await.unwrap().seq;
    assert_eq!(use_up(&db, 1, 10, EXPIRES).await, EnrollOutcome::Refused, "it has expired");
    assert_eq!(use_up(&db, 2, 10, 2).await, EnrollOutcome::Refused, "it is revoked");
    assert_eq!(use_up(&db, 3, 10, 2).await, EnrollOutcome::Refused, "there is none");
    assert_eq!(db.value::<i64>("SELECT count(*) FROM device").await, 0);
    assert_eq!(use_up(&db, 1, 10, EXPIRES - 1).await, EnrollOutcome::Enrolled);
    assert_eq!(actions_after(&db, before).await, ["device.enrolled"]);
}

#[tokio::test]
async fn revocation_says_what_the_token_is_now() {
    let db = TestDatabase::new().await;
    make(&db, 1).await;
    make(&db, 2).await;
    use_up(&db, 1, 10, 1).await;
    let revoke = async |number| db.store().revoke_enroll_token(token(number), &console(), at(2)).await.unwrap();
    assert_eq!(revoke(1).await, Some(false), "a used token stays used");
    let before = db.store().audit_head().await.unwrap().seq;
    assert_eq!([revoke(2).await, revoke(2).await, revoke(3).await], [Some(true), Some(true), None]);
    assert_eq!(actions_after(&db, before).await, ["enroll_token.revoked"], "once");
}

#[tokio::test]
async fn lists_filter_by_status_as_the_domain_sees_it() {
    let db = TestDatabase::new().await;
    let user = add_user(&db, 1, "user", Role::Operator).await;
    sign_in(&db, user, 1).await;
    let by = domain::access::Principal::User {
        user_id: user,
        username: "user".into(),
        role: Role::Operator,
        session_id: SessionId(uuid(1)),
        origin: Origin::default(),
    };
    let batch: Vec<_> = (1..=6)
        .map(|number| NewEnrollToken { id: token(number), secret_sha256: secret(number), alias: Some(format!("a{number}")) })
        .collect();
    db.store().insert_enroll_tokens(&batch, &[], &[], &by, at(EXPIRES), at(0)).await.unwrap();
    make_until(&db, 7, EXPIRES + 1).await;
    use_up(&db, 1, 10, 1).await;
    db.store().revoke_enroll_token(token(2), &console(), at(1)).await.unwrap();
    let now = at(EXPIRES);
    let list = async |status, after: Option<u32>, limit| {
        let query = TokenQuery { status, after: after.map(token), limit };
        db.store().enroll_tokens(query, now).await.unwrap()
    };
    let all = list(None, None, 100).await;
    let numbers = |tokens: &[domain::enrollment::EnrollToken]| tokens.iter().map(|token| token.id.0.as_u128() as u32).collect::<Vec<_>>();
    assert_eq!(numbers(&all), [7, 6, 5, 4, 3, 2, 1]);
    for status in TokenStatus::ALL {
        let wanted: Vec<_> = all.iter().filter(|token| token.status(now) == status).cloned().collect();
        assert!(!wanted.is_empty(), "no token is {status:?}: the test shows nothing");
        assert_eq!(list(Some(status), None, 100).await, wanted, "{status:?}");
    }
    assert_eq!(numbers(&list(Some(TokenStatus::Expired), Some(6), 2).await), [5, 4]);
    assert_eq!((all[1].created_by, all[1].created_by_name.as_deref()), (Some(user), Some("user")));
    assert_eq!((all[0].created_by, all[0].created_by_name.as_deref()), (None, None), "the console is no account");
}

#[tokio::test]
async fn a_batch_is_recorded_whole_or_not_at_all() {
    let db = TestDatabase::new().await;
    make(&db, 1).await;
    let before = db.store().audit_head().await.unwrap().seq;
    let batch = [3, 2].map(|number| NewEnrollToken { id: token(number), secret_sha256: secret(1 + number % 2), alias: None });
    let refused = db.store().insert_enroll_tokens(&batch, &[], &[], &console(), at(EXPIRES), at(0)).await;
    assert!(matches!(refused, Err(StoreError::Conflict(Conflict::Other))), "a secret is there already: {refused:?}");
    assert_eq!(db.value::<i64>("SELECT count(*) FROM enroll_token").await, 1);
    assert_eq!(db.store().audit_head().await.unwrap().seq, before);
}

#[tokio::test]
async fn of_presented_secrets_the_usable_ones_are_found() {
    let db = TestDatabase::new().await;
    for number in 1..=4 {
        make(&db, number).await;
    }
    use_up(&db, 1, 10, 1).await;
    db.store().revoke_enroll_token(token(2), &console(), at(1)).await.unwrap();
    let presented: Vec<_> = [1, 2, 3, 4, 9].map(secret).into();
    let mut found: Vec<_> = db.store().usable_enroll_tokens(&presented, at(2)).await.unwrap().into_iter().map(|token| token.id).collect();
    found.sort();
    assert_eq!(found, [token(3), token(4)]);
    assert!(db.store().usable_enroll_tokens(&presented, at(EXPIRES)).await.unwrap().is_empty());
    assert!(db.store().usable_enroll_token(&secret(3), at(EXPIRES - 1)).await.unwrap().is_some());
    assert!(db.store().usable_enroll_token(&secret(3), at(EXPIRES)).await.unwrap().is_none());
}

#[tokio::test]
async fn progress_goes_from_the_device_to_its_first_heartbeat() {
    let db = TestDatabase::new().await;
    let store = db.store();
    make(&db, 1).await;
    let progress = async || store.enroll_token_progress(&secret(1), at(500)).await.unwrap().unwrap();
    let told = progress().await;
    assert_eq!((told.status, told.device_id, told.first_heartbeat_at), (TokenStatus::Unused, None, None));
    use_up(&db, 1, 10, 1).await;
    let told = progress().await;
    assert_eq!((told.status, told.device_id, told.device_alias.as_deref()), (TokenStatus::Used, Some(device(10)), Some("device 10")));
    store.write_heartbeats(&mut [heartbeat(device(10), 20, battery(5)), heartbeat(device(10), 40, battery(6))]).await.unwrap();
    assert_eq!(progress().await.first_heartbeat_at, Some(at(20)));
    db.execute("DELETE FROM heartbeats").await;
    assert_eq!(progress().await.first_heartbeat_at, Some(at(40)), "without history, the newest is known");
    delete_devices(&db, &[device(10)], at(50)).await;
    let told = progress().await;
    assert_eq!((told.device_id, told.device_alias), (Some(device(10)), None));
    let many = store.enroll_tokens_progress(&[token(1), token(9)], at(500)).await.unwrap();
    assert_eq!(many.iter().map(|token| (token.id, token.first_heartbeat_at)).collect::<Vec<_>>(), [(token(1), Some(at(40)))]);
    assert!(store.enroll_token_progress(&secret(9), at(500)).await.unwrap().is_none());
}
