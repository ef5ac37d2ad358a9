//! The library of APKs, and uploads in parts.

use domain::apk::{Refusal, Signing, Verdict};
use domain::permits::Limit;
use domain::{ApkId, ApkUploadId, UserId};
use store::{AddApkOutcome, DeletedApk, NewApk, NewUpload, UploadsMax};
use test_database::TestDatabase;

use crate::common::{actions, at, console, enroll_many, strings, uuid};
use crate::deployment_rows::{PACKAGE, SIGNER, add_apk, deploy, deployment, insert, new_apk, new_deployment};

async fn add(db: &TestDatabase, new: &NewApk) -> AddApkOutcome {
    db.store().add_apk(new, &console(), at(5)).await.unwrap()
}

async fn allow(db: &TestDatabase, package: &str) {
    db.store().put_package(package, &strings(&[SIGNER]), "", &console(), at(0), 9).await.unwrap();
}

fn rollback(new: NewApk, of: u32) -> NewApk {
    NewApk { offer: domain::apk::Offer { rollback_of: Some(ApkId(uuid(of))), ..new.offer }, ..new }
}

#[tokio::test]
async fn an_apk_reads_back_as_it_was_added() {
    let db = TestDatabase::new().await;
    allow(&db, PACKAGE).await;
    let mut new = new_apk(1, PACKAGE, 10);
    new.icon = Some((vec![1, 2, 3], "image/png".into()));
    new.offer.signing = Signing { signers: strings(&["bb"]), lineage: strings(&[SIGNER]) };
    new.notes = "note".into();
    assert_eq!(add(&db, &new).await, AddApkOutcome::Added);
    let row = db.store().apk(new.id).await.unwrap().unwrap();
    assert_eq!((row.package.as_str(), row.version_code, row.sha256, row.size_bytes), (PACKAGE, 10, new.offer.sha256, 1000));
    assert_eq!((row.signers_sha256, row.lineage_sha256), (strings(&["bb"]), strings(&[SIGNER])));
    assert_eq!((row.has_icon, row.min_sdk, row.target_sdk, row.uploaded_by.as_str()), (true, Some(26), None, "console"));
    assert_eq!(row.native_abis, ["arm64-v8a", "x86"]);
    assert_eq!(db.store().apk_icon(new.id).await.unwrap(), Some((vec![1, 2, 3], "image/png".into())));
    assert_eq!(db.store().apk_icon(ApkId(uuid(9))).await.unwrap(), None);
}

#[tokio::test]
async fn the_rules_of_the_library_hold_against_what_is_stored() {
    let db = TestDatabase::new().await;
    assert!(matches!(add(&db, &new_apk(1, PACKAGE, 10)).await, AddApkOutcome::Refused(Refusal::UnknownPackage { .. })));
    let first = add_apk(&db, 1, 10).await;
    assert_eq!(add(&db, &NewApk { id: ApkId(uuid(2)), ..new_apk(1, PACKAGE, 10) }).await, AddApkOutcome::Existing(first), "the same file");
    assert_eq!(add(&db, &new_apk(2, PACKAGE, 10)).await, AddApkOutcome::Refused(Refusal::VersionTaken { version_code: 10, by: first }));
    let mut foreign = new_apk(2, PACKAGE, 11);
    foreign.offer.signing.signers = strings(&["bb"]);
    assert!(matches!(add(&db, &foreign).await, AddApkOutcome::Refused(Refusal::WrongSigner { .. })));
    let too_old = add(&db, &rollback(new_apk(2, PACKAGE, 9), 1)).await;
    assert_eq!(too_old, AddApkOutcome::Refused(Refusal::RollbackTooOld { version_code: 9, newest: 10 }));
    db.store().delete_apk(first, &console(), at(6)).await.unwrap();
    assert_eq!(add(&db, &rollback(new_apk(2, PACKAGE, 11), 1)).await, AddApkOutcome::Refused(Refusal::RollbackOfUnknown));
    // The version of a deleted file is free.
    assert_eq!(db.store().judge_apk(&new_apk(2, PACKAGE, 10).offer).await.unwrap(), Verdict::New);
    assert_eq!(add(&db, &new_apk(2, PACKAGE, 10)).await, AddApkOutcome::Added);
}

#[tokio::test]
async fn of_uploads_of_one_version_at_once_one_is_added() {
    let db = TestDatabase::new().await;
    allow(&db, PACKAGE).await;
    let (a, b, c) = (new_apk(1, PACKAGE, 10), new_apk(2, PACKAGE, 10), new_apk(3, PACKAGE, 10));
    let all = tokio::join!(add(&db, &a), add(&db, &b), add(&db, &c));
    let added = [&all.0, &all.1, &all.2].into_iter().filter(|outcome| **outcome == AddApkOutcome::Added).count();
    assert_eq!(added, 1, "{all:?}");
}

#[tokio::test]
async fn an_apk_in_use_is_not_deleted() {
    let db = TestDatabase::new().await;
    let store = db.store();
    let ids = enroll_many(&db, 1).await;
    let apk = add_apk(&db, 1, 10).await;
    let later = rollback(new_apk(2, PACKAGE, 11), 1);
    add(&db, &later).await;
    insert(&db, &new_deployment(50, apk, &ids), 0).await;
    store.add_agent_build(domain::AgentBuildId(uuid(60)), apk, "", 9, &console(), at(0)).await.unwrap();
    let kinds = async || store.apk_uses(apk).await.unwrap().into_iter().map(|one| one.kind).collect::<Vec<_>>();
    assert_eq!(kinds().await, ["agent_build", "deployment", "rollback"]);
    let delete = async |id| store.delete_apk(id, &console(), at(9)).await.unwrap();
    assert!(matches!(delete(apk).await, DeletedApk::InUse(uses) if uses.len() == 3));
    let kept = async || store.apks_kept().await.unwrap().into_iter().filter(|kept| kept.used).map(|kept| kept.id).collect::<Vec<_>>();
    assert_eq!(kept().await, [apk]);
    db.execute("UPDATE agent_build SET state = 'rolled_back', rollout_percent = 1, promoted_at = now(), promoted_by = 'x'").await;
    db.execute("UPDATE deployment SET state = 'finished', finished_at = now()").await;
    assert_eq!((kinds().await, kept().await), (strings(&["rollback"]), vec![apk]));
    assert_eq!(delete(later.id).await, DeletedApk::Deleted);
    assert!(kept().await.is_empty());
    assert_eq!(
        [delete(apk).await, delete(apk).await, delete(ApkId(uuid(9))).await],
        [DeletedApk::Deleted, DeletedApk::Unknown, DeletedApk::Unknown]
    );
    assert_eq!(store.apk(apk).await.unwrap().unwrap().deleted_at, Some(at(9)), "its row stays");
    let mut deleted = store.apks_deleted(&[apk, later.id, ApkId(uuid(9))]).await.unwrap();
    deleted.sort();
    assert_eq!(deleted, [apk, later.id]);
    assert_eq!(actions(&db).await.iter().filter(|action| *action == "apk.deleted").count(), 2);
}

#[tokio::test]
async fn a_deployment_and_a_deletion_at_once_do_not_both_succeed() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 1).await;
    deploy(&db, 1, &ids).await;
    for number in 2..8 {
        let apk = add_apk(&db, number, i64::from(number)).await;
        let new = new_deployment(50 + number, apk, &ids);
        let by = console();
        let (_, deleted) = tokio::join!(insert(&db, &new, 0), db.store().delete_apk(apk, &by, at(9)));
        let made = db.store().deployment(deployment(50 + number)).await.unwrap().is_some();
        assert_eq!(made, deleted.unwrap() != DeletedApk::Deleted);
    }
}

#[tokio::test]
async fn apks_come_newest_first_in_pages() {
    let db = TestDatabase::new().await;
    for number in 1..=3 {
        add_apk(&db, number, i64::from(number)).await;
    }
    allow(&db, "app.b").await;
    // Uploaded at the same time as the last.
    db.store().add_apk(&new_apk(4, "app.b", 1), &console(), at(3)).await.unwrap();
    add_apk(&db, 5, 5).await;
    db.store().delete_apk(ApkId(uuid(5)), &console(), at(9)).await.unwrap();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = db.store().apks_page(None, after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.uploaded_at, last.id));
        found.extend(page.iter().map(|apk| apk.id.0.as_u128()));
    }
    assert_eq!(found, [4, 3, 2, 1]);
    let of_one = db.store().apks_page(Some(PACKAGE), Some((at(3), ApkId(uuid(3)))), 9).await.unwrap();
    assert_eq!(of_one.iter().map(|apk| apk.id.0.as_u128()).collect::<Vec<_>>(), [2, 1]);
}

const MANY: UploadsMax = UploadsMax { all: 9, reserved: 0, per_owner: 9 };

fn upload(number: u32) -> NewUpload {
    NewUpload {
        id: ApkUploadId(uuid(number)),
        owner: UserId(uuid(1)),
        created_by: "anna".into(),
        file_name: "a.apk".into(),
        size_bytes: 100,
        sha256: None,
        rollback_of: None,
        notes: String::new(),
    }
}

#[tokio::test]
async fn uploads_under_way_are_limited() {
    let db = TestDatabase::new().await;
    let most = UploadsMax { all: 4, reserved: 1, per_owner: 2 };
    let begin = async |number| db.store().insert_upload(&upload(number), at(number.into()), most).await.unwrap();
    let all = tokio::join!(begin(1), begin(2), begin(3), begin(4));
    let begun = [all.0, all.1, all.2, all.3];
    assert_eq!(begun.iter().filter(|limit| limit.is_none()).count(), 2);
    assert!(begun.into_iter().flatten().all(|limit| limit == Limit::Principal), "{begun:?}");
    db.execute(&format!(
        "UPDATE apk_upload SET apk_id = '{}' WHERE upload_id = (SELECT min(upload_id::text)::uuid FROM apk_upload)",
        uuid(9)
    ))
    .await;
    assert_eq!(begin(5).await, None, "one that is over does not count");
    assert_eq!(begin(6).await, Some(Limit::Principal));
    let of = |number: u32, owner: u32| NewUpload { owner: UserId(uuid(owner)), ..upload(number) };
    let begin = async |new: NewUpload, most| db.store().insert_upload(&new, at(9), most).await.unwrap();
    assert_eq!(begin(of(7, 2), most).await, None, "another owner");
    assert_eq!(begin(of(8, 3), most).await, Some(Limit::Reserve));
    let unreserved = UploadsMax { reserved: 0, ..most };
    assert_eq!(begin(of(8, 3), unreserved).await, None);
    assert_eq!(begin(of(9, 4), unreserved).await, Some(Limit::Capacity));
    let numbers = |uploads: Vec<domain::apk::ApkUpload>| uploads.iter().map(|upload| upload.id.0.as_u128()).collect::<Vec<_>>();
    assert_eq!(numbers(db.store().uploads_under_way(None, 9).await.unwrap())[..2], [8, 7]);
    assert_eq!(numbers(db.store().uploads_under_way(Some(UserId(uuid(2))), 9).await.unwrap()), [7]);
    let idle = async |owner: Option<u32>, before| db.store().idle_upload(owner.map(|n| UserId(uuid(n))), at(before)).await.unwrap();
    assert_eq!(idle(Some(2), 9).await, None);
    assert_eq!(idle(Some(2), 10).await, Some(ApkUploadId(uuid(7))));
    assert_ne!(idle(None, 10).await, Some(ApkUploadId(uuid(7))), "the one that stands still the longest");
    db.store().touch_upload(ApkUploadId(uuid(7)), at(20)).await.unwrap();
    assert_eq!(idle(Some(2), 20).await, None);
}

#[tokio::test]
async fn a_part_is_taken_where_the_upload_ends() {
    let db = TestDatabase::new().await;
    let store = db.store();
    let id = ApkUploadId(uuid(1));
    assert_eq!(store.insert_upload(&upload(1), at(0), MANY).await.unwrap(), None);
    let part = async |offset, length, name, second| store.add_part(id, offset, length, name, at(second)).await.unwrap();
    let both = tokio::join!(part(0, 60, "a", 1), part(0, 60, "b", 1));
    assert!(matches!(both, (Some(60), None) | (None, Some(60))), "{both:?}");
    assert_eq!(part(50, 10, "c", 2).await, None, "it ends elsewhere");
    assert_eq!(part(60, 41, "c", 2).await, None, "that is more than the file");
    assert_eq!(part(60, 40, "c", 3).await, Some(100));
    let row = store.upload(id).await.unwrap().unwrap();
    assert_eq!((row.received, row.parts.len(), row.parts[1].as_str(), row.touched_at, row.created_at), (100, 2, "c", at(3), at(0)));
    assert!(store.stale_uploads(at(3), 9).await.unwrap().is_empty());
    assert_eq!(store.stale_uploads(at(4), 9).await.unwrap(), [id]);
    assert!(store.stale_uploads(at(4), 0).await.unwrap().is_empty());
    assert_eq!([store.delete_upload(id).await.unwrap(), store.delete_upload(id).await.unwrap()], [true, false]);
    assert!(store.upload(id).await.unwrap().is_none());
}

#[tokio::test]
async fn an_upload_knows_what_became_of_it_and_takes_no_more() {
    let db = TestDatabase::new().await;
    allow(&db, PACKAGE).await;
    let id = ApkUploadId(uuid(1));
    db.store().insert_upload(&upload(1), at(0), MANY).await.unwrap();
    db.store().add_part(id, 0, 50, "a", at(1)).await.unwrap();
    let new = NewApk { upload: Some(id), ..new_apk(7, PACKAGE, 10) };
    add(&db, &new).await;
    let row = db.store().upload(id).await.unwrap().unwrap();
    assert_eq!((row.apk, row.parts.len()), (Some(new.id), 0));
    assert_eq!(db.store().add_part(id, 50, 50, "b", at(2)).await.unwrap(), None);
    // The same file again leads to the one that is there.
    db.store().insert_upload(&upload(2), at(0), MANY).await.unwrap();
    let again = NewApk { id: ApkId(uuid(8)), upload: Some(ApkUploadId(uuid(2))), ..new_apk(7, PACKAGE, 10) };
    assert_eq!(add(&db, &again).await, AddApkOutcome::Existing(new.id));
    assert_eq!(db.store().upload(ApkUploadId(uuid(2))).await.unwrap().unwrap().apk, Some(new.id));
}
