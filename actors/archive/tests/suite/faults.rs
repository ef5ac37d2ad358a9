//! What a store does to archives, and what is told of it.

use std::sync::Arc;
use std::time::Duration;

use archive::{ArchiveError, Archives, Recorded, StoreProblem, WriteMode, Written};
use tempfile::TempDir;

use crate::common::{archives, name, rows_of, stored, verify, write};
use crate::faulty_store::{Fault, FaultyStore};

/// Archives with row groups of 50 rows.
fn small(store: &Arc<FaultyStore>, folder: &TempDir) -> Archives {
    archives(Arc::clone(store) as _, folder.path(), |settings| settings.row_group_rows = 50)
}

fn new() -> (Arc<FaultyStore>, TempDir) {
    (Arc::default(), tempfile::tempdir().unwrap())
}

#[tokio::test]
async fn one_altered_byte_is_found_wherever_it_is_and_its_row_group_is_named() {
    let (store, folder) = new();
    let archives = small(&store, &folder);
    let manifest = stored(&archives, &name(), vec![rows_of(1, 4, 40)]).await;
    verify(&archives, &name()).await.unwrap();
    assert_eq!(manifest.row_groups.len(), 4);
    let file = name().file_key();
    let mut start = 0;
    let mut places = vec![];
    for (place, group) in manifest.row_groups.iter().enumerate() {
        places.extend([start, start + group.bytes / 2, start + group.bytes - 1].map(|byte| (byte, format!("row group {place} "))));
        start += group.bytes;
    }
    places.extend([start, manifest.bytes - 1].map(|byte| (byte, "the footer ".to_owned())));
    for (byte, part) in places {
        let flip = |bytes: &mut Vec<u8>| bytes[byte as usize] ^= 1;
        store.alter(&file, flip).await;
        let told = verify(&archives, &name()).await.unwrap_err();
        let words = told.to_string();
        assert!(told.is_damage() && words.starts_with("heartbeats/2026-09-01.parquet: byte digest differs: "), "{words}");
        assert_eq!(words.matches(" is damaged").count(), 1, "{words}");
        assert!(words.contains(&format!("; {part}")), "byte {byte}: {words}");
        assert!(archives.rows(&name(), None).await.is_err(), "nothing is restored from it");
        store.alter(&file, flip).await;
    }
    verify(&archives, &name()).await.unwrap();
}

#[tokio::test]
async fn a_manifest_that_does_not_fit_is_told_by_what_differs() {
    let (store, folder) = new();
    let archives = small(&store, &folder);
    stored(&archives, &name(), vec![rows_of(1, 2, 40)]).await;
    let manifest = name().manifest_key();
    let whole = archives.manifest(&name()).await.unwrap().unwrap();
    let with = |change: &dyn Fn(&mut archive::Manifest)| {
        let mut changed = whole.clone();
        change(&mut changed);
        serde_json::to_vec(&changed).unwrap()
    };
    for (json, words) in [
        (with(&|manifest| manifest.rows_sha256 = "00".repeat(32)), "parquet: row digest "),
        (with(&|manifest| manifest.last_at = manifest.first_at), "parquet: rows of "),
        (with(&|manifest| manifest.bytes += 1), "json: row groups of "),
        (with(&|manifest| manifest.columns[6].kind = "double".into()), "parquet: column "),
        (with(&|manifest| drop(manifest.columns.pop())), " columns instead of "),
        (with(&|manifest| manifest.columns[6].kind = "colour".into()), " has the unknown type colour"),
        (with(&|manifest| manifest.schema_version = 2), "json: schema version 2 is newer than 1"),
        (with(&|manifest| manifest.file = "heartbeats/2026-09-02.parquet".into()), "json: is the manifest of heartbeats/2026-09-02"),
        (b"{".to_vec(), "json: no manifest: "),
    ] {
        store.alter(&manifest, |bytes| *bytes = json).await;
        let told = verify(&archives, &name()).await.unwrap_err();
        assert!(told.is_damage() && told.to_string().contains(words), "{words}: {told}");
    }
}

#[tokio::test]
async fn a_file_that_is_gone_cut_or_lengthened_is_told() {
    let (store, folder) = new();
    let archives = small(&store, &folder);
    let whole = stored(&archives, &name(), vec![rows_of(1, 2, 40)]).await;
    let file = name().file_key();
    store.alter(&file, |bytes| bytes.truncate(100)).await;
    assert_eq!(verify(&archives, &name()).await.unwrap_err().to_string(), format!("{file}: 100 bytes instead of {}", whole.bytes));
    store.alter(&file, |bytes| bytes.resize(whole.bytes as usize + 1, 0)).await;
    assert!(verify(&archives, &name()).await.unwrap_err().to_string().contains(&format!("{} bytes instead of", whole.bytes + 1)));
    object_store::ObjectStoreExt::delete(&store.held, &object_store::path::Path::from(file.as_str())).await.unwrap();
    let told = verify(&archives, &name()).await.unwrap_err();
    assert!(told.is_damage() && told.to_string() == format!("{file}: not in the store"), "{told}");
    assert_eq!(archives.list("heartbeats").await.unwrap()[0].bytes, None);
}

#[tokio::test]
async fn a_store_that_takes_nothing_leaves_nothing_and_its_error_says_why() {
    let (store, folder) = new();
    let archives = small(&store, &folder);
    for (fault, wanted) in
        [(Fault::Full, StoreProblem::Full), (Fault::ReadOnly, StoreProblem::ReadOnly), (Fault::Gone, StoreProblem::Unreachable)]
    {
        store.begin(fault);
        // `Gone` fails already when it is looked whether the archive exists.
        let told = write(&archives, &name(), vec![rows_of(1, 2, 40)], WriteMode::Create).await.unwrap_err();
        assert!(matches!(&told, ArchiveError::Store { problem, .. } if *problem == wanted), "{told}");
        assert!(told.is_outage() && !told.is_damage(), "{told}");
        store.end();
        assert_eq!(store.keys().await, Vec::<String>::new());
    }
    stored(&archives, &name(), vec![rows_of(1, 2, 40)]).await;
    assert_eq!(store.keys().await, [name().manifest_key(), name().file_key()]);
    assert_eq!(std::fs::read_dir(&archives.settings().scratch_dir).unwrap().count(), 0, "no file is left on the disk");
}

#[tokio::test]
async fn a_disk_that_fails_is_told_by_its_folder() {
    let (store, folder) = new();
    let archives = small(&store, &folder);
    stored(&archives, &name(), vec![rows_of(1, 2, 40)]).await;
    let scratch = archives.settings().scratch_dir.clone();
    std::fs::remove_dir(&scratch).unwrap();
    // Made again where it is missing, and in the way of a file it cannot be.
    verify(&archives, &name()).await.unwrap();
    std::fs::remove_dir(&scratch).unwrap();
    std::fs::write(&scratch, b"").unwrap();
    assert!(archives.problem().is_some_and(|problem| problem.starts_with(scratch.to_str().unwrap())));
    for told in [
        verify(&archives, &name()).await.unwrap_err(),
        write(&archives, &name(), vec![rows_of(1, 2, 40)], WriteMode::Replace).await.unwrap_err(),
    ] {
        assert!(matches!(told, ArchiveError::Disk { .. }) && told.is_outage() && !told.is_damage(), "{told}");
        assert!(told.to_string().starts_with(scratch.to_str().unwrap()), "{told}");
    }
}

#[tokio::test]
async fn a_slow_store_is_waited_for_up_to_the_timeout_of_each_answer_and_then_keeps_what_it_had() {
    let (store, folder) = new();
    let patient = small(&store, &folder);
    stored(&patient, &name(), vec![rows_of(1, 2, 40)]).await;
    store.begin(Fault::Slow(Duration::from_millis(30)));
    verify(&patient, &name()).await.unwrap();
    let written = write(&patient, &name(), vec![rows_of(1, 3, 40)], WriteMode::Replace).await.unwrap();
    assert_eq!(written.manifest().rows, 120);
    let hasty = archives(Arc::clone(&store) as _, folder.path(), |settings| settings.timeout = Duration::from_millis(5));
    for told in
        [verify(&hasty, &name()).await.unwrap_err(), write(&hasty, &name(), vec![rows_of(1, 4, 40)], WriteMode::Replace).await.unwrap_err()]
    {
        assert!(matches!(told, ArchiveError::TimedOut { .. }) && told.is_outage() && !told.is_damage(), "{told}");
    }
    store.end();
    assert_eq!(verify(&hasty, &name()).await.unwrap().rows, 120, "what was whole before");
}

#[tokio::test]
async fn a_store_that_answers_nothing_is_given_up() {
    let (store, folder) = new();
    stored(&small(&store, &folder), &name(), vec![rows_of(1, 2, 40)]).await;
    let hasty = archives(Arc::clone(&store) as _, folder.path(), |settings| settings.timeout = Duration::from_millis(20));
    store.begin(Fault::Silent);
    for told in [verify(&hasty, &name()).await.unwrap_err(), write(&hasty, &name(), vec![], WriteMode::Replace).await.unwrap_err()] {
        assert!(matches!(told, ArchiveError::TimedOut { .. }) && told.is_outage(), "{told}");
        assert!(told.to_string().contains("within 20 ms (archive.timeout_ms)"), "{told}");
    }
}

#[tokio::test]
async fn a_store_that_keeps_less_than_it_says_is_noticed_before_the_archive_counts() {
    let (store, folder) = new();
    let archives = small(&store, &folder);
    store.begin(Fault::Truncating);
    let told = write(&archives, &name(), vec![rows_of(1, 2, 40)], WriteMode::Create).await.unwrap_err();
    assert!(told.is_damage() && told.to_string().contains("the store kept "), "{told}");
    store.end();
    assert_eq!(store.keys().await, Vec::<String>::new());
}

#[tokio::test]
async fn an_older_version_that_the_store_answers_is_noticed() {
    let (store, folder) = new();
    let archives = small(&store, &folder);
    stored(&archives, &name(), vec![rows_of(1, 2, 40)]).await;
    let older = store.snapshot().await;
    let written = write(&archives, &name(), vec![rows_of(1, 3, 40)], WriteMode::Replace).await.unwrap();
    let recorded = Recorded::from(written.manifest());
    archives.verify(&name(), Some(&recorded), &|_| {}).await.unwrap();

    store.begin(Fault::Older(Arc::clone(&older)));
    verify(&archives, &name()).await.unwrap();
    let told = archives.verify(&name(), Some(&recorded), &|_| {}).await.unwrap_err();
    assert!(told.is_damage() && told.to_string().starts_with("heartbeats/2026-09-01.json: is of another version: 80 rows"), "{told}");
    assert!(archives.rows(&name(), None).await.is_ok());
    let told = archives.rows(&name(), Some(&recorded)).await.err().unwrap();
    assert!(told.is_damage() && told.to_string().starts_with("heartbeats/2026-09-01.json: is of another version: 80 rows"), "{told}");
    store.end();

    // Only the file is the older one.
    let bytes = object_store::ObjectStoreExt::get(&*older, &object_store::path::Path::from(name().file_key())).await.unwrap();
    let bytes = bytes.bytes().await.unwrap().to_vec();
    store.alter(&name().file_key(), |now| *now = bytes).await;
    let told = archives.verify(&name(), Some(&recorded), &|_| {}).await.unwrap_err();
    assert!(told.is_damage() && told.to_string().starts_with("heartbeats/2026-09-01.parquet: "), "{told}");
}

#[tokio::test]
async fn what_is_there_stays_unless_it_is_to_be_replaced_and_then_until_the_new_one_is_whole() {
    let (store, folder) = new();
    let archives = small(&store, &folder);
    let first = stored(&archives, &name(), vec![rows_of(1, 2, 40)]).await;
    let again = write(&archives, &name(), vec![rows_of(1, 3, 40)], WriteMode::Create).await.unwrap();
    assert_eq!(again, Written::Exists(first.clone()));
    for fault in [Fault::Full, Fault::ReadOnly, Fault::Truncating] {
        store.begin(fault);
        write(&archives, &name(), vec![rows_of(1, 3, 40)], WriteMode::Replace).await.unwrap_err();
        store.end();
        assert_eq!(verify(&archives, &name()).await.unwrap(), first);
    }
    // Rows that cannot be archived.
    let twice = vec![rows_of(1, 2, 40), rows_of(2, 1, 1)];
    let told = write(&archives, &name(), twice, WriteMode::Replace).await.unwrap_err();
    assert!(matches!(told, ArchiveError::Rows(_)) && told.to_string().contains("row 80 is not behind"), "{told}");
    assert_eq!(verify(&archives, &name()).await.unwrap(), first);

    let second = write(&archives, &name(), vec![rows_of(1, 3, 40)], WriteMode::Replace).await.unwrap();
    assert_eq!((second.manifest().rows, verify(&archives, &name()).await.unwrap().rows), (120, 120));
    assert_eq!(store.keys().await, [name().manifest_key(), name().file_key()]);
}

#[tokio::test]
async fn a_file_without_a_manifest_is_no_archive_and_in_nobodys_way() {
    let (store, folder) = new();
    let archives = small(&store, &folder);
    stored(&archives, &name(), vec![rows_of(1, 2, 40)]).await;
    let manifest = object_store::path::Path::from(name().manifest_key());
    object_store::ObjectStoreExt::delete(&store.held, &manifest).await.unwrap();
    assert!(archives.list("heartbeats").await.unwrap().is_empty());
    assert!(matches!(verify(&archives, &name()).await, Err(ArchiveError::Missing { .. })));
    let written = write(&archives, &name(), vec![rows_of(1, 3, 40)], WriteMode::Create).await.unwrap();
    assert!(matches!(written, Written::Stored(_)));
    assert_eq!(verify(&archives, &name()).await.unwrap().rows, 120);
}

#[tokio::test]
async fn a_damaged_archive_that_is_set_aside_is_in_nobodys_way() {
    let (store, folder) = new();
    let archives = small(&store, &folder);
    stored(&archives, &name(), vec![rows_of(1, 2, 40)]).await;
    store.alter(&name().manifest_key(), |bytes| bytes.truncate(1)).await;
    assert!(write(&archives, &name(), vec![rows_of(1, 3, 40)], WriteMode::Create).await.unwrap_err().is_damage());
    let aside = archives.set_aside(&name()).await.unwrap();
    assert!(aside.starts_with("damaged/heartbeats/2026-09-01."), "{aside}");
    assert_eq!(store.keys().await, [format!("{aside}.json"), format!("{aside}.parquet")]);
    stored(&archives, &name(), vec![rows_of(1, 3, 40)]).await;
    assert_eq!(verify(&archives, &name()).await.unwrap().rows, 120);
    assert_eq!(archives.list("heartbeats").await.unwrap().len(), 1);
    // There is nothing left to be moved the second time.
    archives.delete(&name()).await.unwrap();
    archives.set_aside(&name()).await.unwrap();
    assert_eq!(store.keys().await.len(), 2);
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_told_when_it_is_used_and_used_once_it_can_be() {
    let folder = tempfile::tempdir().unwrap();
    let settings = archive::ArchiveSettings::in_folder(&folder.path().join("disk"));
    std::fs::write(folder.path().join("disk"), b"").unwrap();
    let archives = Archives::open(settings).unwrap();
    let problem = archives.problem().unwrap();
    assert!(problem.contains("archive.url"), "{problem}");
    let told = write(&archives, &name(), vec![rows_of(1, 1, 4)], WriteMode::Create).await.unwrap_err();
    assert!(told.is_outage() && !told.is_damage(), "{told}");
    std::fs::remove_file(folder.path().join("disk")).unwrap();
    stored(&archives, &name(), vec![rows_of(1, 1, 4)]).await;
    assert_eq!(archives.problem(), None);
    let settings = archive::ArchiveSettings { url: "ftp://elsewhere".into(), ..archive::ArchiveSettings::in_folder(folder.path()) };
    assert!(Archives::open(settings).is_err(), "what can be told from the setting is told at the start");
}

#[tokio::test]
async fn what_a_killed_writer_left_is_removed_after_a_day() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = archive::ArchiveSettings::in_folder(folder.path());
    settings.row_group_rows = 50;
    let incoming = folder.path().join("archive/incoming/heartbeats");
    let archives = Archives::open(settings).unwrap();
    std::fs::create_dir_all(&incoming).unwrap();
    // One that was being uploaded, one that waited for its place, and a new one.
    let now: domain::Timestamp = std::time::UNIX_EPOCH.into();
    for (file, hours) in [("2026-08-01.x.parquet#1", 30), ("2026-08-01.y.parquet", 30), ("2026-08-01.z.parquet", 1)] {
        let made = std::fs::File::create(incoming.join(file)).unwrap();
        let age = crate::common::at(100_000) - now - chrono::TimeDelta::hours(hours);
        made.set_modified(std::time::UNIX_EPOCH + age.to_std().unwrap()).unwrap();
    }
    stored(&archives, &name(), vec![rows_of(1, 2, 40)]).await;
    let left: Vec<_> = std::fs::read_dir(&incoming).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(left, ["2026-08-01.z.parquet"]);
    verify(&archives, &name()).await.unwrap();
}
