use domain::access::{Origin, Principal, Role, Scopes};
use domain::audit::{AuditAction, AuditArchive, AuditFilter, ChainCheck, ChainedEntry, GENESIS, Target};
use domain::flag::Flag;
use domain::{ApiTokenId, SessionId, UserId};
use store::{ApiTokenOutcome, AuditEntry, NewApiToken, StoreError};
use test_database::TestDatabase;

use crate::common::{add_user, at, console, enroll, sign_in, uuid};

fn person(name: &str, request_id: &str) -> Principal {
    Principal::User {
        user_id: UserId(uuid(1)),
        username: name.into(),
        role: Role::Admin,
        session_id: SessionId(uuid(1)),
        origin: Origin { address: Some([192, 0, 2, 1].into()), request_id: Some(request_id.into()) },
    }
}

async fn set_flag(db: &TestDatabase, by: &Principal, second: i64) {
    db.store().set_flag(Flag::DeploymentsEnabled, true, by, at(second)).await.unwrap();
}

async fn whole(db: &TestDatabase) -> Vec<ChainedEntry> {
    db.store().audit_batch(0, 1000).await.unwrap()
}

#[tokio::test]
async fn acts_at_once_form_one_chain_without_gaps() {
    let db = TestDatabase::new().await;
    let other = db.another_store(4);
    let acts = (0..10).map(|second| {
        let (a, b) = (db.store().clone(), other.clone());
        tokio::spawn(async move {
            let by = console();
            let both = tokio::join!(
                a.set_flag(Flag::DeploymentsEnabled, true, &by, at(second)),
                b.set_flag(Flag::DeploymentsKillSwitch, false, &by, at(second))
            );
            both.0.and(both.1).unwrap();
        })
    });
    for act in acts.collect::<Vec<_>>() {
        act.await.unwrap();
    }
    let entries = whole(&db).await;
    assert_eq!(entries.iter().map(|entry| entry.entry.seq).collect::<Vec<_>>(), (1..=20).collect::<Vec<_>>());
    let mut check = ChainCheck::new(None);
    for entry in &entries {
        assert!(check.next(entry).is_empty());
    }
    let head = db.store().audit_head().await.unwrap();
    assert_eq!((head.seq, &head.hash), (20, &entries[19].hash));
    assert_eq!(db.store().audit_newest().await.unwrap(), (20, 20));
}

#[tokio::test]
async fn an_act_that_fails_leaves_neither_entry_nor_gap() {
    let db = TestDatabase::new().await;
    set_flag(&db, &console(), 1).await;
    db.execute("ALTER TABLE feature_flag ADD CHECK (enabled)").await;
    assert!(db.store().set_flag(Flag::DeploymentsEnabled, false, &console(), at(2)).await.is_err());
    set_flag(&db, &console(), 3).await;
    assert_eq!(whole(&db).await.iter().map(|entry| entry.entry.at).collect::<Vec<_>>(), [at(1), at(3)]);
}

/// Whoever can write the store of archives cannot have entries removed by it.
#[tokio::test]
async fn an_archive_of_other_entries_is_neither_noted_nor_a_reason_to_remove() {
    let db = TestDatabase::new().await;
    let store = db.store();
    for second in 0..5 {
        set_flag(&db, &console(), second).await;
    }
    let entries = whole(&db).await;
    let archive = AuditArchive {
        range: 1..=4,
        first_at: at(0),
        last_at: at(3),
        prev_hash: GENESIS.to_vec(),
        last_hash: entries[3].hash.clone(),
        name: "audit/000000000001-000000000004".into(),
        sha256: "0".repeat(64),
        rows_sha256: "0".repeat(64),
        bytes: 1,
        verified_at: at(9),
        removed_at: None,
    };
    let others = AuditArchive { last_hash: vec![7; 32], ..archive.clone() };
    let longer = AuditArchive { range: 1..=99_999, ..archive.clone() };
    for foreign in [&others, &longer] {
        assert!(!store.has_entries_of(foreign).await.unwrap(), "{foreign:?}");
        assert!(!store.insert_audit_archive(foreign).await.unwrap(), "{foreign:?}");
    }
    assert!(store.has_entries_of(&archive).await.unwrap());
    assert!(store.insert_audit_archive(&archive).await.unwrap());
    // Of what is recorded by then, nothing is removed by another's file.
    for foreign in [&others, &longer] {
        assert_eq!(store.remove_archived_entries(foreign, 10).await.unwrap(), 0, "{foreign:?}");
    }
    assert!(!store.note_audit_removed(&archive, at(10)).await.unwrap(), "its entries are there");
    assert_eq!(whole(&db).await.len(), 5);
    assert_eq!(store.remove_archived_entries(&archive, 3).await.unwrap(), 3);
    assert_eq!(store.remove_archived_entries(&archive, 3).await.unwrap(), 1);
    for _ in 0..2 {
        assert!(store.note_audit_removed(&archive, at(10)).await.unwrap(), "also again");
    }
    assert_eq!(whole(&db).await.iter().map(|entry| entry.entry.seq).collect::<Vec<_>>(), [5]);
}

#[tokio::test]
async fn entries_are_neither_changed_nor_removed() {
    let db = TestDatabase::new().await;
    set_flag(&db, &console(), 1).await;
    for statement in [
        "UPDATE audit_entry SET actor_name = 'x'",
        "DELETE FROM audit_entry",
        "TRUNCATE audit_entry",
        "DELETE FROM audit_head",
        "TRUNCATE audit_head",
    ] {
        let refused = sqlx::raw_sql(statement).execute(db.pool()).await.unwrap_err();
        assert!(refused.to_string().contains("append-only"), "{statement}: {refused}");
    }
    assert_eq!(db.store().audit_newest().await.unwrap(), (1, 1));
}

#[tokio::test]
async fn pages_and_batches_hold_every_entry_once() {
    let db = TestDatabase::new().await;
    for second in 0..5 {
        set_flag(&db, &console(), second).await;
    }
    let seqs = |entries: Vec<ChainedEntry>| entries.iter().map(|entry| entry.entry.seq).collect::<Vec<_>>();
    let page = async |older_than, limit| seqs(db.store().audit_page(&AuditFilter::default(), older_than, limit).await.unwrap());
    let batch = async |after, limit| seqs(db.store().audit_batch(after, limit).await.unwrap());
    assert_eq!([page(None, 2).await, page(Some(4), 2).await, page(Some(2), 2).await], [vec![5, 4], vec![3, 2], vec![1]]);
    assert_eq!([batch(0, 2).await, batch(2, 2).await, batch(4, 2).await], [vec![1, 2], vec![3, 4], vec![5]]);
}

#[tokio::test]
async fn an_act_is_refused_once_the_credential_that_it_began_with_was_taken_away() {
    for taken in [
        "UPDATE user_session SET revoked_at = now()",
        "UPDATE api_token SET revoked_at = now()",
        "UPDATE app_user SET role = 'operator'",
        "UPDATE app_user SET disabled_at = now()",
    ] {
        let db = TestDatabase::new().await;
        let user = add_user(&db, 1, "ann", Role::Admin).await;
        sign_in(&db, user, 1).await;
        let (id, name) = (ApiTokenId(uuid(2)), "t");
        let scopes = Scopes::stored(&["flags:manage".to_owned()]);
        let (secret_sha256, expires_at) = (&[2; 32][..], at(1000));
        let new = NewApiToken { id, user_id: user, parent: None, name, prefix: "nxm_t", scopes, secret_sha256, expires_at };
        assert_eq!(db.store().insert_api_token(new, 10, &console(), at(0)).await.unwrap(), ApiTokenOutcome::Created);
        let by_token = Principal::Token {
            token_id: id,
            user_id: user,
            username: "ann".into(),
            role: Role::Admin,
            scopes,
            expires_at,
            origin: Origin::default(),
        };
        let set = async |by: &Principal, enabled| db.store().set_flag(Flag::DeploymentsEnabled, enabled, by, at(1)).await;
        let principals = [person("ann", "r1"), by_token];
        for by in &principals {
            set(by, false).await.unwrap();
            set(by, true).await.unwrap();
        }
        db.execute(taken).await;
        let refused = [set(&principals[0], false).await, set(&principals[1], false).await].map(|outcome| match outcome {
            Ok(_) => false,
            Err(StoreError::Unauthorized) => true,
            Err(error) => panic!("{taken}: {error}"),
        });
        let of_account = taken.contains("app_user");
        assert_eq!(refused, [of_account || taken.contains("user_session"), of_account || taken.contains("api_token")], "{taken}");
        let enabled: bool = db.value("SELECT enabled FROM feature_flag WHERE name = 'deployments.enabled'").await;
        assert_eq!(enabled, of_account, "{taken}");
        let entry = AuditEntry::new(&principals[0], AuditAction::AccessRefused, Target::Other { kind: "request", id: None, name: None });
        db.store().record(&entry, at(2)).await.unwrap();
    }
}

#[tokio::test]
async fn a_filter_finds_what_it_names_literally() {
    let db = TestDatabase::new().await;
    enroll(&db, 9, "d1").await;
    let user = add_user(&db, 1, "ann", Role::Admin).await;
    sign_in(&db, user, 1).await;
    let (first, after) = (whole(&db).await, whole(&db).await.len() as i64);
    set_flag(&db, &person("Anna", "r1"), 10).await;
    set_flag(&db, &person("an%", "r2"), 20).await;
    let found = async |filter: AuditFilter| {
        let entries = db.store().audit_page(&filter, None, 99).await.unwrap();
        entries.iter().map(|entry| entry.entry.seq - after).collect::<Vec<_>>()
    };
    let text = |text: &str| Some(text.to_owned());
    let none = AuditFilter::default;
    assert_eq!(found(AuditFilter { actor: text("ANNA"), ..none() }).await, [1]);
    assert_eq!(found(AuditFilter { actor: text("an%"), ..none() }).await, [2], "no pattern");
    assert_eq!(found(AuditFilter { actor: text("ａｎｎａ"), ..none() }).await, [1], "however it is written");
    assert_eq!(found(AuditFilter { text: text("ａｎｎａ"), ..none() }).await, found(AuditFilter { text: text("Anna"), ..none() }).await);
    assert_eq!(found(AuditFilter { actor: text(&uuid(1).to_string()), ..none() }).await, [2, 1], "by id");
    assert_eq!(found(AuditFilter { action: text("flag."), ..none() }).await, [2, 1]);
    assert!(found(AuditFilter { action: text("fl_g."), ..none() }).await.is_empty(), "a prefix, no pattern");
    assert!(found(AuditFilter { action: text("%"), ..none() }).await.is_empty());
    assert_eq!(found(AuditFilter { target: text("Deployments.ENABLED"), ..none() }).await, [2, 1]);
    assert_eq!(found(AuditFilter { target: text("D1"), ..none() }).await.len(), 1, "the device by its alias: its enrollment");
    assert_eq!(found(AuditFilter { request_id: text("r2"), ..none() }).await, [2]);
    assert_eq!(found(AuditFilter { text: text("\"ENABLED\":FALSE"), ..none() }).await, [1], "in before and after");
    assert_eq!(found(AuditFilter { from: Some(at(10)), to: Some(at(10)), ..none() }).await, [1], "both ends are in");
    assert!(found(AuditFilter { action: text("flag."), actor: text("anna"), from: Some(at(11)), ..none() }).await.is_empty());
    assert_eq!(found(none()).await.len(), first.len() + 2);
    let entry = whole(&db).await.remove(after as usize).entry;
    assert_eq!(
        (entry.address.as_deref(), entry.request_id.as_deref(), entry.actor_kind.as_str()),
        (Some("192.0.2.1"), Some("r1"), "person")
    );
}
