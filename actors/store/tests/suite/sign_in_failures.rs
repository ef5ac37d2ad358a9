use domain::access::{Origin, Role};
use domain::lockout::{Attempt, Lockout, LockoutPolicy};
use test_database::TestDatabase;

use crate::common::{actions, add_user, at};

const POLICY: LockoutPolicy = LockoutPolicy { after: 3, base_s: 30, max_s: 100, forget_after_s: 1000 };

async fn attempt(db: &TestDatabase, name: u8, username: &str, second: i64) -> Attempt {
    db.store().sign_in_attempt(&[name; 32], username, POLICY, Origin::default(), at(second)).await.unwrap()
}

fn allowed(failures: u32, second: i64, locked_until: Option<i64>) -> Attempt {
    Attempt::Allowed(Lockout { failures, failed_at: at(second), locked_until: locked_until.map(at) })
}

#[tokio::test]
async fn failures_of_a_name_add_up_and_lock_it() {
    let db = TestDatabase::new().await;
    assert_eq!(attempt(&db, 1, "x", 0).await, allowed(1, 0, None));
    assert_eq!(attempt(&db, 2, "y", 0).await, allowed(1, 0, None), "another name counts by itself");
    assert_eq!(attempt(&db, 1, "x", 1).await, allowed(2, 1, None));
    assert_eq!(attempt(&db, 1, "x", 2).await, allowed(3, 2, Some(32)));
    assert_eq!(attempt(&db, 1, "x", 12).await, Attempt::Locked { retry_after_s: 20 });
    assert_eq!(attempt(&db, 1, "x", 32).await, allowed(4, 32, Some(92)), "what was refused did not count");
    db.store().clear_sign_in_failures(&[1; 32]).await.unwrap();
    assert_eq!(attempt(&db, 1, "x", 33).await, allowed(1, 33, None));
}

#[tokio::test]
async fn attempts_at_once_do_not_slip_through() {
    let db = TestDatabase::new().await;
    let (a, b, c, d, e) = tokio::join!(
        attempt(&db, 1, "x", 0),
        attempt(&db, 1, "x", 0),
        attempt(&db, 1, "x", 0),
        attempt(&db, 1, "x", 0),
        attempt(&db, 1, "x", 0)
    );
    let mut failures: Vec<_> = [a, b, c, d, e]
        .into_iter()
        .filter_map(|attempt| match attempt {
            Attempt::Allowed(lockout) => Some(lockout.failures),
            Attempt::Locked { .. } => None,
        })
        .collect();
    failures.sort_unstable();
    assert_eq!(failures, [1, 2, 3]);
}

#[tokio::test]
async fn a_lock_is_told_with_the_name_only_of_an_account() {
    let db = TestDatabase::new().await;
    add_user(&db, 1, "Änna", Role::Viewer).await;
    for (name, typed) in [(1, " Änna"), (2, "a secret typed\0into the wrong field")] {
        for second in 0..3 {
            attempt(&db, name, typed, second).await;
        }
    }
    assert_eq!(actions(&db).await, ["account.added", "account.locked", "account.locked"]);
    let names: Vec<Option<String>> = db.values("SELECT target_name FROM audit_entry WHERE action = 'account.locked' ORDER BY seq").await;
    assert_eq!(names, [Some("Änna".to_owned()), None]);
}

#[tokio::test]
async fn an_attempt_that_was_never_looked_at_is_taken_back() {
    let db = TestDatabase::new().await;
    for second in 0..3 {
        attempt(&db, 1, "x", second).await;
    }
    db.store().uncount_sign_in_attempt(&[1; 32], 3).await.unwrap();
    assert_eq!(attempt(&db, 1, "x", 3).await, allowed(3, 3, Some(33)), "its lock went with it");
    // A later attempt has locked the name: that lock is not this one's to lift.
    db.store().uncount_sign_in_attempt(&[1; 32], 2).await.unwrap();
    assert_eq!(attempt(&db, 1, "x", 4).await, Attempt::Locked { retry_after_s: 29 });
    for _ in 0..5 {
        db.store().uncount_sign_in_attempt(&[1; 32], 9).await.unwrap();
    }
    assert_eq!(db.value::<i32>("SELECT failures FROM sign_in_failure").await, 0);
}

#[tokio::test]
async fn old_failures_are_removed_and_the_oldest_beyond_the_limit() {
    let db = TestDatabase::new().await;
    let store = db.store();
    for name in 1..=5 {
        attempt(&db, name, "x", i64::from(name)).await;
    }
    assert_eq!(store.purge_sign_in_failures(at(1), 5, 9).await.unwrap(), 0);
    assert_eq!(store.purge_sign_in_failures(at(2), 5, 9).await.unwrap(), 1);
    assert_eq!(store.purge_sign_in_failures(at(0), 2, 1).await.unwrap(), 1, "no more than are asked for");
    assert_eq!(store.purge_sign_in_failures(at(0), 2, 9).await.unwrap(), 1);
    let kept: Vec<Vec<u8>> = db.values("SELECT name_sha256 FROM sign_in_failure ORDER BY failed_at").await;
    assert_eq!(kept, [vec![4; 32], vec![5; 32]], "the newest stay");
}
