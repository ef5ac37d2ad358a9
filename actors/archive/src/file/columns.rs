//! Values of a column on their way into a file and out of it.

use domain::Timestamp;
use domain::archive::{ColumnData, ColumnType};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FixedLenByteArray, FixedLenByteArrayType, FloatType, Int32Type, Int64Type,
};
use parquet::errors::{ParquetError, Result};
use parquet::file::writer::SerializedColumnWriter;
use uuid::Uuid;

/// Writes a column of a batch.
pub(super) fn write(writer: &mut SerializedColumnWriter<'_>, data: &ColumnData, required: bool) -> Result<()> {
    match data {
        ColumnData::Uuid(values) => {
            let bytes = |value: &Uuid| FixedLenByteArray::from(value.as_bytes().to_vec());
            put::<FixedLenByteArrayType, _>(writer, values, required, bytes)
        }
        ColumnData::Timestamp(values) => put::<Int64Type, _>(writer, values, required, Timestamp::timestamp_micros),
        ColumnData::Boolean(values) => put::<BoolType, _>(writer, values, required, |value| *value),
        ColumnData::Int16(values) => put::<Int32Type, _>(writer, values, required, |value| (*value).into()),
        ColumnData::Int32(values) => put::<Int32Type, _>(writer, values, required, |value| *value),
        ColumnData::Int64(values) => put::<Int64Type, _>(writer, values, required, |value| *value),
        ColumnData::Float(values) => put::<FloatType, _>(writer, values, required, |value| *value),
        ColumnData::Double(values) => put::<DoubleType, _>(writer, values, required, |value| *value),
        ColumnData::String(values) => put::<ByteArrayType, _>(writer, values, required, |value| ByteArray::from(value.as_str())),
        ColumnData::Binary(values) => put::<ByteArrayType, _>(writer, values, required, |value| ByteArray::from(value.as_slice())),
    }
}

fn put<T: DataType, V>(
    writer: &mut SerializedColumnWriter<'_>,
    values: &[Option<V>],
    required: bool,
    stored: impl Fn(&V) -> T::T,
) -> Result<()> {
    let there: Vec<T::T> = values.iter().flatten().map(stored).collect();
    if required && there.len() != values.len() {
        return Err(ParquetError::General("a value is missing in a column that has one in every row".into()));
    }
    let levels: Option<Vec<i16>> = (!required).then(|| values.iter().map(|value| value.is_some().into()).collect());
    writer.typed::<T>().write_batch(&there, levels.as_deref(), None).map(drop)
}

/// Reads the next `rows` values of a column, all of them or none.
pub(super) fn read(reader: &mut ColumnReader, kind: ColumnType, required: bool, rows: usize) -> Result<ColumnData> {
    Ok(match (kind, reader) {
        (ColumnType::Uuid, ColumnReader::FixedLenByteArrayColumnReader(reader)) => {
            let id = |value: FixedLenByteArray| Uuid::from_slice(value.data()).map_err(|cause| wrong(&cause));
            ColumnData::Uuid(take(reader, required, rows, id)?)
        }
        (ColumnType::Timestamp, ColumnReader::Int64ColumnReader(reader)) => {
            let at = |us| Timestamp::from_timestamp_micros(us).ok_or_else(|| wrong(&format!("{us} is no time")));
            ColumnData::Timestamp(take(reader, required, rows, at)?)
        }
        (ColumnType::Boolean, ColumnReader::BoolColumnReader(reader)) => ColumnData::Boolean(take(reader, required, rows, Ok)?),
        (ColumnType::Int16, ColumnReader::Int32ColumnReader(reader)) => {
            let narrow = |value: i32| i16::try_from(value).map_err(|_| wrong(&format!("{value} has more than 16 bits")));
            ColumnData::Int16(take(reader, required, rows, narrow)?)
        }
        (ColumnType::Int32, ColumnReader::Int32ColumnReader(reader)) => ColumnData::Int32(take(reader, required, rows, Ok)?),
        (ColumnType::Int64, ColumnReader::Int64ColumnReader(reader)) => ColumnData::Int64(take(reader, required, rows, Ok)?),
        (ColumnType::Float, ColumnReader::FloatColumnReader(reader)) => ColumnData::Float(take(reader, required, rows, Ok)?),
        (ColumnType::Double, ColumnReader::DoubleColumnReader(reader)) => ColumnData::Double(take(reader, required, rows, Ok)?),
        (ColumnType::String, ColumnReader::ByteArrayColumnReader(reader)) => {
            let text = |value: ByteArray| value.as_utf8().map(str::to_owned);
            ColumnData::String(take(reader, required, rows, text)?)
        }
        (ColumnType::Binary, ColumnReader::ByteArrayColumnReader(reader)) => {
            ColumnData::Binary(take(reader, required, rows, |value: ByteArray| Ok(value.data().to_vec()))?)
        }
        _ => return Err(wrong(&format!("not a column of {}", kind.as_str()))),
    })
}

fn take<T: DataType, V>(
    reader: &mut ColumnReaderImpl<T>,
    required: bool,
    rows: usize,
    value: impl Fn(T::T) -> Result<V>,
) -> Result<Vec<Option<V>>> {
    let (mut values, mut levels) = (Vec::with_capacity(rows), Vec::with_capacity(if required { 0 } else { rows }));
    let (read, _, _) = reader.read_records(rows, (!required).then_some(&mut levels), None, &mut values)?;
    if read != rows {
        return Err(wrong(&format!("{read} values instead of {rows}")));
    }
    let mut values = values.into_iter();
    let mut next = || values.next().ok_or_else(|| wrong("fewer values than levels")).and_then(&value).map(Some);
    if required {
        return (0..rows).map(|_| next()).collect();
    }
    levels.into_iter().map(|level| if level == 0 { Ok(None) } else { next() }).collect()
}

/// Skips the next `rows` values of a column.
pub(super) fn skip(reader: &mut ColumnReader, rows: usize) -> Result<()> {
    let skipped = match reader {
        ColumnReader::BoolColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::Int32ColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::Int64ColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::Int96ColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::FloatColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::DoubleColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::ByteArrayColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::FixedLenByteArrayColumnReader(reader) => reader.skip_records(rows),
    }?;
    if skipped == rows { Ok(()) } else { Err(wrong(&format!("ends after {skipped} of {rows} values"))) }
}

fn wrong(problem: &(impl std::fmt::Display + ?Sized)) -> ParquetError {
    ParquetError::General(problem.to_string())
}
