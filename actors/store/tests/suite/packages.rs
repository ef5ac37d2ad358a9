use store::RemovePackageOutcome;
use test_database::TestDatabase;

use crate::common::{actions, at, console, strings};
use crate::deployment_rows::{PACKAGE, SIGNER, add_apk};

async fn put(db: &TestDatabase, package: &str, note: &str, second: i64, most: i64) -> Option<bool> {
    db.store().put_package(package, &strings(&[SIGNER]), note, &console(), at(second), most).await.unwrap()
}

#[tokio::test]
async fn packages_are_allowed_up_to_the_limit_and_changed_beyond_it() {
    let db = TestDatabase::new().await;
    assert_eq!(put(&db, "b.b", "", 0, 2).await, Some(true));
    assert_eq!(put(&db, "a.a", "", 0, 2).await, Some(true));
    assert_eq!(put(&db, "c.c", "", 0, 2).await, None);
    assert_eq!(put(&db, "a.a", "new note", 5, 2).await, Some(false));
    let names: Vec<_> = db.store().packages().await.unwrap().into_iter().map(|row| (row.package, row.note, row.updated_at)).collect();
    assert_eq!(names, [("a.a".to_owned(), "new note".to_owned(), at(5)), ("b.b".to_owned(), String::new(), at(0))]);
    assert!(db.store().package("c.c").await.unwrap().is_none());
    assert_eq!(actions(&db).await, ["package.allowed", "package.allowed", "package.changed"]);
}

#[tokio::test]
async fn a_package_with_apks_stays() {
    let db = TestDatabase::new().await;
    let (one, two) = (add_apk(&db, 1, 10).await, add_apk(&db, 2, 11).await);
    let remove = async || db.store().delete_package(PACKAGE, &console(), at(9)).await.unwrap();
    assert_eq!(db.store().package(PACKAGE).await.unwrap().unwrap().apks, 2);
    assert_eq!(remove().await, RemovePackageOutcome::HasApks(2));
    for apk in [one, two] {
        db.store().delete_apk(apk, &console(), at(8)).await.unwrap();
    }
    assert_eq!(db.store().package(PACKAGE).await.unwrap().unwrap().apks, 0, "deleted APKs do not count");
    assert_eq!([remove().await, remove().await], [RemovePackageOutcome::Removed, RemovePackageOutcome::Unknown]);
    assert_eq!(actions(&db).await.iter().filter(|action| *action == "package.removed").count(), 1);
}
