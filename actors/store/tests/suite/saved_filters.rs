use domain::access::Role;
use domain::device::{AppStatus, Connectivity};
use domain::query::DeviceFilter;
use domain::saved_filter::SavedFilter;
use domain::{SavedFilterId, UserId};
use store::{Conflict, StoreError};
use test_database::TestDatabase;

use crate::common::{actions_after, add_user, at, console, uuid};

fn filter(number: u32, owner: UserId, name: &str, shared: bool) -> SavedFilter {
    SavedFilter {
        id: SavedFilterId(uuid(number)),
        owner,
        owner_name: String::new(),
        name: name.into(),
        filter: DeviceFilter {
            connectivity: Some(Connectivity::Offline),
            tag: Some("t\"'".into()),
            battery_below: Some(20),
            app_status: Some(AppStatus::Down),
            ..DeviceFilter::default()
        },
        shared,
        created_at: at(1),
        changed_at: at(1),
    }
}

async fn insert(db: &TestDatabase, filter: &SavedFilter, owned_max: i64) -> Result<bool, StoreError> {
    db.store().insert_saved_filter(filter, owned_max, &console()).await
}

async fn users(db: &TestDatabase) -> (UserId, UserId) {
    (add_user(db, 1, "anna", Role::Viewer).await, add_user(db, 2, "bob", Role::Viewer).await)
}

#[tokio::test]
async fn people_see_their_own_filters_and_shared_ones() {
    let db = TestDatabase::new().await;
    let (anna, bob) = users(&db).await;
    for one in [filter(10, anna, "b", false), filter(11, anna, "A b", true), filter(12, bob, "a", false), filter(13, bob, "c", true)] {
        assert!(insert(&db, &one, 9).await.unwrap());
    }
    let names = async |viewer, limit| {
        let found = db.store().saved_filters(viewer, limit).await.unwrap();
        found.into_iter().map(|filter| (filter.owner_name, filter.name)).collect::<Vec<_>>()
    };
    let own = |owner: &str, name: &str| (owner.to_owned(), name.to_owned());
    assert_eq!(names(anna, 9).await, [own("anna", "A b"), own("anna", "b"), own("bob", "c")]);
    assert_eq!(names(bob, 2).await, [own("bob", "a"), own("bob", "c")]);
    let seen = async |number, viewer| db.store().saved_filter(SavedFilterId(uuid(number)), viewer).await.unwrap();
    assert!(seen(10, bob).await.is_none(), "it is not shared");
    assert_eq!(seen(11, bob).await.unwrap().filter, filter(11, anna, "A b", true).filter);
    assert!(seen(99, anna).await.is_none());
}

#[tokio::test]
async fn an_owner_has_a_limit_also_at_once_and_names_of_their_own() {
    let db = TestDatabase::new().await;
    let (anna, bob) = users(&db).await;
    let (a, b, c) = (filter(10, anna, "a", false), filter(11, anna, "b", false), filter(12, anna, "c", false));
    let all = tokio::join!(insert(&db, &a, 2), insert(&db, &b, 2), insert(&db, &c, 2));
    assert_eq!([all.0, all.1, all.2].map(Result::unwrap).into_iter().filter(|kept| *kept).count(), 2);
    let name: String = db.value("SELECT max(name) FROM saved_filter").await;
    let same = insert(&db, &filter(13, anna, &name, false), 9).await;
    assert!(matches!(same, Err(StoreError::Conflict(Conflict::FilterNameInUse))), "{same:?}");
    assert!(insert(&db, &filter(14, bob, &name, false), 1).await.unwrap());
}

#[tokio::test]
async fn a_filter_is_changed_and_deleted_by_its_owner() {
    let db = TestDatabase::new().await;
    let (anna, bob) = users(&db).await;
    insert(&db, &filter(10, anna, "a", true), 9).await.unwrap();
    insert(&db, &filter(11, anna, "b", true), 9).await.unwrap();
    let before = db.store().audit_head().await.unwrap().seq;
    let update = async |filter: &SavedFilter| db.store().update_saved_filter(filter, &console()).await;
    assert!(!update(&filter(10, bob, "x", true)).await.unwrap(), "it is somebody else's");
    let taken = update(&filter(10, anna, "b", true)).await;
    assert!(matches!(taken, Err(StoreError::Conflict(Conflict::FilterNameInUse))), "{taken:?}");
    assert!(update(&filter(10, anna, "a", true)).await.unwrap());
    assert!(actions_after(&db, before).await.is_empty(), "nothing changed");
    let changed = SavedFilter { changed_at: at(5), filter: DeviceFilter::default(), ..filter(10, anna, "new", false) };
    assert!(update(&changed).await.unwrap());
    let stored = db.store().saved_filter(changed.id, anna).await.unwrap().unwrap();
    assert_eq!(stored, SavedFilter { owner_name: "anna".into(), ..changed.clone() });
    let delete = async |owner| db.store().delete_saved_filter(changed.id, owner, &console(), at(6)).await.unwrap();
    assert_eq!([delete(bob).await, delete(anna).await, delete(anna).await], [false, true, false]);
    assert_eq!(actions_after(&db, before).await, ["filter.changed", "filter.removed"]);
}
