//! The table of heartbeats: the columns that every heartbeat has, and behind them those of the telemetry table.

use std::sync::{Arc, LazyLock};

use super::{Cell, Column, ColumnType, RecordBatch, TableSchema};
use crate::heartbeat::{Heartbeat, Telemetry, Transport};
use crate::{DeviceId, Timestamp, telemetry};

/// A type of the telemetry table, as a column of an archive.
trait Archived: Sized {
    const KIND: ColumnType;
    fn read(cell: Cell<'_>) -> Option<Self>;
}

macro_rules! archived {
    ($( $type:ty => $kind:ident, $cell:pat => $value:expr; )*) => {$(
        impl Archived for $type {
            const KIND: ColumnType = ColumnType::$kind;
            fn read(cell: Cell<'_>) -> Option<Self> {
                match cell {
                    $cell => $value,
                    _ => None,
                }
            }
        }
    )*};
}
archived! {
    bool => Boolean, Cell::Boolean(value) => Some(value);
    i16 => Int16, Cell::Integer(value) => value.try_into().ok();
    i32 => Int32, Cell::Integer(value) => value.try_into().ok();
    i64 => Int64, Cell::Integer(value) => Some(value);
    f32 => Float, Cell::Float(value) => Some(value);
    f64 => Double, Cell::Double(value) => Some(value);
    String => String, Cell::String(value) => Some(value.to_owned());
    Timestamp => Timestamp, Cell::Timestamp(value) => Some(value);
    // One that a later build wrote may be unknown.
    Transport => String, Cell::String(value) => value.parse().ok();
}

macro_rules! columns {
    ({} $( { $field:ident $type:ident $name:literal [$($history:literal)?] } )*) => {
        fn telemetry_columns() -> Vec<Column> {
            [$( $( Some(Column::new($history, <$type as Archived>::KIND)), )? )*].into_iter().flatten().collect()
        }

        fn telemetry_at(batch: &RecordBatch, row: usize) -> Telemetry {
            let cell = |name: &str| batch.column(name).map_or(Cell::Null, |column| column.cell(row));
            let mut telemetry = Telemetry::default();
            $( $( telemetry.$field = Archived::read(cell($history)); )? )*
            telemetry
        }
    };
}
telemetry! { columns => columns {} }

static HEARTBEATS: LazyLock<Arc<TableSchema>> = LazyLock::new(|| {
    let mut columns = vec![
        Column::required("device_id", ColumnType::Uuid),
        Column::required("bucket_at", ColumnType::Timestamp),
        Column::required("received_at", ColumnType::Timestamp),
        Column::new("device_time", ColumnType::Timestamp),
        Column::required("clock_rejected", ColumnType::Boolean),
    ];
    columns.extend(telemetry_columns());
    Arc::new(TableSchema {
        name: "heartbeats".into(),
        columns,
        key: vec!["device_id".into(), "bucket_at".into()],
        time: "bucket_at".into(),
    })
});

/// The table of heartbeats.
pub fn heartbeats() -> Arc<TableSchema> {
    Arc::clone(&HEARTBEATS)
}

/// The heartbeat of a row; `None` where it lacks what every heartbeat has. Columns that this build does not know are left out, and those that
/// the archive's build did not know are not reported.
pub fn heartbeat_at(batch: &RecordBatch, row: usize) -> Option<Heartbeat> {
    let cell = |name: &str| batch.column(name).map_or(Cell::Null, |column| column.cell(row));
    let Cell::Uuid(device) = cell("device_id") else { return None };
    Some(Heartbeat {
        device_id: DeviceId(device),
        bucket_at: Archived::read(cell("bucket_at"))?,
        received_at: Archived::read(cell("received_at"))?,
        device_time: Archived::read(cell("device_time")),
        clock_rejected: Archived::read(cell("clock_rejected"))?,
        telemetry: telemetry_at(batch, row),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{FIELDS, Storage};

    #[test]
    fn every_field_that_heartbeats_store_is_a_column_and_comes_back() {
        let stored: Vec<_> = FIELDS
            .iter()
            .filter_map(|field| match field.storage {
                Storage::column(name) => Some(name),
                _ => None,
            })
            .collect();
        let schema = heartbeats();
        let columns: Vec<_> = schema.columns.iter().map(|column| &*column.name).collect();
        assert_eq!(columns[5..], stored);

        let at = chrono::DateTime::from_timestamp_micros(1_780_000_000_123_456).unwrap();
        let mut batch = RecordBatch::with_capacity(Arc::clone(&schema), 1);
        let row = schema.columns.iter().map(|column| match column.kind {
            ColumnType::Uuid => Cell::Uuid(uuid::Uuid::from_u128(7)),
            ColumnType::Timestamp => Cell::Timestamp(at),
            ColumnType::Boolean => Cell::Boolean(true),
            ColumnType::Int16 | ColumnType::Int32 | ColumnType::Int64 => Cell::Integer(3),
            ColumnType::Float => Cell::Float(1.5),
            ColumnType::Double => Cell::Double(2.5),
            ColumnType::String => Cell::String("wifi"),
            ColumnType::Binary => Cell::Binary(b"x"),
        });
        batch.push(row).unwrap();
        let heartbeat = heartbeat_at(&batch, 0).unwrap();
        assert_eq!((heartbeat.device_id.0.as_u128(), heartbeat.bucket_at, heartbeat.device_time), (7, at, Some(at)));
        for field in FIELDS {
            let told = (field.get)(&heartbeat.telemetry).is_some();
            assert_eq!(told, matches!(field.storage, Storage::column(_)), "{}", field.name);
        }
    }
}
