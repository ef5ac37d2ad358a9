//! Whatever rows hold comes back, and has the same digest.

use std::sync::Arc;

use archive::{ArchiveName, rows_digest};
use domain::Timestamp;
use domain::archive::{Cell, Column, ColumnType, RecordBatch, TableSchema};
use futures_util::{StreamExt, TryStreamExt, stream};
use proptest::prelude::*;
use tempfile::TempDir;
use uuid::Uuid;

use crate::common::{Never, archives, name, rows_of, stored, verify, write};
use crate::faulty_store::FaultyStore;

/// Seconds of PostgreSQL's times that a build of ours can hold.
const TIMES_US: std::ops::Range<i64> = -62_135_596_800_000_000..253_402_300_799_999_999;

/// One column of each type that may be empty, behind the key.
fn schema() -> Arc<TableSchema> {
    let mut columns = vec![Column::required("id", ColumnType::Uuid), Column::required("seq", ColumnType::Int64)];
    let optional = ["c_uuid", "c_timestamp", "c_boolean", "c_int16", "c_int32", "c_int64", "c_float", "c_double", "c_string", "c_binary"];
    columns.extend(optional.into_iter().zip(ColumnType::ALL).map(|(name, kind)| Column::new(name, kind)));
    Arc::new(TableSchema { name: "things".into(), columns, key: vec!["id".into(), "seq".into()], time: "c_timestamp".into() })
}

#[derive(Debug, Clone)]
struct Row {
    uuid: Option<u128>,
    us: Option<i64>,
    boolean: Option<bool>,
    int16: Option<i16>,
    int32: Option<i32>,
    int64: Option<i64>,
    float: Option<u32>,
    double: Option<u64>,
    string: Option<String>,
    binary: Option<Vec<u8>>,
}

fn extreme<T: Clone + std::fmt::Debug + 'static>(any: impl Strategy<Value = T> + 'static, extremes: Vec<T>) -> BoxedStrategy<Option<T>> {
    prop::option::of(prop_oneof![3 => any, 1 => prop::sample::select(extremes)]).boxed()
}

fn some_row() -> impl Strategy<Value = Row> {
    let floats = vec![0, 0x8000_0000, 0x7f80_0000, 0xff80_0000, 0x7fc0_0001, 1];
    let doubles = vec![0, 1 << 63, 0x7ff0_0000_0000_0000, 0x7ff8_0000_0000_0001, 1];
    let texts = vec![String::new(), "wifi".to_owned(), "Größe \u{1f4f1}\n\"".to_owned(), "x".repeat(5000)];
    (
        extreme(any::<u128>(), vec![0, u128::MAX]),
        extreme(TIMES_US, vec![TIMES_US.start, TIMES_US.end - 1, 0, -1]),
        extreme(any::<bool>(), vec![true]),
        extreme(any::<i16>(), vec![i16::MIN, i16::MAX]),
        extreme(any::<i32>(), vec![i32::MIN, i32::MAX]),
        extreme(any::<i64>(), vec![i64::MIN, i64::MAX]),
        extreme(any::<u32>(), floats),
        extreme(any::<u64>(), doubles),
        extreme("[a-z]{0,6}", texts),
        extreme(prop::collection::vec(any::<u8>(), 0..20), vec![vec![], vec![0; 300]]),
    )
        .prop_map(|(uuid, us, boolean, int16, int32, int64, float, double, string, binary)| Row {
            uuid,
            us,
            boolean,
            int16,
            int32,
            int64,
            float,
            double,
            string,
            binary,
        })
}

fn batch_of(rows: &[Row]) -> RecordBatch {
    let mut batch = RecordBatch::with_capacity(schema(), rows.len());
    for (at, row) in rows.iter().enumerate() {
        let or = |cell: Option<Cell<'static>>| cell.unwrap_or(Cell::Null);
        let cells = [
            // Some rows of the same id, ordered by their number, which may be negative.
            Cell::Uuid(Uuid::from_u128(at as u128 / 3)),
            Cell::Integer(at as i64 - 5),
            or(row.uuid.map(|value| Cell::Uuid(Uuid::from_u128(value)))),
            or(row.us.map(|us| Cell::Timestamp(Timestamp::from_timestamp_micros(us).unwrap()))),
            or(row.boolean.map(Cell::Boolean)),
            or(row.int16.map(|value| Cell::Integer(value.into()))),
            or(row.int32.map(|value| Cell::Integer(value.into()))),
            or(row.int64.map(Cell::Integer)),
            or(row.float.map(|bits| Cell::Float(f32::from_bits(bits)))),
            or(row.double.map(|bits| Cell::Double(f64::from_bits(bits)))),
        ];
        let string = row.string.as_deref().map_or(Cell::Null, Cell::String);
        let binary = row.binary.as_deref().map_or(Cell::Null, Cell::Binary);
        batch.push(cells.into_iter().chain([string, binary])).unwrap();
    }
    batch
}

/// In batches of this many rows.
fn split(mut batch: RecordBatch, rows: usize) -> Vec<RecordBatch> {
    let mut parts = vec![];
    while batch.rows() > 0 {
        parts.push(batch.take_front(rows));
    }
    parts
}

/// Values as text: NaN is not equal to itself.
fn texts(batch: &RecordBatch) -> Vec<String> {
    (0..batch.rows()).map(|row| format!("{:?}", batch.columns().iter().map(|column| column.cell(row)).collect::<Vec<_>>())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn rows_of_every_type_come_back(rows in prop::collection::vec(some_row(), 1..60), group in 1usize..40, batch in 1usize..40) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let archives = archives(Arc::new(FaultyStore::default()), folder.path(), |settings| settings.row_group_rows = group);
            let (whole, name) = (batch_of(&rows), ArchiveName::new("things", "1").unwrap());
            let given = rows_digest(&schema(), stream::iter(vec![Ok::<_, Never>(whole.clone())])).await.unwrap();
            let manifest = stored(&archives, &name, split(whole.clone(), batch)).await;
            prop_assert_eq!(&manifest.digest(), &given);
            prop_assert_eq!(manifest.row_groups.len(), rows.len().div_ceil(group));
            verify(&archives, &name).await.unwrap();
            let read = archives.rows(&name, None).await.unwrap();
            prop_assert_eq!(&read.schema, &schema());
            let read: Vec<RecordBatch> = read.batches.try_collect().await.unwrap();
            let found: Vec<_> = read.iter().flat_map(texts).collect();
            prop_assert_eq!(found, texts(&whole));
            let found = rows_digest(&schema(), stream::iter(read.into_iter().map(Ok::<_, Never>))).await.unwrap();
            prop_assert_eq!(found, given);
            Ok(())
        })?;
    }
}

fn new() -> (archive::Archives, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (archives(Arc::new(FaultyStore::default()), folder.path(), |settings| settings.row_group_rows = 100), folder)
}

#[tokio::test]
async fn a_day_without_rows_is_an_archive() {
    let (archives, _folder) = new();
    let manifest = stored(&archives, &name(), vec![]).await;
    assert_eq!((manifest.rows, manifest.first_at, manifest.row_groups.len()), (0, None, 0));
    verify(&archives, &name()).await.unwrap();
    let read = archives.rows(&name(), None).await.unwrap();
    assert_eq!(read.batches.count().await, 0);
}

#[tokio::test]
async fn the_same_rows_make_the_same_file_whatever_the_batches() {
    let (archives, _folder) = new();
    let first = stored(&archives, &name(), vec![rows_of(1, 3, 100)]).await;
    let again = write(&archives, &name(), split(rows_of(1, 3, 100), 7), archive::WriteMode::Replace).await.unwrap();
    assert_eq!(*again.manifest(), first);
}

#[tokio::test]
async fn what_the_writer_adds_is_kept_and_the_rest_of_the_manifest_says_what_is_in_the_file() {
    let (archives, folder) = new();
    let extra = serde_json::json!({"last_hash": "abc"}).as_object().unwrap().clone();
    let rows = stream::iter([Ok::<_, Never>(rows_of(1, 3, 100))]);
    let now = crate::common::at(99);
    let written = archives.write(&name(), &domain::archive::heartbeats(), rows, archive::WriteMode::Create, extra, now).await.unwrap();
    let manifest = archives.manifest(&name()).await.unwrap().unwrap();
    assert_eq!(*written.manifest(), manifest);
    assert_eq!((manifest.extra["last_hash"].as_str(), manifest.created_at), (Some("abc"), now));
    assert_eq!((manifest.first_at, manifest.last_at), (Some(crate::common::at(0)), Some(crate::common::at(990))));
    assert_eq!(manifest.row_groups.iter().map(|group| group.rows).collect::<Vec<_>>(), [100, 100, 100]);
    assert_eq!(manifest.columns[0].kind, "uuid");
    let listed = archives.list("heartbeats").await.unwrap();
    assert_eq!((listed.len(), &listed[0].name, listed[0].bytes), (1, &name(), Some(manifest.bytes)));
    assert_eq!(std::fs::read_dir(folder.path().join("archive-scratch")).unwrap().count(), 0);
    archives.delete(&name()).await.unwrap();
    assert!(archives.list("heartbeats").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_check_says_how_far_it_is() {
    let (archives, _folder) = new();
    let manifest = stored(&archives, &name(), vec![rows_of(1, 3, 100)]).await;
    let seen = std::sync::Mutex::new(vec![]);
    archives.verify(&name(), None, &|progress| seen.lock().unwrap().push(progress)).await.unwrap();
    let seen = seen.into_inner().unwrap();
    assert!(seen.is_sorted_by_key(|progress| (progress.bytes, progress.rows)), "{seen:?}");
    let last = seen.last().unwrap();
    assert_eq!((last.bytes, last.rows, last.bytes_total, last.rows_total), (manifest.bytes, 300, manifest.bytes, 300));
}
