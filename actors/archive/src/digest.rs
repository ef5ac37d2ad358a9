//! The digest of rows: one number for what a table and an archive both hold, wherever they are read from.
//!
//! SHA-256 over `nexmdm-rows-v1` and a line feed, and each row behind it, in the order of the table's key:
//!
//! ```text
//! row    number of values that are there (2 bytes), and of each, in the order of the columns' names (as bytes):
//! value  length of the column's name (1 byte), name, type (1 byte), value
//!        b  boolean, 1 byte: 0 or 1                        i  integer of any width, 8 bytes, two's complement
//!        f  single precision, 4 bytes, IEEE 754            d  double precision, 8 bytes, IEEE 754
//!        t  microseconds since 1970, as an integer         u  UUID, 16 bytes
//!        s  text, length (4 bytes) and UTF-8               x  bytes, length (4 bytes) and bytes
//! ```
//! Numbers are big-endian. Values that are missing leave no trace: a column that a later build adds changes no digest of rows that have none.

use std::cmp::Ordering;
use std::sync::Arc;

use domain::archive::{Cell, RecordBatch, TableSchema};
use domain::{Invalid, Timestamp};
use futures_util::{Stream, TryStreamExt};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::ArchiveError;

const BEGINNING: &[u8] = b"nexmdm-rows-v1\n";

/// The digest of rows, and what else says whether they are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowsDigest {
    /// Number of rows.
    pub rows: u64,
    /// SHA-256, in hexadecimal.
    pub sha256: String,
    /// Time of the earliest row.
    pub first_at: Option<Timestamp>,
    /// Time of the latest row.
    pub last_at: Option<Timestamp>,
}

impl RowsDigest {
    /// What differs between these rows and `other`, in words.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let times = |digest: &Self| (digest.first_at, digest.last_at);
        if self.rows != other.rows {
            Some(format!("{} rows instead of {}", other.rows, self.rows))
        } else if self.sha256 != other.sha256 {
            Some(format!("row digest {} instead of {}", other.sha256, self.sha256))
        } else if times(self) != times(other) {
            Some(format!("rows of {:?} instead of {:?}", times(other), times(self)))
        } else {
            None
        }
    }
}

/// The digest of the rows of a stream.
///
/// # Errors
/// A batch is no part of one table in the order of its key, or could not be read.
pub async fn rows_digest<E: Into<ArchiveError>>(
    schema: &Arc<TableSchema>,
    batches: impl Stream<Item = Result<RecordBatch, E>>,
) -> Result<RowsDigest, ArchiveError> {
    let mut hasher = RowsHasher::new(schema)?;
    let (sender, mut received) = mpsc::channel::<RecordBatch>(1);
    // Beside the reading of the next batch, and off the threads that answer devices.
    let thread = tokio::task::spawn_blocking(move || {
        while let Some(batch) = received.blocking_recv() {
            hasher.add(&batch)?;
        }
        Ok(hasher.finish())
    });
    let mut batches = std::pin::pin!(batches);
    while let Some(batch) = batches.try_next().await.map_err(Into::<ArchiveError>::into)? {
        if sender.send(batch).await.is_err() {
            // The thread gave up; it says why.
            break;
        }
    }
    drop(sender);
    let digest = thread.await.unwrap_or_else(|cause| Err(Invalid::new("rows", format!("cannot be processed: {cause}"))));
    Ok(digest?)
}

/// Adds rows up to their digest, and checks their order.
pub(crate) struct RowsHasher {
    sha: Sha256,
    rows: u64,
    /// Columns by their names, each with its place and the bytes before its value.
    columns: Vec<(usize, Vec<u8>)>,
    key: Vec<usize>,
    time: usize,
    first_at: Option<Timestamp>,
    last_at: Option<Timestamp>,
    /// The last row so far.
    last: Option<RecordBatch>,
    encoded: Vec<u8>,
}

impl RowsHasher {
    pub(crate) fn new(schema: &TableSchema) -> Result<Self, Invalid> {
        let place = |name: &str| schema.place(name).ok_or_else(|| Invalid::new(&*schema.name, format!("has no column {name}")));
        let mut columns: Vec<_> = schema.columns.iter().enumerate().collect();
        columns.sort_by(|(_, a), (_, b)| a.name.as_bytes().cmp(b.name.as_bytes()));
        let prefix = |(place, column): (usize, &domain::archive::Column)| {
            let length = u8::try_from(column.name.len()).map_err(|_| Invalid::new(&*column.name, "a name of more than 255 bytes"))?;
            Ok((place, [&[length][..], column.name.as_bytes()].concat()))
        };
        Ok(Self {
            sha: Sha256::new_with_prefix(BEGINNING),
            rows: 0,
            columns: columns.into_iter().map(prefix).collect::<Result<_, Invalid>>()?,
            key: schema.key.iter().map(|name| place(name)).collect::<Result<_, _>>()?,
            time: place(&schema.time)?,
            first_at: None,
            last_at: None,
            last: None,
            encoded: Vec::new(),
        })
    }

    /// Adds rows that follow those before.
    pub(crate) fn add(&mut self, batch: &RecordBatch) -> Result<(), Invalid> {
        if batch.columns().len() != self.columns.len() {
            return Err(Invalid::new(&*batch.schema().name, "a batch of other columns"));
        }
        for row in 0..batch.rows() {
            let before = match row {
                0 => self.last.as_ref().map(|last| (last, 0)),
                row => Some((batch, row - 1)),
            };
            if let Some((earlier, at)) = before
                && !self.follows((earlier, at), (batch, row))
            {
                let problem =
                    format!("row {} is not behind the one before it in the order of {}", self.rows, batch.schema().key.join(", "));
                return Err(Invalid::new(&*batch.schema().name, problem));
            }
            self.add_row(batch, row);
        }
        self.sha.update(&self.encoded);
        self.encoded.clear();
        if let Some(last) = batch.rows().checked_sub(1) {
            let mut row = RecordBatch::with_capacity(Arc::clone(batch.schema()), 1);
            row.push(batch.columns().iter().map(|column| column.cell(last)))?;
            self.last = Some(row);
        }
        Ok(())
    }

    fn follows(&self, (earlier, at): (&RecordBatch, usize), (later, row): (&RecordBatch, usize)) -> bool {
        for column in &self.key {
            match earlier.columns()[*column].cell(at).order(&later.columns()[*column].cell(row)) {
                Some(Ordering::Less) => return true,
                Some(Ordering::Equal) => {}
                Some(Ordering::Greater) | None => return false,
            }
        }
        false
    }

    fn add_row(&mut self, batch: &RecordBatch, row: usize) {
        self.rows += 1;
        if let Cell::Timestamp(at) = batch.columns()[self.time].cell(row) {
            self.first_at = Some(self.first_at.map_or(at, |first| first.min(at)));
            self.last_at = Some(self.last_at.map_or(at, |last| last.max(at)));
        }
        let count_at = self.encoded.len();
        self.encoded.extend_from_slice(&[0, 0]);
        let mut count = 0u16;
        for (place, prefix) in &self.columns {
            let cell = batch.columns()[*place].cell(row);
            if cell != Cell::Null {
                count += 1;
                self.encoded.extend_from_slice(prefix);
                encode(cell, &mut self.encoded);
            }
        }
        self.encoded[count_at..count_at + 2].copy_from_slice(&count.to_be_bytes());
    }

    pub(crate) fn finish(self) -> RowsDigest {
        RowsDigest { rows: self.rows, sha256: hex::encode(self.sha.finalize()), first_at: self.first_at, last_at: self.last_at }
    }
}

fn encode(cell: Cell<'_>, into: &mut Vec<u8>) {
    let mut fixed = |kind: u8, bytes: &[u8]| {
        into.push(kind);
        into.extend_from_slice(bytes);
    };
    match cell {
        Cell::Null => {}
        Cell::Boolean(value) => fixed(b'b', &[value.into()]),
        Cell::Integer(value) => fixed(b'i', &value.to_be_bytes()),
        Cell::Float(value) => fixed(b'f', &value.to_bits().to_be_bytes()),
        Cell::Double(value) => fixed(b'd', &value.to_bits().to_be_bytes()),
        Cell::Timestamp(value) => fixed(b't', &value.timestamp_micros().to_be_bytes()),
        Cell::Uuid(value) => fixed(b'u', value.as_bytes()),
        Cell::String(value) => long(b's', value.as_bytes(), into),
        Cell::Binary(value) => long(b'x', value, into),
    }
}

fn long(kind: u8, bytes: &[u8], into: &mut Vec<u8>) {
    into.push(kind);
    // No column of PostgreSQL holds 4 GiB.
    into.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    into.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::archive::{Column, ColumnType};

    fn schema(columns: Vec<Column>) -> Arc<TableSchema> {
        Arc::new(TableSchema { name: "things".into(), columns, key: vec!["seq".into()], time: "at".into() })
    }

    fn narrow() -> Arc<TableSchema> {
        schema(vec![
            Column::required("seq", ColumnType::Int16),
            Column::new("at", ColumnType::Timestamp),
            Column::new("name", ColumnType::String),
        ])
    }

    /// With one column more, in front, and one wider.
    fn wide() -> Arc<TableSchema> {
        schema(vec![
            Column::new("added", ColumnType::Double),
            Column::required("seq", ColumnType::Int64),
            Column::new("at", ColumnType::Timestamp),
            Column::new("name", ColumnType::String),
        ])
    }

    fn at(us: i64) -> Cell<'static> {
        Cell::Timestamp(chrono::DateTime::from_timestamp_micros(us).unwrap())
    }

    fn digest(schema: &Arc<TableSchema>, batches: &[&[&[Cell<'static>]]]) -> Result<RowsDigest, Invalid> {
        let mut hasher = RowsHasher::new(schema)?;
        for rows in batches {
            let mut batch = RecordBatch::with_capacity(Arc::clone(schema), rows.len());
            for row in *rows {
                batch.push(row.iter().copied())?;
            }
            hasher.add(&batch)?;
        }
        Ok(hasher.finish())
    }

    #[test]
    fn the_bytes_of_the_documented_form() {
        let found = digest(&narrow(), &[&[&[Cell::Integer(-2), at(7), Cell::String("é")]]]).unwrap();
        let mut bytes = b"nexmdm-rows-v1\n\x00\x03\x02att\0\0\0\0\0\0\0\x07\x04names\0\0\0\x02".to_vec();
        bytes.extend_from_slice("é".as_bytes());
        bytes.extend_from_slice(b"\x03seqi\xff\xff\xff\xff\xff\xff\xff\xfe");
        assert_eq!(found.sha256, hex::encode(Sha256::digest(&bytes)));
        assert_eq!((found.rows, found.first_at, found.last_at), (1, found.last_at, found.first_at));
    }

    #[test]
    fn batches_and_columns_without_values_make_no_difference_and_every_value_does() {
        let (one, two) = ([Cell::Integer(1), at(5), Cell::Null], [Cell::Integer(2), at(3), Cell::String("x")]);
        let whole = digest(&narrow(), &[&[&one, &two]]).unwrap();
        assert_eq!(digest(&narrow(), &[&[&one], &[], &[&two]]).unwrap(), whole);
        let wider = [[Cell::Null, one[0], one[1], one[2]], [Cell::Null, two[0], two[1], two[2]]];
        assert_eq!(digest(&wide(), &[&[&wider[0], &wider[1]]]).unwrap(), whole);
        let times = (whole.first_at.unwrap().timestamp_micros(), whole.last_at.unwrap().timestamp_micros());
        assert_eq!(times, (3, 5));

        let other = [Cell::Integer(2), at(3), Cell::String("y")];
        let changed = digest(&narrow(), &[&[&one, &other]]).unwrap();
        assert!(whole.difference(&changed).unwrap().starts_with("row digest "));
        let fewer = digest(&narrow(), &[&[&one]]).unwrap();
        assert_eq!(whole.difference(&fewer).unwrap(), "1 rows instead of 2");
        assert_eq!(whole.difference(&whole.clone()), None);
    }

    #[test]
    fn rows_out_of_order_or_twice_are_refused_within_and_across_batches() {
        let row = |seq| [Cell::Integer(seq), at(0), Cell::Null];
        let (one, two) = (row(1), row(2));
        for batches in [&[&[&two[..], &one[..]][..]][..], &[&[&two[..]][..], &[&one[..]][..]][..], &[&[&one[..], &one[..]][..]][..]] {
            assert!(digest(&narrow(), batches).unwrap_err().problem.contains("row 1 is not behind"), "{batches:?}");
        }
    }
}
