//! Links by which a password is set: one of each kind and account holds, once, for a while.

use chrono::TimeDelta;
use domain::UserId;
use domain::access::{Principal, Role};
use domain::account::AccountChange;
use store::{LinkKind, LinkedAccount};
use test_database::TestDatabase;

use crate::common::{actions, add_user, at, console};

const HOLDS: TimeDelta = TimeDelta::minutes(30);
const PAUSE: TimeDelta = TimeDelta::minutes(2);

fn linked(id: UserId) -> LinkedAccount {
    LinkedAccount { id, username: "ann".into() }
}

async fn put_kind(db: &TestDatabase, id: UserId, kind: LinkKind, token: u8, second: i64) -> bool {
    db.execute(&format!("UPDATE app_user SET email = 'ann@example.org' WHERE user_id = '{id}' AND email IS NULL")).await;
    let email = db.value::<String>(&format!("SELECT email FROM app_user WHERE user_id = '{id}'")).await;
    put_to(db, id, &email, kind, token, second).await
}

async fn put_to(db: &TestDatabase, id: UserId, email: &str, kind: LinkKind, token: u8, second: i64) -> bool {
    let (times, by) = ((at(second) + HOLDS, PAUSE), Principal::system());
    db.store().put_password_link((&linked(id), email), kind, &[token; 32], times, &by, at(second)).await.unwrap()
}

async fn put(db: &TestDatabase, id: UserId, token: u8, second: i64) -> bool {
    put_kind(db, id, LinkKind::Reset, token, second).await
}

async fn redeem(db: &TestDatabase, token: u8, second: i64) -> Option<LinkedAccount> {
    db.store().redeem_password_link(&[token; 32], "new", &Principal::system(), at(second)).await.unwrap()
}

#[tokio::test]
async fn a_link_holds_once_and_for_a_while() {
    let db = TestDatabase::new().await;
    let id = add_user(&db, 1, "ann", Role::Admin).await;
    assert!(put(&db, id, 1, 0).await);
    assert_eq!(db.store().password_link_account(&[1; 32], at(10)).await.unwrap(), Some(linked(id)));
    assert_eq!(db.store().password_link_account(&[2; 32], at(10)).await.unwrap(), None);
    assert_eq!(redeem(&db, 1, 1_800).await, None, "its time is over");
    let (store, both) = (db.store(), Principal::system());
    let (one, two) =
        tokio::join!(store.redeem_password_link(&[1; 32], "a", &both, at(1)), store.redeem_password_link(&[1; 32], "b", &both, at(1)));
    assert_eq!([one.unwrap(), two.unwrap()].iter().flatten().count(), 1, "once, whoever comes first");
    assert_ne!(store.user_by_name("ann").await.unwrap().unwrap().password_bcrypt, "bcrypt");
    assert_eq!(actions(&db).await.split_off(1), ["account.password_link_sent", "account.password_reset"]);
}

#[tokio::test]
async fn the_newest_link_holds_and_there_are_not_many() {
    let db = TestDatabase::new().await;
    let id = add_user(&db, 1, "ann", Role::Admin).await;
    assert!(put(&db, id, 1, 0).await);
    assert!(!put(&db, id, 2, 119).await, "one was sent a moment ago");
    assert!(put(&db, id, 3, 120).await);
    assert_eq!((redeem(&db, 1, 130).await, redeem(&db, 2, 130).await), (None, None));
    assert_eq!(redeem(&db, 3, 130).await, Some(linked(id)));
}

#[tokio::test]
async fn a_link_is_for_the_address_that_the_account_has() {
    let db = TestDatabase::new().await;
    let id = add_user(&db, 1, "ann", Role::Admin).await;
    assert!(!put_to(&db, id, "ann@example.org", LinkKind::Reset, 1, 0).await, "it has none");
    assert!(put(&db, id, 2, 0).await);
    assert!(!put_to(&db, id, "old@example.org", LinkKind::Reset, 3, 1_000).await, "it was changed after it was read");
}

#[tokio::test]
async fn whoever_asks_for_a_link_does_not_end_an_invitation() {
    let db = TestDatabase::new().await;
    let id = add_user(&db, 1, "ann", Role::Admin).await;
    assert!(put_kind(&db, id, LinkKind::Invitation, 1, 0).await);
    assert!(put(&db, id, 2, 1).await && put(&db, id, 3, 121).await);
    assert_eq!(db.store().password_link_account(&[1; 32], at(122)).await.unwrap(), Some(linked(id)));
    assert_eq!(redeem(&db, 1, 123).await, Some(linked(id)));
    assert_eq!(redeem(&db, 3, 124).await, None, "the password that it was for is gone");
    assert_eq!(db.store().password_link_account(&[3; 32], at(124)).await.unwrap(), None);
}

#[tokio::test]
async fn a_link_that_was_used_counts_for_the_pause() {
    let db = TestDatabase::new().await;
    let id = add_user(&db, 1, "ann", Role::Admin).await;
    assert!(put(&db, id, 1, 0).await);
    assert_eq!(redeem(&db, 1, 10).await, Some(linked(id)));
    assert_eq!((put(&db, id, 2, 119).await, redeem(&db, 1, 119).await), (false, None));
    assert!(put(&db, id, 2, 120).await);
    assert_eq!(redeem(&db, 2, 121).await, Some(linked(id)));
}

#[tokio::test]
async fn a_link_that_was_not_sent_keeps_none_from_being_sent() {
    let db = TestDatabase::new().await;
    let id = add_user(&db, 1, "ann", Role::Admin).await;
    assert!(put(&db, id, 1, 0).await);
    db.store().end_link_pause(&[1; 32]).await.unwrap();
    assert_eq!(db.store().password_link_account(&[1; 32], at(1)).await.unwrap(), Some(linked(id)), "it may have arrived all the same");
    assert!(put(&db, id, 2, 1).await);
    assert_eq!(redeem(&db, 2, 2).await, Some(linked(id)));
}

#[tokio::test]
async fn another_password_address_or_a_disabled_account_end_a_link() {
    let db = TestDatabase::new().await;
    let (id, _) = (add_user(&db, 1, "ann", Role::Viewer).await, add_user(&db, 2, "bob", Role::Admin).await);
    assert!(put(&db, id, 1, 0).await);
    assert!(db.store().set_password(id, "other", None, &console(), at(1)).await.unwrap());
    assert_eq!(redeem(&db, 1, 2).await, None);
    assert!(put(&db, id, 2, 200).await);
    assert!(db.store().set_account_email(id, Some("ann@example.com"), &console(), at(201)).await.unwrap());
    assert_eq!(db.store().account(id).await.unwrap().unwrap().email.as_deref(), Some("ann@example.com"));
    assert_eq!(redeem(&db, 2, 202).await, None);
    assert!(put(&db, id, 3, 400).await);
    let disable = AccountChange { role: None, disabled: Some(true) };
    db.store().change_account(id, disable, &console(), at(401)).await.unwrap();
    assert_eq!((redeem(&db, 3, 402).await, put(&db, id, 4, 900).await), (None, false));
    assert!(!db.store().set_account_email(UserId(uuid::Uuid::nil()), None, &console(), at(0)).await.unwrap());
}
