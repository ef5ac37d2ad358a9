//! Tables on their way into archives and out of them: columns with their types, and batches of rows that lie column by column.

mod batch;
mod heartbeats;

use std::borrow::Cow;

pub use batch::{Cell, ColumnData, RecordBatch};
pub use heartbeats::{heartbeat_at, heartbeats};

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum ColumnType {
    /// UUID, 16 bytes.
    Uuid,
    /// Point in time, microseconds, UTC.
    Timestamp,
    /// Yes or no.
    Boolean,
    /// Integer of 16 bits.
    Int16,
    /// Integer of 32 bits.
    Int32,
    /// Integer of 64 bits.
    Int64,
    /// Number, single precision.
    Float,
    /// Number, double precision.
    Double,
    /// Text, UTF-8.
    String,
    /// Bytes.
    Binary,
}

named!(pub ColumnType, parse -> Option);

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name, as in the database.
    pub name: Cow<'static, str>,
    /// Type.
    pub kind: ColumnType,
    /// Whether every row has a value.
    pub required: bool,
}

impl Column {
    /// A column in which values may be missing.
    pub const fn new(name: &'static str, kind: ColumnType) -> Self {
        Self { name: Cow::Borrowed(name), kind, required: false }
    }

    /// A column in which every row has a value.
    pub const fn required(name: &'static str, kind: ColumnType) -> Self {
        Self { name: Cow::Borrowed(name), kind, required: true }
    }
}

/// What an archived table looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSchema {
    /// Name of the table, and folder of its archives.
    pub name: Cow<'static, str>,
    /// Columns in their order.
    pub columns: Vec<Column>,
    /// Columns by which the rows are in strictly ascending order.
    pub key: Vec<Cow<'static, str>>,
    /// Column of the time that a row is about.
    pub time: Cow<'static, str>,
}

impl TableSchema {
    /// Place of a column.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}
