//! Rows of a table, column by column.

use std::cmp::Ordering;
use std::sync::Arc;

use uuid::Uuid;

use super::{Column, ColumnType, TableSchema};
use crate::{Invalid, Timestamp};

/// A value of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// Nothing.
    Null,
    /// UUID.
    Uuid(Uuid),
    /// Point in time.
    Timestamp(Timestamp),
    /// Yes or no.
    Boolean(bool),
    /// Integer of any width.
    Integer(i64),
    /// Number, single precision.
    Float(f32),
    /// Number, double precision.
    Double(f64),
    /// Text.
    String(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
}

impl Cell<'_> {
    /// Order of two values of a key, as the database has it. `None` where there is none: a value is missing, or is no key.
    pub fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Uuid(a), Self::Uuid(b)) => Some(a.cmp(b)),
            (Self::Timestamp(a), Self::Timestamp(b)) => Some(a.cmp(b)),
            (Self::Integer(a), Self::Integer(b)) => Some(a.cmp(b)),
            (Self::Binary(a), Self::Binary(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

macro_rules! column_data {
    ($( $variant:ident $type:ty, $read:expr, $cell:pat => $take:expr; )*) => {
        /// The values of a column, one per row.
        #[derive(Debug, Clone, PartialEq)]
        pub enum ColumnData {
            $(#[doc = concat!("Of the type `", stringify!($variant), "`.")] $variant(Vec<Option<$type>>),)*
        }

        impl ColumnData {
            /// A column without rows.
            pub fn with_capacity(kind: ColumnType, rows: usize) -> Self {
                match kind {
                    $(ColumnType::$variant => Self::$variant(Vec::with_capacity(rows)),)*
                }
            }

            /// Type of the column.
            pub fn kind(&self) -> ColumnType {
                match self {
                    $(Self::$variant(_) => ColumnType::$variant,)*
                }
            }

            /// Number of rows.
            pub fn rows(&self) -> usize {
                match self {
                    $(Self::$variant(values) => values.len(),)*
                }
            }

            /// The value of a row; [`Cell::Null`] behind the end.
            pub fn cell(&self, row: usize) -> Cell<'_> {
                match self {
                    $(Self::$variant(values) => match values.get(row) {
                        Some(Some(value)) => {
                            let read: fn(&$type) -> Cell<'_> = $read;
                            read(value)
                        }
                        _ => Cell::Null,
                    },)*
                }
            }

            /// Adds the value of one more row. Whether the column takes it: it has its type and range.
            #[must_use]
            pub fn push(&mut self, cell: Cell<'_>) -> bool {
                match (self, cell) {
                    $((Self::$variant(values), Cell::Null) => values.push(None),)*
                    $((Self::$variant(values), $cell) => match $take {
                        Some(value) => values.push(Some(value)),
                        None => return false,
                    },)*
                    _ => return false,
                }
                true
            }

            /// Moves the rows of `other`, which has the same type, behind those of this column. Whether it had.
            #[must_use]
            pub fn append(&mut self, other: &mut Self) -> bool {
                match (self, other) {
                    $((Self::$variant(values), Self::$variant(more)) => values.append(more),)*
                    _ => return false,
                }
                true
            }

            /// Takes the first rows out.
            #[must_use]
            pub fn take_front(&mut self, rows: usize) -> Self {
                match self {
                    $(Self::$variant(values) => {
                        let rest = values.split_off(rows.min(values.len()));
                        Self::$variant(std::mem::replace(values, rest))
                    })*
                }
            }
        }
    };
}
column_data! {
    Uuid Uuid, |value| Cell::Uuid(*value), Cell::Uuid(value) => Some(value);
    Timestamp Timestamp, |value| Cell::Timestamp(*value), Cell::Timestamp(value) => Some(value);
    Boolean bool, |value| Cell::Boolean(*value), Cell::Boolean(value) => Some(value);
    Int16 i16, |value| Cell::Integer((*value).into()), Cell::Integer(value) => i16::try_from(value).ok();
    Int32 i32, |value| Cell::Integer((*value).into()), Cell::Integer(value) => i32::try_from(value).ok();
    Int64 i64, |value| Cell::Integer(*value), Cell::Integer(value) => Some(value);
    Float f32, |value| Cell::Float(*value), Cell::Float(value) => Some(value);
    Double f64, |value| Cell::Double(*value), Cell::Double(value) => Some(value);
    String String, |value| Cell::String(value), Cell::String(value) => Some(value.to_owned());
    Binary Vec<u8>, |value| Cell::Binary(value), Cell::Binary(value) => Some(value.to_vec());
}

/// Rows of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordBatch {
    schema: Arc<TableSchema>,
    columns: Vec<ColumnData>,
    rows: usize,
}

impl RecordBatch {
    /// A batch without rows.
    pub fn with_capacity(schema: Arc<TableSchema>, rows: usize) -> Self {
        let columns = schema.columns.iter().map(|column| ColumnData::with_capacity(column.kind, rows)).collect();
        Self { schema, columns, rows: 0 }
    }

    /// A batch of these columns.
    ///
    /// # Errors
    /// They are not those of the table, or not equally long.
    pub fn new(schema: Arc<TableSchema>, columns: Vec<ColumnData>) -> Result<Self, Invalid> {
        let rows = columns.first().map_or(0, ColumnData::rows);
        let fits = |(column, data): (&Column, &ColumnData)| column.kind == data.kind() && data.rows() == rows;
        if columns.len() != schema.columns.len() || !schema.columns.iter().zip(&columns).all(fits) {
            return Err(Invalid::new(&*schema.name, "columns of other types or lengths than the table's"));
        }
        Ok(Self { schema, columns, rows })
    }

    /// The table.
    pub fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The columns, in the order of the table.
    pub fn columns(&self) -> &[ColumnData] {
        &self.columns
    }

    /// A column by its name.
    pub fn column(&self, name: &str) -> Option<&ColumnData> {
        self.columns.get(self.schema.place(name)?)
    }

    /// Adds a row, its values in the order of the columns.
    ///
    /// # Errors
    /// Names the column that cannot hold its value.
    pub fn push<'a>(&mut self, row: impl IntoIterator<Item = Cell<'a>>) -> Result<(), Invalid> {
        let mut cells = row.into_iter();
        for (column, data) in self.schema.columns.iter().zip(&mut self.columns) {
            let cell = cells.next().unwrap_or(Cell::Null);
            if (column.required && cell == Cell::Null) || !data.push(cell) {
                // A row that was begun does not stay.
                self.columns.iter_mut().for_each(|data| *data = data.take_front(self.rows));
                return Err(Invalid::new(&*column.name, format!("no value of type {}", column.kind.as_str())));
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// Moves the rows of `other`, of the same table, behind those of this batch.
    ///
    /// # Errors
    /// It is another table.
    pub fn append(&mut self, mut other: Self) -> Result<(), Invalid> {
        if !Arc::ptr_eq(&self.schema, &other.schema) && self.schema != other.schema {
            return Err(Invalid::new(&*other.schema.name, format!("not the columns of {}", self.schema.name)));
        }
        let moved = self.columns.iter_mut().zip(&mut other.columns).all(|(data, more)| data.append(more));
        debug_assert!(moved, "tables of the same schema have the same types");
        self.rows += other.rows;
        Ok(())
    }

    /// Takes the first rows out.
    #[must_use]
    pub fn take_front(&mut self, rows: usize) -> Self {
        let rows = rows.min(self.rows);
        self.rows -= rows;
        let columns = self.columns.iter_mut().map(|data| data.take_front(rows)).collect();
        Self { schema: Arc::clone(&self.schema), columns, rows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Arc<TableSchema> {
        Arc::new(TableSchema {
            name: "things".into(),
            columns: vec![Column::required("seq", ColumnType::Int16), Column::new("name", ColumnType::String)],
            key: vec!["seq".into()],
            time: "seq".into(),
        })
    }

    #[test]
    fn a_row_that_does_not_fit_is_refused_by_the_name_of_its_column_and_leaves_nothing() {
        let mut batch = RecordBatch::with_capacity(schema(), 4);
        batch.push([Cell::Integer(1), Cell::String("one")]).unwrap();
        for (row, column) in [
            ([Cell::Null, Cell::Null], "seq"),
            ([Cell::Integer(40_000), Cell::Null], "seq"),
            ([Cell::Integer(2), Cell::Boolean(true)], "name"),
        ] {
            assert_eq!(batch.push(row).unwrap_err().field, column, "{row:?}");
        }
        batch.push([Cell::Integer(2), Cell::Null]).unwrap();
        assert_eq!((batch.rows(), batch.columns()[0].rows(), batch.columns()[1].rows()), (2, 2, 2));
        assert_eq!((batch.columns()[0].cell(1), batch.columns()[1].cell(0)), (Cell::Integer(2), Cell::String("one")));
    }

    #[test]
    fn rows_are_taken_from_the_front_and_added_behind() {
        let mut batch = RecordBatch::with_capacity(schema(), 4);
        for seq in 0..5 {
            batch.push([Cell::Integer(seq), Cell::Null]).unwrap();
        }
        let mut front = batch.take_front(2);
        assert_eq!((front.rows(), batch.rows(), batch.columns()[0].cell(0)), (2, 3, Cell::Integer(2)));
        front.append(batch).unwrap();
        assert_eq!((front.rows(), front.columns()[0].cell(4)), (5, Cell::Integer(4)));
    }
}
