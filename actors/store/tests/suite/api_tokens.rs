use domain::access::{Permission, Role, Scopes};
use domain::account::AccountChange;
use domain::{ApiTokenId, UserId};
use store::{ApiTokenOutcome, ApiTokenQuery, NewApiToken};
use test_database::TestDatabase;

use crate::common::{actions_after, add_user, at, console, uuid};

const EXPIRES: i64 = 1000;

fn secret(number: u32) -> [u8; 32] {
    [number as u8; 32]
}

async fn make(db: &TestDatabase, user: UserId, number: u32, parent: Option<u32>, living_max: i64, second: i64) -> ApiTokenOutcome {
    let scopes = [Permission::ViewDevices, Permission::UploadApks].into_iter().collect();
    let token = NewApiToken {
        id: ApiTokenId(uuid(number)),
        user_id: user,
        parent: parent.map(|number| ApiTokenId(uuid(number))),
        name: "script",
        prefix: "nxm_abcdef",
        secret_sha256: &secret(number),
        scopes,
        expires_at: at(second + EXPIRES),
    };
    db.store().insert_api_token(token, living_max, &console(), at(second)).await.unwrap()
}

async fn lives(db: &TestDatabase, number: u32, second: i64) -> bool {
    db.store().living_api_token(&secret(number), at(second)).await.unwrap().is_some()
}

#[tokio::test]
async fn only_tokens_in_force_count_for_the_limit() {
    let db = TestDatabase::new().await;
    let user = add_user(&db, 1, "user", Role::Operator).await;
    let other = add_user(&db, 2, "other", Role::Operator).await;
    assert_eq!(make(&db, user, 10, None, 2, 0).await, ApiTokenOutcome::Created);
    assert_eq!(make(&db, user, 11, None, 2, 0).await, ApiTokenOutcome::Created);
    assert_eq!(make(&db, user, 12, None, 2, 1).await, ApiTokenOutcome::TooMany);
    assert_eq!(make(&db, other, 13, None, 2, 1).await, ApiTokenOutcome::Created, "each owner has a limit of their own");
    db.store().revoke_api_token(ApiTokenId(uuid(10)), None, &console(), at(2)).await.unwrap();
    assert_eq!(make(&db, user, 14, None, 2, 3).await, ApiTokenOutcome::Created);
    // At the expiry of 11 its place is free.
    assert_eq!(make(&db, user, 15, None, 2, EXPIRES - 1).await, ApiTokenOutcome::TooMany);
    assert_eq!(make(&db, user, 15, None, 2, EXPIRES).await, ApiTokenOutcome::Created);
}

#[tokio::test]
async fn the_last_place_is_given_once() {
    let db = TestDatabase::new().await;
    let user = add_user(&db, 1, "user", Role::Operator).await;
    let all = tokio::join!(make(&db, user, 10, None, 1, 0), make(&db, user, 11, None, 1, 0), make(&db, user, 12, None, 1, 0));
    let created = [all.0, all.1, all.2].into_iter().filter(|outcome| *outcome == ApiTokenOutcome::Created).count();
    assert_eq!(created, 1);
}

#[tokio::test]
async fn a_token_is_made_by_an_account_and_a_token_in_force() {
    let db = TestDatabase::new().await;
    add_user(&db, 1, "admin", Role::Admin).await;
    let user = add_user(&db, 2, "user", Role::Operator).await;
    let other = add_user(&db, 3, "other", Role::Operator).await;
    assert_eq!(make(&db, user, 10, None, 9, 0).await, ApiTokenOutcome::Created);
    assert_eq!(make(&db, user, 11, Some(10), 9, 1).await, ApiTokenOutcome::Created);
    assert_eq!(make(&db, other, 12, Some(10), 9, 1).await, ApiTokenOutcome::MakerGone, "the parent is somebody else's");
    assert_eq!(make(&db, user, 12, Some(10), 9, EXPIRES).await, ApiTokenOutcome::MakerGone, "the parent has expired");
    assert_eq!(make(&db, user, 12, Some(99), 9, 1).await, ApiTokenOutcome::MakerGone, "there is no such parent");
    let disable = AccountChange { role: None, disabled: Some(true) };
    db.store().change_account(user, disable, &console(), at(2)).await.unwrap();
    assert_eq!(make(&db, user, 12, None, 9, 3).await, ApiTokenOutcome::MakerGone);
    assert_eq!(db.value::<i64>("SELECT count(*) FROM api_token").await, 2);
}

#[tokio::test]
async fn a_token_is_found_by_its_secret_while_it_is_in_force() {
    let db = TestDatabase::new().await;
    let user = add_user(&db, 1, "user", Role::Operator).await;
    make(&db, user, 10, None, 9, 0).await;
    let found = db.store().living_api_token(&secret(10), at(EXPIRES - 1)).await.unwrap().unwrap();
    assert_eq!((found.user_id, found.role, found.last_used_at), (user, Role::Operator, None));
    assert_eq!(found.scopes, [Permission::ViewDevices, Permission::UploadApks].into_iter().collect::<Scopes>());
    assert!(!lives(&db, 10, EXPIRES).await);
    assert!(!lives(&db, 11, 0).await);
}

#[tokio::test]
async fn revoking_a_token_revokes_what_it_made_and_what_that_made() {
    let db = TestDatabase::new().await;
    let store = db.store();
    let user = add_user(&db, 1, "user", Role::Operator).await;
    let other = add_user(&db, 2, "other", Role::Operator).await;
    for (number, parent) in [(10, None), (11, Some(10)), (12, Some(11)), (13, None)] {
        make(&db, user, number, parent, 9, 0).await;
    }
    let root = ApiTokenId(uuid(10));
    assert!(!store.revoke_api_token(root, Some(other), &console(), at(1)).await.unwrap());
    assert!(lives(&db, 10, 1).await, "somebody else's token stays");
    let before = store.audit_head().await.unwrap().seq;
    assert!(store.revoke_api_token(root, Some(user), &console(), at(1)).await.unwrap());
    assert_eq!(
        [lives(&db, 10, 2).await, lives(&db, 11, 2).await, lives(&db, 12, 2).await, lives(&db, 13, 2).await],
        [false, false, false, true]
    );
    assert!(store.revoke_api_token(root, None, &console(), at(3)).await.unwrap());
    assert_eq!(actions_after(&db, before).await, ["api_token.revoked"], "the second time revoked nothing");
    assert!(!store.revoke_api_token(ApiTokenId(uuid(99)), None, &console(), at(3)).await.unwrap());
}

#[tokio::test]
async fn tokens_come_newest_first_in_pages() {
    let db = TestDatabase::new().await;
    let user = add_user(&db, 1, "user", Role::Operator).await;
    let other = add_user(&db, 2, "other", Role::Viewer).await;
    for number in 10..15 {
        let owner = if number == 12 { other } else { user };
        make(&db, owner, number, None, 9, 0).await;
    }
    let ids = async |owner, after: Option<u32>, limit| {
        let after = after.map(|number| ApiTokenId(uuid(number)));
        let tokens = db.store().api_tokens(ApiTokenQuery { owner, after, limit }).await.unwrap();
        tokens.iter().map(|token| token.id.0.as_u128() as u32).collect::<Vec<_>>()
    };
    assert_eq!(ids(None, None, 9).await, [14, 13, 12, 11, 10]);
    assert_eq!(ids(None, Some(13), 2).await, [12, 11]);
    assert_eq!(ids(Some(user), Some(13), 2).await, [11, 10]);
    assert_eq!(ids(Some(other), None, 9).await, [12]);
}

#[tokio::test]
async fn use_is_noted_once_in_a_while() {
    let db = TestDatabase::new().await;
    let store = db.store();
    let user = add_user(&db, 1, "user", Role::Operator).await;
    make(&db, user, 10, None, 9, 0).await;
    let id = ApiTokenId(uuid(10));
    let used = async || {
        let token = db.store().api_tokens(ApiTokenQuery { limit: 1, ..Default::default() }).await.unwrap().remove(0);
        (token.last_used_at, token.last_used_address)
    };
    store.touch_api_token(id, "192.0.2.1", at(0), at(60)).await.unwrap();
    store.touch_api_token(id, "192.0.2.2", at(59), at(119)).await.unwrap();
    assert_eq!(used().await, (Some(at(60)), Some("192.0.2.1".into())), "the first use is noted, and not again so soon");
    store.touch_api_token(id, "192.0.2.3", at(60), at(120)).await.unwrap();
    assert_eq!(used().await, (Some(at(120)), Some("192.0.2.3".into())));
}

#[tokio::test]
async fn tokens_that_ended_before_a_time_are_removed_and_what_they_made_stays() {
    let db = TestDatabase::new().await;
    let store = db.store();
    let user = add_user(&db, 1, "user", Role::Operator).await;
    make(&db, user, 10, None, 9, 0).await;
    make(&db, user, 11, Some(10), 9, 10).await;
    assert_eq!(store.purge_api_tokens(at(EXPIRES), 9).await.unwrap(), 0);
    assert_eq!(store.purge_api_tokens(at(EXPIRES + 1), 9).await.unwrap(), 1);
    assert!(lives(&db, 11, EXPIRES + 1).await);
    make(&db, user, 12, None, 9, 10).await;
    assert_eq!(store.purge_api_tokens(at(EXPIRES + 11), 1).await.unwrap(), 1, "no more than are asked for");
    assert_eq!(store.purge_api_tokens(at(EXPIRES + 11), 9).await.unwrap(), 1);
}
