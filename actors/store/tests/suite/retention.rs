use domain::retention::{self, Then};
use test_database::TestDatabase;

use crate::common::{at, device, enroll, uuid};

/// What grows and is not declared grows for ever.
#[tokio::test]
async fn every_table_has_a_declared_retention() {
    let db = TestDatabase::new().await;
    db.store().ensure_partitions(&[at(0).date_naive()]).await.unwrap();
    let tables: Vec<String> = db
        .values("SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'")
        .await;
    let undeclared: Vec<_> = tables.iter().filter(|table| retention::of(table).is_none()).collect();
    assert!(undeclared.is_empty(), "tables without a row in domain::retention::TABLES: {undeclared:?}");
    let gone: Vec<_> = retention::TABLES.iter().map(|row| row.table).filter(|table| !tables.iter().any(|there| there == table)).collect();
    assert!(gone.is_empty(), "rows in domain::retention::TABLES without a table: {gone:?}");
    // What goes with another goes by a reference, unless a statement of the other's removal takes it along.
    let by_statement = ["audit_name", "command_batch", "heartbeats_default"];
    for row in retention::TABLES {
        let Then::With(parent) = row.then else { continue };
        let references: i64 = db
            .value(&format!(
                "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND confdeltype = 'c'
                     AND conrelid = '{}'::regclass AND confrelid = '{parent}'::regclass",
                row.table
            ))
            .await;
        assert!(references > 0 || by_statement.contains(&row.table), "{} does not go with {parent}", row.table);
    }
}

#[tokio::test]
async fn enrollment_tokens_go_after_their_end() {
    let db = TestDatabase::new().await;
    enroll(&db, 1, "used").await;
    let token = |number: u32, made: i64, expires: i64, used: &str, revoked: &str| {
        format!(
            "INSERT INTO enroll_token (enroll_token_id, secret_sha256, created_at, expires_at, used_at, revoked_at)
             VALUES ('{}', sha256('{number}'), '{}', '{}', {used}, {revoked});",
            uuid(number),
            at(made),
            at(expires)
        )
    };
    let time = |second: i64| format!("'{}'", at(second));
    db.execute(
        &[
            token(10, 0, 100, "NULL", "NULL"),
            token(11, 0, 9_000, "NULL", "NULL"),
            token(12, 0, 9_000, &time(100), "NULL"),
            token(13, 0, 9_000, "NULL", &time(100)),
            token(14, 0, 9_000, &time(5_000), "NULL"),
        ]
        .concat(),
    )
    .await;
    let before: i64 = db.value("SELECT count(*) FROM enroll_token").await;
    assert_eq!(db.store().purge_enroll_tokens(at(200), 1).await.unwrap(), 1);
    let mut gone = 1;
    while db.store().purge_enroll_tokens(at(200), 1).await.unwrap() > 0 {
        gone += 1;
    }
    assert_eq!(db.values::<uuid::Uuid>("SELECT enroll_token_id FROM enroll_token ORDER BY 1").await, [uuid(11), uuid(14)]);
    assert_eq!(gone, before - 2, "the one that enrolled the device as well");
    assert!(db.store().device(device(1)).await.unwrap().is_some());
}

#[tokio::test]
async fn apks_go_once_nothing_names_them() {
    let db = TestDatabase::new().await;
    let apk = |number: u32, deleted: &str, rollback_of: &str| {
        format!(
            "INSERT INTO apk (apk_id, package, version_code, version_name, label, sha256, size_bytes, signers_sha256, uploaded_by, uploaded_at,
                 deleted_at, rollback_of)
             VALUES ('{}', 'com.example', {number}, '1', 'x', '{}', 1, '{{a}}', 'root', now(), {deleted}, {rollback_of});",
            uuid(number),
            "0".repeat(64)
        )
    };
    let (old, new) = (format!("'{}'", at(0)), format!("'{}'", at(500)));
    let of = |number: u32| format!("'{}'", uuid(number));
    db.execute(
        &[
            apk(1, &old, "NULL"),
            apk(2, &new, "NULL"),
            apk(3, "NULL", "NULL"),
            apk(4, &old, "NULL"),
            apk(5, "NULL", &of(4)),
            apk(6, &old, "NULL"),
        ]
        .concat(),
    )
    .await;
    db.execute(&format!(
        "INSERT INTO agent_build (build_id, apk_id, package, version_code, state, created_by, created_at, changed_by, changed_at)
         VALUES ('{0}', '{0}', 'com.example', 6, 'draft', 'root', now(), 'root', now())",
        uuid(6)
    ))
    .await;
    assert_eq!(db.store().purge_deleted_apks(at(100), 10).await.unwrap(), 1);
    assert_eq!(db.values::<uuid::Uuid>("SELECT apk_id FROM apk ORDER BY 1").await, [2, 3, 4, 5, 6].map(uuid));
}

#[tokio::test]
async fn days_nodes_and_windows_are_forgotten_after_their_time() {
    let db = TestDatabase::new().await;
    let store = db.store();
    let (today, long_ago) = (at(0).date_naive(), at(-100 * 86_400).date_naive());
    store.ensure_partitions(&[long_ago]).await.unwrap();
    for day in [today, long_ago, long_ago - chrono::Days::new(1), long_ago - chrono::Days::new(2)] {
        store.note_aggregated_day(day).await.unwrap();
    }
    assert_eq!(store.purge_history_days(at(-92 * 86_400), 1).await.unwrap(), 1);
    assert_eq!(store.purge_history_days(at(-92 * 86_400), 10).await.unwrap(), 1);
    let left: Vec<chrono::NaiveDate> = db.values("SELECT day FROM history_day ORDER BY day").await;
    assert_eq!(left, [long_ago, today], "a day with heartbeats would be aggregated again");

    db.execute(&format!(
        "INSERT INTO node_health (name, observed_at) VALUES ('old', '{}'), ('new', '{}');
         INSERT INTO alert_window (window_id, matcher, reason, author, created_at, weekdays, starts, ends, tz, ends_at)
             SELECT gen_random_uuid(), '{{}}', 'x', 'root', now(), '{{t,t,t,t,t,t,t}}', '10:00', '11:00', 'UTC', e
             FROM unnest(ARRAY['{}', '{}', NULL]::timestamptz[]) e",
        at(0),
        at(100),
        at(0),
        at(100)
    ))
    .await;
    assert_eq!(store.purge_node_health(at(50), 10).await.unwrap(), 1);
    assert_eq!(db.values::<String>("SELECT name FROM node_health").await, ["new"]);
    assert_eq!(store.purge_alert_windows(at(50), 10).await.unwrap(), 1);
    assert_eq!(db.value::<i64>("SELECT count(*) FROM alert_window").await, 2);
}
