use domain::access::{Origin, Role};
use domain::account::AccountChange;
use domain::{SessionId, Timestamp, UserId};
use store::{NewSession, Rotation};
use test_database::TestDatabase;

use crate::common::{actions_after, add_user, at, console, uuid};

const EXPIRES: i64 = 10_000;

async fn try_sign_in(db: &TestDatabase, user: UserId, number: u32, bcrypt: &str, kept_max: i64, now: Timestamp) -> bool {
    let session = NewSession {
        id: SessionId(uuid(number)),
        user_id: user,
        password_bcrypt: bcrypt,
        refresh_sha256: &secret(number),
        expires_at: at(EXPIRES),
        address: "192.0.2.1",
        user_agent: Some("browser"),
    };
    db.store().insert_session(session, kept_max, &console(), now).await.unwrap()
}

async fn sign_in(db: &TestDatabase, user: UserId, number: u32, second: i64) -> SessionId {
    assert!(try_sign_in(db, user, number, "bcrypt", 100, at(second)).await);
    SessionId(uuid(number))
}

fn secret(number: u32) -> [u8; 32] {
    [number as u8; 32]
}

async fn lives(db: &TestDatabase, id: SessionId, second: i64) -> bool {
    db.store().living_session(id, at(second)).await.unwrap().is_some()
}

async fn rotate(db: &TestDatabase, presented: u32, next: u32, grace_since: i64, now: i64) -> Rotation {
    db.store().rotate_refresh(&secret(presented), &secret(next), at(grace_since), Origin::default(), at(now)).await.unwrap()
}

#[tokio::test]
async fn a_sign_in_is_void_when_the_password_or_the_account_changed_meanwhile() {
    let db = TestDatabase::new().await;
    add_user(&db, 1, "admin", Role::Admin).await;
    let user = add_user(&db, 2, "user", Role::Viewer).await;
    assert!(!try_sign_in(&db, user, 10, "the password before", 5, at(1)).await);
    let disable = AccountChange { role: None, disabled: Some(true) };
    db.store().change_account(user, disable, &console(), at(2)).await.unwrap();
    assert!(!try_sign_in(&db, user, 10, "bcrypt", 5, at(3)).await);
    assert_eq!(db.value::<i64>("SELECT count(*) FROM user_session").await, 0);
}

#[tokio::test]
async fn beyond_the_limit_those_not_seen_for_longest_end() {
    let db = TestDatabase::new().await;
    let store = db.store();
    let user = add_user(&db, 1, "user", Role::Viewer).await;
    let (first, second, third) = (sign_in(&db, user, 10, 1).await, sign_in(&db, user, 11, 2).await, sign_in(&db, user, 12, 3).await);
    store.touch_session(first, None, at(5), at(5)).await.unwrap();
    assert!(try_sign_in(&db, user, 13, "bcrypt", 3, at(6)).await);
    assert_eq!([lives(&db, first, 7).await, lives(&db, second, 7).await, lives(&db, third, 7).await], [true, false, true]);
    assert!(lives(&db, SessionId(uuid(13)), 7).await);
}

#[tokio::test]
async fn a_session_lives_until_its_expiry() {
    let db = TestDatabase::new().await;
    let user = add_user(&db, 1, "user", Role::Operator).await;
    let id = sign_in(&db, user, 10, 0).await;
    let found = db.store().living_session(id, at(EXPIRES - 1)).await.unwrap().unwrap();
    assert_eq!((found.user_id, found.username.as_str(), found.role), (user, "user", Role::Operator));
    assert!(!lives(&db, id, EXPIRES).await);
    assert_eq!(rotate(&db, 10, 20, 0, EXPIRES).await, Rotation::Unknown);
}

#[tokio::test]
async fn a_refresh_token_that_is_used_again_ends_the_session() {
    let db = TestDatabase::new().await;
    let user = add_user(&db, 1, "user", Role::Operator).await;
    let id = sign_in(&db, user, 10, 0).await;
    assert!(matches!(rotate(&db, 10, 20, 0, 100).await, Rotation::Rotated(found) if found.session_id == id));
    // The request beside it still has the token from before: within the grace, to the second, it is no leak.
    assert!(matches!(rotate(&db, 10, 21, 100, 110).await, Rotation::JustRotated(_)));
    assert_eq!(rotate(&db, 21, 22, 100, 111).await, Rotation::Unknown, "the grace gives out no token");
    assert!(lives(&db, id, 112).await);
    let before = db.store().audit_head().await.unwrap().seq;
    assert_eq!(rotate(&db, 10, 21, 101, 120).await, Rotation::Reused(id));
    assert!(!lives(&db, id, 121).await);
    assert_eq!(rotate(&db, 20, 22, 0, 121).await, Rotation::Unknown, "the current one ended with it");
    assert_eq!(actions_after(&db, before).await, ["account.sign_in_ended"]);
}

#[tokio::test]
async fn every_token_that_a_sign_in_ever_had_ends_it_when_it_comes_back() {
    let db = TestDatabase::new().await;
    let user = add_user(&db, 1, "user", Role::Operator).await;
    for presented in [10, 20, 21] {
        db.execute("DELETE FROM user_session").await;
        let id = sign_in(&db, user, 10, 0).await;
        for (second, presented, next) in [(100, 10, 20), (200, 20, 21), (300, 21, 22)] {
            assert!(matches!(rotate(&db, presented, next, second - 20, second).await, Rotation::Rotated(_)));
        }
        assert_eq!(rotate(&db, presented, 30, 301, 321).await, Rotation::Reused(id), "{presented}");
        assert_eq!(rotate(&db, 22, 31, 301, 322).await, Rotation::Unknown, "the current one ended with it");
    }
    // The grace of each begins when it was replaced, not when a later one was.
    db.execute("DELETE FROM user_session").await;
    let id = sign_in(&db, user, 10, 0).await;
    rotate(&db, 10, 20, 0, 100).await;
    rotate(&db, 20, 21, 0, 119).await;
    assert!(matches!(rotate(&db, 10, 30, 100, 120).await, Rotation::JustRotated(_)));
    assert_eq!(rotate(&db, 10, 30, 101, 121).await, Rotation::Reused(id));
}

#[tokio::test]
async fn replaced_tokens_are_kept_up_to_a_number_and_not_beyond_their_sign_in() {
    let db = TestDatabase::new().await;
    let user = add_user(&db, 1, "user", Role::Operator).await;
    let kept = async || db.values::<i64>("SELECT get_byte(refresh_sha256, 0)::bigint FROM replaced_refresh_token ORDER BY 1").await;
    let id = sign_in(&db, user, 10, 0).await;
    let other = sign_in(&db, user, 50, 0).await;
    for number in 10..15 {
        rotate(&db, number, number + 1, 0, i64::from(number)).await;
    }
    rotate(&db, 50, 51, 0, 50).await;
    let purge = async |kept_max, second, limit| db.store().purge_replaced_refresh_tokens(kept_max, at(second), limit).await.unwrap();
    assert_eq!(purge(5, 60, 9).await, 0);
    assert_eq!(purge(3, 60, 1).await, 1, "no more than are asked for");
    assert_eq!(purge(3, 60, 9).await, 1);
    assert_eq!(kept().await, [12, 13, 14, 50]);
    db.store().end_sign_in(user, id, &console(), at(61)).await.unwrap();
    assert_eq!(purge(3, 62, 9).await, 3);
    assert_eq!(purge(3, EXPIRES, 9).await, 1, "{other} has expired");
}

#[tokio::test]
async fn of_requests_that_rotate_at_once_one_gets_the_next_token() {
    let db = TestDatabase::new().await;
    let user = add_user(&db, 1, "user", Role::Operator).await;
    sign_in(&db, user, 10, 0).await;
    let all = tokio::join!(rotate(&db, 10, 20, 0, 1), rotate(&db, 10, 21, 0, 1), rotate(&db, 10, 22, 0, 1));
    let all = [all.0, all.1, all.2];
    let rotated = all.iter().filter(|rotation| matches!(rotation, Rotation::Rotated(_))).count();
    let just = all.iter().filter(|rotation| matches!(rotation, Rotation::JustRotated(_))).count();
    assert_eq!((rotated, just), (1, 2), "{all:?}");
}

#[tokio::test]
async fn use_is_noted_once_in_a_while() {
    let db = TestDatabase::new().await;
    let store = db.store();
    let user = add_user(&db, 1, "user", Role::Operator).await;
    let id = sign_in(&db, user, 10, 0).await;
    store.touch_session(id, Some("192.0.2.9"), at(-1), at(50)).await.unwrap();
    let seen = async |second| db.store().sign_ins(user, 1, at(second)).await.unwrap().remove(0);
    let noted = seen(50).await;
    assert_eq!((noted.last_seen_at, noted.address.as_deref()), (at(0), Some("192.0.2.1")), "noted not long enough ago");
    store.touch_session(id, Some("192.0.2.9"), at(0), at(60)).await.unwrap();
    store.touch_session(id, None, at(60), at(120)).await.unwrap();
    let noted = seen(120).await;
    assert_eq!((noted.last_seen_at, noted.address.as_deref()), (at(120), Some("192.0.2.9")));
}

#[tokio::test]
async fn sessions_that_ended_before_a_time_are_removed() {
    let db = TestDatabase::new().await;
    let store = db.store();
    let user = add_user(&db, 1, "user", Role::Operator).await;
    sign_in(&db, user, 10, 0).await;
    let revoked = sign_in(&db, user, 11, 0).await;
    store.end_sign_in(user, revoked, &console(), at(500)).await.unwrap();
    assert_eq!(store.purge_sessions(at(500), 9).await.unwrap(), 0);
    assert_eq!(store.purge_sessions(at(501), 9).await.unwrap(), 1);
    assert_eq!(store.purge_sessions(at(EXPIRES), 9).await.unwrap(), 0);
    sign_in(&db, user, 12, 0).await;
    assert_eq!(store.purge_sessions(at(EXPIRES + 1), 1).await.unwrap(), 1, "no more than are asked for");
    assert_eq!(store.purge_sessions(at(EXPIRES + 1), 9).await.unwrap(), 1);
}

#[tokio::test]
async fn an_address_is_known_for_a_while_after_a_sign_in_from_it_or_from_its_network() {
    let db = TestDatabase::new().await;
    let user = add_user(&db, 1, "user", Role::Viewer).await;
    sign_in(&db, user, 10, 100).await;
    let known = async |address: &str, since| db.store().signed_in_from(address.parse().unwrap(), at(since)).await.unwrap();
    assert!(known("192.0.2.1", 100).await);
    assert!(!known("192.0.2.1", 101).await, "too long ago");
    assert!(!known("192.0.2.2", 0).await);
    db.execute("UPDATE user_session SET address = '2001:db8:0:1::5'").await;
    assert!(known("2001:db8:0:1::9", 0).await, "the same /64 network");
    assert!(!known("2001:db8:0:2::5", 0).await);
    db.execute("UPDATE user_session SET address = NULL").await;
    assert!(!known("2001:db8:0:1::5", 0).await);
}
