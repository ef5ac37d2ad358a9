//! One device's rows out of archives: the right ones, and little else is read.

use std::sync::Arc;
use std::time::Duration;

use archive::{ArchiveError, ArchiveName, ArchiveSettings, Archives, DeviceDay, ReadBudget, WriteMode};
use chrono::{Days, TimeDelta};
use domain::archive::{Cell, RecordBatch, heartbeats};
use domain::{DeviceId, Timestamp};
use futures_util::TryStreamExt;
use tempfile::TempDir;

use crate::common::{archives, at, day, device, row, rows_of, stored, write};
use crate::faulty_store::{Fault, FaultyStore};

struct Fixture {
    store: Arc<FaultyStore>,
    archives: Archives,
    folder: TempDir,
}

impl Fixture {
    fn with(change: impl FnOnce(&mut ArchiveSettings)) -> Self {
        let (store, folder) = (Arc::new(FaultyStore::default()), tempfile::tempdir().unwrap());
        let archives = archives(Arc::clone(&store) as _, folder.path(), change);
        Self { store, archives, folder }
    }

    /// The rows of a device, on two days.
    async fn read(&self, number: u32) -> Result<Vec<DeviceDay>, ArchiveError> {
        self.read_between(number, at(0), at(2 * 86_400)).await
    }

    async fn read_between(&self, number: u32, from: Timestamp, to: Timestamp) -> Result<Vec<DeviceDay>, ArchiveError> {
        let days = self.archives.list("heartbeats").await?.into_iter().filter_map(|listed| listed.name.day());
        self.archives.device_rows(DeviceId(device(number)), from, to, days, &self.archives.read_budget()).try_collect().await
    }
}

/// The rows of a day after the first.
fn rows_on(days: u64, first: u32, devices: u32, each: u32) -> RecordBatch {
    let schema = heartbeats();
    let mut batch = RecordBatch::with_capacity(Arc::clone(&schema), (devices * each) as usize);
    for number in first..first + devices {
        for bucket in 0..each {
            let bucket_at = at(i64::from(bucket) * 10) + TimeDelta::days(days as i64);
            let other = |name: &str| (name == "bucket_at").then_some(Cell::Timestamp(bucket_at));
            batch.push(row(&schema, number, bucket, other)).unwrap();
        }
    }
    batch
}

fn name_on(days: u64) -> ArchiveName {
    ArchiveName::heartbeats(day() + Days::new(days))
}

#[tokio::test]
async fn the_rows_of_a_device_come_by_day_and_pages_of_others_are_not_read() {
    // Forty devices in one row group of 80,000 rows: ten pages.
    let fixture = Fixture::with(|_| {});
    let manifest = stored(&fixture.archives, &name_on(0), vec![rows_of(1, 40, 2000)]).await;
    stored(&fixture.archives, &name_on(1), vec![rows_on(1, 1, 40, 50)]).await;
    assert_eq!(manifest.row_groups.len(), 1);
    for number in [1, 7, 20, 40] {
        let read = fixture.read(number).await.unwrap();
        assert_eq!(read.iter().map(|read| (read.day, read.batch.rows())).collect::<Vec<_>>(), [(day(), 2000), (day() + Days::new(1), 50)]);
        assert_eq!(read[0].batch, rows_of(number, 1, 2000), "device {number}");
        assert_eq!(read[1].batch, rows_on(1, number, 1, 50), "device {number}");
    }
    // What everybody's rows take is not fetched for one.
    fixture.store.read_bytes();
    fixture.read_between(7, at(0), at(86_400)).await.unwrap();
    let read = fixture.store.read_bytes();
    assert!(read > 0 && read < manifest.row_groups[0].bytes / 2, "{read} of {} bytes", manifest.row_groups[0].bytes);
}

#[tokio::test]
async fn whole_row_groups_are_left_out_and_rows_across_their_borders_are_not() {
    let fixture = Fixture::with(|settings| settings.row_group_rows = 300);
    let manifest = stored(&fixture.archives, &name_on(0), vec![rows_of(10, 40, 100)]).await;
    for number in [10, 12, 13, 49] {
        assert_eq!(fixture.read(number).await.unwrap()[0].batch, rows_of(number, 1, 100), "device {number}");
    }
    fixture.store.read_bytes();
    fixture.read(20).await.unwrap();
    assert!(fixture.store.read_bytes() < manifest.bytes / 5);

    let fixture = Fixture::with(|settings| settings.row_group_rows = 70);
    stored(&fixture.archives, &name_on(0), vec![rows_of(10, 4, 100)]).await;
    for number in 10..14 {
        assert_eq!(fixture.read(number).await.unwrap()[0].batch, rows_of(number, 1, 100), "device {number}");
    }
}

#[tokio::test]
async fn a_range_of_time_is_cut_out_and_days_without_rows_are_empty() {
    let fixture = Fixture::with(|settings| settings.row_group_rows = 300);
    stored(&fixture.archives, &name_on(0), vec![rows_of(1, 5, 100)]).await;
    stored(&fixture.archives, &name_on(1), vec![rows_on(1, 4, 2, 100)]).await;
    let read = fixture.read_between(3, at(200), at(500)).await.unwrap();
    assert_eq!((read.len(), read[0].batch.rows()), (1, 30));
    let first = domain::archive::heartbeat_at(&read[0].batch, 0).unwrap();
    assert_eq!((first.bucket_at, first.device_id), (at(200), DeviceId(device(3))));
    // Until midnight is not the next day.
    assert_eq!(fixture.read_between(3, at(0), at(86_400)).await.unwrap().len(), 1);
    let read = fixture.read(3).await.unwrap();
    assert_eq!(read.iter().map(|read| read.batch.rows()).collect::<Vec<_>>(), [100, 0]);
    for stranger in [0, 99] {
        assert_eq!(fixture.read(stranger).await.unwrap().iter().map(|read| read.batch.rows()).sum::<usize>(), 0);
    }
    assert!(fixture.read_between(3, at(-86_400), at(0)).await.unwrap().is_empty());
}

#[tokio::test]
async fn footers_are_kept_and_those_of_a_replaced_archive_are_not_used() {
    let fixture = Fixture::with(|settings| settings.row_group_rows = 300);
    stored(&fixture.archives, &name_on(0), vec![rows_of(1, 20, 100)]).await;
    fixture.store.read_bytes();
    fixture.read(2).await.unwrap();
    let first = fixture.store.read_bytes();
    fixture.read(2).await.unwrap();
    let again = fixture.store.read_bytes();
    assert!(again < first / 2, "{again} after {first} bytes");

    let other_node = archives(Arc::clone(&fixture.store) as _, fixture.folder.path(), |settings| settings.row_group_rows = 100);
    write(&other_node, &name_on(0), vec![rows_of(2, 1, 7)], WriteMode::Replace).await.unwrap();
    assert_eq!(fixture.read(2).await.unwrap()[0].batch, rows_of(2, 1, 7));
}

#[tokio::test]
async fn a_footer_of_another_version_or_with_an_altered_byte_is_not_believed() {
    let fixture = Fixture::with(|settings| settings.footer_cache_bytes = 0);
    stored(&fixture.archives, &name_on(0), vec![rows_of(1, 20, 100)]).await;
    let file = name_on(0).file_key();
    fixture.store.alter(&file, |bytes| *bytes.iter_mut().nth_back(20).unwrap() ^= 1).await;
    let told = fixture.read(2).await.unwrap_err();
    assert!(told.is_damage() && told.to_string().contains("parquet: the footer is damaged or of another version"), "{told}");
    fixture.store.alter(&file, |bytes| bytes.truncate(bytes.len() - 1)).await;
    assert!(fixture.read(2).await.unwrap_err().is_damage());
}

#[tokio::test]
async fn a_day_whose_archive_is_gone_is_told_and_not_taken_for_one_without_rows() {
    let fixture = Fixture::with(|_| {});
    for days in 0..2 {
        stored(&fixture.archives, &name_on(days), vec![rows_on(days, 1, 3, 20)]).await;
    }
    let days = [0, 1].map(|days| day() + Days::new(days));
    let (budget, number) = (fixture.archives.read_budget(), DeviceId(device(2)));
    let read = || fixture.archives.device_rows(number, at(0), at(2 * 86_400), days, &budget).try_collect::<Vec<DeviceDay>>();
    assert_eq!(read().await.unwrap().len(), 2);
    fixture.archives.delete(&name_on(1)).await.unwrap();
    let told = read().await.unwrap_err();
    assert!(matches!(&told, ArchiveError::Missing { key } if *key == name_on(1).manifest_key()), "{told}");
    assert!(matches!(domain::ServiceError::from(told), domain::ServiceError::Unavailable));
}

#[tokio::test]
async fn the_limit_of_bytes_is_one_of_all_reads_of_a_request() {
    let fixture = Fixture::with(|_| {});
    let manifest = stored(&fixture.archives, &name_on(0), vec![rows_of(1, 3, 400)]).await;
    fixture.read(2).await.unwrap();
    fixture.store.read_bytes();
    fixture.read(2).await.unwrap();
    let once = fixture.store.read_bytes();
    let limited = archives(Arc::clone(&fixture.store) as _, fixture.folder.path(), |settings| {
        settings.read_bytes_max = manifest.footer.bytes + once + once / 2;
    });
    let number = DeviceId(device(2));
    let read = |budget: &Arc<ReadBudget>| limited.device_rows(number, at(0), at(86_400), [day()], budget).try_collect::<Vec<DeviceDay>>();
    let budget = limited.read_budget();
    read(&budget).await.unwrap();
    let told = read(&budget).await.unwrap_err();
    assert!(matches!(told, ArchiveError::TooManyBytes { .. }), "{told}");
    read(&limited.read_budget()).await.unwrap();
}

#[tokio::test]
async fn bytes_and_time_of_one_read_are_limited_and_the_limit_is_named() {
    let fixture = Fixture::with(|settings| settings.read_bytes_max = 3000);
    stored(&fixture.archives, &name_on(0), vec![rows_of(1, 3, 4000)]).await;
    let told = fixture.read(2).await.map(|read| read.len()).unwrap_err();
    assert!(told.to_string().contains("more than 3000 bytes (archive.read_limit_bytes)"), "{told}");
    assert!(matches!(domain::ServiceError::from(told), domain::ServiceError::Invalid(invalid) if invalid.field == "from"));

    let fixture = Fixture::with(|settings| settings.read_timeout = Duration::from_millis(20));
    stored(&fixture.archives, &name_on(0), vec![rows_of(1, 3, 40)]).await;
    fixture.store.begin(Fault::Silent);
    let told = fixture.read(2).await.unwrap_err();
    assert!(told.to_string().contains("longer than 20 ms (archive.read_timeout_ms)"), "{told}");
}
