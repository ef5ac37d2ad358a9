//! The file of an archive: Parquet, written and read column by column.

mod columns;
mod decode;
mod encode;
mod sparse;

use domain::archive::{Column, ColumnType, TableSchema};
use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::errors::Result as ParquetResult;
use parquet::file::metadata::ParquetMetaData;
use parquet::schema::types::{ColumnDescriptor, Type, TypePtr};

pub(crate) use decode::{GroupReader, group_range};
pub(crate) use encode::{EncodeError, Encoded, FileWriter};
pub(crate) use sparse::{Sparse, merged};

/// Most rows of a page: what has to be read of a column for one row.
const PAGE_ROWS: usize = 8192;

fn physical(kind: ColumnType) -> (Physical, Option<LogicalType>) {
    match kind {
        ColumnType::Uuid => (Physical::FIXED_LEN_BYTE_ARRAY, Some(LogicalType::Uuid)),
        ColumnType::Timestamp => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
        ColumnType::Boolean => (Physical::BOOLEAN, None),
        ColumnType::Int16 => (Physical::INT32, Some(LogicalType::integer(16, true))),
        ColumnType::Int32 => (Physical::INT32, None),
        ColumnType::Int64 => (Physical::INT64, None),
        ColumnType::Float => (Physical::FLOAT, None),
        ColumnType::Double => (Physical::DOUBLE, None),
        ColumnType::String => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        ColumnType::Binary => (Physical::BYTE_ARRAY, None),
    }
}

fn type_of(column: &Column) -> ParquetResult<TypePtr> {
    let (physical, logical) = physical(column.kind);
    let repetition = if column.required { Repetition::REQUIRED } else { Repetition::OPTIONAL };
    let builder = Type::primitive_type_builder(&column.name, physical).with_repetition(repetition).with_logical_type(logical);
    let builder = if column.kind == ColumnType::Uuid { builder.with_length(16) } else { builder };
    Ok(TypePtr::new(builder.build()?))
}

fn kind_of(column: &ColumnDescriptor) -> Option<ColumnType> {
    let found = (column.physical_type(), column.logical_type_ref());
    ColumnType::ALL.into_iter().find(|kind| {
        let (wanted, logical) = physical(*kind);
        found == (wanted, logical.as_ref())
    })
}

/// Compares the columns of a file with those of its manifest. What differs, in words.
pub(crate) fn foreign_columns(metadata: &ParquetMetaData, schema: &TableSchema) -> Option<String> {
    let columns = metadata.file_metadata().schema_descr().columns();
    if columns.len() != schema.columns.len() {
        return Some(format!("{} columns instead of {}", columns.len(), schema.columns.len()));
    }
    columns.iter().zip(&schema.columns).find_map(|(found, wanted)| {
        let required = found.max_def_level() == 0;
        let same = found.name() == wanted.name && kind_of(found) == Some(wanted.kind) && required == wanted.required;
        let is_nested = found.max_rep_level() > 0 || found.max_def_level() > 1;
        (!same || is_nested).then(|| format!("column {} is not the {} that the manifest has", found.name(), wanted.kind.as_str()))
    })
}
