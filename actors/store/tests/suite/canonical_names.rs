//! Names without a canonical form, as an earlier build leaves them: they get one, and none is lost.

use domain::access::Role;
use domain::device::DeviceListScope;
use domain::query::DeviceFilter;
use domain::{DeviceId, UserId};
use store::{Conflict, NameCollision, NewUser, StatusThresholds, StoreError};
use test_database::TestDatabase;

use crate::common::{add_user, at, console, device, enroll, enroll_device, new_device, strings, uuid};

fn collision(kind: &'static str, name: &str, first: &str) -> NameCollision {
    NameCollision { kind, name: name.into(), first: first.into() }
}

/// Accounts and devices as the build before stored them: it neither wrote canonical forms nor compared by them.
async fn stored_before(db: &TestDatabase) {
    for (number, name) in [(1, "Ömer"), (2, "O\u{308}mer"), (3, "anna"), (4, "adm\u{430}n\u{200b}")] {
        db.execute(&format!(
            "INSERT INTO app_user (user_id, username, password_bcrypt, role, created_at, password_changed_at)
             VALUES ('{}', '{name}', 'bcrypt', 'viewer', '2026-01-0{number}', '2026-01-01')",
            uuid(number)
        ))
        .await;
    }
    for (number, alias) in [(1, "a"), (2, "b"), (3, "c"), (4, "d")] {
        enroll_device(db, &new_device(number, alias), &["Till"], &["Käfer"], at(i64::from(number))).await;
    }
    for (number, alias) in [(1, "Kiosk-1"), (2, "kiosk-1"), (3, "KIOSK-1"), (4, "\u{200b}")] {
        db.execute(&format!("UPDATE device SET alias = '{alias}', tags = '{{Straße}}' WHERE device_id = '{}'", uuid(number))).await;
    }
}

#[tokio::test]
async fn names_of_an_earlier_build_get_a_form_and_collisions_are_told() {
    let db = TestDatabase::new().await;
    stored_before(&db).await;
    let forgotten: Vec<Option<String>> = db.values("SELECT alias_canonical FROM device ORDER BY device_id").await;
    assert_eq!(forgotten, [None, None, None, None], "a connection that does not keep forms has changed the aliases");

    // Two nodes that start at once: between them each is told once, or by both.
    let other = db.another_store(2);
    let (one, two) = tokio::join!(db.store().assign_canonical_names(), other.assign_canonical_names());
    let wanted =
        [collision("account", "O\u{308}mer", "Ömer"), collision("alias", "kiosk-1", "Kiosk-1"), collision("alias", "KIOSK-1", "Kiosk-1")];
    assert_eq!((one.unwrap(), two.unwrap()), (wanted.to_vec(), wanted.to_vec()), "told at every start while it lasts");

    // Everybody is found by the name that they have, and the first also however it is written.
    let user = async |name: &str| db.store().user_by_name(name).await.unwrap().map(|user| user.id);
    for (number, name) in [(1, "Ömer"), (1, "ömer"), (2, "O\u{308}mer"), (3, "ANNA"), (4, "adm\u{430}n\u{200b}")] {
        assert_eq!(user(name).await, Some(UserId(uuid(number))), "{name}");
    }
    let found = db.store().devices_by_alias(&strings(&["Kiosk-1", "kiosk-1", "KIOSK-1", "kIOSK-1"])).await.unwrap();
    assert_eq!(["Kiosk-1", "kiosk-1", "KIOSK-1", "kIOSK-1"].map(|alias| found[alias]), [1, 2, 3, 1].map(device));

    // Nobody new gets a name that is taken.
    let same = NewUser { id: UserId(uuid(9)), username: "ÖMER", password_bcrypt: "x", role: Role::Viewer };
    assert!(matches!(db.store().insert_user(same, &console(), at(0)).await, Err(StoreError::Conflict(Conflict::UsernameInUse))));

    // Once the first is renamed, the next has the form.
    let mut work = db.store().device_work().await.unwrap();
    let record = work.device_records(&[device(1)]).await.unwrap().remove(&device(1)).unwrap();
    let renamed = domain::edit::Editable { alias: "front".into(), ..record.editable.clone() };
    work.edit(&[(&record, &renamed)], None, at(9)).await.unwrap();
    work.commit().await.unwrap();
    let told = db.store().assign_canonical_names().await.unwrap();
    assert_eq!(told[1..], [collision("alias", "KIOSK-1", "kiosk-1")]);
    assert_eq!(db.store().devices_by_alias(&strings(&["kIOSK-1"])).await.unwrap()["kIOSK-1"], device(2));
}

#[tokio::test]
async fn tags_are_found_however_they_are_written_before_and_after_they_have_a_form() {
    let db = TestDatabase::new().await;
    stored_before(&db).await;
    let thresholds = StatusThresholds::at(at(0), &crate::common::policy());
    let found = async |filter: DeviceFilter| -> Vec<DeviceId> {
        db.store().device_ids(&filter, DeviceListScope::Active, thresholds, 9).await.unwrap()
    };
    let tag = |tag: &str| DeviceFilter { tag: Some(tag.into()), ..Default::default() };
    assert_eq!(found(tag("Straße")).await.len(), 4);
    assert!(found(tag("STRASSE")).await.is_empty(), "not yet");
    db.store().assign_canonical_names().await.unwrap();
    for written in ["Straße", "STRASSE", "strasse"] {
        assert_eq!(found(tag(written)).await.len(), 4, "{written}");
    }
    assert_eq!(found(DeviceFilter { group: Some("KA\u{308}FER".into()), ..Default::default() }).await.len(), 4);
    assert!(found(tag("Till")).await.is_empty(), "its form has gone with it");
}

#[tokio::test]
async fn a_device_keeps_its_name_in_every_change_of_case() {
    let db = TestDatabase::new().await;
    let id = enroll(&db, 1, "kiosk").await;
    enroll(&db, 2, "shop").await;
    let rename = async |alias: &str| {
        let mut work = db.store().device_work().await.unwrap();
        let record = work.device_records(&[id]).await.unwrap().remove(&id).unwrap();
        let renamed = domain::edit::Editable { alias: alias.into(), ..record.editable.clone() };
        work.edit(&[(&record, &renamed)], None, at(9)).await?;
        work.commit().await
    };
    rename("KIOSK").await.unwrap();
    assert!(matches!(rename("SHOP").await, Err(StoreError::Conflict(Conflict::AliasInUse))));
    let found = db.store().devices_by_alias(&strings(&["Kiosk"])).await.unwrap();
    assert_eq!(found["Kiosk"], id);
}

#[tokio::test]
async fn accounts_that_differ_in_case_or_composition_are_one() {
    let db = TestDatabase::new().await;
    let id = add_user(&db, 1, "Élodie", Role::Viewer).await;
    for name in ["Élodie", "élodie", "E\u{301}LODIE", " ÉLODIE "] {
        assert_eq!(db.store().user_by_name(name).await.unwrap().map(|user| user.id), Some(id), "{name}");
        let same = NewUser { id: UserId(uuid(2)), username: name, password_bcrypt: "x", role: Role::Admin };
        let refused = db.store().insert_user(same, &console(), at(0)).await;
        assert!(matches!(refused, Err(StoreError::Conflict(Conflict::UsernameInUse))), "{name}");
    }
    add_user(&db, 3, "admin", Role::Admin).await;
    assert!(db.store().user_by_name("adm\u{130}n").await.unwrap().is_none(), "another letter");
}
