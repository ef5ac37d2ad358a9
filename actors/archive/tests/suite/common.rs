//! Rows, stores and settings that the tests share.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use archive::{ArchiveError, ArchiveName, ArchiveSettings, Archives, Manifest, WriteMode, Written};
use chrono::NaiveDate;
use domain::Timestamp;
use domain::archive::{Cell, ColumnType, RecordBatch, TableSchema, heartbeats};
use futures_util::stream;
use object_store::ObjectStore;
use objects::Objects;
use uuid::Uuid;

/// A day of heartbeats.
pub(crate) fn day() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 9, 1).unwrap()
}

/// The archive of that day.
pub(crate) fn name() -> ArchiveName {
    ArchiveName::heartbeats(day())
}

/// A time, in seconds after the day began.
pub(crate) fn at(second: i64) -> Timestamp {
    day().and_time(chrono::NaiveTime::MIN).and_utc() + chrono::TimeDelta::seconds(second)
}

/// The id of a device; that of the documented queries has number 1.
pub(crate) fn device(number: u32) -> Uuid {
    Uuid::from_u128(0x0198_f2b4_7c1e_7d5a_9f00_0000_0000_0000 + u128::from(number))
}

/// Archives in a store, with files that are written in `folder`.
pub(crate) fn archives(store: Arc<dyn ObjectStore>, folder: &Path, change: impl FnOnce(&mut ArchiveSettings)) -> Archives {
    let mut settings = ArchiveSettings::in_folder(folder);
    change(&mut settings);
    Archives::over(Objects { store, folder: None }, settings)
}

/// Heartbeats of devices from `first` on, every ten seconds.
pub(crate) fn rows_of(first: u32, devices: u32, each: u32) -> RecordBatch {
    let schema = heartbeats();
    let mut batch = RecordBatch::with_capacity(Arc::clone(&schema), (devices * each) as usize);
    for number in first..first + devices {
        for bucket in 0..each {
            batch.push(row(&schema, number, bucket, |_| None)).unwrap();
        }
    }
    batch
}

/// The values of a heartbeat, those aside that `other` gives by the name of their column.
pub(crate) fn row<'a>(schema: &'a TableSchema, number: u32, bucket: u32, other: impl Fn(&str) -> Option<Cell<'a>>) -> Vec<Cell<'a>> {
    let second = i64::from(bucket) * 10;
    // Values without a pattern, as times of receipt have none.
    let seed =
        i64::from(number.wrapping_mul(31).wrapping_add(bucket).wrapping_mul(2_654_435_761).rotate_left(15).wrapping_mul(2_246_822_519));
    let value = |name: &str, kind: ColumnType| match (name, kind) {
        ("device_id", _) => Cell::Uuid(device(number)),
        ("bucket_at", _) => Cell::Timestamp(at(second)),
        ("received_at", _) => Cell::Timestamp(at(second) + chrono::TimeDelta::microseconds(seed.rem_euclid(9_999_999))),
        ("transport", _) => Cell::String(if seed % 5 == 0 { "cellular" } else { "wifi" }),
        ("device_time", _) if seed % 7 == 0 => Cell::Null,
        (_, ColumnType::Timestamp) => Cell::Timestamp(at(second) + chrono::TimeDelta::milliseconds(seed.rem_euclid(9_999))),
        ("clock_rejected", _) => Cell::Boolean(false),
        (_, ColumnType::Boolean) => Cell::Boolean(seed % 3 == 0),
        ("cpu_load_pct", _) if number == 2 => Cell::Null,
        ("cpu_load_pct" | "battery_pct", _) => Cell::Integer(seed.rem_euclid(101)),
        (_, ColumnType::Int16) => Cell::Integer(seed.rem_euclid(100)),
        (_, ColumnType::Int32 | ColumnType::Int64) => Cell::Integer(second + seed.rem_euclid(50)),
        (_, ColumnType::Float) => Cell::Float((seed.rem_euclid(300) as f32) / 10.0),
        (_, ColumnType::Double) => Cell::Double(seed as f64),
        (_, ColumnType::String) => Cell::String("1.2.3"),
        (_, ColumnType::Binary) => Cell::Binary(b"bytes"),
        (_, ColumnType::Uuid) => Cell::Uuid(Uuid::nil()),
    };
    schema.columns.iter().map(|column| other(&column.name).unwrap_or_else(|| value(&column.name, column.kind))).collect()
}

/// Writes batches under a name.
pub(crate) async fn write(
    archives: &Archives,
    name: &ArchiveName,
    batches: Vec<RecordBatch>,
    mode: WriteMode,
) -> Result<Written, ArchiveError> {
    let schema = batches.first().map_or_else(heartbeats, |batch| Arc::clone(batch.schema()));
    let batches = stream::iter(batches.into_iter().map(Ok::<_, Never>));
    archives.write(name, &schema, batches, mode, serde_json::Map::new(), at(100_000)).await
}

/// Writes batches that have to get into the store.
pub(crate) async fn stored(archives: &Archives, name: &ArchiveName, batches: Vec<RecordBatch>) -> Manifest {
    match write(archives, name, batches, WriteMode::Create).await.unwrap() {
        Written::Stored(manifest) => manifest,
        Written::Exists(manifest) => panic!("{} was there", manifest.file),
    }
}

/// An error that no stream has.
pub(crate) struct Never(Infallible);

impl From<Never> for ArchiveError {
    fn from(never: Never) -> Self {
        match never.0 {}
    }
}

/// A check that nobody watches.
pub(crate) async fn verify(archives: &Archives, name: &ArchiveName) -> Result<Manifest, ArchiveError> {
    archives.verify(name, None, &|_| {}).await
}
