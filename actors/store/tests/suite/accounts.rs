use domain::access::{Principal, Role, Scopes};
use domain::account::AccountChange;
use domain::{ApiTokenId, SessionId, UserId};
use store::{AccountOutcome, Conflict, NewApiToken, NewSession, NewUser, StoreError};
use test_database::TestDatabase;

use crate::common::{actions, actions_after, add_user, at, console, uuid};

const DISABLE: AccountChange = AccountChange { role: None, disabled: Some(true) };
const ENABLE: AccountChange = AccountChange { role: None, disabled: Some(false) };
const DEMOTE: AccountChange = AccountChange { role: Some(Role::Viewer), disabled: None };

/// A sign-in that expires at second 1000.
async fn sign_in(db: &TestDatabase, user: UserId, number: u32, second: i64) -> SessionId {
    let id = SessionId(uuid(number));
    let secret = [number as u8; 32];
    let session = NewSession {
        id,
        user_id: user,
        password_bcrypt: "bcrypt",
        refresh_sha256: &secret,
        expires_at: at(1000),
        address: "192.0.2.1",
        user_agent: None,
    };
    assert!(db.store().insert_session(session, 100, &console(), at(second)).await.unwrap());
    id
}

async fn token(db: &TestDatabase, user: UserId, number: u32) -> Vec<u8> {
    let secret = vec![number as u8; 32];
    let token = NewApiToken {
        id: ApiTokenId(uuid(number)),
        user_id: user,
        parent: None,
        name: "t",
        prefix: "nxm_",
        secret_sha256: &secret,
        scopes: Scopes::all(),
        expires_at: at(1000),
    };
    db.store().insert_api_token(token, 10, &console(), at(0)).await.unwrap();
    secret
}

#[tokio::test]
async fn what_outlives_a_request_ends_with_the_account_or_the_token() {
    let db = TestDatabase::new().await;
    let store = db.store();
    let (ann, bob) = (add_user(&db, 1, "ann", Role::Admin).await, add_user(&db, 2, "bob", Role::Admin).await);
    token(&db, ann, 3).await;
    token(&db, bob, 4).await;
    let role = async |number, second| store.api_token_role(ApiTokenId(uuid(number)), at(second)).await.unwrap();
    assert_eq!((role(3, 999).await, role(3, 1000).await, role(5, 0).await), (Some(Role::Admin), None, None));
    assert_eq!((store.is_account_enabled(ann).await.unwrap(), store.is_account_enabled(UserId(uuid(9))).await.unwrap()), (true, false));
    store.change_account(ann, DEMOTE, &console(), at(1)).await.unwrap();
    assert_eq!(role(3, 1).await, Some(Role::Viewer));
    store.change_account(ann, DISABLE, &console(), at(2)).await.unwrap();
    assert_eq!((role(3, 2).await, store.is_account_enabled(ann).await.unwrap()), (None, false));
    assert_eq!(role(4, 2).await, Some(Role::Admin), "of another account");
}

#[tokio::test]
async fn usernames_are_unique_and_found_ignoring_case() {
    let db = TestDatabase::new().await;
    let id = add_user(&db, 1, "Anna", Role::Viewer).await;
    let same = NewUser { id: UserId(uuid(2)), username: "aNNA", password_bcrypt: "x", role: Role::Admin };
    let refused = db.store().insert_user(same, &console(), at(0)).await;
    assert!(matches!(refused, Err(StoreError::Conflict(Conflict::UsernameInUse))), "{refused:?}");
    let found = db.store().user_by_name("ANNA").await.unwrap().unwrap();
    assert_eq!((found.id, found.username.as_str(), found.role, found.disabled_at), (id, "Anna", Role::Viewer, None));
    assert!(db.store().user_by_name("Ann").await.unwrap().is_none());
    assert_eq!(actions(&db).await, ["account.added"], "the refused account left no entry");
}

#[tokio::test]
async fn an_account_is_found_by_the_very_name_that_it_was_given() {
    let db = TestDatabase::new().await;
    for (number, name) in ["Änne", "ÉMILE", "Ødegård"].into_iter().enumerate() {
        let id = add_user(&db, number as u32, name, Role::Viewer).await;
        assert_eq!(db.store().user_by_name(name).await.unwrap().map(|user| user.id), Some(id), "{name}");
    }
    assert!(db.store().user_by_name("ÄNNE").await.unwrap().is_some());
}

#[tokio::test]
async fn of_nodes_that_start_together_one_makes_the_first_account() {
    let db = TestDatabase::new().await;
    let by = console();
    let insert = |number, username| {
        let user = NewUser { id: UserId(uuid(number)), username, password_bcrypt: "x", role: Role::Admin };
        db.store().insert_first_user(user, &by, at(0))
    };
    assert!(!db.store().any_user().await.unwrap());
    let (a, b, c) = tokio::join!(insert(1, "a"), insert(2, "b"), insert(3, "c"));
    assert_eq!([a, b, c].map(Result::unwrap).into_iter().filter(|made| *made).count(), 1);
    assert_eq!(db.store().accounts(None, 10).await.unwrap().len(), 1);
    assert!(db.store().any_user().await.unwrap());
    assert_eq!(actions(&db).await, ["account.added"]);
}

#[tokio::test]
async fn the_last_active_admin_stays() {
    let db = TestDatabase::new().await;
    let store = db.store();
    let admin = add_user(&db, 1, "admin", Role::Admin).await;
    let viewer = add_user(&db, 2, "viewer", Role::Viewer).await;
    for change in [DISABLE, DEMOTE] {
        assert_eq!(store.change_account(admin, change, &console(), at(1)).await.unwrap(), AccountOutcome::LastAdmin);
    }
    assert!(matches!(store.change_account(viewer, DISABLE, &console(), at(1)).await.unwrap(), AccountOutcome::Changed(_)));
    // A disabled admin does not count.
    let promote = AccountChange { role: Some(Role::Admin), disabled: None };
    assert!(matches!(store.change_account(viewer, promote, &console(), at(1)).await.unwrap(), AccountOutcome::Changed(_)));
    assert_eq!(store.change_account(admin, DEMOTE, &console(), at(1)).await.unwrap(), AccountOutcome::LastAdmin);
    let unknown = UserId(uuid(9));
    assert_eq!(store.change_account(unknown, DISABLE, &console(), at(1)).await.unwrap(), AccountOutcome::Unknown);
}

#[tokio::test]
async fn admins_who_disable_each_other_at_once_leave_one() {
    let db = TestDatabase::new().await;
    let a = add_user(&db, 1, "a", Role::Admin).await;
    let b = add_user(&db, 2, "b", Role::Admin).await;
    let by = console();
    for _ in 0..10 {
        let both = tokio::join!(db.store().change_account(a, DISABLE, &by, at(1)), db.store().change_account(b, DEMOTE, &by, at(1)));
        let outcomes = [both.0.unwrap(), both.1.unwrap()];
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == AccountOutcome::LastAdmin).count(), 1, "{outcomes:?}");
        db.execute("UPDATE app_user SET role = 'admin', disabled_at = NULL").await;
    }
}

#[tokio::test]
async fn a_disabled_account_loses_its_sign_ins_and_tokens_for_good() {
    let db = TestDatabase::new().await;
    let store = db.store();
    add_user(&db, 1, "admin", Role::Admin).await;
    let user = add_user(&db, 2, "user", Role::Operator).await;
    let session = sign_in(&db, user, 10, 0).await;
    let secret = token(&db, user, 11).await;
    assert!(store.living_session(session, at(1)).await.unwrap().is_some());
    let AccountOutcome::Changed(disabled) = store.change_account(user, DISABLE, &console(), at(2)).await.unwrap() else { panic!() };
    assert_eq!(disabled.disabled_at, Some(at(2)));
    // Disabling again keeps the time of the first.
    let AccountOutcome::Changed(again) = store.change_account(user, DISABLE, &console(), at(3)).await.unwrap() else { panic!() };
    assert_eq!(again.disabled_at, Some(at(2)));
    store.change_account(user, ENABLE, &console(), at(4)).await.unwrap();
    assert!(store.living_session(session, at(5)).await.unwrap().is_none());
    assert!(store.living_api_token(&secret, at(5)).await.unwrap().is_none());
    let told = actions(&db).await.split_off(4);
    assert_eq!(told, ["account.disabled", "account.enabled"], "a change that changes nothing leaves no entry");
}

#[tokio::test]
async fn a_new_password_ends_every_other_sign_in_and_a_reset_the_tokens_too() {
    let db = TestDatabase::new().await;
    let store = db.store();
    let user = add_user(&db, 1, "user", Role::Operator).await;
    let other = add_user(&db, 2, "other", Role::Operator).await;
    let (kept, ended, foreign) = (sign_in(&db, user, 10, 0).await, sign_in(&db, user, 11, 0).await, sign_in(&db, other, 12, 0).await);
    let secret = token(&db, user, 13).await;
    assert!(store.set_password(user, "new", Some(kept), &console(), at(1)).await.unwrap());
    assert!(store.living_session(kept, at(2)).await.unwrap().is_some());
    assert!(store.living_session(ended, at(2)).await.unwrap().is_none());
    assert!(store.living_api_token(&secret, at(2)).await.unwrap().is_some());
    assert!(store.set_password(user, "newer", None, &console(), at(3)).await.unwrap());
    assert!(store.living_session(kept, at(4)).await.unwrap().is_none());
    assert!(store.living_api_token(&secret, at(4)).await.unwrap().is_none());
    assert!(store.living_session(foreign, at(4)).await.unwrap().is_some());
    assert_eq!(store.user_by_name("user").await.unwrap().unwrap().password_bcrypt, "newer");
    assert!(!store.set_password(UserId(uuid(9)), "x", None, &console(), at(4)).await.unwrap());
    assert_eq!(actions(&db).await.split_off(6), ["account.password_changed", "account.password_reset"]);
}

#[tokio::test]
async fn accounts_come_in_byte_order_and_pages() {
    let db = TestDatabase::new().await;
    for (number, name) in [(1, "b"), (2, "B"), (3, "ä"), (4, "a1"), (5, "a")] {
        // Names are unique ignoring case.
        let name = if name == "B" { "Bb" } else { name };
        add_user(&db, number, name, Role::Viewer).await;
    }
    let user = UserId(uuid(4));
    sign_in(&db, user, 10, 5).await;
    sign_in(&db, user, 11, 7).await;
    let mut names = Vec::new();
    let mut after = None;
    loop {
        let page = db.store().accounts(after.as_deref(), 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.username.clone());
        names.extend(page.into_iter().map(|account| (account.username, account.last_seen_at)));
    }
    let wanted = [("Bb", None), ("a", None), ("a1", Some(at(7))), ("b", None), ("ä", None)];
    assert_eq!(names, wanted.map(|(name, seen)| (name.to_owned(), seen)));
    assert_eq!(db.store().account(user).await.unwrap().unwrap().last_seen_at, Some(at(7)));
}

#[tokio::test]
async fn a_sign_in_ends_once_and_only_for_its_account() {
    let db = TestDatabase::new().await;
    let store = db.store();
    let user = add_user(&db, 1, "user", Role::Operator).await;
    let other = add_user(&db, 2, "other", Role::Operator).await;
    let (older, newer) = (sign_in(&db, user, 10, 1).await, sign_in(&db, user, 11, 2).await);
    let listed: Vec<_> = store.sign_ins(user, 10, at(3)).await.unwrap().into_iter().map(|one| one.id).collect();
    assert_eq!(listed, [newer, older], "the last used first");
    assert_eq!(store.sign_ins(user, 1, at(3)).await.unwrap().len(), 1);
    let before = store.audit_head().await.unwrap().seq;
    assert!(!store.end_sign_in(other, older, &console(), at(3)).await.unwrap(), "it is not the other's");
    assert!(!store.end_sign_in(user, older, &console(), at(1000)).await.unwrap(), "it has expired by then");
    assert!(store.end_sign_in(user, older, &console(), at(3)).await.unwrap());
    assert!(!store.end_sign_in(user, older, &console(), at(3)).await.unwrap());
    let own =
        Principal::User { user_id: user, username: "user".into(), role: Role::Operator, session_id: newer, origin: Default::default() };
    assert!(store.end_sign_in(user, newer, &own, at(4)).await.unwrap());
    assert_eq!(actions_after(&db, before).await, ["account.sign_in_ended", "account.signed_out"]);
    assert!(store.sign_ins(user, 10, at(5)).await.unwrap().is_empty());
}

#[tokio::test]
async fn all_sign_ins_end_but_the_kept_one_and_those_that_are_over() {
    let db = TestDatabase::new().await;
    let store = db.store();
    let user = add_user(&db, 1, "user", Role::Operator).await;
    let kept = sign_in(&db, user, 10, 0).await;
    sign_in(&db, user, 11, 0).await;
    sign_in(&db, user, 12, 0).await;
    assert_eq!(store.end_sign_ins(user, Some(kept), &console(), at(1)).await.unwrap(), 2);
    let before = store.audit_head().await.unwrap().seq;
    assert_eq!(store.end_sign_ins(user, Some(kept), &console(), at(2)).await.unwrap(), 0);
    assert_eq!(store.audit_head().await.unwrap().seq, before, "nothing ended, nothing is told");
    assert_eq!(store.end_sign_ins(user, None, &console(), at(2)).await.unwrap(), 1);
}
