//! Rows of a row group.

use std::ops::Range;
use std::sync::Arc;

use domain::archive::{RecordBatch, TableSchema};
use parquet::column::reader::{ColumnReader, get_column_reader};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::serialized_reader::SerializedPageReader;

use super::{Sparse, columns};

/// Reads the rows of a row group, some at a time.
pub(crate) struct GroupReader {
    schema: Arc<TableSchema>,
    columns: Vec<ColumnReader>,
    left: usize,
}

impl GroupReader {
    /// The rows of a row group of which `file` holds the bytes. With `pages` of each column, those that hold the rows that are not skipped, and
    /// the dictionaries, are enough.
    pub(crate) fn new(
        file: &Arc<Sparse>,
        metadata: &ParquetMetaData,
        group: usize,
        schema: &Arc<TableSchema>,
        pages: Option<Vec<Vec<PageLocation>>>,
    ) -> Result<Self, ParquetError> {
        let group = metadata.row_groups().get(group).ok_or_else(|| ParquetError::General(format!("there is no row group {group}")))?;
        let left = usize::try_from(group.num_rows()).map_err(|cause| ParquetError::General(cause.to_string()))?;
        let mut pages = pages.map(Vec::into_iter);
        let readers = group.columns().iter().map(|chunk| {
            let pages = pages.as_mut().and_then(Iterator::next);
            let reader = SerializedPageReader::new(Arc::clone(file), chunk, left, pages)?;
            Ok(get_column_reader(chunk.column_descr_ptr(), Box::new(reader)))
        });
        Ok(Self { schema: Arc::clone(schema), columns: readers.collect::<Result<_, ParquetError>>()?, left })
    }

    /// Skips rows.
    pub(crate) fn skip(&mut self, rows: usize) -> Result<(), String> {
        for (reader, column) in self.columns.iter_mut().zip(&self.schema.columns) {
            columns::skip(reader, rows).map_err(|cause| format!("column {} cannot be read: {cause}", column.name))?;
        }
        self.left = self.left.saturating_sub(rows);
        Ok(())
    }

    /// The next rows, at most `most` of them; `None` at the end.
    pub(crate) fn next(&mut self, most: usize) -> Result<Option<RecordBatch>, String> {
        let rows = self.left.min(most);
        if rows == 0 {
            return Ok(None);
        }
        let read = self.columns.iter_mut().zip(&self.schema.columns).map(|(reader, column)| {
            columns::read(reader, column.kind, column.required, rows)
                .map_err(|cause| format!("column {} cannot be read: {cause}", column.name))
        });
        let batch = RecordBatch::new(Arc::clone(&self.schema), read.collect::<Result<_, _>>()?).map_err(|cause| cause.to_string())?;
        self.left -= rows;
        Ok(Some(batch))
    }
}

/// The bytes of a row group in the file.
pub(crate) fn group_range(group: &RowGroupMetaData) -> Result<Range<u64>, String> {
    let ranges = group.columns().iter().map(|chunk| {
        let start = chunk.dictionary_page_offset().unwrap_or_else(|| chunk.data_page_offset());
        // Written so that a damaged number does not end the process.
        let (start, length) = (u64::try_from(start), u64::try_from(chunk.compressed_size()));
        match (start, length) {
            (Ok(start), Ok(length)) => Ok(start..start.saturating_add(length)),
            _ => Err("a column has a negative place or length".to_owned()),
        }
    });
    let ranges: Vec<_> = ranges.collect::<Result<_, _>>()?;
    let start = ranges.iter().map(|range| range.start).min().unwrap_or_default();
    Ok(start..ranges.iter().map(|range| range.end).max().unwrap_or_default())
}
