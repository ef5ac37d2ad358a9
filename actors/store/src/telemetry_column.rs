//! Readings of the telemetry table as columns: their types in the database, and the way there and back.

use domain::heartbeat::{Telemetry, Transport};
use domain::{Timestamp, telemetry};
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::StoreError;

/// Gives each column `{ field type "name" .. }` what is next in a list, such as its placeholder, and its type: `{ field "$10" "smallint" "name" .. }`.
macro_rules! numbered {
    ($then:ident $args:tt [$($done:tt)*] [$($left:tt)*]) => { $then! { $args $($done)* } };
    ($then:ident $args:tt [$($done:tt)*] [$next:tt $($left:tt)*] { $field:ident $type:ident $($row:tt)* } $($rest:tt)*) => {
        numbered! { @ $type $then $args [$($done)*] [$($left)*] { $field $next { $($row)* } } $($rest)* }
    };
    (@ i16 $($all:tt)*) => { numbered! { @@ "smallint" $($all)* } };
    (@ i32 $($all:tt)*) => { numbered! { @@ "integer" $($all)* } };
    (@ i64 $($all:tt)*) => { numbered! { @@ "bigint" $($all)* } };
    (@ f32 $($all:tt)*) => { numbered! { @@ "real" $($all)* } };
    (@ f64 $($all:tt)*) => { numbered! { @@ "double precision" $($all)* } };
    (@ bool $($all:tt)*) => { numbered! { @@ "boolean" $($all)* } };
    (@ String $($all:tt)*) => { numbered! { @@ "text" $($all)* } };
    (@ Transport $($all:tt)*) => { numbered! { @@ "text" $($all)* } };
    (@ Timestamp $($all:tt)*) => { numbered! { @@ "timestamptz" $($all)* } };
    (@@ $type:tt $then:ident $args:tt [$($done:tt)*] $left:tt { $field:ident $next:tt { $($row:tt)* } } $($rest:tt)*) => {
        numbered! { $then $args [$($done)* { $field $next $type $($row)* }] $left $($rest)* }
    };
}

/// A type of the telemetry table, as a column.
pub(crate) trait ColumnValue: Sized {
    /// The type that the database knows.
    type Stored<'a>
    where
        Self: 'a;
    /// The value as it is stored.
    fn stored(&self) -> Self::Stored<'_>;
    /// The value of a column. One that a later build wrote may be unknown.
    fn read(row: &PgRow, column: &str) -> Result<Option<Self>, StoreError>;
}

macro_rules! stored_as_they_are {
    ($($type:ty),+) => {$(
        impl ColumnValue for $type {
            type Stored<'a> = Self;
            fn stored(&self) -> Self {
                *self
            }
            fn read(row: &PgRow, column: &str) -> Result<Option<Self>, StoreError> {
                Ok(row.try_get(column)?)
            }
        }
    )+};
}
stored_as_they_are!(i16, i32, i64, f32, f64, bool, Timestamp);

impl ColumnValue for String {
    type Stored<'a> = &'a str;
    fn stored(&self) -> &str {
        self
    }
    fn read(row: &PgRow, column: &str) -> Result<Option<Self>, StoreError> {
        Ok(row.try_get(column)?)
    }
}

impl ColumnValue for Transport {
    type Stored<'a> = &'static str;
    fn stored(&self) -> &'static str {
        self.as_str()
    }
    fn read(row: &PgRow, column: &str) -> Result<Option<Self>, StoreError> {
        let name: Option<&str> = row.try_get(column)?;
        Ok(name.and_then(|name| Self::parse(column, name).ok()))
    }
}

macro_rules! columns {
    ({} $( { $field:ident $type:ident $name:literal $history:tt } )*) => {
        /// Columns of `device_last_status AS s`, each behind a comma.
        pub(crate) const SELECTED: &str = concat!($(", s.", $name),*);

        /// The readings that are columns.
        pub(crate) fn read_columns(row: &PgRow) -> Result<Telemetry, StoreError> {
            Ok(Telemetry { $($field: ColumnValue::read(row, $name)?,)* ..Telemetry::default() })
        }
    };
}
telemetry! { columns => columns {} }
